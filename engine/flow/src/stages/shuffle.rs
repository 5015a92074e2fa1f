//! The kind `shuffle`: the records in another order, which a hash of their ids decides.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::{BATCH, Ranking, schema_of};
use crate::codec::{Reader, put_bytes, put_record};
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::Record;
use crate::spill::Buckets;
use crate::stage::{Complaint, Emit, Kind, NodeInput, Port, Stage, StageContext, StreamPass, StreamStage, Work};

/// The kind `shuffle`.
pub(super) struct Shuffle;

const OPTIONS: &[OptionSpec] = &[OptionSpec::new(
    "seed",
    OptionKind::Int { min: 0, max: i64::MAX },
    "0",
    "Another seed gives another order. The order depends on the graph's seed, this one and each record's id: records that come \
     or go do not change the order of the others.",
)];
const INPUTS: &[Port] = &[Port::records("input", "the records")];
const OUTPUTS: &[Port] = &[Port::records("records", "the same records in another order")];
/// The buckets by the highest bits of the rank. One of them at a time is in memory.
const BUCKETS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    seed: i64,
}

impl Kind for Shuffle {
    fn name(&self) -> &'static str {
        "shuffle"
    }
    fn summary(&self) -> &'static str {
        "puts the records in a random order"
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
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::new(),
            schemas: BTreeMap::from([("records", schema_of(node, "input"))]),
            models: BTreeMap::new(),
            seeded: true,
            uses_device: false,
            work: Work::Stream(Box::new(Shuffler { seed: settings.seed })),
        })
    }
}

struct Shuffler {
    seed: i64,
}

impl StreamStage for Shuffler {
    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        Ok(Box::new(Pass {
            ranking: Ranking::new("shuffle", context.seed, self.seed),
            buckets: Buckets::new(context.scratch, BUCKETS),
            record: Vec::new(),
            entry: Vec::new(),
        }))
    }
}

/// Records as rank, length and bytes, in the bucket of the rank's first byte.
struct Pass {
    ranking: Ranking,
    buckets: Buckets,
    record: Vec<u8>,
    entry: Vec<u8>,
}

impl StreamPass for Pass {
    fn take(&mut self, _port: &'static str, records: Vec<Record>, _out: &mut dyn Emit) -> Result<(), StageError> {
        for record in records {
            let rank = self.ranking.of(&record.id);
            self.record.clear();
            put_record(&record, &mut self.record);
            self.entry.clear();
            self.entry.extend_from_slice(&rank.to_be_bytes());
            put_bytes(&self.record, &mut self.entry);
            self.buckets.push(usize::from(rank.to_be_bytes()[0]), &self.entry)?;
        }
        Ok(())
    }

    fn end(&mut self, _port: &'static str, out: &mut dyn Emit) -> Result<(), StageError> {
        let mut batch = Vec::with_capacity(BATCH);
        for bucket in 0..BUCKETS {
            let bytes = self.buckets.take(bucket)?;
            let mut reader = Reader::new(&[]);
            for (_, record) in entries(&bytes).ok_or_else(damaged)? {
                reader.restart(record);
                batch.push(reader.record().ok_or_else(damaged)?);
                if batch.len() == BATCH {
                    out.records(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))?;
                }
            }
        }
        if batch.is_empty() { Ok(()) } else { out.records(batch) }
    }
}

/// The records of a bucket with their ranks, sorted; what came first stays first among equal ranks.
fn entries(bytes: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((rank, record)) = rest.split_first_chunk() {
        let mut reader = Reader::new(record);
        entries.push((u64::from_be_bytes(*rank), reader.bytes()?));
        rest = reader.rest();
    }
    entries.sort_by_key(|(rank, _)| *rank);
    rest.is_empty().then_some(entries)
}

fn damaged() -> StageError {
    StageError::failed("temporary data does not read back as it was written: the disk or its file system is damaged")
}
