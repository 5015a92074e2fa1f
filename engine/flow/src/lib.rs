//! The dataflow engine: records, graphs, keys, the content-addressed store, the plan and the executor.
//! It knows neither wasmtime nor burn nor HTTP: stages come from other crates through [`stage::Kind`].
//!
//! Modules in order; each uses only those above it.

pub mod digest;
pub mod stamp;
pub mod error;
pub mod target;
pub mod record;
pub mod model;
pub mod template;
pub mod options;
pub mod event;
pub mod stage;
pub mod score;
pub mod codec;
pub mod spill;
pub mod diagnostic;
pub mod document;
mod settings;
pub mod graph;
pub mod store;
mod check;
pub mod key;
mod resolve;
pub mod plan;
pub mod run;
pub mod trace;
pub mod table;
pub mod stages;
