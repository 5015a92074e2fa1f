//! `ruminate plan`: what a run would compute, for how many records, why, and what it took last time.

use std::io::Write;

use ruminate_flow::plan::{self, NodePlan, PlanOptions, State};
use serde_json::json;

use crate::arguments::PlanArguments;
use crate::failure::Failure;
use crate::format::{NOTHING, count, duration};
use crate::project::Project;
use crate::tables::{Align, Table};
use crate::terminal;

/// Prints the plan, in the order of the graph file.
///
/// # Errors
/// A wrong graph or node, a store that cannot be read.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let to = project.find_nodes(&arguments.to)?;
    let mut nodes = plan::plan(&project.graph, &project.store, &PlanOptions { to, from: Vec::new() })?;
    nodes.sort_by_key(|node| node.node);
    let mut out = terminal::stdout();
    if arguments.json {
        writeln!(out, "{:#}", as_json(&project, &nodes))?;
    } else {
        write!(out, "{}", as_table(&project, &nodes).render(terminal::columns_of_stdout()))?;
    }
    Ok(())
}

fn as_json(project: &Project, nodes: &[NodePlan]) -> serde_json::Value {
    let nodes: Vec<_> = nodes
        .iter()
        .map(|plan| {
            let node = project.node(plan.node);
            json!({
                "node": node.name, "kind": node.kind, "state": state_name(plan.state), "records": plan.records,
                "cached": plan.cached, "why": plan.why, "seconds_last": plan.seconds_last,
            })
        })
        .collect();
    json!({ "nodes": nodes })
}

fn as_table(project: &Project, nodes: &[NodePlan]) -> Table {
    let mut table = Table::new(&[
        ("node", Align::Left),
        ("kind", Align::Left),
        ("state", Align::Left),
        ("records", Align::Right),
        ("cached", Align::Right),
        ("last time", Align::Right),
        ("why", Align::Left),
    ]);
    for plan in nodes {
        let node = project.node(plan.node);
        table.row([
            node.name.to_string(),
            node.kind.to_owned(),
            terminal::paint(state_style(plan.state), state_name(plan.state)),
            plan.records.map_or(NOTHING.to_owned(), count),
            count(plan.cached),
            plan.seconds_last.map_or(NOTHING.to_owned(), duration),
            plan.why.clone(),
        ]);
    }
    table
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Hit => "hit",
        State::Run => "run",
        State::Partial => "partial",
        State::Waits => "waits",
    }
}

fn state_style(state: State) -> anstyle::Style {
    match state {
        State::Hit => terminal::GOOD,
        State::Run | State::Partial => terminal::CAUTION,
        State::Waits => terminal::QUIET,
    }
}
