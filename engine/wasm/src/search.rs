//! Records through a plugin on several threads, and the search for the record that breaks a batch.
//!
//! An outcome must not depend on the batch. Every call, of one record or many, has the fuel of *one* record: a batch that
//! stays within it proves that each of its records would; one that does not, or fails in any other way, is halved until
//! the records stand alone, and only what a record does alone is held against it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ruminate_flow::error::StageError;
use ruminate_flow::record::Record;
use ruminate_flow::stage::StageContext;

use crate::call::CallError;
use crate::convert;
use crate::host::{Answers, Log, Row, Score, Verdict};
use crate::limits;
use crate::pace::{Pace, Tally};
use crate::ready::Ready;
use crate::report::Note;
use crate::wire;

/// The fewest records for which a call is worth its start, where there are threads to share with.
const SHARE_MIN: usize = 32;

/// A record to ask the plugin about.
pub(crate) trait Ask: Sync {
    /// The record.
    fn record(&self) -> &Record;
    /// What names its content.
    fn content(&self) -> String;
}

/// What the plugin says about one record.
pub(crate) enum Answer {
    Verdict(Verdict),
    Rows(Vec<Row>),
    Score(Score),
}

/// Why there is no answer.
pub(crate) enum Fault {
    /// The record lacks what the plugin reads.
    Unread(String),
    /// What the plugin does with this record alone.
    Call(CallError),
}

/// A plugin that is asked.
pub(crate) struct Search<'a> {
    pub(crate) ready: &'a Ready,
    pub(crate) pace: &'a Pace,
    pub(crate) context: &'a StageContext<'a>,
}

/// What a share of the records came to: where it begins, its results, its notes.
struct Done<T> {
    start: usize,
    results: Vec<T>,
    notes: Vec<Note>,
}

impl Search<'_> {
    /// What `finish` makes of the answer about each record, in order.
    ///
    /// # Errors
    /// A stop that was asked for, or a failure of the machine.
    pub(crate) fn run<T: Send>(
        &self,
        asked: &[impl Ask],
        finish: &(dyn Fn(Result<Answer, Fault>) -> T + Sync),
    ) -> Result<Vec<T>, StageError> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let shares = self.shares(asked.len());
        let done: Mutex<Vec<Done<T>>> = Mutex::default();
        self.on_threads(shares.len(), &|next| {
            loop {
                let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
                let mut worker = Worker { search: self, notes: Vec::new() };
                let results = worker.work(&asked[share.clone()], finish)?;
                let share = Done { start: share.start, results, notes: worker.notes };
                done.lock().unwrap_or_else(PoisonError::into_inner).push(share);
            }
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|share| share.start);
        self.pace.took(asked.len(), started.elapsed());
        let mut results = Vec::with_capacity(asked.len());
        for share in done {
            share.notes.iter().for_each(|note| note.show(self.context.progress));
            results.extend(share.results);
        }
        Ok(results)
    }

    /// What a thread takes at a time: a call's worth, and less towards the end, so that all threads end at about the same time.
    fn shares(&self, count: usize) -> Vec<Range<usize>> {
        let (threads, most) = (self.context.threads.max(1), self.pace.size());
        let mut shares = Vec::new();
        let mut start = 0;
        while start < count {
            let even = (count - start).div_ceil(threads);
            let end = count.min(start + even.max(SHARE_MIN).min(most));
            shares.push(start..end);
            start = end;
        }
        shares
    }

    /// Runs `work` on as many threads as there are, at most one for each of `shares`; all count with one counter.
    fn on_threads(
        &self,
        shares: usize,
        work: &(dyn Fn(&AtomicUsize) -> Result<(), StageError> + Sync),
    ) -> Result<(), StageError> {
        let count = self.context.threads.clamp(1, shares);
        // Few sizes, so that few pools are kept.
        let pool = limits::pool(&self.ready.limits, count.next_power_of_two()).map_err(StageError::failed)?;
        let next = AtomicUsize::new(0);
        let ended = Mutex::new(Ok(()));
        pool.scope(|scope| {
            for _ in 0..count {
                scope.spawn(|_| {
                    let worked = catch_unwind(AssertUnwindSafe(|| work(&next)));
                    let worked =
                        worked.unwrap_or_else(|_| Err(StageError::failed("a thread of the plugin host panicked")));
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    if ended.is_ok() {
                        *ended = worked;
                    }
                });
            }
        });
        ended.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's work on one share.
struct Worker<'a> {
    search: &'a Search<'a>,
    notes: Vec<Note>,
}

impl Worker<'_> {
    fn work<T>(
        &mut self,
        asked: &[impl Ask],
        finish: &dyn Fn(Result<Answer, Fault>) -> T,
    ) -> Result<Vec<T>, StageError> {
        let mut results: Vec<Option<T>> = Vec::with_capacity(asked.len());
        let (mut places, mut ids, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (place, asked) in asked.iter().enumerate() {
            let (reads, blobs) = (&self.search.ready.reads, self.search.context.blobs);
            match convert::lower(asked.record(), asked.content(), reads, blobs) {
                Ok(row) => {
                    places.push(place);
                    ids.push(&*asked.record().id);
                    rows.push(row);
                    results.push(None);
                }
                Err(reason) => results.push(Some(finish(Err(Fault::Unread(reason))))),
            }
        }
        let mut answers = Vec::with_capacity(rows.len());
        while answers.len() < rows.len() {
            let range = answers.len()..rows.len().min(answers.len() + self.search.pace.size());
            let count = range.len();
            let tally = self.judge(&ids[range.clone()], &rows[range], &mut answers)?;
            self.search.pace.tried(count, tally);
        }
        for (place, answer) in places.into_iter().zip(answers) {
            results[place] = Some(finish(answer));
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Adds the answer for each row: from one call if it goes well, else from its halves.
    fn judge(
        &mut self,
        ids: &[&str],
        rows: &[wire::Row<'_>],
        answers: &mut Vec<Result<Answer, Fault>>,
    ) -> Result<Tally, StageError> {
        let Search { ready, context, .. } = self.search;
        let (called, log) = ready.plugin.call(&ready.config, rows, &ready.limits, context.cancel);
        let error = match called.and_then(|called| called.fit(rows.len())) {
            Ok(called) => {
                self.note_log(&log, None);
                called.each(|answer| answers.push(Ok(answer)));
                return Ok(Tally { largest: rows.len(), alone: false });
            }
            Err(error) => error,
        };
        if context.cancel.requested() {
            return Err(StageError::Interrupted);
        }
        if let [id] = ids {
            self.note_log(&log, Some(&error));
            self.note_failure(id, &error);
            answers.push(Err(Fault::Call(error)));
            return Ok(Tally { largest: 0, alone: true });
        }
        let middle = rows.len() / 2;
        let mut tally = self.judge(&ids[..middle], &rows[..middle], answers)?;
        // A half that had to be halved without a record to blame was too large, and so is the other half.
        let part = if tally.alone { rows.len() - middle } else { tally.largest.max(1) };
        let (ids, rows) = (&ids[middle..], &rows[middle..]);
        let part = if part == middle { rows.len() } else { part };
        for (ids, rows) in ids.chunks(part).zip(rows.chunks(part)) {
            let more = self.judge(ids, rows, answers)?;
            tally = Tally { largest: tally.largest.max(more.largest), alone: tally.alone || more.alone };
        }
        Ok(tally)
    }

    fn note_log(&mut self, log: &Log, error: Option<&CallError>) {
        let Ready { plugin, reporter, .. } = self.search.ready;
        self.notes.extend(reporter.log(&plugin.description.name, log, error));
    }

    fn note_failure(&mut self, id: &str, error: &CallError) {
        let Ready { plugin, reporter, .. } = self.search.ready;
        self.notes.extend(reporter.failure(&plugin.description.name, id, error));
    }
}

impl Answers {
    /// The answers, if there is one for each of `count` rows.
    fn fit(self, count: usize) -> Result<Self, CallError> {
        let (given, what) = match &self {
            Answers::Verdicts(verdicts) => (verdicts.len(), "verdicts"),
            Answers::Rows(lists) => (lists.len(), "lists of rows"),
            Answers::Scores(scores) => (scores.len(), "scores"),
        };
        if given == count { Ok(self) } else { Err(CallError::Answer(format!("{given} {what} for a batch of {count}"))) }
    }

    /// Gives each answer to `take`.
    fn each(self, take: impl FnMut(Answer)) {
        match self {
            Answers::Verdicts(verdicts) => verdicts.into_iter().map(Answer::Verdict).for_each(take),
            Answers::Rows(lists) => lists.into_iter().map(Answer::Rows).for_each(take),
            Answers::Scores(scores) => scores.into_iter().map(Answer::Score).for_each(take),
        }
    }
}

impl Fault {
    /// The reason, for the ledger.
    pub(crate) fn reason(&self) -> String {
        match self {
            Fault::Unread(reason) => reason.clone(),
            Fault::Call(error) => error.reason(),
        }
    }
}
