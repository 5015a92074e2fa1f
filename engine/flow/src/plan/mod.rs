//! The plan: graph and store -> what a run would do, and why. And what the store holds of a node's outputs. Both are the
//! executor's own walk, dry: they compute nothing and change nothing.

pub(crate) mod lookup;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::Cancel;
use crate::graph::{Graph, NodeId};
use crate::model::Model;
use crate::record::Record;
use crate::resolve::{Role, below};
use crate::run::{Ended, Job, Message, RunOptions, Stop};
use crate::store::{Pins, Store};

use lookup::needed;
use why::Explainer;

/// What to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Only these nodes and what they need; all if empty.
    pub to: Vec<NodeId>,
    /// These nodes and all below them are to be computed again.
    pub from: Vec<NodeId>,
}

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
    /// Records that are dropped, as far as that is known.
    pub dropped: u64,
    /// The reason, for people.
    pub why: String,
    /// Seconds that the node took when it last computed.
    pub seconds_last: Option<f64>,
    /// The identity of each record output that is known: equal identities hold equal records.
    pub digests: BTreeMap<String, Digest>,
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

/// A part of what a node has given.
#[derive(Clone, Debug)]
pub enum Item {
    /// The next records of an output port.
    Records(&'static str, Vec<Record>),
    /// The model of an output port.
    Model(&'static str, Arc<Model>),
    /// A record that came in and was dropped, and why.
    Dropped(Record, String),
}

/// Whether more of a node is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Go on.
    Continue,
    /// Nothing more of this node is wanted.
    Enough,
}

/// What a run would do now, node by node in the order of [`Graph::nodes`], without computing anything.
///
/// # Errors
/// The store cannot be read, or a data file that changed.
pub fn plan(graph: &Graph, store: &Store, options: &PlanOptions) -> Result<Vec<NodePlan>, StageError> {
    let run = dry_run(&options.to);
    let history = store.history(&graph.path)?;
    let needed = needed(graph, &options.to);
    let fresh = below(graph, &options.from);
    let mut job = Job::new(graph, store, &run, &history, &needed, fresh, None)?;
    job.dry = true;
    let mut ended: Vec<Option<Ended>> = graph.nodes.iter().map(|_| None).collect();
    job.execute(&mut |message| {
        if let Message::Ended(id, end) = message {
            ended[id.0] = Some(*end);
        }
    });
    warn(store);
    let open = |end: &Option<Ended>| end.as_ref().is_some_and(|end| !end.finding.complete);
    let explainer = Explainer { job: &job, open: ended.iter().map(open).collect() };
    let mut plans = Vec::new();
    for id in (0..graph.nodes.len()).map(NodeId) {
        match (job.roles[id.0], ended[id.0].take()) {
            (Role::Absent, _) => {}
            (Role::Known | Role::Replay, _) | (Role::Work, None) => plans.extend(explainer.known(id)),
            (Role::Work, Some(end)) => plans.push(explainer.worked(id, end)?),
        }
    }
    Ok(plans)
}

/// Gives what the store holds of the outputs of `nodes` now to `take`: of each node in order, in bounded memory. Says of
/// each whether that was all of it.
///
/// # Errors
/// The store cannot be read.
pub fn stream(
    graph: &Graph,
    store: &Store,
    nodes: &[NodeId],
    take: &mut dyn FnMut(NodeId, Item) -> More,
) -> Result<BTreeMap<NodeId, bool>, StageError> {
    let run = dry_run(nodes);
    let history = store.history(&graph.path)?;
    let needed = needed(graph, nodes);
    let mut job = Job::new(graph, store, &run, &history, &needed, vec![false; graph.nodes.len()], Some(nodes))?;
    job.dry = true;
    // A sink that is a hit has nothing to give.
    let mut complete: BTreeMap<NodeId, bool> = nodes.iter().map(|id| (*id, job.roles[id.0] == Role::Known)).collect();
    let mut failed = None;
    job.execute(&mut |message| match message {
        Message::Item(id, item) => {
            let more = if job.tapped(id) { take(id, item) } else { More::Enough };
            job.taps[id.0].store(more == More::Continue, Ordering::Relaxed);
            if !job.taps_any() {
                run.cancel.request();
            }
        }
        Message::Ended(id, end) => {
            if let Some(complete) = complete.get_mut(&id) {
                *complete = end.finding.complete;
            }
            if let Err(Stop::Failed(message)) = end.result {
                failed.get_or_insert(StageError::Failed(message));
            }
        }
        _ => {}
    });
    warn(store);
    match failed {
        Some(error) => Err(error),
        None => Ok(complete),
    }
}

/// What the store holds for a node now; `None` if nothing. With `complete` false, the records are those that are
/// finished, in order. Holds all of it in memory: [`stream`] does not.
///
/// # Errors
/// The store cannot be read.
pub fn outputs(graph: &Graph, store: &Store, node: NodeId) -> Result<Option<NodeOutput>, StageError> {
    let mut records: BTreeMap<&'static str, Vec<Record>> = BTreeMap::new();
    let mut found =
        NodeOutput { records: BTreeMap::new(), models: BTreeMap::new(), drops: Vec::new(), complete: false };
    let complete = stream(graph, store, &[node], &mut |_, item| {
        match item {
            Item::Records(port, batch) => records.entry(port).or_default().extend(batch),
            Item::Model(port, model) => _ = found.models.insert(port, model),
            Item::Dropped(record, reason) => found.drops.push(DropEntry { record, reason }),
        }
        More::Continue
    })?;
    found.complete = complete.get(&node).copied().unwrap_or_default();
    let nothing = records.is_empty() && found.models.is_empty() && found.drops.is_empty();
    if nothing && !found.complete {
        return Ok(None);
    }
    for port in graph.nodes[node.0].stage.schemas.keys() {
        found.records.insert(port, Arc::new(records.remove(port).unwrap_or_default()));
    }
    Ok(Some(found))
}

/// What a graph needs of the store to be a hit as it stands.
///
/// # Errors
/// The store cannot be read.
pub fn pins(graph: &Graph, store: &Store) -> Result<Pins, StageError> {
    let run = dry_run(&[]);
    let history = store.history(&graph.path)?;
    let all = vec![true; graph.nodes.len()];
    let mut job = Job::new(graph, store, &run, &history, &all, vec![false; graph.nodes.len()], None)?;
    job.dry = true;
    let mut keys: BTreeSet<Digest> = job.resolved.iter().flatten().map(|known| known.memo.key).collect();
    job.execute(&mut |message| {
        if let Message::Ended(_, end) = message {
            keys.extend(end.finding.key.map(|key| key.digest()));
        }
    });
    // A key names one computation, whatever the store has of it.
    Ok(Pins { actions: keys.clone(), units: keys.clone(), checkpoints: keys })
}

/// The options of a walk that computes nothing.
fn dry_run(to: &[NodeId]) -> RunOptions {
    RunOptions {
        to: to.to_vec(),
        from: Vec::new(),
        device: "cpu".to_owned(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        drop_events: false,
        cancel: Cancel::default(),
    }
}

fn warn(store: &Store) {
    for note in store.take_notes() {
        tracing::warn!("{note}");
    }
}
