//! The other side of examples/peers/extism: a process that measures itself, one turn for each line it is given.

use std::env::consts::EXE_SUFFIX;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// How the plugin is called.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// One record a call, its text as it is.
    Text,
    /// So many texts a call, both ways as JSON.
    Json(usize),
}

/// The process, ended with this value.
pub(crate) struct Extism {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    call: Call,
}

impl Extism {
    /// Starts what is built in `folder` on the rows of a file.
    ///
    /// # Errors
    /// It is not built, or does not start.
    pub(crate) fn start(folder: &Path, rows: &Path, call: Call) -> Result<Self> {
        let host = folder.join(format!("release/extism-speed{EXE_SUFFIX}"));
        let guest = folder.join("wasm32-unknown-unknown/guest/extism_guest.wasm");
        let command = Command::new(&host).arg(guest).arg(rows).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = command.with_context(|| {
            format!("cannot start `{}`: run `examples/peers/extism/build.sh {}`", host.display(), folder.display())
        })?;
        let ask = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut extism = Self { child, ask, answers, call };
        extism.answer().context("Extism does not start")?;
        Ok(extism)
    }

    /// Records a call.
    pub(crate) fn batch(&self) -> usize {
        match self.call {
            Call::Text => 1,
            Call::Json(batch) => batch,
        }
    }

    /// Runs the first `count` records: seconds of the clock and of the processor, and the records that pass.
    ///
    /// # Errors
    /// The process ended, or said something else.
    pub(crate) fn turn(&mut self, count: usize) -> Result<(f64, f64, usize)> {
        match self.call {
            Call::Text => writeln!(self.ask, "text {count}")?,
            Call::Json(batch) => writeln!(self.ask, "batch {batch} {count}")?,
        }
        match self.answer()?.as_slice() {
            [wall, cpu, kept] => Ok((*wall, *cpu, *kept as usize)),
            other => anyhow::bail!("Extism's process gave {} numbers, not 3", other.len()),
        }
    }

    fn answer(&mut self) -> Result<Vec<f64>> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the process of Extism ended");
        line.split_whitespace().map(|word| word.parse().context("Extism's process gave no number")).collect()
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
