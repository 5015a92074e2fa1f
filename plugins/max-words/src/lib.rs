//! The filter `max-words`: drops traces of more than so many words. OpenVLThinker tried it against reflection and kept
//! `cut-reflection` instead.

use std::sync::OnceLock;

use plugin_sdk::Config;

use self::exports::ruminate::plugin::lifecycle::{Guest as Lifecycle, Info, Setup};
use self::ruminate::plugin::logging::{Level, log};
use self::ruminate::plugin::types::{Column, Value};

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "filter" });
    export!(Plugin with_types_in self);
    use super::Plugin;
}
use bindings::{Guest, Row, Verdict, exports, ruminate};

struct Plugin;

struct Settings {
    field: String,
    max: u64,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

const SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "field": { "type": "string", "default": "reasoning", "description": "the field whose words are counted" },
    "max": { "type": "integer", "minimum": 1, "default": 500, "description": "the most words that pass" }
  }
}"#;

impl Lifecycle for Plugin {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "drops records whose text has more than so many words".to_owned(),
            config_schema: Some(SCHEMA.to_owned()),
        }
    }

    fn configure(config_json: String) -> Result<Setup, String> {
        plugin_sdk::report_panics(|message| log(Level::Error, message));
        let config = Config::parse(&config_json, &["field", "max"])?;
        let field = config.text("field", "reasoning")?;
        let max = config.count("max", 500)?;
        let column = Column { name: field.clone(), kind: "text".to_owned() };
        SETTINGS.set(Settings { field, max }).map_err(|_| "the plugin was configured twice".to_owned())?;
        Ok(Setup { reads: vec![column], writes: Vec::new() })
    }
}

impl Guest for Plugin {
    fn filter(batch: Vec<Row>) -> Result<Vec<Verdict>, String> {
        let settings = SETTINGS.get().ok_or("the plugin was not configured")?;
        Ok(batch.iter().map(|row| verdict(row, settings)).collect())
    }
}

fn verdict(row: &Row, settings: &Settings) -> Verdict {
    let text = row.fields.iter().find_map(|field| match &field.value {
        Value::Text(text) if field.name == settings.field => Some(text.as_str()),
        _ => None,
    });
    if exceeds(text.unwrap_or_default(), settings.max) {
        Verdict::Drop(format!("more than {} words", settings.max))
    } else {
        Verdict::Keep
    }
}

/// Whether `text` has more than `max` words: runs of anything but white space.
fn exceeds(text: &str, max: u64) -> bool {
    text.split_whitespace().zip(0..=max).count() as u64 > max
}

#[cfg(test)]
mod tests {
    use super::exceeds;

    #[test]
    fn words_are_runs_between_white_space() {
        assert!(!exceeds("", 1));
        assert!(!exceeds("  one,two ", 1));
        assert!(exceeds("one\ttwo", 1));
        assert!(!exceeds("one two three", 3));
        assert!(exceeds("one two three four five", 3));
    }
}
