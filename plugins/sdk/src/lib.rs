//! What Rust guests share: strict reading of their config, and panics that reach the engine's log. It knows no world:
//! each guest generates its own bindings.

use serde_json::{Map, Value};

/// Sends the message of every panic to `log`, which should write it at level `error`: the engine shows it with the trap.
pub fn report_panics(log: fn(&str)) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        match panic.location() {
            Some(place) => log(&format!("{message} ({}:{})", place.file(), place.line())),
            None => log(message),
        }
    }));
}

/// A plugin's config: a JSON object with known keys.
pub struct Config(Map<String, Value>);

impl Config {
    /// Reads `json`, an object whose keys must be among `known`.
    ///
    /// # Errors
    /// What is wrong and what is known, for the person who wrote the graph.
    pub fn parse(json: &str, known: &[&str]) -> Result<Self, String> {
        let value = serde_json::from_str(json).map_err(|error| format!("the config is not JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err(format!("the config must be a table, not {}", describe(&value)));
        };
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                let known = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                Err(format!("unknown key `{key}`: expected {known}"))
            }
            None => Ok(Self(object)),
        }
    }

    /// The text at `key`, or `default` if the key is not there.
    ///
    /// # Errors
    /// Anything but text, and empty text.
    pub fn text(&self, key: &str, default: &str) -> Result<String, String> {
        match self.0.get(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(other) => Err(format!("`{key}` must be a text that is not empty, not {}", describe(other))),
        }
    }

    /// The whole number at `key`, at least 1, or `default` if the key is not there.
    ///
    /// # Errors
    /// Anything but a whole number of at least 1.
    pub fn count(&self, key: &str, default: u64) -> Result<u64, String> {
        match self.0.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|count| *count > 0)
                .ok_or_else(|| format!("`{key}` must be a whole number of at least 1, not {}", describe(value))),
        }
    }

    /// The texts at `key`, or `default` if the key is not there.
    ///
    /// # Errors
    /// Anything but a list of texts, an empty list, and empty texts.
    pub fn texts(&self, key: &str, default: &[&str]) -> Result<Vec<String>, String> {
        let Some(value) = self.0.get(key) else {
            return Ok(default.iter().map(|text| (*text).to_owned()).collect());
        };
        let Value::Array(values) = value else {
            return Err(format!("`{key}` must be a list of texts, not {}", describe(value)));
        };
        if values.is_empty() {
            return Err(format!("`{key}` must hold at least one text, not an empty list"));
        }
        let one = |(index, value): (usize, &Value)| match value {
            Value::String(text) if !text.is_empty() => Ok(text.clone()),
            other => {
                Err(format!("`{key}` must be a list of texts that are not empty; entry {index} is {}", describe(other)))
            }
        };
        values.iter().enumerate().map(one).collect()
    }
}

/// A JSON value in a few words.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn config_errors_say_what_is_wrong() {
        let known = ["field", "max", "cut_at"];
        let error = |json: &str| match Config::parse(json, &known) {
            Err(error) => error,
            Ok(config) => config
                .text("field", "a")
                .and_then(|_| config.count("max", 1))
                .and_then(|_| config.texts("cut_at", &["x"]))
                .expect_err("the config is wrong"),
        };
        assert_eq!(error("[]"), "the config must be a table, not a list");
        assert_eq!(error(r#"{"size": 1}"#), "unknown key `size`: expected `field`, `max`, `cut_at`");
        assert_eq!(error(r#"{"field": 3}"#), "`field` must be a text that is not empty, not the number 3");
        assert_eq!(error(r#"{"max": "x"}"#), "`max` must be a whole number of at least 1, not the text \"x\"");
        assert_eq!(error(r#"{"max": 0}"#), "`max` must be a whole number of at least 1, not the number 0");
        assert_eq!(error(r#"{"cut_at": "x"}"#), "`cut_at` must be a list of texts, not the text \"x\"");
        assert_eq!(
            error(r#"{"cut_at": ["a", ""]}"#),
            "`cut_at` must be a list of texts that are not empty; entry 1 is the text \"\""
        );
    }
}
