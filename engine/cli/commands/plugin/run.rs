//! `ruminate plugin run`: a component over the rows of a file. Answers go to standard output, the rest to standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use ruminate_flow::record::Value;
use ruminate_wasm::author::{Answer, Limits, Tally, Trial, TrialError, Verdict};

use super::{empty_config, read_config, refused};
use crate::arguments::plugin::TrialArguments;
use crate::failure::Failure;
use crate::format::{count, plural, printable};
use crate::reasons::Reasons;
use crate::terminal::{self, QUIET, STRONG, paint};

/// Lines of the plugin's log that are shown; a plugin may log for every row.
const NOTES_SHOWN: u64 = 100;

/// Prints an answer for each row, and at the end what became of them.
///
/// # Errors
/// A file that is no plugin or no table, a config that is refused.
pub(super) fn run(arguments: &TrialArguments) -> Result<(), Failure> {
    let config = read_config(&arguments.config)?.unwrap_or_else(empty_config);
    let TrialArguments { fuel, memory_mb, timeout_ms, .. } = *arguments;
    let trial = Trial::open(&arguments.file, config, Limits { fuel, memory_mb, timeout_ms });
    let trial = trial.map_err(|error| match error {
        TrialError::Refused { faults, help } => refused(&arguments.file, &faults, help.as_deref()),
        TrialError::Author(error) => error.into(),
    })?;
    let notes = AtomicU64::new(0);
    let note = |text: &str| {
        if notes.fetch_add(1, Ordering::Relaxed) < NOTES_SHOWN {
            terminal::say(&printable(text));
        }
    };
    let mut out = io::BufWriter::new(terminal::stdout());
    let mut summary = Summary::default();
    let tally = trial.run(&arguments.input, arguments.limit, &note, &mut |answer| {
        summary.add(&answer);
        writeln!(out, "{}", answer.to_json())
    })?;
    out.flush()?;
    let more = notes.into_inner().saturating_sub(NOTES_SHOWN);
    if more > 0 {
        terminal::say(&paint(QUIET, format!("{} of the plugin's log not shown", plural(more, "more line"))));
    }
    summary.say(tally);
    Ok(())
}

/// What became of all rows.
#[derive(Default)]
struct Summary {
    kept: u64,
    mapped: u64,
    rows: u64,
    scores: Scores,
    dropped: u64,
    failed: u64,
    reasons: Reasons,
}

/// The scores of a reward.
#[derive(Default)]
struct Scores {
    number: u64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Summary {
    fn add(&mut self, answer: &Answer) {
        match &answer.verdict {
            Verdict::Keep => self.kept += 1,
            Verdict::Rows(rows) => {
                self.mapped += 1;
                self.rows += rows.len() as u64;
            }
            Verdict::Score(value, _) => self.scores.add(value),
            Verdict::Drop(reason) => {
                self.dropped += 1;
                self.reasons.add(reason);
            }
            Verdict::Failed(reason) => {
                self.failed += 1;
                self.reasons.add(reason);
            }
        }
    }

    fn say(self, tally: Tally) {
        let each = tally.time.as_secs_f64() * 1e6 / tally.rows.max(1) as f64;
        let mut parts = Vec::new();
        let mut part = |number: u64, text: String| {
            if number > 0 {
                parts.push(text)
            }
        };
        part(self.kept, format!("{} kept", count(self.kept)));
        part(self.mapped, format!("{} mapped to {}", count(self.mapped), plural(self.rows, "row")));
        part(self.scores.number, self.scores.to_string());
        part(self.dropped, format!("{} dropped", count(self.dropped)));
        part(self.failed, format!("{} failed", count(self.failed)));
        part(tally.rows, format!("{each:.1} us each"));
        let all = paint(STRONG, plural(tally.rows, "row"));
        terminal::say(&if parts.is_empty() { all } else { format!("{all}: {}", parts.join(", ")) });
        let (reasons, others) = self.reasons.commonest();
        for (reason, number) in reasons {
            terminal::say(&format!("{:>9}  {}", count(number), printable(reason)));
        }
        if others > 0 {
            terminal::say(&format!("{:>9}  for other reasons", count(others)));
        }
    }
}

impl Scores {
    fn add(&mut self, value: &Value) {
        let value = match value {
            Value::Float(value) => *value,
            Value::Int(value) => *value as f64,
            _ => return,
        };
        if self.number == 0 {
            (self.least, self.most) = (value, value);
        }
        (self.least, self.most) = (self.least.min(value), self.most.max(value));
        self.sum += value;
        self.number += 1;
    }
}

impl std::fmt::Display for Scores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean = self.sum / self.number.max(1) as f64;
        let number = count(self.number);
        write!(formatter, "{number} scored, mean {mean:.4}, from {:.4} to {:.4}", self.least, self.most)
    }
}
