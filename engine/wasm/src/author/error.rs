//! Why a plugin could not be made or tried, for its author.

use std::path::Path;

use ruminate_flow::diagnostic::Diagnostics;
use ruminate_flow::error::StageError;

/// Why a plugin could not be made or tried.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    /// What was asked for, or a file that was named, is wrong.
    #[error("{0}")]
    Input(String),
    /// `plugin.toml` is wrong.
    #[error("{0}")]
    Manifest(Box<Diagnostics>),
    /// A program that builds plugins is not installed; the message has the command that installs it.
    #[error("{0}")]
    Toolchain(String),
    /// The source does not build; the compiler's words are in it.
    #[error("{0}")]
    Build(String),
    /// The machine failed: a disk, a process.
    #[error("{0}")]
    Machine(String),
    /// What takes the answers cannot be written.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl AuthorError {
    /// Whether the person who gave the command can mend it by giving another: wrong names, wrong files.
    pub fn is_input(&self) -> bool {
        matches!(self, AuthorError::Input(_) | AuthorError::Manifest(_))
    }

    /// A file that was named and cannot be read.
    pub(super) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| AuthorError::Input(format!("cannot read `{}`: {error}", path.display()))
    }

    /// A place that cannot be written.
    pub(super) fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| AuthorError::Machine(format!("cannot write `{}`: {error}", path.display()))
    }
}

impl From<StageError> for AuthorError {
    fn from(error: StageError) -> Self {
        AuthorError::Machine(error.to_string())
    }
}
