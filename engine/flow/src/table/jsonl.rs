//! JSON lines in and out.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::error::StageError;
use crate::record::{FieldKind, Fields, Record, Schema, Value};
use crate::stage::Blobs;

use super::image::{beside, from_data_uri, store, to_data_uri};
use super::{BATCH_ROWS, Guess, HEAD_ROWS, TakeRows, as_kind};

/// The rows of a file, each with its line number.
struct Rows<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    line: usize,
    text: Vec<u8>,
}

pub(super) fn schema_of(path: &Path, images: &[String]) -> Result<Schema, StageError> {
    let mut rows = Rows::open(path)?;
    let mut kinds = indexmap::IndexMap::<String, Guess>::new();
    for _ in 0..HEAD_ROWS {
        let Some(row) = rows.next_row()? else { break };
        for (name, value) in row {
            kinds.entry(name).or_default().widen(&Value::from_json(value));
        }
    }
    let mut schema: Schema =
        kinds.into_iter().map(|(name, guess)| (name, guess.kind().unwrap_or(FieldKind::Json))).collect();
    for (_, kind) in schema.iter_mut().filter(|(name, _)| images.contains(name)) {
        *kind = FieldKind::Image;
    }
    Ok(schema)
}

pub(super) fn read(path: &Path, images: &[String], blobs: &dyn Blobs, take: TakeRows<'_>) -> Result<(), StageError> {
    let schema = schema_of(path, images)?;
    let names: Vec<(std::sync::Arc<str>, &FieldKind)> =
        schema.iter().map(|(name, kind)| (name.as_str().into(), kind)).collect();
    let mut rows = Rows::open(path)?;
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    while let Some(mut row) = rows.next_row()? {
        let mut fields = Fields::new();
        for (name, kind) in &names {
            let json = row.swap_remove(&**name).unwrap_or(Json::Null);
            let value = if images.iter().any(|image| **image == **name) {
                rows.image(name, json, blobs)?
            } else {
                as_kind(Value::from_json(json), kind)
            };
            rows.check_blobs(name, &value, blobs)?;
            fields.insert(name.clone(), value);
        }
        // Columns that first appear after the head.
        for (name, json) in row {
            let value = Value::from_json(json);
            rows.check_blobs(&name, &value, blobs)?;
            fields.insert(name.into(), value);
        }
        batch.push(fields);
        if batch.len() == BATCH_ROWS {
            take(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS)))?;
        }
    }
    if batch.is_empty() { Ok(()) } else { take(batch) }
}

pub(super) fn image_files(path: &Path, images: &[String]) -> Result<Vec<PathBuf>, StageError> {
    let mut rows = Rows::open(path)?;
    let mut files = Vec::new();
    while let Some(row) = rows.next_row()? {
        for column in images {
            if let Some(Json::String(text)) = row.get(column)
                && from_data_uri(text).is_none()
            {
                files.push(beside(path, text));
            }
        }
    }
    Ok(files)
}

/// Writes records as JSON lines: `id`, then the fields by name; an image as a `data:` URI.
///
/// # Errors
/// The output cannot be written, or an image is missing from the store.
pub fn write_jsonl(output: &mut dyn Write, records: &[Record], blobs: &dyn Blobs) -> Result<(), StageError> {
    for record in records {
        let mut row = serde_json::Map::new();
        row.insert("id".to_owned(), Json::from(&*record.id));
        for (name, value) in record.fields.iter().filter(|(name, _)| &***name != "id") {
            row.insert(name.to_string(), to_json(value, blobs)?);
        }
        serde_json::to_writer(&mut *output, &row).map_err(StageError::failed)?;
        output.write_all(b"\n").map_err(|error| StageError::failed(format!("cannot write a row: {error}")))?;
    }
    Ok(())
}

fn to_json(value: &Value, blobs: &dyn Blobs) -> Result<Json, StageError> {
    Ok(match value {
        Value::Blob(blob) => Json::String(to_data_uri(blob, blobs)?),
        Value::List(values) => Json::Array(values.iter().map(|value| to_json(value, blobs)).collect::<Result<_, _>>()?),
        Value::Map(values) => {
            let entries = values.iter().map(|(name, value)| Ok((name.clone(), to_json(value, blobs)?)));
            Json::Object(entries.collect::<Result<_, StageError>>()?)
        }
        other => other.to_json(),
    })
}

impl<'a> Rows<'a> {
    fn open(path: &'a Path) -> Result<Self, StageError> {
        let file = File::open(path).map_err(StageError::io("read", path))?;
        Ok(Self { path, reader: BufReader::with_capacity(1 << 16, file), line: 0, text: Vec::new() })
    }

    /// The next row; lines without text are skipped.
    fn next_row(&mut self) -> Result<Option<serde_json::Map<String, Json>>, StageError> {
        loop {
            self.text.clear();
            let length = self.reader.read_until(b'\n', &mut self.text).map_err(StageError::io("read", self.path))?;
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            let mut text = self.text.trim_ascii();
            if self.line == 1 {
                text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
            }
            if text.is_empty() {
                continue;
            }
            let row = serde_json::from_slice(text).map_err(|error| {
                // The error's own line is always 1: only its column says something.
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
                let column = if error.column() > 0 { format!(":{}", error.column()) } else { String::new() };
                StageError::failed(format!(
                    "{}:{}{column}: expected a JSON object on the line: {reason}",
                    self.path.display(),
                    self.line
                ))
            })?;
            return Ok(Some(row));
        }
    }

    /// The image that a row names by path or holds as a `data:` URI.
    fn image(&self, column: &str, json: Json, blobs: &dyn Blobs) -> Result<Value, StageError> {
        let text = match json {
            Json::Null => return Ok(Value::Null),
            Json::String(text) => text,
            other => {
                return Err(self.error(column, &format!("expected an image's path or a `data:` URI, not `{other}`")));
            }
        };
        let bytes = match from_data_uri(&text) {
            Some(bytes) => bytes.map_err(|reason| self.error(column, &reason))?,
            None => {
                let path = beside(self.path, &text);
                std::fs::read(&path).map_err(|error| {
                    self.error(column, &format!("cannot read the image `{}`: {error}", path.display()))
                })?
            }
        };
        store(&bytes, blobs)
    }

    /// A row may hold a blob by its digest, as `show --json` prints it, if the store has it.
    fn check_blobs(&self, column: &str, value: &Value, blobs: &dyn Blobs) -> Result<(), StageError> {
        match value {
            Value::Blob(blob) => blobs.get(blob).map(drop).map_err(|_| {
                self.error(column, &format!("it names the blob `{}`, whose bytes are not in the store", blob.digest))
            }),
            Value::List(values) => values.iter().try_for_each(|value| self.check_blobs(column, value, blobs)),
            Value::Map(values) => values.values().try_for_each(|value| self.check_blobs(column, value, blobs)),
            _ => Ok(()),
        }
    }

    fn error(&self, column: &str, reason: &str) -> StageError {
        StageError::failed(format!("{}:{}: column `{column}`: {reason}", self.path.display(), self.line))
    }
}
