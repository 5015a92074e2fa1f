//! The failure policy: a batch is tried, taken apart if it breaks, tried again as often as the node's `retries` allow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Model;
use crate::stage::bare::NoCheckpoint;
use crate::stage::{Dropped, Outcome, RecordStage, Row, Unit};

use super::Job;
use super::tools::{NodeProgress, panic_message};
use super::worker::{Stop, Worker};

/// The pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of a unit after all tries.
pub(super) enum Settled {
    /// Its result, and the seconds that it took.
    Done(Vec<Row>, Vec<Dropped>, f64),
    /// Why it failed.
    Failed(String),
}

/// One record stage's tries.
pub(super) struct Trial<'w, 'a> {
    pub(super) worker: &'w mut Worker<'a>,
    pub(super) stage: &'a dyn RecordStage,
    pub(super) models: &'w BTreeMap<&'static str, Arc<Model>>,
}

/// What one call of a stage gave.
enum Tried {
    Outcomes(Vec<Outcome>, f64),
    /// It panicked or ran out of time: the units may be fine one by one.
    Broke(String),
    Stopped(Stop),
}

impl Trial<'_, '_> {
    /// What became of each unit; with a stop, of those that were finished before it.
    pub(super) fn settle(&mut self, units: &[Unit]) -> (Vec<Option<Settled>>, Option<Stop>) {
        let mut settled: Vec<Option<Settled>> = units.iter().map(|_| None).collect();
        let all: Vec<usize> = (0..units.len()).collect();
        let mut stop = self.attempt(units, &all, &mut settled);
        for retry in 0..self.worker.node.policy.retries {
            let again: Vec<usize> =
                all.iter().copied().filter(|index| !matches!(settled[*index], Some(Settled::Done(..)))).collect();
            let failed = matches!(stop, None | Some(Stop::Failed(_)));
            if again.is_empty() || !failed || !self.pause(retry) {
                break;
            }
            stop = self.attempt(units, &again, &mut settled);
        }
        (settled, stop)
    }

    /// One try of some of the units.
    fn attempt(&mut self, units: &[Unit], some: &[usize], settled: &mut [Option<Settled>]) -> Option<Stop> {
        let whole: Vec<Unit>;
        let batch = if some.len() == units.len() {
            units
        } else {
            whole = some.iter().map(|index| units[*index].clone()).collect();
            &whole
        };
        match self.call(batch) {
            Tried::Outcomes(outcomes, seconds) => {
                for (index, outcome) in some.iter().zip(outcomes) {
                    settled[*index] = Some(match outcome {
                        Outcome::Done { rows, drops } => Settled::Done(rows, drops, seconds),
                        Outcome::Failed { reason } => Settled::Failed(reason),
                    });
                }
                None
            }
            Tried::Broke(reason) if some.len() == 1 => {
                settled[some[0]] = Some(Settled::Failed(reason));
                None
            }
            Tried::Broke(_) => some.iter().find_map(|index| self.attempt(units, &[*index], settled)),
            Tried::Stopped(stop) => Some(stop),
        }
    }

    fn call(&mut self, batch: &[Unit]) -> Tried {
        let lease = self.worker.lease;
        let id = self.worker.id;
        let turn = self.worker.wait(|| lease.take(id));
        if self.worker.cancelled() {
            return Tried::Stopped(Stop::Interrupted);
        }
        let tools = self.worker.tools();
        let store = self.worker.job.store;
        let started = Instant::now();
        let span = tracing::info_span!(target: "ruminate::profile", "compute", node = %self.worker.node.name, records = batch.len());
        let result = span.in_scope(|| {
            let context = tools.context(&NoCheckpoint, store);
            // Told apart from a stage's own failure, which is the node's: a panic or a deadline may be one unit's.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.stage.process(batch, self.models, &context)))
        });
        drop(turn);
        let seconds = started.elapsed().as_secs_f64() / batch.len().max(1) as f64;
        match result {
            Ok(Ok(outcomes)) if outcomes.len() == batch.len() => Tried::Outcomes(outcomes, seconds),
            Ok(Ok(outcomes)) => Tried::Stopped(Stop::Failed(format!(
                "the stage gave {} results for {} units: a defect of its kind",
                outcomes.len(),
                batch.len()
            ))),
            Ok(Err(crate::error::StageError::Interrupted)) if !self.worker.cancelled() && tools.cancel.overdue() => {
                Tried::Broke(timed_out(self.worker.job, &self.worker.progress))
            }
            Ok(Err(error)) => Tried::Stopped(Stop::from(error)),
            Err(panic) => Tried::Broke(format!("the stage panicked: {}", panic_message(panic.as_ref()))),
        }
    }

    /// Waits before a retry; false if the run was stopped meanwhile.
    fn pause(&mut self, retry: u32) -> bool {
        pause(self.worker, retry)
    }
}

/// Waits before the retry after `retry` others; false if the run was stopped meanwhile.
pub(super) fn pause(worker: &mut Worker<'_>, retry: u32) -> bool {
    let length = FIRST_PAUSE.saturating_mul(1 << retry.min(16)).min(LONGEST_PAUSE);
    let end = Instant::now() + length;
    while Instant::now() < end && !worker.cancelled() {
        worker.wait(|| std::thread::sleep(Duration::from_millis(20)));
    }
    !worker.cancelled()
}

/// What is said of a try that took too long.
pub(super) fn timed_out(job: &Job<'_>, progress: &NodeProgress) -> String {
    let timeout = job.graph.nodes[progress.id.0].policy.timeout.unwrap_or_default();
    format!("it took longer than the node's `timeout` of {} s", timeout.as_secs_f64())
}
