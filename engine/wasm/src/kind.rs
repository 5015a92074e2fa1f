//! The kind `wasm`: builds the stage of a node from its plugin and config, and explains what is wrong with either.

use std::time::Duration;

use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Schema};
use ruminate_flow::stage::{Complaint, Kind, NodeInput, Port, Reads, Stage, Work};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::contract::World;
use crate::error::PluginError;
use crate::host::{Column, Description, Plugin, Setup};
use crate::limits::Limits;
use crate::stage::PluginStage;

/// The kind `wasm`.
pub(crate) struct WasmKind;

/// Raised whenever the same plugin, config and records may give other results.
const VERSION: u32 = 1;

const INPUT: &str = "input";
const OUTPUT: &str = "output";

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "plugin",
        OptionKind::File,
        "The plugin: a WebAssembly component of the world `filter` or `mapper`.",
    ),
    OptionSpec::new("config", OptionKind::Any, "{}", "The plugin's own settings, handed to it as JSON."),
    OptionSpec::new(
        "fuel",
        OptionKind::Int { min: 1_000, max: i64::MAX },
        "100000000",
        "The most work for one record, about one unit per instruction; a record that needs more is dropped. The default is some 0.05 s of work.",
    ),
    OptionSpec::new(
        "memory-mb",
        OptionKind::Int { min: 1, max: 4096 },
        "64",
        "The plugin's memory in megabytes; a record that alone needs more is dropped.",
    ),
    OptionSpec::new(
        "timeout-ms",
        OptionKind::Int { min: 10, max: 86_400_000 },
        "10000",
        "The wall-clock limit of one call; a record that alone takes longer fails, and nothing about it is cached.",
    )
    .not_identity(),
    OptionSpec::new("batch", OptionKind::Int { min: 1, max: 65_536 }, "256", "Records per call.").not_identity(),
];

const INPUTS: &[Port] = &[Port::records(INPUT, "the records")];
const OUTPUTS: &[Port] = &[Port::records(OUTPUT, "the records that the plugin keeps or makes")];

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WasmOptions {
    config: Json,
    fuel: u64,
    memory_mb: usize,
    timeout_ms: u64,
    batch: usize,
}

impl Kind for WasmKind {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn summary(&self) -> &'static str {
        "filters or maps records with a WebAssembly plugin"
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
        build(node).map_err(|complaint| vec![complaint])
    }
}

fn build(node: &NodeInput<'_>) -> Result<Stage, Complaint> {
    let about_plugin = |error: PluginError| Complaint::about("plugin", error.to_string());
    let options: WasmOptions =
        node.options.read().map_err(|error| Complaint { option: None, message: error, help: None })?;
    let file = node.options.files.get("plugin").and_then(|files| files.first());
    let file = file.ok_or_else(|| Complaint::about("plugin", "expected the path of a plugin"))?;
    let plugin = Plugin::open(&file.path, file.digest).map_err(about_plugin)?;
    let limits = Limits {
        fuel: options.fuel,
        memory_bytes: options.memory_mb << 20,
        timeout: Duration::from_millis(options.timeout_ms),
    };
    let config = options.config.to_string();
    let setup = plugin.configure(&config, &limits).map_err(|error| about_config(&plugin.description, &error))?;
    let (reads, writes) = columns(&plugin.description, &setup).map_err(about_plugin)?;
    let mut schema = node.schemas.get(INPUT).cloned().unwrap_or_default();
    schema.extend(writes.clone());
    let fields =
        reads.iter().fold(Reads::default(), |fields, (name, kind)| fields.require(name, kind.clone(), Some("config")));
    Ok(Stage {
        version: VERSION,
        identity: json!({ "world": plugin.description.world.name(), "reads": reads, "writes": writes }),
        reads: [(INPUT, fields)].into(),
        schemas: [(OUTPUT, schema)].into(),
        models: Default::default(),
        seeded: false,
        uses_device: false,
        work: Work::Record(Box::new(PluginStage {
            plugin,
            config,
            limits,
            batch: options.batch,
            reads,
            writes,
            reporter: Default::default(),
        })),
    })
}

fn about_config(description: &Description, error: &PluginError) -> Complaint {
    Complaint {
        option: Some("config".to_owned()),
        message: format!("plugin `{}` refuses its config: {error}", description.name),
        help: description.config_schema.as_deref().and_then(explain_schema),
    }
}

/// The properties of a JSON Schema in one line.
fn explain_schema(schema: &str) -> Option<String> {
    let schema: Json = serde_json::from_str(schema).ok()?;
    let properties = schema.get("properties")?.as_object()?;
    let explain = |(name, property): (&String, &Json)| {
        let kind = property.get("type").and_then(Json::as_str).unwrap_or("any");
        let default = property.get("default").map(|default| format!(", default {default}")).unwrap_or_default();
        format!("`{name}` ({kind}{default})")
    };
    let properties: Vec<_> = properties.iter().map(explain).collect();
    (!properties.is_empty()).then(|| format!("it takes {}", properties.join(", ")))
}

/// What a plugin reads and writes, checked.
fn columns(description: &Description, setup: &Setup) -> Result<(Schema, Schema), PluginError> {
    let reads = schema_of(&setup.reads, "reads", &["id"])?;
    let writes = schema_of(&setup.writes, "writes", &["id", "parent"])?;
    if description.world == World::Filter && !writes.is_empty() {
        return Err(PluginError::Setup("a filter writes no fields".to_owned()));
    }
    Ok((reads, writes))
}

/// The most bytes of a column's name and kind: longer ones are damage, and kinds are parsed by recursion.
const COLUMN_TEXT_MAX: usize = 200;

fn schema_of(columns: &[Column], verb: &str, taken: &[&str]) -> Result<Schema, PluginError> {
    let mut schema = Schema::new();
    for Column { name, kind } in columns {
        if let Some(text) = [name, kind].into_iter().find(|text| text.len() > COLUMN_TEXT_MAX) {
            return Err(PluginError::Setup(format!(
                "it {verb} a column whose name or kind has {} bytes: expected at most {COLUMN_TEXT_MAX}",
                text.len()
            )));
        }
        if name.is_empty() || taken.contains(&name.as_str()) {
            return Err(PluginError::Setup(format!("it {verb} `{name}`, which is not a field of its own")));
        }
        let Some(kind) = FieldKind::parse(kind) else {
            let kinds = "`boolean`, `int`, `float`, `text`, `image`, `json`, `list<KIND>`";
            return Err(PluginError::Setup(format!(
                "it {verb} `{name}` of the kind `{kind}`: expected one of {kinds}"
            )));
        };
        if schema.insert(name.clone(), kind).is_some() {
            return Err(PluginError::Setup(format!("it {verb} `{name}` twice")));
        }
    }
    Ok(schema)
}
