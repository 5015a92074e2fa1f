//! A sink at work: it writes beside its file, and gives the file its name at the end, unless what is there is the same.

use std::collections::BTreeMap;
use std::path::Path;

use crate::digest::Digest;
use crate::error::StageError;
use crate::key::{InputKey, NodeKey};
use crate::plan::lookup::new_action;
use crate::stage::Sink;
use crate::stage::bare::NoCheckpoint;
use crate::store::Past;

use super::wire::Arrival;
use super::worker::{Rest, Stop, Worker};

/// The entry of an action's files under which the digest of what was written stands.
const WRITTEN: &str = "written";

/// Runs a sink.
pub(super) fn run_sink(worker: &mut Worker<'_>, sink: &dyn Sink) -> Result<(), Stop> {
    let unbound = worker.key(&BTreeMap::new());
    let store = worker.job.store;
    let tools = worker.tools();
    let context = tools.context(&NoCheckpoint, store);
    let mut pass = None;
    while let Some(arrival) = worker.next()? {
        let Arrival::Batch(_, batch) = arrival else { continue };
        if worker.job.dry {
            continue;
        }
        if pass.is_none() {
            pass = Some(tools.call(|| sink.begin(&context))?);
        }
        if let Some(pass) = &mut pass {
            tools.call(|| pass.take(&batch))?;
        }
        worker.progress.set_done(worker.counts.records_in);
    }
    worker.start();
    worker.finding.records = worker.counts.records_in;
    if worker.partial_input() {
        worker.finding.waits = true;
        return Ok(());
    }
    let mut key = unbound.clone();
    for (port, stream) in worker.identities() {
        key.inputs.insert((*port).to_owned(), InputKey { records: stream.count, digest: stream.digest });
    }
    worker.finding.key = Some(key.clone());
    let digest = key.digest();
    let before = store.action(&digest)?.filter(|_| !worker.fresh());
    let written = before.as_ref().and_then(|action| action.models.get(WRITTEN)?.get(WRITTEN).copied());
    if let (Some(written), Some(action)) = (written, before)
        && there(worker, sink.path(), written)?
    {
        worker.counts.hits = 1;
        worker.finding.cached = worker.counts.records_in;
        worker.finding.seconds = action.seconds;
        end(worker, (&unbound, &key), sink.path(), written, action.seconds);
        return Ok(());
    }
    worker.computes();
    if worker.job.dry {
        return Ok(());
    }
    let pass = match pass {
        Some(pass) => pass,
        None => tools.call(|| sink.begin(&context))?,
    };
    tools.call(|| pass.finish())?;
    let written = store.file_digest(sink.path())?;
    let mut action = new_action(&key, worker.seconds());
    action.models.insert(WRITTEN.to_owned(), BTreeMap::from([(WRITTEN.to_owned(), written)]));
    store.put_action(&digest, &action)?;
    worker.counts.computed = 1;
    end(worker, (&unbound, &key), sink.path(), written, action.seconds);
    Ok(())
}

/// Whether the file is there with the bytes that were written.
fn there(worker: &Worker<'_>, path: &Path, written: Digest) -> Result<bool, StageError> {
    Ok(path.is_file() && worker.job.store.file_digest(path)? == written)
}

fn end(worker: &mut Worker<'_>, (unbound, key): (&NodeKey, &NodeKey), path: &Path, written: Digest, seconds: f64) {
    worker.past = Some(Past { key: key.to_json(), seconds: Some(seconds) });
    worker.finding.complete = true;
    let digest = key.digest();
    let files = vec![worker.job.store.action_file(&digest)];
    let rest = Rest { files, written: Some((path.to_owned(), written)), units: 1, seconds, ..Rest::default() };
    worker.remember(unbound, digest, rest);
}
