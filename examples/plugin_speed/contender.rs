//! What is measured: the native filter, a plugin, or Extism, each over the same records in the same way.

use std::time::Instant;

use anyhow::{Result, ensure};
use cpu_time::ProcessTime;
use ruminate_flow::stage::{Dropped, Outcome, Row, Stage, Unit, Work};

use crate::extism::Extism;
use crate::host;
use crate::rows::{Rows, text_of};

/// How a filter of words is run.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    /// The field whose words are counted.
    pub(crate) field: &'static str,
    /// The most words that pass.
    pub(crate) max: usize,
    /// Records a call.
    pub(crate) batch: usize,
    /// Threads at work.
    pub(crate) threads: usize,
}

/// One that takes part.
pub(crate) enum Contender {
    /// The filter as the engine would have it in Rust.
    Native(Job),
    /// A plugin, on so many threads.
    Plugin(Stage, usize),
    /// Extism, in its process.
    Extism(Extism),
}

/// What a turn took, per record.
pub(crate) struct Turn {
    /// Seconds of the clock.
    pub(crate) wall: f64,
    /// Seconds of the processor, over all threads.
    pub(crate) cpu: f64,
    /// How many records passed in all.
    pub(crate) kept: usize,
}

/// About so long should a turn take.
const TURN_SECONDS: f64 = 0.2;
/// The records of the first look at a contender's speed.
const FIRST: usize = 64;

impl Contender {
    /// Runs it over a few records and gives how many records its turns should have.
    ///
    /// # Errors
    /// It does not keep as many as the native filter with the settings of `job`.
    pub(crate) fn warm_up(&mut self, rows: &Rows, job: &Job) -> Result<usize> {
        self.turn(rows, FIRST)?;
        let wall = self.turn(rows, FIRST)?.wall;
        let fits = (TURN_SECONDS / wall) as usize;
        let batch = match self {
            Contender::Plugin(Stage { work: Work::Record(work), .. }, _) => work.batch_units(),
            Contender::Plugin(..) => 1,
            Contender::Native(job) => job.batch,
            Contender::Extism(extism) => extism.batch(),
        };
        let count = fits.max(2 * batch).min(rows.units.len());
        let (kept, right) = (self.turn(rows, count)?.kept, native(&rows.units[..count], job));
        ensure!(kept == right, "keeps {kept} of {count} records, and the native filter keeps {right}");
        Ok(count)
    }

    /// Runs it once over the first `count` records.
    pub(crate) fn turn(&mut self, rows: &Rows, count: usize) -> Result<Turn> {
        let units = &rows.units[..count];
        let per_record = |seconds: f64| seconds / count as f64;
        if let Contender::Extism(extism) = self {
            let (wall, cpu, kept) = extism.turn(count)?;
            return Ok(Turn { wall: per_record(wall), cpu: per_record(cpu), kept });
        }
        let (begin, cpu) = (Instant::now(), ProcessTime::now());
        let kept = match self {
            Contender::Native(job) => native(units, job),
            Contender::Plugin(stage, threads) => host::run(stage, units, *threads)?,
            Contender::Extism(_) => 0,
        };
        let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64());
        Ok(Turn { wall: per_record(wall), cpu: per_record(cpu), kept })
    }
}

/// The native filter over the units in calls of `job.batch`, as a record stage: gives how many records pass.
fn native(units: &[Unit], job: &Job) -> usize {
    let passed = |outcome: &Outcome| matches!(outcome, Outcome::Done { rows, .. } if !rows.is_empty());
    let work = |units: &[Unit]| -> usize {
        let outcomes = |units: &[Unit]| units.iter().map(|unit| judge(unit, job)).collect::<Vec<_>>();
        units.chunks(job.batch).map(|units| outcomes(units).iter().filter(|outcome| passed(outcome)).count()).sum()
    };
    if job.threads == 1 {
        return work(units);
    }
    std::thread::scope(|scope| {
        let share = units.len().div_ceil(job.threads);
        let threads: Vec<_> = units.chunks(share).map(|units| scope.spawn(move || work(units))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    })
}

fn judge(unit: &Unit, job: &Job) -> Outcome {
    if exceeds(text_of(unit, job.field), job.max) {
        let reason = format!("more than {} words", job.max);
        Outcome::Done { rows: Vec::new(), drops: vec![Dropped { source: 0, reason }] }
    } else {
        let row = Row { source: 0, child: None, fields: Default::default() };
        Outcome::Done { rows: vec![row], drops: Vec::new() }
    }
}

/// As in plugins/max-words.
fn exceeds(text: &str, max: usize) -> bool {
    text.split_whitespace().zip(0..=max).count() > max
}
