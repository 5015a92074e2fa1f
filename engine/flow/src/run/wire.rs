//! The channels between nodes: bounded, carrying batches. A stream that closes without an end was cut off above.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use crate::graph::{Edge, Graph, NodeId};
use crate::model::Model;
use crate::record::Record;
use crate::resolve::Role;
use crate::store::StreamId;

/// Records in a batch on a channel.
pub(super) const BATCH: usize = 256;
/// Batches that a channel holds before its sender waits.
const BOUND: usize = 4;

/// What a record channel carries.
#[derive(Clone)]
pub(super) enum Packet {
    Batch(Arc<Vec<Record>>),
    /// The end, with the stream's identity; `None`: only a part of it could be given.
    End(Option<StreamId>),
}

/// What arrives at a node.
pub(super) enum Arrival {
    Batch(&'static str, Arc<Vec<Record>>),
    /// A stream ended as it should.
    End(&'static str, Option<StreamId>),
    /// A model; `None`: it is not made yet, and this is not the run that makes it.
    Model(&'static str, Option<Arc<Model>>),
    /// A stream was cut off: a node above failed or was interrupted.
    CutOff,
}

/// A node's inputs that are still open.
#[derive(Default)]
pub(super) struct Inlets {
    streams: Vec<(&'static str, Receiver<Packet>)>,
    models: Vec<(&'static str, Receiver<Option<Arc<Model>>>)>,
}

/// A node's outputs.
#[derive(Default)]
pub(super) struct Outlets {
    streams: BTreeMap<&'static str, Vec<Sender<Packet>>>,
    models: BTreeMap<&'static str, Vec<Sender<Option<Arc<Model>>>>>,
}

/// Makes the channels into all nodes that work; by node.
pub(super) fn connect(graph: &Graph, roles: &[Role]) -> Vec<(Inlets, Outlets)> {
    let mut wires: Vec<(Inlets, Outlets)> = graph.nodes.iter().map(|_| Default::default()).collect();
    for (consumer, node) in graph.nodes.iter().enumerate().filter(|(index, _)| roles[*index] == Role::Work) {
        for (input, edge) in &node.inputs {
            let Edge::Node { node: NodeId(maker), port } = edge else { continue };
            if carries_model(graph, edge) {
                // A model that is known is given without a channel.
                if roles[*maker] == Role::Work {
                    let (sender, receiver) = bounded(1);
                    wires[consumer].0.models.push((input, receiver));
                    wires[*maker].1.models.entry(port).or_default().push(sender);
                }
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

    /// Whether nothing has arrived yet that could be taken at once.
    pub(super) fn idle(&self) -> bool {
        self.streams.iter().all(|(_, stream)| stream.is_empty())
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
            let port = *port;
            return Some(match ready.recv(stream) {
                Ok(Packet::Batch(batch)) => Arrival::Batch(port, batch),
                Ok(Packet::End(identity)) => {
                    self.streams.remove(index);
                    Arrival::End(port, identity)
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
    /// Whether anyone takes records from `port`.
    pub(super) fn taken(&self, port: &str) -> bool {
        self.streams.contains_key(port)
    }

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
    pub(super) fn send_model(&self, port: &str, model: Option<&Arc<Model>>) {
        for sender in self.models.get(port).into_iter().flatten() {
            let _ = sender.send(model.cloned());
        }
    }

    /// Ends all record streams, each with its identity, and says of models that did not come that they do not.
    pub(super) fn end(&self, identities: &BTreeMap<&'static str, StreamId>) {
        for (port, senders) in &self.streams {
            for sender in senders {
                let _ = sender.send(Packet::End(identities.get(port).copied()));
            }
        }
        for sender in self.models.values().flatten() {
            // A model that was sent fills the channel: then this is refused, as it should be.
            let _ = sender.try_send(None);
        }
    }
}
