//! Where a record or a model comes from: back through samples, captions and checkpoints to the source row. It reads the
//! store only through [`crate::plan::stream`], and keeps no more records than the trace shows.
//!
//! A node's input record is found by its id: stages keep ids or extend them (`p1` -> `p1/0`), so it is the record with the
//! longest id among `p1/0` and `p1`. What trained a model is in the records of its training node: one a step, with
//! the fields `batch` (a digest) and `records` (the ids of the input records).

mod search;
mod types;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId, Position};
use crate::key::NodeKey;
use crate::model::Model;
use crate::record::{Fields, Value};
use crate::stage::Work;
use crate::store::Store;

use search::{Found, Search};

pub use types::{Batch, Subject, Trace, TraceFile, TracedModel, TracedRecord, Training};

/// What to trace, and how far.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The node.
    pub node: NodeId,
    /// One of its record outputs; all of them, and what it dropped, if `None`.
    pub port: Option<&'static str>,
    /// The record's id; `None` traces the node's model.
    pub id: Option<String>,
    /// How many nodes to go back.
    pub depth: usize,
    /// How many steps and records to show of what trained a model.
    pub limit: usize,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no such record now.
    #[error("there is no such record")]
    Unknown {
        /// The closest ids of the node.
        nearest: Vec<Arc<str>>,
        /// A node above that dropped the record, and why.
        dropped: Option<(NodeId, Arc<str>, String)>,
        /// The store has all records of the node.
        complete: bool,
    },
    /// The node's model is not in the store.
    #[error("the model is not in the store")]
    NoModel,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StageError),
}

/// Traces a record of a node, one that it dropped, or its model.
///
/// # Errors
/// There is no such record or model in the store; the store cannot be read.
pub fn trace(graph: &Graph, store: &Store, options: &TraceOptions) -> Result<Trace, TraceError> {
    let mut search = Search::new(graph, store, options.limit)?;
    loop {
        let mut builder = Builder { search: &mut search, limit: options.limit, shown: HashSet::new() };
        let built = match &options.id {
            Some(id) => builder.target(options, &Arc::from(id.as_str())),
            None => builder.node_model(options.node, options.depth),
        };
        // Each pass may show more that is to be looked up: the records of a batch, say.
        if search.pass()? {
            continue;
        }
        return match (built, &options.id) {
            (Some(trace), _) => Ok(trace),
            (None, None) => Err(TraceError::NoModel),
            (None, Some(id)) => {
                let complete = search.complete(options.node);
                let dropped = search.dropped_above(options.node, id);
                let nearest = if dropped.is_some() { Vec::new() } else { search.nearest(options, id)? };
                Err(TraceError::Unknown { nearest, dropped, complete })
            }
        };
    }
}

/// Puts together what has been found so far, and asks for what is missing.
struct Builder<'s, 'a> {
    search: &'s mut Search<'a>,
    limit: usize,
    /// What stands in the trace in full.
    shown: HashSet<(NodeId, Option<Arc<str>>)>,
}

impl<'a> Builder<'_, 'a> {
    fn target(&mut self, options: &TraceOptions, id: &Arc<str>) -> Option<Trace> {
        let graph = self.search.graph;
        self.search.ask(options.node, std::slice::from_ref(id), options.depth);
        let ports = graph.nodes[options.node.0].stage.schemas.keys();
        let mut places =
            ports.filter(|port| options.port.is_none_or(|wanted| wanted == **port)).map(|port| Some(*port));
        let found = places.find_map(|port| self.search.found(options.node, port, id));
        let found = found.or_else(|| self.search.found(options.node, None, id).filter(|_| options.port.is_none()));
        found.map(|found| self.record_trace(options.node, found, options.depth))
    }

    /// The record of an edge's output with the first of `ids` that there is.
    fn record(&mut self, node: NodeId, port: &'static str, ids: &[Arc<str>], depth: usize) -> Option<Trace> {
        self.search.ask(node, ids, depth);
        let found = ids.iter().find_map(|id| self.search.found(node, Some(port), id))?;
        Some(self.record_trace(node, found, depth))
    }

    fn record_trace(&mut self, id: NodeId, found: Arc<Found>, depth: usize) -> Trace {
        let graph = self.search.graph;
        let node = &graph.nodes[id.0];
        let record = &found.record;
        let repeated = !self.shown.insert((id, Some(record.id.clone())));
        let batch = search::batch_of(node, record);
        let key = self.key(id, node);
        let mut trace = self.empty(node, key, Subject::Record(described(node, &found)));
        trace.repeated = repeated;
        let mut sources: Vec<Arc<Found>> = Vec::new();
        for (port, edge) in &node.inputs {
            let Edge::Node { node: input, port: output } = edge else { continue };
            if !graph.nodes[input.0].stage.schemas.contains_key(output) {
                continue;
            }
            if repeated || depth == 0 {
                trace.cut |= !repeated;
                continue;
            }
            if let Some(batch) = &batch {
                // A step's record: its inputs are those that it names, not one with its own id.
                self.batch_inputs(&mut trace, (*input, output), &batch.records, depth);
                continue;
            }
            let ids = match search::joined_by(node, port) {
                Some(keys) => {
                    let value = |(left, right): (String, String)| Some((right, search::field(record, &left)?));
                    let values: Option<Vec<_>> = keys.into_iter().map(value).collect();
                    values.map(|values| self.search.ask_values(*input, output, values)).unwrap_or_default()
                }
                None => search::input_ids(node, port, &record.id),
            };
            if let Some(input_trace) = self.record(*input, output, &ids, depth - 1) {
                sources.extend(ids.iter().find_map(|id| self.search.found(*input, Some(output), id)));
                trace.inputs.push(input_trace);
            }
        }
        if found.reason.is_none() {
            let Subject::Record(traced) = &mut trace.subject else { return trace };
            let same = |(name, value): &(&Arc<str>, &Value)| {
                sources.iter().any(|source| source.record.fields.get(*name) == Some(value))
            };
            traced.wrote =
                record.fields.iter().filter(|field| !same(field)).map(|(n, v)| (n.clone(), v.clone())).collect();
        }
        self.add_models(&mut trace, node, repeated, depth);
        trace
    }

    fn batch_inputs(
        &mut self,
        trace: &mut Trace,
        (input, output): (NodeId, &'static str),
        records: &[Arc<str>],
        depth: usize,
    ) {
        let mut distinct = HashSet::new();
        let ids: Vec<_> = records.iter().filter(|id| distinct.insert((*id).clone())).collect();
        for id in ids.iter().take(self.limit) {
            trace.inputs.extend(self.record(input, output, std::slice::from_ref(*id), depth - 1));
        }
        trace.more_inputs += ids.len().saturating_sub(self.limit) as u64;
    }

    fn add_models(&mut self, trace: &mut Trace, node: &Node, repeated: bool, depth: usize) {
        let graph = self.search.graph;
        for edge in node.inputs.values() {
            let carries_model = match edge {
                Edge::Model(_) => true,
                Edge::Node { node, port } => graph.nodes[node.0].stage.models.contains_key(port),
            };
            if !carries_model || repeated {
                continue;
            }
            if depth == 0 {
                trace.cut = true;
                continue;
            }
            trace.models.extend(match edge {
                Edge::Model(name) => graph.models.get(name).map(|model| at_rest(name, model)),
                Edge::Node { node, port } => self.trained(*node, port, depth - 1),
            });
        }
    }

    fn node_model(&mut self, node: NodeId, depth: usize) -> Option<Trace> {
        let port = self.search.graph.nodes[node.0].stage.models.keys().next()?;
        self.trained(node, port, depth)
    }

    /// The model that a node gives.
    fn trained(&mut self, id: NodeId, port: &'static str, depth: usize) -> Option<Trace> {
        let graph = self.search.graph;
        let node = &graph.nodes[id.0];
        self.search.ask_model(id);
        let model = self.search.model(id, port)?;
        let key = self.key(id, node);
        let consumed = key.as_ref().map(|key| key.inputs.values().map(|input| input.records).sum());
        let training = self.search.training(id).map(|training| Training { records_in: consumed, ..training });
        let repeated = !self.shown.insert((id, None));
        let records: Vec<Arc<str>> =
            training.iter().flat_map(|training| &training.batches).flat_map(|batch| batch.records.clone()).collect();
        let all = training.as_ref().map_or(0, |training| consumed.unwrap_or(training.records));
        let subject = TracedModel { digest: model.digest, summary: model.traits.summary.clone(), training };
        let mut trace = self.empty(node, key, Subject::Model(subject));
        trace.repeated = repeated;
        if repeated {
            return Some(trace);
        }
        if depth == 0 {
            trace.cut = !node.inputs.is_empty();
            return Some(trace);
        }
        if let Some((input, output)) = main_input(graph, node).filter(|_| !records.is_empty()) {
            self.batch_inputs(&mut trace, (input, output), &records, depth);
            trace.more_inputs = all.saturating_sub(trace.inputs.len() as u64);
        }
        self.add_models(&mut trace, node, false, depth);
        Some(trace)
    }

    /// A trace of something of `node`, without what it was made from.
    fn empty(&self, node: &Node, key: Option<NodeKey>, subject: Subject) -> Trace {
        let specs =
            node.option_specs.iter().filter(|spec| spec.identity && !node.options.files.contains_key(spec.name));
        let options = specs.filter_map(|spec| {
            let value = node.options.values.get(spec.name)?;
            (!value.is_null()).then(|| (spec.name.to_owned(), value.clone()))
        });
        let files = node.options.files.iter().flat_map(|(option, files)| {
            files.iter().map(|file| TraceFile { option: option.clone(), path: file.path.clone(), digest: file.digest })
        });
        Trace {
            node: node.name.clone(),
            kind: node.kind.to_owned(),
            at: Some(place(self.search.graph, node.position)),
            key: key.map(|key| key.digest()),
            subject,
            options: options.collect(),
            identity: node.stage.identity.clone(),
            files: files.collect(),
            models: Vec::new(),
            inputs: Vec::new(),
            more_inputs: 0,
            repeated: false,
            cut: false,
        }
    }

    /// The node's key. What a set stage consumed is known from its last run, if nothing else changed since.
    fn key(&mut self, id: NodeId, node: &Node) -> Option<NodeKey> {
        let graph = self.search.graph;
        let mut models = BTreeMap::new();
        for (port, edge) in &node.inputs {
            match edge {
                Edge::Model(name) => _ = models.insert(*port, graph.models.get(name)?.digest),
                Edge::Node { node, port: output } if graph.nodes[node.0].stage.models.contains_key(output) => {
                    self.search.ask_model(*node);
                    models.insert(*port, self.search.model(*node, output)?.digest);
                }
                Edge::Node { .. } => {}
            }
        }
        let mut key = NodeKey::of(graph, node, &models);
        if matches!(node.stage.work, Work::Set(_)) {
            let past = self.search.past_key(id)?;
            key.inputs.clone_from(&past.inputs);
            return (key == past).then_some(key);
        }
        Some(key)
    }
}

/// What is said of a record itself.
fn described(node: &Node, found: &Found) -> TracedRecord {
    let source = matches!(node.stage.work, Work::Source(_));
    let offset = node.options.values.get("offset").and_then(Json::as_u64).unwrap_or(0);
    TracedRecord {
        id: found.record.id.clone(),
        port: found.port,
        dropped: found.reason.clone(),
        row: source.then(|| found.index + offset + 1),
        wrote: Fields::new(),
    }
}

/// The record input of a training node.
fn main_input(graph: &Graph, node: &Node) -> Option<(NodeId, &'static str)> {
    node.inputs.values().find_map(|edge| match edge {
        Edge::Node { node, port } if graph.nodes[node.0].stage.schemas.contains_key(port) => Some((*node, *port)),
        _ => None,
    })
}

/// A model of `[models]`.
fn at_rest(name: &str, model: &Model) -> Trace {
    let folder = model.files.values().next().and_then(|path| path.parent());
    let file =
        |path: &std::path::Path| TraceFile { option: "path".into(), path: path.to_owned(), digest: model.digest };
    let seed = model.init_seed.map(|seed| ("init-seed".to_owned(), Json::from(seed)));
    Trace {
        node: name.into(),
        kind: "model".to_owned(),
        at: None,
        key: None,
        subject: Subject::Model(TracedModel {
            digest: model.digest,
            summary: model.traits.summary.clone(),
            training: None,
        }),
        options: seed.into_iter().collect(),
        identity: Json::Null,
        files: folder.map(file).into_iter().collect(),
        models: Vec::new(),
        inputs: Vec::new(),
        more_inputs: 0,
        repeated: false,
        cut: false,
    }
}

fn place(graph: &Graph, position: Position) -> String {
    format!("{}:{}:{}", graph.path.display(), position.line, position.column)
}

#[cfg(test)]
mod tests;
