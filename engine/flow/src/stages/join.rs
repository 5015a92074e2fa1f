//! The kind `join`: the records of one stream with those of another that have the same key.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::{BATCH, ID, check_new_name, kind_of, pairs, schema_of, value_of};
use crate::codec::{Reader, put_bytes, put_value};
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Record, Schema, Value};
use crate::spill::Spill;
use crate::stage::{Complaint, Emit, Kind, NodeInput, Port, Reads, Stage, StageContext, StreamPass, StreamStage, Work};

/// The kind `join`.
pub(super) struct Join;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::required(
        "on",
        OptionKind::Any,
        "The key: a field that both inputs have, a list of these, or a table field of `input` = field of `with`. `id` is the \
         record's id. A record without a value in its key matches none.",
    ),
    OptionSpec::new(
        "how",
        OptionKind::Choice(&["inner", "left", "semi", "anti"]),
        "\"inner\"",
        "`inner`: records with a match, the fields of `with` added. `left`: those without one too, with nulls. `semi`: records \
         with a match, as they are. `anti`: records without one.",
    ),
    OptionSpec::new(
        "fields",
        OptionKind::Any,
        "null",
        "The fields of `with` that are added: a list of names, or a table new name = field. By default all but the key's.",
    ),
    OptionSpec::new(
        "suffix",
        OptionKind::Text,
        "null",
        "Put after the name of a field of `with` where `input` has a field of that name.",
    ),
];
const INPUTS: &[Port] = &[
    Port::records("input", "the records that go on, in their order"),
    Port::records(
        "with",
        "the records that they are compared with; 16 to 32 bytes of each are held in memory, the rest on disk",
    ),
];
const OUTPUTS: &[Port] = &[Port::records(
    "records",
    "the records of `input`; one with several matches becomes several, with the ids `id/0`, `id/1`, ... in the order of `with`",
)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Inner,
    Left,
    Semi,
    Anti,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    on: Json,
    how: How,
    fields: Json,
    suffix: Option<String>,
}

impl Kind for Join {
    fn name(&self) -> &'static str {
        "join"
    }
    fn summary(&self) -> &'static str {
        "adds fields from the records of another stream with the same key, or keeps the records with or without such"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let (left, right) = (schema_of(node, "input"), schema_of(node, "with"));
        let wanted = "the name of a field, a list of these, or a table field of `input` = field of `with`";
        let keys = pairs(&settings.on, "on", wanted).map_err(|complaint| vec![complaint])?.unwrap_or_default();
        let fields =
            pairs(&settings.fields, "fields", "a list of names of fields of `with`, or a table new name = field")
                .map_err(|complaint| vec![complaint])?;
        let mut complaints = key_complaints(&keys, &left, &right);
        let added = match settings.how {
            How::Inner | How::Left => added(fields.as_deref(), &keys, &settings, &left, &right, &mut complaints),
            How::Semi | How::Anti => {
                let unused = [("fields", fields.is_some()), ("suffix", settings.suffix.is_some())];
                complaints.extend(unused.iter().filter(|(_, given)| *given).map(|(option, _)| {
                    let how = if settings.how == How::Semi { "semi" } else { "anti" };
                    let message = format!("`how = \"{how}\"` adds no fields, so `{option}` says nothing");
                    Complaint { help: Some(format!("leave out `{option}`")), ..Complaint::about(option, message) }
                }));
                Vec::new()
            }
        };
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let read = |reads: Reads, schema: &Schema, name: &str, option| {
            if name == ID && !schema.contains_key(name) {
                reads
            } else {
                reads.require(name, FieldKind::Json, Some(option))
            }
        };
        let on_left = keys.iter().fold(Reads::default(), |reads, (name, _)| read(reads, &left, name, "on"));
        let on_right = keys.iter().fold(Reads::default(), |reads, (_, name)| read(reads, &right, name, "on"));
        let on_right = added.iter().fold(on_right, |reads, added| read(reads, &right, &added.old, "fields"));
        let mut schema = left;
        schema.extend(added.iter().map(|added| (added.new.to_string(), added.kind.clone())));
        let (left_key, right_key) = keys.into_iter().unzip();
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::from([("input", on_left), ("with", on_right)]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Stream(Box::new(Joiner { left_key, right_key, how: settings.how, added })),
        })
    }
}

/// Keys whose kinds can never be equal.
fn key_complaints(keys: &[(String, String)], left: &Schema, right: &Schema) -> Vec<Complaint> {
    let different = keys.iter().filter_map(|(one, other)| {
        let (left, right) = (kind_of(left, one)?, kind_of(right, other)?);
        if left.accepts(&right) || right.accepts(&left) {
            return None;
        }
        let message = format!("`{one}` of `input` is {left}, `{other}` of `with` is {right}: they are never equal");
        Some(Complaint::about("on", message))
    });
    different.collect()
}

/// A field of `with` that is added.
struct Added {
    new: Arc<str>,
    old: String,
    kind: FieldKind,
}

/// The fields that are added; complains of names that are taken.
fn added(
    fields: Option<&[(String, String)]>,
    keys: &[(String, String)],
    settings: &Settings,
    left: &Schema,
    right: &Schema,
    complaints: &mut Vec<Complaint>,
) -> Vec<Added> {
    let chosen: Vec<(String, String)> = match fields {
        Some(fields) => fields.to_vec(),
        None => {
            let others = right.keys().filter(|name| keys.iter().all(|(_, key)| key != *name));
            others.map(|name| (name.clone(), name.clone())).collect()
        }
    };
    let option = if fields.is_some() { "fields" } else { "with" };
    let mut added: Vec<Added> = Vec::new();
    let mut taken = Vec::new();
    for (mut new, old) in chosen {
        if let Some(suffix) = settings.suffix.as_deref().filter(|_| left.contains_key(&new)) {
            new.push_str(suffix);
        }
        complaints.extend(check_new_name(&new, option));
        if added.iter().any(|added| *added.new == *new) {
            complaints.push(Complaint::about(option, format!("two added fields would be called `{new}`")));
        } else if left.contains_key(&new) {
            taken.push((format!("`{new}`"), old.clone()));
        }
        let kind = kind_of(right, &old).unwrap_or(FieldKind::Json);
        added.push(Added { new: new.into(), old, kind });
    }
    if let Some((_, first)) = taken.first() {
        let names: Vec<&str> = taken.iter().map(|(name, _)| name.as_str()).collect();
        let fields = if names.len() == 1 { "field" } else { "fields" };
        let message = format!("`with` would add the {fields} {}, which `input` has too", names.join(", "));
        let help = format!(
            "choose what is added with `fields`, such as `fields = {{ other = \"{first}\" }}`, or give `suffix`"
        );
        complaints.push(Complaint { help: Some(help), ..Complaint::about(option, message) });
    }
    added
}

struct Joiner {
    left_key: Vec<String>,
    right_key: Vec<String>,
    how: How,
    added: Vec<Added>,
}

impl StreamStage for Joiner {
    fn order(&self, _connected: &[&'static str]) -> Vec<&'static str> {
        vec!["with", "input"]
    }

    fn begin<'a>(&'a self, context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        let hasher = RandomState::new();
        Ok(Box::new(Pass {
            stage: self,
            hasher,
            index: Vec::new(),
            rows: Spill::new(context.scratch),
            bytes: Vec::new(),
        }))
    }
}

struct Pass<'a> {
    stage: &'a Joiner,
    hasher: RandomState,
    /// The hash of each right record's key and its place in `rows`; sorted once all are there.
    index: Vec<(u64, u64)>,
    /// Of each right record the key, with its length, and the values that are added.
    rows: Spill,
    bytes: Vec<u8>,
}

impl StreamPass for Pass<'_> {
    fn take(&mut self, port: &'static str, records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        if port == "with" {
            return records.iter().try_for_each(|record| self.add(record));
        }
        let mut batch = Vec::new();
        for record in records {
            self.join(record, &mut batch, out)?;
            if batch.len() >= BATCH {
                out.records(std::mem::take(&mut batch))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { out.records(batch) }
    }

    fn end(&mut self, port: &'static str, _out: &mut dyn Emit) -> Result<(), StageError> {
        if port == "with" {
            self.index.sort_unstable();
        }
        Ok(())
    }
}

impl Pass<'_> {
    /// Takes in a record of `with`.
    fn add(&mut self, record: &Record) -> Result<(), StageError> {
        let Some(key) = key(record, &self.stage.right_key) else { return Ok(()) };
        self.bytes.clear();
        put_bytes(&key, &mut self.bytes);
        for added in &self.stage.added {
            put_value(&value_of(record, &added.old).unwrap_or(Value::Null), &mut self.bytes);
        }
        let place = self.rows.append(&self.bytes)?;
        self.index.push((self.hasher.hash_one(&key), place));
        Ok(())
    }

    /// What becomes of a record of `input`.
    fn join(&mut self, record: Record, batch: &mut Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        let key = key(&record, &self.stage.left_key);
        let has_key = key.is_some();
        let mut matches = match key {
            Some(key) => self.matches(&key)?,
            None => Vec::new(),
        };
        match (self.stage.how, matches.len()) {
            (How::Semi, 1..) | (How::Anti, 0) => batch.push(record),
            (How::Anti, _) => out.dropped(record, "a match in `with`")?,
            (How::Inner | How::Semi, 0) if has_key => out.dropped(record, "no match in `with`")?,
            (How::Inner | How::Semi, 0) => out.dropped(record, "no value in the key")?,
            (How::Left, 0) => batch.push(self.lay(record, vec![Value::Null; self.stage.added.len()])),
            (How::Inner | How::Left, 1) => batch.push(self.lay(record, matches.swap_remove(0))),
            (How::Inner | How::Left, _) => {
                for (index, values) in matches.into_iter().enumerate() {
                    let mut row = self.lay(record.clone(), values);
                    row.id = format!("{}/{index}", record.id).into();
                    batch.push(row);
                }
            }
        }
        Ok(())
    }

    /// The values that each right record with this key adds, in the order of `with`.
    fn matches(&mut self, key: &[u8]) -> Result<Vec<Vec<Value>>, StageError> {
        let hash = self.hasher.hash_one(key);
        let first = self.index.partition_point(|(known, _)| *known < hash);
        let mut matches = Vec::new();
        for (_, place) in self.index[first..].iter().take_while(|(known, _)| *known == hash) {
            let mut reader = Reader::new(self.rows.get(*place)?);
            if reader.bytes() != Some(key) {
                continue;
            }
            let values: Option<Vec<Value>> = self.stage.added.iter().map(|_| reader.value()).collect();
            matches
                .push(values.ok_or_else(|| StageError::failed("temporary data does not read back as it was written"))?);
            if matches!(self.stage.how, How::Semi | How::Anti) {
                break;
            }
        }
        Ok(matches)
    }

    fn lay(&self, mut record: Record, values: Vec<Value>) -> Record {
        let names = self.stage.added.iter().map(|added| added.new.clone());
        record.fields.extend(names.zip(values));
        record
    }
}

/// The bytes of a key: equal for equal values, a whole number and an equal float among them. `None` if one has no value.
fn key(record: &Record, names: &[String]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for name in names {
        match value_of(record, name)? {
            Value::Null => return None,
            Value::Float(value) if !value.is_finite() => return None,
            value => put_value(&canonical(value), &mut bytes),
        }
    }
    Some(bytes)
}

/// A float without a fraction as a whole number.
fn canonical(value: Value) -> Value {
    match value {
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 2f64.powi(63) => Value::Int(value as i64),
        Value::List(values) => Value::List(values.into_iter().map(canonical).collect()),
        Value::Map(values) => Value::Map(values.into_iter().map(|(name, value)| (name, canonical(value))).collect()),
        other => other,
    }
}
