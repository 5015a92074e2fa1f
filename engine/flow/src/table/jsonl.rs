//! Reads JSON lines: an object on each line, straight into fields, on several threads.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value as Json;

use crate::error::StageError;
use crate::record::{FieldKind, Schema, Value};

use super::HEAD_ROWS;
use super::guess::Guess;
use super::image::{self, beside, from_data_uri};
use super::ordered::ordered;
use super::rows::{Columns, ReadContext, RowBuilder, Rows, TakeRows};
use super::text::{BLOCK_BYTES, Block, Blocks, SMALL_BLOCK_BYTES};

/// The most threads that parse. Hardly any stage takes records as fast as these give them.
const PARSERS: usize = 8;

pub(super) fn schema_of(path: &Path, images: &[String]) -> Result<Schema, StageError> {
    let mut kinds = indexmap::IndexMap::<String, Guess>::new();
    let mut rows = 0;
    for_each_row(path, |row| {
        for (name, value) in row {
            kinds.entry(name).or_default().widen(&Value::from_json(value));
        }
        rows += 1;
        rows < HEAD_ROWS
    })?;
    let kind = |name: &String, guess: Guess| match guess.kind().unwrap_or(FieldKind::Json) {
        kind if !images.contains(name) => kind,
        FieldKind::List(_) => FieldKind::List(Box::new(FieldKind::Image)),
        _ => FieldKind::Image,
    };
    Ok(kinds.into_iter().map(|(name, guess)| (name.clone(), kind(&name, guess))).collect())
}

pub(super) fn image_files(path: &Path, images: &[String]) -> Result<Vec<PathBuf>, StageError> {
    let mut files = Vec::new();
    let mut add = |value: Option<&Json>| {
        if let Some(Json::String(text)) = value
            && from_data_uri(text).is_none()
        {
            files.push(beside(path, text));
        }
    };
    for_each_row(path, |row| {
        for column in images {
            match row.get(column) {
                Some(Json::Array(values)) => values.iter().for_each(|value| add(Some(value))),
                value => add(value),
            }
        }
        true
    })?;
    Ok(files)
}

/// Gives every row until one answers `false`.
fn for_each_row(path: &Path, mut take: impl FnMut(serde_json::Map<String, Json>) -> bool) -> Result<(), StageError> {
    let mut blocks = Blocks::open(path, BLOCK_BYTES)?;
    while let Some(block) = blocks.next_block()? {
        for (number, cut, line) in block.lines() {
            let row = serde_json::from_slice(line).map_err(|error| malformed(path, number, cut, line, &error))?;
            if !take(row) {
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(super) fn read(
    path: &Path,
    columns: &Columns,
    context: ReadContext<'_>,
    take: TakeRows<'_>,
) -> Result<(), StageError> {
    let has_images = columns.values().any(|column| column.images);
    let blocks = Blocks::open(path, if has_images { SMALL_BLOCK_BYTES } else { BLOCK_BYTES })?;
    let parser = Parser { path, columns, context };
    let mut blocks = Some(blocks);
    let mut next = || match blocks.as_mut()?.next_block() {
        Ok(block) => block.map(Ok),
        // The error goes the way of the rows in front of it, and is the last.
        Err(error) => {
            blocks = None;
            Some(Err(error))
        }
    };
    let mut hand_on = |(rows, error): (Rows, Option<StageError>)| -> ControlFlow<Result<(), StageError>> {
        match take(rows) {
            Err(error) => return ControlFlow::Break(Err(error)),
            Ok(ControlFlow::Break(())) => return ControlFlow::Break(Ok(())),
            Ok(ControlFlow::Continue(())) => {}
        }
        error.map_or(ControlFlow::Continue(()), |error| ControlFlow::Break(Err(error)))
    };
    let parse = |block: Result<Block, StageError>| match block {
        Ok(block) => parser.parse(&block),
        Err(error) => (Rows::default(), Some(error)),
    };
    // A small file is not worth a thread.
    if let Some(first) = next()
        && let ControlFlow::Break(result) = hand_on(parse(first))
    {
        return result;
    }
    match ordered(context.threads.min(PARSERS), next, parse, hand_on) {
        ControlFlow::Break(result) => result,
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Parser<'a> {
    path: &'a Path,
    columns: &'a Columns,
    context: ReadContext<'a>,
}

impl Parser<'_> {
    /// The rows of a block; with an error, those in front of it.
    fn parse(&self, block: &Block) -> (Rows, Option<StageError>) {
        let mut builder = RowBuilder::new(self.columns);
        for (number, cut, line) in block.lines() {
            if let Err(error) = self.row(&mut builder, number, cut, line) {
                return (builder.take(), Some(error));
            }
        }
        (builder.take(), None)
    }

    fn row(&self, builder: &mut RowBuilder<'_>, number: u64, cut: usize, line: &[u8]) -> Result<(), StageError> {
        builder.begin();
        let mut json = serde_json::Deserializer::from_slice(line);
        let mut refused = None;
        let row = RowSeed { parser: self, builder, number, refused: &mut refused };
        let read = row.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| match refused {
            Some((column, reason)) => {
                let place = column_of(line, cut, error.column());
                StageError::failed(format!("{}:{number}{place}: column `{column}`: {reason}", self.path.display()))
            }
            None => malformed(self.path, number, cut, line, &error),
        })?;
        builder.end(number).map_err(|(column, reason)| {
            StageError::failed(format!("{}:{number}: column `{column}`: {reason}", self.path.display()))
        })
    }

    /// What a column of images holds: a path, a `data:` URI, or a list of these.
    fn images(&self, value: Value) -> Result<Value, String> {
        match value {
            Value::Text(text) => image::load(self.path, &text, self.context.blobs),
            Value::List(values) => {
                values.into_iter().map(|value| self.images(value)).collect::<Result<_, _>>().map(Value::List)
            }
            value @ (Value::Null | Value::Blob(_)) => Ok(value),
            other => Err(format!("expected an image's path or a `data:` URI, not `{}`", other.to_json())),
        }
    }

    /// A row may hold a blob by its digest, as `show --json` prints it, if the store has it.
    fn check_blobs(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Blob(blob) => self
                .context
                .blobs
                .get(blob)
                .map(drop)
                .map_err(|_| format!("it names the blob `{}`, whose bytes are not in the store", blob.digest)),
            Value::List(values) => values.iter().try_for_each(|value| self.check_blobs(value)),
            Value::Map(values) => values.values().try_for_each(|value| self.check_blobs(value)),
            _ => Ok(()),
        }
    }
}

/// Reads one row into the builder. What a column refuses goes to `refused`: JSON's own errors have no room for a column.
struct RowSeed<'r, 'b, 'p> {
    parser: &'r Parser<'p>,
    builder: &'r mut RowBuilder<'b>,
    number: u64,
    refused: &'r mut Option<(String, String)>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let columns = self.parser.columns;
        let mut expected = 0;
        while let Some(name) = map.next_key_seed(Name { columns, expected })? {
            let index = match name {
                Ok(index) => index,
                Err(late) => {
                    map.next_value::<IgnoredAny>()?;
                    self.builder.rows.late.get_or_insert((late, self.number));
                    continue;
                }
            };
            expected = index + 1;
            let Some((name, column)) = columns.get_index(index) else { continue };
            let mut refuse = |reason: String| {
                *self.refused = Some((name.clone(), reason));
                A::Error::custom("refused")
            };
            if !self.builder.first(index) {
                return Err(refuse("the row has this column twice".to_owned()));
            }
            if column.fields.is_empty() && !column.id {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let mut value = map.next_value::<Value>()?;
            if column.images {
                value = self.parser.images(value).map_err(&mut refuse)?;
            }
            if matches!(value, Value::Blob(_) | Value::List(_) | Value::Map(_)) && !column.images {
                self.parser.check_blobs(&value).map_err(&mut refuse)?;
            }
            self.builder.put(index, value).map_err(&mut refuse)?;
        }
        Ok(())
    }
}

/// Reads a key as the index of its column. Rows mostly have their columns in the same order.
struct Name<'a> {
    columns: &'a Columns,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a column's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        if self.columns.get_index(self.expected).is_some_and(|(expected, _)| expected == name) {
            return Ok(Ok(self.expected));
        }
        Ok(self.columns.get_index_of(name).ok_or_else(|| name.to_owned()))
    }
}

/// An error about a line that is not a JSON object.
fn malformed(path: &Path, number: u64, cut: usize, line: &[u8], error: &serde_json::Error) -> StageError {
    // The error's own line is always 1: only its column says something.
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let rest = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let help = match line {
        _ if [&b"NaN"[..], b"Infinity", b"nan"].iter().any(|word| rest.starts_with(word)) => {
            "; JSON has no such number, write `null`"
        }
        [b'[', ..] => "; write each row as an object on a line of its own, without a list around them",
        [b'{', ..] if error.is_eof() => "; a row must end on the line on which it begins",
        _ => "",
    };
    let place = column_of(line, cut, error.column());
    StageError::failed(format!(
        "{}:{number}{place}: expected a JSON object on the line: {reason}{help}",
        path.display()
    ))
}

/// The column of a byte of a line, in characters; `cut`: how many bytes stood in front of the line.
fn column_of(line: &[u8], cut: usize, byte: usize) -> String {
    match byte.checked_sub(1) {
        None => String::new(),
        Some(before) => {
            let before = String::from_utf8_lossy(line.get(..before).unwrap_or(line)).chars().count();
            format!(":{}", cut + before + 1)
        }
    }
}
