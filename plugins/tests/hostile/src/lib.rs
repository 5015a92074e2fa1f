//! A mapper that does what its field `command` says, most of it wrong: the tests of the plugin host send it every way in
//! which a plugin can misbehave. Not a plugin for graphs.

use std::hint::black_box;

use self::exports::ruminate::plugin::lifecycle::{Guest as Lifecycle, Info, Setup};
use self::ruminate::plugin::logging::{Level, log};
use self::ruminate::plugin::types::{Column, Field, Value};

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "mapper" });
    export!(Plugin with_types_in self);
    use super::Plugin;
}
use bindings::{Guest, Row, exports, ruminate};

struct Plugin;

impl Lifecycle for Plugin {
    fn describe() -> Info {
        let name = env!("CARGO_PKG_NAME").to_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Info { name, version, summary: "misbehaves as its input says".to_owned(), config_schema: None }
    }

    fn configure(config_json: String) -> Result<Setup, String> {
        report_panics();
        let config: serde_json::Value = serde_json::from_str(&config_json).map_err(|error| error.to_string())?;
        let mut reads = vec![column("command", "text")];
        match config["configure"].as_str().unwrap_or("well") {
            "loop" => spin(),
            "panic" => panic!("no configuration today"),
            "unknown-kind" => reads.push(column("note", "tekst")),
            "read-twice" => reads.push(column("command", "text")),
            "read-image" => reads.push(column("image", "image")),
            "read-list" => reads.push(column("numbers", "list<int>")),
            _ => {}
        }
        let writes = vec![column("note", "text"), column("score", "float"), column("data", "json")];
        Ok(Setup { reads, writes })
    }
}

impl Guest for Plugin {
    fn transform(batch: Vec<Row>) -> Result<Vec<Vec<Row>>, String> {
        let lists = batch.iter().map(obey).collect::<Result<Vec<_>, String>>()?;
        // One row asks for a list too few, whatever the others are.
        let short = batch.iter().any(|row| command(row) == "short");
        Ok(lists.into_iter().skip(usize::from(short)).collect())
    }
}

/// Raw bindings, unlike the plugins that ship: it breaks rules that the SDK keeps. Of panics it does as the SDK does.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (message, place) = (panic.payload_as_str().unwrap_or_default(), panic.location());
        let place = place.map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        log(Level::Error, &format!("{message}{place}"));
    }));
}

// Kept whole, so that a backtrace can name it.
#[inline(never)]
fn obey(row: &Row) -> Result<Vec<Row>, String> {
    let mut fields = vec![
        field("note", Value::Text(note(row))),
        field("score", Value::Float(0.5)),
        field("data", Value::Json("[1, {\"a\": null}]".to_owned())),
    ];
    match command(row) {
        "loop" => spin(),
        "memory" => exhaust(),
        "recurse" => drop(black_box(recurse(1))),
        "panic" => panic!("the record said so"),
        "error" => return Err("the record is refused".to_owned()),
        "none" => return Ok(Vec::new()),
        "two" => return Ok(vec![result(row, fields.clone()), result(row, fields)]),
        "undeclared" => fields.push(field("secret", Value::Null)),
        "twice" => fields.push(field("note", Value::Null)),
        "missing" => drop(fields.pop()),
        "wrong-kind" => fields[0].value = Value::Int(7),
        "not-a-number" => fields[1].value = Value::Float(f64::NAN),
        "bad-json" => fields[2].value = Value::Json("{".to_owned()),
        "log" => (0..100).for_each(|line| log(Level::Info, &format!("line {line}"))),
        _ => {}
    }
    Ok(vec![result(row, fields)])
}

/// What the guest saw of its record beside the command: the names and variants of the other fields.
fn note(row: &Row) -> String {
    let seen = row.fields.iter().filter(|field| field.name != "command").map(|field| match &field.value {
        Value::Bytes(bytes) => format!("{}: {} bytes", field.name, bytes.len()),
        Value::Json(json) => format!("{}: json {json}", field.name),
        Value::Null => format!("{}: null", field.name),
        _ => format!("{}: a scalar", field.name),
    });
    seen.collect::<Vec<_>>().join(", ")
}

fn command(row: &Row) -> &str {
    let value = row.fields.iter().find(|field| field.name == "command").map(|field| &field.value);
    if let Some(Value::Text(text)) = value { text } else { "" }
}

fn result(row: &Row, fields: Vec<Field>) -> Row {
    Row { id: row.id.clone(), fields }
}

fn field(name: &str, value: Value) -> Field {
    Field { name: name.to_owned(), value }
}

fn column(name: &str, kind: &str) -> Column {
    Column { name: name.to_owned(), kind: kind.to_owned() }
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn exhaust() {
    let mut blocks = Vec::new();
    loop {
        blocks.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + depth)
}
