//! A record stage at work: units are looked up, those that are missing are computed in batches, and everything goes on in
//! the order in which it came.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::codec;
use crate::digest::{Digest, DigestBuilder, DigestHasher};
use crate::error::StageError;
use crate::key::{NodeKey, reads_on};
use crate::model::Model;
use crate::plan::lookup::{Found, Grouper, blobs_of, find_unit, lay_over};
use crate::record::Record;
use crate::spill::SpillQueue;
use crate::stage::{Dropped, RecordStage, Row, Unit};
use crate::store::{Past, StoredUnit, StreamId, Units};

use super::trial::{Settled, Trial};
use super::wire::{Arrival, BATCH};
use super::worker::{Rest, Stop, Worker};

/// So many units wait behind a missing one before it is computed although the batch is not full.
const MOST_WAITING: usize = 4096;
/// Bytes of results that are digested at a time.
const DIGEST_BYTES: usize = 1 << 16;

/// A record stage in the middle of its stream.
struct Flow<'w, 'a> {
    worker: &'w mut Worker<'a>,
    stage: &'a dyn RecordStage,
    models: BTreeMap<&'static str, Arc<Model>>,
    units: Units<'a>,
    /// What came in and has not gone on, in order.
    queue: VecDeque<Slot>,
    /// The units of the queue that are to be computed, each content once.
    missing: VecDeque<Unit>,
    /// Those that are computed and have not gone on: the first of the slots that are [`Slot::First`].
    computed: VecDeque<(Unit, Vec<Row>, Vec<Dropped>)>,
    /// Contents that are missing or computed -> how many more units of the queue have the same.
    awaited: HashMap<Digest, usize, BuildHasherDefault<DigestHasher>>,
    /// Results for those.
    repeated: HashMap<Digest, (Vec<Row>, Vec<Dropped>)>,
    output: Vec<Record>,
    records_done: u64,
    /// Over the rows of every unit: with the identity of the input, the identity of the output.
    outcomes: blake3::Hasher,
    undigested: Vec<u8>,
    blobs: Vec<Digest>,
    seconds: f64,
}

/// A unit on its way through.
enum Slot {
    /// Its result is known.
    Ready(Vec<Record>, Vec<Row>, Vec<Dropped>),
    /// Its result is to be computed; the unit is among the missing or the computed.
    First,
    /// Its result is that of an earlier one.
    Again(Vec<Record>, Digest),
}

/// Runs a record stage from the first record to the end of its stream.
pub(super) fn run_records<'a>(worker: &mut Worker<'a>, stage: &'a dyn RecordStage) -> Result<(), Stop> {
    let mut models = worker.given_models();
    let mut waiting = SpillQueue::new(&worker.job.scratch);
    // While a model above is still being made, its own input must flow: so nothing is left standing in the channel.
    while worker.awaiting_models() {
        match worker.next()? {
            Some(Arrival::Batch(port, batch)) => waiting.push(port, owned(batch))?,
            Some(Arrival::Model(port, Some(model))) => _ = models.insert(port, model),
            _ => {}
        }
    }
    let key = worker.key(&models);
    if worker.partial_input() && models.len() < worker.model_inputs() {
        worker.finding.waits = true;
        while worker.next()?.is_some() {}
        return Ok(());
    }
    worker.past = Some(Past { key: key.to_json(), seconds: None });
    let mut units = worker.job.store.units(&key.digest(), worker.fresh())?;
    units.describe(worker.node.kind, &key.to_json());
    let mut flow = Flow {
        worker,
        stage,
        models,
        units,
        queue: VecDeque::new(),
        missing: VecDeque::new(),
        computed: VecDeque::new(),
        awaited: HashMap::default(),
        repeated: HashMap::new(),
        output: Vec::new(),
        records_done: 0,
        outcomes: blake3::Hasher::new(),
        undigested: Vec::new(),
        blobs: Vec::new(),
        seconds: 0.0,
    };
    let result = flow.run(waiting);
    if !flow.worker.job.dry {
        // What was computed is kept, however the stream ended.
        let flushed = if result.is_ok() { flow.units.finish() } else { flow.units.flush() };
        flow.worker.lease.give_back(flow.worker.id);
        result.and(flushed.map_err(Stop::from))?;
    } else {
        result?;
    }
    flow.end(&key)
}

impl<'a> Flow<'_, 'a> {
    fn run(&mut self, mut waiting: SpillQueue) -> Result<(), Stop> {
        self.worker.report_notes();
        let node = self.worker.node;
        let mut grouper: Option<Grouper<'a>> = None;
        let stage = self.stage;
        loop {
            let (port, batch) = match waiting.pop()? {
                Some(batch) => batch,
                None => {
                    if self.worker.idle() {
                        self.send();
                    }
                    match self.worker.next()? {
                        Some(Arrival::Batch(port, batch)) => (port, owned(batch)),
                        Some(_) => continue,
                        None => break,
                    }
                }
            };
            if self.worker.device_above && self.worker.streaming() && !self.missing.is_empty() {
                // It computes once the node above it has finished, so that models are loaded once, not for each batch.
                waiting.push(port, batch)?;
                while let Some(arrival) = self.worker.next()? {
                    if let Arrival::Batch(port, batch) = arrival {
                        waiting.push(port, owned(batch))?;
                    }
                }
                continue;
            }
            let grouper = grouper.get_or_insert_with(|| Grouper::new(stage.group_by(), reads_on(node, port)));
            for record in batch {
                if let Some(unit) = grouper.push(record) {
                    self.take(unit)?;
                }
            }
            self.forward();
        }
        if let Some(unit) = grouper.as_mut().and_then(Grouper::end) {
            self.take(unit)?;
        }
        self.worker.progress.set_total(self.worker.counts.records_in);
        while !self.missing.is_empty() {
            self.compute()?;
        }
        self.forward();
        self.send();
        Ok(())
    }

    /// Takes in the next unit of the stream.
    fn take(&mut self, unit: Unit) -> Result<(), Stop> {
        let records = unit.records.len() as u64;
        self.worker.finding.records += records;
        if let Some(more) = self.awaited.get_mut(&unit.content) {
            // The same content twice is computed once. It counts as computed: the store did not have it.
            *more += 1;
            self.worker.counts.computed += 1;
            self.queue.push_back(Slot::Again(unit.records, unit.content));
        } else {
            self.look_up(unit, records)?;
        }
        // Below another node on the device it waits for that one's end.
        let waits_for_device = self.worker.device_above && self.worker.streaming();
        let full = self.missing.len() >= self.stage.batch_units().max(1);
        if !self.missing.is_empty() && !waits_for_device && (full || self.queue.len() >= MOST_WAITING) {
            self.compute()?;
        }
        Ok(())
    }

    /// Takes a unit's result from the store, or puts it among the missing.
    fn look_up(&mut self, unit: Unit, records: u64) -> Result<(), StageError> {
        match find_unit(self.worker.job.store, &mut self.units, &unit)? {
            Found::Result(stored) => {
                if self.units.found_own() {
                    self.worker.counts.computed += 1;
                } else {
                    self.worker.counts.hits += 1;
                    self.seconds += stored.seconds;
                }
                self.worker.finding.cached += records;
                self.queue.push_back(Slot::Ready(unit.records, stored.rows, stored.drops));
            }
            Found::Failure(stored) if self.worker.job.dry => {
                self.worker.finding.failed += records;
                self.queue.push_back(Slot::Ready(unit.records, Vec::new(), stored.drops));
            }
            _ if self.worker.job.dry => self.worker.computes(),
            _ => {
                self.worker.computes();
                self.awaited.insert(unit.content, 0);
                self.queue.push_back(Slot::First);
                self.missing.push_back(unit);
            }
        }
        Ok(())
    }

    /// Computes and stores the next batch of missing units.
    fn compute(&mut self) -> Result<(), Stop> {
        let count = self.missing.len().min(self.stage.batch_units().max(1));
        let batch: Vec<Unit> = self.missing.drain(..count).collect();
        let (settled, stop) = Trial { worker: self.worker, stage: self.stage, models: &self.models }.settle(&batch);
        let mut failures = Vec::new();
        for (unit, outcome) in batch.into_iter().zip(settled) {
            match outcome {
                Some(Settled::Done(rows, drops, seconds)) => self.keep(unit, rows, drops, seconds)?,
                Some(Settled::Failed(reason)) => self.failed(unit, reason, &mut failures)?,
                None => {}
            }
        }
        self.units.flush_if_due()?;
        if let Some(stop) = stop {
            return Err(stop);
        }
        if let Some(first) = failures.first() {
            let more = match failures.len() {
                1 => String::new(),
                count => format!("\n{} more of the same batch failed", count - 1),
            };
            return Err(Stop::Failed(format!("{first}{more}")));
        }
        self.forward();
        Ok(())
    }

    /// A unit that failed at every try: dropped, or a failure of the node once its neighbours are stored.
    fn failed(&mut self, unit: Unit, reason: String, failures: &mut Vec<String>) -> Result<(), StageError> {
        if self.worker.node.policy.on_error == crate::graph::OnError::Fail {
            let ids: Vec<_> = unit.records.iter().take(3).map(|record| format!("`{}`", record.id)).collect();
            let more = if unit.records.len() > 3 { ", ..." } else { "" };
            failures.push(format!("record {}{more}: {reason}", ids.join(", ")));
            return Ok(());
        }
        let reason = format!("failed: {reason}");
        let drops: Vec<_> = (0..unit.records.len()).map(|source| Dropped { source, reason: reason.clone() }).collect();
        self.worker.incomplete = true;
        self.worker.counts.computed += 1;
        let stored = StoredUnit { content: unit.content, rows: Vec::new(), drops, seconds: 0.0, failed: true };
        self.units.add(&stored)?;
        self.computed.push_back((unit, stored.rows, stored.drops));
        Ok(())
    }

    fn keep(&mut self, unit: Unit, rows: Vec<Row>, drops: Vec<Dropped>, seconds: f64) -> Result<(), StageError> {
        let sources = rows.iter().map(|row| row.source).chain(drops.iter().map(|drop| drop.source));
        if let Some(outside) = sources.into_iter().find(|source| *source >= unit.records.len()) {
            return Err(StageError::failed(format!(
                "the stage gave a row of record {outside} of a unit of {}: a defect of its kind",
                unit.records.len()
            )));
        }
        self.worker.counts.computed += 1;
        self.seconds += seconds;
        let stored = StoredUnit { content: unit.content, rows, drops, seconds, failed: false };
        self.units.add(&stored)?;
        self.computed.push_back((unit, stored.rows, stored.drops));
        Ok(())
    }

    /// Sends on what is ready at the head of the queue.
    fn forward(&mut self) {
        while let Some(slot) = self.queue.pop_front() {
            match slot {
                Slot::Ready(records, rows, drops) => self.pass(records, rows, drops),
                Slot::First => {
                    let Some((unit, rows, drops)) = self.computed.pop_front() else {
                        self.queue.push_front(Slot::First);
                        break;
                    };
                    if self.awaited.remove(&unit.content).is_some_and(|more| more > 0) {
                        self.repeated.insert(unit.content, (rows.clone(), drops.clone()));
                    }
                    self.pass(unit.records, rows, drops);
                }
                Slot::Again(records, content) => match self.repeated.get(&content) {
                    Some((rows, drops)) => {
                        let (rows, drops) = (rows.clone(), drops.clone());
                        self.pass(records, rows, drops);
                    }
                    None => {
                        self.queue.push_front(Slot::Again(records, content));
                        break;
                    }
                },
            }
        }
        if self.queue.is_empty() {
            self.repeated.clear();
        }
        if self.worker.finding.computes {
            self.worker.progress.set_done(self.records_done);
        }
    }

    /// Sends one unit's records on, with what became of them.
    fn pass(&mut self, records: Vec<Record>, rows: Vec<Row>, drops: Vec<Dropped>) {
        // How many records a unit has, because rows name them by their place in it. Why one does not go on is no part of this.
        codec::put_varint(records.len() as u64, &mut self.undigested);
        codec::put_outcome(&rows, &[], &mut self.undigested);
        if self.undigested.len() >= DIGEST_BYTES {
            self.outcomes.update(&self.undigested);
            self.undigested.clear();
        }
        rows.iter().for_each(|row| blobs_of(row.fields.values(), &mut self.blobs));
        for drop in &drops {
            self.worker.dropped(&records[drop.source], &drop.reason);
        }
        self.records_done += records.len() as u64;
        lay_over(records, rows, &mut self.output);
        if self.output.len() >= BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        let Some(port) = self.worker.main_output() else { return };
        let records = std::mem::replace(&mut self.output, Vec::with_capacity(BATCH));
        self.worker.send(port, records);
    }

    /// The stream has ended: its identity, and a memo of all this.
    fn end(mut self, key: &NodeKey) -> Result<(), Stop> {
        self.outcomes.update(&self.undigested);
        self.worker.finding.seconds = self.seconds;
        self.worker.finding.waits = self.worker.partial_input();
        let computes_later = self.worker.job.dry && self.worker.finding.computes;
        let input = self.worker.record_inputs().next().and_then(|port| self.worker.identity_of(port));
        let (Some(input), Some(port), false) = (input, self.worker.main_output(), computes_later) else {
            return Ok(());
        };
        self.worker.finding.complete = true;
        let mut identity = DigestBuilder::default();
        identity.part(input.digest.bytes()).part(self.outcomes.finalize().as_bytes());
        let count = self.worker.counts.records_out;
        self.worker.outputs.insert(port, StreamId { digest: identity.finish(), count });
        if self.worker.job.dry {
            return Ok(());
        }
        let mut files = self.units.files();
        files.extend(self.worker.job.store.blob_files(&self.blobs)?);
        let units = self.worker.counts.hits + self.worker.counts.computed;
        let rest = Rest { files, units, seconds: self.seconds, ..Rest::default() };
        self.worker.remember(key, key.digest(), rest);
        Ok(())
    }
}

/// The records of a batch, copied if others take them too.
pub(super) fn owned(batch: Arc<Vec<Record>>) -> Vec<Record> {
    Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.as_ref().clone())
}
