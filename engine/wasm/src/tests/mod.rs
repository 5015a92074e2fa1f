//! Tests against the committed components: the two plugins, the guest that misbehaves, and worlds that must be refused.

mod cache;
mod check;
mod engines;
mod hostile;
mod hostile_wat;
mod limits;
mod lock;
mod plugins;
mod reward;
mod speed;
mod wat;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use indexmap::IndexMap;
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::event::Cancel;
use ruminate_flow::options::{InputFile, Options};
use ruminate_flow::record::{Blob, FieldKind, Record, Schema, Value};
use ruminate_flow::score::{Score, Scorer, Unscored};
use ruminate_flow::stage::{
    Blobs, Checkpoint, Complaint, NodeInput, Outcome, Progress, Stage, StageContext, Unit, Work,
};
use serde_json::{Value as Json, json};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Builds a node of the kind `wasm` from `options` over its defaults, with an input of these fields.
fn build(plugin: &Path, options: Json, input: &[(&str, FieldKind)]) -> Result<Stage, Vec<Complaint>> {
    let kinds = crate::kinds();
    let mut values: IndexMap<String, Json> = IndexMap::new();
    for option in kinds[0].options() {
        let default =
            option.default.map_or(Json::Null, |default| serde_json::from_str(default).expect("a default is JSON"));
        values.insert(option.name.to_owned(), default);
    }
    values.insert("plugin".to_owned(), json!(plugin));
    values.extend(options.as_object().expect("options are a table").clone());
    let digest = std::fs::read(plugin).map_or(Digest::of(b""), |bytes| Digest::of(&bytes));
    let files = [("plugin".to_owned(), vec![InputFile { path: plugin.to_owned(), digest }])].into();
    let schema: Schema = input.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
    let node = NodeInput {
        options: &Options { values, files },
        schemas: &[("input", schema)].into(),
        models: &BTreeMap::new(),
        digest_file: &|_| Ok(Digest::of(b"")),
    };
    kinds[0].build(&node)
}

/// A component on the disk, as long as the first of the two lives.
fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("plugin.wasm");
    std::fs::write(&path, bytes).expect("the file is written");
    (folder, path)
}

/// The complaint of a node that cannot be built: the option and the message.
fn complaint(plugin: &Path, options: Json) -> (String, String) {
    match build(plugin, options, &[]) {
        Ok(_) => panic!("`{}` was taken", plugin.display()),
        Err(complaints) => (complaints[0].option.clone().unwrap_or_default(), complaints[0].message.clone()),
    }
}

/// Runs a stage over records on `threads`; also returns its notes.
fn run(stage: &Stage, records: &[Record], threads: usize) -> (Vec<Outcome>, Vec<String>) {
    let (outcomes, notes) = try_run(stage, records, threads, &Cancel::default());
    (outcomes.expect("the stage runs"), notes)
}

/// The same, with a run that may be told to stop.
fn try_run(
    stage: &Stage,
    records: &[Record],
    threads: usize,
    cancel: &Cancel,
) -> (Result<Vec<Outcome>, StageError>, Vec<String>) {
    process(stage, &units(records), threads, cancel)
}

/// Records as a stage gets them.
fn units(records: &[Record]) -> Vec<Unit> {
    let unit = |record: &Record| Unit { records: vec![record.clone()], content: Digest::of_json(&record.fields) };
    records.iter().map(unit).collect()
}

/// One call of a stage.
fn process(
    stage: &Stage,
    units: &[Unit],
    threads: usize,
    cancel: &Cancel,
) -> (Result<Vec<Outcome>, StageError>, Vec<String>) {
    let Work::Record(work) = &stage.work else { panic!("a plugin is a record stage") };
    let world = World::default();
    let outcomes = work.process(units, &BTreeMap::new(), &context(&world, cancel, threads));
    (outcomes, world.notes.into_inner().expect("no thread panicked"))
}

/// Scores records on `threads`.
fn score(scorer: &dyn Scorer, records: &[Record], threads: usize) -> Vec<Result<Score, Unscored>> {
    let (world, cancel) = (World::default(), Cancel::default());
    let scored = scorer.score(records, &context(&world, &cancel, threads));
    scored.expect("the scorer runs")
}

fn context<'a>(world: &'a World, cancel: &'a Cancel, threads: usize) -> StageContext<'a> {
    StageContext {
        seed: 0,
        device: "cpu",
        threads,
        blobs: world,
        checkpoint: world,
        progress: world,
        scratch: Path::new("."),
        cancel,
    }
}

/// A record with text fields.
fn record(id: &str, fields: &[(&str, &str)]) -> Record {
    let fields = fields.iter().map(|(name, text)| ((*name).into(), Value::text(text))).collect();
    Record { id: id.into(), fields }
}

/// The reason for which the only record of a unit was dropped.
fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done { rows, drops } if rows.is_empty() && drops.len() == 1 => &drops[0].reason,
        Outcome::Done { .. } => "passed",
        Outcome::Failed { .. } => "failed",
    }
}

/// Blobs in memory, and the notes.
#[derive(Default)]
struct World {
    blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    notes: Mutex<Vec<String>>,
}

impl Blobs for World {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        let blobs = self.blobs.lock().expect("no thread panicked");
        blobs.get(&blob.digest.to_string()).cloned().ok_or_else(|| StageError::failed("there is no such blob"))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        let digest = Digest::of(bytes);
        self.blobs.lock().expect("no thread panicked").insert(digest.to_string(), bytes.to_vec());
        Ok(Blob { digest, bytes: bytes.len() as u64, media_type: media_type.into() })
    }
}

impl Checkpoint for World {
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
        Ok(None)
    }

    fn save(&self, _parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        Ok(())
    }
}

impl Progress for World {
    fn report(&self, _done: u64, _total: Option<u64>, _unit: &'static str, _message: &str) {}

    fn note(&self, message: &str) {
        self.notes.lock().expect("no thread panicked").push(message.to_owned());
    }
}
