//! The types of the interface `ruminate:plugin/types` and its neighbours, and short ways to make them. The generated bindings
//! of a guest use these, so the names of types and fields are those of the WIT.

use crate::log;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// The kind `boolean`.
    Boolean(bool),
    /// The kind `int`.
    Int(i64),
    /// The kind `float`.
    Float(f64),
    /// The kind `text`.
    Text(String),
    /// The kind `image`: the bytes of its file.
    Bytes(Vec<u8>),
    /// The kinds `json` and `list<...>`: JSON text.
    Json(String),
}

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in the record.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A record as a plugin sees it: the fields that it reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Names the content of the fields, not the record: equal rows have equal ids.
    pub id: String,
    /// The fields, in the order of `reads`.
    pub fields: Vec<Field>,
}

/// A field that a plugin reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in the record.
    pub name: String,
    /// One of the engine's type names: `boolean`, `int`, `float`, `text`, `image`, `json`, `list<KIND>`.
    pub kind: String,
}

impl Column {
    /// A column of the kind with this name.
    pub fn new(name: &str, kind: &str) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned() }
    }

    /// A column of text.
    pub fn text(name: &str) -> Self {
        Self::new(name, "text")
    }

    /// A column of whole numbers.
    pub fn int(name: &str) -> Self {
        Self::new(name, "int")
    }

    /// A column of numbers.
    pub fn float(name: &str) -> Self {
        Self::new(name, "float")
    }

    /// A column of booleans.
    pub fn boolean(name: &str) -> Self {
        Self::new(name, "boolean")
    }

    /// A column of images.
    pub fn image(name: &str) -> Self {
        Self::new(name, "image")
    }

    /// A column of any JSON.
    pub fn json(name: &str) -> Self {
        Self::new(name, "json")
    }
}

/// What a plugin is; [`options!`](crate::options) and the crate's manifest say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The crate's name.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// What it does, in a line.
    pub summary: String,
    /// A JSON Schema of its config.
    pub config_schema: Option<String>,
}

/// What a configured plugin reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The fields that it reads.
    pub reads: Vec<Column>,
    /// The fields that it writes.
    pub writes: Vec<Column>,
}

/// What a filter says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record stays.
    Keep,
    /// The record goes, for this reason. Reasons are counted, so the same cause should have the same text.
    Drop(String),
}

impl Verdict {
    /// Drops for this reason.
    pub fn drop(reason: impl Into<String>) -> Self {
        Self::Drop(reason.into())
    }

    /// Keeps if `keep`, else drops for the reason.
    pub fn keep_if<R: Into<String>>(keep: bool, reason: impl FnOnce() -> R) -> Self {
        if keep { Self::Keep } else { Self::Drop(reason().into()) }
    }
}

/// What a reward says of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// A finite number.
    pub value: f64,
    /// Why, for whoever reads the samples.
    pub note: Option<String>,
}

impl Score {
    /// A score without a note.
    pub fn new(value: f64) -> Self {
        Self { value, note: None }
    }

    /// The same score with a note.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What a user may want to know.
    Info,
    /// What a user should know.
    Warn,
    /// What went wrong.
    Error,
}

impl Level {
    /// Writes a line to the engine's log at this level.
    pub fn log(self, message: &str) {
        log::log(self, message);
    }
}
