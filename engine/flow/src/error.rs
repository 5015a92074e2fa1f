//! The errors of the engine. Errors in a graph file are diagnostics ([`crate::diagnostic`]), not these.

use std::path::PathBuf;

/// Why a stage could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The user asked to stop; progress is saved.
    #[error("interrupted: progress is saved, run the same command again to go on")]
    Interrupted,
    /// The message says what, where, what was expected and what to do.
    #[error("{0}")]
    Failed(String),
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl StageError {
    /// An error from anything that prints.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        StageError::Failed(message.to_string())
    }

    /// Wraps a system error with what was tried and where; for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| StageError::Io { action, path, source }
    }
}
