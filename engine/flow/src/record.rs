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
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::Float(_) => serializer.serialize_unit(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Blob(blob) => blob.serialize(serializer),
            Value::List(values) => serializer.collect_seq(values),
            Value::Map(values) => serializer.collect_map(values),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Reads values without the detour over a JSON tree: the store's segments hold millions of them.
struct ValueVisitor;

impl<'de> serde::de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(if value.is_finite() { Value::Float(value) } else { Value::Null })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::with_capacity(access.size_hint().unwrap_or(0).min(1024));
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            values.insert(name, value);
        }
        Ok(Blob::from_map(&values).map_or(Value::Map(values), Value::Blob))
    }
}

impl Blob {
    /// The blob of these bytes, wherever they are stored.
    pub fn of(bytes: &[u8], media_type: &str) -> Blob {
        Blob { digest: Digest::of(bytes), bytes: bytes.len() as u64, media_type: media_type.into() }
    }

    /// The blob that `{"blob": DIGEST, "bytes": N, "type": MIME}` names; `None` for anything else.
    fn from_map(values: &BTreeMap<String, Value>) -> Option<Blob> {
        let (Value::Text(digest), Value::Int(bytes), Value::Text(media_type)) =
            (values.get("blob")?, values.get("bytes")?, values.get("type")?)
        else {
            return None;
        };
        let blob =
            Blob { digest: digest.parse().ok()?, bytes: u64::try_from(*bytes).ok()?, media_type: media_type.clone() };
        (values.len() == 3).then_some(blob)
    }
}

impl<'de> Deserialize<'de> for FieldKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        FieldKind::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no kind of field")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_their_json_does() {
        let digest = Digest::of(b"x");
        let blob = format!(r#"{{"blob": "{digest}", "bytes": 1, "type": "image/png"}}"#);
        let more = format!(r#"{{"blob": "{digest}", "bytes": 1, "type": "image/png", "more": 1}}"#);
        let plain = [
            r#"null"#,
            "true",
            "-3",
            "18446744073709551615",
            "0.1",
            "1e3",
            r#""a\n\u00fc""#,
            r#"[1, [], {"b": null}]"#,
            "{}",
        ];
        for text in plain.into_iter().chain([blob.as_str(), more.as_str(), r#"{"blob": 1, "bytes": 2, "type": "x"}"#]) {
            let read: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read, Value::from_json(serde_json::from_str(text).unwrap()), "{text}");
            assert_eq!(serde_json::to_string(&read).unwrap(), read.to_json().to_string(), "{text}");
        }
        assert!(matches!(serde_json::from_str(&blob).unwrap(), Value::Blob(_)));
        assert!(matches!(serde_json::from_str(&more).unwrap(), Value::Map(_)));
    }
}
