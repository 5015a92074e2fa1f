//! `ruminate show`: what a node has given, for people or as JSON lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ruminate_flow::model::Model;
use ruminate_flow::plan::{self, Item, More};
use ruminate_flow::record::{Record, Schema, Value};
use ruminate_flow::stage::PortKind;
use serde_json::{Map, Value as Json, json};

use crate::arguments::ShowArguments;
use crate::failure::Failure;
use crate::format::{bytes, count, plural, printable};
use crate::project::{Output, Project, run_command};
use crate::reasons::Reasons;
use crate::tables::{Align, Table};
use crate::terminal::{self, QUIET, STRONG, paint};

/// Records shown to people where `--limit` says nothing.
const RECORDS_DEFAULT: u64 = 10;
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
    let schema = node.stage.schemas.get(output.port).cloned().unwrap_or_default();
    let mut view = View::new(arguments, output, &schema);
    let complete = plan::stream(&project.graph, &project.store, &[output.node], &mut |_, item| view.take(item))?;
    let complete = complete.get(&output.node).copied().unwrap_or(false);
    let nothing = !complete && !view.any;
    view.end()?;
    let command = run_command(&arguments.project, &node.name);
    if nothing {
        return Err(Failure::Failed(format!("`{}` has not been computed yet; run `{command}`", node.name)));
    }
    if !complete && !view.enough {
        terminal::say(&format!("`{}` is not complete yet; run `{command}`", node.name));
    }
    Ok(())
}

/// What is shown of a stream while it comes: no more of it is kept.
struct View<'a> {
    arguments: &'a ShowArguments,
    output: Output,
    schema: &'a Schema,
    out: io::BufWriter<anstream::AutoStream<io::StdoutLock<'static>>>,
    limit: u64,
    shown: u64,
    seen: u64,
    reasons: Reasons,
    /// The store has something of the node.
    any: bool,
    /// There is more than was asked for.
    enough: bool,
    failure: Option<Failure>,
}

impl<'a> View<'a> {
    fn new(arguments: &'a ShowArguments, output: Output, schema: &'a Schema) -> Self {
        let limit = arguments.limit.unwrap_or(if arguments.json { u64::MAX } else { RECORDS_DEFAULT });
        View {
            arguments,
            output,
            schema,
            out: io::BufWriter::new(terminal::stdout()),
            limit,
            shown: 0,
            seen: 0,
            reasons: Reasons::default(),
            any: false,
            enough: false,
            failure: None,
        }
    }

    fn take(&mut self, item: Item) -> More {
        self.any = true;
        let taken = match item {
            Item::Records(port, records) if port == self.output.port && !self.arguments.dropped => {
                records.iter().try_for_each(|record| self.record(record, None))
            }
            // All drops are looked at, to count them by reason.
            Item::Dropped(record, reason) if self.arguments.dropped => {
                self.reasons.add(&reason);
                self.record(&record, Some(&reason))
            }
            Item::Model(port, model) if port == self.output.port && !self.arguments.dropped => {
                self.enough = true;
                show_model(&mut self.out, &model, self.arguments.json)
            }
            _ => Ok(()),
        };
        if let Err(failure) = taken {
            self.failure = Some(failure);
            return More::Enough;
        }
        if self.enough { More::Enough } else { More::Continue }
    }

    fn record(&mut self, record: &Record, reason: Option<&str>) -> Result<(), Failure> {
        self.seen += 1;
        if self.shown >= self.limit {
            self.enough = reason.is_none();
            return Ok(());
        }
        self.shown += 1;
        if self.arguments.json {
            serde_json::to_writer(&mut self.out, &as_json(record, reason)).map_err(io::Error::from)?;
            writeln!(self.out)?;
        } else {
            let schema = if reason.is_none() { self.schema } else { &Schema::default() };
            write!(self.out, "{}", as_text(record, reason, schema, terminal::text_width()))?;
        }
        Ok(())
    }

    /// What is said once the stream has ended, on standard error.
    fn end(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        self.out.flush()?;
        if !self.any || self.output.kind == PortKind::Model && !self.arguments.dropped {
            return Ok(());
        }
        if self.arguments.dropped {
            terminal::say(self.reasons_table().trim_end());
            if self.shown < self.seen && !self.arguments.json {
                let said = format!("{} of {} shown; see more with --limit N", count(self.shown), count(self.seen));
                terminal::say(&paint(QUIET, said));
            }
        } else if !self.arguments.json {
            let said = match self.shown {
                _ if !self.enough => plural(self.seen, "record"),
                1 => "the first record; see more with --limit N".to_owned(),
                shown => format!("the first {}; see more with --limit N", plural(shown, "record")),
            };
            terminal::say(&paint(QUIET, said));
        }
        Ok(())
    }

    /// How many records were dropped for each reason, the commonest first.
    fn reasons_table(&self) -> String {
        let (reasons, others) = self.reasons.commonest();
        let mut table = Table::new(&[("dropped", Align::Right), ("reason", Align::Left)]);
        for (reason, number) in reasons {
            table.row([count(number), printable(reason).replace('\n', " ")]);
        }
        if others > 0 {
            table.row([count(others), "for other reasons".to_owned()]);
        }
        table.row([count(self.seen), "in all".to_owned()]);
        table.render(terminal::columns_of_stderr())
    }
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
        let lines = value_lines(value, columns.saturating_sub(width + 4).max(20), LINES_MAX);
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { paint(QUIET, &name) } else { " ".repeat(width) };
            text.push_str(format!("  {label}  {line}").trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

/// A value for people: wrapped to `width` columns and cut after `lines_max` lines.
pub(super) fn value_lines(value: &Value, width: usize, lines_max: usize) -> Vec<String> {
    let text = match value {
        Value::Text(text) => printable(text),
        Value::Blob(blob) => {
            return vec![format!("{}, {}, {}", blob.media_type, bytes(blob.bytes), paint(QUIET, blob.digest.short()))];
        }
        other => printable(&other.to_json().to_string()),
    };
    let mut lines: Vec<String> =
        textwrap::wrap(text.trim_end(), width).into_iter().map(|line| line.into_owned()).collect();
    if lines.len() > lines_max {
        lines.truncate(lines_max.saturating_sub(1));
        lines.push(paint(QUIET, format!("… {}", plural(text.chars().count() as u64, "character"))));
    }
    lines
}

fn show_model(out: &mut impl Write, model: &Model, json: bool) -> Result<(), Failure> {
    let sizes = model.files.iter().map(|(name, path)| Ok((name.as_str(), size_of(path)?)));
    let files = sizes.collect::<Result<Vec<(&str, u64)>, Failure>>()?;
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
        let lines = value_lines(&Value::text("word ".repeat(500)), 40, LINES_MAX);
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines.last().is_some_and(|line| line.contains("2,500 characters")), "{lines:?}");
        assert_eq!(
            as_json(&record(), Some("why")).to_string(),
            r#"{"id":"p1","answer":3,"question":"How many\nred balls?","reason":"why"}"#
        );
    }
}
