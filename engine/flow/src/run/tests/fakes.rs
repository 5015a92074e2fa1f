//! Small stages that count their work, and graphs built by hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::{Cancel, Counts, Event, EventKind};
use crate::graph::{Edge, Graph, Node, NodeId, Policy, Position};
use crate::model::{Model, ModelTraits};
use crate::options::Options;
use crate::plan::NodeOutput;
use crate::record::{FieldKind, Record, Value};
use crate::run::{RunOptions, RunReport, run};
use crate::stage::*;
use crate::store::Store;

/// What all stages of a test have computed.
#[derive(Default)]
pub(super) struct Work {
    pub(super) units: AtomicU64,
    pub(super) sets: AtomicU64,
    pub(super) steps: AtomicU64,
}

/// A store in a temporary folder.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) work: Arc<Work>,
    pub(super) cancel: Cancel,
}

pub(super) struct Finished {
    pub(super) report: RunReport,
    pub(super) names: Vec<String>,
    pub(super) events: Vec<Event>,
}

#[derive(Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) value: i64,
    pub(super) note: String,
    pub(super) image: Option<Vec<u8>>,
}

impl Item {
    pub(super) fn many(count: i64) -> Vec<Item> {
        (0..count).map(|index| Item { id: format!("n{index}"), value: index, note: "a".into(), image: None }).collect()
    }
}

pub(super) fn node(index: usize) -> NodeId {
    NodeId(index)
}

pub(super) fn ids(output: &NodeOutput) -> Vec<String> {
    output.records["records"].iter().map(|record| record.id.to_string()).collect()
}

/// A node and a way to give its stage the bench's counters.
pub(super) type Make = Box<dyn FnOnce(&Arc<Work>) -> Node>;

impl Bench {
    pub(super) fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap(), work: Arc::default(), cancel: Cancel::default() }
    }

    pub(super) fn store(&self) -> Store {
        Store::open(&self.folder.path().join("store")).unwrap()
    }

    pub(super) fn graph(&self, nodes: Vec<Make>) -> Graph {
        let nodes: Vec<Node> = nodes.into_iter().map(|make| make(&self.work)).collect();
        let order = (0..nodes.len()).map(NodeId).collect();
        let path = self.folder.path().join("graph.toml");
        Graph { name: "test".into(), seed: 1, path, nodes, order, models: Default::default() }
    }

    /// numbers -> double -> train.
    pub(super) fn chain(&self, items: &[Item], double: Double) -> Graph {
        let train = Train::default().node("train", &[("input", 1)], None);
        self.graph(vec![Numbers::node(items), double.node("double", 0), train])
    }

    pub(super) fn run(&self, graph: &Graph) -> Finished {
        self.run_to(graph, &[])
    }

    pub(super) fn run_to(&self, graph: &Graph, to: &[NodeId]) -> Finished {
        self.run_in(&self.store(), graph, to)
    }

    pub(super) fn run_in(&self, store: &Store, graph: &Graph, to: &[NodeId]) -> Finished {
        self.run_from(store, graph, to, &[])
    }

    pub(super) fn run_from(&self, store: &Store, graph: &Graph, to: &[NodeId], from: &[NodeId]) -> Finished {
        let events = Mutex::new(Vec::new());
        let options = RunOptions {
            to: to.to_vec(),
            from: from.to_vec(),
            device: "cpu".into(),
            threads: 1,
            drop_events: true,
            cancel: self.cancel.clone(),
        };
        let report = run(graph, store, &options, &|event| events.lock().unwrap().push(event)).unwrap();
        let names = report.nodes.iter().map(|report| graph.nodes[report.node.0].name.to_string()).collect();
        Finished { report, names, events: events.into_inner().unwrap() }
    }
}

impl Finished {
    pub(super) fn node(&self, name: &str) -> &crate::run::NodeReport {
        &self.report.nodes[self.names.iter().position(|known| known == name).unwrap()]
    }

    pub(super) fn counts(&self, name: &str) -> &Counts {
        &self.node(name).counts
    }

    pub(super) fn computed(&self, name: &str) -> u64 {
        self.counts(name).computed
    }

    pub(super) fn hits(&self, name: &str) -> u64 {
        self.counts(name).hits
    }

    pub(super) fn total_computed(&self) -> u64 {
        self.report.nodes.iter().map(|node| node.counts.computed).sum()
    }

    pub(super) fn events_of(&self, name: &str) -> usize {
        self.events.iter().filter(|event| serde_json::to_value(event).unwrap()["event"] == name).count()
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let note =
            |event: &Event| if let EventKind::Note { message } = &event.kind { Some(message.clone()) } else { None };
        self.events.iter().filter_map(note).collect()
    }
}

fn build(
    name: &str,
    kind: &'static str,
    inputs: &[(&'static str, usize)],
    stage: Stage,
    graph_model: Option<(&'static str, usize)>,
) -> Node {
    let mut inputs: BTreeMap<_, _> =
        inputs.iter().map(|(port, node)| (*port, Edge::Node { node: NodeId(*node), port: "records" })).collect();
    if let Some((port, node)) = graph_model {
        inputs.insert(port, Edge::Node { node: NodeId(node), port: "model" });
    }
    Node {
        name: name.into(),
        kind,
        inputs,
        option_specs: &[],
        options: Options::default(),
        stage,
        policy: Default::default(),
        position: Position { line: 1, column: 1 },
        option_positions: BTreeMap::new(),
        option_settings: BTreeMap::new(),
    }
}

fn stage(version: u32, identity: Json, reads: &[(&'static str, &[&str])], work: crate::stage::Work) -> Stage {
    let reads = reads.iter().map(|(port, names)| {
        let fields = names.iter().fold(Reads::default(), |reads, name| reads.allow(*name, FieldKind::Json, None));
        (*port, fields)
    });
    Stage {
        version,
        identity,
        reads: reads.collect(),
        schemas: BTreeMap::from([("records", Default::default())]),
        models: BTreeMap::new(),
        seeded: false,
        uses_device: false,
        work,
    }
}

/// Gives the items.
pub(super) struct Numbers {
    items: Vec<Item>,
    pub(super) work: Arc<Work>,
}

impl Numbers {
    pub(super) fn node(items: &[Item]) -> Make {
        let items = items.to_vec();
        let identity = json!(items.iter().map(|item| json!([item.id, item.value, item.note])).collect::<Vec<_>>());
        Box::new(move |work| {
            let source = Box::new(Numbers { items, work: work.clone() });
            build("numbers", "numbers", &[], stage(1, identity, &[], crate::stage::Work::Source(source)), None)
        })
    }
}

impl Source for Numbers {
    fn read(
        &self,
        context: &StageContext<'_>,
        emit: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        self.work.sets.fetch_add(0, Ordering::SeqCst);
        for items in self.items.chunks(100) {
            let mut records = Vec::new();
            for item in items {
                let mut fields = BTreeMap::from([
                    ("value".into(), Value::Int(item.value)),
                    ("note".into(), Value::text(&item.note)),
                ]);
                if let Some(bytes) = &item.image {
                    fields.insert("image".into(), Value::Blob(context.blobs.put(bytes, "image/png")?));
                }
                records.push(Record { id: item.id.as_str().into(), fields });
            }
            emit(records)?;
        }
        Ok(())
    }
}

/// Writes `doubled`; drops negative values; with a failure, a panic, a cancel or a pause on request.
#[derive(Clone)]
pub(super) struct Double {
    pub(super) version: u32,
    pub(super) batch: usize,
    pub(super) group: bool,
    pub(super) samples: u32,
    pub(super) fails_on: Option<i64>,
    pub(super) panics_on: Option<i64>,
    pub(super) cancels_on: Option<(i64, Cancel)>,
    pub(super) reads_image: bool,
    /// Characters of text to write beside.
    pub(super) text: usize,
    pub(super) pause: Duration,
    /// Fails on 5 so many times before it succeeds.
    pub(super) flaky: Arc<AtomicU64>,
    /// Waits on 6 until it is told to stop.
    pub(super) hangs: bool,
    pub(super) policy: Policy,
    pub(super) model: Option<usize>,
    pub(super) device: Option<Arc<Mutex<Vec<String>>>>,
    pub(super) name: String,
    pub(super) work: Arc<Work>,
}

impl Default for Double {
    fn default() -> Self {
        Double {
            version: 1,
            batch: 64,
            group: false,
            samples: 1,
            fails_on: None,
            panics_on: None,
            cancels_on: None,
            reads_image: false,
            text: 0,
            pause: Duration::ZERO,
            flaky: Arc::default(),
            hangs: false,
            policy: Policy::default(),
            model: None,
            device: None,
            name: String::new(),
            work: Arc::default(),
        }
    }
}

impl Double {
    pub(super) fn node(mut self, name: &str, input: usize) -> Make {
        self.name = name.to_owned();
        Box::new(move |work| {
            self.work = work.clone();
            let reads: &[&str] = if self.reads_image { &["value", "image"] } else { &["value"] };
            let (version, model, device, policy) = (self.version, self.model, self.device.is_some(), self.policy);
            let identity = json!({ "group": self.group, "samples": self.samples });
            let name = self.name.clone();
            let mut stage = stage(version, identity, &[("input", reads)], crate::stage::Work::Record(Box::new(self)));
            stage.uses_device = device;
            let node = build(&name, "double", &[("input", input)], stage, model.map(|node| ("model", node)));
            Node { policy, ..node }
        })
    }
}

impl RecordStage for Double {
    fn group_by(&self) -> Option<&str> {
        self.group.then_some("note")
    }

    fn batch_units(&self) -> usize {
        self.batch
    }

    fn process(
        &self,
        units: &[Unit],
        models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        assert!(units.len() <= self.batch && models.len() == usize::from(self.model.is_some()));
        std::thread::sleep(self.pause);
        if let Some(log) = &self.device {
            log.lock().unwrap().push(self.name.clone());
        }
        units.iter().map(|unit| self.one(unit, context)).collect()
    }

    fn release(&self) {
        if let Some(log) = &self.device {
            log.lock().unwrap().push(format!("{} lets go", self.name));
        }
    }
}

impl Double {
    fn one(&self, unit: &Unit, context: &StageContext<'_>) -> Result<Outcome, StageError> {
        let (mut rows, mut drops) = (Vec::new(), Vec::new());
        for (source, record) in unit.records.iter().enumerate() {
            let Some(Value::Int(value)) = record.fields.get("value") else { continue };
            if self.fails_on == Some(*value) {
                return Ok(Outcome::Failed { reason: "cannot double this".into() });
            }
            assert!(self.panics_on != Some(*value), "no {value} please");
            let down = |left: u64| left.checked_sub(1);
            if *value == 5 && self.flaky.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down).is_ok() {
                return Ok(Outcome::Failed { reason: "not today".into() });
            }
            if self.hangs && *value == 6 {
                while !context.cancel.requested() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Err(StageError::Interrupted);
            }
            if let Some((at, cancel)) = &self.cancels_on
                && at == value
            {
                cancel.request();
            }
            if let (true, Some(blob)) = (self.reads_image, record.blob("image")) {
                context.blobs.get(blob)?;
            }
            if *value < 0 {
                drops.push(Dropped { source, reason: "negative".into() });
                continue;
            }
            for index in 0..self.samples {
                let mut fields = BTreeMap::from([("doubled".into(), Value::Int(value * 2))]);
                if self.text > 0 {
                    fields.insert("text".into(), Value::text("word\n".repeat(self.text / 5)));
                }
                rows.push(Row { source, child: (self.samples > 1).then_some(index), fields });
            }
        }
        self.work.units.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Done { rows, drops })
    }
}

/// Sums its input into a model, step by step, with a checkpoint after each.
#[derive(Default)]
pub(super) struct Train {
    pub(super) cancel_at: Option<(u64, Cancel)>,
    pub(super) pause: Duration,
    pub(super) work: Arc<Work>,
}

impl Train {
    pub(super) fn node(mut self, name: &str, inputs: &[(&'static str, usize)], model: Option<usize>) -> Make {
        let (name, inputs) = (name.to_owned(), inputs.to_vec());
        Box::new(move |work| {
            self.work = work.clone();
            let mut stage = stage(1, Json::Null, &[("input", &["doubled"])], crate::stage::Work::Set(Box::new(self)));
            stage.models.insert("model", ModelTraits { vision: false, summary: "a sum".into() });
            build(&name, "train", &inputs, stage, model.map(|node| ("model", node)))
        })
    }
}

impl SetStage for Train {
    fn run(&self, input: SetInput, context: &StageContext<'_>) -> Result<SetOutput, StageError> {
        std::thread::sleep(self.pause);
        let records = &input.records["input"];
        let mut state = Digest::of(b"");
        let mut step = 0;
        if let Some(parts) = context.checkpoint.load()? {
            step = parts["step"][0] as usize;
            state = Digest::from_bytes(parts["state"].as_slice().try_into().unwrap());
        }
        let steps = records.chunks(records.len().div_ceil(10).max(1)).enumerate().skip(step);
        for (index, chunk) in steps {
            if context.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            let values: Vec<_> = chunk.iter().map(|record| record.fields.get("doubled").map(Value::to_json)).collect();
            state = Digest::of_json(&(state, values));
            self.work.steps.fetch_add(1, Ordering::SeqCst);
            let parts = BTreeMap::from([
                ("step".to_owned(), vec![index as u8 + 1]),
                ("state".to_owned(), state.bytes().to_vec()),
            ]);
            context.checkpoint.save(&parts)?;
            if let Some((at, cancel)) = &self.cancel_at
                && *at == index as u64
            {
                cancel.request();
            }
        }
        self.work.sets.fetch_add(1, Ordering::SeqCst);
        let files = BTreeMap::from([("sum.json".to_owned(), FileContent::Bytes(state.bytes().to_vec()))]);
        Ok(SetOutput { models: BTreeMap::from([("model", files)]), ..SetOutput::default() })
    }
}

/// Gives the records of both inputs; leaves out those on the right whose id was on the left.
pub(super) struct Join;

impl Join {
    pub(super) fn node(self, name: &str, inputs: &[(&'static str, usize)]) -> Make {
        let (name, inputs) = (name.to_owned(), inputs.to_vec());
        Box::new(move |_| {
            let reads = [("left", &["doubled"] as &[_]), ("right", &["doubled"])];
            build(&name, "join", &inputs, stage(1, Json::Null, &reads, crate::stage::Work::Set(Box::new(Join))), None)
        })
    }
}

impl SetStage for Join {
    fn run(&self, mut input: SetInput, _: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let mut records = input.records.remove("left").unwrap_or_default();
        let mut drops = Vec::new();
        let seen: std::collections::HashSet<_> = records.iter().map(|record| record.id.clone()).collect();
        for (source, record) in input.records.remove("right").unwrap_or_default().into_iter().enumerate() {
            if seen.contains(&record.id) {
                drops.push(("right", Dropped { source, reason: "twice".into() }));
            } else {
                records.push(record);
            }
        }
        Ok(SetOutput { records: BTreeMap::from([("records", records)]), drops, ..SetOutput::default() })
    }
}
