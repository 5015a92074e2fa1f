//! Measures plugins beside the same filter in native Rust, and beside Extism if that is built: words counted in texts of 2 KB,
//! all in one process and in turns, printed as Markdown tables. What they mean is in ../BENCHMARKS.md.

mod contender;
mod extism;
mod host;
mod load;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use contender::{Contender, Job, Turn};
use extism::{Call, Extism};
use rows::Rows;

// The program's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: plugin_speed [--plugin NAME=FILE]... [--extism FOLDER] [--turns N] [--threads | --batch N [--workers N]]

  --plugin NAME=FILE  another filter with the options of max-words, such as one built from examples/peers/words
  --extism FOLDER     the folder into which examples/peers/extism/build.sh has built
  --turns N           turns of each figure, of which the median counts (9)
  --threads           only the table of one thread and two
  --batch N           only the table of words, at this batch size: what a profiler should see
  --workers N         the same on so many threads (1)";

const BATCHES: [usize; 4] = [1, 16, 256, 1024];
const BATCH: usize = 256;
const TURNS: usize = 9;

/// The most words that pass: nearly every text has fewer, so all of it is read.
const WORDS_MAX: usize = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [load @ ("load" | "load-next"), file] => {
            load::child(file.as_ref(), &count_words("reasoning", WORDS_MAX), *load == "load-next")
        }
        _ => run(&arguments),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

struct Arguments {
    /// By name: the plugin in Rust first.
    plugins: Vec<(String, PathBuf)>,
    extism: Option<PathBuf>,
    turns: usize,
    batch: Option<usize>,
    workers: usize,
    threads: bool,
}

impl Arguments {
    fn parse(words: &[String]) -> Result<Self> {
        let rust = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/max-words.wasm"));
        let plugins = vec![("Rust".to_owned(), rust)];
        let mut arguments = Self { plugins, extism: None, turns: TURNS, batch: None, workers: 1, threads: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("`{word}` needs a value; {USAGE}"));
            match word.as_str() {
                "--plugin" => {
                    let (name, file) = value()?.split_once('=').context("`--plugin` takes NAME=FILE")?;
                    arguments.plugins.push((name.to_owned(), file.into()));
                }
                "--extism" => arguments.extism = Some(value()?.into()),
                "--turns" => arguments.turns = value()?.parse().context("`--turns` takes a whole number")?,
                "--batch" => arguments.batch = Some(value()?.parse().context("`--batch` takes a whole number")?),
                "--workers" => arguments.workers = value()?.parse().context("`--workers` takes a whole number")?,
                "--threads" => arguments.threads = true,
                _ => bail!("unexpected argument `{word}`; {USAGE}"),
            }
        }
        ensure!(arguments.turns > 0, "`--turns` must be at least 1");
        Ok(arguments)
    }
}

fn run(words: &[String]) -> Result<()> {
    let bench = Bench { arguments: Arguments::parse(words)?, rows: Rows::new(), folder: tempfile::tempdir()? };
    let load_average = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let load_average = load_average.split_whitespace().next().unwrap_or("?");
    println!("{cores} cores, load {load_average} before; medians of {} turns\n", bench.arguments.turns);
    if let Some(batch) = bench.arguments.batch {
        return bench.words(&[batch]);
    }
    if bench.arguments.threads {
        return bench.threads();
    }
    bench.starts()?;
    bench.words(&BATCHES)?;
    bench.threads()?;
    bench.boundary()
}

/// The config of a filter that counts words.
fn count_words(field: &str, max: usize) -> Json {
    json!({ "field": field, "max": max })
}

struct Bench {
    arguments: Arguments,
    rows: Rows,
    /// What Extism reads, and code compiled anew.
    folder: TempDir,
}

impl Bench {
    /// What stands before the first record.
    fn starts(&self) -> Result<()> {
        println!("| plugin | component | compiled | first of its process | after another | of that the processor |");
        println!("|---|---|---|---|---|---|");
        for (name, file) in &self.arguments.plugins {
            let starts = load::measure(file, self.folder.path(), self.arguments.turns)?;
            let kilobytes = std::fs::metadata(file)?.len().div_ceil(1000);
            let times = [starts.cold.wall, starts.alone.wall, starts.next.wall, starts.next.cpu];
            let [cold, alone, next, cpu] = times.map(|seconds| 1e3 * seconds);
            println!("| {name} | {kilobytes} kB | {cold:.0} ms | {alone:.2} ms | {next:.2} ms | {cpu:.2} ms |");
        }
        println!();
        Ok(())
    }

    /// The same work by all.
    fn words(&self, batches: &[usize]) -> Result<()> {
        println!("| filter | batch | records/s | MB/s | us of a core per record | x native |");
        println!("|---|---|---|---|---|---|");
        for &batch in batches {
            let job = Job { field: "reasoning", max: WORDS_MAX, batch, threads: self.arguments.workers };
            let mut contenders = self.contenders(&job)?;
            if let Some(folder) = &self.arguments.extism {
                let start = |call| Extism::start(folder, &self.rows.file(self.folder.path())?, call);
                if batch == 1 {
                    contenders.push(("Extism, text".to_owned(), Contender::Extism(start(Call::Text)?)));
                }
                contenders.push(("Extism, JSON".to_owned(), Contender::Extism(start(Call::Json(batch))?)));
            }
            for figure in self.measure(&job, contenders)? {
                let Figure { name, wall, cpu, ratio } = figure;
                let megabytes = self.rows.text_bytes_mean() / wall / 1e6;
                println!("| {name} | {batch} | {:.0} | {megabytes:.1} | {:.2} | {ratio:.2} |", 1.0 / wall, 1e6 * cpu);
            }
        }
        println!();
        Ok(())
    }

    /// One thread and two.
    fn threads(&self) -> Result<()> {
        println!("| filter | records/s, 1 thread | 2 threads | x 1 thread | x 1 thread in time of the cores |");
        println!("|---|---|---|---|---|");
        let mut contenders = Vec::new();
        let job = Job { field: "reasoning", max: WORDS_MAX, batch: BATCH, threads: 1 };
        for threads in [1, 2] {
            contenders.extend(self.contenders(&Job { threads, ..job })?);
        }
        let figures = self.measure(&job, contenders)?;
        let (one, two) = figures.split_at(figures.len() / 2);
        for (one, two) in one.iter().zip(two) {
            let (speeds, costs) = (one.wall / two.wall, two.cpu / one.cpu);
            println!("| {} | {:.0} | {:.0} | {speeds:.2} | {costs:.2} |", one.name, 1.0 / one.wall, 1.0 / two.wall);
        }
        println!();
        Ok(())
    }

    /// What a record costs when the plugin does nothing with it, less what the native filter takes for the same.
    fn boundary(&self) -> Result<()> {
        println!("| filter | batch | us per record, reads an empty field | reads 2 KB, looks at the first words |");
        println!("|---|---|---|---|");
        for batch in BATCHES {
            let job = |field, max| Job { field, max, batch, threads: 1 };
            let measure = |job: Job| self.measure(&job, self.contenders(&job)?);
            let (empty, first) = (measure(job("empty", WORDS_MAX))?, measure(job("reasoning", 1))?);
            for (empty_figure, first_figure) in empty.iter().zip(&first).skip(1) {
                let less = |figure: &Figure, native: &Figure| 1e6 * (figure.cpu - native.cpu);
                let (nothing, copied) = (less(empty_figure, &empty[0]), less(first_figure, &first[0]));
                println!("| {} | {batch} | {nothing:.2} | {copied:.2} |", empty_figure.name);
            }
        }
        Ok(())
    }

    /// The native filter and then the plugins, for this job.
    fn contenders(&self, job: &Job) -> Result<Vec<(String, Contender)>> {
        let mut contenders = vec![("native Rust".to_owned(), Contender::Native(*job))];
        for (name, file) in &self.arguments.plugins {
            let config = count_words(job.field, job.max);
            let stage = host::build(file, config, job.batch).with_context(|| format!("plugin `{name}`"))?;
            contenders.push((name.clone(), Contender::Plugin(stage, job.threads)));
        }
        Ok(contenders)
    }

    /// Turns of all contenders at a job, one after the other; the first is what the others are compared with.
    fn measure(&self, job: &Job, contenders: Vec<(String, Contender)>) -> Result<Vec<Figure>> {
        let mut field = Vec::new();
        for (name, mut contender) in contenders {
            let count = contender.warm_up(&self.rows, job).with_context(|| format!("`{name}`"))?;
            field.push((name, contender, count, Vec::<Turn>::new()));
        }
        for _ in 0..self.arguments.turns {
            for (name, contender, count, turns) in &mut field {
                turns.push(contender.turn(&self.rows, *count).with_context(|| format!("`{name}`"))?);
            }
        }
        let native: Vec<f64> = field[0].3.iter().map(|turn| turn.cpu).collect();
        let figure = |(name, _, _, turns): (String, Contender, usize, Vec<Turn>)| Figure {
            wall: median(turns.iter().map(|turn| turn.wall)),
            cpu: median(turns.iter().map(|turn| turn.cpu)),
            ratio: median(turns.iter().zip(&native).map(|(turn, native)| turn.cpu / native)),
            name,
        };
        Ok(field.into_iter().map(figure).collect())
    }
}

/// Medians over the turns.
struct Figure {
    name: String,
    /// Seconds per record.
    wall: f64,
    /// Seconds of a core per record.
    cpu: f64,
    /// `cpu` over that of the first contender in the same turn.
    ratio: f64,
}

/// The median; there is at least one value.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
