//! The integration tests: one binary, one module for each promise. They run the real program over files.

mod cases;
mod data;
mod exports;
mod layout;
mod logits;
mod readme;
mod smoke;
mod support;
