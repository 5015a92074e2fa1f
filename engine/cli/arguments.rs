//! The command line: what can be typed, its help and its defaults. It does nothing but describe.

mod chat;
pub(crate) mod grade;
pub(crate) mod plugin;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

pub(crate) use self::chat::ChatArguments;
use self::grade::GradeArguments;
use self::plugin::PluginCommand;

/// The store where none is named.
pub(crate) const STORE_DEFAULT: &str = ".ruminate";
/// The environment variable that names another.
pub(crate) const STORE_VARIABLE: &str = "RUMINATE_STORE";

const EXAMPLES: &str = "\
Examples:
  ruminate check graphs/quickstart.toml
  ruminate plan graphs/quickstart.toml --set nodes.grpo.steps=20
  ruminate run graphs/quickstart.toml --to eval-sft
  ruminate results graphs/quickstart.toml --json
  ruminate show graphs/quickstart.toml best --limit 3
  ruminate trace graphs/quickstart.toml eval-grpo test-00001
  ruminate export graphs/quickstart.toml grpo out/model
  ruminate grade '\\frac{1}{2}' 0.5

Results go to standard output, everything else to standard error. \
Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted.";

/// Turns a vision-language model into a reasoner, by a graph of cached steps.
#[derive(Debug, Parser)]
#[command(name = "ruminate", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The file for a profile, if one is asked for.
    pub(crate) fn profile(&self) -> Option<&Path> {
        match &self.command {
            Command::Run(run) => run.profile.as_deref(),
            _ => None,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compute a graph: only what is not in the store yet
    Run(RunArguments),
    /// Show what `run` would compute, for how many records and why
    Plan(PlanArguments),
    /// Check a graph file and print its errors; computes and stores nothing
    Check(CheckArguments),
    /// Compare the evaluations of a graph
    Results(ResultsArguments),
    /// Show the records or the model that a node has given
    Show(ShowArguments),
    /// Walk a record back to its source row, through samples, captions and the training of the models
    Trace(TraceArguments),
    /// Write a node's records to .parquet, .jsonl or .csv, or its model to a folder
    Export(ExportArguments),
    /// List the kinds of nodes, or the ports and options of one kind
    Kinds(KindsArguments),
    /// Make, build, test and try plugins: filters, mappers and rewards in WebAssembly
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Talk to a model
    Chat(ChatArguments),
    /// Look at a model folder, compare what it computes, or make one
    #[command(subcommand)]
    Model(ModelCommand),
    /// Say whether predictions give the true answers, and by which rule
    Grade(GradeArguments),
    /// See what a store takes, check it, free what no graph needs
    #[command(subcommand)]
    Store(StoreCommand),
}

/// `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Show how much each part of a store takes
    Du {
        #[command(flatten)]
        store: StoreArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every file of a store and check it against its digest
    Verify {
        #[command(flatten)]
        store: StoreArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove results that the named graphs do not need
    Gc(GcArguments),
}

/// `store gc`.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("kept").required(true).args(["keep", "keep_nothing"])))]
#[command(after_help = "\
Everything that the kept graphs have computed stays whole. Of the rest, what is cheapest to recompute per byte goes first: \
all of it, or with --max-size only as much as makes the store fit.

Examples:
  ruminate store gc --keep graphs/*.toml --dry-run
  ruminate store gc --keep graph.toml --max-size 100GB
  ruminate store gc --keep-nothing --max-size 10GiB")]
pub(crate) struct GcArguments {
    /// Graphs whose results stay whole, as they are computed without --set
    #[arg(long, value_name = "GRAPH", num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// Keep no graph's results
    #[arg(long)]
    pub(crate) keep_nothing: bool,
    /// Let other results stay until the store is this large: 10GB, 500MiB
    #[arg(long, value_name = "SIZE", value_parser = read_size)]
    pub(crate) max_size: Option<u64>,
    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArguments,
}

/// `model`.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Show what a model folder holds
    Info {
        /// A folder in Hugging Face layout
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a model's logits for a chat, to compare them with another implementation's
    Logits {
        /// A folder in Hugging Face layout
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// A JSON array of chat messages in the OpenAI form, taken as they stand; `image_url.url` is a path or a data URI
        #[arg(value_name = "MESSAGES.json")]
        messages: PathBuf,
        /// The safetensors file to write: `input_ids [S] I64` and `logits [S, V] F32`
        #[arg(long, short, value_name = "OUT")]
        output: PathBuf,
        /// Where the model computes: `cpu` or `cuda:N`
        #[arg(long, value_name = "DEVICE", default_value = "cpu")]
        device: String,
    },
    /// Write a model folder with random weights
    Init(InitArguments),
}

/// `model init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Weights are drawn and written a piece at a time: a model of any size needs little memory. Tokenizer, chat template and \
preprocessor are copied from beside `config.json` where they are there.

Examples:
  ruminate model init examples/models/configs/tiny-vl -o tiny --seed 3
  ruminate model init examples/models/configs/qwen2.5-vl-3b -o random-3b --dtype bf16")]
pub(crate) struct InitArguments {
    /// A model folder, whose weights are not read, or a `config.json`
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// The folder to write, which must not hold anything yet
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Decides every weight
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// The type of the saved weights: `f32`, `bf16` or `f16` [default: as `config.json` says]
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "bf16", "f16"])]
    pub(crate) dtype: Option<String>,
    /// Weights beyond this size go into a further file: 5GB, 500MiB
    #[arg(long, value_name = "SIZE", value_parser = read_shard_size, default_value = "5GB")]
    pub(crate) max_shard_size: u64,
}

/// The graph and changes to it.
#[derive(Args, Debug)]
pub(crate) struct GraphArguments {
    /// The graph file
    #[arg(value_name = "GRAPH")]
    pub(crate) graph: PathBuf,
    /// Override a value of the graph: `nodes.grpo.steps=10`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = read_override)]
    pub(crate) overrides: Vec<(String, String)>,
}

/// Where results are kept.
#[derive(Args, Debug)]
pub(crate) struct StoreArguments {
    /// The folder in which results are kept
    #[arg(long, value_name = "DIR", env = STORE_VARIABLE, default_value = STORE_DEFAULT)]
    pub(crate) store: PathBuf,
}

/// A graph whose results are asked for.
#[derive(Args, Debug)]
pub(crate) struct ProjectArguments {
    #[command(flatten)]
    pub(crate) graph: GraphArguments,
    #[command(flatten)]
    pub(crate) store: StoreArguments,
}

/// `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ruminate run graph.toml
  ruminate run graph.toml --to sft --set nodes.sft.epochs=2 --threads 8
  ruminate run graph.toml --quiet --json > results.json

Interrupted? Run the same command again: it goes on from the last finished record or checkpoint.")]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// Compute only this node and what it needs; may be given several times [default: the whole graph]
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Vec<String>,
    /// Compute this node and all below it again, whatever the store has; may be given several times
    #[arg(long, value_name = "NODE")]
    pub(crate) from: Vec<String>,
    /// Where models compute: `cpu` or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Threads to use [default: as many as the machine has]
    #[arg(long, visible_alias = "workers", value_name = "N", allow_negative_numbers = true)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Also write everything that happens to FILE, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    /// Also write when each node worked and waited to FILE, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// Print the results of evaluations as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress and no table of nodes, only errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// Plan only this node and what it needs; may be given several times [default: the whole graph]
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Vec<String>,
    /// Plan to compute this node and all below it again; may be given several times
    #[arg(long, value_name = "NODE")]
    pub(crate) from: Vec<String>,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) graph: GraphArguments,
}

/// `results`.
#[derive(Args, Debug)]
#[command(after_help = "\
The interval of an accuracy is Wilson's for one sample per problem, otherwise the normal one with the standard error over \
problems. Each evaluation is compared with the first one of the same problems and the same decoding: `difference` in \
percentage points, `p` two-sided from the exact McNemar test (one sample per problem) or the paired t test over problems.")]
pub(crate) struct ResultsArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `show`.
#[derive(Args, Debug)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// The node, or one of its outputs as `NODE.PORT`
    #[arg(value_name = "NODE[.PORT]")]
    pub(crate) node: String,
    /// Show the records that the node dropped, and why
    #[arg(long)]
    pub(crate) dropped: bool,
    /// Show at most N records [default: 10; with --json all]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// Print JSON lines, one record each
    #[arg(long)]
    pub(crate) json: bool,
}

/// `export`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ruminate export graph.toml best best.parquet
  ruminate export graph.toml best best.jsonl.zst
  ruminate export graph.toml sft.metrics loss.csv
  ruminate export graph.toml sft out/sft            a model folder in Hugging Face layout")]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// The node, or one of its outputs as `NODE.PORT`
    #[arg(value_name = "NODE[.PORT]")]
    pub(crate) node: String,
    /// A .parquet, .jsonl, .csv or .tsv file (text also with .gz or .zst), or for a model a folder
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Replace a model folder; one that holds anything else stays
    #[arg(long)]
    pub(crate) force: bool,
}

/// `trace`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ruminate trace graph.toml eval p17           an answer: its problem, its model and what trained it
  ruminate trace graph.toml sft step-000012    what a step was trained on
  ruminate trace graph.toml sft                a checkpoint
  ruminate trace graph.toml best p17/2 --json  also for a record that the node dropped")]
pub(crate) struct TraceArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// The node, or one of its outputs as `NODE.PORT`
    #[arg(value_name = "NODE[.PORT]")]
    pub(crate) node: String,
    /// The record's id; without one, the node's model is traced
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Go back at most N nodes [default: to the source]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) depth: Option<usize>,
    /// Show N steps and N records of what trained a model
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true)]
    pub(crate) limit: usize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `kinds`.
#[derive(Args, Debug)]
pub(crate) struct KindsArguments {
    /// One kind, to see its ports and options
    #[arg(value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn read_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as `nodes.grpo.steps=10`".to_owned()),
    }
}

/// A whole number of at least 1.
fn read_count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// Bytes that a file may have: some.
fn read_shard_size(text: &str) -> Result<u64, String> {
    match read_size(text)? {
        0 => Err("no file has so few bytes: expected a size such as `5GB` or `500MiB`".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Bytes: a number with a unit, decimal (`10GB`) or binary (`500MiB`).
fn read_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let expected = || "expected a size such as `10GB` or `500MiB`".to_owned();
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = unit.to_ascii_lowercase();
    let (_, factor) = *UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(expected)?;
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    let bytes = number * factor as f64;
    if bytes.is_finite() && (0.0..u64::MAX as f64).contains(&bytes) { Ok(bytes as u64) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn overrides_split_at_the_first_equals_sign() {
        assert_eq!(read_override("nodes.a.x= b=c"), Ok(("nodes.a.x".into(), " b=c".into())));
        assert!(read_override("nodes.a.x").is_err());
        assert!(read_override("=1").is_err());
    }

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let cases = [
            ("10GB", Some(10_000_000_000)),
            ("500MiB", Some(500 << 20)),
            ("1.5 kib", Some(1536)),
            ("42", Some(42)),
            ("0", Some(0)),
            ("GB", None),
            ("-1GB", None),
            ("10 parsecs", None),
            ("1e400GB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(read_size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn collecting_garbage_needs_to_be_told_what_to_keep() {
        let parse = |words: &[&str]| Arguments::try_parse_from([&["ruminate", "store", "gc"], words].concat());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--keep", "a.toml", "b.toml", "--dry-run"]).is_ok());
        assert!(parse(&["--keep-nothing"]).is_ok());
        assert!(parse(&["--keep-nothing", "--keep", "a.toml"]).is_err());
    }
}
