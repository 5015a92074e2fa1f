//! Tables in files: JSON lines and Parquet, in and out. It knows no graph.

mod image;
mod jsonl;
mod parquet;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use crate::error::StageError;
use crate::record::{FieldKind, Fields, Record, Schema, Value};
use crate::stage::Blobs;

pub use jsonl::write_jsonl;

/// Rows from which the schema of JSON lines is found.
pub const HEAD_ROWS: usize = 1000;
/// Rows that are handed on at a time.
pub const BATCH_ROWS: usize = 256;

/// The format of a file, told from its first bytes: the same bytes always read the same, whatever the file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line.
    Jsonl,
    /// Parquet.
    Parquet,
}

/// Takes rows in batches, in order; an error stops the reading.
pub type TakeRows<'a> = &'a mut dyn FnMut(Vec<Fields>) -> Result<(), StageError>;

/// The format of the file at `path`.
///
/// # Errors
/// The file cannot be read.
pub fn format_of(path: &Path) -> Result<Format, StageError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(StageError::io("read", path))?;
    file.take(4).read_to_end(&mut head).map_err(StageError::io("read", path))?;
    Ok(if head == b"PAR1" { Format::Parquet } else { Format::Jsonl })
}

/// The columns of the file at `path` and their kinds: Parquet's own, or those of the first [`HEAD_ROWS`] JSON lines.
/// `images`: columns of JSON lines that hold images' paths, relative to the file's folder, or `data:` URIs.
///
/// # Errors
/// The file cannot be read, or is not of its format; the message says where.
pub fn schema_of(path: &Path, images: &[String]) -> Result<Schema, StageError> {
    match format_of(path)? {
        Format::Parquet => parquet::schema_of(path),
        Format::Jsonl => jsonl::schema_of(path, images),
    }
}

/// Reads the rows of the file at `path`. Every row has every column of the schema, without a value if need be. Images'
/// bytes go to `blobs`.
///
/// # Errors
/// As [`schema_of`]; a row that is malformed, with its place; an image that is not there; what `take` fails with.
pub fn read(path: &Path, images: &[String], blobs: &dyn Blobs, take: TakeRows<'_>) -> Result<(), StageError> {
    match format_of(path)? {
        Format::Parquet => parquet::read(path, blobs, take),
        Format::Jsonl => jsonl::read(path, images, blobs, take),
    }
}

/// The image files that JSON lines at `path` name in the columns `images`, in order.
///
/// # Errors
/// As [`read`].
pub fn image_files(path: &Path, images: &[String]) -> Result<Vec<std::path::PathBuf>, StageError> {
    match format_of(path)? {
        Format::Parquet => Ok(Vec::new()),
        Format::Jsonl => jsonl::image_files(path, images),
    }
}

/// Writes records to `path`, whole or not at all: Parquet if the name ends in `.parquet`, else JSON lines. The id is the first
/// column. Images stand as Hugging Face `datasets` keeps them: in Parquet as bytes, in JSON lines as `data:` URIs.
///
/// # Errors
/// The file cannot be written, or an image is missing from the store.
pub fn write(path: &Path, schema: &Schema, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder).map_err(StageError::io("write", path))?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
        parquet::write(temporary.as_file(), schema, records, blobs)?;
    } else {
        let mut file = std::io::BufWriter::new(temporary.as_file());
        write_jsonl(&mut file, records, blobs)?;
        file.flush().map_err(StageError::io("write", path))?;
    }
    temporary.as_file().sync_all().map_err(StageError::io("write", path))?;
    temporary.persist(path).map_err(|error| StageError::io("write", path)(error.error))?;
    Ok(())
}

/// Writes records to a file as they come. Placeholder: they are collected until the tables' own writer is merged.
pub struct Writer<'a> {
    path: std::path::PathBuf,
    schema: Schema,
    records: Vec<Record>,
    blobs: &'a dyn Blobs,
}

impl<'a> Writer<'a> {
    /// Begins a file.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(path: &Path, schema: &Schema, blobs: &'a dyn Blobs) -> Result<Self, StageError> {
        Ok(Self { path: path.to_owned(), schema: schema.clone(), records: Vec::new(), blobs })
    }

    /// Adds records.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StageError> {
        self.records.extend_from_slice(records);
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> Result<(), StageError> {
        write(&self.path, &self.schema, &self.records, self.blobs)
    }
}

/// What is known of a column's kind while its values are looked at.
#[derive(Clone, Debug, Default, PartialEq)]
enum Guess {
    /// No value was seen: of a list, because all were empty.
    #[default]
    Unknown,
    Kind(FieldKind),
    List(Box<Guess>),
}

impl Guess {
    /// Takes one more value into account.
    fn widen(&mut self, value: &Value) {
        let given = match value {
            Value::Null => return,
            Value::List(values) => {
                let mut inner = Guess::Unknown;
                values.iter().for_each(|value| inner.widen(value));
                Guess::List(Box::new(inner))
            }
            other => Guess::Kind(FieldKind::of(other)),
        };
        *self = std::mem::take(self).join(given);
    }

    fn join(self, other: Guess) -> Guess {
        match (self, other) {
            (Guess::Unknown, known) | (known, Guess::Unknown) => known,
            (Guess::List(one), Guess::List(other)) => Guess::List(Box::new(one.join(*other))),
            (Guess::Kind(one), Guess::Kind(other)) => Guess::Kind(join(one, other)),
            _ => Guess::Kind(FieldKind::Json),
        }
    }

    /// The kind; `None` if there was no value.
    fn kind(self) -> Option<FieldKind> {
        match self {
            Guess::Unknown => None,
            Guess::Kind(kind) => Some(kind),
            Guess::List(inner) => Some(FieldKind::List(Box::new(inner.kind().unwrap_or(FieldKind::Json)))),
        }
    }
}

/// The kind that holds values of both.
pub(crate) fn join(one: FieldKind, other: FieldKind) -> FieldKind {
    match (one, other) {
        (one, other) if one == other => one,
        (FieldKind::Int, FieldKind::Float) | (FieldKind::Float, FieldKind::Int) => FieldKind::Float,
        (FieldKind::List(one), FieldKind::List(other)) => FieldKind::List(Box::new(join(*one, *other))),
        _ => FieldKind::Json,
    }
}

/// A whole number in a column of numbers becomes one of them.
pub(crate) fn as_kind(value: Value, kind: &FieldKind) -> Value {
    match (value, kind) {
        (Value::Int(value), FieldKind::Float) => Value::Float(value as f64),
        (Value::List(values), FieldKind::List(inner)) => {
            Value::List(values.into_iter().map(|value| as_kind(value, inner)).collect())
        }
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests;
