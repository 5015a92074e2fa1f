//! Starting a plugin in a fresh process: the first time, which compiles it, and then from the compiled code on the disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ruminate_flow::digest::Digest;
use serde_json::Value as Json;

use crate::{host, median};

/// Seconds of the first start with an empty cache in `folder`, and the median of `turns` after it.
pub(crate) fn measure(plugin: &Path, folder: &Path, turns: usize) -> Result<(f64, f64)> {
    let first = start(plugin, folder)?;
    // The first load of an entry verifies it.
    start(plugin, folder)?;
    let again = (0..turns).map(|_| start(plugin, folder)).collect::<Result<Vec<_>>>()?;
    Ok((first, median(again.into_iter())))
}

/// Starts this program again to start the plugin.
fn start(plugin: &Path, folder: &Path) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").arg(plugin).env("RUMINATE_CACHE", folder).stderr(Stdio::inherit());
    let output = command.output()?;
    ensure!(output.status.success(), "`{}` does not start", plugin.display());
    String::from_utf8(output.stdout)?.trim().parse().context("a time was expected")
}

/// In the process that was started: prints the seconds from the known digest of the file to a configured plugin.
pub(crate) fn child(plugin: &Path, config: &Json) -> Result<()> {
    let bytes = std::fs::read(plugin).with_context(|| format!("cannot read `{}`", plugin.display()))?;
    let digest = Digest::of(&bytes);
    let begin = Instant::now();
    host::build_known(plugin, digest, config.clone(), 256)?;
    println!("{}", begin.elapsed().as_secs_f64());
    Ok(())
}
