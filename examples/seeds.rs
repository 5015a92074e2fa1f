//! Runs a graph with several seeds and prints its evaluations over all of them as a Markdown table: the README's table.
//!
//! `cargo run --release --example seeds -- graphs/quickstart.toml 1 2 3 [--compare NODE=NODE,...] [-- RUN-OPTIONS]`
//!
//! A problem's score is its mean over the seeds. Intervals are the normal ones with the standard error over problems; a
//! difference is paired over problems, its p-value two-sided from the t distribution. Seeds change training and sampling, never
//! the problems.

#[path = "program/mod.rs"]
mod program;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use program::Program;
use serde_json::Value as Json;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Two-sided 95% of the normal distribution.
const Z: f64 = 1.959_964;
const USAGE: &str = "usage: seeds GRAPH SEED... [--compare NODE=BASELINE,...] [-- RUN-OPTIONS]";

/// Problem -> score of each seed in turn.
type Scores = BTreeMap<String, Vec<f64>>;

struct Arguments {
    graph: String,
    seeds: Vec<u64>,
    /// Node -> the node that it is compared with.
    compare: BTreeMap<String, String>,
    /// Handed to `ruminate run`, `plan` and `show` as they are.
    rest: Vec<String>,
}

fn main() -> ExitCode {
    program::exit(run())
}

fn run() -> Result<()> {
    let arguments = parse(std::env::args().skip(1))?;
    let program = Program::find()?;
    let mut scores: Vec<(String, Scores)> = Vec::new();
    let mut styles: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for seed in &arguments.seeds {
        let ask = |words: &[&str]| {
            let set = ["--set".to_owned(), format!("seed={seed}")];
            let words = words.iter().map(|word| (*word).to_owned());
            program.json(&words.chain(set).chain(arguments.rest.iter().cloned()).collect::<Vec<_>>())
        };
        ask(&["run", &arguments.graph, "--quiet", "--json"])?;
        for node in evaluations(&ask(&["plan", &arguments.graph, "--json"])?) {
            let items = ask(&["show", &arguments.graph, &node, "--json"])?;
            let index = scores.iter().position(|(name, _)| *name == node).unwrap_or_else(|| {
                scores.push((node.clone(), Scores::new()));
                scores.len() - 1
            });
            add(&items, &mut scores[index].1, styles.entry(node).or_default())?;
        }
    }
    print(&arguments, &scores, &styles);
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut all: Vec<String> = arguments.collect();
    let rest = all.iter().position(|argument| argument == "--").map(|at| all.split_off(at)[1..].to_vec());
    let mut parsed =
        Arguments { graph: String::new(), seeds: Vec::new(), compare: BTreeMap::new(), rest: rest.unwrap_or_default() };
    let mut all = all.into_iter();
    while let Some(argument) = all.next() {
        if argument == "--compare" {
            for pair in all.next().context(USAGE)?.split(',') {
                let (node, baseline) = pair.split_once('=').context(USAGE)?;
                parsed.compare.insert(node.to_owned(), baseline.to_owned());
            }
        } else if parsed.graph.is_empty() {
            parsed.graph = argument;
        } else {
            parsed.seeds.push(argument.parse().with_context(|| format!("`{argument}` is no seed; {USAGE}"))?);
        }
    }
    if parsed.seeds.is_empty() {
        bail!(USAGE);
    }
    Ok(parsed)
}

fn evaluations(plan: &[Json]) -> Vec<String> {
    let nodes = plan.iter().filter_map(|plan| plan["nodes"].as_array()).flatten();
    nodes.filter(|node| node["kind"] == "eval").filter_map(|node| Some(node["node"].as_str()?.to_owned())).collect()
}

/// Adds one seed's items: a problem's score is the mean over its samples.
fn add(items: &[Json], scores: &mut Scores, styles: &mut BTreeMap<String, f64>) -> Result<()> {
    let mut problems: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for item in items {
        let parent = item["parent"].as_str().context("an item has no `parent`")?;
        let correct = item["correct"].as_bool().context("an item has no `correct`")?;
        let problem = problems.entry(parent.to_owned()).or_default();
        *problem = (problem.0 + f64::from(u8::from(correct)), problem.1 + 1.0);
        if let Some(style) = item["style"].as_str() {
            *styles.entry(style.to_owned()).or_default() += 1.0;
        }
    }
    for (problem, (correct, samples)) in problems {
        scores.entry(problem).or_default().push(correct / samples);
    }
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean of `values` and its standard error.
fn estimate(values: &[f64]) -> (f64, f64) {
    let (mean, n) = (mean(values), values.len() as f64);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

fn print(arguments: &Arguments, scores: &[(String, Scores)], styles: &BTreeMap<String, BTreeMap<String, f64>>) {
    println!(
        "| evaluation | accuracy | 95% interval | each seed | difference | p | styles |\n|---|---|---|---|---|---|---|"
    );
    for (node, own) in scores {
        let per_problem: Vec<f64> = own.values().map(|seeds| mean(seeds)).collect();
        let (accuracy, error) = estimate(&per_problem);
        let seeds: Vec<String> = (0..arguments.seeds.len())
            .map(|seed| format!("{:.1}", 100.0 * mean(&own.values().map(|scores| scores[seed]).collect::<Vec<_>>())))
            .collect();
        let baseline = arguments
            .compare
            .get(node)
            .and_then(|name| Some((name, &scores.iter().find(|(other, _)| other == name)?.1)));
        let (difference, p) = match baseline {
            Some((name, baseline)) => {
                let paired: Vec<f64> = own.iter().zip(baseline.values()).map(|((_, a), b)| mean(a) - mean(b)).collect();
                let (difference, error) = estimate(&paired);
                (format!("{:+.1} to `{name}`", 100.0 * difference), p_value(difference / error, paired.len()))
            }
            None => (String::new(), String::new()),
        };
        let shares = styles.get(node).map(shares).unwrap_or_default();
        println!(
            "| `{node}` | **{:.1}%** | {:.1} to {:.1} | {} | {difference} | {p} | {shares} |",
            100.0 * accuracy,
            100.0 * (accuracy - Z * error),
            100.0 * (accuracy + Z * error),
            seeds.join(", "),
        );
    }
}

fn p_value(t: f64, n: usize) -> String {
    match StudentsT::new(0.0, 1.0, (n - 1) as f64) {
        Ok(distribution) if t.is_finite() => {
            let p = 2.0 * distribution.cdf(-t.abs());
            if p < 1e-12 { "< 1e-12".to_owned() } else { format!("{p:.1e}") }
        }
        _ => "n/a".to_owned(),
    }
}

fn shares(counts: &BTreeMap<String, f64>) -> String {
    let total: f64 = counts.values().sum();
    let share = |(name, count): (&String, &f64)| format!("{name} {:.0}%", 100.0 * count / total);
    counts.iter().map(share).collect::<Vec<_>>().join(", ")
}
