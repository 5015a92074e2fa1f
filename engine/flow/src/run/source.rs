//! A source at work: from the store, or from its files. And any node whose records are only read from the store.

use std::collections::{BTreeMap, HashMap};

use crate::codec;
use crate::digest::Digest;
use crate::error::StageError;
use crate::key::NodeKey;
use crate::plan::lookup::{blobs_of, new_action, opened};
use crate::record::Record;
use crate::stage::bare::NoCheckpoint;
use crate::stage::{Blobs, Source};
use crate::store::{Action, Past, SegmentReader, StreamId};

use super::tools::DigestOnly;
use super::trial::pause;
use super::worker::{Difference, Rest, Stop, Worker};

/// Sources with more records than this are not compared with what they were.
const COMPARED: u64 = 2_000_000;

/// Runs a source.
pub(super) fn run_source(worker: &mut Worker<'_>, source: &dyn Source) -> Result<(), Stop> {
    worker.start();
    let key = worker.key(&BTreeMap::new());
    let digest = key.digest();
    if !worker.fresh()
        && let Some(action) = worker.job.store.action(&digest)?
        && let Some(readers) = opened(worker.job.store, worker.node, &action)?
    {
        worker.counts.hits = 1;
        worker.finding.seconds = action.seconds;
        worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
        let blobs = send_segments(worker, &digest, readers)?;
        return found(worker, &key, &action, &blobs);
    }
    worker.report_notes();
    worker.computes();
    if worker.job.dry {
        return look(worker, source, &key);
    }
    let mut retry = 0;
    loop {
        // What has been sent cannot be taken back: after that there is no second try.
        match compute(worker, source, &key) {
            Err(Stop::Failed(_)) if worker.counts.records_out == 0 && retry < worker.node.policy.retries => {
                if !pause(worker, retry) {
                    return Err(Stop::Interrupted);
                }
                retry += 1;
            }
            result => return result,
        }
    }
}

/// Sends on what the store has of a node whose outputs are known.
pub(super) fn replay(worker: &mut Worker<'_>) -> Result<(), Stop> {
    let Some(known) = &worker.job.resolved[worker.id.0] else { return Err(Stop::CutOff) };
    let key = known.memo.key;
    let gone = || Stop::Failed("its result vanished from the store".to_owned());
    let Some(action) = worker.job.store.action(&key)? else {
        worker.job.store.discard_action(&key, "it vanished");
        return Err(gone());
    };
    for (port, model) in &known.models {
        worker.send_model(port, model);
    }
    let Some(readers) = opened(worker.job.store, worker.node, &action)? else {
        worker.job.store.discard_action(&key, "its records are missing or damaged");
        return Err(gone());
    };
    let outputs = known.memo.outputs.clone();
    send_segments(worker, &key, readers)?;
    for port in worker.node.stage.schemas.keys() {
        if let Some(stream) = outputs.get(*port) {
            worker.outputs.insert(port, *stream);
        }
    }
    worker.finding.complete = true;
    Ok(())
}

/// Sends the records of segments; gives the blobs that they name. A blob that is missing makes the action useless.
pub(super) fn send_segments(
    worker: &mut Worker<'_>,
    key: &Digest,
    readers: Vec<(&'static str, SegmentReader<'_>)>,
) -> Result<Vec<Digest>, Stop> {
    let store = worker.job.store;
    let mut blobs = Vec::new();
    for (port, mut reader) in readers {
        while let Some(records) = reader.next()? {
            if worker.cancelled() {
                return Err(Stop::Interrupted);
            }
            for record in &records {
                blobs_of(record.fields.values(), &mut blobs);
                if let Some(blob) = store.missing_blob(record.fields.values())? {
                    store.discard_action(key, &format!("blob `{}` is missing or damaged", blob.short()));
                    return Err(Stop::Failed(format!("blob `{blob}` of record `{}` is not in the store", record.id)));
                }
            }
            worker.send(port, records);
        }
    }
    Ok(blobs)
}

/// An action was found and its records were sent: the identities of the outputs, and a memo.
pub(super) fn found(worker: &mut Worker<'_>, key: &NodeKey, action: &Action, blobs: &[Digest]) -> Result<(), Stop> {
    let digest = key.digest();
    let mut files = vec![worker.job.store.action_file(&digest)];
    for port in worker.node.stage.schemas.keys() {
        if let Some(segment) = action.records.get(*port) {
            worker.outputs.insert(port, StreamId { digest: segment.digest, count: segment.count });
            files.push(segment.file());
        }
    }
    if !worker.job.dry {
        files.extend(worker.job.store.blob_files(blobs)?);
    }
    worker.finding.records = match worker.node.inputs.is_empty() {
        true => worker.counts.records_out,
        false => worker.counts.records_in,
    };
    worker.finding.complete = true;
    let unbound = NodeKey { inputs: BTreeMap::new(), ..key.clone() };
    let rest = Rest { models: action.models.clone(), files, units: 1, seconds: action.seconds, written: None };
    worker.remember(&unbound, digest, rest);
    Ok(())
}

fn compute(worker: &mut Worker<'_>, source: &dyn Source, key: &NodeKey) -> Result<(), Stop> {
    let Some(port) = worker.main_output() else {
        return Err(Stop::Failed("the source has no output: a defect of its kind".to_owned()));
    };
    let store = worker.job.store;
    let tools = worker.tools();
    let mut writer = store.segment_writer()?;
    let mut blobs = Vec::new();
    let schema = worker.node.stage.schemas[port].clone();
    let span = tracing::info_span!(target: "ruminate::profile", "read", node = %worker.node.name).entered();
    tools.call(|| {
        let context = tools.context(&NoCheckpoint, store);
        source.read(&context, &mut |batch| {
            if tools.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            writer.write(&batch)?;
            batch.iter().for_each(|record| blobs_of(record.fields.values(), &mut blobs));
            worker.send(port, batch);
            worker.progress.set_done(worker.counts.records_out);
            Ok(())
        })
    })?;
    drop(span);
    let mut action = new_action(key, worker.seconds());
    action.records.insert(port.to_owned(), writer.finish(schema)?);
    store.put_action(&key.digest(), &action)?;
    worker.counts.computed = 1;
    worker.past = Some(Past { key: key.to_json(), seconds: Some(action.seconds) });
    found(worker, key, &action, &blobs)
}

/// A plan reads what changed, too, so that it can say what will happen below; it keeps nothing.
fn look(worker: &mut Worker<'_>, source: &dyn Source, key: &NodeKey) -> Result<(), Stop> {
    let Some(port) = worker.main_output() else { return Ok(()) };
    let tools = worker.tools();
    let mut before = earlier(worker)?;
    let mut difference = Difference::default();
    let mut content = Vec::new();
    let mut identity = blake3::Hasher::new();
    let blobs = DigestOnly(worker.job.store as &dyn Blobs);
    tools.call(|| {
        let context = tools.context(&NoCheckpoint, &blobs);
        source.read(&context, &mut |batch| {
            if tools.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            for record in &batch {
                let (id, content) = fingerprint(record, &mut content);
                identity.update(&id.to_le_bytes());
                identity.update(&content.to_le_bytes());
                if let Some(before) = &mut before {
                    match before.remove(&id) {
                        Some(same) if same == content => {}
                        Some(_) => difference.changed += 1,
                        None => difference.added += 1,
                    }
                }
            }
            worker.send(port, batch);
            Ok(())
        })
    })?;
    if let Some(before) = before {
        difference.removed = before.len() as u64;
        worker.finding.difference = Some(difference);
    }
    worker.finding.records = worker.counts.records_out;
    worker.finding.key = Some(key.clone());
    // An identity that no memo knows: what it holds is not in the store yet.
    let digest = Digest::from_bytes(*identity.finalize().as_bytes());
    worker.outputs.insert(port, StreamId { digest, count: worker.counts.records_out });
    Ok(())
}

/// Id and content of every record that the node gave when it last ran; `None` if that is not known or too much.
fn earlier(worker: &Worker<'_>) -> Result<Option<HashMap<u64, u64>>, Stop> {
    let store = worker.job.store;
    let Some(past) = worker.job.past(worker.id) else { return Ok(None) };
    let Some(action) = store.action(&past.digest())? else { return Ok(None) };
    let Some(segment) = worker.main_output().and_then(|port| action.records.get(port)) else { return Ok(None) };
    if segment.count > COMPARED {
        return Ok(None);
    }
    let Some(mut reader) = store.open_segment(segment)? else { return Ok(None) };
    let mut known = HashMap::with_capacity(segment.count as usize);
    let mut content = Vec::new();
    while let Some(records) = reader.next()? {
        known.extend(records.iter().map(|record| fingerprint(record, &mut content)));
    }
    Ok(Some(known))
}

fn fingerprint(record: &Record, buffer: &mut Vec<u8>) -> (u64, u64) {
    buffer.clear();
    codec::put_fields(&record.fields, buffer);
    (Digest::of(record.id.as_bytes()).seed(), Digest::of(buffer).seed())
}
