//! The fields of an object in a JSON file, read with errors that name the file, the field, what it holds and what was expected.

use serde_json::Value;

use crate::{Error, Result};

/// An object of a JSON file, with its place for error messages.
pub(super) struct Section<'a> {
    pub(super) file: &'static str,
    pub(super) path: String,
    pub(super) value: &'a Value,
}

/// A value as an error shows it.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl<'a> Section<'a> {
    /// A field that holds something else than expected.
    pub(super) fn error(&self, name: &str, found: &str, expected: &str) -> Error {
        Error::model_file(self.file, format!("`{}{name}` is {found}, expected {expected}", self.path))
    }

    /// A field, unless it is missing or null.
    pub(super) fn present(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    /// A field that is an object.
    pub(super) fn section(&self, name: &str) -> Result<Option<Section<'a>>> {
        match self.present(name) {
            None => Ok(None),
            Some(value) if value.is_object() => {
                Ok(Some(Section { file: self.file, path: format!("{}{name}.", self.path), value }))
            }
            Some(value) => Err(self.error(name, &shown(value), "an object")),
        }
    }

    /// A text that must be there.
    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        let value = self.present(name).ok_or_else(|| self.error(name, "missing", "a text"))?;
        value.as_str().ok_or_else(|| self.error(name, &shown(value), "a text"))
    }

    /// A boolean.
    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.error(name, &shown(value), "true or false"))
    }

    /// A number above zero.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number > 0.0 => Ok(Some(number)),
            _ => Err(self.error(name, &shown(value), "a positive number")),
        }
    }

    /// A whole number from 1 to `most`.
    pub(super) fn optional_count(&self, name: &str, most: usize) -> Result<Option<usize>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) if (1..=most).contains(&count) => Ok(Some(count)),
            _ => Err(self.error(name, &shown(value), &format!("a whole number from 1 to {most}"))),
        }
    }

    /// A whole number from 1 to `most` that must be there.
    pub(super) fn count(&self, name: &str, most: usize) -> Result<usize> {
        let missing = || self.error(name, "missing", &format!("a whole number from 1 to {most}"));
        self.optional_count(name, most)?.ok_or_else(missing)
    }

    /// A whole number that may be zero.
    pub(super) fn optional_number_of(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.error(name, &shown(value), "a whole number"))
    }

    /// A count that may also stand as a list with the same count for each axis.
    pub(super) fn side(&self, name: &str, most: usize) -> Result<Option<usize>> {
        match self.present(name) {
            Some(Value::Array(sides)) if !sides.is_empty() && sides.iter().all(|side| *side == sides[0]) => {
                let side = sides[0].as_u64().and_then(|side| usize::try_from(side).ok());
                let side = side.filter(|side| (1..=most).contains(side));
                let found = || shown(&Value::Array(sides.clone()));
                side.map(Some).ok_or_else(|| self.error(name, &found(), &format!("whole numbers from 1 to {most}")))
            }
            Some(value @ Value::Array(_)) => Err(self.error(name, &shown(value), "the same number for each axis")),
            _ => self.optional_count(name, most),
        }
    }

    /// A list of whole numbers.
    pub(super) fn counts(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        let counts = value.as_array().and_then(|list| {
            list.iter().map(|item| item.as_u64().and_then(|count| usize::try_from(count).ok())).collect()
        });
        counts.map(Some).ok_or_else(|| self.error(name, &shown(value), "a list of whole numbers"))
    }

    /// A token id.
    pub(super) fn token(&self, name: &str) -> Result<Option<u32>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.map(Some).ok_or_else(|| self.error(name, &shown(value), "a token id"))
    }

    /// Token ids, one or a list; none when the field is missing.
    pub(super) fn tokens(&self, name: &str) -> Result<Vec<u32>> {
        match self.present(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| {
                    let token = item.as_u64().and_then(|token| u32::try_from(token).ok());
                    token.ok_or_else(|| self.error(name, &shown(item), "a token id"))
                })
                .collect(),
            Some(_) => Ok(self.token(name)?.into_iter().collect()),
        }
    }
}
