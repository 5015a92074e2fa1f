//! Runs the guest beside it for `plugin_speed`, one measurement a line: its host has a second wasmtime, so it is a process
//! of its own. Knows nothing of plugins of ours.
//!
//! `extism-speed GUEST ROWS` prints the seconds that loading took, then for each line `text COUNT` or `batch SIZE COUNT` of
//! the standard input one line `WALL CPU KEPT`: seconds of the clock, seconds of the processor, records kept.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cpu_time::ProcessTime;
use extism::convert::Json;
use extism::{Manifest, Plugin, PluginBuilder, Wasm};

/// As the engine's own limits: 64 MiB of memory, and fuel, which Extism counts per call.
const MEMORY_PAGES: u32 = 1024;
const FUEL: u64 = 1_000_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, rows] = arguments.as_slice() else { bail!("usage: extism-speed GUEST ROWS") };
    let rows = std::fs::read_to_string(rows).with_context(|| format!("cannot read `{rows}`"))?;
    let text = |line: &str| -> Result<String> {
        let row: serde_json::Value = serde_json::from_str(line)?;
        Ok(row["reasoning"].as_str().context("a row without the text `reasoning`")?.to_owned())
    };
    let texts = rows.lines().map(text).collect::<Result<Vec<String>>>()?;

    let guest = std::fs::read(guest).with_context(|| format!("cannot read `{guest}`"))?;

    let begin = Instant::now();
    let manifest = Manifest::new([Wasm::data(guest)]).with_memory_max(MEMORY_PAGES);
    let mut plugin = PluginBuilder::new(manifest).with_fuel_limit(FUEL).build()?;
    answer(&format!("{}", begin.elapsed().as_secs_f64()))?;

    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (begin, cpu) = (Instant::now(), ProcessTime::now());
        let kept = match words.as_slice() {
            ["text", count] => one_by_one(&mut plugin, some(&texts, count)?)?,
            ["batch", size, count] => in_batches(&mut plugin, some(&texts, count)?, size.parse()?)?,
            _ => bail!("unexpected line `{line}`: expected `text COUNT` or `batch SIZE COUNT`"),
        };
        answer(&format!("{} {} {kept}", begin.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn some<'a>(texts: &'a [String], count: &str) -> Result<&'a [String]> {
    let count: usize = count.parse()?;
    texts.get(..count).with_context(|| format!("there are only {} rows, not {count}", texts.len()))
}

fn one_by_one(plugin: &mut Plugin, texts: &[String]) -> Result<usize> {
    let mut kept = 0;
    for text in texts {
        let verdict: String = plugin.call("text", text.as_str())?;
        kept += usize::from(verdict.is_empty());
    }
    Ok(kept)
}

fn in_batches(plugin: &mut Plugin, texts: &[String], size: usize) -> Result<usize> {
    let mut kept = 0;
    for batch in texts.chunks(size) {
        let Json(verdicts): Json<Vec<String>> = plugin.call("batch", Json(batch))?;
        ensure!(verdicts.len() == batch.len(), "{} verdicts for a batch of {}", verdicts.len(), batch.len());
        kept += verdicts.iter().filter(|verdict| verdict.is_empty()).count();
    }
    Ok(kept)
}
