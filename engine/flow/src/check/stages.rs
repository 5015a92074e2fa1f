//! Makes every node's stage, sources first, and checks what it reads against what the nodes above it give.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use super::models::ModelDraft;
use super::nodes::NodeDraft;
use crate::diagnostic::{Diagnostic, Place, list, nearest};
use crate::digest::Digest;
use crate::document::Entry;
use crate::error::StageError;
use crate::graph::{Edge, NodeId};
use crate::model::ModelTraits;
use crate::record::Schema;
use crate::stage::{Complaint, Kind, NodeInput, Read, Stage};

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
        match kind.build(&input) {
            Ok(stage) => {
                let before = errors.len();
                check_reads(nodes, node, kind, &stage, &upstream, errors);
                if errors.len() == before {
                    stages[id.0] = Some(stage);
                }
            }
            Err(complaints) => errors.extend(complaints.into_iter().map(|complaint| place_complaint(node, complaint))),
        }
    }
    stages
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
    let entry = complaint.option.as_deref().and_then(|option| node.table?.0.get(option));
    let mut error = Diagnostic::new(&entry.map_or_else(|| node.place.clone(), Entry::place), complaint.message);
    if let (None, Some(option)) = (entry, &complaint.option) {
        error = error.label(format!("`{option}` is not given here"));
    }
    error.help = complaint.help;
    error
}

/// Checks that every field that the stage reads is there with a fitting kind.
fn check_reads(
    nodes: &[NodeDraft<'_>],
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
        let Some(source) = nodes.get(source.0) else { continue };
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
            errors.push(error);
        }
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
    let entry = |name: &str| node.table.and_then(|table| table.0.get(name));
    read.option.and_then(entry).or_else(|| entry(port)).map_or_else(|| node.place.clone(), Entry::place)
}

fn available(source: &NodeDraft<'_>, schema: &Schema) -> String {
    if schema.is_empty() {
        return format!("`{}` gives no fields", source.name);
    }
    let fields: Vec<String> = schema.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    format!("`{}` gives {}", source.name, list(fields.iter().map(String::as_str)).replace('`', ""))
}
