//! `ruminate plugin inspect`: what a component is, for people or as JSON.

use std::io::Write;

use ruminate_flow::record::Schema;
use ruminate_flow::stage::Complaint;
use ruminate_wasm::{Columns, Inspection, PluginError, author};
use serde_json::{Map, Value as Json, json};

use super::{empty_config, read_config, refused};
use crate::arguments::plugin::InspectArguments;
use crate::failure::Failure;
use crate::format::{bytes, count, printable};
use crate::tables::{Align, Table};
use crate::terminal::{self, QUIET, STRONG, paint};

/// Prints what the file is.
///
/// # Errors
/// A file that is no plugin; a config that was given and is refused.
pub(super) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let config = read_config(&arguments.config)?;
    let (file, shown) = (&arguments.file, arguments.file.display());
    let facts =
        ruminate_wasm::inspect(file, config.as_ref().unwrap_or(&empty_config())).map_err(|error| match error {
            PluginError::Read { .. } => Failure::Input(error.to_string()),
            error => Failure::Input(format!("`{shown}` is no plugin: {error}")),
        })?;
    if let (Some(_), Err(complaints)) = (&config, &facts.setup) {
        let help = complaints.iter().find_map(|complaint| complaint.help.as_deref());
        return Err(refused(file, &author::faults(complaints), help));
    }
    if arguments.json {
        writeln!(terminal::stdout(), "{:#}", as_json(&facts))?;
        return Ok(());
    }
    print(&facts)
}

fn print(facts: &Inspection) -> Result<(), Failure> {
    let mut out = terminal::stdout();
    let about = &facts.description;
    let (name, version, world) = (printable(&about.name), printable(&about.version), about.world.name());
    writeln!(out, "{} {version}, a {world}", paint(STRONG, name))?;
    writeln!(out, "{}\n", printable(&about.summary))?;
    let mut line = |title: &str, text: String| writeln!(out, "{} {text}", paint(QUIET, format!("{title:<8}")));
    match &facts.setup {
        Ok(Columns { reads, writes }) => {
            line("reads", fields(reads))?;
            line("writes", fields(writes))?;
        }
        Err(faults) => line("fields", format!("depend on the config: without one, {}", refusal(faults)))?,
    }
    let names = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    line("imports", names(&about.imports))?;
    line("exports", names(&about.exports))?;
    line("size", format!("{} ({} bytes)", bytes(facts.bytes), count(facts.bytes)))?;
    line("digest", facts.digest.to_string())?;
    let Some(keys) = config_keys(facts) else { return Ok(()) };
    let mut table = Table::new(&[
        ("config", Align::Left),
        ("type", Align::Left),
        ("default", Align::Left),
        ("what it does", Align::Left),
    ]);
    keys.into_iter().for_each(|row| table.row(row));
    write!(out, "\n{}", table.render(Some(terminal::text_width())))?;
    Ok(())
}

/// The rows of the table of what the config takes; `None` if the plugin does not say.
fn config_keys(facts: &Inspection) -> Option<Vec<[String; 4]>> {
    let schema: Json = serde_json::from_str(facts.description.config_schema.as_deref()?).ok()?;
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required").and_then(Json::as_array);
    let row = |(name, property): (&String, &Json)| {
        let is_required = required.is_some_and(|required| required.iter().any(|other| other == name));
        let default = match property.get("default") {
            Some(default) => default.to_string(),
            None if is_required => "required".to_owned(),
            None => String::new(),
        };
        let text = |key: &str| printable(property.get(key).and_then(Json::as_str).unwrap_or_default());
        let kind = match property.get("enum").and_then(Json::as_array) {
            Some(values) => values.iter().map(Json::to_string).collect::<Vec<_>>().join(" | "),
            None => text("type"),
        };
        [printable(name), printable(&kind), printable(&default), text("description")]
    };
    Some(properties.iter().map(row).collect())
}

fn refusal(complaints: &[Complaint]) -> String {
    printable(&author::faults(complaints).join("; "))
}

fn fields(schema: &Schema) -> String {
    let fields: Vec<String> = schema.iter().map(|(name, kind)| format!("{} ({kind})", printable(name))).collect();
    if fields.is_empty() { "nothing".to_owned() } else { fields.join(", ") }
}

fn as_json(facts: &Inspection) -> Json {
    let about = &facts.description;
    let schema = about.config_schema.as_deref();
    // A schema that is no JSON is shown as the text that it is.
    let schema = schema.map(|schema| serde_json::from_str(schema).unwrap_or_else(|_| json!(schema)));
    let mut object = Map::from_iter([
        ("world".to_owned(), json!(about.world.name())),
        ("name".to_owned(), json!(about.name)),
        ("version".to_owned(), json!(about.version)),
        ("summary".to_owned(), json!(about.summary)),
        ("config_schema".to_owned(), schema.unwrap_or_default()),
    ]);
    let schema_json = |schema: &Schema| -> Json {
        Json::Object(schema.iter().map(|(name, kind)| (name.clone(), json!(kind.to_string()))).collect())
    };
    match &facts.setup {
        Ok(Columns { reads, writes }) => {
            object.insert("reads".to_owned(), schema_json(reads));
            object.insert("writes".to_owned(), schema_json(writes));
        }
        Err(faults) => drop(object.insert("refusal".to_owned(), json!(refusal(faults)))),
    }
    object.insert("imports".to_owned(), json!(about.imports));
    object.insert("exports".to_owned(), json!(about.exports));
    object.insert("bytes".to_owned(), json!(facts.bytes));
    object.insert("digest".to_owned(), json!(facts.digest.to_string()));
    Json::Object(object)
}
