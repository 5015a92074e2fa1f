//! The work of a `wasm` node: batches of records through a plugin, and the search for the record that breaks a batch.
//!
//! An outcome must not depend on the batch. Every call, of one record or many, has the fuel of *one* record: a batch that
//! stays within it proves that each of its records would; one that does not, or fails in any other way, is halved until
//! the records stand alone, and only what a record does alone is held against it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::Model;
use ruminate_flow::record::Schema;
use ruminate_flow::stage::{Dropped, Outcome, RecordStage, StageContext, Unit};

use crate::call::{self, CallError};
use crate::convert;
use crate::host::{Answers, Log, Plugin, Row, Verdict};
use crate::limits::Limits;
use crate::report::{Note, Reporter};

/// A plugin with its configuration.
pub(crate) struct PluginStage {
    pub(crate) plugin: Arc<Plugin>,
    /// JSON.
    pub(crate) config: String,
    pub(crate) limits: Limits,
    pub(crate) batch: usize,
    pub(crate) reads: Schema,
    pub(crate) writes: Schema,
    pub(crate) reporter: Reporter,
}

impl RecordStage for PluginStage {
    fn batch_units(&self) -> usize {
        self.batch
    }

    fn process(
        &self,
        units: &[Unit],
        _models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let share = units.len().div_ceil(context.threads.max(1)).max(1);
        let worked: Vec<_> = std::thread::scope(|scope| {
            let spawn = |units| scope.spawn(move || Worker { stage: self, context, notes: Vec::new() }.work(units));
            let threads: Vec<_> = units.chunks(share).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut outcomes = Vec::with_capacity(units.len());
        for share in worked {
            let (done, notes) = share.map_err(|_| StageError::failed("a thread of the plugin host panicked"))??;
            notes.iter().for_each(|note| note.show(context.progress));
            outcomes.extend(done);
        }
        Ok(outcomes)
    }
}

/// One thread's share of a call of [`PluginStage::process`].
struct Worker<'a> {
    stage: &'a PluginStage,
    context: &'a StageContext<'a>,
    notes: Vec<Note>,
}

/// A record on its way: its place in the share, its id for notes, and what the plugin sees of it.
struct Entry<'a> {
    place: usize,
    id: &'a str,
    row: Row,
}

impl Worker<'_> {
    fn work(mut self, units: &[Unit]) -> Result<(Vec<Outcome>, Vec<Note>), StageError> {
        let mut outcomes = Vec::with_capacity(units.len());
        let mut entries = Vec::with_capacity(units.len());
        for (place, unit) in units.iter().enumerate() {
            match self.lower(unit) {
                Ok((id, row)) => {
                    entries.push(Entry { place, id, row });
                    // Replaced below, once the plugin has spoken.
                    outcomes.push(Outcome::Failed { reason: String::new() });
                }
                Err(reason) => outcomes.push(Outcome::Failed { reason }),
            }
        }
        let (places, ids): (Vec<_>, Vec<_>) = entries.iter().map(|entry| (entry.place, entry.id)).unzip();
        let rows: Vec<Row> = entries.into_iter().map(|entry| entry.row).collect();
        let judged = self.judge(&ids, &rows)?;
        for (place, outcome) in places.into_iter().zip(judged) {
            outcomes[place] = outcome;
        }
        Ok((outcomes, self.notes))
    }

    fn lower<'u>(&self, unit: &'u Unit) -> Result<(&'u str, Row), String> {
        let [record] = unit.records.as_slice() else {
            return Err(format!("a plugin takes units of one record, not of {}", unit.records.len()));
        };
        let row = convert::lower(record, unit.content.short(), &self.stage.reads, self.context.blobs)?;
        Ok((&record.id, row))
    }

    /// The outcome of each row: from one call if it goes well, else from its halves.
    fn judge(&mut self, ids: &[&str], rows: &[Row]) -> Result<Vec<Outcome>, StageError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (answers, log) = self.stage.plugin.call(&self.stage.config, rows, &self.stage.limits, self.context.cancel);
        let error = match answers.and_then(|answers| answers.fit(rows.len())) {
            Ok(answers) => {
                self.note_log(&log, None);
                return Ok(self.outcomes(answers));
            }
            Err(error) => error,
        };
        if self.context.cancel.requested() {
            return Err(StageError::Interrupted);
        }
        if rows.len() == 1 {
            self.note_log(&log, Some(&error));
            self.note_failure(ids[0], &error);
            return Ok(vec![outcome_of(&error)]);
        }
        let middle = rows.len() / 2;
        let mut outcomes = self.judge(&ids[..middle], &rows[..middle])?;
        outcomes.extend(self.judge(&ids[middle..], &rows[middle..])?);
        Ok(outcomes)
    }

    fn outcomes(&self, answers: Answers) -> Vec<Outcome> {
        match answers {
            Answers::Verdicts(verdicts) => verdicts.into_iter().map(of_verdict).collect(),
            Answers::Rows(lists) => {
                lists.into_iter().map(|rows| self.of_rows(rows).unwrap_or_else(|error| outcome_of(&error))).collect()
            }
        }
    }

    fn of_rows(&self, rows: Vec<Row>) -> Result<Outcome, CallError> {
        if rows.is_empty() {
            return Ok(dropped("mapper gave no row".to_owned()));
        }
        let single = rows.len() == 1;
        let raise = |(row, index): (Row, u32)| {
            let fields = convert::raise(row.fields, &self.stage.reads, &self.stage.writes, self.context.blobs)?;
            Ok(ruminate_flow::stage::Row { source: 0, child: (!single).then_some(index), fields })
        };
        let rows = rows.into_iter().zip(0..).map(raise).collect::<Result<_, CallError>>()?;
        Ok(Outcome::Done { rows, drops: Vec::new() })
    }

    fn note_log(&mut self, log: &Log, error: Option<&CallError>) {
        self.notes.extend(self.stage.reporter.log(&self.stage.plugin.description.name, log, error));
    }

    fn note_failure(&mut self, id: &str, error: &CallError) {
        self.notes.extend(self.stage.reporter.failure(&self.stage.plugin.description.name, id, error));
    }
}

impl Answers {
    /// The answers, if there is one for each of `count` rows.
    fn fit(self, count: usize) -> Result<Self, CallError> {
        let (given, what) = match &self {
            Answers::Verdicts(verdicts) => (verdicts.len(), "verdicts"),
            Answers::Rows(lists) => (lists.len(), "lists of rows"),
        };
        if given == count { Ok(self) } else { Err(CallError::Answer(format!("{given} {what} for a batch of {count}"))) }
    }
}

fn of_verdict(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Drop(reason) => dropped(call::one_line(&reason)),
        Verdict::Keep => {
            let row = ruminate_flow::stage::Row { source: 0, child: None, fields: Default::default() };
            Outcome::Done { rows: vec![row], drops: Vec::new() }
        }
    }
}

/// A record's own failure is a verdict if it would be the same everywhere, and then cached like any other.
fn outcome_of(error: &CallError) -> Outcome {
    let reason = error.reason();
    if error.deterministic() { dropped(reason) } else { Outcome::Failed { reason } }
}

fn dropped(reason: String) -> Outcome {
    Outcome::Done { rows: Vec::new(), drops: vec![Dropped { source: 0, reason }] }
}
