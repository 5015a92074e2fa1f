//! A set stage at work: it consumes all its inputs, then takes its outputs from the store or computes them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::StageError;
use crate::key::{NodeKey, StreamKey, reads_on};
use crate::model::Model;
use crate::plan::lookup::{new_action, opened, stored_models};
use crate::record::Record;
use crate::spill::SpillQueue;
use crate::stage::{Checkpoint, Dropped, SetInput, SetOutput, SetStage};
use crate::store::{Action, Past};

use super::records::owned;
use super::source::{found, send_segments};
use super::trial::pause;
use super::wire::{Arrival, BATCH};
use super::worker::{Stop, Worker};

type Models = BTreeMap<&'static str, Arc<Model>>;
type Records = BTreeMap<&'static str, Vec<Record>>;

/// Runs a set stage.
pub(super) fn run_set(worker: &mut Worker<'_>, stage: &dyn SetStage) -> Result<(), Stop> {
    let mut models = worker.given_models();
    let ports: Vec<&'static str> = worker.record_inputs().collect();
    let mut streams: BTreeMap<&'static str, StreamKey<'_>> = BTreeMap::new();
    for port in &ports {
        streams.insert(port, StreamKey::new(reads_on(worker.node, port)));
    }
    // A plan needs only the digest, unless someone asks which records were left out.
    let keep = !worker.job.dry || worker.job.tapped(worker.id);
    let mut waiting = SpillQueue::new(&worker.job.scratch);
    while let Some(arrival) = worker.next()? {
        match arrival {
            Arrival::Batch(port, batch) => {
                if let Some(stream) = streams.get_mut(port) {
                    batch.iter().for_each(|record| stream.add(record));
                }
                if keep {
                    waiting.push(port, owned(batch))?;
                }
            }
            Arrival::Model(port, Some(model)) => _ = models.insert(port, model),
            _ => {}
        }
    }
    worker.start();
    let mut key = worker.key(&models);
    worker.finding.records = worker.counts.records_in;
    if worker.partial_input() || models.len() < worker.model_inputs() {
        worker.finding.waits = true;
        return Ok(());
    }
    key.inputs = streams.iter().map(|(port, stream)| ((*port).to_owned(), stream.finish())).collect();
    worker.finding.key = Some(key.clone());
    if !worker.fresh()
        && let Some(action) = worker.job.store.action(&key.digest())?
        && send_found(worker, &key, &action, &mut waiting)?
    {
        return Ok(());
    }
    worker.report_notes();
    worker.computes();
    if worker.job.dry {
        return Ok(());
    }
    let mut records: Records = ports.iter().map(|port| (*port, Vec::new())).collect();
    while let Some((port, batch)) = waiting.pop()? {
        records.entry(port).or_default().extend(batch);
    }
    compute(worker, stage, &key, records, models)
}

/// Sends on what the store holds for the key; false if a part of it is missing.
fn send_found(worker: &mut Worker<'_>, key: &NodeKey, action: &Action, inputs: &mut SpillQueue) -> Result<bool, Stop> {
    let store = worker.job.store;
    let (Some(readers), Some(models)) =
        (opened(store, worker.node, action)?, stored_models(store, worker.node, action)?)
    else {
        return Ok(false);
    };
    worker.counts.hits = 1;
    worker.finding.cached = worker.counts.records_in;
    worker.finding.seconds = action.seconds;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
    for (port, model) in &models {
        worker.send_model(port, model);
    }
    if action.drops.values().any(|drops| !drops.is_empty()) {
        send_drops(worker, action, inputs)?;
    }
    let blobs = send_segments(worker, &key.digest(), readers)?;
    found(worker, key, action, &blobs)?;
    Ok(true)
}

/// Notes the input records that were left out, in the order in which they were noted when it was computed.
fn send_drops(worker: &mut Worker<'_>, action: &Action, inputs: &mut SpillQueue) -> Result<(), Stop> {
    let mut records = Records::new();
    while let Some((port, batch)) = inputs.pop()? {
        records.entry(port).or_default().extend(batch);
    }
    for (port, drops) in &action.drops {
        for drop in drops {
            match records.get(port.as_str()).and_then(|records| records.get(drop.source)) {
                Some(record) => worker.dropped(&record.clone(), &drop.reason),
                // A plan that nobody asks for the records: the count is enough.
                None => worker.count_dropped(&drop.reason),
            }
        }
    }
    Ok(())
}

fn compute(
    worker: &mut Worker<'_>,
    stage: &dyn SetStage,
    key: &NodeKey,
    mut records: Records,
    models: Models,
) -> Result<(), Stop> {
    let checkpoint = worker.job.store.checkpoint(&key.digest());
    let progress = Renewed { inner: &checkpoint, ignored: AtomicBool::new(worker.fresh()) };
    // For the ledger of drops: the stage takes the records themselves.
    let ids: BTreeMap<_, Vec<Arc<str>>> = records
        .iter()
        .map(|(port, records)| (*port, records.iter().map(|record| record.id.clone()).collect()))
        .collect();
    let lease = worker.lease;
    let id = worker.id;
    let turn = worker.wait(|| lease.take(id));
    let started = Instant::now();
    let mut retry = 0;
    let output = loop {
        if worker.cancelled() {
            return Err(Stop::Interrupted);
        }
        let last = retry == worker.node.policy.retries;
        // The records are given away with the last try: they may be large, and the stage frees what it has used.
        let given = if last { std::mem::take(&mut records) } else { records.clone() };
        let tools = worker.tools();
        let span = tracing::info_span!(target: "ruminate::profile", "compute", node = %worker.node.name);
        let result = span.in_scope(|| {
            let context = tools.context(&progress, worker.job.store);
            tools.call(|| stage.run(SetInput { records: given, models: models.clone() }, &context))
        });
        match result {
            Ok(output) => break output,
            Err(Stop::Failed(message)) if !last => {
                worker.event(crate::event::EventKind::Note { message: format!("{message}; trying again") });
                if !pause(worker, retry) {
                    return Err(Stop::Interrupted);
                }
                retry += 1;
            }
            Err(stop) => return Err(stop),
        }
    };
    drop(turn);
    for (port, drop) in &output.drops {
        let Some(id) = ids.get(port).and_then(|ids| ids.get(drop.source)) else {
            let index = drop.source;
            return Err(Stop::Failed(format!(
                "the stage left out record {index} of `{port}`, which there is not: a defect of its kind"
            )));
        };
        worker.dropped_id(id, &drop.reason);
    }
    let action = store_output(worker, key, &output, started.elapsed().as_secs_f64())?;
    worker.job.store.put_action(&key.digest(), &action)?;
    checkpoint.remove();
    worker.counts.computed = 1;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
    let models = stored_models(worker.job.store, worker.node, &action)?
        .ok_or_else(|| Stop::Failed("a model's file vanished from the store as soon as it was written".to_owned()))?;
    for (port, model) in &models {
        worker.send_model(port, model);
    }
    let mut blobs = Vec::new();
    for (port, records) in output.records {
        records.iter().for_each(|record| crate::plan::lookup::blobs_of(record.fields.values(), &mut blobs));
        worker.send(port, records);
    }
    found(worker, key, &action, &blobs)
}

/// Writes everything that a set stage gave but the action itself.
fn store_output(worker: &Worker<'_>, key: &NodeKey, output: &SetOutput, seconds: f64) -> Result<Action, StageError> {
    let (store, node) = (worker.job.store, worker.node);
    let mut action = new_action(key, seconds);
    for (port, schema) in &node.stage.schemas {
        let records = output.records.get(port).map(Vec::as_slice).unwrap_or_default();
        check_ids(records)?;
        let mut writer = store.segment_writer()?;
        for batch in records.chunks(BATCH) {
            writer.write(batch)?;
        }
        action.records.insert((*port).to_owned(), writer.finish(schema.clone())?);
    }
    for port in node.stage.models.keys() {
        let files =
            output.models.get(port).filter(|files| !files.is_empty()).ok_or_else(|| {
                StageError::failed(format!("the stage gave no model on `{port}`: a defect of its kind"))
            })?;
        let mut digests = BTreeMap::new();
        for (name, content) in files {
            digests.insert(name.clone(), store.put_file(content)?);
        }
        action.models.insert((*port).to_owned(), digests);
    }
    for (port, drop) in &output.drops {
        let drops: &mut Vec<Dropped> = action.drops.entry((*port).to_owned()).or_default();
        drops.push(drop.clone());
    }
    Ok(action)
}

fn check_ids(records: &[Record]) -> Result<(), StageError> {
    let mut seen = HashSet::with_capacity(records.len());
    for record in records {
        if !seen.insert(&record.id) {
            return Err(StageError::failed(format!(
                "two records have the id `{}`: ids must be unique in a stream",
                record.id
            )));
        }
    }
    Ok(())
}

/// A checkpoint that counts as missing until it is saved anew, if the computation was asked for from the beginning.
struct Renewed<'a> {
    inner: &'a dyn Checkpoint,
    ignored: AtomicBool,
}

impl Checkpoint for Renewed<'_> {
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
        if self.ignored.load(Ordering::SeqCst) { Ok(None) } else { self.inner.load() }
    }

    fn save(&self, parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        self.inner.save(parts)?;
        self.ignored.store(false, Ordering::SeqCst);
        Ok(())
    }
}
