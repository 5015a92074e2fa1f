//! The kinds of node that use a model: the only part of the crate that knows graphs and records.
//!
//! One kind is one file and one line in [`kinds`].

mod caption;
mod eval;
mod filter_shortest_correct;
mod grading;
mod grpo;
mod images;
mod loaded;
mod prompting;
mod reasoning_sample;
mod rewards;
mod sampling;
mod sft;
mod training;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::{ModelInspector, ModelTraits};
use ruminate_flow::score::Scorers;
use ruminate_flow::stage::Kind;

use crate::Error;
use crate::config::ModelConfig;
use crate::types::ModelFiles;

/// Every kind of this crate. `scorers` opens the plugins that `grpo` takes as rewards.
pub fn kinds(scorers: Arc<dyn Scorers>) -> Vec<Box<dyn Kind>> {
    vec![
        Box::new(caption::Caption),
        Box::new(reasoning_sample::ReasoningSample),
        Box::new(filter_shortest_correct::FilterShortestCorrect),
        Box::new(sft::Sft),
        Box::new(grpo::Grpo { scorers }),
        Box::new(eval::Eval),
    ]
}

/// Reads a model's traits from its `config.json`.
pub fn inspector() -> Box<dyn ModelInspector> {
    Box::new(Inspector)
}

struct Inspector;

impl ModelInspector for Inspector {
    fn inspect(&self, files: &BTreeMap<String, PathBuf>, random_init: bool) -> Result<ModelTraits, String> {
        let files = ModelFiles { files: files.clone(), init: random_init.then_some(0) };
        let config = ModelConfig::load(&files).map_err(|error| error.to_string())?;
        let weights = files.files.keys().any(|name| name.ends_with(".safetensors"));
        if !random_init && !weights {
            return Err(
                "it has no `*.safetensors` file: to train from random weights write `config = \"FOLDER\"` and \
                        `init = \"random\"` instead of `path`"
                    .to_owned(),
            );
        }
        Ok(ModelTraits { vision: config.vision.is_some(), summary: config.summary() })
    }
}

/// The crate's errors as a stage reports them.
fn stage_error(error: Error) -> StageError {
    match error {
        Error::Interrupted { .. } | Error::Stopped => StageError::Interrupted,
        Error::Read { path, source } => StageError::Io { action: "read", path, source },
        Error::Write { path, source } => StageError::Io { action: "write", path, source },
        other => StageError::failed(other),
    }
}
