//! The kind of a column, from its values. It knows no format.

use crate::record::{FieldKind, Value};

/// What is known of a column's kind while its values are looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Guess {
    /// No value was seen: of a list, because all were empty.
    #[default]
    Unknown,
    Kind(FieldKind),
    List(Box<Guess>),
}

impl Guess {
    /// Takes one more value into account.
    pub(super) fn widen(&mut self, value: &Value) {
        let given = match value {
            Value::Null => return,
            Value::List(values) => {
                let mut inner = Guess::Unknown;
                values.iter().for_each(|value| inner.widen(value));
                Guess::List(Box::new(inner))
            }
            other => Guess::Kind(FieldKind::of(other)),
        };
        *self = std::mem::take(self).join(given);
    }

    fn join(self, other: Guess) -> Guess {
        match (self, other) {
            (Guess::Unknown, known) | (known, Guess::Unknown) => known,
            (Guess::List(one), Guess::List(other)) => Guess::List(Box::new(one.join(*other))),
            (Guess::Kind(one), Guess::Kind(other)) => Guess::Kind(join(one, other)),
            _ => Guess::Kind(FieldKind::Json),
        }
    }

    /// The kind; `None` if there was no value.
    pub(super) fn kind(self) -> Option<FieldKind> {
        match self {
            Guess::Unknown => None,
            Guess::Kind(kind) => Some(kind),
            Guess::List(inner) => Some(FieldKind::List(Box::new(inner.kind().unwrap_or(FieldKind::Json)))),
        }
    }
}

/// The kind that holds values of both.
pub(crate) fn join(one: FieldKind, other: FieldKind) -> FieldKind {
    match (one, other) {
        (one, other) if one == other => one,
        (FieldKind::Int, FieldKind::Float) | (FieldKind::Float, FieldKind::Int) => FieldKind::Float,
        (FieldKind::List(one), FieldKind::List(other)) => FieldKind::List(Box::new(join(*one, *other))),
        _ => FieldKind::Json,
    }
}

/// A whole number in a column of numbers becomes one of them.
pub(crate) fn as_kind(value: Value, kind: &FieldKind) -> Value {
    match (value, kind) {
        (Value::Int(value), FieldKind::Float) => Value::Float(value as f64),
        (Value::List(values), FieldKind::List(inner)) => {
            Value::List(values.into_iter().map(|value| as_kind(value, inner)).collect())
        }
        (value, _) => value,
    }
}
