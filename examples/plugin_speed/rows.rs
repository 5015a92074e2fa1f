//! The records of the benchmark: five fields, of which `reasoning` has 2 KB of words. The same in every run.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use ruminate_flow::digest::Digest;
use ruminate_flow::record::{FieldKind, Record, Schema, Value};
use ruminate_flow::stage::Unit;
use serde_json::json;

const ROWS: usize = 4096;
const TEXT_BYTES: usize = 2048;
/// One text in so many has short words only, more of them than pass.
const LONG_EVERY: usize = 16;

const WORDS: [&str; 24] = [
    "so",
    "the",
    "angle",
    "at",
    "B",
    "is",
    "twice",
    "as",
    "large;",
    "therefore",
    "we",
    "subtract",
    "35°",
    "from",
    "both",
    "sides",
    "of",
    "equation",
    "(2)",
    "and",
    "obtain",
    "2x+10=50,",
    "hence",
    "isosceles",
];
const SHORT: [&str; 6] = ["so", "is", "it", "x", "=", "7"];

/// Records as the engine hands them to a stage.
pub(crate) struct Rows {
    pub(crate) units: Vec<Unit>,
}

impl Rows {
    pub(crate) fn new() -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(1);
        let unit = |row: usize| {
            let words = if row % LONG_EVERY == LONG_EVERY - 1 { SHORT.as_slice() } else { WORDS.as_slice() };
            let text = text(words, &mut random);
            let content = Digest::of(text.as_bytes());
            let fields = [
                (
                    "question",
                    Value::text("What is the value of x in the figure, where AB and CD are parallel? ".repeat(6)),
                ),
                ("answer", Value::text("20")),
                ("empty", Value::text("")),
                ("reasoning", Value::text(text)),
                ("tokens", Value::Int(512)),
            ];
            let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
            Unit { records: vec![Record { id: format!("row-{row}").into(), fields }], content }
        };
        Self { units: (0..ROWS).map(unit).collect() }
    }

    /// The fields and their kinds.
    pub(crate) fn schema() -> Schema {
        let text = ["question", "answer", "empty", "reasoning"].map(|name| (name.to_owned(), FieldKind::Text));
        text.into_iter().chain([("tokens".to_owned(), FieldKind::Int)]).collect()
    }

    /// Bytes of a text.
    pub(crate) fn text_bytes_mean(&self) -> f64 {
        let bytes: usize = self.units.iter().map(|unit| reasoning(unit).len()).sum();
        bytes as f64 / self.units.len() as f64
    }

    /// The texts as JSON lines in a file in `folder`, for another process.
    pub(crate) fn file(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("rows.jsonl");
        let mut lines = Vec::new();
        for unit in &self.units {
            writeln!(lines, "{}", json!({ "reasoning": reasoning(unit) }))?;
        }
        std::fs::write(&path, lines).context("cannot write the rows")?;
        Ok(path)
    }
}

fn reasoning(unit: &Unit) -> &str {
    text_of(unit, "reasoning")
}

/// The text in `field` of a unit's only record.
pub(crate) fn text_of<'a>(unit: &'a Unit, field: &str) -> &'a str {
    match unit.records[0].fields.get(field) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn text(words: &[&str], random: &mut ChaCha12Rng) -> String {
    let mut text = String::with_capacity(TEXT_BYTES + 16);
    while text.len() < TEXT_BYTES {
        text.push_str(words.choose(random).copied().unwrap_or_default());
        text.push(if text.len().is_multiple_of(97) { '\n' } else { ' ' });
    }
    text
}
