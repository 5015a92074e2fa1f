//! What the person who watches a run is told of a plugin: its log lines and the records over which it failed, few enough to
//! be read. The ledger of drops holds the rest.

use std::sync::atomic::{AtomicU64, Ordering};

use ruminate_flow::stage::Progress;

use crate::call::CallError;
use crate::host::Log;

/// The most failures and log lines of one node that are shown.
const FAILURES_MAX: u64 = 10;
const LINES_MAX: u64 = 100;

/// What one node has shown so far.
#[derive(Default)]
pub(crate) struct Reporter {
    failures: AtomicU64,
    lines: AtomicU64,
}

/// A line to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// What the plugin logged.
    Line(String),
    /// A record over which it failed.
    Failure(String),
}

impl Note {
    /// Shows the line.
    pub(crate) fn show(&self, progress: &dyn Progress) {
        match self {
            Note::Line(text) => progress.note(text),
            Note::Failure(text) => progress.trouble(text),
        }
    }
}

impl Reporter {
    /// What a call of `plugin` logged, without the message of the panic that ended it: the failure's own note holds that.
    pub(crate) fn log(&self, plugin: &str, log: &Log, error: Option<&CallError>) -> Vec<Note> {
        let panic = match error {
            Some(CallError::Panic { message, .. }) => Some(message),
            _ => None,
        };
        let lines = log.lines.iter().filter(|line| Some(*line) != panic).cloned();
        let more = (log.more > 0).then(|| format!("{} more lines", log.more));
        let mut notes = Vec::new();
        for line in lines.chain(more) {
            match self.lines.fetch_add(1, Ordering::Relaxed) {
                shown if shown < LINES_MAX => notes.push(Note::Line(format!("plugin `{plugin}`: {line}"))),
                LINES_MAX => notes.push(Note::Line(format!("plugin `{plugin}`: its further log lines are not shown"))),
                _ => break,
            }
        }
        notes
    }

    /// That `plugin` failed over the record `id`: what, where in its code, and what to do.
    pub(crate) fn failure(&self, plugin: &str, id: &str, error: &CallError) -> Option<Note> {
        let text = match self.failures.fetch_add(1, Ordering::Relaxed) {
            shown if shown < FAILURES_MAX => {
                let told = error.told();
                let told = told.strip_prefix("plugin ").unwrap_or(&told);
                format!("plugin `{plugin}` on record `{id}`: {told}; {}", error.advice())
            }
            FAILURES_MAX => {
                format!("plugin `{plugin}` fails on more records: `ruminate show GRAPH NODE --dropped` lists them")
            }
            _ => return None,
        };
        Some(Note::Failure(text))
    }
}
