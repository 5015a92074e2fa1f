//! From a graph file to a checked [`Graph`], or to everything that is wrong with it at once.
//! It does not know what kinds there are, nor what they compute.

mod edges;
mod files;
mod models;
mod nodes;
mod policy;
mod repeat;
mod stages;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use self::files::Files;
use self::models::ModelDraft;
use self::nodes::NodeDraft;
use self::repeat::Unrolled;
use crate::diagnostic::{Diagnostic, Diagnostics, Lines, Place};
use crate::digest::Digest;
use crate::document::{Content, Entry, Environment, Item, Table, parse, read_source};
use crate::error::StageError;
use crate::graph::{Edge, Graph, Node, NodeId, Position};
use crate::model::Model;
use crate::settings::{names_a_round, set};
use crate::stage::{Registry, Stage};
use crate::store::Store;

/// The keys of a graph file.
const KEYS: [&str; 5] = ["name", "seed", "models", "nodes", "repeat"];

/// A value from the environment that is at least this long is kept out of all messages. Shorter ones hold no secret and
/// would make messages unreadable.
const SECRET_LENGTH: usize = 4;

impl Graph {
    /// Reads and checks a graph file. Files are looked for beside it, then in the current folder. `overrides` are pairs of
    /// a dotted key (`nodes.grpo.steps`) and a TOML value, or else plain text. With a store, digests of unchanged files are
    /// remembered.
    ///
    /// # Errors
    /// Everything that is wrong with the graph, in the order of the file.
    pub fn load(
        path: &Path,
        overrides: &[(String, String)],
        registry: &Registry,
        store: Option<&Store>,
    ) -> Result<Graph, Diagnostics> {
        let digest = |path: &Path| match store {
            Some(store) => store.file_digest(path),
            None => digest_of(path),
        };
        load(path, overrides, registry, &digest, &|name: &str| std::env::var(name).ok())
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| &*node.name == name).map(NodeId)
    }
}

fn digest_of(path: &Path) -> Result<Digest, StageError> {
    std::fs::File::open(path).and_then(Digest::of_reader).map_err(StageError::io("read", path))
}

/// Gives the digest of a file's bytes.
type DigestFile<'a> = &'a dyn Fn(&Path) -> Result<Digest, StageError>;

fn load(
    path: &Path,
    overrides: &[(String, String)],
    registry: &Registry,
    digest: DigestFile<'_>,
    environment: Environment<'_>,
) -> Result<Graph, Diagnostics> {
    let source = read_source(path).map_err(|failed| {
        let (source, error) = *failed;
        Diagnostics::sorted(path, source, vec![error])
    })?;
    let secrets = Mutex::new(BTreeMap::new());
    let environment = |name: &str| {
        let value = environment(name)?;
        secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.clone());
        Some(value)
    };
    let mut errors = Vec::new();
    let graph = parse(&source, &environment, &mut errors).and_then(|mut root| {
        // What is set on a round's node is laid over it once it is there.
        let (later, first): (Vec<_>, Vec<_>) = overrides.iter().partition(|(key, _)| names_a_round(key));
        for (key, value) in first {
            set(&mut root, key, value, &environment, &mut errors);
        }
        let unrolled = repeat::unroll(&mut root, &mut errors);
        for (key, value) in later.into_iter().filter(|_| !unrolled.is_broken()) {
            set(&mut root, key, value, &environment, &mut errors);
        }
        let files = Files { folder: path.parent().map(Path::to_owned).unwrap_or_default(), digest };
        check(path, &source, &root, &unrolled, registry, &files, &mut errors)
    });
    match graph {
        Some(graph) if errors.is_empty() => Ok(graph),
        _ => {
            hide(&secrets.into_inner().unwrap_or_else(PoisonError::into_inner), &mut errors);
            Err(Diagnostics::sorted(path, source, errors))
        }
    }
}

/// Puts `${NAME}` for what came from the environment, also in what kinds and models say.
fn hide(secrets: &BTreeMap<String, String>, errors: &mut [Diagnostic]) {
    for (name, value) in secrets.iter().filter(|(_, value)| value.len() >= SECRET_LENGTH) {
        for error in errors.iter_mut() {
            error.replace(value, &format!("${{{name}}}"));
        }
    }
}

/// Checks the tree of values. `None` goes with at least one error.
fn check(
    path: &Path,
    source: &str,
    root: &Table,
    unrolled: &Unrolled,
    registry: &Registry,
    files: &Files<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Graph> {
    unknown_keys(root, errors);
    let name = name(root, path, errors);
    let seed = root.0.get("seed").and_then(|entry| models::seed_of(entry, errors)).unwrap_or(0);
    let (no_models, no_nodes) = (Table::default(), Table::default());
    let model_table = section(root, "models", errors).unwrap_or(&no_models);
    let node_table = section(root, "nodes", errors).unwrap_or(&no_nodes);
    check_names(root, model_table, node_table, unrolled, errors);
    check_not_empty(source, root, node_table, errors);
    let models = models::check(model_table, files, &*registry.inspector, seed, errors);
    let mut nodes = nodes::check(node_table, unrolled, registry, files, errors);
    edges::connect(&mut nodes, model_table, unrolled, errors);
    edges::report_cycles(&nodes, errors);
    let order = edges::order(&nodes);
    let stages = stages::build(&nodes, &models, &order, files.digest, errors);
    // Weights are large: they are digested only for a graph that is right.
    let models = if errors.is_empty() { digest_used(&nodes, models, files, errors) } else { IndexMap::new() };
    let lines = Lines::new(source);
    let nodes = nodes.into_iter().zip(stages).map(|(node, stage)| finish(node, stage?, &lines, source));
    let nodes = nodes.collect::<Option<Vec<Node>>>()?;
    Some(Graph { name, seed, path: path.to_owned(), nodes, order, models })
}

fn unknown_keys(root: &Table, errors: &mut Vec<Diagnostic>) {
    for (key, entry) in root.0.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
        let error = Diagnostic::new(&entry.key, format!("unknown key `{key}`"));
        errors.push(error.suggest(key, "a graph has", KEYS.into_iter()));
    }
}

/// The graph's name: as given, or the file's without its extension.
fn name(root: &Table, path: &Path, errors: &mut Vec<Diagnostic>) -> String {
    if let Some(entry) = root.0.get("name") {
        match &entry.item.content {
            Content::Text(text) if !text.value.trim().is_empty() => return text.value.clone(),
            Content::Text(_) => errors.push(Diagnostic::new(&entry.item.place, "the graph's `name` is empty")),
            Content::Broken => {}
            _ => errors.push(
                Diagnostic::new(&entry.item.place, "`name` takes text")
                    .label(format!("found {}", entry.item.type_name())),
            ),
        }
    }
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The table `name` of the file, if it is there and a table.
fn section<'t>(root: &'t Table, name: &str, errors: &mut Vec<Diagnostic>) -> Option<&'t Table> {
    let entry = root.0.get(name)?;
    match &entry.item.content {
        Content::Table(table) => return Some(table),
        Content::Broken => {}
        Content::List(_) => {
            let error = Diagnostic::new(&entry.key, format!("`{name}` takes tables with names, found a list"));
            errors.push(error.help(format!("write `[{name}.NAME]` instead of `[[{name}]]`")));
        }
        _ => errors.push(Diagnostic::new(
            &entry.item.place,
            format!("`{name}` takes tables, found {}", entry.item.type_name()),
        )),
    }
    None
}

/// Names of nodes, models and blocks: their letters, and that no name stands for a node and a model.
fn check_names(root: &Table, models: &Table, nodes: &Table, unrolled: &Unrolled, errors: &mut Vec<Diagnostic>) {
    let none = Table::default();
    let blocks = match root.0.get("repeat").map(|entry| &entry.item.content) {
        Some(Content::Table(blocks)) => blocks,
        _ => &none,
    };
    let written = nodes.0.iter().filter(|(name, _)| !unrolled.made(name));
    for (name, entry) in models.0.iter().chain(written).chain(&blocks.0) {
        let allowed = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
        if name.is_empty() {
            errors.push(Diagnostic::new(&entry.key, "a name cannot be empty"));
        } else if let Some(wrong) = name.chars().find(|letter| !allowed(*letter)) {
            let error = Diagnostic::new(&entry.key, format!("name `{name}` holds {wrong:?}"));
            errors.push(error.help("a name is made of letters, digits, `-` and `_`; `@`, `.` and `/` are reserved"));
        }
    }
    for (name, node) in &nodes.0 {
        if let Some(model) = models.0.get(name) {
            let message = format!("`{name}` is the name of a node and of a model");
            let error = Diagnostic::new(&node.place(), message).note(&model.place(), "the model is here");
            errors.push(error.help("nodes and models share their names: rename one of the two"));
        }
    }
}

fn check_not_empty(source: &str, root: &Table, nodes: &Table, errors: &mut Vec<Diagnostic>) {
    if !nodes.0.is_empty() || (root.0.contains_key("nodes") && !errors.is_empty()) {
        return;
    }
    let place = root.0.get("nodes").map_or(Place::Whole, Entry::place);
    let message = if source.trim().is_empty() { "the graph file is empty" } else { "the graph has no nodes" };
    errors.push(
        Diagnostic::new(&place, message)
            .help("a node is a table `[nodes.NAME]` with a `kind`; `ruminate kinds` lists the kinds"),
    );
}

/// Digests the models that some node uses.
fn digest_used(
    nodes: &[NodeDraft<'_>],
    models: IndexMap<String, Option<ModelDraft>>,
    files: &Files<'_>,
    errors: &mut Vec<Diagnostic>,
) -> IndexMap<String, Arc<Model>> {
    let edges = nodes.iter().flat_map(|node| node.inputs.values());
    let used: BTreeSet<&str> =
        edges.filter_map(|edge| if let Edge::Model(name) = edge { Some(name.as_str()) } else { None }).collect();
    let mut digested = IndexMap::new();
    for (name, model) in models {
        let Some(model) = model.filter(|_| used.contains(name.as_str())) else { continue };
        match model.digest(files) {
            Ok(model) => _ = digested.insert(name, Arc::new(model)),
            Err(error) => errors.push(error),
        }
    }
    digested
}

/// The checked node of a draft. `None` if it has no kind.
fn finish(draft: NodeDraft<'_>, stage: Stage, lines: &Lines, source: &str) -> Option<Node> {
    let position = |place: &Place| {
        let (line, column) = lines.locate(source, place.span()?.start);
        Some(Position { line, column })
    };
    let entries = draft.table.iter().flat_map(|table| &table.0);
    let mut option_positions: BTreeMap<String, Position> =
        entries.filter_map(|(key, entry)| Some((key.clone(), position(&entry.key)?))).collect();
    let kind = draft.kind?;
    let many = draft.inputs.keys().filter(|port| !option_positions.contains_key(**port));
    let many = many.filter_map(|port| Some(((*port).to_owned(), position(&draft.input_place(port)?)?)));
    option_positions.extend(many.collect::<Vec<_>>());
    let entries = draft.table.iter().flat_map(|table| &table.0);
    let option_settings = entries.filter_map(|(key, entry)| Some((key.clone(), setting_in(entry)?))).collect();
    Some(Node {
        name: draft.name,
        kind: kind.name(),
        inputs: draft.inputs,
        option_specs: kind.options(),
        options: draft.options,
        stage,
        policy: draft.policy,
        position: position(&draft.place).unwrap_or(Position { line: 1, column: 1 }),
        option_positions,
        option_settings,
    })
}

/// The setting of the command line from which an entry, or something in it, comes.
fn setting_in(entry: &Entry) -> Option<String> {
    fn of_item(item: &Item) -> Option<String> {
        if let Place::Setting(setting) = &item.place {
            return Some(setting.clone());
        }
        match &item.content {
            Content::Table(table) => table.0.values().find_map(setting_in),
            Content::List(items) => items.iter().find_map(of_item),
            _ => None,
        }
    }
    match &entry.key {
        Place::Setting(setting) => Some(setting.clone()),
        _ => of_item(&entry.item),
    }
}
