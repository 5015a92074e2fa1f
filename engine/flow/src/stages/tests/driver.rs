//! Builds a stage from options and runs it over records, in batches of any size.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::Cancel;
use crate::key::unit_content;
use crate::options::Options;
use crate::plan::lookup::lay_over;
use crate::record::{FieldKind, Fields, Record, Schema, Value};
use crate::stage::bare::{NoBlobs, NoCheckpoint, Notes};
use crate::stage::{Complaint, Emit, NodeInput, Outcome, Reads, Stage, StageContext, Unit, Work};

/// What became of the records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ran {
    pub(super) records: Vec<Record>,
    /// Id and reason.
    pub(super) dropped: Vec<(String, String)>,
    pub(super) failed: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

/// The streams of each port.
pub(super) type Inputs = Vec<(&'static str, Vec<Record>)>;

pub(super) fn schema(json: &Json) -> Schema {
    let fields = json.as_object().unwrap().iter();
    fields.map(|(name, kind)| (name.clone(), FieldKind::parse(kind.as_str().unwrap()).unwrap())).collect()
}

/// A row of a case as a record: `id` and the fields.
pub(super) fn record(json: &Json) -> Record {
    let mut fields: Fields = json
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str().into(), Value::from_json(value.clone())))
        .collect();
    let id = fields.remove("id").unwrap();
    let Value::Text(id) = id else { panic!("an id is text") };
    Record { id, fields }
}

pub(super) fn records(json: &Json) -> Vec<Record> {
    json.as_array().unwrap().iter().map(record).collect()
}

pub(super) fn build(
    kind: &str,
    options: &Json,
    schemas: &BTreeMap<&'static str, Schema>,
) -> Result<Stage, Vec<Complaint>> {
    let kind = super::super::kinds().into_iter().find(|known| known.name() == kind).unwrap();
    let names = options.as_object().unwrap().keys();
    assert!(names.clone().all(|name| kind.options().iter().any(|spec| spec.name == name)), "{names:?}");
    kind.build(&NodeInput {
        options: &Options::over_defaults(kind.options(), options),
        schemas,
        models: &BTreeMap::new(),
        digest_file: &|_| Ok(Digest::of(b"")),
    })
}

/// Runs a stage over its inputs, `batch` records at a time.
pub(super) fn run(stage: &Stage, inputs: &Inputs, batch: usize) -> Result<Ran, StageError> {
    let folder = tempfile::tempdir().unwrap();
    let notes = Mutex::new(Vec::new());
    let context = StageContext {
        seed: 1,
        device: "cpu",
        threads: 1,
        blobs: &NoBlobs,
        checkpoint: &NoCheckpoint,
        progress: &Notes(|note: &str| notes.lock().unwrap().push(note.to_owned())),
        scratch: &folder.path().join("scratch"),
        cancel: &Cancel::default(),
    };
    let mut ran = Ran::default();
    match &stage.work {
        Work::Stream(work) => {
            let connected: Vec<_> = inputs.iter().map(|(port, _)| *port).collect();
            let mut pass = work.begin(&context)?;
            for port in work.order(&connected) {
                let (_, records) = inputs.iter().find(|(known, _)| *known == port).unwrap();
                for batch in records.chunks(batch) {
                    pass.take(port, batch.to_vec(), &mut ran)?;
                }
                pass.end(port, &mut ran)?;
            }
        }
        Work::Record(work) => {
            let (port, records) = &inputs[0];
            let none = Reads::default();
            let reads = stage.reads.get(port).unwrap_or(&none);
            for batch in records.chunks(batch) {
                let unit = |record: &Record| {
                    let records = vec![record.clone()];
                    Unit { content: unit_content(&records, reads), records }
                };
                let units: Vec<Unit> = batch.iter().map(unit).collect();
                let outcomes = work.process(&units, &BTreeMap::new(), &context)?;
                assert_eq!(outcomes.len(), units.len());
                for (unit, outcome) in units.into_iter().zip(outcomes) {
                    let id = unit.records[0].id.to_string();
                    match outcome {
                        Outcome::Done { rows, drops } => {
                            ran.dropped.extend(drops.into_iter().map(|drop| (id.clone(), drop.reason)));
                            lay_over(unit.records, rows, &mut ran.records);
                        }
                        Outcome::Failed { reason } => ran.failed.push((id, reason)),
                    }
                }
            }
        }
        _ => panic!("neither a record stage nor a stream stage"),
    }
    ran.notes = notes.into_inner().unwrap();
    Ok(ran)
}

impl Emit for Ran {
    fn records(&mut self, records: Vec<Record>) -> Result<(), StageError> {
        self.records.extend(records);
        Ok(())
    }
    fn dropped(&mut self, record: Record, reason: &str) -> Result<(), StageError> {
        self.dropped.push((record.id.to_string(), reason.to_owned()));
        Ok(())
    }
}
