//! The tables of `[nodes]` one by one: name, kind, keys, options. It does not look at other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::Files;
use super::policy;
use super::repeat::{Round, Unrolled, mark};
use super::values::{self, Defaults};
use crate::diagnostic::{Diagnostic, Place, list};
use crate::document::{Content, Entry, Table};
use crate::graph::{Edge, Policy};
use crate::options::Options;
use crate::stage::{Kind, Registry, many_port};

/// A node while it is checked.
pub(super) struct NodeDraft<'a> {
    pub(super) name: Arc<str>,
    /// Its round, if it is in a `[repeat]` block.
    pub(super) round: Option<&'a Round>,
    /// Where its table begins.
    pub(super) place: Place,
    /// Its keys; `None` if it is no table.
    pub(super) table: Option<&'a Table>,
    /// Its kind; `None` if that is missing or unknown.
    pub(super) kind: Option<&'a dyn Kind>,
    pub(super) options: Options,
    /// What happens when something of it fails.
    pub(super) policy: Policy,
    /// Where its inputs come from, as far as they are right.
    pub(super) inputs: BTreeMap<&'static str, Edge>,
    /// Something is wrong with it: no stage is made of it, nor of what depends on it.
    pub(super) broken: bool,
}

/// Checks every node on its own.
pub(super) fn check<'a>(
    table: &'a Table,
    unrolled: &'a Unrolled,
    registry: &'a Registry,
    files: &Files<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<NodeDraft<'a>> {
    let mut defaults = Defaults::default();
    let nodes = table.0.iter().map(|(name, entry)| {
        let before = errors.len();
        let mut draft = draft(name, entry, registry, files, &mut defaults, errors);
        draft.round = unrolled.round(name);
        mark(&mut errors[before..], draft.round);
        draft
    });
    nodes.collect()
}

impl NodeDraft<'_> {
    /// Where the input `port` is given: its entry, or for one of many its name in the list.
    pub(super) fn input_place(&self, port: &str) -> Option<Place> {
        let table = self.table?;
        if let Some(entry) = table.0.get(port) {
            return Some(entry.place());
        }
        let many = self.kind?.inputs().iter().find(|port| port.many)?;
        let entry = table.0.get(many.name)?;
        let Content::List(items) = &entry.item.content else { return Some(entry.place()) };
        let item = items.iter().enumerate().find(|(index, _)| many_port(*index) == Some(port));
        Some(item.map_or_else(|| entry.place(), |(_, item)| item.place.clone()))
    }

    /// Where an option or input port is given, or a place within an option: of `config.cut_at[1]` as much as there is.
    pub(super) fn option_place(&self, path: &str) -> Option<Place> {
        if let Some(place) = self.input_place(path) {
            return Some(place);
        }
        let mut steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
        let entry = self.table?.0.get(steps.next()?)?;
        let (mut place, mut item) = (entry.place(), &entry.item);
        for step in steps {
            match &item.content {
                Content::Table(table) => {
                    let Some(entry) = table.0.get(step) else { break };
                    (place, item) = (entry.place(), &entry.item);
                }
                Content::List(items) => {
                    let Some(inner) = step.parse().ok().and_then(|index: usize| items.get(index)) else { break };
                    (place, item) = (inner.place.clone(), inner);
                }
                _ => break,
            }
        }
        Some(place)
    }
}

fn draft<'a>(
    name: &str,
    entry: &'a Entry,
    registry: &'a Registry,
    files: &Files<'_>,
    defaults: &mut Defaults,
    errors: &mut Vec<Diagnostic>,
) -> NodeDraft<'a> {
    let mut draft = NodeDraft {
        name: Arc::from(name),
        round: None,
        place: entry.place(),
        table: None,
        kind: None,
        options: Options::default(),
        policy: Policy::default(),
        inputs: BTreeMap::new(),
        broken: true,
    };
    let Content::Table(table) = &entry.item.content else {
        if !entry.item.is_broken() {
            let message = format!("node `{name}` takes a table with `kind`, found {}", entry.item.type_name());
            errors.push(Diagnostic::new(&entry.item.place, message));
        }
        return draft;
    };
    let before = errors.len();
    draft.table = Some(table);
    draft.kind = kind(name, table, &draft.place, registry, errors);
    if let Some(kind) = draft.kind {
        unknown_keys(kind, table, errors);
        draft.options = values::check(kind, table, &draft.place, files, defaults, errors);
        draft.policy = policy::read(kind, table, errors);
    }
    draft.broken = draft.kind.is_none() || errors.len() > before || has_broken_value(table);
    draft
}

fn kind<'a>(
    name: &str,
    table: &Table,
    header: &Place,
    registry: &'a Registry,
    errors: &mut Vec<Diagnostic>,
) -> Option<&'a dyn Kind> {
    let names = || registry.kinds().map(|kind| kind.name());
    let Some(entry) = table.0.get("kind") else {
        let message = format!("node `{name}` has no `kind`");
        errors.push(Diagnostic::new(header, message).help(format!("the kinds are: {}", list(names()))));
        return None;
    };
    let Content::Text(text) = &entry.item.content else {
        if !entry.item.is_broken() {
            let error = Diagnostic::new(&entry.item.place, "`kind` takes the name of a kind");
            errors.push(error.label(format!("found {}", entry.item.type_name())));
        }
        return None;
    };
    let kind = registry.kind(&text.value);
    if kind.is_none() {
        let error = Diagnostic::new(&entry.item.place, format!("unknown kind `{}`", text.written));
        let candidates: Vec<&str> = names().collect();
        errors.push(error.suggest(&text.value, "the kinds are", candidates.into_iter()));
    }
    kind
}

/// Reports keys that are neither an option nor an input of the kind.
fn unknown_keys(kind: &dyn Kind, table: &Table, errors: &mut Vec<Diagnostic>) {
    let options = kind.options().iter().map(|spec| spec.name);
    let known: Vec<&str> = kind.inputs().iter().map(|port| port.name).chain(options).chain(policy::KEYS).collect();
    for (key, entry) in &table.0 {
        if key != "kind" && !known.contains(&key.as_str()) {
            let error = Diagnostic::new(&entry.key, format!("unknown option `{key}` of kind `{}`", kind.name()));
            errors.push(error.suggest(key, "it takes", known.iter().copied()));
        }
    }
}

fn has_broken_value(table: &Table) -> bool {
    fn broken(content: &Content) -> bool {
        match content {
            Content::Broken => true,
            Content::List(items) => items.iter().any(|item| broken(&item.content)),
            Content::Table(table) => has_broken_value(table),
            _ => false,
        }
    }
    table.0.values().any(|entry| broken(&entry.item.content))
}
