//! What every node's thread has: its place in the graph, its figures, its line to the loop. Knows no shape of stage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::digest::Digest;
use crate::error::StageError;
use crate::event::{Counts, EventKind};
use crate::graph::{Edge, Node, NodeId};
use crate::key::{NodeKey, by_unit};
use crate::model::Model;
use crate::plan::Item;
use crate::record::Record;
use crate::resolve::{Role, address};
use crate::stage::Work;
use crate::store::{Memo, Past, StreamId};

use super::lease::Lease;
use super::tools::{NodeProgress, Tools, guarded};
use super::wire::{Arrival, Inlets, Outlets, carries_model};
use super::{Job, records, set, sink, source, stream};

/// What a node's thread tells the loop.
pub(crate) enum Message {
    /// Something happened.
    Event(NodeId, EventKind),
    /// Something of a node whose outputs were asked for.
    Item(NodeId, Item),
    /// The first work reached it.
    Started(NodeId),
    /// The thread ended.
    Ended(NodeId, Box<Ended>),
}

/// How a node's thread ended.
pub(crate) struct Ended {
    pub(crate) result: Result<(), Stop>,
    pub(crate) counts: Counts,
    pub(crate) drop_reasons: BTreeMap<String, u64>,
    /// What to remember of the node.
    pub(crate) past: Option<Past>,
    pub(crate) memo: Option<(Digest, Memo)>,
    /// The identity of each record output that is complete.
    pub(crate) outputs: BTreeMap<&'static str, StreamId>,
    pub(crate) finding: Finding,
}

/// What was found out about a node, for the plan.
#[derive(Default)]
pub(crate) struct Finding {
    /// Its key, as far as it is known.
    pub(crate) key: Option<NodeKey>,
    /// Records that came in, or out of a source.
    pub(crate) records: u64,
    /// How many of them need no work.
    pub(crate) cached: u64,
    /// Something is to be computed.
    pub(crate) computes: bool,
    /// Its input is not known in full.
    pub(crate) waits: bool,
    /// All that it gives is there.
    pub(crate) complete: bool,
    /// Units that failed last time, and are tried again.
    pub(crate) failed: u64,
    /// How a source's records differ from those of last time.
    pub(crate) difference: Option<Difference>,
    /// Seconds that its results took.
    pub(crate) seconds: f64,
}

/// How a stream differs from an earlier one, by id and content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) changed: u64,
}

impl Ended {
    /// The end of a node that never began.
    pub(super) fn failed(message: String) -> Self {
        Self {
            result: Err(Stop::Failed(message)),
            counts: Counts::default(),
            drop_reasons: BTreeMap::new(),
            past: None,
            memo: None,
            outputs: BTreeMap::new(),
            finding: Finding::default(),
        }
    }
}

/// Why a node stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(String),
    /// A node above it was cut off.
    CutOff,
    /// The user stopped the run.
    Interrupted,
}

/// A node at work.
pub(super) struct Worker<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) lease: &'a Lease<'a>,
    pub(super) id: NodeId,
    pub(super) node: &'a Node,
    /// A node above it computes on the device too.
    pub(super) device_above: bool,
    pub(super) counts: Counts,
    pub(super) past: Option<Past>,
    pub(super) finding: Finding,
    pub(super) progress: Arc<NodeProgress>,
    pub(super) outputs: BTreeMap<&'static str, StreamId>,
    /// Something of it failed and was dropped: it is tried again next time, so no memo is kept.
    pub(super) incomplete: bool,
    pub(super) drop_reasons: BTreeMap<String, u64>,
    /// The identities of the inputs that have ended.
    identities: BTreeMap<&'static str, StreamId>,
    partial_input: bool,
    memo: Option<(Digest, Memo)>,
    inlets: Inlets,
    outlets: Outlets,
    started: Option<Instant>,
    waited: Duration,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        job: &'a Job<'a>,
        lease: &'a Lease<'a>,
        id: NodeId,
        device_above: bool,
        (inlets, outlets): (Inlets, Outlets),
        messages: Sender<Message>,
    ) -> Self {
        let node = &job.graph.nodes[id.0];
        let by_record = by_unit(node);
        let progress = NodeProgress::new(job.graph, id, messages, by_record, job.dry);
        Worker {
            job,
            lease,
            id,
            node,
            device_above,
            counts: Counts::default(),
            past: None,
            finding: Finding::default(),
            progress: Arc::new(progress),
            outputs: BTreeMap::new(),
            incomplete: false,
            drop_reasons: BTreeMap::new(),
            identities: BTreeMap::new(),
            partial_input: false,
            memo: None,
            inlets,
            outlets,
            started: None,
            waited: Duration::ZERO,
        }
    }

    /// Does all the node's work and tells the loop how it ended.
    pub(super) fn work(mut self) {
        // The engine's own code does not panic on any input; should it, one node fails and the run goes on.
        let result = guarded(|| match (&self.node.stage.work, self.job.roles[self.id.0]) {
            (_, Role::Replay) => source::replay(&mut self),
            (Work::Source(stage), _) => source::run_source(&mut self, stage.as_ref()),
            (Work::Record(stage), _) => records::run_records(&mut self, stage.as_ref()),
            (Work::Stream(stage), _) => stream::run_stream(&mut self, stage.as_ref()),
            (Work::Set(stage), _) => set::run_set(&mut self, stage.as_ref()),
            (Work::Sink(stage), _) => sink::run_sink(&mut self, stage.as_ref()),
        });
        let result = result.unwrap_or_else(|message| Err(Stop::Failed(message)));
        self.report_notes();
        self.counts.seconds = self.seconds();
        if result.is_ok() {
            self.outlets.end(&self.outputs);
        }
        let ended = Ended {
            result,
            counts: std::mem::take(&mut self.counts),
            drop_reasons: std::mem::take(&mut self.drop_reasons),
            past: self.past.take(),
            memo: self.memo.take(),
            outputs: std::mem::take(&mut self.outputs),
            finding: std::mem::take(&mut self.finding),
        };
        // Before the outlets close: the loop hears of the cause before it hears of what was cut off by it.
        self.tell(Message::Ended(self.id, Box::new(ended)));
    }

    /// Waits for the next arrival; `None` once all inputs have ended.
    pub(super) fn next(&mut self) -> Result<Option<Arrival>, Stop> {
        let waiting = Instant::now();
        let arrival = {
            let _span = tracing::info_span!(target: "ruminate::profile", "wait").entered();
            self.inlets.next()
        };
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
            Some(Arrival::End(port, Some(identity))) => _ = self.identities.insert(port, *identity),
            Some(Arrival::End(_, None) | Arrival::Model(_, None)) => self.partial_input = true,
            _ => {}
        }
        Ok(arrival)
    }

    /// Whether a part of what it needs is not made yet. Known once all inputs have ended.
    pub(super) fn partial_input(&self) -> bool {
        self.partial_input
    }

    /// The identity of the stream on `port`, once it has ended; `None` if only a part of it came.
    pub(super) fn identity_of(&self, port: &str) -> Option<StreamId> {
        self.identities.get(port).copied()
    }

    /// The identities of all record inputs, once they have ended.
    pub(super) fn identities(&self) -> &BTreeMap<&'static str, StreamId> {
        &self.identities
    }

    /// Whether a record stream is still open.
    pub(super) fn streaming(&self) -> bool {
        self.inlets.streaming()
    }

    /// Whether a model is still awaited.
    pub(super) fn awaiting_models(&self) -> bool {
        self.inlets.awaiting_models()
    }

    /// Whether nothing waits to be taken.
    pub(super) fn idle(&self) -> bool {
        self.inlets.idle()
    }

    /// Whether what was stored is not to be used.
    pub(super) fn fresh(&self) -> bool {
        self.job.fresh[self.id.0]
    }

    /// The models that need no waiting for: entries of `[models]`, and those of nodes that are hits.
    pub(super) fn given_models(&self) -> BTreeMap<&'static str, Arc<Model>> {
        let edges = self.node.inputs.iter();
        edges
            .filter_map(|(port, edge)| match edge {
                Edge::Model(name) => Some((*port, self.job.graph.models.get(name)?.clone())),
                Edge::Node { node, port: output } => {
                    Some((*port, self.job.resolved[node.0].as_ref()?.models.get(output)?.clone()))
                }
            })
            .collect()
    }

    /// The key as it is before the records are known. Kept for the explanation, too.
    pub(super) fn key(&mut self, models: &BTreeMap<&'static str, Arc<Model>>) -> NodeKey {
        let digests = models.iter().map(|(port, model)| (*port, model.digest)).collect();
        let key = NodeKey::of(self.job.graph, self.node, &digests);
        self.finding.key = Some(key.clone());
        key
    }

    /// The connected inputs that carry records.
    pub(super) fn record_inputs(&self) -> impl Iterator<Item = &'static str> {
        let edges = self.node.inputs.iter();
        edges.filter(|(_, edge)| !carries_model(self.job.graph, edge)).map(|(port, _)| *port)
    }

    /// How many connected inputs carry a model.
    pub(super) fn model_inputs(&self) -> usize {
        self.node.inputs.len() - self.record_inputs().count()
    }

    /// The main record output.
    pub(super) fn main_output(&self) -> Option<&'static str> {
        self.node.stage.schemas.keys().next().copied()
    }

    /// Sends records on `port`.
    pub(super) fn send(&mut self, port: &'static str, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        if self.main_output() == Some(port) {
            self.counts.records_out += records.len() as u64;
        }
        let waiting = Instant::now();
        if self.job.tapped(self.id) {
            let copy = if self.outlets.taken(port) { records.clone() } else { Vec::new() };
            self.tell(Message::Item(self.id, Item::Records(port, records)));
            self.outlets.send(port, copy);
        } else {
            self.outlets.send(port, records);
        }
        self.waited += waiting.elapsed();
    }

    /// Sends a model on `port`.
    pub(super) fn send_model(&self, port: &'static str, model: &Arc<Model>) {
        if self.job.tapped(self.id) {
            self.tell(Message::Item(self.id, Item::Model(port, model.clone())));
        }
        self.outlets.send_model(port, Some(model));
    }

    /// Counts a dropped record.
    pub(super) fn count_dropped(&mut self, reason: &str) {
        self.counts.dropped += 1;
        match self.drop_reasons.get_mut(reason) {
            Some(count) => *count += 1,
            None => _ = self.drop_reasons.insert(reason.to_owned(), 1),
        }
    }

    /// Notes a dropped record of which only the id is at hand.
    pub(super) fn dropped_id(&mut self, id: &Arc<str>, reason: &str) {
        self.count_dropped(reason);
        if self.job.options.drop_events {
            self.event(EventKind::Drop { id: id.clone(), reason: reason.to_owned() });
        }
    }

    /// Notes a dropped record.
    pub(super) fn dropped(&mut self, record: &Record, reason: &str) {
        self.dropped_id(&record.id, reason);
        if self.job.tapped(self.id) {
            self.tell(Message::Item(self.id, Item::Dropped(record.clone(), reason.to_owned())));
        }
    }

    /// Says, once, that something has to be computed.
    pub(super) fn computes(&mut self) {
        self.start();
        if !std::mem::replace(&mut self.finding.computes, true) && !self.job.dry {
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

    /// Does something that is waiting, not work.
    pub(super) fn wait<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let waiting = Instant::now();
        let result = wait();
        self.waited += waiting.elapsed();
        result
    }

    /// Seconds of work so far, waiting left out.
    pub(super) fn seconds(&self) -> f64 {
        self.started.map_or(0.0, |started| started.elapsed().saturating_sub(self.waited).as_secs_f64())
    }

    pub(super) fn cancelled(&self) -> bool {
        self.job.options.cancel.requested()
    }

    /// What a stage may use, for one try: from here on its time runs.
    pub(super) fn tools(&self) -> Tools<'a> {
        let deadline = self.node.policy.timeout.map(|timeout| Instant::now() + timeout);
        Tools { job: self.job, progress: self.progress.clone(), cancel: self.job.options.cancel.until(deadline) }
    }

    /// Remembers what came of these inputs. `key`: where the store has it. Nothing is remembered of a part.
    pub(super) fn remember(&mut self, unbound: &NodeKey, key: Digest, rest: Rest) {
        if self.partial_input || self.incomplete || self.job.dry {
            return;
        }
        let memo = Memo {
            key,
            outputs: self.outputs.iter().map(|(port, stream)| ((*port).to_owned(), *stream)).collect(),
            models: rest.models,
            files: rest.files,
            written: rest.written,
            records_in: self.counts.records_in,
            units: rest.units,
            drop_reasons: self.drop_reasons.clone(),
            seconds: rest.seconds,
        };
        self.memo = Some((address(unbound, &self.identities), memo));
    }

    /// Hands the store's notes on.
    pub(super) fn report_notes(&self) {
        for message in self.job.store.take_notes() {
            self.event(EventKind::Note { message });
        }
    }

    pub(super) fn event(&self, kind: EventKind) {
        self.tell(Message::Event(self.id, kind));
    }

    fn tell(&self, message: Message) {
        self.progress.tell(message);
    }
}

/// What [`Worker::remember`] cannot know.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) models: BTreeMap<String, BTreeMap<String, Digest>>,
    pub(super) files: Vec<String>,
    pub(super) written: Option<(std::path::PathBuf, Digest)>,
    pub(super) units: u64,
    pub(super) seconds: f64,
}

impl From<StageError> for Stop {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Interrupted => Stop::Interrupted,
            error => Stop::Failed(error.to_string()),
        }
    }
}
