//! What `sft` and `grpo` share: the optimizer's options, checkpoints in the engine's store, figures as records.

use std::cell::RefCell;
use std::collections::BTreeMap;

use indexmap::IndexMap;
use ruminate_flow::digest::DigestBuilder;
use ruminate_flow::error::StageError;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::{Checkpoint, FileContent, SetOutput, StageContext};
use serde_json::{Value as Json, json};

use super::loaded::Loaded;
use super::stage_error;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::train::progress::{CheckpointEvery, Control, ProgressStore};
use crate::weights::{self, SaveOptions};

const ANY_NUMBER: OptionKind = OptionKind::Float { min: 0.0, max: 1e9 };
const UNIT: OptionKind = OptionKind::Float { min: 0.0, max: 1.0 };
const COUNT: OptionKind = OptionKind::Int { min: 1, max: 1 << 40 };

pub(super) const STEPS: OptionSpec =
    OptionSpec::new("steps", COUNT, "null", "Steps of the optimizer, instead of `epochs`.");
pub(super) const MICRO_BATCH: &str =
    "What one forward pass holds: a matter of memory. It decides rounding, so it is part of the key.";
pub(super) const SCHEDULE: OptionKind = OptionKind::Choice(&["constant", "linear", "cosine"]);
pub(super) const WARM_UP_STEPS: OptionSpec = OptionSpec::new(
    "warm-up-steps",
    OptionKind::Int { min: 0, max: 1 << 40 },
    "null",
    "Steps in which the learning rate rises from 0, instead of `warm-up-ratio`.",
);
pub(super) const BETA1: OptionSpec = OptionSpec::new("beta1", UNIT, "0.9", "AdamW's decay of the first moment.");
pub(super) const BETA2: OptionSpec = OptionSpec::new("beta2", UNIT, "0.999", "AdamW's decay of the second moment.");
pub(super) const EPSILON: OptionSpec = OptionSpec::new("epsilon", ANY_NUMBER, "1e-8", "AdamW's epsilon.");
pub(super) const MAX_GRADIENT_NORM: OptionSpec = OptionSpec::new(
    "max-gradient-norm",
    ANY_NUMBER,
    "1.0",
    "Gradients are scaled down to this global norm; 0 for no limit.",
);
pub(super) const SEED: OptionSpec = OptionSpec::new(
    "seed",
    OptionKind::Int { min: 0, max: i64::MAX },
    "1",
    "Mixed with the graph's seed: decides the order of the data and every sample.",
);
pub(super) const FREEZE: OptionSpec = OptionSpec::new(
    "freeze",
    OptionKind::TextList,
    "[\"visual.\"]",
    "Parameters whose name begins with one of these stay as they are. The default freezes the vision tower and its \
     projector (`visual.merger.`), as OpenVLThinker does in SFT and in its first GRPO stage; `[]` trains everything.",
);
pub(super) const SHARDS: OptionSpec = OptionSpec::new(
    "shards",
    OptionKind::Int { min: 1, max: 1024 },
    "2",
    "Parts that a step is cut into, computed side by side on a CPU's threads. Decides rounding, so it is part of the key.",
);
pub(super) const CHECKPOINT_SECONDS: OptionSpec = OptionSpec::new(
    "checkpoint-seconds",
    OptionKind::Float { min: 0.1, max: 1e9 },
    "30.0",
    "Seconds between checkpoints: what a crash may cost.",
)
.not_identity();

/// An option with a number of at least 0.
pub(super) const fn number(name: &'static str, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new(name, ANY_NUMBER, default, doc)
}

/// An option with a count of at least 1.
pub(super) const fn count(name: &'static str, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new(name, COUNT, default, doc)
}

/// An option with a share between 0 and 1.
pub(super) const fn share(name: &'static str, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new(name, UNIT, default, doc)
}

/// Options of both kinds that are not the trainer's.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shared {
    warm_up_ratio: f64,
    warm_up_steps: Option<u64>,
    beta1: f64,
    beta2: f64,
    checkpoint_seconds: f64,
}

/// The trainer's own options from the node's. `stage_only`: names that the trainer does not know.
///
/// # Errors
/// A table that disagrees with the trainer's struct, or a value that the trainer refuses.
pub(super) fn trainer_options<T: serde::de::DeserializeOwned>(
    values: &IndexMap<String, Json>,
    stage_only: &[&str],
) -> std::result::Result<(T, CheckpointEvery), String> {
    let mut object: serde_json::Map<String, Json> =
        values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let shared: Shared = serde_json::from_value(Json::Object(object.clone())).map_err(|error| error.to_string())?;
    for name in ["warm-up-ratio", "warm-up-steps", "beta1", "beta2", "checkpoint-seconds"].iter().chain(stage_only) {
        object.remove(*name);
    }
    let warm_up = match shared.warm_up_steps {
        Some(steps) => json!({ "steps": steps }),
        None => json!({ "ratio": shared.warm_up_ratio }),
    };
    object.insert("warm-up".to_owned(), warm_up);
    object.insert("betas".to_owned(), json!([shared.beta1, shared.beta2]));
    let options = serde_json::from_value(Json::Object(object)).map_err(|error| error.to_string())?;
    Ok((options, CheckpointEvery { steps: None, seconds: Some(shared.checkpoint_seconds) }))
}

/// A training's seed from the graph's and the node's.
pub(super) fn mixed_seed(graph_seed: u64, node_seed: u64) -> u64 {
    DigestBuilder::default().part(&graph_seed.to_le_bytes()).part(&node_seed.to_le_bytes()).finish().seed()
}

/// The figures of the steps so far; they are kept in the checkpoint, so that a resumed run has them all.
#[derive(Default)]
pub(super) struct Figures(RefCell<Vec<Json>>);

impl Figures {
    /// Notes a step's figures, reports them, and says whether to go on.
    pub(super) fn step(
        &self,
        figures: Json,
        step: usize,
        steps: usize,
        message: &str,
        context: &StageContext<'_>,
    ) -> Control {
        self.0.borrow_mut().push(figures);
        context.progress.report(step as u64, Some(steps as u64), "steps", message);
        if context.cancel.requested() { Control::Stop } else { Control::Continue }
    }

    /// The records of the port `metrics`: one a step, numbers by name.
    pub(super) fn records(&self) -> Vec<Record> {
        self.0.borrow().iter().zip(1..).map(|(figures, step)| record(step, figures)).collect()
    }
}

fn record(step: usize, figures: &Json) -> Record {
    let mut fields = Fields::new();
    for (name, value) in figures.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            // Named parts become fields of their own.
            ("reward_parts", Json::Array(parts)) => {
                for part in parts {
                    if let (Some(part_name), Some(mean)) = (part[0].as_str(), part[1].as_f64()) {
                        fields.insert(format!("reward_{part_name}").into(), Value::Float(mean));
                    }
                }
            }
            (name, value) => {
                fields.insert(name.into(), Value::from_json(value.clone()));
            }
        }
    }
    Record { id: format!("step-{step:06}").into(), fields }
}

/// The schema of `metrics` for figures of these names; `step`, `steps` and counts are whole numbers.
pub(super) fn metrics_schema(integers: &[&str], floats: &[&str]) -> Schema {
    let of = |names: &[&str], kind: FieldKind| {
        names.iter().map(move |name| ((*name).to_owned(), kind.clone())).collect::<Vec<_>>()
    };
    of(integers, FieldKind::Int).into_iter().chain(of(floats, FieldKind::Float)).collect()
}

/// Keeps a training's progress in the engine's store.
pub(super) struct StoredProgress<'a> {
    pub(super) checkpoint: &'a dyn Checkpoint,
    pub(super) figures: &'a Figures,
}

const STATE: &str = "state.safetensors";
const FIGURES: &str = "figures.json";

impl ProgressStore for StoredProgress<'_> {
    fn load(&mut self) -> Result<Option<Vec<u8>>> {
        let parts = self.checkpoint.load().map_err(|error| Error::state(error.to_string()))?;
        let Some(mut parts) = parts else { return Ok(None) };
        let figures = parts.get(FIGURES).and_then(|bytes| serde_json::from_slice(bytes).ok());
        // One without the other is no checkpoint: the run starts over rather than with figures missing.
        let (Some(figures), Some(state)) = (figures, parts.remove(STATE)) else { return Ok(None) };
        self.figures.0.replace(figures);
        Ok(Some(state))
    }

    fn save(&mut self, _step: usize, state: Vec<u8>) -> Result<()> {
        let figures = serde_json::to_vec(&*self.figures.0.borrow()).map_err(|error| Error::state(error.to_string()))?;
        let parts = BTreeMap::from([(STATE.to_owned(), state), (FIGURES.to_owned(), figures)]);
        self.checkpoint.save(&parts).map_err(|error| Error::state(error.to_string()))
    }
}

/// The trained model and the figures as the node's outputs.
pub(super) fn output(
    trained: &Model,
    loaded: &Loaded,
    figures: &Figures,
) -> std::result::Result<SetOutput, StageError> {
    let files = weights::save(trained, &loaded.files, &SaveOptions::default()).map_err(stage_error)?;
    let files = files.into_iter().map(|(name, bytes)| (name, FileContent::Bytes(bytes))).collect();
    Ok(SetOutput {
        records: BTreeMap::from([("metrics", figures.records())]),
        models: BTreeMap::from([("model", files)]),
        drops: Vec::new(),
    })
}
