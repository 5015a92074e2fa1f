//! Keys: what decides a node's results, as a value that prints. It knows no store.
//!
//! | part of the key | from |
//! |---|---|
//! | kind, version, identity | the stage: [`Stage::version`] rises with its code, `identity` holds a plugin's digest |
//! | options | those of the kind's table with `identity`, defaults filled in; a file stands as the digest of its bytes |
//! | models | the digest of each model input |
//! | seed | the graph's, for stages that draw |
//! | inputs | of a set stage: for each record port a digest over the id and the fields read of each record, in order |
//!
//! Never a path, a time, a node's name, a batch size or the number of threads. A record stage's unit is stored under the
//! digest of this key and [`unit_content`], the digest of the fields that the stage reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::{Digest, DigestBuilder};
use crate::graph::{Graph, Node};
use crate::options::{OptionKind, SCORER_PACE};
use crate::record::{Record, Value};
#[cfg(doc)]
use crate::stage::Stage;
use crate::stage::{Reads, Work};

/// What decides a node's results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeKey {
    /// The kind's name.
    pub kind: String,
    /// The stage's version.
    pub version: u32,
    /// What else the stage says decides its results.
    pub identity: Json,
    /// The options that can change a result.
    pub options: BTreeMap<String, Json>,
    /// The digest of each model input.
    pub models: BTreeMap<String, Digest>,
    /// The graph's seed, if the stage draws.
    pub seed: Option<u64>,
    /// What a set stage consumes, per record input.
    pub inputs: BTreeMap<String, InputKey>,
}

/// What a set stage consumes on one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputKey {
    /// How many records.
    pub records: u64,
    /// The digest over id and read fields of each, in order.
    pub digest: Digest,
}

/// A difference between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The option that changed, if it is one.
    pub option: Option<String>,
    /// What changed, for people.
    pub text: String,
}

impl NodeKey {
    /// The key of `node`, as far as it is known before its records are.
    pub fn of(graph: &Graph, node: &Node, models: &BTreeMap<&'static str, Digest>) -> NodeKey {
        let mut options = BTreeMap::new();
        for spec in node.option_specs.iter().filter(|spec| spec.identity) {
            let mut value = match node.options.files.get(spec.name) {
                Some(files) => Json::from(files.iter().map(|file| file.digest.to_string()).collect::<Vec<_>>()),
                None => node.options.values.get(spec.name).cloned().unwrap_or(Json::Null),
            };
            if let (OptionKind::Scores, Json::Object(entries)) = (spec.kind, &mut value) {
                for settings in entries.values_mut().filter_map(Json::as_object_mut) {
                    settings.retain(|name, _| !SCORER_PACE.contains(&name.as_str()));
                }
            }
            options.insert(spec.name.to_owned(), value);
        }
        NodeKey {
            kind: node.kind.to_owned(),
            version: node.stage.version,
            identity: node.stage.identity.clone(),
            options,
            models: models.iter().map(|(port, digest)| ((*port).to_owned(), *digest)).collect(),
            seed: node.stage.seeded.then_some(graph.seed),
            inputs: BTreeMap::new(),
        }
    }

    /// The cache address.
    pub fn digest(&self) -> Digest {
        let mut digest = DigestBuilder::default();
        self.walk(&mut |entry, value| {
            digest.part(entry.to_string().as_bytes()).part(value.as_bytes());
        });
        digest.finish()
    }

    /// The key as JSON, for the store.
    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What differs between two keys, one line each. Empty if they are equal.
    pub fn explain(old: &NodeKey, new: &NodeKey) -> Vec<String> {
        NodeKey::changes(old, new).into_iter().map(|change| change.text).collect()
    }

    /// What differs between two keys.
    pub fn changes(old: &NodeKey, new: &NodeKey) -> Vec<Change> {
        let (old, new) = (old.entries(), new.entries());
        let mut changes = Vec::new();
        for (entry, value) in &new {
            match old.get(entry) {
                Some(before) if before == value => {}
                before => changes.push(entry.change(before.map(String::as_str), Some(value))),
            }
        }
        for (entry, before) in old.iter().filter(|(entry, _)| !new.contains_key(entry)) {
            changes.push(entry.change(Some(before), None));
        }
        changes
    }

    fn entries(&self) -> BTreeMap<Entry, String> {
        let mut entries = BTreeMap::new();
        self.walk(&mut |entry, value| _ = entries.insert(entry, value));
        entries
    }

    /// The one walk over all that decides a result: both the digest and the explanation come from it.
    fn walk(&self, visit: &mut impl FnMut(Entry, String)) {
        visit(Entry::Kind, self.kind.clone());
        visit(Entry::Version, self.version.to_string());
        if let Some(seed) = self.seed {
            visit(Entry::Seed, seed.to_string());
        }
        flatten(&self.identity, "", &mut |path, value| visit(Entry::Identity(path), value));
        for (name, value) in &self.options {
            flatten(value, name, &mut |path, value| visit(Entry::Option { name: name.clone(), path }, value));
        }
        for (port, digest) in &self.models {
            visit(Entry::Model(port.clone()), digest.to_string());
        }
        for (port, input) in &self.inputs {
            visit(Entry::Records(port.clone()), input.records.to_string());
            visit(Entry::Input(port.clone()), input.digest.to_string());
        }
    }
}

/// The name of one value in a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Kind,
    Version,
    Seed,
    Identity(String),
    Option { name: String, path: String },
    Model(String),
    Records(String),
    Input(String),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::Kind => formatter.write_str("kind"),
            Entry::Version => formatter.write_str("version"),
            Entry::Seed => formatter.write_str("seed"),
            Entry::Identity(path) => write!(formatter, "identity.{path}"),
            Entry::Option { path, .. } => write!(formatter, "option.{path}"),
            Entry::Model(port) => write!(formatter, "model.{port}"),
            Entry::Records(port) => write!(formatter, "records.{port}"),
            Entry::Input(port) => write!(formatter, "input.{port}"),
        }
    }
}

impl Entry {
    fn change(&self, old: Option<&str>, new: Option<&str>) -> Change {
        let (from, to) = (shorten(old.unwrap_or("none")), shorten(new.unwrap_or("none")));
        let text = match self {
            Entry::Kind => format!("kind `{from}` -> `{to}`"),
            Entry::Version => format!("the stage's version {from} -> {to}"),
            Entry::Seed => format!("`seed` {from} -> {to}"),
            Entry::Identity(path) if path.is_empty() => format!("the stage's setup {from} -> {to}"),
            Entry::Identity(path) => format!("`{path}` {from} -> {to}"),
            Entry::Option { path, .. } => format!("`{path}` {from} -> {to}"),
            Entry::Model(port) => format!("the model on `{port}` changed ({from} -> {to})"),
            Entry::Records(port) => format!("`{port}` has {to} records, it had {from}"),
            Entry::Input(port) => format!("the records on `{port}` changed"),
        };
        let option = match self {
            Entry::Option { name, .. } => Some(name.clone()),
            Entry::Model(port) => Some(port.clone()),
            _ => None,
        };
        Change { option, text }
    }
}

/// A value's leaves, with dotted paths. An object's names are sorted: the order in the file cannot matter.
fn flatten(value: &Json, path: &str, visit: &mut dyn FnMut(String, String)) {
    match value {
        Json::Object(values) if !values.is_empty() => {
            let sorted: BTreeMap<_, _> = values.iter().collect();
            for (name, value) in sorted {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, &path, visit);
            }
        }
        other => visit(path.to_owned(), canonical(other)),
    }
}

/// JSON text with sorted names.
fn canonical(value: &Json) -> String {
    match value {
        Json::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(values) => {
            let sorted: BTreeMap<_, _> = values.iter().collect();
            let entries =
                sorted.iter().map(|(name, value)| format!("{}:{}", Json::from(name.as_str()), canonical(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Digests to 12 digits, long values to their beginning.
fn shorten(text: &str) -> String {
    if let Ok(digest) = text.parse::<Digest>() {
        return digest.short();
    }
    let digits = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Ok(digests) = serde_json::from_str::<Vec<String>>(text)
        && !digests.is_empty()
        && digests.iter().all(|digest| digits(digest))
    {
        let shown: Vec<_> = digests.iter().take(3).map(|digest| &digest[..12]).collect();
        let more = if digests.len() > 3 { format!(" and {} more", digests.len() - 3) } else { String::new() };
        return format!("file {}{more}", shown.join(", "));
    }
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    format!("{}...", text.chars().take(LONGEST).collect::<String>())
}

/// The digest of what a record stage sees of a unit: the fields that it reads, of all records in order. A field that is
/// missing differs from one without a value.
pub fn unit_content(records: &[Record], reads: &Reads) -> Digest {
    let mut digest = DigestBuilder::default();
    let mut buffer = Vec::with_capacity(256);
    for record in records {
        buffer.clear();
        read_fields(record, reads, &mut buffer);
        digest.part(&buffer);
    }
    digest.finish()
}

/// The digest of what a set stage sees of a stream, taken record by record.
pub struct StreamKey<'a> {
    reads: &'a Reads,
    digest: DigestBuilder,
    records: u64,
    buffer: Vec<u8>,
}

impl<'a> StreamKey<'a> {
    /// For a port on which `reads` are read.
    pub fn new(reads: &'a Reads) -> Self {
        Self { reads, digest: DigestBuilder::default(), records: 0, buffer: Vec::new() }
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &Record) {
        self.buffer.clear();
        read_fields(record, self.reads, &mut self.buffer);
        self.digest.part(record.id.as_bytes()).part(&self.buffer);
        self.records += 1;
    }

    /// The key of the whole stream.
    pub fn finish(&self) -> InputKey {
        InputKey { records: self.records, digest: self.digest.finish() }
    }
}

/// What a node reads on `port`; nothing if its stage does not say.
pub fn reads_on<'a>(node: &'a Node, port: &str) -> &'a Reads {
    static NOTHING: Reads = Reads { fields: Vec::new() };
    node.stage.reads.get(port).unwrap_or(&NOTHING)
}

/// Whether a node's results are stored per unit.
pub fn by_unit(node: &Node) -> bool {
    matches!(node.stage.work, Work::Record(_))
}

/// Appends the fields read: each name once, in the order of names.
fn read_fields(record: &Record, reads: &Reads, buffer: &mut Vec<u8>) {
    if let [only] = reads.fields.as_slice() {
        // By far the commonest, and this is done for every record.
        if let Some(value) = record.fields.get(only.name.as_str()) {
            sized(b'f', only.name.as_bytes(), buffer);
            append(value, buffer);
        }
        return;
    }
    let mut names: Vec<&str> = reads.fields.iter().map(|read| read.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if let Some(value) = record.fields.get(name) {
            sized(b'f', name.as_bytes(), buffer);
            append(value, buffer);
        }
    }
}

/// Appends a value so that no two values give the same bytes.
fn append(value: &Value, buffer: &mut Vec<u8>) {
    match value {
        Value::Null => buffer.push(b'0'),
        Value::Bool(value) => buffer.extend([b'b', u8::from(*value)]),
        Value::Int(value) => {
            buffer.push(b'i');
            buffer.extend(value.to_le_bytes());
        }
        Value::Float(value) if !value.is_finite() => buffer.push(b'0'),
        Value::Float(value) => {
            buffer.push(b'd');
            buffer.extend(value.to_bits().to_le_bytes());
        }
        Value::Text(text) => sized(b't', text.as_bytes(), buffer),
        Value::Blob(blob) => {
            buffer.push(b'x');
            buffer.extend(blob.digest.bytes());
            sized(b't', blob.media_type.as_bytes(), buffer);
        }
        Value::List(values) => {
            buffer.push(b'l');
            buffer.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| append(value, buffer));
        }
        Value::Map(values) => {
            buffer.push(b'm');
            buffer.extend((values.len() as u64).to_le_bytes());
            for (name, value) in values {
                sized(b'f', name.as_bytes(), buffer);
                append(value, buffer);
            }
        }
    }
}

fn sized(tag: u8, bytes: &[u8], buffer: &mut Vec<u8>) {
    buffer.push(tag);
    buffer.extend((bytes.len() as u64).to_le_bytes());
    buffer.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NodeKey {
        NodeKey {
            kind: "sample".into(),
            version: 1,
            identity: Json::Null,
            options: BTreeMap::from([
                ("temperature".into(), Json::from(0.7)),
                ("weights".into(), serde_json::json!({"a": 1, "b": 2})),
            ]),
            models: BTreeMap::from([("model".into(), Digest::of(b"m"))]),
            seed: Some(1),
            inputs: BTreeMap::new(),
        }
    }

    #[test]
    fn a_key_explains_exactly_what_its_digest_depends_on() {
        let old = key();
        let read: NodeKey = serde_json::from_value(old.to_json()).unwrap();
        assert_eq!(read.digest(), old.digest());
        assert!(NodeKey::explain(&old, &read).is_empty());
        let mut new = key();
        new.options.insert("weights".into(), serde_json::json!({"b": 2, "a": 1}));
        assert_eq!(new.digest(), old.digest(), "the order of names does not matter");
        new.options.insert("temperature".into(), Json::from(0.8));
        new.seed = Some(2);
        new.models.insert("model".into(), Digest::of(b"n"));
        assert_ne!(new.digest(), old.digest());
        let explained = NodeKey::explain(&old, &new);
        assert_eq!(explained.len(), 3, "{explained:?}");
        assert_eq!(explained[0], "`seed` 1 -> 2");
        assert_eq!(explained[1], "`temperature` 0.7 -> 0.8");
    }

    #[test]
    fn only_read_fields_count() {
        let record = |a: Value, b: Value| Record { id: "1".into(), fields: [("a".into(), a), ("b".into(), b)].into() };
        let reads = Reads::default().require("a", crate::record::FieldKind::Json, None);
        let content = |a, b| unit_content(&[record(a, b)], &reads);
        assert_eq!(content(Value::Int(1), Value::Int(1)), content(Value::Int(1), Value::Int(2)));
        assert_ne!(content(Value::Int(1), Value::Null), content(Value::Float(1.0), Value::Null));
        assert_ne!(
            content(Value::Null, Value::Null),
            unit_content(&[Record { id: "1".into(), fields: Default::default() }], &reads)
        );
    }
}
