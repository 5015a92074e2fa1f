//! Actions: what a source or a set stage gave for a key, and the segments that hold its records.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::{Record, Schema, Value};
use crate::stage::Dropped;

use super::{Store, persist, temporary_beside};

/// What a source or a set stage gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Everything that decided it, readable.
    pub key: Json,
    /// The records of each output port.
    pub records: BTreeMap<String, Segment>,
    /// The files of each model output port: file name -> digest.
    pub models: BTreeMap<String, BTreeMap<String, Digest>>,
    /// The input records that were left out, by input port.
    pub drops: BTreeMap<String, Vec<Dropped>>,
    /// Seconds that it took.
    pub seconds: f64,
    /// When it finished, in seconds since 1970.
    pub finished: u64,
}

/// A stored list of records: JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many records it holds.
    pub count: u64,
    /// Their schema.
    pub schema: Schema,
}

/// Writes a segment while its records are made.
pub struct SegmentWriter<'a> {
    store: &'a Store,
    file: BufWriter<tempfile::NamedTempFile>,
    hasher: blake3::Hasher,
    count: u64,
    path: PathBuf,
}

impl Store {
    /// The action stored for a key. `None`: there is none, or it is damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn action(&self, key: &Digest) -> Result<Option<Action>, StageError> {
        self.read_sealed(&self.action_path(key), "action")
    }

    /// Stores an action. Everything that it refers to must have been written.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_action(&self, key: &Digest, action: &Action) -> Result<(), StageError> {
        self.flush_blobs()?;
        self.write_sealed(&self.action_path(key), action)
    }

    /// Begins a segment.
    ///
    /// # Errors
    /// The disk's.
    pub fn segment_writer(&self) -> Result<SegmentWriter<'_>, StageError> {
        let path = self.root.join("segments").join("new");
        let file = BufWriter::new(temporary_beside(&path)?);
        Ok(SegmentWriter { store: self, file, hasher: blake3::Hasher::new(), count: 0, path })
    }

    /// Opens a segment.
    pub fn open_segment(&self, segment: &Segment) -> Result<Option<SegmentReader>, StageError> {
        Ok(self.records(segment)?.map(|records| SegmentReader(Some(records))))
    }

    /// Whether a file is whole.
    pub fn verified(&self, relative: &str) -> Result<bool, StageError> {
        Ok(self.root.join(relative).exists())
    }

    /// The store's files that hold these blobs.
    pub fn blob_files(&self, _digests: &[Digest]) -> Vec<String> {
        Vec::new()
    }

    /// The records of a segment, in order. `None`: it is missing or damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn records(&self, segment: &Segment) -> Result<Option<Vec<Record>>, StageError> {
        let path = self.segment_path(&segment.digest);
        let Some(bytes) = self.read_named(&path, &segment.digest, "segment")? else { return Ok(None) };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let records = lines.map(serde_json::from_slice).collect::<Result<Vec<_>, _>>().ok();
        if records.is_none() {
            self.set_aside(&path, "segment");
        }
        Ok(records)
    }

    /// The first blob that `records` hold and the store lacks.
    ///
    /// # Errors
    /// The disk's.
    pub fn missing_blob<'a>(&self, values: impl IntoIterator<Item = &'a Value>) -> Result<Option<Digest>, StageError> {
        for value in values {
            let missing = match value {
                Value::Blob(blob) => (!self.holds(blob)?).then_some(blob.digest),
                Value::List(values) => self.missing_blob(values)?,
                Value::Map(values) => self.missing_blob(values.values())?,
                _ => None,
            };
            if missing.is_some() {
                return Ok(missing);
            }
        }
        Ok(None)
    }

    fn action_path(&self, key: &Digest) -> PathBuf {
        self.place("actions", key, ".json")
    }

    pub(super) fn segment_path(&self, digest: &Digest) -> PathBuf {
        self.place("segments", digest, ".jsonl")
    }
}

/// Reads a segment.
pub struct SegmentReader(Option<Vec<Record>>);

impl SegmentReader {
    /// The next records.
    pub fn next(&mut self) -> Result<Option<Vec<Record>>, StageError> {
        Ok(self.0.take())
    }
}

impl SegmentWriter<'_> {
    /// Adds records.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StageError> {
        let mut lines = Vec::with_capacity(records.len() * 256);
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(StageError::failed)?;
            lines.push(b'\n');
        }
        self.hasher.update(&lines);
        self.count += records.len() as u64;
        self.file.write_all(&lines).map_err(StageError::io("write", &self.path))
    }

    /// Ends the segment.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self, schema: Schema) -> Result<Segment, StageError> {
        let file = self.file.into_inner().map_err(|error| StageError::io("write", &self.path)(error.into_error()))?;
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        let path = self.store.segment_path(&digest);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(StageError::io("create", folder))?;
        }
        persist(file, &path)?;
        Ok(Segment { digest, count: self.count, schema })
    }
}
