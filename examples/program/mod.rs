//! Runs the program `ruminate` for the examples beside it: finds its binary, starts it, reads its JSON. Knows nothing of
//! what the examples ask.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The program, as a binary to start.
pub(crate) struct Program(PathBuf);

impl Program {
    /// The binary that the variable `RUMINATE` names, else the one in the folder above the running example's.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn find() -> Result<Self> {
        let path = match std::env::var_os("RUMINATE") {
            Some(path) => PathBuf::from(path),
            None => {
                let example = std::env::current_exe().context("cannot find this example's own path")?;
                let folder = example.parent().and_then(|folder| folder.parent());
                folder.map(|folder| folder.join(format!("ruminate{EXE_SUFFIX}"))).unwrap_or_default()
            }
        };
        if !path.is_file() {
            let path = path.display();
            bail!("no program at `{path}`: run `cargo build --release`, or name it in the variable `RUMINATE`");
        }
        Ok(Self(path))
    }

    /// What the program prints on standard output; its messages pass through to standard error.
    ///
    /// # Errors
    /// It cannot be started, does not succeed or prints no text.
    pub(crate) fn output<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        let mut command = Command::new(&self.0);
        let shown = self.0.display();
        let output = command.args(arguments).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{shown}`"))?;
        if !output.status.success() {
            let words: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
            bail!("`ruminate {}` failed: {}", words.join(" "), output.status);
        }
        String::from_utf8(output.stdout).context("the program printed bytes that are not UTF-8")
    }

    /// The JSON values that the program prints: one document, or one a line.
    ///
    /// # Errors
    /// Those of [`Self::output`]; what it printed is no JSON.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Vec<Value>> {
        let text = self.output(arguments)?;
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        values.collect::<Result<_, _>>().context("the program printed something else than JSON")
    }
}

/// How an example ends: an error is one line on standard error.
pub(crate) fn exit(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
