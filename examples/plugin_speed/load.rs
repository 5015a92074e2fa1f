//! Starting a plugin in a fresh process: the first time, which compiles it, and then from the compiled code on the disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cpu_time::ProcessTime;
use ruminate_flow::digest::Digest;
use serde_json::{Value as Json, json};

use crate::{host, median};

/// What a start takes, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// Of the clock.
    pub(crate) wall: f64,
    /// Of the processor, over all threads.
    pub(crate) cpu: f64,
}

/// The starts of a plugin.
pub(crate) struct Starts {
    /// With an empty cache.
    pub(crate) cold: Start,
    /// Compiled before, as the first plugin of its process: the engine of plugins starts with it.
    pub(crate) alone: Start,
    /// Compiled before, after another plugin.
    pub(crate) next: Start,
}

/// The plugin that starts first where another is measured.
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/cut-reflection.wasm");

/// The starts of `plugin` with the cache in `folder`, medians of `turns`.
pub(crate) fn measure(plugin: &Path, folder: &Path, turns: usize) -> Result<Starts> {
    let cold = start(plugin, folder, false)?;
    // The first load of an entry verifies it; the other plugin has its own.
    start(plugin, folder, true)?;
    start(plugin, folder, true)?;
    let again = |after| (0..turns).map(|_| start(plugin, folder, after)).collect::<Result<Vec<_>>>().map(median_start);
    Ok(Starts { cold, alone: again(false)?, next: again(true)? })
}

fn median_start(starts: Vec<Start>) -> Start {
    let of = |value: fn(&Start) -> f64| median(starts.iter().map(value));
    Start { wall: of(|start| start.wall), cpu: of(|start| start.cpu) }
}

/// Starts this program again to start the plugin, maybe after another.
fn start(plugin: &Path, folder: &Path, after: bool) -> Result<Start> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(if after { "load-next" } else { "load" }).arg(plugin);
    let output = command.env("RUMINATE_CACHE", folder).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "`{}` does not start", plugin.display());
    let line = String::from_utf8(output.stdout)?;
    let (wall, cpu) = line.trim().split_once(' ').context("two times were expected")?;
    Ok(Start { wall: wall.parse()?, cpu: cpu.parse()? })
}

/// In the process that was started: prints the seconds, of the clock and of the processor, from the known digest of the file to a configured plugin.
pub(crate) fn child(plugin: &Path, config: &Json, after: bool) -> Result<()> {
    if after {
        host::build(OTHER.as_ref(), json!({}), 256)?;
    }
    let bytes = std::fs::read(plugin).with_context(|| format!("cannot read `{}`", plugin.display()))?;
    let digest = Digest::of(&bytes);
    let (begin, cpu) = (Instant::now(), ProcessTime::now());
    host::build_known(plugin, digest, config.clone(), 256)?;
    println!("{} {}", begin.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64());
    Ok(())
}
