//! Vision-language models on burn: loading, chat encoding, forward pass, sampling and training. The only crate that
//! names burn; everything outside `stages` knows nothing of graphs and records.

pub mod chat;
pub mod config;
pub mod device;
pub mod error;
pub mod footprint;
pub mod generate;
pub mod image;
pub mod logits;
pub mod model;
mod panics;
pub mod stages;
pub mod stop;
pub mod text_stream;
pub mod tokenizer;
pub mod train;
pub mod types;
pub mod weights;

pub use error::{Error, Result};
