//! The executor: one loop owns the states of all nodes, one thread works for each node, bounded channels carry batches.
//! It knows neither what stages compute nor how the store keeps it.
//!
//! A full channel makes its sender wait: that is the back-pressure. It cannot lock up, because whoever takes more than
//! one input drains all of them at once, a record stage drains its input while it waits for a model, and the lease on
//! the device is never held while a node waits for a channel.

mod lease;
mod records;
mod whole;
mod wire;
mod worker;

use std::collections::BTreeMap;
use std::time::Instant;

use crossbeam_channel::{Receiver, unbounded};
use serde::Serialize;

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::{Cancel, Counts, Event, EventKind};
use crate::graph::{Graph, NodeId};
use crate::plan::lookup::{inputs_of, needed};
use crate::store::{History, Store};

use lease::Lease;
use worker::{Ended, Message, Stop, Worker};

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
    /// Someone listens to [`EventKind::Drop`].
    pub drop_events: bool,
    /// Stops the run.
    pub cancel: Cancel,
}

/// The states of a node.
///
/// ```text
/// Waiting -> Reading -> Computing -> Done | Failed | Interrupted
///    |          `----------------------^
///    `-> Blocked | Interrupted
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
    /// Why it failed.
    pub error: Option<String>,
    /// The identity of each output.
    pub digests: BTreeMap<&'static str, Digest>,
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
    let mut nodes = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let lost = store.lost_blobs();
        let states = Loop::new(graph, store, options, on_event, &takes_part)?;
        // A blob that turned out to be damaged is a miss from now on: another attempt makes it anew.
        let states = states.run(&|| attempt < ATTEMPTS && store.lost_blobs() > lost && !options.cancel.requested())?;
        nodes = states.nodes.into_iter().flatten().collect();
        if !states.again {
            break;
        }
    }
    store.flush()?;
    let interrupted = nodes.iter().any(|node: &NodeReport| node.state == NodeState::Interrupted);
    Ok(RunReport { nodes, interrupted, seconds: started.elapsed().as_secs_f64() })
}

/// How often a run is tried while blobs that it needs turn out to be damaged.
const ATTEMPTS: u32 = 3;
/// Stages may recurse deeply: as much stack as a main thread has.
const STACK_BYTES: usize = 8 << 20;

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
            error: None,
            digests: BTreeMap::new(),
        };
        let nodes = takes_part.iter().enumerate().map(|(index, part)| part.then(|| report(index))).collect();
        let history = store.history(&graph.path)?;
        Ok(Self { graph, store, options, on_event, nodes, history, history_changed: false, again: false })
    }

    /// Runs all nodes to their ends. `may_repeat` says whether a failure may be due to a blob that was lost.
    fn run(mut self, may_repeat: &dyn Fn() -> bool) -> Result<Self, StageError> {
        let lease = Lease::new(self.graph);
        let takes_part: Vec<bool> = self.nodes.iter().map(Option::is_some).collect();
        let device_above = device_above(self.graph);
        let mut wires = wire::connect(self.graph, &takes_part);
        let (messages, inbox) = unbounded();
        std::thread::scope(|scope| {
            let mut running = 0;
            for id in self.graph.order.iter().filter(|id| takes_part[id.0]) {
                let wires = std::mem::take(&mut wires[id.0]);
                let (above, messages) = (device_above[id.0], messages.clone());
                let worker = Worker::new(self.graph, self.store, self.options, &lease, *id, above, wires, messages);
                let name = self.graph.nodes[id.0].name.to_string();
                let thread = std::thread::Builder::new().name(name).stack_size(STACK_BYTES);
                // A thread that does not start drops its worker: the nodes below see that their input is cut off.
                match thread.spawn_scoped(scope, || worker.work()) {
                    Ok(_) => running += 1,
                    Err(error) => {
                        self.ended(*id, Ended::failed(format!("cannot start a thread: {error}")), may_repeat)?
                    }
                }
            }
            self.serve(&inbox, running, may_repeat)
        })?;
        if self.history_changed {
            self.store.save_history(&self.graph.path, &self.history)?;
        }
        Ok(self)
    }

    fn serve(
        &mut self,
        inbox: &Receiver<Message>,
        mut running: usize,
        may_repeat: &dyn Fn() -> bool,
    ) -> Result<(), StageError> {
        let mut result = Ok(());
        while running > 0 {
            match inbox.recv() {
                Ok(Message::Event(id, kind)) => {
                    if kind == EventKind::Run {
                        self.set_state(id, NodeState::Computing);
                    }
                    self.emit(id, kind);
                }
                Ok(Message::Started(id)) => self.set_state(id, NodeState::Reading),
                Ok(Message::Ended(id, ended)) => {
                    running -= 1;
                    result = result.and(self.ended(id, *ended, may_repeat));
                }
                Err(_) => break,
            }
        }
        result
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
        if let Some(report) = &mut self.nodes[id.0] {
            report.state = state;
            report.counts = ended.counts.clone();
            report.drop_reasons = ended.drop_reasons;
            report.error.clone_from(&error);
        }
        match error {
            None => {
                self.remember(id, ended.past, &ended.counts)?;
                self.emit(id, EventKind::Done(ended.counts));
            }
            Some(message) if state != NodeState::Interrupted && (self.again || may_repeat()) => {
                self.again = true;
                self.emit(id, EventKind::Note { message: format!("{message}; trying again") });
            }
            Some(message) => self.emit(id, EventKind::Failed { message, counts: ended.counts }),
        }
        Ok(())
    }

    fn remember(&mut self, id: NodeId, past: Option<crate::store::Past>, counts: &Counts) -> Result<(), StageError> {
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
        if counts.computed > 0 {
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
