//! Starting a plugin in a fresh process: the first time, which compiles it, and then from the compiled code on the disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cpu_time::ProcessTime;
use ruminate_flow::digest::Digest;
use serde_json::Value as Json;

use crate::{host, median};

/// What a start takes, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// Of the clock.
    pub(crate) wall: f64,
    /// Of the processor, over all threads.
    pub(crate) cpu: f64,
}

/// The first start with an empty cache in `folder`, and the medians of `turns` after it.
pub(crate) fn measure(plugin: &Path, folder: &Path, turns: usize) -> Result<(Start, Start)> {
    let first = start(plugin, folder)?;
    // The first load of an entry verifies it.
    start(plugin, folder)?;
    let again = (0..turns).map(|_| start(plugin, folder)).collect::<Result<Vec<_>>>()?;
    let of = |value: fn(&Start) -> f64| median(again.iter().map(value));
    Ok((first, Start { wall: of(|start| start.wall), cpu: of(|start| start.cpu) }))
}

/// Starts this program again to start the plugin.
fn start(plugin: &Path, folder: &Path) -> Result<Start> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").arg(plugin).env("RUMINATE_CACHE", folder).stderr(Stdio::inherit());
    let output = command.output()?;
    ensure!(output.status.success(), "`{}` does not start", plugin.display());
    let line = String::from_utf8(output.stdout)?;
    let (wall, cpu) = line.trim().split_once(' ').context("two times were expected")?;
    Ok(Start { wall: wall.parse()?, cpu: cpu.parse()? })
}

/// In the process that was started: prints the seconds, of the clock and of the processor, from the known digest of the file to a configured plugin.
pub(crate) fn child(plugin: &Path, config: &Json) -> Result<()> {
    let bytes = std::fs::read(plugin).with_context(|| format!("cannot read `{}`", plugin.display()))?;
    let digest = Digest::of(&bytes);
    let (begin, cpu) = (Instant::now(), ProcessTime::now());
    host::build_known(plugin, digest, config.clone(), 256)?;
    println!("{} {}", begin.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64());
    Ok(())
}
