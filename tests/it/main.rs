//! The integration tests: one binary, one module for each promise. They run the real program over files.

mod cache;
mod cases;
mod chat;
mod damaged;
mod data;
mod engine;
mod exports;
mod failure;
mod grade;
mod help;
mod kill;
mod layout;
mod logits;
mod model_init;
mod partial;
mod plugin_failures;
mod plugins;
mod readme;
mod rewards;
mod smoke;
mod store;
mod streaming;
mod support;
mod tutorial;
