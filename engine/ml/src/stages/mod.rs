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
use ruminate_flow::model::{Model, ModelInspector, ModelTraits};
use ruminate_flow::score::Scorers;
use ruminate_flow::stage::Kind;

use crate::Error;
use crate::config::ModelConfig;
use crate::image::ImageProcessor;
use crate::types::ModelFiles;
use crate::weights;

/// What every node that uses a model needs of it, beside its configuration and its weights.
const TOKENIZER_FILE: &str = "tokenizer.json";

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
        check_files(&files, &config).map_err(|error| error.to_string())?;
        Ok(ModelTraits { vision: config.vision.is_some(), summary: config.summary() })
    }
}

/// Checks what nodes will need of a model, as far as no weights have to be read for it.
fn check_files(files: &ModelFiles, config: &ModelConfig) -> crate::Result<()> {
    if !files.files.contains_key(TOKENIZER_FILE) {
        return Err(Error::MissingFile { file: TOKENIZER_FILE.to_owned(), purpose: "the tokenizer".to_owned() });
    }
    if let Some(vision) = &config.vision {
        ImageProcessor::load(files, vision)?;
    }
    if files.init.is_some() { Ok(()) } else { weights::check_files(files, config) }
}

/// An error about a model's files, with the folder in which they lie.
fn model_error(model: &Model, error: Error) -> StageError {
    let of_files = matches!(
        error,
        Error::ModelFile { .. } | Error::MissingFile { .. } | Error::Weights { .. } | Error::Tokenizer { .. }
    );
    let mut folders: Vec<_> = model.files.values().map(|path| path.parent()).collect();
    folders.dedup();
    match folders.as_slice() {
        // The files of a model of the store lie apart.
        [Some(folder)] if of_files => StageError::failed(format!("the model in `{}`: {error}", folder.display())),
        _ => stage_error(error),
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
