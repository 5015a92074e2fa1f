//! `ruminate results`: every evaluation of a graph that is in the store, compared.

use std::io::{self, Write};

use ruminate_grade::Grader;

use crate::arguments::ResultsArguments;
use crate::evaluation::{self, Evaluations, Line, style_names};
use crate::failure::Failure;
use crate::format::{NOTHING, count, percent, points, probability};
use crate::project::{Project, run_command};
use crate::tables::{Align, Table};
use crate::terminal;

/// Prints the results; says which are missing.
///
/// # Errors
/// A wrong graph; no evaluation in the graph, or none with a result.
pub(crate) fn results(arguments: &ResultsArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let evaluations = evaluation::collect(&project)?;
    let command = |node: &str| run_command(&arguments.project, node);
    if evaluations.done.is_empty() {
        return Err(match evaluations.missing.first() {
            None => Failure::Input(format!("{} has no node of kind `eval`", project.path().display())),
            Some(node) => Failure::Failed(format!("no evaluation has a result yet; run `{}`", command(node))),
        });
    }
    print(&evaluations, arguments.json)?;
    for node in &evaluations.missing {
        terminal::say(&format!("`{node}` has no result yet; run `{}`", command(node)));
    }
    Ok(())
}

/// Prints those evaluations that have a result, on standard output.
///
/// # Errors
/// Standard output's.
pub(crate) fn print(evaluations: &Evaluations, json: bool) -> io::Result<()> {
    let lines = evaluation::summarise(&evaluations.done);
    let mut out = terminal::stdout();
    if json {
        return writeln!(out, "{}", serde_json::to_string_pretty(&lines)?);
    }
    if lines.is_empty() {
        return Ok(());
    }
    write!(out, "{}", accuracies(&lines).render(None))?;
    if let Some(styles) = styles(&lines) {
        write!(out, "\n{styles}")?;
    }
    Ok(())
}

fn accuracies(lines: &[Line]) -> Table {
    // Where the project's own grader judged all, nobody asks.
    let usual = Grader::default().to_string();
    let graders = lines.iter().any(|line| line.grader != usual);
    let mut columns = vec![
        ("evaluation", Align::Left),
        ("model", Align::Left),
        ("data", Align::Left),
        ("decoding", Align::Left),
        ("n", Align::Right),
        ("accuracy", Align::Right),
        ("95 % interval", Align::Right),
        ("difference", Align::Right),
        ("p", Align::Right),
        ("against", Align::Left),
    ];
    if graders {
        columns.insert(4, ("grader", Align::Left));
    }
    // What all have is no news.
    let lengths = lines.iter().any(|line| line.decoding.max_new_tokens != lines[0].decoding.max_new_tokens);
    if lengths {
        columns.insert(4, ("longest", Align::Right));
    }
    let mut table = Table::new(&columns);
    for line in lines {
        let interval = match (line.ci_low, line.ci_high) {
            (Some(low), Some(high)) => format!("{:.1} – {:.1} %", 100.0 * low, 100.0 * high),
            _ => NOTHING.to_owned(),
        };
        let baseline = line.baseline.as_deref().unwrap_or(NOTHING);
        let mut cells = vec![
            line.node.to_string(),
            line.model.clone(),
            line.data.clone(),
            line.decoding.summary(),
            count(line.n as u64),
            line.accuracy.map_or(NOTHING.to_owned(), |accuracy| terminal::paint(terminal::STRONG, percent(accuracy))),
            interval,
            line.difference.map_or(NOTHING.to_owned(), points),
            line.p.map_or(NOTHING.to_owned(), probability),
            baseline.to_owned(),
        ];
        if graders {
            cells.insert(4, line.grader.clone());
        }
        if lengths {
            cells.insert(4, line.decoding.max_new_tokens.map_or(NOTHING.to_owned(), count));
        }
        table.row(cells);
    }
    table
}

/// The share of each style (columns) in each evaluation (rows); `None` if no item has a style.
fn styles(lines: &[Line]) -> Option<String> {
    let names = style_names(lines);
    if names.is_empty() {
        return None;
    }
    let mut columns = vec![("evaluation", Align::Left)];
    columns.extend(names.iter().map(|name| (*name, Align::Right)));
    let mut table = Table::new(&columns);
    for line in lines.iter().filter(|line| !line.styles.is_empty()) {
        let shares = names.iter().map(|name| percent(line.styles.get(*name).copied().unwrap_or_default()));
        table.row(std::iter::once(line.node.to_string()).chain(shares));
    }
    Some(table.render(None))
}
