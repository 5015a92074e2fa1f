//! The kind `sample`: some of the records, chosen by a hash of their ids.

use std::collections::{BTreeMap, BinaryHeap};

use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::{BATCH, Ranking, schema_of};
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::Record;
use crate::spill::SpillQueue;
use crate::stage::{Complaint, Emit, Kind, NodeInput, Port, Stage, StageContext, StreamPass, StreamStage, Work};

/// The kind `sample`.
pub(super) struct Sample;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "fraction",
        OptionKind::Float { min: 0.0, max: 1.0 },
        "null",
        "Keeps about this share of the records, each with this probability. Either this or `count`.",
    ),
    OptionSpec::new(
        "count",
        OptionKind::Int { min: 0, max: i64::MAX },
        "null",
        "Keeps exactly this many records, or all if there are fewer. Either this or `fraction`.",
    ),
    OptionSpec::new(
        "seed",
        OptionKind::Int { min: 0, max: i64::MAX },
        "0",
        "Another seed chooses other records. The choice depends on the graph's seed, this one and each record's id: a smaller \
         sample is part of a larger one, and records that come or go do not change what becomes of the others.",
    ),
];
const INPUTS: &[Port] = &[Port::records("input", "the records")];
const OUTPUTS: &[Port] = &[Port::records("records", "the chosen records, in the order of the input")];
/// Why a record does not go on.
const NOT_SAMPLED: &str = "not sampled";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    fraction: Option<f64>,
    count: Option<u64>,
    seed: i64,
}

impl Kind for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }
    fn summary(&self) -> &'static str {
        "keeps some of the records, chosen at random"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let size = match (settings.fraction, settings.count) {
            // Of 2^64 ranks, so many are chosen.
            (Some(fraction), None) => Size::Below((fraction * 2f64.powi(64)) as u128),
            (None, Some(count)) => Size::Smallest(usize::try_from(count).unwrap_or(usize::MAX)),
            (Some(_), Some(_)) => {
                let message = "`fraction` and `count` both say how many records are kept";
                let help = Some("leave one of them out".to_owned());
                return Err(vec![Complaint { help, ..Complaint::about("count", message) }]);
            }
            (None, None) => {
                let message = "kind `sample` needs `fraction` or `count`: how many records are kept";
                return Err(vec![Complaint::whole(message)]);
            }
        };
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::new(),
            schemas: BTreeMap::from([("records", schema_of(node, "input"))]),
            models: BTreeMap::new(),
            seeded: true,
            uses_device: false,
            work: Work::Stream(Box::new(Sampler { size, seed: settings.seed })),
        })
    }
}

#[derive(Clone, Copy)]
enum Size {
    /// The records with a rank below this.
    Below(u128),
    /// So many records with the smallest ranks.
    Smallest(usize),
}

struct Sampler {
    size: Size,
    seed: i64,
}

impl StreamStage for Sampler {
    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        let ranking = Ranking::new("sample", context.seed, self.seed);
        Ok(match self.size {
            Size::Below(threshold) => Box::new(Fraction { threshold, ranking }),
            Size::Smallest(count) => Box::new(Smallest {
                count,
                ranking,
                best: BinaryHeap::new(),
                candidates: SpillQueue::new(context.scratch),
                seen: 0,
                context,
            }),
        })
    }
}

struct Fraction {
    threshold: u128,
    ranking: Ranking,
}

impl StreamPass for Fraction {
    fn take(&mut self, _port: &'static str, records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        let mut kept = Vec::new();
        for record in records {
            if u128::from(self.ranking.of(&record.id)) < self.threshold {
                kept.push(record);
            } else {
                out.dropped(record, NOT_SAMPLED)?;
            }
        }
        out.records(kept)
    }

    fn end(&mut self, _port: &'static str, _out: &mut dyn Emit) -> Result<(), StageError> {
        Ok(())
    }
}

/// Keeps what may still be chosen on the disk: in memory are 16 bytes for each record that is asked for.
struct Smallest<'a> {
    count: usize,
    ranking: Ranking,
    /// The smallest ranks so far, each with the index of its candidate, so that the earlier of two equal ones wins.
    best: BinaryHeap<(u64, u64)>,
    candidates: SpillQueue,
    /// Candidates so far.
    seen: u64,
    context: &'a StageContext<'a>,
}

impl StreamPass for Smallest<'_> {
    fn take(&mut self, port: &'static str, records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        let mut candidates = Vec::new();
        for record in records {
            let rank = self.ranking.of(&record.id);
            if self.best.len() >= self.count {
                if self.best.peek().is_none_or(|(largest, _)| rank >= *largest) {
                    out.dropped(record, NOT_SAMPLED)?;
                    continue;
                }
                self.best.pop();
            }
            self.best.push((rank, self.seen));
            self.seen += 1;
            candidates.push(record);
        }
        if candidates.is_empty() { Ok(()) } else { self.candidates.push(port, candidates) }
    }

    fn end(&mut self, _port: &'static str, out: &mut dyn Emit) -> Result<(), StageError> {
        let found = self.best.len();
        if found < self.count {
            let (records, count) = (if found == 1 { "record" } else { "records" }, self.count);
            self.context.progress.note(&format!("the input has {found} {records}, `count` is {count}: all are kept"));
        }
        let last = self.best.peek().copied();
        let mut index = 0;
        while let Some((_, batch)) = self.candidates.pop()? {
            let mut kept = Vec::with_capacity(BATCH.min(batch.len()));
            for record in batch {
                if last.is_some_and(|last| (self.ranking.of(&record.id), index) <= last) {
                    kept.push(record);
                } else {
                    out.dropped(record, NOT_SAMPLED)?;
                }
                index += 1;
            }
            if !kept.is_empty() {
                out.records(kept)?;
            }
        }
        Ok(())
    }
}
