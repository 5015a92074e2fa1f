//! Sources and set stages at work: one key, one action.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::error::StageError;
use crate::key::{NodeKey, StreamKey, reads_on};
use crate::model::Model;
use crate::plan::lookup::{FoundAction, find_action, new_action, stored_model};
use crate::record::Record;
use crate::stage::{SetInput, SetOutput, SetStage, Source};
use crate::store::{Action, Past};

use super::wire::{Arrival, BATCH};
use super::worker::{NoCheckpoint, Stop, Worker, call, context};

/// Runs a source: from the store, or from its files.
pub(super) fn run_source(worker: &mut Worker<'_>, source: &dyn Source) -> Result<(), Stop> {
    worker.start();
    let key = NodeKey::of(worker.graph, worker.node, &BTreeMap::new());
    if let Some(found) = find_action(worker.store, worker.node, &key)? {
        return send_found(worker, &key, found, &BTreeMap::new());
    }
    worker.report_notes();
    worker.computes();
    let Some(port) = worker.node.stage.schemas.keys().next().copied() else {
        return Err(Stop::Failed("the source has no output: a defect of its kind".to_owned()));
    };
    let store = worker.store;
    let mut writer = store.segment_writer()?;
    let mut ids = HashSet::new();
    let mut batches = Vec::new();
    call(|| {
        source.read(&context(worker, &NoCheckpoint), &mut |batch| {
            if worker.cancelled() {
                return Err(StageError::Interrupted);
            }
            check_ids(&batch, &mut ids)?;
            writer.write(&batch)?;
            batches.push(batch);
            Ok(())
        })
    })?;
    let mut action = new_action(&key, worker.seconds());
    action.records.insert(port.to_owned(), writer.finish(worker.node.stage.schemas[port].clone())?);
    store.put_action(&key.digest(), &action)?;
    worker.counts.computed = 1;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
    for batch in batches {
        worker.send(port, batch);
    }
    Ok(())
}

/// Runs a set stage: consumes all inputs, then takes its outputs from the store or computes them.
pub(super) fn run_set(worker: &mut Worker<'_>, stage: &dyn SetStage) -> Result<(), Stop> {
    let mut models = worker.given_models();
    let mut records: BTreeMap<&'static str, Vec<Record>> = BTreeMap::new();
    let mut streams: BTreeMap<&'static str, StreamKey<'_>> = BTreeMap::new();
    for port in worker.record_inputs() {
        records.insert(port, Vec::new());
        streams.insert(port, StreamKey::new(reads_on(worker.node, port)));
    }
    while let Some(arrival) = worker.next()? {
        match arrival {
            Arrival::Batch(port, batch) => {
                if let Some(stream) = streams.get_mut(port) {
                    batch.iter().for_each(|record| stream.add(record));
                }
                let batch = Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.as_ref().clone());
                records.entry(port).or_default().extend(batch);
            }
            Arrival::Model(port, model) => _ = models.insert(port, model),
            Arrival::End | Arrival::CutOff => {}
        }
    }
    worker.start();
    let digests = models.iter().map(|(port, model)| (*port, model.digest)).collect();
    let mut key = NodeKey::of(worker.graph, worker.node, &digests);
    key.inputs = streams.iter().map(|(port, stream)| ((*port).to_owned(), stream.finish())).collect();
    if let Some(found) = find_action(worker.store, worker.node, &key)? {
        return send_found(worker, &key, found, &records);
    }
    worker.report_notes();
    compute_set(worker, stage, &key, records, models)
}

fn compute_set(
    worker: &mut Worker<'_>,
    stage: &dyn SetStage,
    key: &NodeKey,
    records: BTreeMap<&'static str, Vec<Record>>,
    models: BTreeMap<&'static str, Arc<Model>>,
) -> Result<(), Stop> {
    worker.computes();
    let checkpoint = worker.store.checkpoint(&key.digest());
    let ids: BTreeMap<_, Vec<_>> = records
        .iter()
        .map(|(port, records)| (*port, records.iter().map(|record| record.id.clone()).collect()))
        .collect();
    let turn = worker.lease.take(worker.id);
    if worker.cancelled() {
        return Err(Stop::Interrupted);
    }
    let started = Instant::now();
    let output = call(|| stage.run(SetInput { records, models }, &context(worker, &checkpoint)));
    drop(turn);
    let output = output?;
    for (port, drop) in &output.drops {
        let Some(id) = ids.get(port).and_then(|ids| ids.get(drop.source)) else {
            let index = drop.source;
            return Err(Stop::Failed(format!(
                "the stage left out record {index} of `{port}`, which there is not: a defect of its kind"
            )));
        };
        worker.dropped(id, &drop.reason);
    }
    let (action, models) = store_output(worker, key, &output, started.elapsed().as_secs_f64())?;
    worker.store.put_action(&key.digest(), &action)?;
    checkpoint.remove();
    worker.counts.computed = 1;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
    for (port, model) in &models {
        worker.send_model(port, model);
    }
    for (port, records) in output.records {
        worker.send(port, records);
    }
    Ok(())
}

type Models = BTreeMap<&'static str, Arc<Model>>;

/// Writes everything that a set stage gave but the action itself.
fn store_output(
    worker: &Worker<'_>,
    key: &NodeKey,
    output: &SetOutput,
    seconds: f64,
) -> Result<(Action, Models), StageError> {
    let (store, node) = (worker.store, worker.node);
    let mut action = new_action(key, seconds);
    for (port, schema) in &node.stage.schemas {
        let records = output.records.get(port).map(Vec::as_slice).unwrap_or_default();
        check_ids(records, &mut HashSet::new())?;
        let mut writer = store.segment_writer()?;
        for batch in records.chunks(BATCH) {
            writer.write(batch)?;
        }
        action.records.insert((*port).to_owned(), writer.finish(schema.clone())?);
    }
    let mut models = BTreeMap::new();
    for port in node.stage.models.keys() {
        let files =
            output.models.get(port).filter(|files| !files.is_empty()).ok_or_else(|| {
                StageError::failed(format!("the stage gave no model on `{port}`: a defect of its kind"))
            })?;
        let mut digests = BTreeMap::new();
        for (name, content) in files {
            digests.insert(name.clone(), store.put_file(content)?);
        }
        let model = stored_model(store, node, port, &digests)?
            .ok_or_else(|| StageError::failed("a model's file vanished from the store as soon as it was written"))?;
        action.models.insert((*port).to_owned(), digests);
        models.insert(*port, model);
    }
    for (port, drop) in &output.drops {
        action.drops.entry((*port).to_owned()).or_default().push(drop.clone());
    }
    Ok((action, models))
}

/// Sends on what the store holds for the key.
fn send_found(
    worker: &mut Worker<'_>,
    key: &NodeKey,
    found: FoundAction,
    inputs: &BTreeMap<&'static str, Vec<Record>>,
) -> Result<(), Stop> {
    worker.counts.hits = 1;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(found.seconds) });
    for (port, model) in &found.models {
        worker.send_model(port, model);
    }
    for (port, drops) in &found.drops {
        for drop in drops {
            if let Some(record) = inputs.get(port.as_str()).and_then(|records| records.get(drop.source)) {
                worker.dropped(&record.id, &drop.reason);
            }
        }
    }
    for (port, records) in found.records {
        let records = Arc::try_unwrap(records).unwrap_or_else(|shared| shared.as_ref().clone());
        worker.send(port, records);
    }
    Ok(())
}

fn check_ids(records: &[Record], seen: &mut HashSet<Arc<str>>) -> Result<(), StageError> {
    for record in records {
        if !seen.insert(record.id.clone()) {
            return Err(StageError::failed(format!(
                "two records have the id `{}`: ids must be unique in a stream; correct the data or name another column with `id`",
                record.id
            )));
        }
    }
    Ok(())
}
