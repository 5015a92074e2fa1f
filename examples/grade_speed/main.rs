//! Measures our graders beside mathruler on the public pairs, in one run, and prints rows for BENCHMARKS.md. Times are of the
//! processor, so that a load of the machine does not count; pairs on which mathruler does not answer in time are left out
//! of all sums and counted.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use cpu_time::ProcessTime;
use ruminate_grade::{Grader, Mode};
use serde::Deserialize;

const USAGE: &str = "usage: grade_speed --python PYTHON [--seconds N] [--turns N]";
const PEER: &str = "examples/peers/mathruler/grade.py";
const PAIRS: &str = "tests/reference/grading/public.jsonl";
/// Passes over the pairs in one turn of ours: a pass takes milliseconds.
const PASSES: usize = 5;

#[derive(Deserialize)]
struct Pair {
    prediction: String,
    truth: String,
    mode: String,
}

/// What the peer prints.
#[derive(Deserialize)]
struct Peer {
    python: String,
    versions: std::collections::BTreeMap<String, String>,
    /// Verdict and seconds of each pair.
    results: Vec<Option<(bool, f64)>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut python, mut seconds, mut turns) = (None, 10.0f64, 3usize);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("`{name}` needs a value; {USAGE}"))?;
        match name.as_str() {
            "--python" => python = Some(value),
            "--seconds" => seconds = value.parse().with_context(|| format!("`{name}` takes a number; {USAGE}"))?,
            "--turns" => turns = value.parse().with_context(|| format!("`{name}` takes a number; {USAGE}"))?,
            _ => anyhow::bail!("unknown argument `{name}`; {USAGE}"),
        }
    }
    let python = python.context(USAGE)?;
    ensure!(turns > 0, "`--turns` takes at least 1; {USAGE}");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join(PAIRS)).with_context(|| format!("`{PAIRS}` can be read"))?;
    let pairs = text.lines().map(serde_json::from_str).collect::<Result<Vec<Pair>, _>>().context(PAIRS)?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut last = None;
    for turn in 0..turns {
        eprintln!("turn {} of {turns}: mathruler, then ours", turn + 1);
        let output = Command::new(&python)
            .arg(root.join(PEER))
            .arg(root.join(PAIRS))
            .args(["--seconds", &seconds.to_string()])
            .output()
            .with_context(|| format!("`{python}` can be run"))?;
        ensure!(output.status.success(), "the peer failed: {}", String::from_utf8_lossy(&output.stderr));
        let peer: Peer = serde_json::from_slice(&output.stdout).context("the peer prints JSON")?;
        ensure!(peer.results.len() == pairs.len(), "the peer gave another number of results");
        let answered: Vec<(&Pair, bool)> =
            pairs.iter().zip(&peer.results).filter_map(|(pair, result)| Some((pair, (*result)?.0))).collect();
        let taken: f64 = peer.results.iter().flatten().map(|(_, seconds)| seconds).sum();
        rates[0].push(answered.len() as f64 / taken);
        let mut agreed = 0;
        for (grader, rates) in Grader::ALL.into_iter().zip(&mut rates[1..]) {
            let begin = ProcessTime::now();
            for _ in 0..PASSES {
                let same = answered.iter().filter(|(pair, verdict)| grade(grader, pair) == *verdict).count();
                agreed = same;
            }
            rates.push((PASSES * answered.len()) as f64 / begin.elapsed().as_secs_f64());
        }
        last = Some((answered.len(), agreed, peer));
    }
    let (answered, agreed, peer) = last.context(USAGE)?;
    let [theirs, own, reproduced] = rates.map(median);
    let version = |name: &str| peer.versions.get(name).map_or("?", String::as_str);
    println!("| grader | pairs/s | beside mathruler |\n|---|---|---|");
    println!(
        "| mathruler {} (sympy {}, pylatexenc {}, Python {}) | {theirs:.0} | 1 |",
        version("mathruler"),
        version("sympy"),
        version("pylatexenc"),
        peer.python
    );
    println!("| `{}` | {own:.0} | {:.0}x |", Grader::Ruminate, own / theirs);
    println!("| `{}` | {reproduced:.0} | {:.0}x |", Grader::MathRuler, reproduced / theirs);
    println!(
        "\n{answered} of {} pairs; no answer from mathruler in {seconds} s on {}; the reproduction agrees on {agreed}",
        pairs.len(),
        pairs.len() - answered
    );
    Ok(())
}

fn grade(grader: Grader, pair: &Pair) -> bool {
    let mode = if pair.mode == "response" { Mode::Response } else { Mode::Answer };
    grader.grade(&pair.prediction, &pair.truth, mode).correct
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
