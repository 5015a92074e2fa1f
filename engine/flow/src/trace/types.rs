//! A trace as a tree of values; its JSON is what scripts read.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value as Json;

use crate::digest::Digest;
use crate::record::Fields;

/// A record or a model, and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// The node that made it; for a model at rest its name in `[models]`.
    pub node: Arc<str>,
    /// The node's kind; `model` for a model at rest.
    pub kind: String,
    /// The node's place in the graph: `FILE:LINE:COLUMN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The digest of the node's key: everything that decided its results. `None` where it cannot be told.
    pub key: Option<Digest>,
    /// The record or the model.
    #[serde(flatten)]
    pub subject: Subject,
    /// The node's options that are part of its key, defaults filled in.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub options: IndexMap<String, Json>,
    /// What else the stage says decides its results: the grader's version, a plugin's setup.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub identity: Json,
    /// The files that the node read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<TraceFile>,
    /// The models that took part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Trace>,
    /// The records that it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Trace>,
    /// How many more input records there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_inputs: u64,
    /// It stands in full elsewhere in the trace.
    #[serde(skip_serializing_if = "is_false")]
    pub repeated: bool,
    /// It was made from more, beyond the depth asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
}

/// What a [`Trace`] is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Subject {
    /// A record.
    Record(TracedRecord),
    /// A model.
    Model(TracedModel),
}

/// A record in a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedRecord {
    /// Its id.
    pub id: Arc<str>,
    /// The output port; `None` for a dropped record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<&'static str>,
    /// Why the node dropped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// Of a source: the row, counted from 1 over all its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The fields that the node wrote: those that its input record does not have, or has with another value.
    pub wrote: Fields,
}

/// A model in a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TracedModel {
    /// The digest of its files: the checkpoint.
    pub digest: Digest,
    /// Architecture and size.
    pub summary: String,
    /// What trained it; `None` for a model at rest, or where its steps are not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
}

/// What trained a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Training {
    /// Steps.
    pub steps: u64,
    /// Records over all steps; one that several steps saw counts as often.
    pub records: u64,
    /// Records that came in, each counted once; `None` where it is not known.
    pub records_in: Option<u64>,
    /// The first steps.
    pub batches: Vec<Batch>,
}

/// A step of a training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Batch {
    /// The id of its record among the node's figures.
    pub id: Arc<str>,
    /// The digest of what it was trained on.
    pub batch: Arc<str>,
    /// The ids of the input records, in order.
    pub records: Vec<Arc<str>>,
}

/// A file in a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceFile {
    /// The option that names it.
    pub option: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: Digest,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}
