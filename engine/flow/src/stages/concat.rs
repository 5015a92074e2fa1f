//! The kind `concat`: several streams one after the other, with the fields of all of them.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Record, Schema, Value};
use crate::spill::Spill;
use crate::stage::{
    Complaint, Emit, Kind, NodeInput, Port, Stage, StageContext, StreamPass, StreamStage, Work, many_port,
};
use crate::table;

/// The kind `concat`.
pub(super) struct Concat;

const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "prefix",
    OptionKind::TextList,
    "[]",
    "A text for each input, in their order, that is put in front of its records' ids. Ids must differ over all inputs.",
)];
const INPUTS: &[Port] = &[Port::many_records("inputs", "the streams, in the order of the list")];
const OUTPUTS: &[Port] =
    &[Port::records("records", "all records; a field that an input does not have is null in its records")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prefix: Vec<String>,
}

impl Kind for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn summary(&self) -> &'static str {
        "puts streams one after the other"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let inputs: Vec<(&'static str, &Schema)> =
            (0..).map_while(many_port).map_while(|port| Some((port, node.schemas.get(port)?))).collect();
        let (schema, mut complaints) = union(&inputs);
        let (given, wanted) = (settings.prefix.len(), inputs.len());
        if given != 0 && given != wanted {
            let texts = if given == 1 { "text" } else { "texts" };
            let message = format!("`prefix` has {given} {texts} for {wanted} inputs");
            let help = Some("give one for each input; `\"\"` leaves the ids as they are".to_owned());
            complaints.push(Complaint { help, ..Complaint::about("prefix", message) });
        }
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let inputs = inputs.iter().enumerate().map(|(index, (port, given))| {
            let prefix = settings.prefix.get(index).cloned().unwrap_or_default();
            (*port, Input::new(index, prefix, given, &schema))
        });
        let stage = Concatenation { inputs: inputs.collect() };
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::new(),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Stream(Box::new(stage)),
        })
    }
}

/// The fields of all inputs with the kinds that hold the values of all, and complaints about kinds that contradict.
fn union(inputs: &[(&'static str, &Schema)]) -> (Schema, Vec<Complaint>) {
    let mut complaints = Vec::new();
    let mut union: Schema = Schema::new();
    for (index, (_, schema)) in inputs.iter().enumerate() {
        for (name, kind) in *schema {
            let Some(known) = union.get_mut(name) else {
                union.insert(name.clone(), kind.clone());
                continue;
            };
            if known.accepts(kind) || kind.accepts(known) {
                *known = table::join(known.clone(), kind.clone());
                continue;
            }
            let first = inputs.iter().position(|(_, schema)| schema.contains_key(name)).unwrap_or(0);
            let message = format!(
                "field `{name}` is {known} in input {} of the list and {kind} in input {}: one stream cannot hold both",
                first + 1,
                index + 1
            );
            let help = Some(format!("drop or rename `{name}` in one of them with a node of kind `select`"));
            complaints.push(Complaint { help, ..Complaint::about("inputs", message) });
        }
    }
    (union, complaints)
}

/// What is done to the records of one input.
struct Input {
    /// From 1, as people count.
    number: usize,
    prefix: String,
    /// Fields that it does not have.
    lacking: Vec<Arc<str>>,
    /// Fields with whole numbers that are numbers in another input.
    widened: Vec<(String, FieldKind)>,
}

impl Input {
    fn new(index: usize, prefix: String, given: &Schema, union: &Schema) -> Self {
        let lacking = union.keys().filter(|name| !given.contains_key(*name)).map(|name| name.as_str().into());
        let widened = given.iter().filter_map(|(name, kind)| {
            let wanted = union.get(name).filter(|wanted| *wanted != kind)?;
            Some((name.clone(), wanted.clone()))
        });
        Self { number: index + 1, prefix, lacking: lacking.collect(), widened: widened.collect() }
    }

    fn fit(&self, record: &mut Record) {
        if !self.prefix.is_empty() {
            record.id = format!("{}{}", self.prefix, record.id).into();
        }
        for name in &self.lacking {
            record.fields.insert(name.clone(), Value::Null);
        }
        for (name, kind) in &self.widened {
            if let Some(value) = record.fields.get_mut(name.as_str()) {
                *value = table::as_kind(std::mem::replace(value, Value::Null), kind);
            }
        }
    }
}

struct Concatenation {
    inputs: BTreeMap<&'static str, Input>,
}

impl StreamStage for Concatenation {
    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        Ok(Box::new(Pass { stage: self, ids: Ids::new(Spill::new(context.scratch)) }))
    }
}

struct Pass<'a> {
    stage: &'a Concatenation,
    ids: Ids,
}

impl StreamPass for Pass<'_> {
    fn take(&mut self, port: &'static str, mut records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        let Some(input) = self.stage.inputs.get(port) else {
            return Err(StageError::failed(format!("kind `concat` has no input `{port}`: a defect of the engine")));
        };
        for record in &mut records {
            input.fit(record);
            // The ids of one stream differ.
            if self.stage.inputs.len() > 1
                && let Some(first) = self.ids.add(&record.id, input.number)?
            {
                return Err(repeated(&record.id, first, input.number));
            }
        }
        out.records(records)
    }

    fn end(&mut self, _port: &'static str, _out: &mut dyn Emit) -> Result<(), StageError> {
        Ok(())
    }
}

fn repeated(id: &str, first: usize, second: usize) -> StageError {
    StageError::failed(format!(
        "the id `{id}` comes from input {first} and again from input {second} of the list, and ids must differ: give each \
         input a text of its own with `prefix`, such as `prefix = [\"a/\", \"b/\"]`"
    ))
}

/// All ids so far. In memory is a hash of each, 10 to 21 bytes; the ids themselves are there to tell equal hashes from equal
/// ids.
struct Ids {
    hasher: RandomState,
    hashes: HashSet<u64>,
    ids: Spill,
    /// Where each input's ids begin.
    starts: Vec<(u64, usize)>,
}

impl Ids {
    fn new(ids: Spill) -> Self {
        Self { hasher: RandomState::new(), hashes: HashSet::new(), ids, starts: Vec::new() }
    }

    /// Adds an id of an input; gives the input that it came from before.
    fn add(&mut self, id: &str, input: usize) -> Result<Option<usize>, StageError> {
        if !self.hashes.insert(self.hasher.hash_one(id))
            && let Some(place) = self.ids.find(id.as_bytes())?
        {
            let before = self.starts.iter().take_while(|(start, _)| *start <= place).last();
            return Ok(Some(before.map_or(input, |(_, input)| *input)));
        }
        if self.starts.last().is_none_or(|(_, last)| *last != input) {
            self.starts.push((self.ids.end(), input));
        }
        self.ids.append(id.as_bytes())?;
        Ok(None)
    }
}
