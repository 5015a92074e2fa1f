//! The look-ups of a trace: which records of which nodes are wanted, and passes over the store that find them. It keeps
//! what was asked for and nothing else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId};
use crate::key::NodeKey;
use crate::model::Model;
use crate::plan::{Item, More, stream};
use crate::record::{Record, Value};
use crate::store::{History, Store};

use super::{Batch, TraceOptions, Training};

/// The most ids that a batch in a trace lists; the digest stands for the rest.
const BATCH_IDS: usize = 4096;
/// How many ids an error offers.
const NEAREST: usize = 3;
/// The most records that a join's key brings into a trace.
const VALUES: usize = 4;

/// A record that was found.
pub(super) struct Found {
    pub(super) record: Record,
    /// `None`: it was dropped.
    pub(super) port: Option<&'static str>,
    pub(super) reason: Option<String>,
    /// Its index in the port's stream.
    pub(super) index: u64,
}

/// What is wanted of a node in the next pass.
#[derive(Default)]
struct Wanted {
    ids: HashSet<Arc<str>>,
    /// All is found once these are.
    exact: HashSet<Arc<str>>,
    /// Records by their values: port, then fields with what they must hold.
    values: Vec<(&'static str, Vec<(String, Value)>)>,
    model: bool,
}

/// What a join brings in: node, port, fields and values as JSON text.
type ValueKey = (NodeId, &'static str, String);

/// A record by its node, the output port (`None`: it was dropped) and its id.
type Place = (NodeId, Option<&'static str>, Arc<str>);

/// A search over the store, pass by pass.
pub(super) struct Search<'a> {
    pub(super) graph: &'a Graph,
    store: &'a Store,
    history: History,
    limit: usize,
    wanted: BTreeMap<NodeId, Wanted>,
    asked: HashSet<(NodeId, Arc<str>)>,
    asked_values: HashMap<ValueKey, Vec<Arc<str>>>,
    asked_models: BTreeSet<NodeId>,
    found: HashMap<Place, Arc<Found>>,
    models: HashMap<(NodeId, &'static str), Arc<Model>>,
    training: HashMap<NodeId, Training>,
    complete: BTreeMap<NodeId, bool>,
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a Graph, store: &'a Store, limit: usize) -> Result<Self, StageError> {
        Ok(Self {
            graph,
            store,
            history: store.history(&graph.path)?,
            limit,
            wanted: BTreeMap::new(),
            asked: HashSet::new(),
            asked_values: HashMap::new(),
            asked_models: BTreeSet::new(),
            found: HashMap::new(),
            models: HashMap::new(),
            training: HashMap::new(),
            complete: BTreeMap::new(),
        })
    }

    /// Wants the records of `node` with these ids, the likeliest first, and what they came from, `depth` nodes back.
    pub(super) fn ask(&mut self, node: NodeId, ids: &[Arc<str>], depth: usize) {
        let Some(first) = ids.first() else { return };
        let mut fresh = false;
        for id in ids {
            if self.asked.insert((node, id.clone())) {
                self.wanted.entry(node).or_default().ids.insert(id.clone());
                fresh = true;
            }
        }
        if !fresh {
            return;
        }
        self.wanted.entry(node).or_default().exact.insert(first.clone());
        let graph = self.graph;
        let consumer = &graph.nodes[node.0];
        for (port, edge) in consumer.inputs.iter().filter(|_| depth > 0) {
            let Edge::Node { node: input, port: output } = edge else { continue };
            let stage = &graph.nodes[input.0].stage;
            if stage.models.contains_key(output) {
                self.ask_model(*input);
            } else if joined_by(consumer, port).is_none() {
                let above: Vec<_> = ids.iter().flat_map(|id| input_ids(consumer, port, id)).collect();
                self.ask(*input, &above, depth - 1);
            }
        }
    }

    /// Wants the records that hold these values; gives the ids of those found so far.
    pub(super) fn ask_values(
        &mut self,
        node: NodeId,
        port: &'static str,
        values: Vec<(String, Value)>,
    ) -> Vec<Arc<str>> {
        let key = value_key(node, port, &values);
        if let Some(ids) = self.asked_values.get(&key) {
            return ids.clone();
        }
        self.asked_values.insert(key, Vec::new());
        self.wanted.entry(node).or_default().values.push((port, values));
        Vec::new()
    }

    /// Wants the model of `node` and what trained it.
    pub(super) fn ask_model(&mut self, node: NodeId) {
        if self.asked_models.insert(node) {
            self.wanted.entry(node).or_default().model = true;
        }
    }

    /// One pass over all that is wanted now; false if nothing is.
    pub(super) fn pass(&mut self) -> Result<bool, StageError> {
        let mut wanted = std::mem::take(&mut self.wanted);
        if wanted.is_empty() {
            return Ok(false);
        }
        let nodes: Vec<NodeId> = wanted.keys().copied().collect();
        let mut counts: HashMap<(NodeId, &'static str), u64> = HashMap::new();
        let (graph, store) = (self.graph, self.store);
        let complete = stream(graph, store, &nodes, &mut |node, item| {
            let Some(wanted) = wanted.get_mut(&node) else { return More::Enough };
            match item {
                Item::Records(port, records) => {
                    let count = counts.entry((node, port)).or_default();
                    for record in records {
                        self.take(node, port, *count, record, wanted);
                        *count += 1;
                    }
                }
                Item::Model(port, model) => _ = self.models.insert((node, port), model),
                Item::Dropped(record, reason) => {
                    if wanted.ids.contains(&record.id) {
                        wanted.exact.remove(&record.id);
                        let id = record.id.clone();
                        let found = Found { record, port: None, reason: Some(reason), index: 0 };
                        self.found.entry((node, None, id)).or_insert_with(|| Arc::new(found));
                    }
                }
            }
            let enough = wanted.exact.is_empty() && wanted.values.is_empty() && !wanted.model;
            if enough { More::Enough } else { More::Continue }
        })?;
        for (node, complete) in complete {
            self.complete.insert(node, complete);
        }
        Ok(true)
    }

    fn take(&mut self, node: NodeId, port: &'static str, index: u64, record: Record, wanted: &mut Wanted) {
        if wanted.model
            && let Some(batch) = batch_of(&self.graph.nodes[node.0], &record)
        {
            let training = self.training.entry(node).or_default();
            training.steps += 1;
            training.records += batch.count;
            if training.batches.len() < self.limit {
                training.batches.push(Batch { id: record.id.clone(), batch: batch.digest, records: batch.records });
            }
        }
        let mut keep = wanted.ids.contains(&record.id);
        for (_, values) in wanted.values.iter().filter(|(wanted, _)| *wanted == port) {
            if values.iter().all(|(name, value)| field(&record, name).as_ref() == Some(value)) {
                let ids = self.asked_values.entry(value_key(node, port, values)).or_default();
                if ids.len() < VALUES {
                    ids.push(record.id.clone());
                    keep = true;
                }
            }
        }
        if keep {
            wanted.exact.remove(&record.id);
            let id = record.id.clone();
            let found = Found { record, port: Some(port), reason: None, index };
            self.found.entry((node, Some(port), id)).or_insert_with(|| Arc::new(found));
        }
    }

    pub(super) fn found(&self, node: NodeId, port: Option<&'static str>, id: &Arc<str>) -> Option<Arc<Found>> {
        self.found.get(&(node, port, id.clone())).cloned()
    }

    pub(super) fn model(&self, node: NodeId, port: &'static str) -> Option<Arc<Model>> {
        self.models.get(&(node, port)).cloned()
    }

    pub(super) fn training(&self, node: NodeId) -> Option<Training> {
        self.training.get(&node).cloned()
    }

    pub(super) fn complete(&self, node: NodeId) -> bool {
        self.complete.get(&node).copied().unwrap_or(false)
    }

    /// The key that a node had when it last finished.
    pub(super) fn past_key(&self, node: NodeId) -> Option<NodeKey> {
        let past = self.history.nodes.get(&*self.graph.nodes[node.0].name)?;
        serde_json::from_value(past.key.clone()).ok()
    }

    /// The node above `node` that dropped the record that would have become `id`, the nearest first.
    pub(super) fn dropped_above(&self, node: NodeId, id: &str) -> Option<(NodeId, Arc<str>, String)> {
        let mut above = self.graph.order.iter().rev().filter(|above| **above != node);
        let ids = ancestors_of(id);
        above.find_map(|above| {
            let found = ids.iter().find_map(|id| self.found(*above, None, id))?;
            Some((*above, found.record.id.clone(), found.reason.clone()?))
        })
    }

    /// The ids of a node that are closest to one that it does not have.
    pub(super) fn nearest(&self, options: &TraceOptions, id: &str) -> Result<Vec<Arc<str>>, StageError> {
        // Beginnings of ids are typed more often than ids with an error in them.
        let mut best: BTreeSet<(Reverse<bool>, usize, Arc<str>)> = BTreeSet::new();
        let within = (id.chars().count() / 3).max(2);
        let mut consider = |other: &Arc<str>| {
            let begins = other.starts_with(id);
            let distance = if begins { other.len() } else { strsim::osa_distance(id, other) };
            if begins || distance <= within {
                best.insert((Reverse(begins), distance, other.clone()));
                if best.len() > NEAREST {
                    best.pop_last();
                }
            }
        };
        stream(self.graph, self.store, &[options.node], &mut |_, item| {
            match item {
                Item::Records(port, records) if options.port.is_none_or(|wanted| wanted == port) => {
                    records.iter().for_each(|record| consider(&record.id));
                }
                Item::Dropped(record, _) if options.port.is_none() => consider(&record.id),
                _ => {}
            }
            More::Continue
        })?;
        Ok(best.into_iter().map(|(_, _, id)| id).collect())
    }
}

fn value_key(node: NodeId, port: &'static str, values: &[(String, Value)]) -> ValueKey {
    let text = values.iter().map(|(name, value)| format!("{name}={}\n", value.to_json())).collect();
    (node, port, text)
}

/// What a step of a training was trained on.
pub(super) struct StepBatch {
    pub(super) digest: Arc<str>,
    pub(super) records: Vec<Arc<str>>,
    pub(super) count: u64,
}

/// The batch that a record tells of: a record of a node that gives a model, with `batch` and `records`.
pub(super) fn batch_of(node: &Node, record: &Record) -> Option<StepBatch> {
    if node.stage.models.is_empty() {
        return None;
    }
    let (Some(Value::Text(digest)), Some(Value::List(ids))) =
        (record.fields.get("batch"), record.fields.get("records"))
    else {
        return None;
    };
    let texts = ids.iter().filter_map(|id| if let Value::Text(id) = id { Some(id.clone()) } else { None });
    Some(StepBatch { digest: digest.clone(), records: texts.take(BATCH_IDS).collect(), count: ids.len() as u64 })
}

/// The ids that the input record on `port` may have, the likeliest first.
pub(super) fn input_ids(node: &Node, port: &str, id: &str) -> Vec<Arc<str>> {
    let prefix = node.options.values.get("prefix").filter(|_| node.kind == "concat");
    let prefix = prefix.and_then(Json::as_array).and_then(|prefixes| prefixes.get(port.parse::<usize>().ok()?));
    match prefix.and_then(Json::as_str) {
        // With a prefix of its own, each input's records are told from the others'.
        Some(prefix) => id.strip_prefix(prefix).map(ancestors_of).unwrap_or_default(),
        None => ancestors_of(id),
    }
}

/// An id and those it was made from: `p1/0/2`, `p1/0`, `p1`.
fn ancestors_of(id: &str) -> Vec<Arc<str>> {
    let mut ids = vec![Arc::from(id)];
    let mut rest = id;
    while let Some((parent, index)) = rest.rsplit_once('/')
        && !parent.is_empty()
        && !index.is_empty()
        && index.bytes().all(|byte| byte.is_ascii_digit())
    {
        ids.push(Arc::from(parent));
        rest = parent;
    }
    ids
}

/// The fields, left and right, by which the records of `port` were joined; `None` for any other port.
pub(super) fn joined_by(node: &Node, port: &str) -> Option<Vec<(String, String)>> {
    if node.kind != "join" || port != "with" {
        return None;
    }
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let same = |name: String| (name.clone(), name);
    match node.options.values.get("on")? {
        Json::String(field) => Some(vec![same(field.clone())]),
        Json::Array(fields) => fields.iter().map(|field| text(field).map(same)).collect(),
        Json::Object(fields) => fields.iter().map(|(left, right)| Some((left.clone(), text(right)?))).collect(),
        _ => None,
    }
}

/// The value that joins see in a field; the id counts as one.
pub(super) fn field(record: &Record, name: &str) -> Option<Value> {
    if name == "id" { Some(Value::Text(record.id.clone())) } else { record.fields.get(name).cloned() }
}
