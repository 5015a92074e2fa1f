//! What `sft` and `grpo` share: the optimizer's options, checkpoints in the engine's store, figures as records.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use ruminate_flow::codec;
use ruminate_flow::digest::{Digest, DigestBuilder};
use ruminate_flow::error::StageError;
use ruminate_flow::key::unit_content;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::{Checkpoint, FileContent, Port, Reads, SetOutput, StageContext};
use serde_json::{Value as Json, json};

use super::loaded::Loaded;
use super::stage_error;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::stop::Stop;
use crate::train::progress::{CheckpointEvery, Control, ProgressStore, Session};
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
pub(super) const RECOMPUTE: OptionSpec = OptionSpec::new(
    "recompute",
    OptionKind::Bool,
    "false",
    "Keep only the inputs of the model's blocks and compute each once more on the way back: a third slower, a fraction of the \
     memory, the same bits. The field calls it gradient checkpointing.",
)
.not_identity();
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

/// Names what a step was trained on: the ids of the input's records and the digests of what is read of them.
struct Lineage {
    records: Vec<(Arc<str>, Digest)>,
}

impl Lineage {
    fn new(records: &[Record], reads: &Reads) -> Self {
        let name = |record: &Record| (record.id.clone(), unit_content(std::slice::from_ref(record), reads));
        Self { records: records.iter().map(name).collect() }
    }

    /// The fields `records`, the ids of the records at `picked` in that order, and `batch`, a digest over the id and the
    /// digest of the fields read of each.
    fn fields(&self, picked: &[usize]) -> Fields {
        let mut batch = DigestBuilder::default();
        let mut ids = Vec::with_capacity(picked.len());
        for (id, content) in picked.iter().filter_map(|index| self.records.get(*index)) {
            batch.part(id.as_bytes()).part(content.bytes());
            ids.push(Value::Text(id.clone()));
        }
        Fields::from([("batch".into(), Value::text(batch.finish().to_string())), ("records".into(), Value::List(ids))])
    }
}

/// The figures of the steps so far; they are kept in the checkpoint, so that a resumed run has them all.
pub(super) struct Figures {
    lineage: Lineage,
    steps: RefCell<Steps>,
}

/// One record a step, on each port.
#[derive(Default)]
struct Steps {
    metrics: Vec<Record>,
    timings: Vec<Record>,
}

/// A step as it is noted.
pub(super) struct Noted {
    /// Steps done, this one included, and steps in all.
    pub(super) step: (usize, usize),
    /// What the same run always gives, numbers and texts by name.
    pub(super) metrics: Json,
    /// What differs from run to run.
    pub(super) timings: Json,
    /// What the step was trained on, as indices into the input's records.
    pub(super) picked: Vec<usize>,
    /// Stands beside the progress bar.
    pub(super) message: String,
}

impl Figures {
    /// No figures yet, of a training on the records of `lineage`.
    fn new(lineage: Lineage) -> Self {
        Self { lineage, steps: RefCell::default() }
    }

    /// Notes a step, reports it, and says whether to go on.
    fn step(&self, noted: Noted, context: &StageContext<'_>) -> Control {
        let (step, steps) = noted.step;
        let mut metrics = record(step, &noted.metrics);
        metrics.fields.extend(self.lineage.fields(&noted.picked));
        {
            let mut noted_steps = self.steps.borrow_mut();
            noted_steps.metrics.push(metrics);
            noted_steps.timings.push(record(step, &noted.timings));
        }
        context.progress.report(step as u64, Some(steps as u64), "steps", &noted.message);
        if context.cancel.requested() { Control::Stop } else { Control::Continue }
    }

    fn encode(&self) -> Vec<u8> {
        let steps = self.steps.borrow();
        let mut bytes = Vec::new();
        for records in [&steps.metrics, &steps.timings] {
            codec::put_varint(records.len() as u64, &mut bytes);
            records.iter().for_each(|record| codec::put_record(record, &mut bytes));
        }
        bytes
    }

    /// Takes back what [`Figures::encode`] gave; false if `bytes` is something else.
    fn decode(&self, bytes: &[u8]) -> bool {
        let mut reader = codec::Reader::new(bytes);
        let mut records = || -> Option<Vec<Record>> {
            let count = reader.varint()?;
            (0..count).map(|_| reader.record()).collect()
        };
        let (Some(metrics), Some(timings)) = (records(), records()) else { return false };
        self.steps.replace(Steps { metrics, timings });
        true
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

pub(super) const METRICS: Port = Port::records(
    "metrics",
    "a record a step: its figures, the `records` it was trained on and the digest `batch` of their ids and contents",
);
pub(super) const TIMINGS: Port =
    Port::records("timings", "a record a step: seconds and tokens a second; other numbers in every run");

/// The schemas of `metrics` and `timings`. In `metrics`, `integers` are whole numbers, `floats` others, `texts` digests; all
/// figures of `timings` but `step` are numbers.
pub(super) fn schemas(
    integers: &[&str],
    floats: &[&str],
    texts: &[&str],
    timings: &[&str],
) -> BTreeMap<&'static str, Schema> {
    let of = |names: &[&str], kind: FieldKind| -> Schema {
        names.iter().map(|name| ((*name).to_owned(), kind.clone())).collect()
    };
    let mut metrics = of(integers, FieldKind::Int);
    metrics.extend(of(floats, FieldKind::Float));
    metrics.extend(of(texts, FieldKind::Text));
    metrics.extend(of(&["batch"], FieldKind::Text));
    metrics.extend(of(&["records"], FieldKind::List(Box::new(FieldKind::Text))));
    let mut times = of(&["step"], FieldKind::Int);
    times.extend(of(timings, FieldKind::Float));
    BTreeMap::from([("metrics", metrics), ("timings", times)])
}

/// Keeps a training's progress in the engine's store.
struct StoredProgress<'a> {
    checkpoint: &'a dyn Checkpoint,
    figures: &'a Figures,
}

const STATE: &str = "state.safetensors";
const FIGURES: &str = "figures";

impl ProgressStore for StoredProgress<'_> {
    fn load(&mut self) -> Result<Option<Vec<u8>>> {
        let parts = self.checkpoint.load().map_err(|error| Error::state(error.to_string()))?;
        let Some(mut parts) = parts else { return Ok(None) };
        // One without the other is no checkpoint: the run starts over rather than with figures missing.
        let (Some(figures), Some(state)) = (parts.remove(FIGURES), parts.remove(STATE)) else { return Ok(None) };
        Ok(self.figures.decode(&figures).then_some(state))
    }

    fn save(&mut self, _step: usize, state: Vec<u8>) -> Result<()> {
        let parts = BTreeMap::from([(STATE.to_owned(), state), (FIGURES.to_owned(), self.figures.encode())]);
        self.checkpoint.save(&parts).map_err(|error| Error::state(error.to_string()))
    }
}

/// Runs a trainer on `records` with its progress in the store, and gives what it gave with the figures of its steps. `noted` says
/// what to note of a step.
pub(super) fn run<S>(
    (records, reads): (&[Record], &Reads),
    checkpoint: CheckpointEvery,
    context: &StageContext<'_>,
    noted: impl Fn(&S) -> Noted,
    train: impl FnOnce(&mut Session<'_, S>) -> Result<Model>,
) -> (Result<Model>, Figures) {
    let figures = Figures::new(Lineage::new(records, reads));
    let trained = train(&mut Session {
        workers: context.threads,
        checkpoint,
        progress: &mut StoredProgress { checkpoint: context.checkpoint, figures: &figures },
        on_step: &mut |step| figures.step(noted(step), context),
        name: &|index| name_of(records, index),
        stop: Stop::when(&|| context.cancel.requested()),
    });
    (trained, figures)
}

/// The record at `index`, named for an error.
pub(super) fn name_of(records: &[Record], index: usize) -> String {
    format!("record `{}`", records[index].id)
}

/// The trained model and the figures as the node's outputs. The weights are written to the scratch folder, from which the store
/// takes them, so that they are in memory once.
pub(super) fn output(
    trained: &Model,
    loaded: &Loaded,
    figures: Figures,
    context: &StageContext<'_>,
) -> std::result::Result<SetOutput, StageError> {
    let folder = tempfile::Builder::new().prefix("model-").tempdir_in(context.scratch);
    let folder = folder.map_err(StageError::io("write", context.scratch))?.keep();
    let saved = weights::save(trained, &loaded.files, &SaveOptions::default(), &folder).map_err(stage_error)?;
    let written = saved.written.into_iter().map(|(name, path)| (name, FileContent::Move(path)));
    let kept = saved.kept.into_iter().map(|(name, path)| (name, FileContent::Copy(path)));
    let Steps { metrics, timings } = figures.steps.into_inner();
    Ok(SetOutput {
        records: BTreeMap::from([("metrics", metrics), ("timings", timings)]),
        models: BTreeMap::from([("model", written.chain(kept).collect())]),
        drops: Vec::new(),
    })
}
