//! What a reader takes from a file's columns, and the records that it makes of their values. It knows no format.

use std::ops::ControlFlow;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::{FieldKind, Fields, Record, Value};
use crate::stage::Blobs;

use super::HEAD_ROWS;

/// All columns of a file, by name, in its order.
pub type Columns = IndexMap<String, Column>;

/// What becomes of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The kind that its values must have; a whole number serves as a number, and any value as `json`.
    pub kind: FieldKind,
    /// The fields that its value goes to. None: the column is left out.
    pub fields: Vec<Arc<str>>,
    /// Its value is the record's id. If no column's is, ids derive from the content of the fields.
    pub id: bool,
    /// In text formats: its values are images, as paths relative to the file or as `data:` URIs.
    pub images: bool,
}

/// What reading may use.
#[derive(Clone, Copy)]
pub struct ReadContext<'a> {
    /// Where images' bytes go.
    pub blobs: &'a dyn Blobs,
    /// Threads that may parse.
    pub threads: usize,
}

/// Takes rows in order. `Break` ends the reading early, without an error.
pub type TakeRows<'a> = &'a mut dyn FnMut(Rows) -> Result<ControlFlow<()>, StageError>;

/// Some neighbouring rows of a file.
#[derive(Debug, Default)]
pub struct Rows {
    /// The records. Where ids derive from the content, equal ones still have equal ids.
    pub records: Vec<Record>,
    /// What each record's id is told apart by.
    pub marks: Vec<Mark>,
    /// Where each record stands: the line of a text file, the row of a Parquet file, both from 1.
    pub places: Vec<u64>,
    /// A name that is no column of the file's head, and the line where it stands: its values are left out.
    pub late: Option<(String, u64)>,
}

/// A short stand-in for an id: equal ids have equal marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The id is this whole number, in its usual digits.
    Int(i64),
    /// A hash of the id.
    Hash(u64),
    /// The first 48 bits of the content's digest: the id derives from it.
    Content(u64),
}

/// Makes records of rows, one after the other.
pub(super) struct RowBuilder<'a> {
    columns: &'a Columns,
    id_given: bool,
    fields: Fields,
    id: Option<(Arc<str>, Mark)>,
    seen: Vec<bool>,
    scratch: Vec<u8>,
    pub(super) rows: Rows,
}

impl<'a> RowBuilder<'a> {
    pub(super) fn new(columns: &'a Columns) -> Self {
        Self {
            columns,
            id_given: columns.values().any(|column| column.id),
            fields: Fields::new(),
            id: None,
            seen: vec![false; columns.len()],
            scratch: Vec::new(),
            rows: Rows::default(),
        }
    }

    pub(super) fn columns(&self) -> &'a Columns {
        self.columns
    }

    /// Begins the next row.
    pub(super) fn begin(&mut self) {
        self.fields.clear();
        self.id = None;
        self.seen.fill(false);
    }

    /// Whether the row has no value for the column yet; from now on it has.
    pub(super) fn first(&mut self, index: usize) -> bool {
        self.seen.get_mut(index).is_some_and(|seen| !std::mem::replace(seen, true))
    }

    /// Takes the row's value in the column of this index: `Err` says what does not fit.
    pub(super) fn put(&mut self, index: usize, value: Value) -> Result<(), String> {
        let Some((name, column)) = self.columns.get_index(index) else { return Ok(()) };
        if column.id {
            self.id = Some(id_of(&value, &mut self.scratch)?);
        }
        let Some((last, others)) = column.fields.split_last() else { return Ok(()) };
        let value = fit(value, &column.kind).map_err(|value| misfit(name, &column.kind, &value))?;
        for field in others {
            self.fields.insert(field.clone(), value.clone());
        }
        self.fields.insert(last.clone(), value);
        Ok(())
    }

    /// Ends the row, which stands at `place`. Columns without a value are null. `Err`: the column and what is wrong.
    pub(super) fn end(&mut self, place: u64) -> Result<(), (String, String)> {
        for index in 0..self.seen.len() {
            if self.first(index) {
                self.put(index, Value::Null).map_err(|reason| (self.column(index), reason))?;
            }
        }
        let fields = std::mem::take(&mut self.fields);
        let (id, mark) = match self.id.take() {
            Some(id) => id,
            None if self.id_given => return Err((self.id_column(), "expected an id".to_owned())),
            None => content_id(&fields, &mut self.scratch),
        };
        self.rows.records.push(Record { id, fields });
        self.rows.marks.push(mark);
        self.rows.places.push(place);
        Ok(())
    }

    /// The rows so far; the builder goes on without them.
    pub(super) fn take(&mut self) -> Rows {
        std::mem::take(&mut self.rows)
    }

    fn column(&self, index: usize) -> String {
        self.columns.get_index(index).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn id_column(&self) -> String {
        self.columns.iter().find(|(_, column)| column.id).map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

/// The id that a column's value gives.
fn id_of(value: &Value, scratch: &mut Vec<u8>) -> Result<(Arc<str>, Mark), String> {
    match value {
        Value::Text(id) if !id.is_empty() => Ok((id.clone(), mark_of(id))),
        Value::Int(id) => {
            use std::io::Write;
            scratch.clear();
            // Writing to memory cannot fail.
            let _ = write!(scratch, "{id}");
            Ok((std::str::from_utf8(scratch).unwrap_or_default().into(), Mark::Int(*id)))
        }
        other => Err(format!("expected an id, a text or whole number, not {}", shown(other))),
    }
}

/// The mark of an id.
pub(crate) fn mark_of(id: &str) -> Mark {
    match id.parse::<i64>() {
        // `007` and `+7` are other ids than `7`.
        Ok(number) if is_plain_number(id) => Mark::Int(number),
        _ => {
            use std::hash::Hasher;
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(id.as_bytes());
            Mark::Hash(hasher.finish())
        }
    }
}

/// Whether digits are those in which a number is usually written: no leading zeros, no plus.
pub(super) fn is_plain_number(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The id of a record without one: the first 12 digits of [`Digest::of_json`] of its fields.
fn content_id(fields: &Fields, scratch: &mut Vec<u8>) -> (Arc<str>, Mark) {
    scratch.clear();
    // Fields serialise to memory without fail: their names are texts.
    let _ = serde_json::to_writer(&mut *scratch, fields);
    let digest = Digest::of(scratch);
    let [a, b, c, d, e, f, ..] = *digest.bytes();
    let mut digits = [0; 12];
    for (pair, byte) in digits.chunks_exact_mut(2).zip([a, b, c, d, e, f]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    let id = std::str::from_utf8(&digits).unwrap_or_default().into();
    (id, Mark::Content(u64::from_be_bytes([0, 0, a, b, c, d, e, f])))
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// The value in a column of `kind`: a whole number becomes a number there. `Err` gives back what does not fit.
pub(crate) fn fit(value: Value, kind: &FieldKind) -> Result<Value, Value> {
    match (value, kind) {
        (Value::Int(value), FieldKind::Float) => Ok(Value::Float(value as f64)),
        (Value::List(values), FieldKind::List(inner)) => {
            values.into_iter().map(|value| fit(value, inner)).collect::<Result<_, _>>().map(Value::List)
        }
        (value @ Value::Null, _) | (value, FieldKind::Json) => Ok(value),
        (value @ Value::Bool(_), FieldKind::Bool)
        | (value @ Value::Int(_), FieldKind::Int)
        | (value @ Value::Float(_), FieldKind::Float)
        | (value @ Value::Text(_), FieldKind::Text)
        | (value @ Value::Blob(_), FieldKind::Image) => Ok(value),
        // A whole number outside 64 bits.
        (Value::Float(value), FieldKind::Int) if value.abs() >= TWO_TO_63 => Ok(Value::Float(value)),
        (value, _) => Err(value),
    }
}

fn misfit(column: &str, kind: &FieldKind, value: &Value) -> String {
    format!(
        "expected {kind}, found {} {}; a column's kind comes from the first {HEAD_ROWS} rows, and \
         `kinds = {{ {column} = \"json\" }}` lets it hold any value",
        FieldKind::of(value),
        shown(value)
    )
}

/// A value for a message, shortened.
pub(super) fn shown(value: &Value) -> String {
    const LENGTH: usize = 60;
    let text = value.to_json().to_string();
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}
