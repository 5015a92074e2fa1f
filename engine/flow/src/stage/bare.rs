//! The least that a stage can be given in its [`StageContext`](super::StageContext): for stages that need no more, and for
//! trying a stage without a run.

use std::collections::BTreeMap;

use super::{Blobs, Checkpoint, Progress};
use crate::error::StageError;
use crate::record::Blob;

/// No bytes to read and no place to put any.
pub struct NoBlobs;

impl Blobs for NoBlobs {
    fn get(&self, _blob: &Blob) -> Result<Vec<u8>, StageError> {
        Err(StageError::failed("there are no stored bytes here"))
    }

    fn put(&self, _bytes: &[u8], _media_type: &str) -> Result<Blob, StageError> {
        Err(StageError::failed("bytes cannot be stored here"))
    }
}

/// The checkpoint of stages that keep none.
pub struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
        Ok(None)
    }

    fn save(&self, _parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        Ok(())
    }
}

/// Nobody watches a bar; what is noted goes to this function.
pub struct Notes<F>(pub F);

impl<F: Fn(&str) + Send + Sync> Progress for Notes<F> {
    fn report(&self, _done: u64, _total: Option<u64>, _unit: &'static str, _message: &str) {}

    fn note(&self, message: &str) {
        (self.0)(message);
    }
}
