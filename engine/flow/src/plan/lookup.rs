//! Looking things up: what the plan and the executor share, so that they cannot disagree. Computes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId};
use crate::key::{NodeKey, unit_content};
use crate::model::Model;
use crate::record::{Record, Value};
use crate::stage::{Reads, Row, Unit};
use crate::store::{Action, SegmentReader, Store, StoredUnit, Units};

/// Readers of all record outputs of an action; `None` if one is missing or damaged.
pub(crate) fn opened(
    store: &Store,
    node: &Node,
    action: &Action,
) -> Result<Option<Vec<(&'static str, SegmentReader)>>, StageError> {
    let mut readers = Vec::new();
    for port in node.stage.schemas.keys() {
        let Some(segment) = action.records.get(*port) else { return Ok(None) };
        let Some(reader) = store.open_segment(segment)? else { return Ok(None) };
        readers.push((*port, reader));
    }
    Ok(Some(readers))
}

/// The models of an action; `None` if a file of one is missing or damaged.
pub(crate) fn stored_models(
    store: &Store,
    node: &Node,
    action: &Action,
) -> Result<Option<BTreeMap<&'static str, Arc<Model>>>, StageError> {
    let mut models = BTreeMap::new();
    for port in node.stage.models.keys() {
        let Some(files) = action.models.get(*port) else { return Ok(None) };
        let Some(model) = stored_model(store, node, port, files)? else { return Ok(None) };
        models.insert(*port, model);
    }
    Ok(Some(models))
}

/// Adds the digests of the blobs that values name.
pub(crate) fn blobs_of<'a>(values: impl IntoIterator<Item = &'a Value>, blobs: &mut Vec<Digest>) {
    for value in values {
        match value {
            Value::Blob(blob) => blobs.push(blob.digest),
            Value::List(values) => blobs_of(values, blobs),
            Value::Map(values) => blobs_of(values.values(), blobs),
            _ => {}
        }
    }
}

/// The model whose files are in the store; `None` if one is missing or damaged.
pub(crate) fn stored_model(
    store: &Store,
    node: &Node,
    port: &'static str,
    files: &BTreeMap<String, Digest>,
) -> Result<Option<Arc<Model>>, StageError> {
    let mut paths = BTreeMap::new();
    for (name, digest) in files {
        let Some(path) = store.file(digest)? else { return Ok(None) };
        paths.insert(name.clone(), path);
    }
    let Some(traits) = node.stage.models.get(port).cloned() else { return Ok(None) };
    Ok(Some(Arc::new(Model { digest: Model::digest_of(files, None), files: paths, init_seed: None, traits })))
}

/// The action of a key and what it holds, for [`Store::put_action`].
pub(crate) fn new_action(key: &NodeKey, seconds: f64) -> Action {
    let finished = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    Action {
        key: key.to_json(),
        records: BTreeMap::new(),
        models: BTreeMap::new(),
        drops: BTreeMap::new(),
        seconds,
        finished,
    }
}

/// Takes a stream apart into units: single records, or neighbours with the same value in a field. A group may span
/// batches, so the last one is held back until the value changes or the stream ends.
pub(crate) struct Grouper<'a> {
    field: Option<&'a str>,
    reads: &'a Reads,
    held: Vec<Record>,
}

impl<'a> Grouper<'a> {
    pub(crate) fn new(field: Option<&'a str>, reads: &'a Reads) -> Self {
        Self { field, reads, held: Vec::new() }
    }

    /// Adds the next record; gives the unit that it completes.
    pub(crate) fn push(&mut self, record: Record) -> Option<Unit> {
        let Some(field) = self.field else { return Some(self.unit(vec![record])) };
        let same = self.held.last().is_none_or(|last| last.fields.get(field) == record.fields.get(field));
        let complete = if same { None } else { self.end() };
        self.held.push(record);
        complete
    }

    /// The last unit of the stream.
    pub(crate) fn end(&mut self) -> Option<Unit> {
        let records = std::mem::take(&mut self.held);
        (!records.is_empty()).then(|| self.unit(records))
    }

    fn unit(&self, records: Vec<Record>) -> Unit {
        let content = unit_content(&records, self.reads);
        Unit { records, content }
    }
}

/// What the store has of a unit.
pub(crate) enum Found {
    Nothing,
    Result(StoredUnit),
    /// It failed when it was last tried, and was dropped.
    Failure(StoredUnit),
}

/// The stored result of a unit, if it fits the unit and its blobs are there.
pub(crate) fn find_unit(store: &Store, units: &mut Units<'_>, unit: &Unit) -> Result<Found, StageError> {
    let Some(stored) = units.get(&unit.content)? else { return Ok(Found::Nothing) };
    let fits = stored.rows.iter().all(|row| row.source < unit.records.len())
        && stored.drops.iter().all(|drop| drop.source < unit.records.len());
    let mut whole = fits;
    for row in &stored.rows {
        whole = whole && store.missing_blob(row.fields.values())?.is_none();
    }
    if !whole {
        units.forget(&unit.content);
        return Ok(Found::Nothing);
    }
    Ok(if stored.failed { Found::Failure(stored) } else { Found::Result(stored) })
}

/// The rows laid over the records of their unit: what the stage did not write passes through. Every `source` must be an
/// index into `records`. Appends to `output`.
pub(crate) fn lay_over(mut records: Vec<Record>, rows: Vec<Row>, output: &mut Vec<Record>) {
    let alone = rows.len() == 1;
    output.extend(rows.into_iter().map(|row| {
        let source = &mut records[row.source];
        let mut record = if alone { std::mem::replace(source, emptied()) } else { source.clone() };
        if let Some(index) = row.child {
            let parent = record.id;
            record.id = format!("{parent}/{index}").into();
            record.fields.insert("parent".into(), Value::Text(parent));
        }
        record.fields.extend(row.fields);
        record
    }));
}

/// What stays in the place of a record that was moved out.
fn emptied() -> Record {
    Record { id: Arc::from(""), fields: BTreeMap::new() }
}

/// `targets` and all that they need, as flags by node; all nodes if there are no targets.
pub(crate) fn needed(graph: &Graph, targets: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![targets.is_empty(); graph.nodes.len()];
    for target in targets {
        if let Some(flag) = needed.get_mut(target.0) {
            *flag = true;
        }
    }
    for id in graph.order.iter().rev().filter(|_| !targets.is_empty()) {
        if needed[id.0] {
            for input in inputs_of(graph, *id) {
                needed[input.0] = true;
            }
        }
    }
    needed
}

/// The nodes that a node takes something from, each once.
pub(crate) fn inputs_of(graph: &Graph, id: NodeId) -> BTreeSet<NodeId> {
    let edges = graph.nodes[id.0].inputs.values();
    edges.filter_map(|edge| if let Edge::Node { node, .. } = edge { Some(*node) } else { None }).collect()
}
