//! What a stage may use while it works, and nothing else: it never touches the store, other nodes or the terminal.

use std::collections::BTreeMap;

use crate::error::StageError;
use crate::event::Cancel;
use crate::record::Blob;

/// What a stage may use while it works.
pub struct StageContext<'a> {
    /// The graph's seed, for stages with [`Stage::seeded`](super::Stage::seeded).
    pub seed: u64,
    /// The device, as the user named it: `cpu`, `cuda:0`.
    pub device: &'a str,
    /// Threads that the stage may use.
    pub threads: usize,
    /// Bytes by digest.
    pub blobs: &'a dyn Blobs,
    /// Where a set stage keeps its progress.
    pub checkpoint: &'a dyn Checkpoint,
    /// Reports progress.
    pub progress: &'a dyn Progress,
    /// A folder for temporary files, on the store's disk.
    pub scratch: &'a std::path::Path,
    /// Asks the stage to stop.
    pub cancel: &'a Cancel,
}

/// Bytes by digest.
pub trait Blobs: Send + Sync {
    /// The bytes of `blob`, verified.
    ///
    /// # Errors
    /// Missing or damaged.
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError>;
    /// Stores `bytes`.
    ///
    /// # Errors
    /// The disk's.
    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError>;
}

/// A set stage's progress: named parts that are replaced together.
pub trait Checkpoint: Send + Sync {
    /// The last complete checkpoint of this very computation, verified; `None` if there is none.
    ///
    /// # Errors
    /// The disk's. A damaged checkpoint is `None` and a note.
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError>;
    /// Replaces the checkpoint, at once or not at all.
    ///
    /// # Errors
    /// The disk's.
    fn save(&self, parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError>;
}

/// Takes progress reports.
pub trait Progress: Send + Sync {
    /// `done` of `total` units of work (`unit`: `steps`, `records`) are done; `message` stands beside the bar.
    fn report(&self, done: u64, total: Option<u64>, unit: &'static str, message: &str);
    /// A line for the person who watches.
    fn note(&self, message: &str);
    /// A line about a record over which the node's own code failed; the engine tells where the node stands in the graph file.
    fn trouble(&self, message: &str) {
        self.note(message);
    }
}
