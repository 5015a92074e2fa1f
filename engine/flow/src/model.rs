//! Models as the engine sees them: named files with digests. It does not know what is in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A model at rest: a Hugging Face folder, or the files of a checkpoint in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Decides every key that depends on the model: the digest of the files' names and contents, and of `init_seed`.
    pub digest: Digest,
    /// File name in Hugging Face layout (`config.json`, `model.safetensors`, ...) -> where its bytes lie on this machine.
    pub files: BTreeMap<String, PathBuf>,
    /// With a seed, the weights are drawn at random from it and `files` holds no weights.
    pub init_seed: Option<u64>,
    /// What the check of the graph needs to know about it.
    pub traits: ModelTraits,
}

/// What stages ask about a model before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTraits {
    /// The model takes images.
    pub vision: bool,
    /// One line for people: architecture and size.
    pub summary: String,
}

/// Reads a model's traits from its files; the crate that owns models supplies it.
pub trait ModelInspector: Send + Sync {
    /// The traits of the model whose files are given (`config.json` among them). `random_init`: no weights are expected.
    ///
    /// # Errors
    /// What is missing or wrong, in words for the person who wrote the graph.
    fn inspect(&self, files: &BTreeMap<String, PathBuf>, random_init: bool) -> Result<ModelTraits, String>;
}

impl Model {
    /// The digest of a model from those of its files.
    pub fn digest_of(files: &BTreeMap<String, Digest>, init_seed: Option<u64>) -> Digest {
        #[derive(Serialize)]
        struct Identity<'a> {
            files: &'a BTreeMap<String, Digest>,
            init_seed: Option<u64>,
        }
        Digest::of_json(&Identity { files, init_seed })
    }
}
