//! Field values across the boundary: lowers what a plugin reads, raises and checks what it returns.

use std::sync::Arc;

use ruminate_flow::record::{FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::Blobs;

use crate::call::CallError;
use crate::host::{Field, Score, Value as PluginValue};
use crate::wire;

/// The row of `record`: the fields in `reads`, nothing else.
///
/// A plugin does not see the record's id: results are cached by content, so they must not depend on it. `id` names the content.
///
/// # Errors
/// A field that is missing, of another kind, or an image that cannot be read.
pub(crate) fn lower<'a>(
    record: &'a Record,
    id: String,
    reads: &'a Schema,
    blobs: &dyn Blobs,
) -> Result<wire::Row<'a>, String> {
    let field = |(name, kind): (&'a String, &FieldKind)| {
        let value = record
            .fields
            .get(name.as_str())
            .ok_or_else(|| format!("there is no field `{name}`, which the plugin reads"))?;
        let value = lower_value(value, kind, blobs).map_err(|fault| format!("field `{name}` {fault}"))?;
        Ok(wire::Field { name, value })
    };
    let fields = reads.iter().map(field).collect::<Result<_, String>>()?;
    Ok(wire::Row { id, fields })
}

fn lower_value<'a>(value: &'a Value, kind: &FieldKind, blobs: &dyn Blobs) -> Result<wire::Value<'a>, String> {
    Ok(match (kind, value) {
        (_, Value::Null) => wire::Value::Null,
        (FieldKind::Json, value) => wire::Value::Json(value.to_json().to_string()),
        (FieldKind::Bool, Value::Bool(value)) => wire::Value::Boolean(*value),
        (FieldKind::Int, Value::Int(value)) => wire::Value::Int(*value),
        (FieldKind::Float, Value::Float(value)) => wire::Value::Float(*value),
        (FieldKind::Float, Value::Int(value)) => wire::Value::Float(*value as f64),
        (FieldKind::Text, Value::Text(text)) => wire::Value::Text(text),
        (FieldKind::Image, Value::Blob(blob)) => {
            wire::Value::Bytes(blobs.get(blob).map_err(|error| format!("cannot be read: {error}"))?)
        }
        (FieldKind::List(inner), Value::List(values))
            if values.iter().all(|value| inner.accepts(&FieldKind::of(value))) =>
        {
            wire::Value::Json(value.to_json().to_string())
        }
        _ => return Err(format!("is `{}`, and the plugin reads `{kind}`", FieldKind::of(value))),
    })
}

/// The fields of a returned row as the engine's values. Each must be declared in `writes`, once and with a fitting kind;
/// only fields that the plugin also reads may be left out, for those keep their value.
///
/// # Errors
/// [`CallError::Answer`] for what breaks these rules, [`CallError::Host`] if an image cannot be stored.
pub(crate) fn raise(
    fields: Vec<Field>,
    reads: &Schema,
    writes: &Schema,
    blobs: &dyn Blobs,
) -> Result<Fields, CallError> {
    let mut raised = Fields::new();
    for Field { name, value } in fields {
        let Some(kind) = writes.get(&name) else {
            return Err(CallError::Answer(format!("field `{name}` is not among the fields that it writes")));
        };
        let value = raise_value(&name, value, kind, blobs)?;
        if raised.insert(Arc::from(name.as_str()), value).is_some() {
            return Err(CallError::Answer(format!("field `{name}` comes twice in one row")));
        }
    }
    let missing = writes.keys().find(|name| !raised.contains_key(name.as_str()) && !reads.contains_key(name.as_str()));
    match missing {
        Some(name) => Err(CallError::Answer(format!("field `{name}` is missing"))),
        None => Ok(raised),
    }
}

fn raise_value(name: &str, value: PluginValue, kind: &FieldKind, blobs: &dyn Blobs) -> Result<Value, CallError> {
    let answer = |fault: String| CallError::Answer(format!("field `{name}` {fault}"));
    let value = match value {
        PluginValue::Null => return Ok(Value::Null),
        PluginValue::Bytes(bytes) if kind.accepts(&FieldKind::Image) => {
            let blob = blobs.put(&bytes, media_type(&bytes));
            return blob.map(Value::Blob).map_err(|error| CallError::Host(error.to_string()));
        }
        PluginValue::Bytes(_) => return Err(answer(format!("is bytes, declared as `{kind}`"))),
        PluginValue::Float(value) if !value.is_finite() => return Err(answer("is not a finite number".to_owned())),
        PluginValue::Int(value) if *kind == FieldKind::Float => Value::Float(value as f64),
        PluginValue::Boolean(value) => Value::Bool(value),
        PluginValue::Int(value) => Value::Int(value),
        PluginValue::Float(value) => Value::Float(value),
        PluginValue::Text(text) => Value::Text(text.into()),
        PluginValue::Json(json) => {
            let json = serde_json::from_str(&json).map_err(|error| answer(format!("is not JSON: {error}")))?;
            Value::from_json(json)
        }
    };
    let given = FieldKind::of(&value);
    if kind.accepts(&given) { Ok(value) } else { Err(answer(format!("is `{given}`, declared as `{kind}`"))) }
}

/// The media type that the first bytes tell.
fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        _ => "application/octet-stream",
    }
}

/// A reward's score, if it is a number that can be worked with.
///
/// # Errors
/// [`CallError::Answer`]: not a number, or infinite.
pub(crate) fn finite(score: Score) -> Result<Score, CallError> {
    if score.value.is_finite() {
        Ok(score)
    } else {
        Err(CallError::Answer(format!("the score is {}, not a finite number", score.value)))
    }
}
