//! What a node's thread hands to a stage: its context, the line for progress, the blobs of a plan, which keeps none.
//! Knows nothing of streams.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::Sender;

use crate::error::StageError;
use crate::event::{Cancel, EventKind};
use crate::graph::{Graph, NodeId, Position};
use crate::record::Blob;
use crate::stage::{Blobs, Checkpoint, Progress, StageContext};

use super::Job;
use super::trial::timed_out;
use super::worker::{Message, Stop};

/// What a worker hands to stages; it borrows nothing of the worker.
#[derive(Clone)]
pub(super) struct Tools<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) progress: Arc<NodeProgress>,
    pub(super) cancel: Cancel,
}

impl Tools<'_> {
    /// What a stage may use.
    pub(super) fn context<'c>(&'c self, checkpoint: &'c dyn Checkpoint, blobs: &'c dyn Blobs) -> StageContext<'c> {
        StageContext {
            seed: self.job.graph.seed,
            device: &self.job.options.device,
            threads: self.job.options.threads,
            blobs,
            checkpoint,
            progress: self.progress.as_ref(),
            scratch: &self.job.scratch,
            cancel: &self.cancel,
        }
    }

    /// Calls a stage. A panic in it becomes a failure with its message; so does a stop for lack of time.
    pub(super) fn call<T>(&self, work: impl FnOnce() -> Result<T, StageError>) -> Result<T, Stop> {
        match guarded(work) {
            Ok(Err(StageError::Interrupted)) if !self.job.options.cancel.requested() && self.cancel.overdue() => {
                Err(Stop::Failed(timed_out(self.job, &self.progress)))
            }
            Ok(result) => result.map_err(Stop::from),
            Err(message) => Err(Stop::Failed(message)),
        }
    }
}

pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| format!("the stage panicked: {}", panic_message(panic.as_ref())))
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Turns progress reports into events. In a record stage the engine counts; the stage only supplies the text.
pub(super) struct NodeProgress {
    pub(super) id: NodeId,
    messages: Sender<Message>,
    /// Where the node's table begins: `FILE:LINE:COLUMN`.
    place: String,
    by_record: bool,
    done: AtomicU64,
    total: AtomicU64,
    silent: AtomicBool,
}

impl NodeProgress {
    /// For a node; `by_record`: the engine counts. `silent`: nobody wants to see it go on.
    pub(super) fn new(graph: &Graph, id: NodeId, messages: Sender<Message>, by_record: bool, silent: bool) -> Self {
        let Position { line, column } = graph.nodes[id.0].position;
        let place = format!("{}:{line}:{column}", graph.path.display());
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { id, messages, place, by_record, done, total, silent: AtomicBool::new(silent) }
    }

    /// Tells the loop something.
    pub(super) fn tell(&self, message: Message) {
        // The loop outlives every thread.
        let _ = self.messages.send(message);
    }

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
        if self.silent.load(Ordering::Relaxed) {
            return;
        }
        let kind = if self.by_record {
            let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total != u64::MAX);
            let done = self.done.load(Ordering::Relaxed);
            EventKind::Progress { done, total, unit: "records", message: message.to_owned() }
        } else {
            EventKind::Progress { done, total, unit, message: message.to_owned() }
        };
        self.tell(Message::Event(self.id, kind));
    }

    fn note(&self, message: &str) {
        self.tell(Message::Event(self.id, EventKind::Note { message: message.to_owned() }));
    }

    fn trouble(&self, message: &str) {
        self.note(&format!("{}: {message}", self.place));
    }
}

/// Blobs that are digested and not kept: a plan reads files, it writes nothing.
pub(super) struct DigestOnly<'a>(pub(super) &'a dyn Blobs);

impl Blobs for DigestOnly<'_> {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        self.0.get(blob)
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        Ok(Blob::of(bytes, media_type))
    }
}
