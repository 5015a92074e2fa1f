//! Why a plugin cannot be used, in words for the person who wrote the graph. Why a single call failed is in `call`.

use std::path::PathBuf;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are no component.
    #[error("the plugin {0}")]
    NotAComponent(String),
    /// A component that the contract of plugins does not admit; every reason.
    #[error("the plugin {}", .0.join("; it "))]
    Contract(Vec<String>),
    /// `describe` or the start of the instance failed.
    #[error("the plugin cannot be started: {0}")]
    Start(String),
    /// The plugin refused its configuration, or failed over it.
    #[error("{0}")]
    Configure(String),
    /// What `configure` returned makes no sense.
    #[error("the plugin's setup is wrong: {0}")]
    Setup(String),
    /// The machine cannot run plugins.
    #[error("this machine cannot run plugins: {0}")]
    Engine(String),
}
