//! `ruminate kinds`: what a graph's nodes can be, with their ports and options.

use std::io::Write;

use ruminate_flow::diagnostic::{list, nearest};
use ruminate_flow::graph::POLICY_KEYS;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::stage::{Kind, Port, PortKind};
use serde_json::{Value as Json, json};

use crate::arguments::KindsArguments;
use crate::failure::Failure;
use crate::registry::registry;
use crate::tables::{Align, Table};
use crate::terminal::{self, QUIET, STRONG, paint};

/// Prints all kinds, or one in full.
///
/// # Errors
/// There is no such kind; offers the nearest name.
pub(crate) fn kinds(arguments: &KindsArguments) -> Result<(), Failure> {
    let registry = registry();
    let mut out = terminal::stdout();
    let Some(name) = &arguments.kind else {
        if arguments.json {
            writeln!(out, "{:#}", Json::Array(registry.kinds().map(as_json).collect()))?;
        } else {
            let mut table = Table::new(&[("kind", Align::Left), ("what it does", Align::Left)]);
            registry.kinds().for_each(|kind| table.row([kind.name().to_owned(), kind.summary().to_owned()]));
            write!(out, "{}", table.render(Some(terminal::text_width())))?;
        }
        return Ok(());
    };
    let Some(kind) = registry.kind(name) else {
        let help = match nearest(name, registry.kinds().map(Kind::name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the kinds are {}", list(registry.kinds().map(Kind::name))),
        };
        return Err(Failure::Input(format!("there is no kind `{name}`; {help}")));
    };
    if arguments.json {
        writeln!(out, "{:#}", as_json(kind))?;
    } else {
        write!(out, "{}", as_text(kind))?;
    }
    Ok(())
}

fn as_text(kind: &dyn Kind) -> String {
    let columns = Some(terminal::text_width());
    let mut text = format!("{}  {}\n", paint(STRONG, kind.name()), kind.summary());
    for (title, ports) in [("input", kind.inputs()), ("output", kind.outputs())] {
        if ports.is_empty() {
            continue;
        }
        let mut table = Table::new(&[(title, Align::Left), ("what", Align::Left), ("", Align::Left)]);
        for port in ports {
            let doc = if port.required || title == "output" { port.doc.to_owned() } else { optional(port.doc) };
            table.row([port.name.to_owned(), port_kind(port).to_owned(), doc]);
        }
        text.extend(["\n", &table.render(columns)]);
    }
    if !kind.options().is_empty() {
        let mut table =
            Table::new(&[("option", Align::Left), ("type", Align::Left), ("default", Align::Left), ("", Align::Left)]);
        for option in kind.options() {
            let default = option.default.map_or_else(|| paint(QUIET, "required"), default_text);
            table.row([option.name.to_owned(), type_name(&option.kind), default, option.doc.to_owned()]);
        }
        text.extend(["\n", &table.render(columns)]);
    }
    let mut table = Table::new(&[("any node", Align::Left), ("type", Align::Left), ("", Align::Left)]);
    for (name, kind, doc) in POLICY_KEYS {
        table.row([name, kind, doc].map(str::to_owned));
    }
    text.extend(["\n", &table.render(columns)]);
    text
}

fn as_json(kind: &dyn Kind) -> Json {
    let port =
        |port: &Port| json!({"name": port.name, "kind": port_kind(port), "required": port.required, "doc": port.doc});
    let option = |option: &OptionSpec| {
        json!({
            "name": option.name, "type": type_name(&option.kind), "required": option.default.is_none(),
            "default": option.default.and_then(|text| serde_json::from_str::<Json>(text).ok()),
            "identity": option.identity, "doc": option.doc,
        })
    };
    let policy = |(name, kind, doc): &(&str, &str, &str)| json!({"name": name, "type": kind, "doc": doc});
    json!({
        "kind": kind.name(), "summary": kind.summary(),
        "inputs": kind.inputs().iter().map(port).collect::<Vec<_>>(),
        "outputs": kind.outputs().iter().map(port).collect::<Vec<_>>(),
        "options": kind.options().iter().map(option).collect::<Vec<_>>(),
        "any_node": POLICY_KEYS.iter().map(policy).collect::<Vec<_>>(),
    })
}

fn optional(doc: &str) -> String {
    if doc.is_empty() { "optional".to_owned() } else { format!("optional: {doc}") }
}

fn port_kind(port: &Port) -> &'static str {
    match port.kind {
        PortKind::Records => "records",
        PortKind::Model => "model",
    }
}

/// A default as it would be read in a table: `null` is none, and a long template is cut at its first line.
fn default_text(json: &str) -> String {
    const LONGEST: usize = 32;
    if json == "null" {
        return "none".to_owned();
    }
    console::truncate_str(json, LONGEST, "…").into_owned()
}

fn type_name(kind: &OptionKind) -> String {
    match kind {
        OptionKind::Bool => "boolean".to_owned(),
        OptionKind::Int { min, max } => {
            let (min, max) = ((*min != i64::MIN).then_some(min), (*max != i64::MAX).then_some(max));
            ranged("int", min.map(i64::to_string), max.map(i64::to_string))
        }
        OptionKind::Float { min, max } => {
            let bound = |value: &f64| (value.is_finite() && value.abs() < f64::MAX).then(|| value.to_string());
            ranged("float", bound(min), bound(max))
        }
        OptionKind::Text => "text".to_owned(),
        OptionKind::Template => "template".to_owned(),
        OptionKind::Choice(words) => words.join(" | "),
        OptionKind::File => "file".to_owned(),
        OptionKind::Files => "file, glob or list".to_owned(),
        OptionKind::Output => "file to write".to_owned(),
        OptionKind::TextList => "list of texts".to_owned(),
        OptionKind::Weights => "table of numbers".to_owned(),
        OptionKind::Scores => "table of weights and plugins".to_owned(),
        OptionKind::TextMap => "table of texts".to_owned(),
        OptionKind::Any => "any".to_owned(),
    }
}

fn ranged(name: &str, min: Option<String>, max: Option<String>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{name}, {min} to {max}"),
        (Some(min), None) => format!("{name}, from {min}"),
        (None, Some(max)) => format!("{name}, up to {max}"),
        (None, None) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_name_their_range() {
        assert_eq!(type_name(&OptionKind::Int { min: 1, max: i64::MAX }), "int, from 1");
        assert_eq!(type_name(&OptionKind::Float { min: 0.0, max: 1.0 }), "float, 0 to 1");
        assert_eq!(type_name(&OptionKind::Int { min: i64::MIN, max: i64::MAX }), "int");
        assert_eq!(type_name(&OptionKind::Choice(&["fail", "drop"])), "fail | drop");
    }
}
