//! What happens during a run, as values: the terminal, the event log and the tests read the same stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The node's name in the graph.
    pub node: Arc<str>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventKind {
    /// The node began to compute something that was not in the store.
    Run,
    /// The node ended and nothing had to be computed.
    Hit,
    /// The node ended; a part of its units was in the store.
    Partial {
        /// Units taken from the store.
        hits: u64,
        /// Units computed.
        computed: u64,
    },
    /// `done` of `total` units of work are done; `total` is `None` while it is not known.
    Progress {
        /// Units finished.
        done: u64,
        /// Units in all.
        total: Option<u64>,
        /// What a unit is: `records`, `steps`.
        unit: &'static str,
        /// A short text beside the bar, such as `loss 0.412`.
        message: String,
    },
    /// A record was dropped.
    Drop {
        /// The record's id.
        id: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A line for the person who watches: a plugin's log line, a damaged entry of the store, a resumed checkpoint.
    Note {
        /// The line.
        message: String,
    },
    /// The node finished.
    Done(Counts),
    /// The node failed, or could not start because a node above it failed.
    Failed {
        /// The reason.
        message: String,
        /// What it had done until then.
        #[serde(flatten)]
        counts: Counts,
    },
}

/// A node's figures at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Records that came in, over all input ports.
    pub records_in: u64,
    /// Records that went out on the main port.
    pub records_out: u64,
    /// Units of work taken from the store.
    pub hits: u64,
    /// Units of work that were not in the store. Of several with the same content one is computed for all.
    pub computed: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Seconds from the node's first work to its end, waiting for its input left out.
    pub seconds: f64,
}

/// Asks a run to stop. The first request lets the work in flight finish and checkpoints; work polls it between steps.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    requested: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Asks everything that polls this flag to stop.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for, or the deadline has passed.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst) || self.overdue()
    }

    /// The same flag with a deadline, at which it counts as requested.
    pub fn until(&self, deadline: Option<Instant>) -> Cancel {
        Cancel { requested: self.requested.clone(), deadline }
    }

    /// Whether the deadline has passed.
    pub fn overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
