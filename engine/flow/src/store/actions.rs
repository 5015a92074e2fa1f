//! Actions: what a source or a set stage gave for a key. The records lie in segments, the models in blobs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::Value;
use crate::stage::Dropped;

use super::Store;
use super::segments::Segment;

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

    pub(super) fn action_path(&self, key: &Digest) -> PathBuf {
        self.place("actions", key, ".json")
    }
}
