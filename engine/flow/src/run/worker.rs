//! What every node's thread has: its place in the graph, its figures, its line to the loop. Knows no shape of stage.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::error::StageError;
use crate::event::{Counts, EventKind};
use crate::graph::{Edge, Graph, Node, NodeId};
use crate::model::Model;
use crate::record::Record;
use crate::stage::{Checkpoint, Progress, StageContext, Work};
use crate::store::{Past, Store};

use super::lease::Lease;
use super::wire::{Arrival, Inlets, Outlets, carries_model};
use super::{RunOptions, records, whole};

/// What a node's thread tells the loop.
pub(super) enum Message {
    /// Something happened.
    Event(NodeId, EventKind),
    /// The first work reached it.
    Started(NodeId),
    /// The thread ended.
    Ended(NodeId, Box<Ended>),
}

/// How a node's thread ended.
pub(super) struct Ended {
    pub(super) result: Result<(), Stop>,
    pub(super) counts: Counts,
    pub(super) drop_reasons: BTreeMap<String, u64>,
    /// What to remember of the node.
    pub(super) past: Option<Past>,
}

impl Ended {
    /// The end of a node that never began.
    pub(super) fn failed(message: String) -> Self {
        let (counts, drop_reasons) = Default::default();
        Self { result: Err(Stop::Failed(message)), counts, drop_reasons, past: None }
    }
}

/// Why a node stopped before its end.
pub(super) enum Stop {
    /// It failed.
    Failed(String),
    /// A node above it was cut off.
    CutOff,
    /// The user stopped the run.
    Interrupted,
}

/// A node at work.
pub(super) struct Worker<'a> {
    pub(super) graph: &'a Graph,
    pub(super) store: &'a Store,
    pub(super) options: &'a RunOptions,
    pub(super) lease: &'a Lease<'a>,
    pub(super) id: NodeId,
    pub(super) node: &'a Node,
    /// A node above it computes on the device too.
    pub(super) device_above: bool,
    pub(super) counts: Counts,
    pub(super) past: Option<Past>,
    pub(super) progress: NodeProgress,
    drop_reasons: BTreeMap<String, u64>,
    inlets: Inlets,
    outlets: Outlets,
    started: Option<Instant>,
    waited: Duration,
    computing: bool,
}

impl<'a> Worker<'a> {
    #[expect(clippy::too_many_arguments, reason = "made in one place, from the run's own parts")]
    pub(super) fn new(
        graph: &'a Graph,
        store: &'a Store,
        options: &'a RunOptions,
        lease: &'a Lease<'a>,
        id: NodeId,
        device_above: bool,
        (inlets, outlets): (Inlets, Outlets),
        messages: Sender<Message>,
    ) -> Self {
        let node = &graph.nodes[id.0];
        let by_record = matches!(node.stage.work, Work::Record(_));
        let progress =
            NodeProgress { id, messages, by_record, done: AtomicU64::new(0), total: AtomicU64::new(u64::MAX) };
        Worker {
            graph,
            store,
            options,
            lease,
            id,
            node,
            device_above,
            counts: Counts::default(),
            past: None,
            progress,
            drop_reasons: BTreeMap::new(),
            inlets,
            outlets,
            started: None,
            waited: Duration::ZERO,
            computing: false,
        }
    }

    /// Does all the node's work and tells the loop how it ended.
    pub(super) fn work(mut self) {
        // The engine's own code does not panic on any input; should it, one node fails and the run goes on.
        let result = guarded(|| match &self.node.stage.work {
            Work::Source(source) => whole::run_source(&mut self, source.as_ref()),
            Work::Record(stage) => records::run_records(&mut self, stage.as_ref()),
            Work::Set(stage) => whole::run_set(&mut self, stage.as_ref()),
            Work::Stream(_) | Work::Sink(_) => Err(Stop::Failed("not yet".to_owned())),
        });
        let result = result.unwrap_or_else(|message| Err(Stop::Failed(message)));
        self.report_notes();
        self.counts.seconds = self.seconds();
        if result.is_ok() {
            self.outlets.end();
        }
        let (counts, drop_reasons) = (std::mem::take(&mut self.counts), std::mem::take(&mut self.drop_reasons));
        let ended = Ended { result, counts, drop_reasons, past: self.past.take() };
        // Before the outlets close: the loop hears of the cause before it hears of what was cut off by it.
        self.tell(Message::Ended(self.id, Box::new(ended)));
    }

    /// Waits for the next arrival; `None` once all inputs have ended.
    pub(super) fn next(&mut self) -> Result<Option<Arrival>, Stop> {
        let waiting = Instant::now();
        let arrival = self.inlets.next();
        if self.started.is_some() {
            self.waited += waiting.elapsed();
        }
        if self.cancelled() {
            return Err(Stop::Interrupted);
        }
        match &arrival {
            Some(Arrival::CutOff) => return Err(Stop::CutOff),
            Some(Arrival::Batch(_, batch)) => {
                self.counts.records_in += batch.len() as u64;
                self.start();
            }
            _ => {}
        }
        Ok(arrival)
    }

    /// Whether a record stream is still open.
    pub(super) fn streaming(&self) -> bool {
        self.inlets.streaming()
    }

    /// Whether a model is still awaited.
    pub(super) fn awaiting_models(&self) -> bool {
        self.inlets.awaiting_models()
    }

    /// The models that need no waiting for: entries of `[models]`.
    pub(super) fn given_models(&self) -> BTreeMap<&'static str, Arc<Model>> {
        let edges = self.node.inputs.iter();
        edges
            .filter_map(|(port, edge)| match edge {
                Edge::Model(name) => Some((*port, self.graph.models.get(name)?.clone())),
                Edge::Node { .. } => None,
            })
            .collect()
    }

    /// The connected inputs that carry records.
    pub(super) fn record_inputs(&self) -> impl Iterator<Item = &'static str> {
        let edges = self.node.inputs.iter();
        edges.filter(|(_, edge)| !carries_model(self.graph, edge)).map(|(port, _)| *port)
    }

    /// Sends records on `port`.
    pub(super) fn send(&mut self, port: &str, records: Vec<Record>) {
        if self.node.stage.schemas.keys().next().is_some_and(|main| *main == port) {
            self.counts.records_out += records.len() as u64;
        }
        let waiting = Instant::now();
        self.outlets.send(port, records);
        self.waited += waiting.elapsed();
    }

    /// Sends a model on `port`.
    pub(super) fn send_model(&self, port: &str, model: &Arc<Model>) {
        self.outlets.send_model(port, model);
    }

    /// Notes a dropped record.
    pub(super) fn dropped(&mut self, id: &Arc<str>, reason: &str) {
        self.counts.dropped += 1;
        *self.drop_reasons.entry(reason.to_owned()).or_default() += 1;
        self.event(EventKind::Drop { id: id.clone(), reason: reason.to_owned() });
    }

    /// Says, once, that something has to be computed.
    pub(super) fn computes(&mut self) {
        self.start();
        if !std::mem::replace(&mut self.computing, true) {
            self.event(EventKind::Run);
        }
    }

    /// The node's clock starts with its first work.
    pub(super) fn start(&mut self) {
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.waited = Duration::ZERO;
            self.tell(Message::Started(self.id));
        }
    }

    /// Seconds of work so far, waiting left out.
    pub(super) fn seconds(&self) -> f64 {
        self.started.map_or(0.0, |started| started.elapsed().saturating_sub(self.waited).as_secs_f64())
    }

    pub(super) fn cancelled(&self) -> bool {
        self.options.cancel.requested()
    }

    /// Hands the store's notes on.
    pub(super) fn report_notes(&self) {
        for message in self.store.take_notes() {
            self.event(EventKind::Note { message });
        }
    }

    fn event(&self, kind: EventKind) {
        self.tell(Message::Event(self.id, kind));
    }

    fn tell(&self, message: Message) {
        // The loop outlives every thread.
        let _ = self.progress.messages.send(message);
    }
}

/// Calls a stage. A panic in it becomes a failure with its message.
pub(super) fn call<T>(work: impl FnOnce() -> Result<T, StageError>) -> Result<T, Stop> {
    match guarded(work) {
        Ok(result) => result.map_err(Stop::from),
        Err(message) => Err(Stop::Failed(message)),
    }
}

/// What a stage may use while it works on `worker`'s node.
pub(super) fn context<'c>(worker: &'c Worker<'_>, checkpoint: &'c dyn Checkpoint) -> StageContext<'c> {
    StageContext {
        seed: worker.graph.seed,
        device: &worker.options.device,
        threads: worker.options.threads,
        blobs: worker.store,
        checkpoint,
        progress: &worker.progress,
        scratch: worker.store.root(),
        cancel: &worker.options.cancel,
    }
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| format!("the stage panicked: {}", panic_message(panic.as_ref())))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl From<StageError> for Stop {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Interrupted => Stop::Interrupted,
            error => Stop::Failed(error.to_string()),
        }
    }
}

/// Turns progress reports into events. In a record stage the engine counts; the stage only supplies the text.
pub(super) struct NodeProgress {
    id: NodeId,
    messages: Sender<Message>,
    by_record: bool,
    done: AtomicU64,
    total: AtomicU64,
}

impl NodeProgress {
    /// The number of records is known now.
    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// `done` records are finished.
    pub(super) fn set_done(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.report(done, None, "records", "");
    }
}

impl Progress for NodeProgress {
    fn report(&self, done: u64, total: Option<u64>, unit: &'static str, message: &str) {
        let kind = if self.by_record {
            let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total != u64::MAX);
            let done = self.done.load(Ordering::Relaxed);
            EventKind::Progress { done, total, unit: "records", message: message.to_owned() }
        } else {
            EventKind::Progress { done, total, unit, message: message.to_owned() }
        };
        let _ = self.messages.send(Message::Event(self.id, kind));
    }

    fn note(&self, message: &str) {
        let _ = self.messages.send(Message::Event(self.id, EventKind::Note { message: message.to_owned() }));
    }
}

/// The checkpoint of stages that keep none.
pub(super) struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
        Ok(None)
    }

    fn save(&self, _: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        Ok(())
    }
}
