//! A plugin with its settings: opened, its config checked, what it reads and writes known. What a node and a scorer have
//! in common, and what `inspect` shows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ruminate_flow::digest::Digest;
use ruminate_flow::options::{InputFile, OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Schema};
use ruminate_flow::stage::Complaint;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::call::{self, CallError};
use crate::contract::World;
use crate::error::PluginError;
use crate::host::{self, Column, Description, Plugin, Setup};
use crate::limits::{Limits, SETUP_TIMEOUT};
use crate::report::Reporter;

/// The options that every use of a plugin has.
pub(crate) const CONFIG: OptionSpec =
    OptionSpec::new("config", OptionKind::Any, "{}", "The plugin's own settings, handed to it as JSON.");
pub(crate) const FUEL: OptionSpec = OptionSpec::new(
    "fuel",
    OptionKind::Int { min: 1_000, max: i64::MAX },
    "100000000",
    "The most work for one record, about one unit per instruction; a record that needs more is dropped. The default is some 0.05 s of work.",
);
pub(crate) const MEMORY: OptionSpec = OptionSpec::new(
    "memory-mb",
    OptionKind::Int { min: 1, max: 4096 },
    "64",
    "The plugin's memory in megabytes; a record that alone needs more is dropped.",
);
pub(crate) const TABLE: OptionSpec = OptionSpec::new(
    "table-elements",
    OptionKind::Int { min: 1, max: 10_000_000 },
    "200000",
    "The most elements of the plugin's tables of functions; a record that makes them grow beyond is dropped.",
);
pub(crate) const STACK: OptionSpec = OptionSpec::new(
    "stack-kb",
    OptionKind::Int { min: 64, max: 65_536 },
    "512",
    "The plugin's call stack in kilobytes; a record that needs a deeper one is dropped. Deep recursion in Python or JavaScript may want more.",
);
pub(crate) const TIMEOUT: OptionSpec = OptionSpec::new(
    "timeout-ms",
    OptionKind::Int { min: 10, max: 86_400_000 },
    "10000",
    "The wall-clock limit of one call; a record that alone takes longer fails, and nothing about it is cached. With this and \
     `fuel` as they are by default, or less fuel, it is fuel that ends a call.",
)
.not_identity();
pub(crate) const BATCH: OptionSpec =
    OptionSpec::new("batch", OptionKind::Int { min: 1, max: 65_536 }, "256", "The most records per call.")
        .not_identity();

/// The values of these options.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    pub(crate) config: Json,
    fuel: u64,
    memory_mb: usize,
    table_elements: usize,
    stack_kb: usize,
    timeout_ms: u64,
    pub(crate) batch: usize,
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            fuel: self.fuel,
            memory_bytes: self.memory_mb << 20,
            table_elements: self.table_elements,
            stack_bytes: self.stack_kb << 10,
            timeout: Duration::from_millis(self.timeout_ms),
            setup_timeout: SETUP_TIMEOUT,
        }
    }
}

/// A plugin that takes its config.
pub(crate) struct Ready {
    pub(crate) plugin: Arc<Plugin>,
    /// JSON.
    pub(crate) config: String,
    pub(crate) limits: Limits,
    pub(crate) reads: Schema,
    pub(crate) writes: Schema,
    pub(crate) reporter: Reporter,
}

impl Ready {
    /// Opens the plugin in `file` with these settings.
    ///
    /// # Errors
    /// Every complaint; about the file: `plugin`, else about the option.
    pub(crate) fn open(file: &InputFile, settings: &Settings) -> Result<Ready, Vec<Complaint>> {
        let limits = settings.limits();
        let about_plugin = |error: PluginError| vec![Complaint::about("plugin", error.to_string())];
        let plugin = Plugin::open(&file.path, file.digest, &limits).map_err(about_plugin)?;
        let (reads, writes) = configured(&plugin, &settings.config, &limits)?;
        Ok(Ready { plugin, config: settings.config.to_string(), limits, reads, writes, reporter: Reporter::default() })
    }
}

/// What the plugin reads and writes with this config.
fn configured(plugin: &Plugin, config: &Json, limits: &Limits) -> Result<(Schema, Schema), Vec<Complaint>> {
    let name = &plugin.description.name;
    let about_config = |place: &str, message: &str| Complaint {
        option: Some(format!("config{place}")),
        message: format!("plugin `{name}` refuses its config: {message}"),
        help: plugin.schema.as_ref().and_then(|schema| schema.explain_keys()),
    };
    if let Some(schema) = &plugin.schema {
        let violations = schema.violations(config);
        if !violations.is_empty() {
            return Err(violations.iter().map(|found| about_config(&found.place, &found.message)).collect());
        }
    }
    let setup = plugin.configure(&config.to_string(), limits).map_err(|error| {
        vec![match error {
            CallError::Refused(message) => about_config("", &call::one_line(&message)),
            CallError::Memory(limit) => Complaint {
                option: Some(MEMORY.name.to_owned()),
                message: format!("plugin `{name}` does not start within {limit} MB of memory"),
                help: Some(format!("raise `{}`", MEMORY.name)),
            },
            error => about_config("", &format!("`configure` failed: {}", host::setup_reason(&error))),
        }]
    })?;
    columns(&plugin.description, &setup).map_err(|error| vec![Complaint::about("plugin", error.to_string())])
}

/// What a plugin reads and writes, checked.
fn columns(description: &Description, setup: &Setup) -> Result<(Schema, Schema), PluginError> {
    let reads = schema_of(&setup.reads, "reads", &["id"])?;
    let writes = schema_of(&setup.writes, "writes", &["id", "parent"])?;
    match description.world {
        World::Filter if !writes.is_empty() => Err(PluginError::Setup("a filter writes no fields".to_owned())),
        World::Reward if !writes.is_empty() => Err(PluginError::Setup("a reward writes no fields".to_owned())),
        _ => Ok((reads, writes)),
    }
}

/// The most characters of a field's name.
const COLUMN_CHARS_MAX: usize = 200;

fn schema_of(columns: &[Column], verb: &str, taken: &[&str]) -> Result<Schema, PluginError> {
    let mut schema = Schema::new();
    for Column { name, kind } in columns {
        if name.chars().count() > COLUMN_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(PluginError::Setup(format!(
                "it {verb} a field whose name is not one line of at most {COLUMN_CHARS_MAX} characters"
            )));
        }
        if name.is_empty() || taken.contains(&name.as_str()) {
            return Err(PluginError::Setup(format!("it {verb} `{name}`, which is not a field of its own")));
        }
        // A kind within a kind within a kind is read by recursion.
        let parsed = if kind.len() <= COLUMN_CHARS_MAX { FieldKind::parse(kind) } else { None };
        let Some(kind) = parsed else {
            let kinds = "`boolean`, `int`, `float`, `text`, `image`, `json`, `list<KIND>`";
            let kind: String = kind.chars().take(COLUMN_CHARS_MAX).collect();
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

/// A plugin file, looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// What the plugin says about itself.
    pub description: Description,
    /// The size of the file.
    pub bytes: u64,
    /// The BLAKE3 digest of the file.
    pub digest: Digest,
    /// What it reads and writes with the config that was given; or every reason for which it does not take that config,
    /// each with its place in it (`config.cut_at[1]`).
    pub setup: Result<Columns, Vec<Complaint>>,
}

/// What a plugin reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The fields that a record must have.
    pub reads: Schema,
    /// The fields that it gives a record.
    pub writes: Schema,
}

/// What a plugin file is, says about itself and does with this `config`.
///
/// # Errors
/// A file that cannot be read, or is no plugin.
pub fn inspect(path: &Path, config: &Json) -> Result<Inspection, PluginError> {
    let bytes = std::fs::read(path).map_err(|source| PluginError::Read { path: path.to_owned(), source })?;
    let digest = Digest::of(&bytes);
    let plugin = Plugin::load(digest, &|| Ok(bytes.clone()))?;
    let setup = configured(&plugin, config, &Limits::for_check()).map(|(reads, writes)| Columns { reads, writes });
    Ok(Inspection { description: plugin.description, bytes: bytes.len() as u64, digest, setup })
}
