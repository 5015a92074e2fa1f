//! A record stage at work: units are looked up, those that are missing are computed in batches, and everything goes on in
//! the order in which it came.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::digest::Digest;
use crate::error::StageError;
use crate::key::{NodeKey, reads_on};
use crate::model::Model;
use crate::plan::lookup::{Grouper, find_unit, lay_over};
use crate::record::Record;
use crate::stage::{Dropped, Outcome, RecordStage, Row, Unit};
use crate::store::{Past, StoredUnit, Units};

use super::wire::{Arrival, BATCH};
use super::worker::{NoCheckpoint, Stop, Worker, call, context};

/// So many units wait behind a missing one before it is computed although the batch is not full.
const MOST_WAITING: usize = 4096;

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
    awaited: HashSet<Digest>,
    /// Results of missing units, until the queue is empty.
    results: HashMap<Digest, (Vec<Row>, Vec<Dropped>)>,
    output: Vec<Record>,
    records_done: u64,
}

/// A unit on its way through.
enum Slot {
    /// Its result is known.
    Ready(Vec<Record>, Vec<Row>, Vec<Dropped>),
    /// Its result is to be computed.
    Missing(Vec<Record>, Digest),
}

/// Runs a record stage from the first record to the end of its stream.
pub(super) fn run_records<'a>(worker: &mut Worker<'a>, stage: &'a dyn RecordStage) -> Result<(), Stop> {
    let mut models = worker.given_models();
    let mut buffer = VecDeque::new();
    // While a model above is still being made, its own input must flow: so nothing is left standing in the channel.
    while worker.awaiting_models() {
        match worker.next()? {
            Some(Arrival::Batch(port, batch)) => buffer.push_back((port, batch)),
            Some(Arrival::Model(port, model)) => _ = models.insert(port, model),
            _ => {}
        }
    }
    let digests = models.iter().map(|(port, model)| (*port, model.digest)).collect();
    let key = NodeKey::of(worker.graph, worker.node, &digests);
    worker.past = Some(Past { key: key.to_json(), seconds: None });
    let mut flow = Flow {
        units: worker.store.units(&key.digest(), false)?,
        worker,
        stage,
        models,
        queue: VecDeque::new(),
        missing: VecDeque::new(),
        awaited: HashSet::new(),
        results: HashMap::new(),
        output: Vec::new(),
        records_done: 0,
    };
    let result = flow.run(buffer);
    // What was computed is kept, however the stream ended.
    let flushed = if result.is_ok() { flow.units.finish() } else { flow.units.flush() };
    flow.worker.lease.give_back(flow.worker.id);
    result.and(flushed.map_err(Stop::from))
}

impl<'a> Flow<'_, 'a> {
    fn run(&mut self, mut buffer: VecDeque<(&'static str, Arc<Vec<Record>>)>) -> Result<(), Stop> {
        self.worker.report_notes();
        let node = self.worker.node;
        let mut grouper: Option<Grouper<'a>> = None;
        let stage = self.stage;
        loop {
            let (port, batch) = match buffer.pop_front() {
                Some(batch) => batch,
                None => match self.worker.next()? {
                    Some(Arrival::Batch(port, batch)) => (port, batch),
                    Some(_) => continue,
                    None => break,
                },
            };
            let grouper = grouper.get_or_insert_with(|| Grouper::new(stage.group_by(), reads_on(node, port)));
            let records = Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.as_ref().clone());
            for record in records {
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
        if self.awaited.contains(&unit.content) {
            // The same content twice is computed once.
            self.worker.counts.hits += 1;
            self.queue.push_back(Slot::Missing(unit.records, unit.content));
        } else if let Some(stored) = find_unit(self.worker.store, &mut self.units, &unit)? {
            self.worker.counts.hits += 1;
            self.queue.push_back(Slot::Ready(unit.records, stored.rows, stored.drops));
        } else {
            self.worker.computes();
            self.awaited.insert(unit.content);
            self.queue.push_back(Slot::Missing(unit.records.clone(), unit.content));
            self.missing.push_back(unit);
        }
        // A node below another one on the device computes once that one has finished: models are loaded once, not per batch.
        let waits_for_device = self.worker.device_above && self.worker.streaming();
        let full = self.missing.len() >= self.stage.batch_units().max(1);
        if !self.missing.is_empty() && !waits_for_device && (full || self.queue.len() >= MOST_WAITING) {
            self.compute()?;
        }
        Ok(())
    }

    /// Computes and stores the next batch of missing units.
    fn compute(&mut self) -> Result<(), Stop> {
        let count = self.missing.len().min(self.stage.batch_units().max(1));
        let batch: Vec<Unit> = self.missing.drain(..count).collect();
        let turn = self.worker.lease.take(self.worker.id);
        if self.worker.cancelled() {
            return Err(Stop::Interrupted);
        }
        let started = Instant::now();
        let outcomes = call(|| self.stage.process(&batch, &self.models, &context(self.worker, &NoCheckpoint)));
        drop(turn);
        let outcomes = outcomes?;
        if outcomes.len() != batch.len() {
            let (given, wanted) = (outcomes.len(), batch.len());
            return Err(Stop::Failed(format!(
                "the stage gave {given} results for {wanted} units: a defect of its kind"
            )));
        }
        let seconds = started.elapsed().as_secs_f64() / count as f64;
        let mut failed = None;
        for (unit, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Outcome::Done { rows, drops } => self.keep(unit, rows, drops, seconds)?,
                Outcome::Failed { reason } => _ = failed.get_or_insert((unit, reason)),
            }
        }
        self.units.flush_if_due()?;
        if let Some((unit, reason)) = failed {
            return self.unit_failed(unit, &reason);
        }
        self.forward();
        Ok(())
    }

    /// The policy for a unit that failed: the node fails. The neighbours' results are stored by now. A policy that drops
    /// the unit would put its records into the ledger here and go on.
    fn unit_failed(&self, unit: &Unit, reason: &str) -> Result<(), Stop> {
        let ids: Vec<_> = unit.records.iter().take(3).map(|record| format!("`{}`", record.id)).collect();
        let more = if unit.records.len() > 3 { ", ..." } else { "" };
        Err(Stop::Failed(format!("record {}{more}: {reason}", ids.join(", "))))
    }

    fn keep(&mut self, unit: &Unit, rows: Vec<Row>, drops: Vec<Dropped>, seconds: f64) -> Result<(), StageError> {
        let sources = rows.iter().map(|row| row.source).chain(drops.iter().map(|drop| drop.source));
        if let Some(outside) = sources.into_iter().find(|source| *source >= unit.records.len()) {
            return Err(StageError::failed(format!(
                "the stage gave a row of record {outside} of a unit of {}: a defect of its kind",
                unit.records.len()
            )));
        }
        self.worker.counts.computed += 1;
        let stored = StoredUnit { content: unit.content, rows, drops, seconds, failed: false };
        self.units.add(&stored)?;
        self.results.insert(unit.content, (stored.rows, stored.drops));
        Ok(())
    }

    /// Sends on what is ready at the head of the queue.
    fn forward(&mut self) {
        while let Some(slot) = self.queue.pop_front() {
            let (records, rows, drops) = match slot {
                Slot::Ready(records, rows, drops) => (records, rows, drops),
                Slot::Missing(records, content) => match self.results.get(&content) {
                    Some((rows, drops)) => (records, rows.clone(), drops.clone()),
                    None => {
                        self.queue.push_front(Slot::Missing(records, content));
                        break;
                    }
                },
            };
            for drop in &drops {
                self.worker.dropped(&records[drop.source].id, &drop.reason);
            }
            self.records_done += records.len() as u64;
            self.output.extend(lay_over(records, rows));
            if self.output.len() >= BATCH {
                self.send();
            }
        }
        if self.queue.is_empty() {
            self.results.clear();
            self.awaited.clear();
        }
        if self.worker.counts.computed > 0 {
            self.worker.progress.set_done(self.records_done);
        }
        self.send();
    }

    fn send(&mut self) {
        let Some(port) = self.worker.node.stage.schemas.keys().next() else { return };
        self.worker.send(port, std::mem::take(&mut self.output));
    }
}
