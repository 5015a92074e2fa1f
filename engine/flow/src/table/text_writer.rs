//! Writes rows as JSON lines and CSV, packed or not. It knows no file names.

use std::fs::File;
use std::io::{BufWriter, Write};

use crate::error::StageError;
use crate::record::{FieldKind, Record, Value};
use crate::stage::Blobs;

use super::image::{holds_image, to_json};
use super::writer::{WriteColumn, field_of};

/// Why a row of CSV was not written.
pub(super) enum CellError {
    Csv(csv::Error),
    Stage(StageError),
}

pub(super) fn put_cells(
    out: &mut csv::Writer<Packed>,
    columns: &[WriteColumn],
    record: &Record,
    blobs: &dyn Blobs,
) -> Result<(), CellError> {
    for column in columns {
        let value = if column.name == "id" { None } else { Some(field_of(record, &column.name)) };
        match value {
            None => out.write_field(&*record.id),
            Some(Value::Null) => out.write_field(""),
            Some(Value::Float(number)) if !number.is_finite() => out.write_field(""),
            Some(Value::Text(text)) => out.write_field(&**text),
            Some(other) => out.write_field(to_json(other, blobs).map_err(CellError::Stage)?.to_string()),
        }
        .map_err(CellError::Csv)?;
    }
    out.write_record(None::<&[u8]>).map_err(CellError::Csv)
}

/// Writes a record as a line of JSON.
pub(super) struct RowWriter {
    /// The names, and `"name":` as it stands in the line.
    columns: Vec<(String, Vec<u8>)>,
    /// Fields that are no column follow, by name.
    all: bool,
    line: Vec<u8>,
}

impl RowWriter {
    pub(super) fn new(columns: &[WriteColumn], all: bool) -> Self {
        let key = |name: &str| {
            let mut key = Vec::new();
            put_key(name, &mut key);
            key
        };
        Self {
            columns: columns.iter().map(|column| (column.name.clone(), key(&column.name))).collect(),
            all,
            line: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, record: &Record, blobs: &dyn Blobs) -> Result<&[u8], StageError> {
        self.line.clear();
        self.line.push(b'{');
        let mut known = 0;
        for (name, key) in &self.columns {
            self.line.extend_from_slice(key);
            if name == "id" {
                put_json(&*record.id, &mut self.line)?;
            } else {
                let value = record.fields.get(name.as_str());
                known += usize::from(value.is_some());
                put_value(value.unwrap_or(&Value::Null), &mut self.line, blobs)?;
            }
            self.line.push(b',');
        }
        if self.all && known < record.fields.len() {
            let is_new = |name: &str| name != "id" && self.columns.iter().all(|(known, _)| known != name);
            for (name, value) in record.fields.iter().filter(|(name, _)| is_new(name)) {
                put_key(name, &mut self.line);
                put_value(value, &mut self.line, blobs)?;
                self.line.push(b',');
            }
        }
        // In place of the last comma, if there is a field at all.
        if self.line.last() == Some(&b',') {
            self.line.pop();
        }
        self.line.extend_from_slice(b"}\n");
        Ok(&self.line)
    }
}

fn put_key(name: &str, line: &mut Vec<u8>) {
    // A text serialises to memory without fail.
    let _ = serde_json::to_writer(&mut *line, name);
    line.push(b':');
}

fn put_value(value: &Value, line: &mut Vec<u8>, blobs: &dyn Blobs) -> Result<(), StageError> {
    if holds_image(value) { put_json(&to_json(value, blobs)?, line) } else { put_json(value, line) }
}

fn put_json(value: &(impl serde::Serialize + ?Sized), line: &mut Vec<u8>) -> Result<(), StageError> {
    serde_json::to_writer(line, value).map_err(StageError::failed)
}

/// Writes records as JSON lines: `id`, then the fields by name; an image as a `data:` URI.
///
/// # Errors
/// The output cannot be written, or an image is missing from the store.
pub fn write_jsonl(output: &mut dyn Write, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
    let id = WriteColumn { name: "id".to_owned(), kind: FieldKind::Text, any: false };
    let mut row = RowWriter::new(&[id], true);
    for record in records {
        let line = row.line(record, blobs)?;
        output.write_all(line).map_err(|error| StageError::failed(format!("cannot write a row: {error}")))?;
    }
    Ok(())
}

/// A file that may be packed on the way.
pub(super) enum Packed {
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Packed {
    pub(super) fn finish(self) -> std::io::Result<()> {
        match self {
            Packed::Plain(file) => file,
            Packed::Gzip(encoder) => encoder.finish()?,
            Packed::Zstd(encoder) => encoder.finish()?,
        }
        .flush()
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Packed::Plain(file) => file.write(bytes),
            Packed::Gzip(encoder) => encoder.write(bytes),
            Packed::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Packed::Plain(file) => file.flush(),
            Packed::Gzip(encoder) => encoder.flush(),
            Packed::Zstd(encoder) => encoder.flush(),
        }
    }
}
