//! Resolving: which nodes are hits, told from digests alone. A memo says what came of a key and of input streams with given
//! identities; if the files that it rests on are there, no record has to be read. Decides too which nodes must work.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::{Digest, DigestBuilder};
use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId};
use crate::key::NodeKey;
use crate::model::Model;
use crate::plan::lookup::{inputs_of, stored_model};
use crate::stage::Work;
use crate::store::{History, Memo, Store, StreamId};

/// A node whose outputs are known without work.
pub(crate) struct Resolved {
    /// What is remembered of it.
    pub(crate) memo: Memo,
    /// The models that it gives.
    pub(crate) models: BTreeMap<&'static str, Arc<Model>>,
}

/// What a node does in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It takes no part.
    Absent,
    /// It is a hit, and nobody asks for its records.
    Known,
    /// It is a hit, and its records are read from the store.
    Replay,
    /// It takes its inputs and does its work, which may be to find all of it in the store.
    Work,
}

/// Which of the `needed` nodes are known; none of those that are `fresh`.
pub(crate) fn resolve(
    graph: &Graph,
    store: &Store,
    history: &History,
    needed: &[bool],
    fresh: &[bool],
) -> Result<Vec<Option<Resolved>>, StageError> {
    let mut resolved: Vec<Option<Resolved>> = graph.nodes.iter().map(|_| None).collect();
    for id in graph.order.iter().filter(|id| needed[id.0] && !fresh[id.0]) {
        let node = &graph.nodes[id.0];
        let Some(models) = known_models(graph, node, &resolved) else { continue };
        let Some(identities) = identities(node, &resolved) else { continue };
        let digests = models.iter().map(|(port, model)| (*port, model.digest)).collect();
        let address = address(&NodeKey::of(graph, node, &digests), &identities);
        let Some(memo) = history.memos.get(&address) else { continue };
        resolved[id.0] = whole(store, node, memo)?;
    }
    Ok(resolved)
}

/// The models on a node's inputs; `None` if one of them is not known.
fn known_models(
    graph: &Graph,
    node: &Node,
    resolved: &[Option<Resolved>],
) -> Option<BTreeMap<&'static str, Arc<Model>>> {
    let mut models = BTreeMap::new();
    for (port, edge) in &node.inputs {
        match edge {
            Edge::Model(name) => _ = models.insert(*port, graph.models.get(name)?.clone()),
            Edge::Node { node, port: output } if graph.nodes[node.0].stage.models.contains_key(output) => {
                models.insert(*port, resolved[node.0].as_ref()?.models.get(output)?.clone());
            }
            Edge::Node { .. } => {}
        }
    }
    Some(models)
}

/// The identities of a node's record inputs; `None` if one of them is not known.
fn identities(node: &Node, resolved: &[Option<Resolved>]) -> Option<BTreeMap<&'static str, StreamId>> {
    let mut identities = BTreeMap::new();
    for (port, edge) in &node.inputs {
        let Edge::Node { node, port: output } = edge else { continue };
        let known = resolved[node.0].as_ref()?;
        if let Some(stream) = known.memo.outputs.get(*output) {
            identities.insert(*port, *stream);
        } else if !known.models.contains_key(output) {
            return None;
        }
    }
    Some(identities)
}

/// Where a memo stands: the node's key before its records are known, and the identities of its record inputs.
pub(crate) fn address(key: &NodeKey, identities: &BTreeMap<&'static str, StreamId>) -> Digest {
    let mut address = DigestBuilder::default();
    address.part(key.digest().bytes());
    for (port, stream) in identities {
        address.part(port.as_bytes()).part(stream.digest.bytes());
    }
    address.finish()
}

/// The memo with its models, if all that it rests on is there.
fn whole(store: &Store, node: &Node, memo: &Memo) -> Result<Option<Resolved>, StageError> {
    let mut all = true;
    // Every file is looked at, so that all damage is noted at once.
    for file in &memo.files {
        all &= store.verified(file)?;
    }
    if let Some((path, digest)) = &memo.written {
        let Work::Sink(sink) = &node.stage.work else { return Ok(None) };
        all &= sink.path() == path && path.exists() && store.file_digest(path)? == *digest;
    }
    let mut models = BTreeMap::new();
    for port in node.stage.models.keys() {
        let Some(files) = memo.models.get(*port) else { return Ok(None) };
        match stored_model(store, node, port, files)? {
            Some(model) => _ = models.insert(*port, model),
            None => all = false,
        }
    }
    Ok(all.then(|| Resolved { memo: memo.clone(), models }))
}

/// What each node does, if the records of `wanted` are asked for and all that is not known is worked out.
pub(crate) fn roles(graph: &Graph, resolved: &[Option<Resolved>], needed: &[bool], wanted: &[NodeId]) -> Vec<Role> {
    let role = |index: usize| match (needed[index], &resolved[index]) {
        (false, _) => Role::Absent,
        (true, Some(_)) => Role::Known,
        (true, None) => Role::Work,
    };
    let mut roles: Vec<Role> = (0..graph.nodes.len()).map(role).collect();
    for id in wanted {
        ask(graph, *id, &mut roles);
        let drops = resolved[id.0].as_ref().is_some_and(|known| !known.memo.drop_reasons.is_empty());
        if drops && roles[id.0] == Role::Replay {
            // Which records a set stage left out can only be told with its input at hand.
            roles[id.0] = Role::Work;
        }
    }
    for id in graph.order.iter().rev() {
        if roles[id.0] != Role::Work {
            continue;
        }
        for edge in graph.nodes[id.0].inputs.values() {
            if let Edge::Node { node, port } = edge
                && !graph.nodes[node.0].stage.models.contains_key(port)
            {
                ask(graph, *node, &mut roles);
            }
        }
    }
    roles
}

/// Someone asks for the records of a node.
fn ask(graph: &Graph, id: NodeId, roles: &mut [Role]) {
    if roles[id.0] == Role::Known {
        roles[id.0] = match graph.nodes[id.0].stage.work {
            Work::Source(_) | Work::Set(_) => Role::Replay,
            Work::Record(_) | Work::Stream(_) => Role::Work,
            Work::Sink(_) => Role::Known,
        };
    }
}

/// `from` and all nodes below them.
pub(crate) fn below(graph: &Graph, from: &[NodeId]) -> Vec<bool> {
    let mut below = vec![false; graph.nodes.len()];
    from.iter().for_each(|id| below[id.0] = true);
    for id in &graph.order {
        below[id.0] |= inputs_of(graph, *id).iter().any(|input| below[input.0]);
    }
    below
}
