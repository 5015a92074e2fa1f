//! Plugins for Ruminate graphs in Rust: a filter, a mapper or a reward is a struct of options and one function of a record.
//!
//! ```
//! use ruminate_plugin::{Column, Filter, Row, Verdict};
//!
//! ruminate_plugin::options! {
//!     /// drops texts that are too short
//!     struct MinCharacters {
//!         /// the field whose characters are counted
//!         #[rule(not_empty())]
//!         field: String = "reasoning",
//!         /// the fewest characters that pass
//!         #[rule(at_least(1))]
//!         min: u64 = 20,
//!     }
//! }
//!
//! impl Filter for MinCharacters {
//!     fn reads(&self) -> Vec<Column> {
//!         vec![Column::text(&self.field)]
//!     }
//!
//!     fn keep(&self, row: &Row) -> Result<Verdict, String> {
//!         let count = row.text(&self.field)?.chars().count() as u64;
//!         Ok(Verdict::keep_if(count >= self.min, || format!("fewer than {} characters", self.min)))
//!     }
//! }
//!
//! ruminate_plugin::filter!(MinCharacters);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`; `ruminate plugin build` makes a component of it. An `Err` of a record's function drops that
//! record with the text as the reason, and so does a panic: its message and place go to the engine's log.
//! Tests run natively: make a plugin with [`Options::from_json`] and a record with [`Row::with`].
//!
//! A plugin starts afresh for each batch of records and has nothing but its rows and options: no files, network, clock or
//! entropy, and no memory of the batch before.

mod json;
mod log;
mod options;
mod row;
mod types;
mod world;

#[doc(hidden)]
pub mod export;

pub use log::log;
pub use options::{Options, Rule, Spec, at_least, between, not_empty, one_of};
pub use row::{Fields, FromValue};
pub use serde_json;
pub use types::{Column, Field, Info, Level, Row, Score, Setup, Value, Verdict};

#[doc(hidden)]
pub use options::{Config, Setting};
#[doc(hidden)]
pub use wit_bindgen;

/// Keeps or drops each record.
pub trait Filter: Options {
    /// Checks what no rule of a single option says, such as one option against another.
    ///
    /// # Errors
    /// What is wrong with the config, for the person who wrote it.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The fields that [`keep`](Filter::keep) needs; a row holds no others.
    fn reads(&self) -> Vec<Column>;

    /// Whether the record stays in the stream.
    ///
    /// # Errors
    /// What is wrong with the record, which is then dropped with this reason.
    fn keep(&self, row: &Row) -> Result<Verdict, String>;
}

/// Turns a record into any number of rows.
pub trait Mapper: Options {
    /// Checks what no rule of a single option says, such as one option against another.
    ///
    /// # Errors
    /// What is wrong with the config, for the person who wrote it.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The fields that [`map`](Mapper::map) needs; a row holds no others.
    fn reads(&self) -> Vec<Column>;

    /// The fields that [`map`](Mapper::map) may return. Those that are not read must be in every returned row.
    fn writes(&self) -> Vec<Column>;

    /// The rows that take the record's place, each laid over it: what is not written stays. One row keeps the record's id,
    /// several get ids of their own, none drops the record.
    ///
    /// # Errors
    /// What is wrong with the record, which is then dropped with this reason.
    fn map(&self, row: &Row) -> Result<Vec<Fields>, String>;
}

/// Scores each sample.
pub trait Reward: Options {
    /// Checks what no rule of a single option says, such as one option against another.
    ///
    /// # Errors
    /// What is wrong with the config, for the person who wrote it.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The fields that [`score`](Reward::score) needs; a row holds no others.
    fn reads(&self) -> Vec<Column>;

    /// The score of the sample: a finite number.
    ///
    /// # Errors
    /// What is wrong with the sample.
    fn score(&self, row: &Row) -> Result<Score, String>;
}
