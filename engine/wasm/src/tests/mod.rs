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

use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::event::Cancel;
use ruminate_flow::options::{InputFile, Options};
use ruminate_flow::record::{Blob, FieldKind, Record, Schema, Value};
use ruminate_flow::score::{Score, Scorer, Unscored};
use ruminate_flow::stage::bare::{NoCheckpoint, Notes};
use ruminate_flow::stage::{Blobs, Complaint, NodeInput, Outcome, Progress, Stage, StageContext, Unit, Work};
use serde_json::{Value as Json, json};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Builds a node of the kind `wasm` from `options` over its defaults, with an input of these fields.
fn build(plugin: &Path, mut options: Json, input: &[(&str, FieldKind)]) -> Result<Stage, Vec<Complaint>> {
    let kinds = crate::kinds();
    options["plugin"] = json!(plugin);
    let digest = std::fs::read(plugin).map_or(Digest::of(b""), |bytes| Digest::of(&bytes));
    let files = [("plugin".to_owned(), vec![InputFile { path: plugin.to_owned(), digest }])].into();
    let schema: Schema = input.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
    let node = NodeInput {
        options: &Options { files, ..Options::over_defaults(kinds[0].options(), &options) },
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
    let notes = Mutex::new(Vec::new());
    let progress = Notes(|note: &str| notes.lock().expect("no thread panicked").push(note.to_owned()));
    let outcomes = work.process(units, &BTreeMap::new(), &context(&Memory::default(), &progress, cancel, threads));
    (outcomes, notes.into_inner().expect("no thread panicked"))
}

/// Scores records on `threads`.
fn score(scorer: &dyn Scorer, records: &[Record], threads: usize) -> Vec<Result<Score, Unscored>> {
    let (blobs, progress, cancel) = (Memory::default(), Notes(|_: &str| {}), Cancel::default());
    let scored = scorer.score(records, &context(&blobs, &progress, &cancel, threads));
    scored.expect("the scorer runs")
}

fn context<'a>(
    blobs: &'a dyn Blobs,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    threads: usize,
) -> StageContext<'a> {
    StageContext {
        seed: 0,
        device: "cpu",
        threads,
        blobs,
        checkpoint: &NoCheckpoint,
        progress,
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

/// Blobs in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl Blobs for Memory {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        let blobs = self.0.lock().expect("no thread panicked");
        blobs.get(&blob.digest).cloned().ok_or_else(|| StageError::failed("there is no such blob"))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        let blob = Blob::of(bytes, media_type);
        self.0.lock().expect("no thread panicked").insert(blob.digest, bytes.to_vec());
        Ok(blob)
    }
}
