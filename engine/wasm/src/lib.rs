//! The plugin host and the kind `wasm`: WebAssembly components of the package `ruminate:plugin` filter, map and score
//! records. The only crate that names wasmtime. Modules in order; each uses only those above it.

mod error;
mod limits;
mod caps;
mod engines;
mod frames;
mod call;
mod signature;
mod contract;
mod schema;
mod wire;
mod compiled;
mod host;
mod report;
mod ready;
mod convert;
mod pace;
mod search;
mod stage;
mod kind;
mod scorer;
pub mod author;

pub use contract::{PACKAGE, VERSION, World};
pub use error::PluginError;
pub use host::Description;
pub use ready::{Columns, Inspection, inspect};

use std::sync::Arc;

use ruminate_flow::score::Scorers;
use ruminate_flow::stage::Kind;

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Box::new(kind::WasmKind)]
}

/// What makes scorers of plugins of the world `reward`. Their settings are the kind's options without `plugin` and `score`.
pub fn scorers() -> Arc<dyn Scorers> {
    Arc::new(scorer::PluginScorers)
}

#[cfg(test)]
mod tests;
