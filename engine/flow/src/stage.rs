//! What a kind of node is, and what a stage does: the boundary between the engine and the crates that supply stages.
//!
//! A [`Kind`] is a static value: one file, one line of registration. The check of a graph builds a [`Stage`] from a node;
//! the executor feeds it. Five shapes: a [`Source`] reads files, a [`RecordStage`] turns units of records into records
//! and is cached per unit, a [`StreamStage`] rearranges streams so cheaply that nothing of it is kept, a [`SetStage`]
//! consumes whole streams and is cached per node, a [`Sink`] writes a stream to a file.

pub mod bare;
mod context;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::error::StageError;
use crate::model::{Model, ModelInspector, ModelTraits};
use crate::options::{OptionSpec, Options};
use crate::record::{FieldKind, Fields, Record, Schema};

pub use self::context::{Blobs, Checkpoint, Progress, StageContext};

/// A kind of node.
pub trait Kind: Send + Sync {
    /// The name that graphs use: `reasoning-sample`.
    fn name(&self) -> &'static str;
    /// One line: what it does.
    fn summary(&self) -> &'static str;
    /// Its options. The names `kind`, and those of its ports, are taken.
    fn options(&self) -> &'static [OptionSpec];
    /// Its input ports. The main one is first.
    fn inputs(&self) -> &'static [Port];
    /// Its output ports. The main one, which the node's bare name means on an edge, is first.
    fn outputs(&self) -> &'static [Port];
    /// Makes the stage of one node. Reads what the options name (a plugin, the head of a data file), computes nothing.
    ///
    /// # Errors
    /// Every complaint about the node, each with the option it is about.
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>>;
    /// Of a source: which option makes it give `field` as `wanted` instead of `given`, in words; `None` where no option does.
    fn advice(&self, _options: &Options, _field: &str, _given: &FieldKind, _wanted: &FieldKind) -> Option<String> {
        None
    }
    /// Of a source that gives no fields: why, in words.
    fn why_empty(&self, _options: &Options) -> Option<String> {
        None
    }
}

/// An input or output of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name: on an input, the option that names where it comes from.
    pub name: &'static str,
    /// What goes through it.
    pub kind: PortKind,
    /// An input that must be connected.
    pub required: bool,
    /// An input that takes a list of names: its streams are the ports [`many_port`] gives, in the order of the list.
    pub many: bool,
    /// One line for `kinds`.
    pub doc: &'static str,
}

/// What goes through a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A stream of records.
    Records,
    /// A model.
    Model,
}

/// What [`Kind::build`] is given.
pub struct NodeInput<'a> {
    /// The checked options, defaults filled in.
    pub options: &'a Options,
    /// The schema of each connected record input.
    pub schemas: &'a BTreeMap<&'static str, Schema>,
    /// The traits of each connected model input.
    pub models: &'a BTreeMap<&'static str, ModelTraits>,
    /// The digest of a file's bytes, remembered as long as the file does not change: for files that no option names, such
    /// as the images of a data file. What they hold belongs into [`Stage::identity`].
    pub digest_file: &'a dyn Fn(&std::path::Path) -> Result<Digest, StageError>,
}

/// Something wrong with a node, found by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The option or input port it is about, or a place within an option: `config.cut_at[1]`; `None` for the whole node.
    pub option: Option<String>,
    /// What is wrong and what was expected; lowercase, names in backticks.
    pub message: String,
    /// What to do, if that is not plain from the message.
    pub help: Option<String>,
}

/// A stage with what the engine must know of it.
pub struct Stage {
    /// Raised whenever the same inputs may give other results: it is part of every key.
    pub version: u32,
    /// What decides results beside options, files, models and inputs: a plugin's resolved setup, say. `Json::Null` if nothing.
    pub identity: Json,
    /// The fields that it reads, per input port; only these go into keys, and each must be there with a fitting kind.
    pub reads: BTreeMap<&'static str, Reads>,
    /// The schema of each record output port.
    pub schemas: BTreeMap<&'static str, Schema>,
    /// The traits of each model output port.
    pub models: BTreeMap<&'static str, ModelTraits>,
    /// Its results depend on the graph's seed.
    pub seeded: bool,
    /// It computes on the device: such nodes take turns.
    pub uses_device: bool,
    /// The work.
    pub work: Work,
}

/// The fields that a stage reads from an input: name, kind wanted, and whether it can do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The fields.
    pub fields: Vec<Read>,
}

/// One field that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The field's name.
    pub name: String,
    /// The kind wanted.
    pub kind: FieldKind,
    /// False: the field may be missing.
    pub required: bool,
    /// The option that makes the stage read it, to point at in an error.
    pub option: Option<&'static str>,
}

/// The shape of a stage's work.
pub enum Work {
    /// Reads records from outside.
    Source(Box<dyn Source>),
    /// Turns units of records into records.
    Record(Box<dyn RecordStage>),
    /// Rearranges streams.
    Stream(Box<dyn StreamStage>),
    /// Consumes whole streams.
    Set(Box<dyn SetStage>),
    /// Writes a stream to a file.
    Sink(Box<dyn Sink>),
}

/// Reads records from files. Cached per node, on the digests of its files.
pub trait Source: Send + Sync {
    /// Gives the records in order, in batches, to `emit`.
    ///
    /// # Errors
    /// What cannot be read: file and row.
    fn read(
        &self,
        context: &StageContext<'_>,
        emit: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError>;
}

/// Turns units of records into records; cached per unit on the fields it reads. A unit is one record, or with
/// [`RecordStage::group_by`] all neighbouring records with the same value in that field.
pub trait RecordStage: Send + Sync {
    /// The field by which neighbours form one unit.
    fn group_by(&self) -> Option<&str> {
        None
    }
    /// How many units a call should get where there are that many. A result must not depend on it.
    fn batch_units(&self) -> usize {
        64
    }
    /// The outcome of each unit, in order, as many as were given. Called from one thread at a time.
    ///
    /// # Errors
    /// A failure of the stage as a whole: a model that cannot be loaded. A unit's own failure is an [`Outcome::Failed`].
    fn process(
        &self,
        units: &[Unit],
        models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError>;
    /// Lets go of what is held on the device, because another node takes its turn or the stream ended.
    fn release(&self) {}
}

/// A unit of work of a record stage.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The records: one, or a group.
    pub records: Vec<Record>,
    /// The digest of the fields that the stage reads, of all records in order: the content from which seeds derive.
    pub content: Digest,
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Records that go on and records that do not.
    Done {
        /// The rows that go on, in order.
        rows: Vec<Row>,
        /// The records of the unit that are dropped.
        drops: Vec<Dropped>,
    },
    /// The unit failed: the node's failure policy decides. Never cached.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A row that goes on: a record of the unit with fields laid over it. Fields that the stage does not write pass through.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// The index in the unit of the record it comes from.
    pub source: usize,
    /// With an index, the id becomes `id/index` and the field `parent` the source's id; else the id stays.
    pub child: Option<u32>,
    /// The fields written.
    pub fields: Fields,
}

/// A dropped record of a unit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dropped {
    /// The index in the unit.
    pub source: usize,
    /// Why, for the ledger: short, and the same text for the same cause, so that reasons can be counted.
    pub reason: String,
}

/// Rearranges streams, so cheaply that its results are made again whenever they are needed: nothing of them is stored.
/// The same inputs must give the same output, whatever the batches.
pub trait StreamStage: Send + Sync {
    /// The connected record ports in the order in which the pass wants them: each is given to its end before the next
    /// begins. What comes earlier waits on the disk.
    fn order(&self, connected: &[&'static str]) -> Vec<&'static str> {
        connected.to_vec()
    }
    /// Begins a pass over the inputs.
    ///
    /// # Errors
    /// The disk's.
    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError>;
}

/// One pass of a [`StreamStage`].
pub trait StreamPass {
    /// Takes the next records of `port`.
    ///
    /// # Errors
    /// The disk's, or what the records make impossible.
    fn take(&mut self, port: &'static str, records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError>;
    /// `port` has ended.
    ///
    /// # Errors
    /// As [`StreamPass::take`].
    fn end(&mut self, port: &'static str, out: &mut dyn Emit) -> Result<(), StageError>;
}

/// Where a [`StreamPass`] puts what it has.
pub trait Emit {
    /// Records that go on, in order.
    ///
    /// # Errors
    /// The run stops.
    fn records(&mut self, records: Vec<Record>) -> Result<(), StageError>;
    /// A record that does not go on, and why: the same short text for the same cause.
    ///
    /// # Errors
    /// The run stops.
    fn dropped(&mut self, record: Record, reason: &str) -> Result<(), StageError>;
}

/// Writes a stream to a file outside the store. Done again unless the file is there with the bytes that were written.
pub trait Sink: Send + Sync {
    /// The file.
    fn path(&self) -> &std::path::Path;
    /// Begins to write, to a temporary file beside it.
    ///
    /// # Errors
    /// The disk's.
    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn SinkPass + 'a>, StageError>;
}

/// One pass of a [`Sink`]. Dropped before its end, it leaves nothing behind.
pub trait SinkPass {
    /// Writes the next records.
    ///
    /// # Errors
    /// The disk's.
    fn take(&mut self, records: &[Record]) -> Result<(), StageError>;
    /// Gives the file its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// The disk's.
    fn finish(self: Box<Self>) -> Result<(), StageError>;
}

/// Consumes whole streams and gives records and models; cached per node.
pub trait SetStage: Send + Sync {
    /// Does the work. Polls `context.cancel` and checkpoints through `context.checkpoint`.
    ///
    /// # Errors
    /// [`StageError::Interrupted`] after a cancel, once progress is saved; else what failed.
    fn run(&self, input: SetInput, context: &StageContext<'_>) -> Result<SetOutput, StageError>;
}

/// What a set stage consumes.
pub struct SetInput {
    /// The records of each input port, in order.
    pub records: BTreeMap<&'static str, Vec<Record>>,
    /// The model of each input port.
    pub models: BTreeMap<&'static str, Arc<Model>>,
}

/// What a set stage gives.
#[derive(Default)]
pub struct SetOutput {
    /// The records of each record output port.
    pub records: BTreeMap<&'static str, Vec<Record>>,
    /// The files of each model output port: file name -> where its bytes are.
    pub models: BTreeMap<&'static str, BTreeMap<String, FileContent>>,
    /// Input records that were left out, with the port, its index and the reason: they go to the ledger.
    pub drops: Vec<(&'static str, Dropped)>,
}

/// The bytes of a model's file.
pub enum FileContent {
    /// New bytes.
    Bytes(Vec<u8>),
    /// The same bytes as this file: a tokenizer handed on.
    Copy(PathBuf),
    /// This file in the scratch folder, which the store takes from there: weights, which need not be in memory.
    Move(PathBuf),
}

/// All kinds and what the check needs: made once by the program.
pub struct Registry {
    kinds: IndexMap<&'static str, Box<dyn Kind>>,
    /// Reads models' traits.
    pub inspector: Box<dyn ModelInspector>,
}

impl Registry {
    /// A registry of `kinds`. A later kind replaces an earlier one of the same name.
    pub fn new(inspector: Box<dyn ModelInspector>, kinds: impl IntoIterator<Item = Box<dyn Kind>>) -> Self {
        Self { kinds: kinds.into_iter().map(|kind| (kind.name(), kind)).collect(), inspector }
    }

    /// The kind of this name.
    pub fn kind(&self, name: &str) -> Option<&dyn Kind> {
        self.kinds.get(name).map(Box::as_ref)
    }

    /// All kinds, in the order of registration.
    pub fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        self.kinds.values().map(Box::as_ref)
    }
}

/// The most names that a list of inputs may have.
pub const MANY_LIMIT: usize = 64;

/// The port of the `index`th name in the list of an input with [`Port::many`]; `None` from [`MANY_LIMIT`] on.
pub fn many_port(index: usize) -> Option<&'static str> {
    const NAMES: [&str; MANY_LIMIT] = [
        "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17",
        "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35",
        "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47", "48", "49", "50", "51", "52", "53",
        "54", "55", "56", "57", "58", "59", "60", "61", "62", "63",
    ];
    NAMES.get(index).copied()
}

impl Port {
    /// A stream of records that must be connected.
    pub const fn records(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: PortKind::Records, required: true, many: false, doc }
    }

    /// Several streams of records, given as a list of names; at least one.
    pub const fn many_records(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: PortKind::Records, required: true, many: true, doc }
    }

    /// A model that must be connected.
    pub const fn model(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: PortKind::Model, required: true, many: false, doc }
    }
}

impl NodeInput<'_> {
    /// The checked options as the kind's own struct.
    ///
    /// # Errors
    /// As [`Options::read`].
    pub fn settings<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<Complaint>> {
        self.options.read().map_err(|message| vec![Complaint::whole(message)])
    }
}

impl Complaint {
    /// A complaint about the node as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { option: None, message: message.into(), help: None }
    }

    /// A complaint about one option or input port.
    pub fn about(option: &str, message: impl Into<String>) -> Self {
        Self { option: Some(option.to_owned()), message: message.into(), help: None }
    }
}

impl Reads {
    /// Adds a field that must be there.
    pub fn require(mut self, name: impl Into<String>, kind: FieldKind, option: Option<&'static str>) -> Self {
        self.fields.push(Read { name: name.into(), kind, required: true, option });
        self
    }

    /// Adds a field that may be missing.
    pub fn allow(mut self, name: impl Into<String>, kind: FieldKind, option: Option<&'static str>) -> Self {
        self.fields.push(Read { name: name.into(), kind, required: false, option });
        self
    }
}
