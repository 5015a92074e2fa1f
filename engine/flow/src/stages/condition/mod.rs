//! Conditions over a record's fields, in the language of prompt templates (minijinja's expressions), and their check
//! against a schema. Knows no stage.
//!
//! minijinja puts values of different types in an order of its own: `"high" > 0.5` is true. So operands of `<` must be
//! known to be numbers or known to be text before the run. A field without a value is undefined: whatever needs the value
//! stops there, `is none`, `is defined` and `default` work.

mod check;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use minijinja::machinery::parse_expr;
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::record::{FieldKind, Record, Schema, Value};
use check::check;

/// A checked condition.
pub(super) struct Condition {
    source: String,
    /// The fields that it names, with the kinds that they have.
    fields: Arc<[(Arc<str>, FieldKind)]>,
    /// Those with which it calculates.
    calculated: BTreeSet<String>,
}

/// What a condition says of a record.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    True,
    False,
    /// A value that decides is not there: the fields without one.
    Missing(Vec<Arc<str>>),
    /// It cannot be said, because of the values.
    Failed(String),
}

/// What is wrong with a condition, and what to do.
#[derive(Debug, PartialEq)]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// What conditions may use. One for all: it holds some hundred functions, and a graph may have a thousand conditions.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_test("none", |value: &minijinja::Value| value.is_none() || value.is_undefined());
        environment
    })
}

impl Condition {
    /// Reads `source` as a condition over records of `schema`. Fields that the schema has not are among
    /// [`Condition::fields`].
    pub(super) fn new(source: &str, schema: &Schema) -> Result<Self, Vec<Mistake>> {
        let expression = parse_expr(source).map_err(|error| {
            let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            let help = "a condition looks like `score >= 0.5 and (lang == \"en\" or not flag)`";
            vec![Mistake::new(format!("`{}` is no condition: {message}", shown(source)), Some(help))]
        })?;
        let check::Found { fields, calculated, mut mistakes } = check(&expression, schema, environment());
        if fields.is_empty() && mistakes.is_empty() {
            let message = format!("`{}` names no field: it is the same for all records", shown(source));
            mistakes.push(Mistake::new(message, Some("text stands in quotes, fields do not")));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let kind = |name: &str| schema.get(name).cloned().unwrap_or(FieldKind::Json);
        let fields = fields.into_iter().map(|name| (name.as_str().into(), kind(&name))).collect();
        Ok(Self { source: source.to_owned(), fields, calculated })
    }

    /// The names of the fields that decide.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// What the condition says of each record, in order.
    pub(super) fn judge<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Result<Vec<Verdict>, String> {
        let expression = environment().compile_expression(&self.source).map_err(|error| error.to_string())?;
        Ok(records.map(|record| self.verdict(&expression, record)).collect())
    }

    fn verdict(&self, expression: &minijinja::Expression<'_, '_>, record: &Record) -> Verdict {
        let mut values = Vec::with_capacity(self.fields.len());
        for (name, kind) in self.fields.iter() {
            let value = record.fields.get(name).unwrap_or(&Value::Null);
            if *value != Value::Null && !kind.accepts(&FieldKind::of(value)) {
                return Verdict::Failed(format!(
                    "field `{name}` is {kind} in this stream, and here it is {}",
                    brief(value)
                ));
            }
            values.push(lend(value));
        }
        let view = View { fields: self.fields.clone(), values };
        match expression.eval(minijinja::Value::from_object(view)) {
            Ok(value) if value.is_undefined() => self.missing(record),
            Ok(value) if value.is_true() => Verdict::True,
            Ok(_) => Verdict::False,
            Err(error) if error.kind() == ErrorKind::UndefinedError || self.lacks_number(record) => {
                self.missing(record)
            }
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                let value = |name: &Arc<str>| brief(record.fields.get(name).unwrap_or(&Value::Null));
                let values: Vec<_> = self.fields.iter().map(|(name, _)| format!("{name} = {}", value(name))).collect();
                Verdict::Failed(format!("`{}`: {detail}, where {}", shown(&self.source), values.join(", ")))
            }
        }
    }

    /// Whether a field with which it calculates has no value: the library has no error of its own for that.
    fn lacks_number(&self, record: &Record) -> bool {
        self.calculated.iter().any(|name| matches!(record.fields.get(name.as_str()), None | Some(Value::Null)))
    }

    fn missing(&self, record: &Record) -> Verdict {
        let missing =
            self.fields.iter().filter(|(name, _)| matches!(record.fields.get(name), None | Some(Value::Null)));
        Verdict::Missing(missing.map(|(name, _)| name.clone()).collect())
    }
}

impl Mistake {
    fn new(message: String, help: Option<&str>) -> Self {
        Self { message, help: help.map(str::to_owned) }
    }
}

/// A condition in a message: on one line, and not all of a long one.
pub(super) fn shown(source: &str) -> String {
    const LONGEST: usize = 80;
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A value in a message.
fn brief(value: &Value) -> String {
    shown(&value.to_json().to_string())
}

/// The fields of a record, as far as the condition names them.
#[derive(Debug)]
struct View {
    fields: Arc<[(Arc<str>, FieldKind)]>,
    values: Vec<minijinja::Value>,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<minijinja::Value> {
        let index = self.fields.iter().position(|(name, _)| **name == *key)?;
        self.values.get(index).cloned()
    }
}

/// A value for the library; text is shared, not copied.
fn lend(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::UNDEFINED,
        Value::Bool(value) => minijinja::Value::from(*value),
        Value::Int(value) => minijinja::Value::from(*value),
        Value::Float(value) => minijinja::Value::from(*value),
        Value::Text(text) => minijinja::Value::from(text.clone()),
        Value::Blob(blob) => minijinja::Value::from_pairs([
            ("blob", minijinja::Value::from(blob.digest.to_string())),
            ("bytes", minijinja::Value::from(blob.bytes)),
            ("type", minijinja::Value::from(blob.media_type.clone())),
        ]),
        Value::List(values) => values.iter().map(lend).collect(),
        Value::Map(values) => {
            minijinja::Value::from_pairs(values.iter().map(|(name, value)| (name.as_str(), lend(value))))
        }
    }
}
