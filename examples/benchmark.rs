//! Measures the program as its user meets it, each figure by whole runs of the binary in fresh stores, and prints them as
//! rows of a Markdown table. What they mean is in BENCHMARKS.md; it knows of the program only what the command line gives.

mod program;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use program::Program;

const USAGE: &str = "usage: benchmark [--device cpu|cuda:N] [cached] [records] [sft] [sampling]";
const HEADER: &str = "| measured | figure | machine | load | date | version |\n|---|---|---|---|---|---|";

/// Runs of a process that takes much less than a second.
const CACHED_RUNS: usize = 10;
/// Runs in a fresh store each.
const FRESH_RUNS: usize = 3;
const ROWS: usize = 100_000;
const STEPS: usize = 40;
const BATCH: usize = 32;
const PROBLEMS: usize = 256;
const SAMPLES: usize = 4;

/// The benchmarks by the names that the user may give.
/// Measures and gives rows of the table.
type Measure = fn(&Bench) -> Result<Vec<Row>>;

const BENCHMARKS: [(&str, Measure); 4] =
    [("cached", cached), ("records", records), ("sft", sft), ("sampling", sampling)];

fn main() -> ExitCode {
    program::exit(run())
}

fn run() -> Result<()> {
    let mut device = "cpu".to_owned();
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--device" => device = arguments.next().with_context(|| format!("`--device` needs a value; {USAGE}"))?,
            name if BENCHMARKS.iter().any(|(known, _)| *known == name) => names.push(argument),
            _ => bail!("unexpected argument `{argument}`; {USAGE}"),
        }
    }
    let bench = Bench { program: Program::find()?, device, folder: tempfile::tempdir()? };
    let machine = Machine::here(&bench)?;
    println!("{HEADER}");
    for (name, measure) in BENCHMARKS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            // Taken before: a benchmark is a load of its own.
            let load = load();
            for row in measure(&bench).with_context(|| format!("benchmark `{name}`"))? {
                let Machine { processor, date, version } = &machine;
                println!("| {} | {} | {processor} | {load} | {date} | {version} |", row.measured, row.figure);
            }
        }
    }
    Ok(())
}

/// One line of the table.
struct Row {
    measured: String,
    figure: String,
}

/// What the figures depend on beside the code.
struct Machine {
    processor: String,
    date: String,
    version: String,
}

impl Machine {
    fn here(bench: &Bench) -> Result<Self> {
        let cores = available_parallelism().map_or("?".to_owned(), |cores| cores.to_string());
        let details = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = details.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
        let date = Command::new("date").args(["-u", "+%F"]).output().context("cannot run `date`")?;
        Ok(Self {
            processor: format!("{cores} cores, {model}, on `{}`", bench.device),
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
            version: bench.program.output(&["--version"])?.trim().to_owned(),
        })
    }
}

/// The mean number of running processes over the last minute, where the system tells.
fn load() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split_whitespace().next().unwrap_or("?").to_owned()
}

/// What all benchmarks use. Everything that they write is in a folder that goes with it.
struct Bench {
    program: Program,
    device: String,
    folder: TempDir,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a graph into the folder; paths in it are absolute.
    fn graph(&self, name: &str, graph: Value) -> Result<PathBuf> {
        let path = self.path(name).with_extension("toml");
        fs::write(&path, toml::to_string(&graph)?)?;
        Ok(path)
    }

    /// Runs a graph as a whole process, start to exit, in seconds; notes the events in the file that [`Self::node_seconds`]
    /// reads.
    fn run(&self, graph: &Path, store: &Path) -> Result<f64> {
        let (events, graph, store) = (self.path("events.jsonl"), graph.as_os_str(), store.as_os_str());
        let begin = Instant::now();
        self.program.output(&[
            "run".as_ref(),
            graph,
            "--store".as_ref(),
            store,
            "--device".as_ref(),
            self.device.as_ref(),
            "--events".as_ref(),
            events.as_os_str(),
            "--quiet".as_ref(),
        ])?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// The seconds of a node in the last run.
    fn node_seconds(&self, node: &str) -> Result<f64> {
        let events = fs::read_to_string(self.path("events.jsonl"))?;
        let mut events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let done = events.rfind(|event| event["node"] == node && event["event"] == "done");
        done.and_then(|event| event["seconds"].as_f64()).with_context(|| format!("no time of `{node}` in the events"))
    }

    /// Runs a graph once in a store of its own, and gives the seconds of a node and its records.
    fn node(&self, graph: &Path, node: &str, output: &str) -> Result<(f64, Vec<Value>)> {
        let store = graph.with_extension("store");
        self.run(graph, &store)?;
        let seconds = self.node_seconds(node)?;
        let (graph, store) = (graph.as_os_str(), store.as_os_str());
        let words = ["show".as_ref(), graph, output.as_ref(), "--store".as_ref(), store, "--json".as_ref()];
        Ok((seconds, self.program.json(&words)?))
    }
}

/// A file or folder of the repository.
fn repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// The whole graph of the tests again, when nothing is left to compute.
fn cached(bench: &Bench) -> Result<Vec<Row>> {
    let (graph, store) = (PathBuf::from(repository("graphs/smoke.toml")), bench.path("cached"));
    let first = bench.run(&graph, &store)?;
    let again = Figures::repeat(CACHED_RUNS, || bench.run(&graph, &store))?;
    Ok(vec![Row {
        measured: "`graphs/smoke.toml` again, all cached, whole process".to_owned(),
        figure: format!("{} (first run {first:.1} s)", again.milliseconds()),
    }])
}

/// Small records through a plugin that keeps them all.
fn records(bench: &Bench) -> Result<Vec<Row>> {
    let data = bench.path("rows.jsonl");
    write_rows(&data)?;
    let graph = bench.graph(
        "records",
        json!({ "name": "records", "nodes": {
            "rows": { "kind": "read", "path": data },
            "brief": { "kind": "wasm", "input": "rows", "plugin": repository("plugins/max-words.wasm") },
        }}),
    )?;
    let mut store = PathBuf::new();
    let mut number = 0..;
    let first = Figures::repeat(FRESH_RUNS, || {
        store = bench.path(&format!("records-{}", number.next().unwrap_or_default()));
        bench.run(&graph, &store)
    })?;
    let again = Figures::repeat(CACHED_RUNS, || bench.run(&graph, &store))?;
    let row = |name: &str, times: &Figures| Row {
        measured: format!("{ROWS} records of JSON lines through a `wasm` filter, {name}, whole process"),
        figure: format!("{:.0} records/s; {}", ROWS as f64 / times.median(), times.milliseconds()),
    };
    Ok(vec![row("first run", &first), row("again, all cached", &again)])
}

/// Rows with a text of 20 to 59 words each, all different.
fn write_rows(path: &Path) -> Result<()> {
    const WORDS: [&str; 8] = ["so", "the", "angle", "is", "twice", "as", "large", "therefore"];
    let mut file = BufWriter::new(File::create(path)?);
    for row in 0..ROWS {
        let words = (0..20 + row % 40).map(|index| WORDS[(row / 40 + index * 3) % WORDS.len()]);
        let reasoning = format!("{row} {}", words.collect::<Vec<_>>().join(" "));
        writeln!(file, "{}", json!({ "id": format!("row-{row}"), "reasoning": reasoning }))?;
    }
    Ok(file.flush()?)
}

/// Steps of supervised fine-tuning as in `graphs/quickstart.toml`; to have no other node in the way, the model learns to
/// repeat the question.
fn sft(bench: &Bench) -> Result<Vec<Row>> {
    let graph = bench.graph(
        "sft",
        json!({ "name": "sft", "models": { "base": { "path": repository("examples/models/tiny-vl") } }, "nodes": {
            "problems": problems(STEPS * BATCH),
            "sft": {
                "kind": "sft", "input": "problems", "model": "base", "response": "question", "freeze": [],
                "steps": STEPS, "batch-size": BATCH, "micro-batch-size": BATCH / 2, "learning-rate": 1e-4,
            },
        }}),
    )?;
    let (_, steps) = bench.node(&graph, "sft", "sft.timings")?;
    let of = |name: &str| Figures::new(steps.iter().filter_map(|step| step[name].as_f64()).collect());
    let (seconds, speed) = (of("seconds")?, of("tokens_per_second")?);
    Ok(vec![Row {
        measured: format!("`sft` step of tiny-vl, {BATCH} examples, median of {STEPS}"),
        figure: format!("{:.3} s; {:.0} tokens/s", seconds.median(), speed.median()),
    }])
}

/// Reasoning traces from images. The prompt's ending is what tiny-vl answers at length; else it gives a few tokens.
fn sampling(bench: &Bench) -> Result<Vec<Row>> {
    let graph = bench.graph(
        "sampling",
        json!({ "name": "sampling", "models": { "base": { "path": repository("examples/models/tiny-vl") } }, "nodes": {
            "problems": problems(PROBLEMS),
            "traces": {
                "kind": "reasoning-sample", "input": "problems", "model": "base", "samples": SAMPLES,
                "prompt": "{{ question }} Show the steps.", "temperature": 1.0, "top-p": 1.0, "max-new-tokens": 48,
            },
        }}),
    )?;
    let (seconds, traces) = bench.node(&graph, "traces", "traces")?;
    ensure!(traces.len() == PROBLEMS * SAMPLES, "expected {} traces, not {}", PROBLEMS * SAMPLES, traces.len());
    let tokens: u64 = traces.iter().filter_map(|trace| trace["tokens"].as_u64()).sum();
    Ok(vec![Row {
        measured: format!("`reasoning-sample` with tiny-vl, {PROBLEMS} problems x {SAMPLES} samples, once"),
        figure: format!("{:.0} new tokens/s ({tokens} tokens in {seconds:.1} s)", tokens as f64 / seconds),
    }])
}

fn problems(limit: usize) -> Value {
    json!({ "kind": "read", "path": repository("examples/data/visual-math/train-*.parquet"), "limit": limit })
}

/// Measured values, sorted; at least one.
struct Figures(Vec<f64>);

impl Figures {
    fn new(mut values: Vec<f64>) -> Result<Self> {
        ensure!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Ok(Self(values))
    }

    fn repeat(runs: usize, mut run: impl FnMut() -> Result<f64>) -> Result<Self> {
        Self::new((0..runs).map(|_| run()).collect::<Result<_>>()?)
    }

    fn median(&self) -> f64 {
        let (low, high) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        (low + high) / 2.0
    }

    fn milliseconds(&self) -> String {
        let (best, median) = (1e3 * self.0[0], 1e3 * self.median());
        format!("median {median:.0} ms, best {best:.0} ms of {} runs", self.0.len())
    }
}
