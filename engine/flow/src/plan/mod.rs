//! The plan: graph and store -> what a run would do, and why. Computes nothing and changes nothing.

pub(crate) mod lookup;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId};
use crate::key::{NodeKey, StreamKey, reads_on};
use crate::model::Model;
use crate::record::Record;
use crate::stage::{RecordStage, Work};
use crate::store::{History, Store};

use lookup::{Grouper, find_action, find_unit, inputs_of, lay_over, needed};

/// What a run would do with a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlan {
    /// The node.
    pub node: NodeId,
    /// What would happen.
    pub state: State,
    /// Records that come in (of a source: that come out); `None` while that is not known.
    pub records: Option<u64>,
    /// How many of them need no work.
    pub cached: u64,
    /// The reason, for people.
    pub why: String,
    /// Seconds that the node took when it last computed.
    pub seconds_last: Option<f64>,
    /// Records that are dropped, as far as the store knows.
    pub dropped: u64,
    /// The identity of each output that is known.
    pub digests: BTreeMap<&'static str, Digest>,
}

/// What to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Only these nodes and what they need; all if empty.
    pub to: Vec<NodeId>,
    /// These nodes and all below them are computed again, whatever the store has.
    pub from: Vec<NodeId>,
}

/// What the store holds of a node's output, piece by piece.
#[derive(Debug)]
pub enum Item {
    /// The next records of an output port, in order.
    Records(&'static str, Vec<Record>),
    /// The model of an output port.
    Model(&'static str, Arc<Model>),
    /// A dropped record, as it came in, and why.
    Dropped(Record, String),
}

/// Whether more of a node is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Yes.
    Continue,
    /// No.
    Enough,
}

/// What a run would do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything is in the store.
    Hit,
    /// Nothing is in the store.
    Run,
    /// Some units are in the store.
    Partial,
    /// What it would consume is not known yet.
    Waits,
}

/// What the store holds of a node's output.
#[derive(Clone, Debug)]
pub struct NodeOutput {
    /// The records of each record output port, in order.
    pub records: BTreeMap<&'static str, Arc<Vec<Record>>>,
    /// The model of each model output port.
    pub models: BTreeMap<&'static str, Arc<Model>>,
    /// The records that were dropped, with reasons.
    pub drops: Vec<DropEntry>,
    /// False: a part is still to be computed.
    pub complete: bool,
}

/// A dropped record.
#[derive(Clone, Debug, PartialEq)]
pub struct DropEntry {
    /// The record as it came in.
    pub record: Record,
    /// Why it was dropped.
    pub reason: String,
}

/// What a run would do now, node by node in the order of [`Graph::nodes`], without computing anything. With `to`, only
/// these nodes and what they need.
///
/// # Errors
/// The store cannot be read.
pub fn plan(graph: &Graph, store: &Store, options: &PlanOptions) -> Result<Vec<NodePlan>, StageError> {
    let mut resolver = Resolver::new(graph, store)?;
    let needed = needed(graph, &options.to);
    for id in graph.order.iter().filter(|id| needed[id.0]) {
        resolver.resolve(*id)?;
    }
    resolver.warn();
    Ok(resolver.plans.into_iter().flatten().collect())
}

/// What the store holds for a node now; `None` if nothing. With `complete` false, the records are those that are
/// finished, in order.
///
/// # Errors
/// The store cannot be read.
pub fn outputs(graph: &Graph, store: &Store, node: NodeId) -> Result<Option<NodeOutput>, StageError> {
    let mut resolver = Resolver::new(graph, store)?;
    let needed = needed(graph, &[node]);
    for id in graph.order.iter().filter(|id| needed[id.0]) {
        resolver.resolve(*id)?;
    }
    resolver.warn();
    Ok(resolver.outputs.get_mut(node.0).and_then(Option::take))
}

/// Streams what the store holds of these nodes' outputs now, each in order. `true` for a node: that is all of it.
///
/// # Errors
/// The store cannot be read.
pub fn stream(
    graph: &Graph,
    store: &Store,
    nodes: &[NodeId],
    take: &mut dyn FnMut(NodeId, Item) -> More,
) -> Result<BTreeMap<NodeId, bool>, StageError> {
    let mut complete = BTreeMap::new();
    for id in nodes {
        let found = outputs(graph, store, *id)?;
        complete.insert(*id, found.as_ref().is_some_and(|found| found.complete));
        let Some(found) = found else { continue };
        let records = found
            .records
            .iter()
            .flat_map(|(port, records)| records.chunks(256).map(|chunk| Item::Records(port, chunk.to_vec())));
        let models = found.models.iter().map(|(port, model)| Item::Model(port, model.clone()));
        let drops = found.drops.iter().map(|drop| Item::Dropped(drop.record.clone(), drop.reason.clone()));
        for item in records.chain(models).chain(drops) {
            if take(*id, item) == More::Enough {
                break;
            }
        }
    }
    Ok(complete)
}

/// What a graph pins in the store.
///
/// # Errors
/// The store cannot be read.
pub fn pins(graph: &Graph, store: &Store) -> Result<crate::store::Pins, StageError> {
    let mut resolver = Resolver::new(graph, store)?;
    let mut pins = crate::store::Pins::default();
    for id in &graph.order {
        resolver.resolve(*id)?;
        if let Some(past) = resolver.past_key(*id) {
            pins.actions.insert(past.digest());
            pins.units.insert(past.digest());
        }
    }
    Ok(pins)
}

/// The walk over the nodes in order: each is looked up with what those above it gave.
struct Resolver<'a> {
    graph: &'a Graph,
    store: &'a Store,
    history: History,
    plans: Vec<Option<NodePlan>>,
    outputs: Vec<Option<NodeOutput>>,
}

/// What is known of a node's inputs.
struct Inputs {
    records: BTreeMap<&'static str, Arc<Vec<Record>>>,
    models: BTreeMap<&'static str, Arc<Model>>,
    /// The nodes whose output is not known as a whole.
    missing: Vec<NodeId>,
}

impl<'a> Resolver<'a> {
    fn new(graph: &'a Graph, store: &'a Store) -> Result<Self, StageError> {
        let nothing = || graph.nodes.iter().map(|_| None).collect();
        let outputs = graph.nodes.iter().map(|_| None).collect();
        Ok(Self { graph, store, history: store.history(&graph.path)?, plans: nothing(), outputs })
    }

    fn warn(&self) {
        for note in self.store.take_notes() {
            tracing::warn!("{note}");
        }
    }

    fn resolve(&mut self, id: NodeId) -> Result<(), StageError> {
        let node = &self.graph.nodes[id.0];
        let inputs = self.inputs(node);
        let digests = inputs.models.iter().map(|(port, model)| (*port, model.digest)).collect();
        let key = NodeKey::of(self.graph, node, &digests);
        let models_missing = node.inputs.iter().any(|(port, edge)| {
            matches!(edge, Edge::Node { .. }) && !inputs.records.contains_key(port) && !inputs.models.contains_key(port)
        });
        let (plan, output) = match &node.stage.work {
            Work::Record(stage) if !models_missing => self.record_stage(id, stage.as_ref(), key, &inputs)?,
            Work::Source(_) | Work::Set(_) if inputs.missing.is_empty() => self.whole_stage(id, key, &inputs)?,
            _ => (self.waits(id, key, &inputs), None),
        };
        self.plans[id.0] = Some(plan);
        self.outputs[id.0] = output;
        Ok(())
    }

    fn inputs(&self, node: &Node) -> Inputs {
        let mut inputs = Inputs { records: BTreeMap::new(), models: BTreeMap::new(), missing: Vec::new() };
        for (input, edge) in &node.inputs {
            match edge {
                Edge::Model(name) => {
                    if let Some(model) = self.graph.models.get(name) {
                        inputs.models.insert(input, model.clone());
                    }
                }
                Edge::Node { node, port } => {
                    let output = self.outputs[node.0].as_ref();
                    if output.is_none_or(|output| !output.complete) && !inputs.missing.contains(node) {
                        inputs.missing.push(*node);
                    }
                    let Some(output) = output else { continue };
                    if let Some(records) = output.records.get(port) {
                        inputs.records.insert(input, records.clone());
                    } else if let Some(model) = output.models.get(port) {
                        inputs.models.insert(input, model.clone());
                    }
                }
            }
        }
        inputs
    }

    /// A record stage, unit by unit. With an incomplete input, what is there of its output is given, and it waits.
    fn record_stage(
        &self,
        id: NodeId,
        stage: &dyn RecordStage,
        key: NodeKey,
        inputs: &Inputs,
    ) -> Result<(NodePlan, Option<NodeOutput>), StageError> {
        let node = &self.graph.nodes[id.0];
        let mut units = self.store.units(&key.digest())?;
        let mut output = NodeOutput::empty();
        let (mut records, mut cached, mut seconds) = (0, 0, 0.0);
        let mut rows = Vec::new();
        for (port, input) in &inputs.records {
            let mut grouper = Grouper::new(stage.group_by(), reads_on(node, port));
            let mut complete: Vec<_> = input.iter().filter_map(|record| grouper.push(record.clone())).collect();
            complete.extend(grouper.end());
            for unit in complete {
                let count = unit.records.len() as u64;
                records += count;
                let Some(stored) = find_unit(self.store, &mut units, &unit)? else { continue };
                cached += count;
                seconds += stored.seconds;
                for drop in stored.drops {
                    output.drops.push(DropEntry { record: unit.records[drop.source].clone(), reason: drop.reason });
                }
                rows.extend(lay_over(unit.records, stored.rows));
            }
        }
        output.complete = inputs.missing.is_empty() && cached == records;
        let mut plan = if inputs.missing.is_empty() {
            let state = match cached {
                _ if cached == records => State::Hit,
                0 => State::Run,
                _ => State::Partial,
            };
            let why = self.why_units(id, &key, records, cached);
            NodePlan {
                node: id,
                state,
                records: Some(records),
                cached,
                why,
                seconds_last: None,
                dropped: 0,
                digests: BTreeMap::new(),
            }
        } else {
            NodePlan { cached, ..self.waits(id, key, inputs) }
        };
        plan.seconds_last = if plan.state == State::Hit { Some(seconds) } else { self.seconds_last(id) };
        if let Some(port) = node.stage.schemas.keys().next().filter(|_| cached > 0 || output.complete) {
            output.records.insert(port, Arc::new(rows));
            return Ok((plan, Some(output)));
        }
        Ok((plan, None))
    }

    /// A source or a set stage, whose inputs are known.
    fn whole_stage(
        &self,
        id: NodeId,
        mut key: NodeKey,
        inputs: &Inputs,
    ) -> Result<(NodePlan, Option<NodeOutput>), StageError> {
        let node = &self.graph.nodes[id.0];
        for (port, records) in &inputs.records {
            let mut stream = StreamKey::new(reads_on(node, port));
            records.iter().for_each(|record| stream.add(record));
            key.inputs.insert((*port).to_owned(), stream.finish());
        }
        let source = matches!(node.stage.work, Work::Source(_));
        let records_in = inputs.records.values().map(|records| records.len() as u64).sum();
        let Some(found) = find_action(self.store, node, &key)? else {
            let records = (!source).then_some(records_in);
            let why = self.why_changed(id, &key).unwrap_or_else(|| "its result is not in the store".to_owned());
            let seconds_last = self.seconds_last(id);
            return Ok((
                NodePlan {
                    node: id,
                    state: State::Run,
                    records,
                    cached: 0,
                    why,
                    seconds_last,
                    dropped: 0,
                    digests: BTreeMap::new(),
                },
                None,
            ));
        };
        let mut output = NodeOutput { records: found.records, models: found.models, ..NodeOutput::empty() };
        for (port, drops) in found.drops {
            let Some(records) = inputs.records.get(port.as_str()) else { continue };
            output.drops.extend(drops.into_iter().filter_map(|drop| {
                records.get(drop.source).map(|record| DropEntry { record: record.clone(), reason: drop.reason })
            }));
        }
        let records =
            if source { output.records.values().next().map_or(0, |records| records.len() as u64) } else { records_in };
        let plan = NodePlan {
            node: id,
            state: State::Hit,
            records: Some(records),
            cached: records,
            why: "nothing changed".to_owned(),
            seconds_last: Some(found.seconds),
            dropped: 0,
            digests: BTreeMap::new(),
        };
        Ok((plan, Some(output)))
    }

    fn waits(&self, id: NodeId, mut key: NodeKey, inputs: &Inputs) -> NodePlan {
        let names: Vec<_> = inputs_of(self.graph, id)
            .into_iter()
            .filter(|input| inputs.missing.contains(input))
            .map(|input| format!("`{}`", self.graph.nodes[input.0].name))
            .collect();
        let mut why = format!("waits for {}", names.join(", "));
        if let Some(old) = self.past_key(id) {
            // What is not known yet is no change.
            key.inputs.clone_from(&old.inputs);
            for (port, digest) in &old.models {
                key.models.entry(port.clone()).or_insert(*digest);
            }
            if let Some(changed) = self.why_changed(id, &key) {
                why = format!("{changed}; {why}");
            }
        }
        NodePlan {
            node: id,
            state: State::Waits,
            records: None,
            cached: 0,
            why,
            seconds_last: self.seconds_last(id),
            dropped: 0,
            digests: BTreeMap::new(),
        }
    }

    fn why_units(&self, id: NodeId, key: &NodeKey, records: u64, cached: u64) -> String {
        if cached == records {
            return if records == 0 { "no records come in".to_owned() } else { "nothing changed".to_owned() };
        }
        match self.why_changed(id, key) {
            Some(why) if cached == 0 => why,
            Some(why) => format!("{why}; {} of {records} records are to be computed", records - cached),
            None => format!("{} of {records} records are new, changed or not finished", records - cached),
        }
    }

    /// What differs from the last time, each with its place in the graph file; `None` if nothing does.
    fn why_changed(&self, id: NodeId, key: &NodeKey) -> Option<String> {
        let Some(old) = self.past_key(id) else { return Some("it has not run before".to_owned()) };
        let node = &self.graph.nodes[id.0];
        let changes = NodeKey::changes(&old, key).into_iter().map(|change| {
            match change.option.and_then(|option| node.option_positions.get(&option)) {
                Some(place) => {
                    format!("{}:{}:{}: {}", self.graph.path.display(), place.line, place.column, change.text)
                }
                None => change.text,
            }
        });
        let changes: Vec<_> = changes.collect();
        (!changes.is_empty()).then(|| changes.join("; "))
    }

    fn past_key(&self, id: NodeId) -> Option<NodeKey> {
        let past = self.history.nodes.get(&*self.graph.nodes[id.0].name)?;
        serde_json::from_value(past.key.clone()).ok()
    }

    fn seconds_last(&self, id: NodeId) -> Option<f64> {
        self.history.nodes.get(&*self.graph.nodes[id.0].name)?.seconds
    }
}

impl NodeOutput {
    fn empty() -> Self {
        Self { records: BTreeMap::new(), models: BTreeMap::new(), drops: Vec::new(), complete: true }
    }
}
