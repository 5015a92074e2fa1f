//! A plugin over the rows of a file, without a graph: the real stage of the kind `wasm`, fed by the engine's own readers.
//! Rows are read, worked and handed on in batches, so that a file may be larger than the memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ruminate_flow::diagnostic::{list, nearest};
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::event::Cancel;
use ruminate_flow::options::{InputFile, OptionKind, Options};
use ruminate_flow::record::{FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::bare::{NoCheckpoint, Notes};
use ruminate_flow::stage::{Complaint, Kind, NodeInput, Outcome, RecordStage, Stage, StageContext, Unit, Work};
use ruminate_flow::table::{Column, Columns, Format, ReadContext, TableFile};
use serde_json::{Map, Value as Json, json};

use super::error::AuthorError;
use super::place::{self, Place};
use crate::call::CallError;
use crate::contract::World;
use crate::kind::WasmKind;

/// A plugin with its config, ready for rows.
pub struct Trial {
    stage: Stage,
    world: World,
    reads: Schema,
    writes: Schema,
}

/// Limits that differ from those of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The fuel of a record.
    pub fuel: Option<u64>,
    /// Megabytes of memory.
    pub memory_mb: Option<u64>,
    /// Milliseconds of a call.
    pub timeout_ms: Option<u64>,
}

/// Why a plugin cannot be tried.
#[derive(Debug)]
pub enum TrialError {
    /// It refuses its config.
    Refused {
        /// What is wrong, one entry for each fault, with its place in the config.
        faults: Vec<String>,
        /// What the config takes.
        help: Option<String>,
    },
    /// Anything else.
    Author(AuthorError),
}

/// What a plugin made of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The row's id: its field `id`, or `r0`, `r1`, ...
    pub id: Arc<str>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A filter keeps it.
    Keep,
    /// It is dropped, by the plugin or because the plugin failed over it.
    Drop(String),
    /// The machine's doing: the clock ran out, or a value could not be read.
    Failed(String),
    /// The fields that a mapper wrote, for each of its rows.
    Rows(Vec<Fields>),
    /// A reward's score, and what it says about it.
    Score(Value, Value),
}

/// How much was done, in what time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// The time that the plugin took, without reading and writing.
    pub time: Duration,
}

impl Answer {
    /// The answer as a line of JSON.
    pub fn to_json(&self) -> Json {
        let mut object = Map::from_iter([("id".to_owned(), json!(*self.id))]);
        let mut put = |name: &str, value: Json| drop(object.insert(name.to_owned(), value));
        match &self.verdict {
            Verdict::Keep => put("keep", Json::Bool(true)),
            Verdict::Drop(reason) => put("drop", json!(reason)),
            Verdict::Failed(reason) => put("failed", json!(reason)),
            Verdict::Rows(rows) => put("rows", rows.iter().map(fields_json).collect()),
            Verdict::Score(value, note) => {
                put("score", value.to_json());
                put("note", note.to_json());
            }
        }
        Json::Object(object)
    }
}

fn fields_json(fields: &Fields) -> Json {
    Json::Object(fields.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect())
}

impl Trial {
    /// The plugin in `path` with this `config`.
    ///
    /// # Errors
    /// A file that is no plugin, a config that it refuses, limits outside what a node may have.
    pub fn open(path: &Path, config: Json, limits: Limits) -> Result<Self, TrialError> {
        let bytes = std::fs::read(path).map_err(|error| TrialError::Author(AuthorError::unreadable(path)(error)))?;
        let kind = WasmKind;
        let files =
            [("plugin".to_owned(), vec![InputFile { path: path.to_owned(), digest: Digest::of(&bytes) }])].into();
        let given = json!({ "plugin": path, "config": config });
        let mut options = Options { files, ..Options::over_defaults(kind.options(), &given) };
        let given = [("fuel", limits.fuel), ("memory-mb", limits.memory_mb), ("timeout-ms", limits.timeout_ms)];
        for (name, value) in given {
            let Some(value) = value else { continue };
            check_limit(&kind, name, value).map_err(TrialError::Author)?;
            options.values.insert(name.to_owned(), json!(value));
        }
        let node = NodeInput {
            options: &options,
            schemas: &[("input", Schema::new())].into(),
            models: &BTreeMap::new(),
            digest_file: &place::digest_file,
        };
        let stage = kind.build(&node).map_err(|complaints| trial_error(path, &complaints))?;
        let reads = stage.reads.values().flat_map(|reads| &reads.fields);
        let reads = reads.map(|read| (read.name.clone(), read.kind.clone())).collect();
        let writes = stage.schemas.get("output").cloned().unwrap_or_default();
        let world = match stage.identity["world"].as_str() {
            Some("mapper") => World::Mapper,
            Some("reward") => World::Reward,
            _ => World::Filter,
        };
        Ok(Self { stage, world, reads, writes })
    }

    /// The fields that it reads.
    pub fn reads(&self) -> &Schema {
        &self.reads
    }

    /// The fields that it writes.
    pub fn writes(&self) -> &Schema {
        &self.writes
    }

    /// Runs it over the rows in `table`, the first `limit` of them, and gives `take` each answer, in order. `note` gets what
    /// the plugin logs and why it failed.
    ///
    /// # Errors
    /// A file that cannot be read or lacks a field that the plugin reads; what `take` fails with.
    pub fn run(
        &self,
        table: &Path,
        limit: Option<u64>,
        note: &(dyn Fn(&str) + Sync),
        take: &mut dyn FnMut(Answer) -> std::io::Result<()>,
    ) -> Result<Tally, AuthorError> {
        let Work::Record(work) = &self.stage.work else {
            return Err(AuthorError::Machine("the stage of a plugin does not take records".to_owned()));
        };
        let scratch = tempfile::Builder::new().prefix("ruminate-plugin-").tempdir();
        let scratch =
            scratch.map_err(|error| AuthorError::Machine(format!("cannot make a temporary folder: {error}")))?;
        let place = Place(scratch.path());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut run = Run {
            trial: self,
            work: work.as_ref(),
            place: &place,
            note,
            threads,
            cancel: Cancel::default(),
            units: Vec::new(),
            take,
            tally: Tally::default(),
        };
        let input = |error: StageError| AuthorError::Input(error.to_string());
        let file = TableFile::open(table).map_err(input)?;
        let columns = self.columns(&file)?;
        let (mut failure, mut number) = (None, 0);
        if limit != Some(0) {
            file.read(&columns, ReadContext { blobs: &place, threads }, &mut |rows| {
                for (mut record, place) in rows.records.into_iter().zip(rows.places) {
                    let pushed = match id_of(record.fields.remove(ID), number) {
                        Ok(id) => {
                            record.id = id;
                            run.push(record)
                        }
                        Err(found) => Err(AuthorError::Input(format!(
                            "{}:{place}: the field `id` must be a text or a whole number, not {found}",
                            table.display()
                        ))),
                    };
                    number += 1;
                    if let Err(error) = pushed {
                        failure = Some(error);
                        return Ok(ControlFlow::Break(()));
                    }
                    if limit.is_some_and(|limit| number >= limit) {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
            .map_err(input)?;
        }
        match failure {
            Some(error) => Err(error),
            None => run.finish(),
        }
    }

    /// What is taken from the columns of `file`: the fields that the plugin reads, and the ids.
    fn columns(&self, file: &TableFile) -> Result<Columns, AuthorError> {
        let images = self.reads.iter().filter(|(_, kind)| **kind == FieldKind::Image);
        let images: Vec<String> = images.map(|(name, _)| name.clone()).collect();
        let schema = file.schema(&images).map_err(|error| AuthorError::Input(error.to_string()))?;
        let shown = file.path.display();
        let cells = matches!(file.format, Format::Csv { .. });
        for (name, kind) in &self.reads {
            let given = match schema.get(name) {
                Some(given) => given,
                // A file without rows has no columns either.
                None if schema.is_empty() => continue,
                None => return Err(AuthorError::Input(missing_field(&shown.to_string(), name, kind, &schema))),
            };
            // Cells are text to begin with: a column of numbers can be read as text.
            if !(kind.accepts(given) || cells && *kind == FieldKind::Text) {
                return Err(AuthorError::Input(format!(
                    "the field `{name}` of `{shown}` is {given}, and the plugin reads {kind}"
                )));
            }
        }
        let column = |(name, given): (&String, &FieldKind)| {
            let read = self.reads.get(name);
            let kind = match read {
                Some(FieldKind::Text) if cells => FieldKind::Text,
                None if name == ID && cells => FieldKind::Text,
                // Some rows may have an id and some not.
                None if name == ID => FieldKind::Json,
                _ => given.clone(),
            };
            let taken = read.is_some() || name == ID;
            let fields = taken.then(|| Arc::from(name.as_str())).into_iter().collect();
            (name.clone(), Column { kind, fields, id: false, images: images.contains(name) })
        };
        Ok(schema.iter().map(column).collect())
    }

    fn verdict(&self, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Failed { reason } => Verdict::Failed(reason),
            Outcome::Done { mut rows, drops } => match (drops.into_iter().next(), self.world) {
                (Some(drop), _) if rows.is_empty() => Verdict::Drop(drop.reason),
                (_, World::Filter) => Verdict::Keep,
                (_, World::Mapper) => Verdict::Rows(rows.into_iter().map(|row| row.fields).collect()),
                (_, World::Reward) => {
                    let fields = rows.pop().map(|row| row.fields).unwrap_or_default();
                    let value = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
                    Verdict::Score(value("score"), value("score_note"))
                }
            },
        }
    }
}

/// What `configure` alone says about `config`, without the checks that the engine makes before; `None` if it takes it.
pub(super) fn refusal(path: &Path, config: &Json) -> Option<String> {
    let digest = std::fs::read(path).map(|bytes| Digest::of(&bytes)).ok()?;
    let limits = crate::limits::Limits::for_check();
    let plugin = crate::host::Plugin::open(path, digest, &limits).ok()?;
    match plugin.configure(&config.to_string(), &limits) {
        Err(CallError::Refused(message)) => Some(message),
        Ok(_) | Err(_) => None,
    }
}

/// A run over a file: rows wait until there are enough for a call.
struct Run<'a> {
    trial: &'a Trial,
    work: &'a dyn RecordStage,
    place: &'a Place<'a>,
    note: &'a (dyn Fn(&str) + Sync),
    threads: usize,
    cancel: Cancel,
    units: Vec<Unit>,
    take: &'a mut dyn FnMut(Answer) -> std::io::Result<()>,
    tally: Tally,
}

impl Run<'_> {
    fn push(&mut self, record: Record) -> Result<(), AuthorError> {
        let content = Digest::of_json(&record.fields);
        self.units.push(Unit { records: vec![record], content });
        if self.units.len() >= self.work.batch_units().max(1) { self.work() } else { Ok(()) }
    }

    fn work(&mut self) -> Result<(), AuthorError> {
        let units = std::mem::take(&mut self.units);
        if units.is_empty() {
            return Ok(());
        }
        let context = StageContext {
            seed: 0,
            device: "cpu",
            threads: self.threads,
            blobs: self.place,
            checkpoint: &NoCheckpoint,
            progress: &Notes(self.note),
            scratch: self.place.0,
            cancel: &self.cancel,
        };
        let start = Instant::now();
        let outcomes = self.work.process(&units, &BTreeMap::new(), &context)?;
        self.tally.time += start.elapsed();
        for (unit, outcome) in units.into_iter().zip(outcomes) {
            self.tally.rows += 1;
            let Some(record) = unit.records.into_iter().next() else { continue };
            (self.take)(Answer { id: record.id, verdict: self.trial.verdict(outcome) }).map_err(AuthorError::Output)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Tally, AuthorError> {
        self.work()?;
        self.work.release();
        Ok(self.tally)
    }
}

/// The field with a row's id.
const ID: &str = "id";

/// The id of the row of this number; `Err`: what the field holds instead of one.
fn id_of(value: Option<Value>, number: u64) -> Result<Arc<str>, String> {
    match value {
        None | Some(Value::Null) => Ok(format!("r{number}").into()),
        Some(Value::Text(text)) if text.is_empty() => Ok(format!("r{number}").into()),
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Int(number)) => Ok(number.to_string().into()),
        Some(other) => Err(format!("`{}`", other.to_json())),
    }
}

fn check_limit(kind: &WasmKind, name: &str, value: u64) -> Result<(), AuthorError> {
    let range = kind.options().iter().find(|option| option.name == name).map(|option| option.kind);
    let Some(OptionKind::Int { min, max }) = range else { return Ok(()) };
    let fits = i64::try_from(value).is_ok_and(|value| (min..=max).contains(&value));
    let expected = if max == i64::MAX { format!("at least {min}") } else { format!("from {min} to {max}") };
    if fits { Ok(()) } else { Err(AuthorError::Input(format!("`--{name}` must be {expected}, not {value}"))) }
}

/// Sorts what the kind complains about: faults of the config, and all others.
fn trial_error(path: &Path, complaints: &[Complaint]) -> TrialError {
    let of_config =
        |complaint: &Complaint| complaint.option.as_deref().is_some_and(|option| option.starts_with("config"));
    if complaints.iter().all(of_config) {
        let help = complaints.iter().find_map(|complaint| complaint.help.clone());
        return TrialError::Refused { faults: faults(complaints), help };
    }
    let other = complaints.iter().filter(|complaint| !of_config(complaint));
    let message = |complaint: &Complaint| match &complaint.help {
        Some(help) => format!("{}: {help}", complaint.message),
        None => complaint.message.clone(),
    };
    let messages: Vec<String> = other.map(message).collect();
    TrialError::Author(AuthorError::Input(format!("`{}` cannot be used: {}", path.display(), messages.join("; "))))
}

/// What is wrong with a config, one entry for each fault, with its place in the config.
pub fn faults(complaints: &[Complaint]) -> Vec<String> {
    complaints.iter().map(about_config).collect()
}

/// A fault of the config: its place if it is within, and what is wrong.
fn about_config(complaint: &Complaint) -> String {
    let message = match complaint.message.split_once("` refuses its config: ") {
        Some((plugin, message)) if plugin.starts_with("plugin `") => message,
        _ => &complaint.message,
    };
    match complaint.option.as_deref() {
        Some(place) if place != "config" => format!("{place}: {message}"),
        _ => message.to_owned(),
    }
}

fn missing_field(file: &str, name: &str, kind: &FieldKind, schema: &Schema) -> String {
    let fields = || schema.keys().map(String::as_str);
    let has = match nearest(name, fields()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its fields are {}", list(fields())),
    };
    format!("`{file}` has no field `{name}` ({kind}), which the plugin reads; {has}")
}
