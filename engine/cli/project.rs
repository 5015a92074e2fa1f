//! A graph with its store, and what a person means by the name of a node or of one of its outputs.

use std::path::Path;

use ruminate_flow::diagnostic::{list, nearest};
use ruminate_flow::graph::{Edge, Graph, Node, NodeId};
use ruminate_flow::stage::{Port, PortKind, Registry};
use ruminate_flow::store::Store;

use crate::arguments::{GraphArguments, ProjectArguments, STORE_DEFAULT, STORE_VARIABLE};
use crate::failure::Failure;
use crate::format::shell_line;
use crate::registry::registry;

/// A checked graph and the store that holds its results.
pub(crate) struct Project {
    /// The graph.
    pub(crate) graph: Graph,
    /// The store.
    pub(crate) store: Store,
    /// The kinds by which the graph was checked.
    pub(crate) registry: Registry,
}

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// The node.
    pub(crate) node: NodeId,
    /// The output port.
    pub(crate) port: &'static str,
    /// What it gives.
    pub(crate) kind: PortKind,
}

impl Project {
    /// Opens the store, then reads and checks the graph.
    ///
    /// # Errors
    /// A store that cannot be opened; everything wrong with the graph.
    pub(crate) fn open(arguments: &ProjectArguments) -> Result<Self, Failure> {
        let GraphArguments { graph: path, overrides } = &arguments.graph;
        let registry = registry();
        let store = Store::open(&arguments.store.store)?;
        let graph = Graph::load(path, overrides, &registry, Some(&store))?;
        Ok(Self { graph, store, registry })
    }

    /// The node of this id.
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.graph.nodes[id.0]
    }

    /// The graph file as the user would type it.
    pub(crate) fn path(&self) -> &Path {
        &self.graph.path
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// There is none; offers the nearest name.
    pub(crate) fn find_node(&self, name: &str) -> Result<NodeId, Failure> {
        self.graph.node(name).ok_or_else(|| self.unknown_node(name))
    }

    /// All nodes of these names.
    ///
    /// # Errors
    /// One of them does not exist.
    pub(crate) fn find_nodes(&self, names: &[String]) -> Result<Vec<NodeId>, Failure> {
        names.iter().map(|name| self.find_node(name)).collect()
    }

    /// The output that `NODE` (the main one) or `NODE.PORT` means.
    ///
    /// # Errors
    /// Unknown node or port; offers the nearest name.
    pub(crate) fn find_output(&self, text: &str) -> Result<Output, Failure> {
        let (node, port) = match (self.graph.node(text), text.rsplit_once('.')) {
            (Some(node), _) => (node, None),
            (None, Some((name, port))) => (self.find_node(name)?, Some(port)),
            (None, None) => return Err(self.unknown_node(text)),
        };
        let ports = self.outputs_of(node);
        let found = match port {
            None => ports.first(),
            Some(wanted) => ports.iter().find(|port| port.name == wanted),
        };
        match found {
            Some(port) => Ok(Output { node, port: port.name, kind: port.kind }),
            None => Err(self.unknown_port(node, port, ports)),
        }
    }

    /// The output ports of a node, the main one first.
    pub(crate) fn outputs_of(&self, node: NodeId) -> &'static [Port] {
        self.registry.kind(self.node(node).kind).map_or(&[], |kind| kind.outputs())
    }

    /// What an edge comes from, as it is written in a graph: `node`, `node.port` or a model's name.
    pub(crate) fn edge_name(&self, edge: &Edge) -> String {
        match edge {
            Edge::Model(name) => name.clone(),
            Edge::Node { node, port } => {
                let name = &self.node(*node).name;
                let kind = self.outputs_of(*node).iter().find(|output| output.name == *port).map(|output| output.kind);
                // The first port of a kind is meant by the bare name.
                let first = self.outputs_of(*node).iter().find(|output| Some(output.kind) == kind);
                if first.is_some_and(|output| output.name == *port) {
                    name.to_string()
                } else {
                    format!("{name}.{port}")
                }
            }
        }
    }

    fn unknown_node(&self, name: &str) -> Failure {
        let names = || self.graph.nodes.iter().map(|node| &*node.name);
        let help = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its nodes are {}", list(names())),
        };
        Failure::Input(format!("there is no node `{name}` in {}; {help}", self.path().display()))
    }

    fn unknown_port(&self, node: NodeId, port: Option<&str>, ports: &[Port]) -> Failure {
        let name = &self.node(node).name;
        let outputs = list(ports.iter().map(|port| port.name));
        Failure::Input(match port {
            Some(port) => format!("node `{name}` has no output `{port}`; its outputs are {outputs}"),
            None => format!("node `{name}` has no outputs"),
        })
    }
}

/// The command that computes `node` with the same graph, changes and store; fit to be pasted into a shell.
pub(crate) fn run_command(arguments: &ProjectArguments, node: &str) -> String {
    command(arguments, "run", &["--to", node])
}

/// The command `verb` with `words` for the same graph, changes and store; fit to be pasted into a shell.
pub(crate) fn command(arguments: &ProjectArguments, verb: &str, words: &[&str]) -> String {
    let program = std::env::args_os().next().map_or("ruminate".to_owned(), |word| word.to_string_lossy().into_owned());
    let mut line = vec![program, verb.to_owned(), arguments.graph.graph.display().to_string()];
    for (key, value) in &arguments.graph.overrides {
        line.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    let store = &arguments.store.store;
    if store != Path::new(STORE_DEFAULT) && std::env::var_os(STORE_VARIABLE).is_none() {
        line.extend(["--store".to_owned(), store.display().to_string()]);
    }
    line.extend(words.iter().map(|word| (*word).to_owned()));
    shell_line(line)
}
