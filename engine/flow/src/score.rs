//! Scores of records by something outside the crate that asks for them: how a trainer gets a plugin's reward without
//! knowing of plugins.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::StageError;
use crate::options::InputFile;
use crate::record::{Record, Schema};
use crate::stage::{Complaint, StageContext};

/// A record's score.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Finite.
    pub value: f64,
    /// What the scorer says about it.
    pub note: Option<String>,
}

/// Why a record has no score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unscored {
    /// The reason: what failed and, if an option decides it, which.
    pub reason: String,
    /// Whether the same record would fail the same way on every machine: not so with a deadline.
    pub deterministic: bool,
}

/// Scores records.
pub trait Scorer: Send + Sync {
    /// What it calls itself.
    fn name(&self) -> &str;
    /// The fields that it reads, each of which a record must have.
    fn reads(&self) -> &Schema;
    /// What decides its scores beside its file and its settings: part of the key of whatever uses it.
    fn identity(&self) -> Json;
    /// The score of each record, in order, as many as were given. A score depends on the record's fields alone.
    ///
    /// # Errors
    /// A stop that was asked for, or a failure of the machine.
    fn score(&self, records: &[Record], context: &StageContext<'_>)
    -> Result<Vec<Result<Score, Unscored>>, StageError>;
}

/// Makes scorers.
pub trait Scorers: Send + Sync {
    /// The scorer in `file` with its `settings`: a table without what belongs to the kind that uses it.
    ///
    /// # Errors
    /// Every complaint; their options are relative to the table (`config.target`), `plugin` for the file.
    fn open(&self, file: &InputFile, settings: &Json) -> Result<Arc<dyn Scorer>, Vec<Complaint>>;
}
