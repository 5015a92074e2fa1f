//! The keys that a graph's nodes had when they last finished, so that a plan can say what changed since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;

use super::Store;

/// What is remembered of a graph: node name -> how it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The nodes by name.
    pub nodes: BTreeMap<String, Past>,
}

/// How a node was when it last finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its key.
    pub key: Json,
    /// Seconds that it took when it last computed.
    pub seconds: Option<f64>,
}

impl Store {
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
