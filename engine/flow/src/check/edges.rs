//! The edges between nodes: names, ports, cycles, order. It does not know what flows along them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::nodes::NodeDraft;
use super::repeat::{Unrolled, common, mark};
use crate::diagnostic::{Diagnostic, Place, SHOWN};
use crate::document::{Content, Entry, Item, Table, Text};
use crate::graph::{Edge, NodeId};
use crate::stage::{Kind, MANY_LIMIT, Port, PortKind, many_port};

/// The most cycles that are looked for: each takes a walk over all edges.
const CYCLES_SHOWN: usize = 20;

/// Names and ports that edges may lead to.
struct Targets<'a, 'b> {
    nodes: &'b [NodeDraft<'a>],
    by_name: BTreeMap<&'b str, NodeId>,
    models: &'b Table,
    unrolled: &'b Unrolled,
}

/// Connects the inputs of every node; a node with a wrong or missing edge becomes broken.
pub(super) fn connect(nodes: &mut [NodeDraft<'_>], models: &Table, unrolled: &Unrolled, errors: &mut Vec<Diagnostic>) {
    let by_name = nodes.iter().enumerate().map(|(index, node)| (&*node.name, NodeId(index))).collect();
    let targets = Targets { nodes, by_name, models, unrolled };
    let connected: Vec<_> = nodes
        .iter()
        .map(|node| {
            let before = errors.len();
            let inputs = targets.inputs(node, errors);
            mark(&mut errors[before..], node.round);
            inputs
        })
        .collect();
    for (node, inputs) in nodes.iter_mut().zip(connected) {
        match inputs {
            Ok(inputs) => node.inputs = inputs,
            Err(inputs) => (node.inputs, node.broken) = (inputs, true),
        }
    }
}

type Inputs = BTreeMap<&'static str, Edge>;

impl<'a> Targets<'a, '_> {
    /// The edges of one node; as an error if some are missing or wrong.
    fn inputs(&self, node: &NodeDraft<'a>, errors: &mut Vec<Diagnostic>) -> Result<Inputs, Inputs> {
        let (Some(kind), Some(table)) = (node.kind, node.table) else { return Err(Inputs::new()) };
        let mut inputs = Inputs::new();
        let mut complete = true;
        for port in kind.inputs() {
            let Some(entry) = table.0.get(port.name) else {
                if port.required {
                    errors.push(missing(node, kind, port));
                    complete = false;
                }
                continue;
            };
            let items = if port.many { many(port, entry, errors) } else { Some(std::slice::from_ref(&entry.item)) };
            complete &= items.is_some();
            for (index, item) in items.unwrap_or_default().iter().enumerate() {
                let name = if port.many { many_port(index) } else { Some(port.name) };
                match name.zip(self.edge(node, port, item, errors)) {
                    Some((name, edge)) => _ = inputs.insert(name, edge),
                    None => complete = false,
                }
            }
        }
        if complete { Ok(inputs) } else { Err(inputs) }
    }

    /// Where an input comes from. `None` if that is wrong, or if its node has no known kind.
    fn edge(&self, consumer: &NodeDraft<'_>, port: &Port, item: &Item, errors: &mut Vec<Diagnostic>) -> Option<Edge> {
        let place = &item.place;
        let Content::Text(text) = &item.content else {
            if !item.is_broken() {
                let list = if port.many { "a list of names, each of" } else { "the name of" };
                let message = format!("input `{}` takes {list} {}", port.name, source_of(port.kind));
                errors.push(Diagnostic::new(place, message).label(format!("found {}", item.type_name())));
            }
            return None;
        };
        let (name, output) = match text.value.split_once('.') {
            Some((name, output)) => (name, Some(output)),
            None => (text.value.as_str(), None),
        };
        let resolved = match self.unrolled.resolve(name, &consumer.name, &self.by_name, place) {
            Ok(resolved) => resolved,
            Err(error) => {
                errors.extend(error);
                return None;
            }
        };
        let name = resolved.as_deref().unwrap_or(name);
        let found = if let Some(id) = self.by_name.get(name) {
            let node = self.nodes.get(id.0)?;
            output_of(node, node.kind?, *id, output, port, place)
        } else if let Some(model) = self.models.0.get(name) {
            model_of(name, model, output, port, place)
        } else {
            // A suggestion looks at all names: only where it is shown.
            let suggests = errors.len() < SHOWN;
            Err(self.unknown(name, text, place, suggests))
        };
        found.map_err(|error| errors.push(error)).ok()
    }

    fn unknown(&self, name: &str, text: &Text, place: &Place, suggests: bool) -> Diagnostic {
        // A name from the environment is not repeated.
        let shown = if text.value == text.written { name } else { &text.written };
        let error = Diagnostic::new(place, format!("there is no node or model `{shown}`"));
        if !suggests {
            return error;
        }
        let nodes = self.by_name.keys().copied().filter(|name| !self.unrolled.made(name));
        let names: Vec<&str> = nodes.chain(self.models.0.keys().map(String::as_str)).collect();
        error.suggest(name, "there are", names.into_iter())
    }
}

/// The names of an input that takes several; one text stands for a list of one. `None` after an error.
fn many<'e>(port: &Port, entry: &'e Entry, errors: &mut Vec<Diagnostic>) -> Option<&'e [Item]> {
    let Content::List(items) = &entry.item.content else { return Some(std::slice::from_ref(&entry.item)) };
    let found = match items.len() {
        0 => "an empty list".to_owned(),
        length if length > MANY_LIMIT => format!("{length}"),
        _ => return Some(items),
    };
    let message = format!("input `{}` takes a list of 1 to {MANY_LIMIT} names of nodes", port.name);
    let error = Diagnostic::new(&entry.item.place, message).label(format!("found {found}"));
    errors.push(if items.is_empty() { error } else { error.help("put several together in a node of their own first") });
    None
}

/// An entry of `[models]` as the source of an input.
fn model_of(name: &str, model: &Entry, output: Option<&str>, port: &Port, place: &Place) -> Result<Edge, Diagnostic> {
    if port.kind != PortKind::Model {
        let message = format!("input `{}` takes records, `{name}` is a model", port.name);
        let error = Diagnostic::new(place, message).note(&model.place(), format!("model `{name}` is here"));
        return Err(error.help(format!("name {}", source_of(port.kind))));
    }
    if let Some(output) = output {
        let message = format!("model `{name}` has no output `{output}`: an entry of `[models]` is the model itself");
        return Err(Diagnostic::new(place, message).help(format!("write `{name}`")));
    }
    Ok(Edge::Model(name.to_owned()))
}

/// A node's output as the source of an input: the named one, or the first of what the input takes.
fn output_of(
    node: &NodeDraft<'_>,
    kind: &dyn Kind,
    id: NodeId,
    output: Option<&str>,
    port: &Port,
    place: &Place,
) -> Result<Edge, Diagnostic> {
    let ports = kind.outputs();
    let note = format!("node `{}` of kind `{}` is here", node.name, kind.name());
    let found = match output {
        None => ports.iter().find(|found| found.kind == port.kind),
        Some(output) => {
            let named = ports.iter().find(|port| port.name == output);
            if named.is_none() {
                let message = format!("node `{}` of kind `{}` has no output `{output}`", node.name, kind.name());
                let error = Diagnostic::new(place, message).note(&node.place, note);
                return Err(error.suggest(output, "its outputs are", ports.iter().map(|port| port.name)));
            }
            named.filter(|named| named.kind == port.kind)
        }
    };
    if let Some(found) = found {
        return Ok(Edge::Node { node: id, port: found.name });
    }
    let given = output.map_or_else(|| format!("`{}`", node.name), |output| format!("`{}.{output}`", node.name));
    let message = format!("input `{}` takes {}, {given} gives {}", port.name, what(port.kind), gives(kind, output));
    Err(Diagnostic::new(place, message).note(&node.place, note).help(format!("name {}", source_of(port.kind))))
}

fn missing(node: &NodeDraft<'_>, kind: &dyn Kind, port: &Port) -> Diagnostic {
    let message = format!("input `{}` of node `{}` is not connected", port.name, node.name);
    let (value, source) =
        if port.many { ("[NAME, NAME]", "nodes that give records") } else { ("NAME", source_of(port.kind)) };
    let help = format!("kind `{}` takes `{} = {value}`, {source}: {}", kind.name(), port.name, port.doc);
    Diagnostic::new(&node.place, message).help(help)
}

fn what(kind: PortKind) -> &'static str {
    match kind {
        PortKind::Records => "records",
        PortKind::Model => "a model",
    }
}

fn source_of(kind: PortKind) -> &'static str {
    match kind {
        PortKind::Records => "a node that gives records",
        PortKind::Model => "a node that gives a model, or an entry of `[models]`",
    }
}

/// What a kind gives, at one output or at all.
fn gives(kind: &dyn Kind, output: Option<&str>) -> String {
    let ports = kind.outputs().iter().filter(|port| output.is_none_or(|output| output == port.name));
    let gives: Vec<&str> = ports.map(|port| what(port.kind)).collect();
    if gives.is_empty() { "nothing".to_owned() } else { gives.join(" and ") }
}

/// Reports cycles, each with its path, so that removing one edge of each leaves none.
pub(super) fn report_cycles(nodes: &[NodeDraft<'_>], errors: &mut Vec<Diagnostic>) {
    let before = errors.len();
    let mut graph: DiGraph<(), &'static str> = DiGraph::new();
    let indices: Vec<NodeIndex> = nodes.iter().map(|_| graph.add_node(())).collect();
    for (consumer, node) in nodes.iter().enumerate() {
        for (port, source) in sources(node) {
            graph.add_edge(indices[source], indices[consumer], port);
        }
    }
    loop {
        let mut components = tarjan_scc(&graph);
        components
            .retain(|members| members.len() > 1 || members.iter().any(|member| graph.contains_edge(*member, *member)));
        if components.is_empty() {
            return;
        }
        for members in components {
            if errors.len() - before == CYCLES_SHOWN {
                errors.push(Diagnostic::new(&Place::Whole, format!("there are more than {CYCLES_SHOWN} cycles")));
                return;
            }
            let Some(first) = members.iter().min() else { continue };
            let path = shortest_cycle(&graph, *first);
            let Some(closing) = path.last().and_then(|last| graph.find_edge(*last, *first)) else { return };
            let mut error = cycle(nodes, &graph, &path);
            let rounds = path.iter().map(|index| nodes.get(index.index()).and_then(|node| node.round));
            mark(std::slice::from_mut(&mut error), common(rounds));
            errors.push(error);
            graph.remove_edge(closing);
        }
    }
}

/// The nodes of a shortest cycle through `first`, in the direction of the data, `first` at the front.
fn shortest_cycle(graph: &DiGraph<(), &'static str>, first: NodeIndex) -> Vec<NodeIndex> {
    let mut reached_from: BTreeMap<NodeIndex, NodeIndex> = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        for next in graph.neighbors(node) {
            if next == first {
                let mut path = vec![node];
                while let Some(before) =
                    path.last().filter(|last| **last != first).and_then(|last| reached_from.get(last))
                {
                    path.push(*before);
                }
                path.reverse();
                return path;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = reached_from.entry(next) {
                entry.insert(node);
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

/// The error for one cycle: the edge into its first node, and the others as notes.
fn cycle(nodes: &[NodeDraft<'_>], graph: &DiGraph<(), &'static str>, path: &[NodeIndex]) -> Diagnostic {
    let name = |index: NodeIndex| nodes.get(index.index()).map_or("", |node| &*node.name);
    let names: Vec<String> = path.iter().chain(path.first()).map(|index| format!("`{}`", name(*index))).collect();
    let place = |from: NodeIndex, to: NodeIndex| {
        let node = nodes.get(to.index());
        let port = graph.find_edge(from, to).and_then(|edge| graph.edge_weight(edge)).copied().unwrap_or_default();
        node.and_then(|node| node.input_place(port)).unwrap_or(Place::Whole)
    };
    let (Some(first), Some(last)) = (path.first(), path.last()) else {
        return Diagnostic::new(&Place::Whole, "the graph has a cycle");
    };
    let mut error = Diagnostic::new(&place(*last, *first), format!("cycle: {}", names.join(" -> ")))
        .help("a node cannot depend on its own output: take one of these inputs from elsewhere");
    for pair in path.windows(2) {
        if let [from, to] = pair {
            error = error.note(&place(*from, *to), format!("`{}` feeds `{}` here", name(*from), name(*to)));
        }
    }
    error
}

/// The nodes that a node takes its inputs from, by port.
fn sources(node: &NodeDraft<'_>) -> impl Iterator<Item = (&'static str, usize)> {
    node.inputs.iter().filter_map(|(port, edge)| match edge {
        Edge::Node { node, .. } => Some((*port, node.0)),
        Edge::Model(_) => None,
    })
}

/// The nodes so that each comes after all that it depends on, otherwise in the order of the file. Nodes in or below a
/// cycle are left out.
pub(super) fn order(nodes: &[NodeDraft<'_>]) -> Vec<NodeId> {
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting: Vec<usize> = vec![0; nodes.len()];
    for (consumer, node) in nodes.iter().enumerate() {
        for (_, source) in sources(node) {
            consumers[source].push(consumer);
            waiting[consumer] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|node| waiting[*node] == 0).map(Reverse).collect();
    let mut order = Vec::new();
    while let Some(Reverse(node)) = ready.pop() {
        order.push(NodeId(node));
        for consumer in &consumers[node] {
            waiting[*consumer] -= 1;
            if waiting[*consumer] == 0 {
                ready.push(Reverse(*consumer));
            }
        }
    }
    order
}
