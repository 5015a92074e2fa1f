//! The mapper `cut-reflection`: cuts a reasoning trace where it begins to doubt itself and keeps its final answer, as
//! OpenVLThinker did for its first round of SFT data.

mod cut;

use std::sync::OnceLock;

use plugin_sdk::Config;

use self::exports::ruminate::plugin::lifecycle::{Guest as Lifecycle, Info, Setup};
use self::ruminate::plugin::logging::{Level, log};
use self::ruminate::plugin::types::{Column, Field, Value};

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "mapper" });
    export!(Plugin with_types_in self);
    use super::Plugin;
}
use bindings::{Guest, Row, exports, ruminate};

struct Plugin;

struct Settings {
    field: String,
    cut_at: Vec<String>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

const SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "field": { "type": "string", "default": "reasoning", "description": "the field that holds the trace" },
    "cut_at": {
      "type": "array", "items": { "type": "string" }, "minItems": 1,
      "default": ["Wait,", "But wait,", "But the question"],
      "description": "the phrases at which a trace is cut, exactly as written; the earliest in the trace counts"
    }
  }
}"#;

impl Lifecycle for Plugin {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "cuts a reasoning trace where it begins to doubt itself and keeps its final answer".to_owned(),
            config_schema: Some(SCHEMA.to_owned()),
        }
    }

    fn configure(config_json: String) -> Result<Setup, String> {
        plugin_sdk::report_panics(|message| log(Level::Error, message));
        let config = Config::parse(&config_json, &["field", "cut_at"])?;
        let field = config.text("field", "reasoning")?;
        let cut_at = config.texts("cut_at", &["Wait,", "But wait,", "But the question"])?;
        let column = Column { name: field.clone(), kind: "text".to_owned() };
        SETTINGS.set(Settings { field, cut_at }).map_err(|_| "the plugin was configured twice".to_owned())?;
        Ok(Setup { reads: vec![column.clone()], writes: vec![column] })
    }
}

impl Guest for Plugin {
    fn transform(batch: Vec<Row>) -> Result<Vec<Vec<Row>>, String> {
        let settings = SETTINGS.get().ok_or("the plugin was not configured")?;
        Ok(batch.into_iter().map(|row| vec![transform_row(row, settings)]).collect())
    }
}

/// The row with its field cut, or with no fields, which changes nothing, if there is nothing to cut.
fn transform_row(row: Row, settings: &Settings) -> Row {
    let trace = row.fields.iter().find_map(|field| match &field.value {
        Value::Text(text) if field.name == settings.field => Some(text),
        _ => None,
    });
    let cut = trace.and_then(|trace| cut::cut_reflection(trace, &settings.cut_at));
    let fields = cut.map(|text| Field { name: settings.field.clone(), value: Value::Text(text) });
    Row { id: row.id, fields: fields.into_iter().collect() }
}
