//! The executor: one loop owns the states of all nodes, one thread works for each node that must, bounded channels carry
//! batches. It knows neither what stages compute nor how the store keeps it.
//!
//! First nodes are resolved (`resolve.rs`): what is a hit by digests alone needs no thread. A full channel makes its
//! sender wait: that is the back-pressure. It cannot lock up, because whoever takes more than one input drains all of them
//! at once (what is too early waits on the disk), a record stage drains its input while it waits for a model, and the
//! lease on the device is never held while a node waits for a channel.
//!
//! The plan is the same execution, dry: nothing is computed or stored, what is missing is counted.

mod lease;
mod records;
mod set;
mod sink;
mod source;
mod stream;
mod tools;
mod trial;
mod wire;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::{Cancel, Counts, Event, EventKind};
use crate::graph::{Graph, NodeId};
use crate::key::NodeKey;
use crate::plan::lookup::{inputs_of, needed};
use crate::resolve::{Resolved, Role, below, resolve, roles};
use crate::store::{History, Past, Store};

use lease::Lease;
use worker::Worker;
pub(crate) use worker::{Difference, Ended, Finding, Message, Stop};

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Only these nodes and what they need; all if empty.
    pub to: Vec<NodeId>,
    /// These nodes and all below them are computed again, whatever the store has.
    pub from: Vec<NodeId>,
    /// The device, as the user named it: `cpu`, `cuda:0`.
    pub device: String,
    /// Threads that a stage may use.
    pub threads: usize,
    /// Someone listens to [`EventKind::Drop`]: without, none is sent.
    pub drop_events: bool,
    /// Stops the run.
    pub cancel: Cancel,
}

/// The states of a node.
///
/// ```text
/// Waiting -> Reading -> Computing -> Done | Failed | Interrupted
///    |          `----------------------^
///    `-> Done | Blocked | Interrupted
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Nothing has reached it yet.
    Waiting,
    /// It takes results from the store; nothing had to be computed so far.
    Reading,
    /// It computes.
    Computing,
    /// Finished: all that it gives is in the store.
    Done,
    /// It failed; what it had finished is in the store.
    Failed,
    /// A node above it failed.
    Blocked,
    /// The user stopped the run before it finished; what it had finished is in the store.
    Interrupted,
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// Its last state.
    pub state: NodeState,
    /// Its figures.
    pub counts: Counts,
    /// How many records were dropped for each reason.
    pub drop_reasons: BTreeMap<String, u64>,
    /// The identity of each record output: equal identities hold equal records.
    pub digests: BTreeMap<String, Digest>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The nodes that took part, in the order of [`Graph::nodes`].
    pub nodes: Vec<NodeReport>,
    /// The user stopped it before it finished.
    pub interrupted: bool,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// Runs the graph. Events arrive one at a time, in an order in which a cause comes before its effect.
///
/// # Errors
/// The store cannot be used; a node's failure is in the report instead.
pub fn run(
    graph: &Graph,
    store: &Store,
    options: &RunOptions,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<RunReport, StageError> {
    let started = Instant::now();
    let takes_part = needed(graph, &options.to);
    let fresh = below(graph, &options.from);
    let mut nodes = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let losses = store.losses();
        // What was computed anew in an earlier attempt need not be again.
        let fresh = if attempt == 1 { fresh.clone() } else { vec![false; fresh.len()] };
        let states = Loop::new(graph, store, options, on_event, &takes_part)?;
        // What turned out to be damaged is a miss from now on: another attempt makes it anew.
        let may_repeat = || attempt < ATTEMPTS && store.losses() > losses && !options.cancel.requested();
        let states = states.run(fresh, &may_repeat)?;
        nodes = states.nodes.into_iter().flatten().collect();
        if !states.again {
            break;
        }
    }
    store.flush()?;
    let interrupted = nodes.iter().any(|node: &NodeReport| node.state == NodeState::Interrupted);
    Ok(RunReport { nodes, interrupted, seconds: started.elapsed().as_secs_f64() })
}

/// How often a run is tried while parts of the store that it needs turn out to be damaged.
const ATTEMPTS: u32 = 8;
/// Stages may recurse deeply: as much stack as a main thread has.
const STACK_BYTES: usize = 8 << 20;
/// Messages that wait for the loop before their sender does.
const MESSAGES: usize = 1024;

/// One execution of a part of a graph: what every node's thread may look at.
pub(crate) struct Job<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) store: &'a Store,
    pub(crate) options: &'a RunOptions,
    pub(crate) history: &'a History,
    pub(crate) roles: Vec<Role>,
    pub(crate) resolved: Vec<Option<Resolved>>,
    /// Nodes that do not use what was stored.
    pub(crate) fresh: Vec<bool>,
    /// Nothing is computed or stored.
    pub(crate) dry: bool,
    /// Nodes whose outputs go to the loop as [`Message::Item`]; false once there is enough of them.
    pub(crate) taps: Vec<AtomicBool>,
    /// A folder for temporary files.
    pub(crate) scratch: PathBuf,
}

impl<'a> Job<'a> {
    /// A job for the nodes that are `needed`, in which those of `wanted` are asked for their records.
    pub(crate) fn new(
        graph: &'a Graph,
        store: &'a Store,
        options: &'a RunOptions,
        history: &'a History,
        needed: &[bool],
        fresh: Vec<bool>,
        wanted: Option<&[NodeId]>,
    ) -> Result<Self, StageError> {
        let resolved = resolve(graph, store, history, needed, &fresh)?;
        let roles = roles(graph, &resolved, needed, wanted.unwrap_or_default());
        let tapped = |index| AtomicBool::new(wanted.is_some_and(|wanted| wanted.contains(&NodeId(index))));
        let taps = (0..graph.nodes.len()).map(tapped).collect();
        let scratch = if store.root().exists() { store.root().join("tmp") } else { std::env::temp_dir() };
        Ok(Self { graph, store, options, history, roles, resolved, fresh, dry: false, taps, scratch })
    }

    /// Whether a node's outputs go to the loop.
    pub(crate) fn tapped(&self, id: NodeId) -> bool {
        self.taps[id.0].load(Ordering::Relaxed)
    }

    /// Whether any node's do.
    pub(crate) fn taps_any(&self) -> bool {
        self.taps.iter().any(|tap| tap.load(Ordering::Relaxed))
    }

    /// The key that a node had when it last finished.
    pub(crate) fn past(&self, id: NodeId) -> Option<NodeKey> {
        let past = self.history.nodes.get(&*self.graph.nodes[id.0].name)?;
        serde_json::from_value(past.key.clone()).ok()
    }

    /// Lets every node that must work do so, and tells `on` all that happens, until all have ended.
    pub(crate) fn execute(&self, on: &mut dyn FnMut(Message)) {
        let lease = Lease::new(self.graph);
        let device_above = device_above(self.graph);
        let mut wires = wire::connect(self.graph, &self.roles);
        let (messages, inbox) = bounded(MESSAGES);
        std::thread::scope(|scope| {
            for id in self.graph.order.iter().filter(|id| matches!(self.roles[id.0], Role::Work | Role::Replay)) {
                let wires = std::mem::take(&mut wires[id.0]);
                let worker = Worker::new(self, &lease, *id, device_above[id.0], wires, messages.clone());
                let name = self.graph.nodes[id.0].name.to_string();
                let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
                // A thread that does not start drops its worker: the nodes below see that their input is cut off.
                if let Err(error) = thread.spawn_scoped(scope, || worker.work()) {
                    on(Message::Ended(*id, Box::new(Ended::failed(format!("cannot start a thread: {error}")))));
                }
            }
            drop(messages);
            // Ends when the last worker has dropped its sender.
            inbox.iter().for_each(on);
        });
    }
}

/// The loop: it alone changes the states of nodes.
struct Loop<'a> {
    graph: &'a Graph,
    store: &'a Store,
    options: &'a RunOptions,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// One report for each node that takes part.
    nodes: Vec<Option<NodeReport>>,
    history: History,
    history_changed: bool,
    again: bool,
}

impl<'a> Loop<'a> {
    fn new(
        graph: &'a Graph,
        store: &'a Store,
        options: &'a RunOptions,
        on_event: &'a (dyn Fn(Event) + Sync),
        takes_part: &[bool],
    ) -> Result<Self, StageError> {
        let report = |index| NodeReport {
            node: NodeId(index),
            state: NodeState::Waiting,
            counts: Counts::default(),
            drop_reasons: BTreeMap::new(),
            digests: BTreeMap::new(),
            error: None,
        };
        let nodes = takes_part.iter().enumerate().map(|(index, part)| part.then(|| report(index))).collect();
        let history = store.history(&graph.path)?;
        Ok(Self { graph, store, options, on_event, nodes, history, history_changed: false, again: false })
    }

    /// Runs all nodes to their ends. `may_repeat` says whether a failure may be due to damage in the store.
    fn run(mut self, fresh: Vec<bool>, may_repeat: &dyn Fn() -> bool) -> Result<Self, StageError> {
        let takes_part: Vec<bool> = self.nodes.iter().map(Option::is_some).collect();
        // The job keeps what was known before: what is learned meanwhile is for the next run.
        let before = self.history.clone();
        let job = Job::new(self.graph, self.store, self.options, &before, &takes_part, fresh, None)?;
        self.known(&job);
        let mut result = Ok(());
        job.execute(&mut |message| match message {
            Message::Event(id, kind) => {
                if kind == EventKind::Run {
                    self.set_state(id, NodeState::Computing);
                }
                self.emit(id, kind);
            }
            Message::Item(..) => {}
            Message::Started(id) => self.set_state(id, NodeState::Reading),
            Message::Ended(id, ended) => {
                let outcome = self.ended(id, *ended, may_repeat);
                if result.is_ok() {
                    result = outcome;
                }
            }
        });
        result?;
        if self.history_changed {
            self.store.save_history(&self.graph.path, &self.history)?;
        }
        Ok(self)
    }

    /// The nodes that are hits without any work.
    fn known(&mut self, job: &Job<'_>) {
        for message in self.store.take_notes() {
            if let Some(id) = self.graph.order.first() {
                self.emit(*id, EventKind::Note { message });
            }
        }
        for id in self.graph.order.iter().filter(|id| job.roles[id.0] == Role::Known) {
            let Some(known) = &job.resolved[id.0] else { continue };
            let memo = &known.memo;
            let main = self.graph.nodes[id.0].stage.schemas.keys().next();
            let counts = Counts {
                records_in: memo.records_in,
                records_out: main.and_then(|port| memo.outputs.get(*port)).map_or(0, |stream| stream.count),
                hits: memo.units,
                computed: 0,
                dropped: memo.drop_reasons.values().sum(),
                seconds: 0.0,
            };
            if let Some(report) = &mut self.nodes[id.0] {
                report.state = NodeState::Done;
                report.counts = counts.clone();
                report.drop_reasons.clone_from(&memo.drop_reasons);
                report.digests = memo.outputs.iter().map(|(port, stream)| (port.clone(), stream.digest)).collect();
            }
            self.emit(*id, EventKind::Hit);
            self.emit(*id, EventKind::Done(counts));
        }
    }

    /// A node ended: its last state, its last event, and what to remember of it.
    fn ended(&mut self, id: NodeId, ended: Ended, may_repeat: &dyn Fn() -> bool) -> Result<(), StageError> {
        let (state, error) = match ended.result {
            Ok(()) => (NodeState::Done, None),
            Err(Stop::Failed(message)) => (NodeState::Failed, Some(message)),
            Err(Stop::CutOff) if !self.cause(id).is_empty() => {
                (NodeState::Blocked, Some(format!("cannot go on: {} failed", self.cause(id))))
            }
            Err(Stop::CutOff | Stop::Interrupted) => {
                (NodeState::Interrupted, Some(StageError::Interrupted.to_string()))
            }
        };
        let counts = ended.counts;
        if let Some(report) = &mut self.nodes[id.0] {
            report.state = state;
            report.counts = counts.clone();
            report.drop_reasons = ended.drop_reasons;
            report.digests = ended.outputs.iter().map(|(port, stream)| ((*port).to_owned(), stream.digest)).collect();
            report.error.clone_from(&error);
        }
        match error {
            None => {
                if let Some((address, memo)) = ended.memo {
                    self.history.keep(address, memo, self.graph.nodes.len());
                    self.history_changed = true;
                }
                self.remember(id, ended.past, &counts)?;
                match counts.computed {
                    0 => self.emit(id, EventKind::Hit),
                    computed if counts.hits > 0 => self.emit(id, EventKind::Partial { hits: counts.hits, computed }),
                    _ => {}
                }
                self.emit(id, EventKind::Done(counts));
            }
            Some(message) if state != NodeState::Interrupted && (self.again || may_repeat()) => {
                self.again = true;
                self.emit(id, EventKind::Note { message: format!("{message}; trying again") });
            }
            Some(message) => self.emit(id, EventKind::Failed { message, counts }),
        }
        Ok(())
    }

    fn remember(&mut self, id: NodeId, past: Option<Past>, counts: &Counts) -> Result<(), StageError> {
        let Some(mut past) = past else { return Ok(()) };
        let name = self.graph.nodes[id.0].name.to_string();
        let before = self.history.nodes.get(&name);
        if past.seconds.is_none() {
            past.seconds =
                if counts.computed > 0 { Some(counts.seconds) } else { before.and_then(|before| before.seconds) };
        }
        if before == Some(&past) {
            return Ok(());
        }
        self.history.nodes.insert(name, past);
        self.history_changed = true;
        if counts.computed > 0 && counts.seconds >= WORTH_KEEPING {
            // It cost something: a kill from here on does not lose the explanation.
            self.store.save_history(&self.graph.path, &self.history)?;
            self.history_changed = false;
        }
        Ok(())
    }

    /// The names of the nodes above that failed; empty if none did.
    fn cause(&self, id: NodeId) -> String {
        let failed = inputs_of(self.graph, id).into_iter().filter(|input| {
            let state = self.nodes[input.0].as_ref().map(|report| report.state);
            matches!(state, Some(NodeState::Failed | NodeState::Blocked))
        });
        failed.map(|input| format!("`{}`", self.graph.nodes[input.0].name)).collect::<Vec<_>>().join(", ")
    }

    fn set_state(&mut self, id: NodeId, state: NodeState) {
        if let Some(report) = &mut self.nodes[id.0] {
            report.state = state;
        }
    }

    fn emit(&self, id: NodeId, kind: EventKind) {
        (self.on_event)(Event { node: self.graph.nodes[id.0].name.clone(), kind });
    }
}

/// Seconds of a node's work from which the graph's history is written at once, not at the end of the run.
const WORTH_KEEPING: f64 = 1.0;

/// Whether each node computes on the device below another one that does.
fn device_above(graph: &Graph) -> Vec<bool> {
    let mut below = vec![false; graph.nodes.len()];
    for id in &graph.order {
        below[id.0] =
            inputs_of(graph, *id).iter().any(|input| below[input.0] || graph.nodes[input.0].stage.uses_device);
    }
    below.iter().zip(&graph.nodes).map(|(below, node)| *below && node.stage.uses_device).collect()
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
