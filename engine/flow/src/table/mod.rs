//! Tables in files: JSON lines, CSV and Parquet, in and out. It knows no graph.

mod csv;
mod guess;
mod image;
mod jsonl;
mod ordered;
mod parquet;
mod parquet_writer;
mod rows;
mod text;
mod text_writer;
mod writer;

use std::path::{Path, PathBuf};

use crate::error::StageError;
use crate::record::{Record, Schema};
use crate::stage::Blobs;

pub(crate) use guess::{as_kind, join};
pub use image::read_image;
#[cfg(test)]
pub(crate) use rows::mark_of;
pub use rows::{Column, Columns, Mark, ReadContext, Rows, TakeRows};
pub use text::LINE_BYTES;
pub use text_writer::write_jsonl;
pub use writer::{Packing, WriteFormat, Writer};

/// Rows from which the columns of JSON lines and CSV are found.
pub const HEAD_ROWS: usize = 1000;
/// Rows of Parquet and CSV that are handed on at a time.
pub const BATCH_ROWS: usize = 256;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object on each line.
    Jsonl,
    /// A header and rows of cells.
    Csv {
        /// What stands between cells.
        delimiter: u8,
    },
    /// Parquet.
    Parquet,
}

/// A file that holds a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

impl TableFile {
    /// The file at `path`. Its first bytes tell Parquet and how text is packed (gzip, Zstandard, bzip2). Text is CSV if the
    /// name says so (`.csv`, `.tsv`, also with `.gz` and the like behind), else JSON lines.
    ///
    /// # Errors
    /// The file cannot be read, or is packed in a way that is not known.
    pub fn open(path: &Path) -> Result<Self, StageError> {
        let (_, magic) = text::open(path)?;
        let format = if magic.starts_with(b"PAR1") { Format::Parquet } else { text_format(path) };
        let file = Self { path: path.to_owned(), format };
        if format == Format::Parquet && !parquet::is_plain(path)? {
            let message = format!("cannot read `{}`: it is packed Parquet; unpack it first", path.display());
            return Err(StageError::failed(message));
        }
        Ok(file)
    }

    /// The columns and their kinds: Parquet's own, or those of the first [`HEAD_ROWS`] rows. `images`: columns of a text
    /// format that hold images' paths, relative to the file's folder, or `data:` URIs. A column of CSV in which no value
    /// was seen is `json`.
    ///
    /// # Errors
    /// The file cannot be read, or is not of its format; the message says where.
    pub fn schema(&self, images: &[String]) -> Result<Schema, StageError> {
        match self.format {
            Format::Parquet => parquet::schema_of(&self.path),
            Format::Csv { delimiter } => csv::schema_of(&self.path, delimiter, images),
            Format::Jsonl => jsonl::schema_of(&self.path, images),
        }
    }

    /// Reads the rows. `columns` names all columns of the file's schema; every record has every field that it names,
    /// without a value if need be. Memory does not grow with the file.
    ///
    /// # Errors
    /// As [`TableFile::schema`]; a row that is malformed or whose values do not fit, with its place; an image that is not
    /// there; what `take` fails with. The rows in front of an error were given to `take` before.
    pub fn read(&self, columns: &Columns, context: ReadContext<'_>, take: TakeRows<'_>) -> Result<(), StageError> {
        match self.format {
            Format::Parquet => parquet::read(&self.path, columns, context, take),
            Format::Csv { delimiter } => csv::read(&self.path, delimiter, columns, context, take),
            Format::Jsonl => jsonl::read(&self.path, columns, context, take),
        }
    }

    /// The files of images that the rows name, in order: those that rows of text formats name in the columns `images`, and
    /// those that a Parquet file may take from beside it, where they are.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn image_files(&self, images: &[String]) -> Result<Vec<PathBuf>, StageError> {
        match self.format {
            Format::Parquet => parquet::image_files(&self.path),
            Format::Csv { .. } | Format::Jsonl if images.is_empty() => Ok(Vec::new()),
            Format::Csv { delimiter } => csv::image_files(&self.path, delimiter, images),
            Format::Jsonl => jsonl::image_files(&self.path, images),
        }
    }
}

/// The format that a text file's name says.
fn text_format(path: &Path) -> Format {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = [".gz", ".zst", ".bz2"].iter().find_map(|packing| name.strip_suffix(packing)).unwrap_or(&name);
    if name.ends_with(".csv") {
        Format::Csv { delimiter: b',' }
    } else if name.ends_with(".tsv") {
        Format::Csv { delimiter: b'\t' }
    } else {
        Format::Jsonl
    }
}

/// Writes records to `path`, whole or not at all, in the format that the name says: [`WriteFormat::of`], or JSON lines if it
/// says none.
///
/// # Errors
/// As [`Writer`]'s.
pub fn write(path: &Path, schema: &Schema, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
    let format = WriteFormat::of(path).unwrap_or(WriteFormat::JSONL);
    let mut writer = Writer::create(path, format, schema, None, blobs)?;
    writer.write(records)?;
    writer.finish().map(drop)
}

#[cfg(test)]
mod tests;
