//! `ruminate plan`: what a run would compute, for how many records, why, and what it took last time.

use std::io::Write;

use ruminate_flow::plan::{self, NodePlan, PlanOptions, State};
use serde_json::json;

use crate::arguments::PlanArguments;
use crate::failure::Failure;
use crate::format::{NOTHING, count, duration, plural};
use crate::project::Project;
use crate::tables::{Align, Table};
use crate::terminal;

/// Prints the plan, in the order of the graph file.
///
/// # Errors
/// A wrong graph or node, a store that cannot be read.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let options = PlanOptions { to: project.find_nodes(&arguments.to)?, from: project.find_nodes(&arguments.from)? };
    let mut nodes = plan::plan(&project.graph, &project.store, &options)?;
    nodes.sort_by_key(|node| node.node);
    let mut out = terminal::stdout();
    if arguments.json {
        writeln!(out, "{:#}", as_json(&project, &nodes))?;
    } else {
        write!(out, "{}", as_table(&project, &nodes).render(terminal::columns_of_stdout()))?;
        writeln!(out, "\n{}", totals(&nodes))?;
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
                "cached": plan.cached, "why": plan.why, "seconds_last": plan.seconds_last, "dropped": plan.dropped,
                "digests": plan.digests,
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

/// `13 nodes: 9 hit, 3 run, 1 waits; about 14 min 02 s by last time`.
fn totals(nodes: &[NodePlan]) -> String {
    let states = [State::Hit, State::Run, State::Partial, State::Waits];
    let counts = states.map(|state| (state, nodes.iter().filter(|plan| plan.state == state).count() as u64));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(state, number)| format!("{} {}", count(number), state_name(state)))
        .collect();
    let mut text = format!("{}: {}", plural(nodes.len() as u64, "node"), counts.join(", "));
    let work: Vec<Option<f64>> = nodes.iter().filter(|plan| plan.state != State::Hit).map(seconds_left).collect();
    let known: Vec<f64> = work.iter().copied().flatten().collect();
    if !known.is_empty() {
        text.push_str(&format!("; about {} by last time", duration(known.iter().sum())));
    }
    match (work.len() - known.len()) as u64 {
        0 => {}
        _ if known.is_empty() => text.push_str("; there is no last time to go by"),
        unknown => text.push_str(&format!(", and {} that never ran", plural(unknown, "node"))),
    }
    text
}

/// What is left to do, by the last time: of a node that is done in part, the share of its records.
fn seconds_left(plan: &NodePlan) -> Option<f64> {
    let seconds = plan.seconds_last?;
    match (plan.state, plan.records) {
        (State::Partial, Some(records)) if records > 0 => {
            Some(seconds * records.saturating_sub(plan.cached) as f64 / records as f64)
        }
        _ => Some(seconds),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ruminate_flow::graph::NodeId;

    use super::*;

    fn node(state: State, records: Option<u64>, cached: u64, seconds_last: Option<f64>) -> NodePlan {
        let (why, digests) = (String::new(), BTreeMap::new());
        NodePlan { node: NodeId(0), state, records, cached, why, seconds_last, dropped: 0, digests }
    }

    #[test]
    fn totals_name_the_states_and_the_time() {
        let hit = node(State::Hit, Some(10), 10, Some(100.0));
        let run = node(State::Run, Some(10), 0, Some(60.0));
        let quarter_left = node(State::Partial, Some(8), 6, Some(40.0));
        let waits = node(State::Waits, None, 0, None);
        let cases = [
            (vec![hit.clone()], "1 node: 1 hit"),
            (vec![hit.clone(), run.clone()], "2 nodes: 1 hit, 1 run; about 1 min 00 s by last time"),
            (vec![hit, quarter_left.clone()], "2 nodes: 1 hit, 1 partial; about 10.0 s by last time"),
            (
                vec![run, quarter_left, waits.clone()],
                "3 nodes: 1 run, 1 partial, 1 waits; about 1 min 10 s by last time, and 1 node that never ran",
            ),
            (vec![waits], "1 node: 1 waits; there is no last time to go by"),
        ];
        for (nodes, text) in cases {
            assert_eq!(totals(&nodes), text);
        }
    }
}
