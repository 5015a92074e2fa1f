//! Reading the fields of a row, and writing those of another. A field that is missing or of another kind is a message.

use serde_json::Value as Json;

use crate::json::joined;
use crate::options::{code, comma};
use crate::types::{Field, Row, Value};

impl Row {
    /// The row with one more field: how a test makes a record.
    ///
    /// ```
    /// let row = ruminate_plugin::Row::default().with("reasoning", "so it is 4").with("tokens", 5);
    /// assert_eq!((row.text("reasoning"), row.int("tokens")), (Ok("so it is 4"), Ok(5)));
    /// ```
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.push(Field { name: name.to_owned(), value: value.into() });
        self
    }

    /// The field as a Rust value; as an `Option`, whose `None` is a null.
    ///
    /// ```
    /// let row = ruminate_plugin::Row::default().with("reasoning", None::<String>);
    /// assert_eq!(row.get::<Option<&str>>("reasoning"), Ok(None));
    /// assert_eq!(row.text("reasoning").unwrap_err(), "field `reasoning` is null, not text");
    /// ```
    ///
    /// # Errors
    /// The field is not there, or of another kind.
    pub fn get<'a, T: FromValue<'a>>(&'a self, name: &str) -> Result<T, String> {
        let value = self.value(name)?;
        T::from_value(value).map_err(|fault| about_field(name, &fault))
    }

    /// The field's value, whatever its kind.
    ///
    /// # Errors
    /// The field is not there: it is not among the columns that the plugin reads.
    pub fn value(&self, name: &str) -> Result<&Value, String> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.map(|field| &field.value).ok_or_else(|| self.missing(name))
    }

    #[cold]
    #[inline(never)]
    fn missing(&self, name: &str) -> String {
        let names = self.fields.iter().map(|field| code(&field.name)).reduce(comma);
        let names = names.unwrap_or_else(|| "none".to_owned());
        joined(&["there is no field ", &code(name), ": the plugin reads ", &names])
    }

    /// The text of a field.
    ///
    /// # Errors
    /// The field is not there, is null, or of another kind.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        self.get(name)
    }

    /// The whole number of a field.
    ///
    /// # Errors
    /// The field is not there, is null, or of another kind.
    pub fn int(&self, name: &str) -> Result<i64, String> {
        self.get(name)
    }

    /// The number of a field, whole or not.
    ///
    /// # Errors
    /// The field is not there, is null, or of another kind.
    pub fn float(&self, name: &str) -> Result<f64, String> {
        self.get(name)
    }

    /// The truth of a field.
    ///
    /// # Errors
    /// The field is not there, is null, or of another kind.
    pub fn boolean(&self, name: &str) -> Result<bool, String> {
        self.get(name)
    }

    /// The bytes of a field: of an image, its file.
    ///
    /// # Errors
    /// The field is not there, is null, or of another kind.
    pub fn bytes(&self, name: &str) -> Result<&[u8], String> {
        self.get(name)
    }

    /// The list or map of a field.
    ///
    /// # Errors
    /// The field is not there, is null, of another kind, or no JSON.
    pub fn json(&self, name: &str) -> Result<Json, String> {
        self.get(name)
    }

    /// Whether the field is null.
    ///
    /// # Errors
    /// The field is not there.
    pub fn is_null(&self, name: &str) -> Result<bool, String> {
        self.value(name).map(|value| *value == Value::Null)
    }
}

#[cold]
#[inline(never)]
fn about_field(name: &str, fault: &str) -> String {
    joined(&["field ", &code(name), " ", fault])
}

/// What a field can be read as.
pub trait FromValue<'a>: Sized {
    /// The value, read.
    ///
    /// # Errors
    /// What the value is instead, to follow the field's name.
    fn from_value(value: &'a Value) -> Result<Self, String>;
}

impl Value {
    /// The value's kind in a word.
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Json(_) => "a list or a map",
        }
    }

    #[cold]
    #[inline(never)]
    fn is_not(&self, expected: &str) -> String {
        joined(&["is ", self.kind(), ", not ", expected])
    }
}

impl<'a> FromValue<'a> for &'a str {
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if let Value::Text(text) = value { Ok(text) } else { Err(value.is_not("text")) }
    }
}

impl<'a> FromValue<'a> for &'a [u8] {
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if let Value::Bytes(bytes) = value { Ok(bytes) } else { Err(value.is_not("bytes")) }
    }
}

impl FromValue<'_> for i64 {
    fn from_value(value: &Value) -> Result<Self, String> {
        if let Value::Int(value) = value { Ok(*value) } else { Err(value.is_not("a whole number")) }
    }
}

impl FromValue<'_> for f64 {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(value) => Ok(*value),
            Value::Int(value) => Ok(*value as f64),
            other => Err(other.is_not("a number")),
        }
    }
}

impl FromValue<'_> for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        if let Value::Boolean(value) = value { Ok(*value) } else { Err(value.is_not("a boolean")) }
    }
}

impl FromValue<'_> for Json {
    fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Json(json) = value else { return Err(value.is_not("a list or a map")) };
        serde_json::from_str(json).map_err(|error| format!("is not JSON: {error}"))
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    fn from_value(value: &'a Value) -> Result<Self, String> {
        if *value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

/// The fields of a returned row, laid over the record that it comes from.
///
/// ```
/// use ruminate_plugin::Fields;
/// let rows = vec![Fields::new().set("reasoning", "so it is 4").set("words", 4)];
/// # assert_eq!(rows.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub(crate) Vec<Field>);

impl Fields {
    /// No fields: the record as it was.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more field, which [`writes`](crate::Mapper::writes) must name.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push(Field { name: name.to_owned(), value: value.into() });
        self
    }

    /// The value of a field that was set.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|field| field.name == name).map(|field| &field.value)
    }
}

macro_rules! into_value {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}

into_value! {
    &str => |value| Value::Text(value.to_owned());
    String => |value| Value::Text(value);
    bool => |value| Value::Boolean(value);
    i32 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    i64 => |value| Value::Int(value);
    f64 => |value| Value::Float(value);
    Vec<u8> => |value| Value::Bytes(value);
    Json => |value| Value::Json(value.to_string());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_read_as_its_kind() {
        let row = Row::default()
            .with("text", "é")
            .with("int", 3)
            .with("float", 0.5)
            .with("boolean", true)
            .with("bytes", vec![1_u8])
            .with("json", json!([1, null]))
            .with("null", Value::Null);
        assert_eq!(row.text("text"), Ok("é"));
        assert_eq!(row.int("int"), Ok(3));
        assert_eq!((row.float("float"), row.float("int")), (Ok(0.5), Ok(3.0)));
        assert_eq!(row.boolean("boolean"), Ok(true));
        assert_eq!(row.bytes("bytes"), Ok([1_u8].as_slice()));
        assert_eq!(row.json("json"), Ok(json!([1, null])));
        assert_eq!((row.is_null("null"), row.is_null("int")), (Ok(true), Ok(false)));
        assert_eq!((row.get::<Option<i64>>("null"), row.get::<Option<i64>>("int")), (Ok(None), Ok(Some(3))));
        assert_eq!(row.int("float"), Err("field `float` is a number, not a whole number".to_owned()));
        assert_eq!(row.text("null"), Err("field `null` is null, not text".to_owned()));
        assert_eq!(row.get::<Option<&str>>("int"), Err("field `int` is a whole number, not text".to_owned()));
    }

    #[test]
    fn a_field_that_is_not_there_is_explained() {
        let row = Row::default().with("reasoning", "a").with("tokens", 1);
        let expected = "there is no field `answer`: the plugin reads `reasoning`, `tokens`";
        assert_eq!(row.text("answer"), Err(expected.to_owned()));
        assert_eq!(Row::default().int("a"), Err("there is no field `a`: the plugin reads none".to_owned()));
    }
}
