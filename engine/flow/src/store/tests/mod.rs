//! Tests of the store alone: what is stored comes back, damage is found, room is made.

mod disk;
mod gc;
mod hostile;
mod measure;
mod records;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::record::{Blob, FieldKind, Record, Schema, Value};
use crate::stage::{Blobs, Dropped, Row};

use super::{Action, Store, StoredUnit};

pub(super) fn store(folder: &Path) -> Store {
    Store::open(&folder.join("store")).unwrap()
}

pub(super) fn content(number: u64) -> Digest {
    Digest::of(&number.to_le_bytes())
}

/// A result that goes on as it came.
pub(super) fn plain(number: u64) -> StoredUnit {
    let rows = vec![Row { source: 0, child: None, fields: Default::default() }];
    StoredUnit { content: content(number), rows, drops: vec![], seconds: 0.0, failed: false }
}

/// A dropped record.
pub(super) fn dropped(number: u64, reason: &str) -> StoredUnit {
    let drops = vec![Dropped { source: 0, reason: reason.to_owned() }];
    StoredUnit { content: content(number), rows: vec![], drops, seconds: 0.25, failed: false }
}

/// A result with a field.
pub(super) fn written(number: u64, value: Value) -> StoredUnit {
    let rows = vec![Row { source: 0, child: Some(1), fields: [("answer".into(), value)].into() }];
    StoredUnit { content: content(number), rows, drops: vec![], seconds: 0.5, failed: false }
}

pub(super) fn record(number: u64, value: Value) -> Record {
    let fields = [("n".into(), Value::Int(number as i64)), ("value".into(), value)];
    Record { id: format!("r{number}").into(), fields: fields.into() }
}

pub(super) fn records(count: u64) -> Vec<Record> {
    (0..count).map(|number| record(number, Value::text(format!("text {number}")))).collect()
}

pub(super) fn schema() -> Schema {
    [("n".to_owned(), FieldKind::Int), ("value".to_owned(), FieldKind::Json)].into_iter().collect()
}

/// Stores an action with a segment of `records`.
pub(super) fn put_action(store: &Store, key: &Digest, records: &[Record], seconds: f64) -> Action {
    let mut writer = store.segment_writer().unwrap();
    writer.write(records).unwrap();
    let segment = writer.finish(schema()).unwrap();
    let action = Action {
        key: serde_json::json!({"kind": "read"}),
        records: [("records".to_owned(), segment)].into(),
        models: Default::default(),
        drops: Default::default(),
        seconds,
        finished: 1,
    };
    store.put_action(key, &action).unwrap();
    action
}

pub(super) fn put_units(store: &Store, key: &Digest, units: &[StoredUnit]) -> Vec<String> {
    let mut handle = store.units(key, false).unwrap();
    handle.describe("caption", &serde_json::json!({"kind": "caption"}));
    units.iter().for_each(|unit| handle.add(unit).unwrap());
    handle.finish().unwrap();
    handle.files()
}

pub(super) fn image(store: &Store, number: u64, bytes: usize) -> Blob {
    let bytes: Vec<u8> = (0..bytes).map(|at| (at as u64 * 31 + number * 17) as u8).collect();
    store.put(&bytes, "image/png").unwrap()
}

/// The files below a folder, in order.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
