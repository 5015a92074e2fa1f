//! `ruminate plugin`: what can be typed about plugins.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use ruminate_wasm::World;
use ruminate_wasm::author::Language;

/// `plugin`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Make the folder of a new plugin: a source that builds, the SDK and a case that passes
    New(NewArguments),
    /// Compile a plugin's folder to a component
    Build(BuildArguments),
    /// Run a plugin's cases and show what differs
    Test(TestArguments),
    /// Show what a component is: world, config, fields, imports, size, digest
    Inspect(InspectArguments),
    /// Try a component over the rows of a file, without a graph
    Run(TrialArguments),
}

/// `plugin new`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ruminate plugin new no-urls --lang python --kind filter
  ruminate plugin new brevity --lang rust --kind reward --dir plugins")]
pub(crate) struct NewArguments {
    /// Its name: small letters and digits with hyphens between words; the folder is called so
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE", value_parser = language())]
    pub(crate) lang: Language,
    /// What it does: keep or drop records, turn each into rows, or score samples
    #[arg(long, value_name = "KIND", value_parser = world())]
    pub(crate) kind: World,
    /// Where its folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// `plugin build`.
#[derive(Args, Debug)]
#[command(after_help = "\
Compilers: cargo (Rust), clang with wasi-libc (C), componentize-js (JavaScript), componentize-py (Python). One that is missing \
is told with the command that installs it. Where they are can be said with GUEST_RUSTC, RUMINATE_CLANG or WASI_SDK_PATH, \
NODE_PATH, and RUMINATE_COMPONENTIZE_PY.")]
pub(crate) struct BuildArguments {
    /// The plugin's folder, with its plugin.toml
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The component to write [default: NAME.wasm in the folder]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `plugin test`.
#[derive(Args, Debug)]
#[command(after_help = "\
A case is a folder in FOLDER/cases with
  input.jsonl      rows
  config.json      the plugin's config, if it is not empty
  expected.jsonl   a line for each row, as `ruminate plugin run` prints them
  error.txt        instead: the message with which the plugin must refuse the config

Exit codes: 0 all cases pass, 1 some do not, 2 a case or the component cannot be read.")]
pub(crate) struct TestArguments {
    /// The plugin's folder, with its plugin.toml
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The component to test [default: NAME.wasm in the folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    /// Let the cases expect what the plugin gives
    #[arg(long)]
    pub(crate) update: bool,
}

/// `plugin inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `plugin run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints a line for each row: {\"id\", \"keep\": true}, {\"id\", \"drop\": REASON}, {\"id\", \"rows\": [FIELDS]}, {\"id\", \"score\", \"note\"}, or \
{\"id\", \"failed\": REASON} where the clock or the machine is to blame. What the plugin logs goes to standard error.

Examples:
  ruminate plugin run max-words.wasm --input traces.jsonl --config '{\"max\": 300}'
  ruminate plugin run brevity.wasm --input rows.parquet --limit 100")]
pub(crate) struct TrialArguments {
    /// The component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The rows: JSON lines, CSV or Parquet
    #[arg(long, short, value_name = "ROWS")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Take only the first N rows
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// The most work for one record, about one unit per instruction [default: as for nodes]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) fuel: Option<u64>,
    /// The plugin's memory in megabytes [default: as for nodes]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) memory_mb: Option<u64>,
    /// The wall-clock limit of one call in milliseconds [default: as for nodes]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) timeout_ms: Option<u64>,
}

/// A plugin's config.
#[derive(Args, Debug)]
pub(crate) struct ConfigArguments {
    /// The plugin's config, as JSON [default: {}]
    #[arg(long, value_name = "JSON", conflicts_with = "config_file")]
    pub(crate) config: Option<String>,
    /// A file with the plugin's config: .json or .toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
}

fn language() -> impl TypedValueParser<Value = Language> {
    let names = Language::ALL.map(Language::name);
    // The parser lets no other name through.
    let find = |name: String| Language::ALL.into_iter().find(|language| language.name() == name);
    PossibleValuesParser::new(names).map(move |name| find(name).unwrap_or(Language::Rust))
}

fn world() -> impl TypedValueParser<Value = World> {
    let worlds = [World::Filter, World::Mapper, World::Reward];
    // As above.
    let find = move |name: String| worlds.into_iter().find(|world| world.name() == name);
    PossibleValuesParser::new(worlds.map(World::name)).map(move |name| find(name).unwrap_or(World::Filter))
}
