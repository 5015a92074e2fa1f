//! Records as bytes, for the store's segments and for what waits on the disk. Keys have an encoding of their own
//! ([`crate::key`]): seeds derive from it, so it never changes; this one may.
//!
//! A value is a tag and its content; lengths are LEB128 varints, whole numbers zigzag varints, floats 8 bytes, little-endian.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::Digest;
use crate::record::{Blob, Fields, Record, Value};
use crate::stage::{Dropped, Row};

const NULL: u8 = b'0';
const FALSE: u8 = b'f';
const TRUE: u8 = b't';
const INT: u8 = b'i';
const FLOAT: u8 = b'd';
const TEXT: u8 = b's';
const BLOB: u8 = b'x';
const LIST: u8 = b'l';
const MAP: u8 = b'm';

/// Appends a value. A float that is not finite encodes as no value.
pub fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Value::Int(value) => {
            out.push(INT);
            put_varint(((value << 1) ^ (value >> 63)) as u64, out);
        }
        Value::Float(value) if !value.is_finite() => out.push(NULL),
        Value::Float(value) => {
            out.push(FLOAT);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Blob(blob) => {
            out.push(BLOB);
            out.extend_from_slice(blob.digest.bytes());
            put_varint(blob.bytes, out);
            put_bytes(blob.media_type.as_bytes(), out);
        }
        Value::List(values) => {
            out.push(LIST);
            put_varint(values.len() as u64, out);
            values.iter().for_each(|value| put_value(value, out));
        }
        Value::Map(values) => {
            out.push(MAP);
            put_varint(values.len() as u64, out);
            for (name, value) in values {
                put_bytes(name.as_bytes(), out);
                put_value(value, out);
            }
        }
    }
}

/// Appends a record: id, then the fields by name.
pub fn put_record(record: &Record, out: &mut Vec<u8>) {
    put_bytes(record.id.as_bytes(), out);
    put_fields(&record.fields, out);
}

/// Appends fields, by name.
pub fn put_fields(fields: &Fields, out: &mut Vec<u8>) {
    put_varint(fields.len() as u64, out);
    for (name, value) in fields {
        put_bytes(name.as_bytes(), out);
        put_value(value, out);
    }
}

/// Appends what became of a unit: the rows that go on and the records that do not.
pub fn put_outcome(rows: &[Row], drops: &[Dropped], out: &mut Vec<u8>) {
    put_varint(rows.len() as u64, out);
    for row in rows {
        put_varint(row.source as u64, out);
        put_varint(row.child.map_or(0, |child| u64::from(child) + 1), out);
        put_fields(&row.fields, out);
    }
    put_varint(drops.len() as u64, out);
    for drop in drops {
        put_varint(drop.source as u64, out);
        put_bytes(drop.reason.as_bytes(), out);
    }
}

/// Appends bytes with their length.
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a number: seven bits a byte, the lowest first.
pub fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what the functions above wrote. Every method gives `None` where the bytes are not what is asked for.
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The names of fields seen so far: few, and the same in every record.
    names: Vec<Arc<str>>,
    /// Where in `names` the next one is likely to be: fields come in the same order in every record.
    likely: usize,
}

impl<'a> Reader<'a> {
    /// A reader from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_names(bytes, Vec::new())
    }

    /// A reader that knows names of fields already, from [`Reader::into_names`]: one allocation a name, not one a block.
    pub fn with_names(bytes: &'a [u8], names: Vec<Arc<str>>) -> Self {
        Self { rest: bytes, names, likely: 0 }
    }

    /// The names of fields seen so far.
    pub fn into_names(self) -> Vec<Arc<str>> {
        self.names
    }

    /// Goes on with other bytes; the names of fields stay known.
    pub fn restart(&mut self, bytes: &'a [u8]) {
        self.rest = bytes;
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next value.
    pub fn value(&mut self) -> Option<Value> {
        Some(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => {
                let number = self.varint()?;
                Value::Int((number >> 1) as i64 ^ -((number & 1) as i64))
            }
            FLOAT => Value::Float(f64::from_bits(u64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            TEXT => Value::Text(self.text()?.into()),
            BLOB => {
                let digest = self.digest()?;
                let bytes = self.varint()?;
                Value::Blob(Blob { digest, bytes, media_type: self.text()?.into() })
            }
            LIST => {
                let count = self.count()?;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(self.value()?);
                }
                Value::List(values)
            }
            MAP => {
                let mut values = BTreeMap::new();
                for _ in 0..self.count()? {
                    let name = self.text()?.to_owned();
                    values.insert(name, self.value()?);
                }
                Value::Map(values)
            }
            _ => return None,
        })
    }

    /// The next record.
    pub fn record(&mut self) -> Option<Record> {
        let id = self.text()?.into();
        Some(Record { id, fields: self.fields()? })
    }

    /// The next fields.
    pub fn fields(&mut self) -> Option<Fields> {
        let count = self.count()?;
        let mut fields = Fields::new();
        for _ in 0..count {
            let name = self.name()?;
            let value = self.value()?;
            fields.insert(name, value);
        }
        Some(fields)
    }

    /// What became of a unit.
    pub fn outcome(&mut self) -> Option<(Vec<Row>, Vec<Dropped>)> {
        let count = self.count()?;
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            let source = usize::try_from(self.varint()?).ok()?;
            let child = match self.varint()? {
                0 => None,
                index => Some(u32::try_from(index - 1).ok()?),
            };
            rows.push(Row { source, child, fields: self.fields()? });
        }
        let count = self.count()?;
        let mut drops = Vec::with_capacity(count);
        for _ in 0..count {
            let source = usize::try_from(self.varint()?).ok()?;
            drops.push(Dropped { source, reason: self.text()?.to_owned() });
        }
        Some((rows, drops))
    }

    /// The next digest.
    pub fn digest(&mut self) -> Option<Digest> {
        Some(Digest::from_bytes(self.take(32)?.try_into().ok()?))
    }

    /// The next bytes with a length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    /// The next text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The next number.
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A length of things of at least one byte each: never more than there are bytes.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let text = self.text()?;
        let likely = self.names.get(self.likely).filter(|known| ***known == *text).map(|_| self.likely);
        if let Some(at) = likely.or_else(|| self.names.iter().position(|known| **known == *text)) {
            self.likely = (at + 1) % self.names.len();
            return Some(self.names[at].clone());
        }
        let name: Arc<str> = text.into();
        // Fields by the thousand are data with names of its own: remembering them would cost more than it saves.
        if self.names.len() < 64 {
            self.names.push(name.clone());
        }
        Some(name)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next bytes, as many as asked for.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_cut_bytes_read_as_nothing() {
        let json = serde_json::json!({"a": [1, -5, i64::MAX, i64::MIN, 0.25, true, null], "b": {"c": "text", "d": {}}, "e": ""});
        let mut fields = Fields::new();
        for (name, value) in json.as_object().unwrap() {
            fields.insert(name.as_str().into(), Value::from_json(value.clone()));
        }
        let blob = Blob { digest: Digest::of(b"x"), bytes: 300, media_type: "image/png".into() };
        fields.insert("image".into(), Value::Blob(blob));
        let record = Record { id: "p1/0".into(), fields: fields.clone() };
        let rows =
            vec![Row { source: 0, child: None, fields: Fields::new() }, Row { source: 3, child: Some(0), fields }];
        let drops = vec![Dropped { source: 200, reason: "why".into() }];
        let mut bytes = Vec::new();
        put_record(&record, &mut bytes);
        put_outcome(&rows, &drops, &mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.record(), Some(record));
        assert_eq!(reader.outcome(), Some((rows, drops)));
        assert!(reader.rest().is_empty());
        for end in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..end]);
            assert!(reader.record().and_then(|_| reader.outcome()).is_none());
        }
    }
}
