//! What the small relational stages share: options that name fields, and a place in an order that only the id decides.
//! Knows none of the stages.

use serde_json::Value as Json;

use crate::digest::{Digest, DigestBuilder};
use crate::record::{FieldKind, Record, Schema, Value};
use crate::stage::{Complaint, NodeInput};

/// The name under which a record's id is read; no field is called so.
pub(super) const ID: &str = "id";
/// Records that are handed on at once.
pub(super) const BATCH: usize = 256;

/// The schema of an input; an empty one where nothing is connected.
pub(super) fn schema_of(node: &NodeInput<'_>, port: &str) -> Schema {
    node.schemas.get(port).cloned().unwrap_or_default()
}

/// The kind of field `name`; the id is text.
pub(super) fn kind_of(schema: &Schema, name: &str) -> Option<FieldKind> {
    schema.get(name).cloned().or_else(|| (name == ID).then_some(FieldKind::Text))
}

/// The value of field `name`; the id is text.
pub(super) fn value_of(record: &Record, name: &str) -> Option<Value> {
    record.fields.get(name).cloned().or_else(|| (name == ID).then(|| Value::Text(record.id.clone())))
}

/// A name or a list of names as pairs of equal names, a table of names as pairs of key and value; `None` if nothing is given.
pub(super) fn pairs(json: &Json, option: &str, wanted: &str) -> Result<Option<Vec<(String, String)>>, Complaint> {
    let wrong = || Complaint::about(option, format!("option `{option}` takes {wanted}"));
    let pairs: Option<Vec<_>> = match json {
        Json::Null => return Ok(None),
        Json::String(name) => Some(vec![(name.clone(), name.clone())]),
        Json::Array(names) => {
            names.iter().map(|name| name.as_str().map(|name| (name.to_owned(), name.to_owned()))).collect()
        }
        Json::Object(names) => {
            names.iter().map(|(new, old)| old.as_str().map(|old| (new.clone(), old.to_owned()))).collect()
        }
        _ => None,
    };
    match pairs {
        Some(pairs) if !pairs.is_empty() => Ok(Some(pairs)),
        _ => Err(wrong()),
    }
}

/// Whether a field may be called `name`: the name of the id is taken.
pub(super) fn check_new_name(name: &str, option: &str) -> Option<Complaint> {
    (name == ID).then(|| Complaint {
        help: Some("give the field another name".to_owned()),
        ..Complaint::about(option, "`id` names the record itself: no field can be called so")
    })
}

/// Puts records in an order, or chooses among them, by nothing but their ids: others that come or go change nothing.
pub(super) struct Ranking([u8; 32]);

impl Ranking {
    /// The ranking of `purpose` with the graph's seed and the node's.
    pub(super) fn new(purpose: &str, graph_seed: u64, seed: i64) -> Self {
        let mut digest = DigestBuilder::default();
        digest.part(purpose.as_bytes()).part(&graph_seed.to_le_bytes()).part(&seed.to_le_bytes());
        Self(*digest.finish().bytes())
    }

    /// The rank of an id: as good as drawn from all 64-bit numbers.
    pub(super) fn of(&self, id: &str) -> u64 {
        Digest::from_bytes(*blake3::keyed_hash(&self.0, id.as_bytes()).as_bytes()).seed()
    }
}
