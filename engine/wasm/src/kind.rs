//! The kind `wasm`: builds the stage of a node from its plugin and config, and explains what is wrong with either.

use std::sync::Arc;

use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::FieldKind;
use ruminate_flow::stage::{Complaint, Kind, NodeInput, Port, Reads, Stage, Work};
use serde::Deserialize;
use serde_json::json;

use crate::contract::World;
use crate::pace::Pace;
use crate::ready::{self, Ready, Settings};
use crate::stage::PluginStage;

/// The kind `wasm`.
pub(crate) struct WasmKind;

/// Raised whenever the same plugin, config and records may give other results.
pub(crate) const VERSION: u32 = 2;

const INPUT: &str = "input";
const OUTPUT: &str = "output";
const SCORE: &str = "score";

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "plugin",
        OptionKind::File,
        "The plugin: a WebAssembly component of the world `filter`, `mapper` or `reward`.",
    ),
    ready::CONFIG,
    OptionSpec::new(
        SCORE,
        OptionKind::Text,
        "null",
        "For a plugin of the world `reward`: the field that its score goes into, a number; `score` if not given. Its note goes into the same name with `_note`, null if it has none.",
    ),
    ready::FUEL,
    ready::MEMORY,
    ready::TABLE,
    ready::STACK,
    ready::TIMEOUT,
    ready::BATCH,
];

const INPUTS: &[Port] = &[Port::records(INPUT, "the records")];
const OUTPUTS: &[Port] = &[Port::records(OUTPUT, "the records that the plugin keeps, makes or scores")];

/// The options that only nodes have.
#[derive(Deserialize)]
struct NodeOptions {
    score: Option<String>,
}

impl Kind for WasmKind {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn summary(&self) -> &'static str {
        "filters, maps or scores records with a WebAssembly plugin"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }

    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let own: NodeOptions = node.settings()?;
        let file = node.options.files.get("plugin").and_then(|files| files.first());
        let file = file.ok_or_else(|| vec![Complaint::about("plugin", "expected the path of a plugin")])?;
        let ready = Ready::open(file, &settings)?;
        let score = score_fields(&ready, own.score).map_err(|complaint| vec![complaint])?;
        Ok(stage(node, ready, &settings, score))
    }
}

/// The fields of a reward's score and its note.
fn score_fields(ready: &Ready, given: Option<String>) -> Result<[String; 2], Complaint> {
    let description = &ready.plugin.description;
    if let (Some(_), World::Filter | World::Mapper) = (&given, description.world) {
        let world = description.world.name();
        let message = format!("plugin `{}` is of the world `{world}` and gives no scores", description.name);
        return Err(Complaint::about(SCORE, message));
    }
    let score = given.unwrap_or_else(|| SCORE.to_owned());
    if score.trim().is_empty() || score == "id" || score == "parent" {
        return Err(Complaint::about(SCORE, format!("expected the name of a field, not `{score}`")));
    }
    let note = format!("{score}_note");
    Ok([score, note])
}

fn stage(node: &NodeInput<'_>, ready: Ready, settings: &Settings, score: [String; 2]) -> Stage {
    let world = ready.plugin.description.world;
    let mut schema = node.schemas.get(INPUT).cloned().unwrap_or_default();
    schema.extend(ready.writes.clone());
    if world == World::Reward {
        let [value, note] = score.clone();
        schema.extend([(value, FieldKind::Float), (note, FieldKind::Text)]);
    }
    let reads = ready.reads.iter();
    let fields =
        reads.fold(Reads::default(), |fields, (name, kind)| fields.require(name, kind.clone(), Some("config")));
    let score = score.map(|name| Arc::from(name.as_str()));
    Stage {
        version: VERSION,
        identity: json!({ "world": world.name(), "reads": ready.reads, "writes": ready.writes }),
        reads: [(INPUT, fields)].into(),
        schemas: [(OUTPUT, schema)].into(),
        models: Default::default(),
        seeded: false,
        uses_device: false,
        work: Work::Record(Box::new(PluginStage { pace: Pace::new(settings.batch), ready, score })),
    }
}
