//! What flows along an edge: records of named, typed fields, and the schema of a stream. Knows nothing of stages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The fields of a record by name. Ordered by name, so that equal fields always serialise to equal bytes.
pub type Fields = BTreeMap<Arc<str>, Value>;

/// A row: an `id` that is unique in its stream, and named, typed fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unique in the stream. Samples of `p1` are `p1/0`, `p1/1`, ...
    pub id: Arc<str>,
    /// The fields by name.
    pub fields: Fields,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number. Not-a-number and infinities cannot be stored and become [`Value::Null`].
    Float(f64),
    /// Unicode text.
    Text(Arc<str>),
    /// Bytes kept in the store: an image, say.
    Blob(Blob),
    /// Several values.
    List(Vec<Value>),
    /// Named values.
    Map(BTreeMap<String, Value>),
}

/// Bytes that are stored once, under their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The BLAKE3 digest of the bytes.
    #[serde(rename = "blob")]
    pub digest: Digest,
    /// How many bytes there are.
    pub bytes: u64,
    /// The media type, such as `image/png`.
    #[serde(rename = "type")]
    pub media_type: Arc<str>,
}

/// The type of a field as the check of the graph knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum FieldKind {
    /// True or false: `boolean`.
    Bool,
    /// A whole number: `int`.
    Int,
    /// A number: `float`.
    Float,
    /// Text: `text`.
    Text,
    /// An image's bytes: `image`.
    Image,
    /// Several values of one kind: `list<KIND>`.
    List(Box<FieldKind>),
    /// Anything else, or not known: `json`.
    Json,
}

/// The fields of a stream, in the order in which they are shown.
pub type Schema = IndexMap<String, FieldKind>;

impl Record {
    /// The text of field `name`: `None` if there is no such field or it holds no text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The blob of field `name`: `None` if there is no such field or it holds no blob.
    pub fn blob(&self, name: &str) -> Option<&Blob> {
        match self.fields.get(name) {
            Some(Value::Blob(blob)) => Some(blob),
            _ => None,
        }
    }
}

impl FieldKind {
    /// Whether a value of kind `given` can be used where `self` is wanted. `json` on either side always fits: what is not
    /// known before the run is checked during it. A whole number serves as a number.
    pub fn accepts(&self, given: &FieldKind) -> bool {
        match (self, given) {
            (FieldKind::Json, _) | (_, FieldKind::Json) | (FieldKind::Float, FieldKind::Int) => true,
            (FieldKind::List(wanted), FieldKind::List(given)) => wanted.accepts(given),
            (wanted, given) => wanted == given,
        }
    }

    /// Reads a kind's name: `boolean`, `int`, `float`, `text`, `image`, `json`, `list<KIND>`.
    pub fn parse(name: &str) -> Option<FieldKind> {
        let name = name.trim();
        Some(match name {
            "boolean" | "bool" => FieldKind::Bool,
            "int" => FieldKind::Int,
            "float" => FieldKind::Float,
            "text" => FieldKind::Text,
            "image" => FieldKind::Image,
            "json" => FieldKind::Json,
            _ => {
                let inner = name.strip_prefix("list<")?.strip_suffix('>')?;
                FieldKind::List(Box::new(FieldKind::parse(inner)?))
            }
        })
    }

    /// The kind of `value`.
    pub fn of(value: &Value) -> FieldKind {
        match value {
            Value::Bool(_) => FieldKind::Bool,
            Value::Int(_) => FieldKind::Int,
            Value::Float(_) => FieldKind::Float,
            Value::Text(_) => FieldKind::Text,
            Value::Blob(_) => FieldKind::Image,
            Value::List(values) => {
                let inner = values.first().map_or(FieldKind::Json, FieldKind::of);
                FieldKind::List(Box::new(inner))
            }
            Value::Null | Value::Map(_) => FieldKind::Json,
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldKind::Bool => formatter.write_str("boolean"),
            FieldKind::Int => formatter.write_str("int"),
            FieldKind::Float => formatter.write_str("float"),
            FieldKind::Text => formatter.write_str("text"),
            FieldKind::Image => formatter.write_str("image"),
            FieldKind::List(inner) => write!(formatter, "list<{inner}>"),
            FieldKind::Json => formatter.write_str("json"),
        }
    }
}

impl From<FieldKind> for String {
    fn from(kind: FieldKind) -> Self {
        kind.to_string()
    }
}

impl Value {
    /// Text as a value.
    pub fn text(text: impl AsRef<str>) -> Self {
        Value::Text(Arc::from(text.as_ref()))
    }

    /// The value as JSON; a blob becomes `{"blob": DIGEST, "bytes": N, "type": MIME}`.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.to_string()),
            Value::Blob(blob) => serde_json::to_value(blob).unwrap_or(Json::Null),
            Value::List(values) => Json::Array(values.iter().map(Value::to_json).collect()),
            Value::Map(values) => {
                Json::Object(values.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }

    /// A JSON value as a field's value. An object of exactly `blob`, `bytes` and `type` is a blob; a whole number outside
    /// 64 bits becomes a [`Value::Float`].
    pub fn from_json(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => number.as_f64().map_or(Value::Null, Value::Float),
            },
            Json::String(text) => Value::Text(text.into()),
            Json::Array(values) => Value::List(values.into_iter().map(Value::from_json).collect()),
            Json::Object(values) => {
                if values.contains_key("blob")
                    && let Ok(blob) = serde_json::from_value::<Blob>(Json::Object(values.clone()))
                {
                    return Value::Blob(blob);
                }
                Value::Map(values.into_iter().map(|(name, value)| (name, Value::from_json(value))).collect())
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Value::from_json)
    }
}

impl<'de> Deserialize<'de> for FieldKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        FieldKind::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no kind of field")))
    }
}
