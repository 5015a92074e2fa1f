//! A stream stage at work: its ports one after the other in the order that it wants; what comes too early waits.

use std::collections::BTreeMap;

use crate::error::StageError;
use crate::key::{InputKey, NodeKey};
use crate::plan::lookup::new_action;
use crate::record::Record;
use crate::spill::SpillQueue;
use crate::stage::bare::NoCheckpoint;
use crate::stage::{Emit, StreamPass, StreamStage};
use crate::store::{Past, StreamId};

use super::records::owned;
use super::wire::{Arrival, BATCH};
use super::worker::{Rest, Stop, Worker};

/// Runs a stream stage.
pub(super) fn run_stream(worker: &mut Worker<'_>, stage: &dyn StreamStage) -> Result<(), Stop> {
    let key = worker.key(&BTreeMap::new());
    let connected: Vec<&'static str> = worker.record_inputs().collect();
    let order = stage.order(&connected);
    let tools = worker.tools();
    let store = worker.job.store;
    let context = tools.context(&NoCheckpoint, store);
    let mut pass = tools.call(|| stage.begin(&context))?;
    if worker.job.taps_any() {
        // Of a part of the input it would give something that is in no output.
        whole(worker, &order, pass.as_mut())?;
        return end(worker, &key);
    }
    let mut ports = Ports::new(worker, &order);
    loop {
        let arrival = worker.next()?;
        match arrival {
            Some(Arrival::Batch(port, batch)) => ports.arrived(port, owned(batch), worker, pass.as_mut())?,
            Some(Arrival::End(port, _)) => ports.ended(port, worker, pass.as_mut())?,
            Some(_) => {}
            None => break,
        }
    }
    end(worker, &key)
}

/// Takes all input first, and nothing of it if it is not complete.
fn whole(worker: &mut Worker<'_>, order: &[&'static str], pass: &mut dyn StreamPass) -> Result<(), Stop> {
    let mut ports = Ports::new(worker, order);
    while let Some(arrival) = worker.next()? {
        if let Arrival::Batch(port, batch) = arrival
            && let Some(queue) = ports.queues.get_mut(port)
        {
            queue.push(port, owned(batch))?;
        }
    }
    if !worker.partial_input() {
        for port in order {
            ports.ended(port, worker, pass)?;
        }
    }
    Ok(())
}

/// The identity of the output: a function of those of the inputs, as the output is of them. That it was made once is
/// noted in the store, so that it counts as a hit from then on.
fn end(worker: &mut Worker<'_>, unbound: &NodeKey) -> Result<(), Stop> {
    worker.finding.records = worker.counts.records_in;
    worker.finding.waits = worker.partial_input();
    if worker.partial_input() {
        return Ok(());
    }
    let store = worker.job.store;
    let mut key = unbound.clone();
    for (port, stream) in worker.identities() {
        key.inputs.insert((*port).to_owned(), InputKey { records: stream.count, digest: stream.digest });
    }
    worker.finding.key = Some(key.clone());
    let digest = key.digest();
    if let Some(port) = worker.main_output() {
        worker.outputs.insert(port, StreamId { digest, count: worker.counts.records_out });
    }
    worker.finding.complete = true;
    let made = store.action(&digest)?.filter(|_| !worker.fresh());
    let seconds = match made {
        Some(action) => {
            worker.counts.hits = worker.counts.records_in;
            worker.finding.cached = worker.counts.records_in;
            action.seconds
        }
        None => {
            worker.computes();
            worker.counts.computed = worker.counts.records_in;
            worker.seconds()
        }
    };
    worker.finding.seconds = seconds;
    if worker.job.dry {
        return Ok(());
    }
    if worker.counts.hits == 0 {
        store.put_action(&digest, &new_action(&key, seconds))?;
    }
    worker.past = Some(Past { key: key.to_json(), seconds: Some(seconds) });
    let files = vec![store.action_file(&digest)];
    let rest = Rest { files, units: worker.counts.records_in, seconds, ..Rest::default() };
    worker.remember(unbound, digest, rest);
    Ok(())
}

/// The inputs in their order.
struct Ports {
    order: Vec<&'static str>,
    /// How many of them have been given to their ends.
    finished: usize,
    queues: BTreeMap<&'static str, SpillQueue>,
    ended: Vec<&'static str>,
}

impl Ports {
    fn new(worker: &Worker<'_>, order: &[&'static str]) -> Self {
        let queues = order.iter().map(|port| (*port, SpillQueue::new(&worker.job.scratch))).collect();
        Self { order: order.to_vec(), finished: 0, queues, ended: Vec::new() }
    }

    fn arrived(
        &mut self,
        port: &'static str,
        batch: Vec<Record>,
        worker: &mut Worker<'_>,
        pass: &mut dyn StreamPass,
    ) -> Result<(), Stop> {
        if self.order.get(self.finished) == Some(&port) {
            return give(worker, |out| pass.take(port, batch, out));
        }
        if let Some(queue) = self.queues.get_mut(port) {
            queue.push(port, batch)?;
        }
        Ok(())
    }

    /// A port has ended: its turn, and that of all that have waited for it, may come to an end.
    fn ended(&mut self, port: &'static str, worker: &mut Worker<'_>, pass: &mut dyn StreamPass) -> Result<(), Stop> {
        self.ended.push(port);
        while let Some(port) = self.order.get(self.finished).copied() {
            while let Some((port, batch)) = self.queues.get_mut(port).map(SpillQueue::pop).transpose()?.flatten() {
                if worker.cancelled() {
                    return Err(Stop::Interrupted);
                }
                give(worker, |out| pass.take(port, batch, out))?;
            }
            if !self.ended.contains(&port) {
                break;
            }
            give(worker, |out| pass.end(port, out))?;
            self.finished += 1;
        }
        Ok(())
    }
}

/// Lets the pass work on something, and sends on what it has made of it.
fn give(worker: &mut Worker<'_>, work: impl FnOnce(&mut dyn Emit) -> Result<(), StageError>) -> Result<(), Stop> {
    let tools = worker.tools();
    let mut out = Out { worker, records: Vec::new() };
    tools.call(|| work(&mut out))?;
    out.send();
    Ok(())
}

struct Out<'w, 'a> {
    worker: &'w mut Worker<'a>,
    records: Vec<Record>,
}

impl Out<'_, '_> {
    fn send(&mut self) {
        if let Some(port) = self.worker.main_output() {
            self.worker.send(port, std::mem::take(&mut self.records));
        }
    }
}

impl Emit for Out<'_, '_> {
    fn records(&mut self, records: Vec<Record>) -> Result<(), StageError> {
        if self.worker.cancelled() {
            return Err(StageError::Interrupted);
        }
        self.records.extend(records);
        if self.records.len() >= BATCH {
            self.send();
        }
        Ok(())
    }

    fn dropped(&mut self, record: Record, reason: &str) -> Result<(), StageError> {
        self.worker.dropped(&record, reason);
        Ok(())
    }
}
