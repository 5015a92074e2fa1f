//! The work of a `wasm` node: what a plugin's answers mean for records.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::Model;
use ruminate_flow::record::{Fields, Record, Value};
use ruminate_flow::stage::{Dropped, Outcome, RecordStage, Row, StageContext, Unit};

use crate::call::{self, CallError};
use crate::convert;
use crate::host::{self, Score, Verdict};
use crate::pace::Pace;
use crate::ready::Ready;
use crate::search::{Answer, Ask, Fault, Search};

/// A plugin with its configuration.
pub(crate) struct PluginStage {
    pub(crate) ready: Ready,
    pub(crate) pace: Pace,
    /// Where a reward's score goes, and its note.
    pub(crate) score: [Arc<str>; 2],
}

impl RecordStage for PluginStage {
    fn batch_units(&self) -> usize {
        self.pace.hand_out()
    }

    fn process(
        &self,
        units: &[Unit],
        _models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        if let Some(unit) = units.iter().find(|unit| unit.records.len() != 1) {
            let count = unit.records.len();
            return Err(StageError::failed(format!("a plugin takes units of one record, not of {count}")));
        }
        let search = Search { ready: &self.ready, pace: &self.pace, context };
        search.run(units, &|answer| match answer {
            Ok(answer) => self.outcome(answer, context).unwrap_or_else(|error| outcome_of(&error)),
            Err(Fault::Call(error)) => outcome_of(&error),
            Err(fault) => Outcome::Failed { reason: fault.reason() },
        })
    }
}

impl Ask for Unit {
    fn record(&self) -> &Record {
        &self.records[0]
    }

    fn content(&self) -> String {
        self.content.short()
    }
}

impl PluginStage {
    fn outcome(&self, answer: Answer, context: &StageContext<'_>) -> Result<Outcome, CallError> {
        match answer {
            Answer::Verdict(Verdict::Keep) => Ok(kept(Fields::new())),
            Answer::Verdict(Verdict::Drop(reason)) => Ok(dropped(call::one_line(&reason))),
            Answer::Rows(rows) => self.of_rows(rows, context),
            Answer::Score(score) => self.of_score(score),
        }
    }

    fn of_rows(&self, rows: Vec<host::Row>, context: &StageContext<'_>) -> Result<Outcome, CallError> {
        if rows.is_empty() {
            return Ok(dropped("mapper gave no row".to_owned()));
        }
        let single = rows.len() == 1;
        let raise = |(row, index): (host::Row, u32)| {
            let fields = convert::raise(row.fields, &self.ready.reads, &self.ready.writes, context.blobs)?;
            Ok(Row { source: 0, child: (!single).then_some(index), fields })
        };
        let rows = rows.into_iter().zip(0..).map(raise).collect::<Result<_, CallError>>()?;
        Ok(Outcome::Done { rows, drops: Vec::new() })
    }

    fn of_score(&self, score: Score) -> Result<Outcome, CallError> {
        let score = convert::finite(score)?;
        let [value, note] = self.score.clone();
        let text = score.note.map_or(Value::Null, Value::text);
        Ok(kept([(value, Value::Float(score.value)), (note, text)].into()))
    }
}

/// The record, with these fields laid over it.
fn kept(fields: Fields) -> Outcome {
    Outcome::Done { rows: vec![Row { source: 0, child: None, fields }], drops: Vec::new() }
}

/// A record's own failure is a verdict if it would be the same everywhere, and then cached like any other.
fn outcome_of(error: &CallError) -> Outcome {
    let reason = error.reason();
    if error.deterministic() { dropped(reason) } else { Outcome::Failed { reason } }
}

fn dropped(reason: String) -> Outcome {
    Outcome::Done { rows: Vec::new(), drops: vec![Dropped { source: 0, reason }] }
}
