//! `ruminate trace`: a record walked back to its source, as a tree for people or as nested JSON.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ruminate_flow::diagnostic::list;
use ruminate_flow::stage::PortKind;
use ruminate_flow::trace::{self, Subject, Trace, TraceError, TraceOptions, TracedModel, TracedRecord};
use serde_json::Value as Json;

use crate::arguments::TraceArguments;
use crate::commands::show::value_lines;
use crate::failure::Failure;
use crate::format::{count, plural, printable};
use crate::project::{Project, command, run_command};
use crate::terminal::{self, CAUTION, QUIET, STRONG, paint};

/// Lines of a field's value; `show` has more of it, JSON all.
const LINES_MAX: usize = 3;
/// Ids of a batch that are listed to people.
const IDS_MAX: usize = 6;
/// However deep the tree, a line gets this many columns.
const COLUMNS_MIN: usize = 40;

/// Prints where a record or a node's model comes from.
///
/// # Errors
/// Unknown node or id; nothing in the store yet.
pub(crate) fn trace(arguments: &TraceArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let options = options(&project, arguments)?;
    let found = trace::trace(&project.graph, &project.store, &options);
    for note in project.store.take_notes() {
        tracing::warn!("{note}");
    }
    let found = found.map_err(|error| explain(&project, arguments, &options, error))?;
    let mut out = terminal::stdout();
    if arguments.json {
        let json = serde_json::to_string_pretty(&found).map_err(std::io::Error::from)?;
        writeln!(out, "{json}")?;
    } else {
        let mut text = String::new();
        Tree { text: &mut text, columns: terminal::text_width(), told: HashSet::new() }.draw(&found, "", "");
        write!(out, "{text}")?;
    }
    Ok(())
}

/// The node and port that are meant: a bare name is all its records, or with no id its model.
fn options(project: &Project, arguments: &TraceArguments) -> Result<TraceOptions, Failure> {
    let (node, port) = match project.graph.node(&arguments.node) {
        Some(node) => (node, None),
        None => {
            let output = project.find_output(&arguments.node)?;
            (output.node, Some(output.port))
        }
    };
    let found = project.node(node);
    let name = &found.name;
    if arguments.id.is_some() && found.stage.schemas.is_empty() {
        let inputs: Vec<_> = found.inputs.values().map(|edge| project.edge_name(edge)).collect();
        let inputs = list(inputs.iter().map(String::as_str));
        let gives = if found.stage.models.is_empty() { "gives no records" } else { "gives no records, only a model" };
        return Err(Failure::Input(format!("`{name}` {gives}; trace a record of what it takes: {inputs}")));
    }
    if arguments.id.is_none() && found.stage.models.is_empty() {
        let show = command(&arguments.project, "show", &[name]);
        return Err(Failure::Input(format!(
            "`{name}` gives records: name the one to trace by its id; `{show}` lists them"
        )));
    }
    Ok(TraceOptions {
        node,
        port,
        id: arguments.id.clone(),
        depth: arguments.depth.unwrap_or(usize::MAX),
        limit: arguments.limit,
    })
}

/// What to say where there is nothing to trace.
fn explain(project: &Project, arguments: &TraceArguments, options: &TraceOptions, error: TraceError) -> Failure {
    let name = &project.node(options.node).name;
    let run = run_command(&arguments.project, name);
    let id = arguments.id.as_deref().unwrap_or_default();
    match error {
        TraceError::Store(error) => error.into(),
        TraceError::NoModel => Failure::Failed(format!("`{name}` has not given its model yet; run `{run}`")),
        TraceError::Unknown { dropped: Some((above, dropped, reason)), .. } => {
            let above = &project.node(above).name;
            let trace = command(&arguments.project, "trace", &[above, &dropped]);
            let reason = printable(&reason);
            Failure::Input(format!(
                "`{id}` does not reach `{name}`: `{above}` dropped `{dropped}`: {}\nsee it with `{trace}`",
                reason.trim_end()
            ))
        }
        TraceError::Unknown { nearest, complete, .. } => {
            let mut text = format!("`{name}` has no record `{id}`");
            if !nearest.is_empty() {
                let names: Vec<_> = nearest.iter().map(|id| format!("`{id}`")).collect();
                text.push_str(&format!("; did you mean {}?", either(&names)));
            }
            if !complete {
                return Failure::Failed(format!("{text}\n`{name}` is not complete yet; run `{run}`"));
            }
            // A node's bare name is its first output, which may be a model.
            let ports = project.outputs_of(options.node);
            let records = ports.iter().find(|port| port.kind == PortKind::Records);
            let output = match (options.port.or(records.map(|port| port.name)), ports.first()) {
                (Some(port), Some(first)) if port != first.name => format!("{name}.{port}"),
                _ => name.to_string(),
            };
            let show = command(&arguments.project, "show", &[&output]);
            Failure::Input(format!("{text}\n`{show} --json` lists all of them, with --dropped what it left out"))
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn either(names: &[String]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// A tree in the making.
struct Tree<'a> {
    text: &'a mut String,
    columns: usize,
    /// Nodes whose settings stand in the tree already: they are the same for all their records.
    told: HashSet<Arc<str>>,
}

impl Tree<'_> {
    /// Draws one trace and all below it. `first` stands before its first line, `rest` before the others.
    fn draw(&mut self, trace: &Trace, first: &str, rest: &str) {
        let mut notes = Vec::new();
        if trace.more_inputs > 0 {
            let more = if trace.inputs.is_empty() { "" } else { "more " };
            let records = plural(trace.more_inputs, &format!("{more}record"));
            notes.push(paint(QUIET, format!("… {records}; --limit N shows more")));
        }
        if trace.cut {
            notes.push(paint(QUIET, "… further back with a larger --depth"));
        }
        let children = trace.inputs.len() + trace.models.len() + notes.len();
        let trunk = if children > 0 { "│  " } else { "   " };
        let width = self.columns.saturating_sub(console::measure_text_width(rest) + 3).max(COLUMNS_MIN);
        self.text.push_str(&format!("{}{}\n", paint(QUIET, first), headline(trace)));
        let mut lines = details(trace, width);
        if !trace.repeated && self.told.insert(trace.node.clone()) {
            lines.extend(settings(trace, width));
        }
        for line in lines {
            let prefix = paint(QUIET, format!("{rest}{trunk}"));
            self.text.push_str(&format!("{prefix}{line}\n"));
        }
        let branch = |index: usize| if index + 1 == children { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        for (index, child) in trace.inputs.iter().chain(&trace.models).enumerate() {
            let (head, tail) = branch(index);
            self.draw(child, &format!("{rest}{head}"), &format!("{rest}{tail}"));
        }
        for (index, note) in notes.iter().enumerate() {
            let (head, _) = branch(children - notes.len() + index);
            self.text.push_str(&format!("{}{note}\n", paint(QUIET, format!("{rest}{head}"))));
        }
    }
}

/// `record p1/0 of `traces`  reasoning-sample  graphs/smoke.toml:35:1  key 9c1d2e3f4a5b`.
fn headline(trace: &Trace) -> String {
    let mut parts = Vec::new();
    // A model at rest has no node and no kind.
    parts.extend(trace.at.iter().flat_map(|at| [trace.kind.clone(), at.clone()]));
    parts.extend(trace.key.map(|key| format!("key {}", key.short())));
    let about = if parts.is_empty() { String::new() } else { format!("  {}", paint(QUIET, parts.join("  "))) };
    match &trace.subject {
        Subject::Record(record) => {
            let id = paint(STRONG, printable(&record.id));
            format!("{id}  of {}{about}", paint(STRONG, &trace.node))
        }
        Subject::Model(_) => format!("model {}{about}", paint(STRONG, &trace.node)),
    }
}

/// The lines below the headline.
fn details(trace: &Trace, width: usize) -> Vec<String> {
    if trace.repeated {
        return vec![paint(QUIET, "stands in full elsewhere in this tree")];
    }
    match &trace.subject {
        Subject::Record(record) => record_lines(trace, record, width),
        Subject::Model(model) => model_lines(trace, model, width),
    }
}

/// The settings that decided the node's results.
fn settings(trace: &Trace, width: usize) -> Vec<String> {
    let identity = match &trace.identity {
        // What stands among the options is not said twice.
        Json::Object(values) => {
            let new = |(name, value): &(&String, &Json)| !value.is_object() && !trace.options.contains_key(*name);
            values.iter().filter(new).collect()
        }
        _ => Vec::new(),
    };
    let options = trace.options.iter().chain(identity).filter(|(_, value)| !is_nothing(value));
    let settings: Vec<_> = options.map(|(name, value)| format!("{name}\u{a0}=\u{a0}{}", setting(value))).collect();
    let lines = wrapped(&settings.join("  "), width, "").into_iter().filter(|line| !line.is_empty());
    lines.map(|line| paint(QUIET, line.replace('\u{a0}', " "))).collect()
}

/// The lines of a text, broken at blanks only: names and ids have hyphens.
fn wrapped(text: &str, width: usize, indent: &str) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .subsequent_indent(indent)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(|line| line.into_owned()).collect()
}

fn record_lines(trace: &Trace, record: &TracedRecord, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(reason) = &record.dropped {
        lines.push(format!("{} {}", paint(CAUTION, "dropped:"), printable(reason).trim_end().replace('\n', " ")));
    }
    lines.extend(file_lines(trace, record.row));
    let names = record.wrote.keys().map(|name| console::measure_text_width(name)).max().unwrap_or(0);
    for (name, value) in &record.wrote {
        let name = console::pad_str(name, names, console::Alignment::Left, None);
        let values = value_lines(value, width.saturating_sub(names + 2).max(20), LINES_MAX);
        for (index, line) in values.iter().enumerate() {
            let label = if index == 0 { paint(QUIET, &name) } else { " ".repeat(names) };
            lines.push(format!("{label}  {line}"));
        }
    }
    lines
}

/// The files, with the row of a record of a source.
fn file_lines(trace: &Trace, row: Option<u64>) -> Vec<String> {
    let row = row.map(|row| match trace.files.len() {
        0 | 1 => format!("row {}", count(row)),
        files => format!("row {} of all {files} files", count(row)),
    });
    const FILES_MAX: usize = 4;
    let mut lines = Vec::new();
    for (index, file) in trace.files.iter().take(FILES_MAX).enumerate() {
        let row = row.as_deref().filter(|_| index == 0).map_or(String::new(), |row| format!("  {row}"));
        lines.push(format!("{}{row}  {}", tidy(&file.path), paint(QUIET, file.digest.short())));
    }
    if trace.files.len() > FILES_MAX {
        lines.push(paint(QUIET, format!("… {} more files", trace.files.len() - FILES_MAX)));
    }
    if lines.is_empty() { row.into_iter().collect() } else { lines }
}

fn model_lines(trace: &Trace, model: &TracedModel, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let digest = paint(QUIET, model.digest.short());
    let what = if trace.at.is_some() { "checkpoint" } else { "files" };
    lines.push(format!("{what} {digest}  {}", model.summary));
    lines.extend(trace.files.iter().map(|file| tidy(&file.path)));
    let Some(training) = &model.training else { return lines };
    let steps = plural(training.steps, "step");
    lines.push(match training.records_in {
        Some(records) => format!(
            "trained in {steps} on {}, {}",
            plural(records, "record"),
            if training.records == 1 { "used once".to_owned() } else { format!("{} uses", count(training.records)) }
        ),
        None => format!("trained in {steps} on {}", plural(training.records, "record")),
    });
    for batch in &training.batches {
        let mut ids: Vec<_> = batch.records.iter().take(IDS_MAX).map(|id| printable(id)).collect();
        if batch.records.len() > IDS_MAX {
            ids.push(format!("… {} in all", count(batch.records.len() as u64)));
        }
        let short: String = batch.batch.chars().take(12).collect();
        let line = format!("{}  batch {short}  {}", printable(&batch.id), ids.join(", "));
        lines.extend(wrapped(&line, width, "  "));
    }
    let more = training.steps.saturating_sub(training.batches.len() as u64);
    if more > 0 {
        lines.push(paint(
            QUIET,
            format!("… {} more; `trace GRAPH {} STEP` shows one", plural(more, "step"), trace.node),
        ));
    }
    lines
}

/// Whether a setting says nothing: none, or an empty list or table.
fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(values) => values.is_empty(),
        Json::Object(values) => values.is_empty(),
        _ => false,
    }
}

/// A path as it is found from here, without the detour over the graph's folder.
fn tidy(path: &Path) -> String {
    let whole = path.canonicalize().ok();
    let here = std::env::current_dir().and_then(|folder| folder.canonicalize()).ok();
    match (&whole, &here) {
        (Some(whole), Some(here)) => whole.strip_prefix(here).unwrap_or(whole).display().to_string(),
        _ => path.display().to_string(),
    }
}

/// A setting in a line of settings: long texts are cut.
fn setting(value: &Json) -> String {
    const LONGEST: usize = 60;
    let text = printable(&value.to_string());
    console::truncate_str(&text, LONGEST, "…").into_owned()
}
