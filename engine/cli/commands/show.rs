//! `ruminate show`: what a node has given, for people or as JSON lines.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ruminate_flow::model::Model;
use ruminate_flow::plan::{self, NodeOutput};
use ruminate_flow::record::{Record, Schema, Value};
use ruminate_flow::stage::PortKind;
use serde_json::{Map, Value as Json, json};

use crate::arguments::ShowArguments;
use crate::failure::Failure;
use crate::format::{bytes, plural, printable};
use crate::project::{Output, Project, run_command};
use crate::tables::{Align, Table};
use crate::terminal::{self, QUIET, STRONG, paint};

/// Records shown to people where `--limit` says nothing.
const RECORDS_DEFAULT: usize = 10;
/// Lines of a text shown to people; JSON has all of it.
const LINES_MAX: usize = 8;

/// Prints records, dropped records or the files of a model.
///
/// # Errors
/// Unknown node or port; nothing in the store yet.
pub(crate) fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.project)?;
    let output = project.find_output(&arguments.node)?;
    let node = project.node(output.node);
    let missing = || {
        let command = run_command(&arguments.project, &node.name);
        Failure::Failed(format!("`{}` has not been computed yet; run `{command}`", node.name))
    };
    let found = plan::outputs(&project.graph, &project.store, output.node)?.ok_or_else(missing)?;
    if arguments.dropped {
        let drops = found.drops.iter().map(|drop| (&drop.record, Some(drop.reason.as_str()))).collect();
        show_records(drops, &Schema::default(), "dropped record", arguments)?;
    } else {
        show_output(&found, output, &node.stage.schemas, arguments)?.ok_or_else(missing)?;
    }
    if !found.complete {
        let command = run_command(&arguments.project, &node.name);
        terminal::say(&format!("`{}` is not complete yet; run `{command}`", node.name));
    }
    Ok(())
}

/// `None` if the store does not hold this output.
fn show_output(
    found: &NodeOutput,
    output: Output,
    schemas: &BTreeMap<&'static str, Schema>,
    arguments: &ShowArguments,
) -> Result<Option<()>, Failure> {
    match output.kind {
        PortKind::Records => {
            let Some(records) = found.records.get(output.port) else { return Ok(None) };
            let schema = schemas.get(output.port).cloned().unwrap_or_default();
            show_records(records.iter().map(|record| (record, None)).collect(), &schema, "record", arguments)?;
        }
        PortKind::Model => {
            let Some(model) = found.models.get(output.port) else { return Ok(None) };
            show_model(model, arguments.json)?;
        }
    }
    Ok(Some(()))
}

fn show_records(
    records: Vec<(&Record, Option<&str>)>,
    schema: &Schema,
    noun: &str,
    arguments: &ShowArguments,
) -> Result<(), Failure> {
    let total = records.len();
    let limit = arguments.limit.unwrap_or(if arguments.json { usize::MAX } else { RECORDS_DEFAULT });
    let mut out = io::BufWriter::new(terminal::stdout());
    for (record, reason) in records.into_iter().take(limit) {
        if arguments.json {
            serde_json::to_writer(&mut out, &as_json(record, reason)).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            write!(out, "{}", as_text(record, reason, schema, terminal::text_width()))?;
        }
    }
    out.flush()?;
    if !arguments.json {
        let all = plural(total as u64, noun);
        let said = if total > limit { format!("{limit} of {all}; see more with --limit N") } else { all };
        terminal::say(&paint(QUIET, said));
    }
    Ok(())
}

/// `{"id": ..., FIELD: ..., ...}`; a dropped record has `reason` too.
fn as_json(record: &Record, reason: Option<&str>) -> Json {
    let mut object = Map::from_iter([("id".to_owned(), Json::from(&*record.id))]);
    object.extend(record.fields.iter().map(|(name, value)| (name.to_string(), value.to_json())));
    if let Some(reason) = reason {
        object.insert("reason".to_owned(), Json::from(reason));
    }
    Json::Object(object)
}

/// The id, then a line per field; long texts wrapped and cut.
fn as_text(record: &Record, reason: Option<&str>, schema: &Schema, columns: usize) -> String {
    let mut text = format!("{}\n", paint(STRONG, printable(&record.id)));
    if let Some(reason) = reason {
        text.push_str(&format!("  {} {}\n", paint(terminal::CAUTION, "dropped:"), printable(reason).trim_end()));
    }
    // In the order of the schema; fields that it does not know follow by name.
    let mut fields: Vec<_> = record.fields.iter().collect();
    fields.sort_by_key(|(name, _)| schema.get_index_of(&***name).unwrap_or(usize::MAX));
    let width = fields.iter().map(|(name, _)| console::measure_text_width(name)).max().unwrap_or(0);
    for (name, value) in fields {
        let name = console::pad_str(name, width, console::Alignment::Left, None);
        let lines = value_lines(value, columns.saturating_sub(width + 4).max(20));
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { paint(QUIET, &name) } else { " ".repeat(width) };
            text.push_str(format!("  {label}  {line}").trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn value_lines(value: &Value, width: usize) -> Vec<String> {
    let text = match value {
        Value::Text(text) => printable(text),
        Value::Blob(blob) => {
            return vec![format!("{}, {}, {}", blob.media_type, bytes(blob.bytes), paint(QUIET, blob.digest.short()))];
        }
        other => printable(&other.to_json().to_string()),
    };
    let mut lines: Vec<String> =
        textwrap::wrap(text.trim_end(), width).into_iter().map(|line| line.into_owned()).collect();
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX - 1);
        lines.push(paint(QUIET, format!("… {}", plural(text.chars().count() as u64, "character"))));
    }
    lines
}

fn show_model(model: &Model, json: bool) -> Result<(), Failure> {
    let sizes = model.files.iter().map(|(name, path)| Ok((name.as_str(), size_of(path)?)));
    let files = sizes.collect::<Result<Vec<(&str, u64)>, Failure>>()?;
    let mut out = terminal::stdout();
    if json {
        let files: Vec<_> = files.iter().map(|(name, size)| json!({"name": name, "bytes": size})).collect();
        writeln!(
            out,
            "{}",
            json!({
                "digest": model.digest, "summary": model.traits.summary, "vision": model.traits.vision,
                "init_seed": model.init_seed, "files": files,
            })
        )?;
        return Ok(());
    }
    writeln!(out, "{}  {}", paint(STRONG, &model.traits.summary), paint(QUIET, model.digest))?;
    let mut table = Table::new(&[("file", Align::Left), ("size", Align::Right)]);
    files.iter().for_each(|(name, size)| table.row([(*name).to_owned(), bytes(*size)]));
    write!(out, "{}", table.render(None))?;
    Ok(())
}

fn size_of(path: &Path) -> Result<u64, Failure> {
    let describe =
        |error: io::Error| Failure::Failed(format!("cannot read `{}`: {error}", PathBuf::from(path).display()));
    Ok(std::fs::metadata(path).map_err(describe)?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let fields = [("question", Value::text("How many\nred balls?")), ("answer", Value::Int(3))];
        Record { id: "p1".into(), fields: fields.into_iter().map(|(name, value)| (name.into(), value)).collect() }
    }

    #[test]
    fn record_reads_in_the_order_of_the_schema() {
        let schema: Schema =
            ["question", "answer"].map(|name| (name.to_owned(), ruminate_flow::record::FieldKind::Text)).into();
        let text = as_text(&record(), None, &schema, 60);
        let plain = console::strip_ansi_codes(&text);
        assert_eq!(plain, "p1\n  question  How many\n            red balls?\n  answer    3\n\n");
    }

    #[test]
    fn long_text_is_cut_for_people_only() {
        let lines = value_lines(&Value::text("word ".repeat(500)), 40);
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines.last().is_some_and(|line| line.contains("2,500 characters")), "{lines:?}");
        assert_eq!(
            as_json(&record(), Some("why")).to_string(),
            r#"{"id":"p1","answer":3,"question":"How many\nred balls?","reason":"why"}"#
        );
    }
}
