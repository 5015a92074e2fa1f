//! `ruminate run`: computes what is missing, shows how it goes, and ends with a table of nodes and the results.

use std::sync::Arc;
use std::thread::available_parallelism;

use ruminate_flow::event::{Cancel, Event};
use ruminate_flow::run::{self, NodeReport, NodeState, RunOptions, RunReport};

use crate::arguments::RunArguments;
use crate::commands::results;
use crate::evaluation::{self, Evaluations};
use crate::event_log::EventLog;
use crate::failure::Failure;
use crate::format::{NOTHING, count, duration, plural, printable, same_command};
use crate::interrupt::Watch;
use crate::progress::Progress;
use crate::project::Project;
use crate::registry::check_device;
use crate::tables::{Align, Table};
use crate::terminal::{self, BAD, CAUTION, GOOD, QUIET, STRONG, paint};

/// Runs a graph.
///
/// # Errors
/// A wrong graph, node or device; a failed node; an interrupt.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    check_device(&arguments.device)?;
    let watch = Watch::install()?;
    let project = Project::open(&arguments.project)?;
    let cancel = Cancel::default();
    let options = RunOptions {
        to: project.find_nodes(&arguments.to)?,
        from: project.find_nodes(&arguments.from)?,
        device: arguments.device.clone(),
        threads: arguments.threads.or_else(|| available_parallelism().ok()).map_or(1, usize::from),
        drop_events: arguments.events.is_some(),
        cancel: cancel.clone(),
    };
    let log = arguments.events.as_deref().map(EventLog::create).transpose()?.map(Arc::new);
    let progress = Arc::new(Progress::new(arguments.quiet, project.graph.nodes.iter().map(|node| &*node.name)));
    let (shown, left) = (Arc::clone(&progress), log.clone());
    let leave = move || left.iter().for_each(|log| log.flush());
    watch.begin(cancel, move |text| shown.say(text), leave);

    let on_event = |event: Event| {
        if let Some(log) = &log {
            log.event(&event);
        }
        progress.event(&event);
    };
    let report = run::run(&project.graph, &project.store, &options, &on_event);
    progress.finish();
    // The handler of signals holds the log too, so it is not dropped here.
    log.iter().for_each(|log| log.flush());
    let report = report?;

    if !arguments.quiet {
        terminal::say(&summary(&project, &report));
    }
    let printed = print_results(&project, &report, arguments);
    // What became of the run decides the exit code, even if nobody reads the results.
    verdict(&project, &report).and(printed)
}

/// The results of the evaluations that this run has brought up to date.
fn print_results(project: &Project, report: &RunReport, arguments: &RunArguments) -> Result<(), Failure> {
    let finished = |name: &str| {
        let done = |node: &&NodeReport| node.state == NodeState::Done;
        report.nodes.iter().filter(done).any(|node| &*project.node(node.node).name == name)
    };
    let mut evaluations: Evaluations = evaluation::collect(project)?;
    evaluations.done.retain(|evaluation| finished(evaluation.node()));
    Ok(results::print(&evaluations, arguments.json)?)
}

/// Success, or the failure that the report tells of, with the way to go on.
fn verdict(project: &Project, report: &RunReport) -> Result<(), Failure> {
    // What was computed again is kept: to go on, nothing needs to be forced once more.
    let command = same_command("--from");
    if report.interrupted {
        return Err(Failure::Interrupted(format!("interrupted; everything finished is kept, go on with\n  {command}")));
    }
    let failed: Vec<&NodeReport> = report.nodes.iter().filter(|node| node.state == NodeState::Failed).collect();
    let blocked = report.nodes.iter().filter(|node| node.state == NodeState::Blocked).count() as u64;
    if failed.is_empty() && blocked == 0 {
        return Ok(());
    }
    let mut text = format!("{} failed", plural(failed.len() as u64, "node"));
    if blocked > 0 {
        text.push_str(&format!(", {} below could not run", plural(blocked, "node")));
    }
    for node in failed {
        let reason = node.error.as_deref().unwrap_or("no reason given");
        text.push_str(&format!("\n  {}: {}", paint(STRONG, &project.node(node.node).name), indented(reason)));
    }
    text.push_str(&format!("\neverything finished is kept, go on with\n  {command}"));
    Err(Failure::Failed(text))
}

/// The table of nodes, and below it why records were dropped.
fn summary(project: &Project, report: &RunReport) -> String {
    let mut table = Table::new(&[
        ("node", Align::Left),
        ("state", Align::Left),
        ("in", Align::Right),
        ("out", Align::Right),
        ("cached", Align::Right),
        ("dropped", Align::Right),
        ("time", Align::Right),
    ]);
    for node in &report.nodes {
        let counts = &node.counts;
        let dropped = match counts.dropped {
            0 => "0".to_owned(),
            dropped => paint(CAUTION, count(dropped)),
        };
        let (name, style) = state_of(node);
        table.row([
            project.node(node.node).name.to_string(),
            paint(style, name),
            count(counts.records_in),
            count(counts.records_out),
            count(counts.hits),
            dropped,
            if counts.computed == 0 { NOTHING.to_owned() } else { duration(counts.seconds) },
        ]);
    }
    let mut text = if report.nodes.is_empty() { String::new() } else { format!("\n{}", table.render(None)) };
    if let Some(reasons) = drop_reasons(project, report) {
        text.push_str(&format!("\n{reasons}"));
    }
    text.push_str(&paint(QUIET, format!("\n{} in all\n", duration(report.seconds))));
    text
}

fn drop_reasons(project: &Project, report: &RunReport) -> Option<String> {
    let mut table = Table::new(&[("node", Align::Left), ("dropped", Align::Right), ("reason", Align::Left)]);
    let mut any = false;
    for node in &report.nodes {
        let mut reasons: Vec<_> = node.drop_reasons.iter().collect();
        reasons.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
        for (index, (reason, number)) in reasons.into_iter().enumerate() {
            let name = if index == 0 { project.node(node.node).name.to_string() } else { String::new() };
            table.row([name, count(*number), printable(reason).replace('\n', " ")]);
            any = true;
        }
    }
    any.then(|| table.render(terminal::columns_of_stderr()))
}

/// What to call the state that a node ended in.
fn state_of(node: &NodeReport) -> (&'static str, anstyle::Style) {
    let counts = &node.counts;
    match node.state {
        NodeState::Done if counts.computed == 0 => ("hit", GOOD),
        NodeState::Done if counts.hits > 0 => ("partial", GOOD),
        NodeState::Done => ("ran", GOOD),
        NodeState::Failed => ("failed", BAD),
        NodeState::Blocked | NodeState::Waiting => ("skipped", QUIET),
        NodeState::Interrupted | NodeState::Reading | NodeState::Computing => ("stopped", CAUTION),
    }
}

/// A text of several lines under a name.
fn indented(text: &str) -> String {
    printable(text).trim_end().replace('\n', "\n    ")
}
