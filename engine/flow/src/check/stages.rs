//! Makes every node's stage, sources first, and checks what it reads against what the nodes above it give.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::models::ModelDraft;
use super::nodes::NodeDraft;
use super::policy;
use super::repeat::mark;
use crate::diagnostic::{Diagnostic, Place, list, nearest};
use crate::digest::Digest;
use crate::document::{Content, Entry, Item};
use crate::error::StageError;
use crate::graph::{Edge, NodeId};
use crate::model::ModelTraits;
use crate::record::{FieldKind, Schema};
use crate::stage::{Complaint, Kind, NodeInput, Read, Stage, Work};

/// The stage of every node, by index; `None` for a broken node and for all that depends on one.
pub(super) fn build(
    nodes: &[NodeDraft<'_>],
    models: &IndexMap<String, Option<ModelDraft>>,
    order: &[NodeId],
    digest_file: &dyn Fn(&Path) -> Result<Digest, StageError>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<Option<Stage>> {
    let mut stages: Vec<Option<Stage>> = nodes.iter().map(|_| None).collect();
    for id in order {
        let Some(node) = nodes.get(id.0).filter(|node| !node.broken) else { continue };
        let Some(kind) = node.kind else { continue };
        let Some(upstream) = Upstream::of(node, &stages, models) else { continue };
        let input =
            NodeInput { options: &node.options, schemas: &upstream.schemas, models: &upstream.models, digest_file };
        let before = errors.len();
        match kind.build(&input) {
            Ok(stage) => {
                check_reads(nodes, &stages, node, kind, &stage, &upstream, errors);
                errors.extend(policy::misfit(node, kind, &stage));
                if errors.len() == before {
                    stages[id.0] = Some(stage);
                }
            }
            Err(complaints) => errors.extend(complaints.into_iter().map(|complaint| place_complaint(node, complaint))),
        }
        mark(&mut errors[before..], node.round);
    }
    check_outputs(nodes, &stages, errors);
    stages
}

/// Two nodes must not write the same file, nor one a file that another reads: which bytes it has would depend on timing.
fn check_outputs(nodes: &[NodeDraft<'_>], stages: &[Option<Stage>], errors: &mut Vec<Diagnostic>) {
    let sinks = nodes.iter().zip(stages).filter_map(|(node, stage)| match &stage.as_ref()?.work {
        Work::Sink(sink) => Some((node, normal(sink.path()))),
        _ => None,
    });
    let mut written: HashMap<PathBuf, &NodeDraft<'_>> = HashMap::new();
    for (node, path) in sinks {
        let Some(first) = written.get(&path) else {
            written.insert(path, node);
            continue;
        };
        let message = format!("nodes `{}` and `{}` write the same file", first.name, node.name);
        let error = Diagnostic::new(&output_place(node, &path), message);
        let note = format!("`{}` writes it too", first.name);
        errors.push(error.note(&output_place(first, &path), note).help("give each its own `path`"));
        mark(errors.last_mut().map(std::slice::from_mut).unwrap_or_default(), node.round);
    }
    if written.is_empty() {
        return;
    }
    for reader in nodes {
        let files = reader.options.files.values().flatten();
        let overwritten = files.filter_map(|file| Some((&file.path, written.get(&normal(&file.path))?)));
        for (path, writer) in overwritten {
            let message = format!("node `{}` writes a file that node `{}` reads", writer.name, reader.name);
            let error = Diagnostic::new(&output_place(writer, path), message);
            errors.push(error.note(&reader.place, format!("`{}` is here", reader.name)).help("write to another file"));
        }
    }
}

/// The path from the root, so that two ways to write it are equal.
fn normal(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// The option of a sink that names its file, as far as it can be told.
fn output_place(node: &NodeDraft<'_>, path: &Path) -> Place {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names_it = |item: &Item| matches!(&item.content, Content::Text(text) if text.value.ends_with(&*name));
    let option = node.table.iter().flat_map(|table| table.0.values()).find(|entry| names_it(&entry.item));
    option.map_or_else(|| node.place.clone(), Entry::place)
}

/// What the inputs of a node give, by input port.
struct Upstream {
    schemas: BTreeMap<&'static str, Schema>,
    models: BTreeMap<&'static str, ModelTraits>,
}

impl Upstream {
    /// `None` if something above the node has no stage.
    fn of(
        node: &NodeDraft<'_>,
        stages: &[Option<Stage>],
        models: &IndexMap<String, Option<ModelDraft>>,
    ) -> Option<Self> {
        let mut upstream = Self { schemas: BTreeMap::new(), models: BTreeMap::new() };
        for (input, edge) in &node.inputs {
            match edge {
                Edge::Model(name) => {
                    let model = models.get(name)?.as_ref()?;
                    upstream.models.insert(input, model.traits.clone());
                }
                Edge::Node { node, port } => {
                    let stage = stages.get(node.0)?.as_ref()?;
                    if let Some(traits) = stage.models.get(port) {
                        upstream.models.insert(input, traits.clone());
                    } else {
                        upstream.schemas.insert(input, stage.schemas.get(port).cloned().unwrap_or_default());
                    }
                }
            }
        }
        Some(upstream)
    }
}

/// Puts a kind's complaint where its option stands.
fn place_complaint(node: &NodeDraft<'_>, complaint: Complaint) -> Diagnostic {
    let place = complaint.option.as_deref().and_then(|option| node.option_place(option));
    let mut error = Diagnostic::new(place.as_ref().unwrap_or(&node.place), complaint.message);
    if let (None, Some(option)) = (&place, &complaint.option) {
        error = error.label(format!("`{option}` is not given here"));
    }
    error.help = complaint.help;
    error
}

/// Checks that every field that the stage reads is there with a fitting kind.
fn check_reads(
    nodes: &[NodeDraft<'_>],
    stages: &[Option<Stage>],
    node: &NodeDraft<'_>,
    kind: &dyn Kind,
    stage: &Stage,
    upstream: &Upstream,
    errors: &mut Vec<Diagnostic>,
) {
    for (port, reads) in &stage.reads {
        let (Some(schema), Some(Edge::Node { node: source, .. })) = (upstream.schemas.get(port), node.inputs.get(port))
        else {
            continue;
        };
        let (id, Some(source)) = (*source, nodes.get(source.0)) else { continue };
        if schema.is_empty()
            && reads.fields.iter().any(|read| read.required)
            && let Some((empty, why)) = empty_source(nodes, stages, id)
        {
            // Once for all that need its fields.
            if !errors.iter().any(|error| error.place == empty.place && error.message == why) {
                let label = format!("so `{}` gives no fields", empty.name);
                errors.push(Diagnostic::new(&empty.place, why).label(label));
            }
            continue;
        }
        for read in &reads.fields {
            let message = match schema.get(&read.name) {
                Some(given) if read.kind.accepts(given) => continue,
                Some(given) => format!(
                    "{} reads field `{}` as {}, `{}` gives it as {given}",
                    reader(kind, read),
                    read.name,
                    read.kind,
                    source.name
                ),
                None if read.required => format!(
                    "{} reads field `{}` ({}), which `{}` does not give",
                    reader(kind, read),
                    read.name,
                    read.kind,
                    source.name
                ),
                None => continue,
            };
            let mut error =
                Diagnostic::new(&place_of(node, read, port), message).note(&source.place, available(source, schema));
            if !schema.contains_key(&read.name)
                && let Some(near) = nearest(&read.name, schema.keys().map(String::as_str))
            {
                error = error.label(format!("did you mean `{near}`?"));
            }
            error.help = schema.get(&read.name).and_then(|given| advice(nodes, stages, id, read, given));
            errors.push(error);
        }
    }
}

/// What to change at the source that the field comes from, through nodes that leave it as it is.
fn advice(
    nodes: &[NodeDraft<'_>],
    stages: &[Option<Stage>],
    id: NodeId,
    read: &Read,
    given: &FieldKind,
) -> Option<String> {
    let unchanged = |schema: &Schema| schema.get(&read.name) == Some(given);
    let advice = |node: &NodeDraft<'_>| node.kind?.advice(&node.options, &read.name, given, &read.kind);
    let (source, advice) = find_above(nodes, stages, id, &unchanged, &advice)?;
    Some(format!("in `{}`, {advice}", source.name))
}

/// The source without fields because of which the node gives none, and why it has none.
fn empty_source<'n, 'a>(
    nodes: &'n [NodeDraft<'a>],
    stages: &[Option<Stage>],
    id: NodeId,
) -> Option<(&'n NodeDraft<'a>, String)> {
    find_above(nodes, stages, id, &Schema::is_empty, &|node| node.kind?.why_empty(&node.options))
}

/// The first node from `id` up of which `tell` says something. The way up goes on while nodes give what `passes` and have one
/// input only.
fn find_above<'n, 'a>(
    nodes: &'n [NodeDraft<'a>],
    stages: &[Option<Stage>],
    mut id: NodeId,
    passes: &dyn Fn(&Schema) -> bool,
    tell: &dyn Fn(&NodeDraft<'a>) -> Option<String>,
) -> Option<(&'n NodeDraft<'a>, String)> {
    // There is no cycle: that was checked before.
    loop {
        let (node, stage) = (nodes.get(id.0)?, stages.get(id.0)?.as_ref()?);
        if !stage.schemas.values().any(passes) {
            return None;
        }
        if let Some(told) = tell(node) {
            return Some((node, told));
        }
        let mut sources = node.inputs.values().filter_map(|edge| match edge {
            Edge::Node { node, .. } => Some(*node),
            Edge::Model(_) => None,
        });
        id = sources.next().filter(|_| sources.next().is_none())?;
    }
}

/// Who reads a field, in words.
fn reader(kind: &dyn Kind, read: &Read) -> String {
    match read.option {
        Some(option) => format!("option `{option}` of kind `{}`", kind.name()),
        None => format!("kind `{}`", kind.name()),
    }
}

/// The option that makes the stage read the field, if it is given in the file; else the edge.
fn place_of(node: &NodeDraft<'_>, read: &Read, port: &str) -> Place {
    let place = |name: &str| node.input_place(name);
    read.option.and_then(place).or_else(|| place(port)).unwrap_or_else(|| node.place.clone())
}

fn available(source: &NodeDraft<'_>, schema: &Schema) -> String {
    if schema.is_empty() {
        return format!("`{}` gives no fields", source.name);
    }
    let fields: Vec<String> = schema.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    format!("`{}` gives {}", source.name, list(fields.iter().map(String::as_str)).replace('`', ""))
}
