//! Writes tables record by record, whole or not at all where that can be: see [`crate::target`].

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::StageError;
use crate::record::{FieldKind, Record, Schema, Value};
use crate::stage::Blobs;
use crate::target::NewFile;

use super::Format;
use super::guess::Guess;
use super::parquet_writer::ParquetWriter;
use super::text_writer::{CellError, Packed, RowWriter, put_cells};

/// Records that are looked at before the columns of Parquet and CSV are settled.
const HEAD_RECORDS: usize = 4096;
/// Bytes of text in them after which fewer must do.
const HEAD_BYTES: usize = 32 << 20;
/// Bytes that go to the disk, or to be packed, at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFormat {
    /// The format.
    pub format: Format,
    /// How its bytes are packed.
    pub packing: Packing,
}

/// How a text file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl WriteFormat {
    /// JSON lines, not packed.
    pub const JSONL: WriteFormat = WriteFormat { format: Format::Jsonl, packing: Packing::Plain };
    /// The endings that [`WriteFormat::of`] knows, for messages.
    pub const ENDINGS: &'static str =
        "`.parquet`, `.jsonl`, `.csv` or `.tsv`, the last three also with `.gz` or `.zst` behind";

    /// The format that the name of `path` says: `None` if it ends in none of [`WriteFormat::ENDINGS`].
    pub fn of(path: &Path) -> Option<WriteFormat> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let (name, packing) = WriteFormat::packing(&name);
        let (stem, ending) = name.rsplit_once('.')?;
        let format = match ending {
            _ if stem.is_empty() => return None,
            "parquet" if packing == Packing::Plain => Format::Parquet,
            "jsonl" | "ndjson" => Format::Jsonl,
            "csv" => Format::Csv { delimiter: b',' },
            "tsv" => Format::Csv { delimiter: b'\t' },
            _ => return None,
        };
        Some(WriteFormat { format, packing })
    }

    /// How a file of this name is packed, and the name without the ending that says so.
    fn packing(name: &str) -> (&str, Packing) {
        let packed = |ending, packing| name.strip_suffix(ending).map(|name| (name, packing));
        packed(".gz", Packing::Gzip).or_else(|| packed(".zst", Packing::Zstd)).unwrap_or((name, Packing::Plain))
    }
}

/// A column that is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WriteColumn {
    pub(super) name: String,
    pub(super) kind: FieldKind,
    /// The column takes any value: what is not of its kind stands as JSON text.
    pub(super) any: bool,
}

/// Writes records to a file. The file is there once [`Writer::finish`] has returned: whole, with its bytes on the disk.
///
/// The columns are the fields asked for in their order, or `id`, those of the schema in its order, and then the others by
/// name. Parquet and CSV need them all before the first row: fields that the schema does not name are looked for in the
/// first 4096 records (fewer where these are long), and a column of Parquet whose values there do not fit the schema gets a kind that holds them. JSON
/// lines take every field of every record. Values of kind `json`, and in CSV lists, are written as JSON text. Images stand
/// as Hugging Face `datasets` keeps them: in Parquet as bytes, in text as `data:` URIs. In CSV, an empty text is no value.
///
/// The same records give the same bytes, however they are handed over.
pub struct Writer<'a> {
    path: PathBuf,
    new: NewFile,
    format: WriteFormat,
    schema: Schema,
    fields: Option<Vec<String>>,
    blobs: &'a dyn Blobs,
    /// The records in front of the first row that is written; `None` once the columns are settled.
    head: Option<Vec<Record>>,
    head_bytes: usize,
    body: Option<Body>,
    records: u64,
}

enum Body {
    Jsonl { out: Packed, row: RowWriter },
    Csv { out: Box<csv::Writer<Packed>>, columns: Vec<WriteColumn>, all: bool },
    Parquet { out: Box<ParquetWriter>, columns: Vec<WriteColumn>, all: bool },
}

impl<'a> Writer<'a> {
    /// Begins to write to a temporary file beside `path`; what is no regular file is written as the rows come. `fields`: the
    /// fields to write, `id` among them or not; by default all.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(
        path: &Path,
        format: WriteFormat,
        schema: &Schema,
        fields: Option<&[String]>,
        blobs: &'a dyn Blobs,
    ) -> Result<Self, StageError> {
        let new = NewFile::create(path).map_err(StageError::io("write", path))?;
        let mut writer = Self {
            path: path.to_owned(),
            new,
            format,
            schema: schema.clone(),
            fields: fields.map(<[String]>::to_vec),
            blobs,
            head: None,
            head_bytes: 0,
            body: None,
            records: 0,
        };
        match format.format {
            Format::Jsonl => {
                let row = RowWriter::new(&writer.columns(&[]), writer.fields.is_none());
                writer.body = Some(Body::Jsonl { out: writer.packed()?, row });
            }
            // Nothing that a later record holds can change the columns that are asked for, nor the kind of a CSV's cells.
            Format::Csv { .. } if writer.fields.is_some() => writer.begin(&[])?,
            Format::Csv { .. } | Format::Parquet => writer.head = Some(Vec::new()),
        }
        Ok(writer)
    }

    /// Writes the next records.
    ///
    /// # Errors
    /// The disk's, an image that is missing from the store, or a record that does not fit the columns.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StageError> {
        self.records += records.len() as u64;
        let Some(head) = &mut self.head else { return self.put(records) };
        for (index, record) in records.iter().enumerate() {
            self.head_bytes += record.fields.values().map(size_of).sum::<usize>();
            head.push(record.clone());
            if head.len() >= HEAD_RECORDS || self.head_bytes >= HEAD_BYTES {
                self.settle()?;
                return self.put(records.get(index + 1..).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Ends the file: its bytes go to the disk, and it gets its name. Gives the number of records.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(mut self) -> Result<u64, StageError> {
        self.settle()?;
        let failed = |error| StageError::io("write", &self.path)(error);
        match self.body.take() {
            Some(Body::Jsonl { out, .. }) => out.finish().map_err(failed)?,
            Some(Body::Csv { out, .. }) => {
                let out = out.into_inner().map_err(|error| failed(error.into_error()))?;
                out.finish().map_err(failed)?;
            }
            Some(Body::Parquet { out, .. }) => out.finish(self.blobs)?,
            None => {}
        }
        self.new.finish().map_err(StageError::io("write", &self.path))?;
        Ok(self.records)
    }

    /// Settles the columns and writes the records that waited for them.
    fn settle(&mut self) -> Result<(), StageError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        self.begin(&head)?;
        self.put(&head)
    }

    fn begin(&mut self, head: &[Record]) -> Result<(), StageError> {
        let (columns, all) = (self.columns(head), self.fields.is_none());
        self.body = Some(match self.format.format {
            Format::Csv { delimiter } => {
                let mut out = csv::WriterBuilder::new().delimiter(delimiter).from_writer(self.packed()?);
                out.write_record(columns.iter().map(|column| &column.name)).map_err(|error| self.csv_error(error))?;
                Body::Csv { out: Box::new(out), columns, all }
            }
            _ => {
                let out = Box::new(ParquetWriter::create(self.file()?, columns.clone())?);
                Body::Parquet { out, columns, all }
            }
        });
        Ok(())
    }

    fn put(&mut self, records: &[Record]) -> Result<(), StageError> {
        match &mut self.body {
            None => Ok(()),
            Some(Body::Jsonl { out, row }) => {
                for record in records {
                    let line = row.line(record, self.blobs)?;
                    out.write_all(line).map_err(StageError::io("write", &self.path))?;
                }
                Ok(())
            }
            Some(Body::Csv { out, columns, all }) => {
                for record in records {
                    if *all {
                        only(record, columns)?;
                    }
                    put_cells(out, columns, record, self.blobs).map_err(|error| match error {
                        CellError::Stage(error) => error,
                        CellError::Csv(error) => write_error(&self.path, error),
                    })?;
                }
                Ok(())
            }
            Some(Body::Parquet { out, columns, all }) => {
                if *all {
                    records.iter().try_for_each(|record| only(record, columns))?;
                }
                out.write(records, self.blobs)
            }
        }
    }

    /// The columns to write, as the schema and the first records say.
    fn columns(&self, head: &[Record]) -> Vec<WriteColumn> {
        let mut kinds = self.schema.clone();
        kinds.shift_remove("id");
        let mut found = indexmap::IndexMap::<&str, Guess>::new();
        for (name, value) in head.iter().flat_map(|record| &record.fields).filter(|(name, _)| &***name != "id") {
            found.entry(name).or_default().widen(value);
        }
        found.sort_unstable_keys();
        for (name, guess) in found {
            let Some(kind) = guess.kind() else {
                kinds.entry(name.to_owned()).or_insert(FieldKind::Json);
                continue;
            };
            match kinds.get_mut(name) {
                // What was not known before the run is known now.
                Some(declared) if !exactly(declared, &kind) => *declared = kind,
                Some(_) => {}
                None => _ = kinds.insert(name.to_owned(), kind),
            }
        }
        let column = |name: &str| {
            let kind = if name == "id" { FieldKind::Text } else { kinds.get(name).cloned().unwrap_or(FieldKind::Json) };
            let any = kind == FieldKind::Text && self.schema.get(name) == Some(&FieldKind::Json);
            WriteColumn { name: name.to_owned(), kind, any }
        };
        match &self.fields {
            Some(fields) => fields.iter().map(|name| column(name)).collect(),
            None => std::iter::once("id").chain(kinds.keys().map(String::as_str)).map(column).collect(),
        }
    }

    fn packed(&self) -> Result<Packed, StageError> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, self.file()?);
        Ok(match self.format.packing {
            Packing::Plain => Packed::Plain(file),
            // The header holds neither name nor time: the same records give the same bytes.
            Packing::Gzip => Packed::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Packing::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL);
                Packed::Zstd(encoder.map_err(StageError::io("write", &self.path))?)
            }
        })
    }

    fn file(&self) -> Result<File, StageError> {
        self.new.file().try_clone().map_err(StageError::io("write", &self.path))
    }

    fn csv_error(&self, error: csv::Error) -> StageError {
        write_error(&self.path, error)
    }
}

fn write_error(path: &Path, error: csv::Error) -> StageError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => StageError::io("write", path)(error),
        other => StageError::failed(format!("cannot write `{}`: {other:?}", path.display())),
    }
}

/// The value of a record's field, null if it has none.
pub(super) fn field_of<'r>(record: &'r Record, name: &str) -> &'r Value {
    record.fields.get(name).unwrap_or(&Value::Null)
}

/// About how many bytes a value holds.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(values) => values.iter().map(size_of).sum(),
        Value::Map(values) => values.iter().map(|(name, value)| name.len() + size_of(value)).sum(),
        _ => 0,
    }
}

/// Whether every value of `given` can be written in a column of `declared`.
fn exactly(declared: &FieldKind, given: &FieldKind) -> bool {
    match (declared, given) {
        (FieldKind::Float, FieldKind::Int) => true,
        (FieldKind::List(declared), FieldKind::List(given)) => **given == FieldKind::Json || exactly(declared, given),
        (declared, given) => declared == given,
    }
}

/// That a record has no field without a column.
fn only(record: &Record, columns: &[WriteColumn]) -> Result<(), StageError> {
    let known = columns.iter().filter(|column| record.fields.contains_key(column.name.as_str())).count();
    if known == record.fields.len() {
        return Ok(());
    }
    let is_new = |name: &str| name != "id" && columns.iter().all(|column| column.name != name);
    match record.fields.keys().find(|name| is_new(name)) {
        None => Ok(()),
        Some(name) => Err(StageError::failed(format!(
            "record `{}`: none of the first records has its field `{name}`, and the columns of the file are settled by \
             these; write JSON lines, or name the fields to write",
            record.id
        ))),
    }
}
