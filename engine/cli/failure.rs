//! How a command ends when it does not succeed: the message for the person and the exit code for the script.

use std::io;
use std::process::ExitCode;

use ruminate_flow::diagnostic::Diagnostics;
use ruminate_flow::error::StageError;

use crate::terminal;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What the user gave is wrong: exit code 2. The message says what to give instead.
    #[error("{0}")]
    Input(String),
    /// The graph file is wrong: exit code 2. Boxed: it holds the whole source.
    #[error("{0}")]
    Graph(Box<Diagnostics>),
    /// The work failed: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The user stopped the run: exit code 130.
    #[error("{0}")]
    Interrupted(String),
    /// Standard output cannot be written. A reader that has seen enough (`| head`) is no failure.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Tells the person on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = match &self {
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Failure::Input(_) | Failure::Graph(_) => 2,
            Failure::Failed(_) | Failure::Output(_) => 1,
            Failure::Interrupted(_) => 130,
        };
        match &self {
            Failure::Graph(diagnostics) => terminal::say(diagnostics.to_string().trim_end()),
            other => terminal::say(&format!("{} {other}", terminal::paint(terminal::BAD, "error:"))),
        }
        ExitCode::from(code)
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Interrupted => Failure::Interrupted(error.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Failure::Graph(Box::new(diagnostics))
    }
}
