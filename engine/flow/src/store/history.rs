//! What is remembered of a graph between runs: the keys that its nodes had, so that a plan can say what changed, and memos
//! of what came of which inputs, so that a node can be known to be a hit without reading a record. Losing it loses time only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;

use super::{Store, lock};

/// What is remembered of a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The nodes by name.
    pub nodes: BTreeMap<String, Past>,
    /// What came of which inputs, by the digest of a key and of input identities; the latest are last.
    #[serde(default)]
    pub memos: IndexMap<Digest, Memo>,
}

/// How a node was when it last finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its key.
    pub key: Json,
    /// Seconds that it took when it last computed.
    pub seconds: Option<f64>,
}

/// What a node gave for a key and the identities of its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    /// The digest of its key: where the store has its action or its units.
    pub key: Digest,
    /// The identity of each record output.
    pub outputs: BTreeMap<String, StreamId>,
    /// The files of each model output: file name -> digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, BTreeMap<String, Digest>>,
    /// The store's files that hold it, relative to the store.
    pub files: Vec<String>,
    /// The file outside that a sink has written, and its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<(PathBuf, Digest)>,
    /// Records that came in.
    pub records_in: u64,
    /// Units of work.
    pub units: u64,
    /// Records that were dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drop_reasons: BTreeMap<String, u64>,
    /// Seconds that it took to compute.
    pub seconds: f64,
}

/// A stream as a value: equal identities hold equal records in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamId {
    /// The identity.
    pub digest: Digest,
    /// How many records there are.
    pub count: u64,
}

/// Memos that are kept beside those of the graph as it is now: variants made with `--set`, an edit taken back.
const OTHER_MEMOS: usize = 3;

impl History {
    /// Keeps a memo as the latest, and as many of the older ones as are worth it for a graph of `nodes` nodes.
    pub fn keep(&mut self, address: Digest, memo: Memo, nodes: usize) {
        self.memos.shift_remove(&address);
        self.memos.insert(address, memo);
        let most = nodes * (1 + OTHER_MEMOS) + 64;
        if self.memos.len() > most + nodes {
            self.memos.drain(..self.memos.len() - most);
        }
    }
}

impl Store {
    /// The file of the action with this key, relative to the store.
    pub(crate) fn action_file(&self, key: &Digest) -> String {
        self.relative(&self.action_path(key)).unwrap_or_default()
    }

    /// Removes an action whose parts turned out to be missing: it counts as a loss, and is made anew.
    pub(crate) fn discard_action(&self, key: &Digest, why: &str) {
        let path = self.action_path(key);
        let note = format!("action `{}` cannot be used: {why}; it is made anew", path.display());
        lock(&self.notes).new.push(note);
        let _ = std::fs::remove_file(&path);
        self.forget(&path);
        self.count_loss();
    }

    /// What is remembered of the graph at `path`. Empty if nothing is.
    ///
    /// # Errors
    /// The disk's.
    pub fn history(&self, path: &Path) -> Result<History, StageError> {
        Ok(self.read_sealed(&self.history_path(path), "list of last keys")?.unwrap_or_default())
    }

    /// Replaces what is remembered of the graph at `path`.
    ///
    /// # Errors
    /// The disk's.
    pub fn save_history(&self, path: &Path, history: &History) -> Result<(), StageError> {
        self.write_sealed(&self.history_path(path), history)
    }

    fn history_path(&self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = Digest::of(path.as_os_str().as_encoded_bytes());
        self.root.join("graphs").join(format!("{name}.json"))
    }
}
