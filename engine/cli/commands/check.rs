//! `ruminate check`: reads and checks a graph, and touches nothing.

use std::io::Write;

use ruminate_flow::graph::Graph;

use crate::arguments::CheckArguments;
use crate::failure::Failure;
use crate::format::plural;
use crate::registry::registry;
use crate::terminal;

/// Prints `GRAPH: ok, N nodes`.
///
/// # Errors
/// Everything that is wrong with the graph, at once.
pub(crate) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let path = &arguments.graph.graph;
    let graph = Graph::load(path, &arguments.graph.overrides, &registry(), None)?;
    let nodes = plural(graph.nodes.len() as u64, "node");
    writeln!(terminal::stdout(), "{}: {}, {nodes}", path.display(), terminal::paint(terminal::GOOD, "ok"))?;
    Ok(())
}
