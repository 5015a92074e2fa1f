//! The lease on the device: nodes that compute on it take turns, so that two models are never resident at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::graph::{Graph, NodeId};
use crate::stage::Work;

/// The lease. It is held while a stage computes, never while it waits for records or sends them.
pub(super) struct Lease<'a> {
    graph: &'a Graph,
    holder: Mutex<Option<NodeId>>,
}

/// A node's turn.
pub(super) struct Turn<'a>(#[expect(dead_code, reason = "held for its drop")] Option<MutexGuard<'a, Option<NodeId>>>);

impl<'a> Lease<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        Self { graph, holder: Mutex::new(None) }
    }

    /// Waits for `node`'s turn. The node that had the one before lets go of what it holds on the device.
    pub(super) fn take(&self, node: NodeId) -> Turn<'_> {
        if !self.graph.nodes[node.0].stage.uses_device {
            return Turn(None);
        }
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = holder.filter(|before| *before != node) {
            self.release(before);
        }
        *holder = Some(node);
        Turn(Some(holder))
    }

    /// `node`'s stream ended: it lets go of what it holds.
    pub(super) fn give_back(&self, node: NodeId) {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.graph.nodes[node.0].stage.uses_device {
            drop(holder);
            self.release(node);
        } else if *holder == Some(node) {
            *holder = None;
            self.release(node);
        }
    }

    fn release(&self, node: NodeId) {
        if let Work::Record(stage) = &self.graph.nodes[node.0].stage.work {
            stage.release();
        }
    }
}
