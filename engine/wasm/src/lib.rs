//! The plugin host and the kind `wasm`: WebAssembly components of the package `ruminate:plugin` filter and map records.
//! The only crate that names wasmtime. Modules in order; each uses only those above it.

mod error;
mod limits;
mod call;
mod contract;
mod convert;
mod compiled;
mod host;
mod stage;
mod kind;
pub mod author;

pub use contract::{PACKAGE, VERSION, World};
pub use error::PluginError;
pub use host::{Description, inspect};

use ruminate_flow::stage::Kind;

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Box::new(kind::WasmKind)]
}

#[cfg(test)]
mod tests;
