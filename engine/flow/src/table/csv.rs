//! Reads CSV: a header, then rows of as many cells. A cell without text is no value.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use crate::error::StageError;
use crate::record::{FieldKind, Schema, Value};

use super::image::{self, beside, from_data_uri};
use super::rows::{Columns, ReadContext, RowBuilder, TakeRows, fit, is_plain_number};
use super::text::{self, Text};
use super::{BATCH_ROWS, HEAD_ROWS};

/// What is known of a column's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    /// No cell with text was seen.
    Unknown,
    Bool,
    Int,
    Float,
    Text,
}

impl Guess {
    fn of(cell: &str) -> Self {
        match cell {
            "" => Guess::Unknown,
            _ if boolean(cell).is_some() => Guess::Bool,
            _ if is_plain_number(cell) && cell.parse::<i64>().is_ok() => Guess::Int,
            _ if number(cell).is_some() => Guess::Float,
            _ => Guess::Text,
        }
    }

    fn join(self, other: Guess) -> Guess {
        match (self, other) {
            (one, other) if one == other => one,
            (Guess::Unknown, known) | (known, Guess::Unknown) => known,
            (Guess::Int, Guess::Float) | (Guess::Float, Guess::Int) => Guess::Float,
            _ => Guess::Text,
        }
    }
}

fn boolean(cell: &str) -> Option<bool> {
    match cell {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A number that is no code: `007` and digits too many for a number stay text. `nan` is a number without a value.
fn number(cell: &str) -> Option<f64> {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    let is_code = match digits.as_bytes() {
        [b'0', b'0'..=b'9', ..] => true,
        bytes => bytes.iter().all(u8::is_ascii_digit) && digits.parse::<i64>().is_err(),
    };
    if is_code { None } else { cell.parse().ok() }
}

pub(super) fn schema_of(path: &Path, delimiter: u8, images: &[String]) -> Result<Schema, StageError> {
    let mut reader = open(path, delimiter)?;
    let names = header(path, &mut reader)?;
    let mut guesses = vec![Guess::Unknown; names.len()];
    let mut row = ByteRecord::new();
    for _ in 0..HEAD_ROWS {
        if !reader.read_byte_record(&mut row).map_err(|error| malformed(path, &error))? {
            break;
        }
        for ((guess, name), cell) in guesses.iter_mut().zip(&names).zip(&row) {
            *guess = guess.join(Guess::of(utf8(path, &row, name, cell)?));
        }
    }
    let kind = |name: &String, guess| match guess {
        _ if images.contains(name) => FieldKind::Image,
        Guess::Unknown => FieldKind::Json,
        Guess::Bool => FieldKind::Bool,
        Guess::Int => FieldKind::Int,
        Guess::Float => FieldKind::Float,
        Guess::Text => FieldKind::Text,
    };
    Ok(names.into_iter().zip(guesses).map(|(name, guess)| (name.clone(), kind(&name, guess))).collect())
}

pub(super) fn read(
    path: &Path,
    delimiter: u8,
    columns: &Columns,
    context: ReadContext<'_>,
    take: TakeRows<'_>,
) -> Result<(), StageError> {
    let mut reader = open(path, delimiter)?;
    let names = header(path, &mut reader)?;
    let indexes: Vec<Option<usize>> = names.iter().map(|name| columns.get_index_of(name)).collect();
    let mut builder = RowBuilder::new(columns);
    let mut row = ByteRecord::new();
    let mut failed = None;
    while failed.is_none() {
        match reader.read_byte_record(&mut row) {
            Ok(true) => failed = take_row(path, &names, &indexes, &row, context, &mut builder).err(),
            Ok(false) => break,
            Err(error) => failed = Some(malformed(path, &error)),
        }
        if builder.rows.records.len() == BATCH_ROWS && take(builder.take())?.is_break() {
            return Ok(());
        }
    }
    // Rows in front of an error may be all that is wanted.
    match (take(builder.take())?, failed) {
        (ControlFlow::Continue(()), Some(error)) => Err(error),
        _ => Ok(()),
    }
}

fn take_row(
    path: &Path,
    names: &[String],
    indexes: &[Option<usize>],
    row: &ByteRecord,
    context: ReadContext<'_>,
    builder: &mut RowBuilder<'_>,
) -> Result<(), StageError> {
    builder.begin();
    let columns = builder.columns();
    for ((name, index), cell) in names.iter().zip(indexes).zip(row) {
        let cell = utf8(path, row, name, cell)?;
        let Some(index) = *index else { continue };
        let Some((_, column)) = columns.get_index(index) else { continue };
        let value = match cell {
            "" => Ok(Value::Null),
            // Whatever digits an id has are its own: `007` is not `7`.
            _ if column.id && column.fields.is_empty() => Ok(Value::text(cell)),
            _ if column.images => image::load(path, cell, context.blobs),
            _ => value(cell, &column.kind, name),
        };
        builder.first(index);
        value.and_then(|value| builder.put(index, value)).map_err(|reason| refused(path, row, name, &reason))?;
    }
    builder.end(line(row)).map_err(|(column, reason)| refused(path, row, &column, &reason))
}

/// A cell's value in a column of `kind`.
fn value(cell: &str, kind: &FieldKind, name: &str) -> Result<Value, String> {
    let found = match kind {
        FieldKind::Text | FieldKind::Image => Some(Value::text(cell)),
        FieldKind::Bool => boolean(cell).map(Value::Bool),
        FieldKind::Int => cell.parse().ok().map(Value::Int),
        FieldKind::Float => {
            cell.parse::<f64>().ok().map(|value| if value.is_finite() { Value::Float(value) } else { Value::Null })
        }
        FieldKind::List(_) | FieldKind::Json => {
            serde_json::from_str::<Value>(cell).ok().and_then(|value| fit(value, kind).ok())
        }
    };
    found.ok_or_else(|| {
        let cell = super::rows::shown(&Value::text(cell));
        format!(
            "expected {kind}, found {cell}; a column's kind comes from the first {HEAD_ROWS} rows, and \
             `kinds = {{ {name} = \"text\" }}` takes its cells as they stand"
        )
    })
}

pub(super) fn image_files(path: &Path, delimiter: u8, images: &[String]) -> Result<Vec<PathBuf>, StageError> {
    let mut reader = open(path, delimiter)?;
    let names = header(path, &mut reader)?;
    let columns: Vec<usize> = (0..names.len()).filter(|index| images.contains(&names[*index])).collect();
    let mut files = Vec::new();
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row).map_err(|error| malformed(path, &error))? {
        for cell in columns.iter().filter_map(|index| row.get(*index)).filter(|cell| !cell.is_empty()) {
            let text = String::from_utf8_lossy(cell);
            if from_data_uri(&text).is_none() {
                files.push(beside(path, &text));
            }
        }
    }
    Ok(files)
}

fn open(path: &Path, delimiter: u8) -> Result<Reader<Text>, StageError> {
    let (text, _) = text::open(path)?;
    Ok(ReaderBuilder::new().delimiter(delimiter).buffer_capacity(1 << 18).from_reader(text))
}

/// The names of the columns. One without a name, as pandas writes its index, is called `unnamed-N` by its place.
fn header(path: &Path, reader: &mut Reader<Text>) -> Result<Vec<String>, StageError> {
    let header = reader.byte_headers().map_err(|error| malformed(path, &error))?;
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name).map_err(|_| {
            StageError::failed(format!("{}:1: the header's column {} is not UTF-8", path.display(), index + 1))
        })?;
        let name = if name.is_empty() { format!("unnamed-{}", index + 1) } else { name.to_owned() };
        if names.contains(&name) {
            return Err(StageError::failed(format!(
                "{}:1: the header has the column `{name}` twice; give each column a name of its own",
                path.display()
            )));
        }
        names.push(name);
    }
    Ok(names)
}

fn utf8<'c>(path: &Path, row: &ByteRecord, column: &str, cell: &'c [u8]) -> Result<&'c str, StageError> {
    std::str::from_utf8(cell).map_err(|_| refused(path, row, column, "the text is not UTF-8; save the file as UTF-8"))
}

fn line(row: &ByteRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

fn refused(path: &Path, row: &ByteRecord, column: &str, reason: &str) -> StageError {
    StageError::failed(format!("{}:{}: column `{column}`: {reason}", path.display(), line(row)))
}

fn malformed(path: &Path, error: &csv::Error) -> StageError {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            let help = if len < expected_len {
                "; is a quote not closed, or the delimiter another?"
            } else {
                "; quote a cell that holds the delimiter"
            };
            StageError::failed(format!(
                "{}:{line}: expected {expected_len} cells, as in the header, found {len}{help}",
                path.display()
            ))
        }
        ErrorKind::Io(error) => text::unpack_error(path, std::io::Error::new(error.kind(), error.to_string())),
        _ => StageError::failed(format!("cannot read `{}` as CSV: {error}", path.display())),
    }
}
