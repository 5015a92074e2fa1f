//! The channels between nodes: bounded, carrying batches. A stream that closes without an end was cut off above.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use crate::graph::{Edge, Graph, NodeId};
use crate::model::Model;
use crate::record::Record;

/// Records in a batch on a channel.
pub(super) const BATCH: usize = 256;
/// Batches that a channel holds before its sender waits.
const BOUND: usize = 8;

/// What a record channel carries.
#[derive(Clone)]
pub(super) enum Packet {
    Batch(Arc<Vec<Record>>),
    End,
}

/// What arrives at a node.
pub(super) enum Arrival {
    Batch(&'static str, Arc<Vec<Record>>),
    /// A stream ended as it should.
    End,
    Model(&'static str, Arc<Model>),
    /// A stream was cut off: a node above failed or was interrupted.
    CutOff,
}

/// A node's inputs that are still open.
#[derive(Default)]
pub(super) struct Inlets {
    streams: Vec<(&'static str, Receiver<Packet>)>,
    models: Vec<(&'static str, Receiver<Arc<Model>>)>,
}

/// A node's outputs.
#[derive(Default)]
pub(super) struct Outlets {
    streams: BTreeMap<&'static str, Vec<Sender<Packet>>>,
    models: BTreeMap<&'static str, Vec<Sender<Arc<Model>>>>,
}

/// Makes the channels of all nodes that take part; by node.
pub(super) fn connect(graph: &Graph, takes_part: &[bool]) -> Vec<(Inlets, Outlets)> {
    let mut wires: Vec<(Inlets, Outlets)> = graph.nodes.iter().map(|_| Default::default()).collect();
    for (consumer, node) in graph.nodes.iter().enumerate().filter(|(index, _)| takes_part[*index]) {
        for (input, edge) in &node.inputs {
            let Edge::Node { node: NodeId(maker), port } = edge else { continue };
            if carries_model(graph, edge) {
                let (sender, receiver) = bounded(1);
                wires[consumer].0.models.push((input, receiver));
                wires[*maker].1.models.entry(port).or_default().push(sender);
            } else {
                let (sender, receiver) = bounded(BOUND);
                wires[consumer].0.streams.push((input, receiver));
                wires[*maker].1.streams.entry(port).or_default().push(sender);
            }
        }
    }
    wires
}

/// Whether an edge carries a model.
pub(super) fn carries_model(graph: &Graph, edge: &Edge) -> bool {
    match edge {
        Edge::Model(_) => true,
        Edge::Node { node, port } => graph.nodes[node.0].stage.models.contains_key(port),
    }
}

impl Inlets {
    /// Whether a record stream is still open.
    pub(super) fn streaming(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether a model is still awaited.
    pub(super) fn awaiting_models(&self) -> bool {
        !self.models.is_empty()
    }

    /// Waits for what comes next on any input; `None` once all have ended.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        let mut select = Select::new();
        self.streams.iter().for_each(|(_, stream)| _ = select.recv(stream));
        self.models.iter().for_each(|(_, model)| _ = select.recv(model));
        if self.streams.is_empty() && self.models.is_empty() {
            return None;
        }
        let ready = select.select();
        let index = ready.index();
        if let Some((port, stream)) = self.streams.get(index) {
            return Some(match ready.recv(stream) {
                Ok(Packet::Batch(batch)) => Arrival::Batch(port, batch),
                Ok(Packet::End) => {
                    self.streams.remove(index);
                    Arrival::End
                }
                Err(_) => Arrival::CutOff,
            });
        }
        let index = index - self.streams.len();
        let (port, model) = &self.models[index];
        let port = *port;
        let received = ready.recv(model);
        self.models.remove(index);
        Some(received.map_or(Arrival::CutOff, |model| Arrival::Model(port, model)))
    }
}

impl Outlets {
    /// Sends records to all who take them from `port`. One who has failed meanwhile takes nothing: what is finished is
    /// stored all the same.
    pub(super) fn send(&self, port: &str, records: Vec<Record>) {
        let Some(senders) = self.streams.get(port).filter(|_| !records.is_empty()) else { return };
        let mut records = records;
        while !records.is_empty() {
            let rest = if records.len() > BATCH { records.split_off(BATCH) } else { Vec::new() };
            let batch = Arc::new(std::mem::replace(&mut records, rest));
            for sender in senders {
                let _ = sender.send(Packet::Batch(batch.clone()));
            }
        }
    }

    /// Sends a model to all who take it from `port`.
    pub(super) fn send_model(&self, port: &str, model: &Arc<Model>) {
        for sender in self.models.get(port).into_iter().flatten() {
            let _ = sender.send(model.clone());
        }
    }

    /// Ends all record streams as they should end.
    pub(super) fn end(&self) {
        for sender in self.streams.values().flatten() {
            let _ = sender.send(Packet::End);
        }
    }
}
