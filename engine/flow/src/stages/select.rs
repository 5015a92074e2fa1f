//! The kind `select`: which fields go on, and under which names. It changes no value, so nothing of it is stored.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::{check_new_name, kind_of, pairs, schema_of, value_of};
use crate::error::StageError;
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Fields, Record, Schema};
use crate::stage::{Complaint, Emit, Kind, NodeInput, Port, Reads, Stage, StageContext, StreamPass, StreamStage, Work};

/// The kind `select`.
pub(super) struct Select;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "fields",
        OptionKind::Any,
        "null",
        "The fields that go on, and no others: a list of names in the order in which they are shown, or a table new name = \
         field. All fields by default. `id` as a field gives the record's id.",
    ),
    OptionSpec::new(
        "drop",
        OptionKind::TextList,
        "[]",
        "Fields that do not go on; all others do. Not beside `fields`.",
    ),
    OptionSpec::new(
        "rename",
        OptionKind::TextMap,
        "{}",
        "New name = field. Fields that are not named here keep their names.",
    ),
];
const INPUTS: &[Port] = &[Port::records("input", "the records")];
const OUTPUTS: &[Port] = &[Port::records("records", "the same records with the chosen fields")];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    fields: Json,
    drop: Vec<String>,
    rename: IndexMap<String, String>,
}

impl Kind for Select {
    fn name(&self) -> &'static str {
        "select"
    }
    fn summary(&self) -> &'static str {
        "keeps, drops and renames fields"
    }
    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        INPUTS
    }
    fn outputs(&self) -> &'static [Port] {
        OUTPUTS
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let settings: Settings = node.settings()?;
        let input = schema_of(node, "input");
        let chosen = pairs(&settings.fields, "fields", "a list of names of fields, or a table new name = field")
            .map_err(|complaint| vec![complaint])?;
        let (columns, complaints) = columns_of(&settings, chosen, &input);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        // Fields that are only dropped are named here too: a name that is not there is a mistake.
        let mut reads = Reads::default();
        for (option, name) in named(&settings, &columns) {
            if name != super::fields::ID || input.contains_key(name) {
                reads = reads.require(name, FieldKind::Json, Some(option));
            }
        }
        let kind = |column: &Column| kind_of(&input, &column.old).unwrap_or(FieldKind::Json);
        let schema = columns.iter().map(|column| (column.new.to_string(), kind(column))).collect();
        Ok(Stage {
            version: 1,
            identity: Json::Null,
            reads: BTreeMap::from([("input", reads)]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Stream(Box::new(Selection { columns })),
        })
    }
}

/// A field that goes on.
#[derive(Clone)]
struct Column {
    new: Arc<str>,
    old: String,
    /// Another column takes its value from the same field, later.
    shared: bool,
    /// The option that says so.
    option: Option<&'static str>,
}

/// What goes on, in order, and what is wrong with that.
fn columns_of(
    settings: &Settings,
    chosen: Option<Vec<(String, String)>>,
    input: &Schema,
) -> (Vec<Column>, Vec<Complaint>) {
    let mut complaints = Vec::new();
    if chosen.is_some() && !settings.drop.is_empty() {
        let message = "`fields` says what goes on, so there is nothing left to drop";
        complaints
            .push(Complaint { help: Some("leave out `drop` or `fields`".into()), ..Complaint::about("drop", message) });
    }
    if chosen.is_none() && settings.drop.is_empty() && settings.rename.is_empty() {
        let message = "kind `select` needs one of `fields`, `drop` and `rename`: it would change nothing";
        complaints.push(Complaint::whole(message));
    }
    let option = chosen.is_some().then_some("fields");
    let kept = chosen.unwrap_or_else(|| {
        let kept = input.keys().filter(|name| !settings.drop.contains(name));
        kept.map(|name| (name.clone(), name.clone())).collect()
    });
    let mut columns = Vec::new();
    for (new, old) in kept {
        let renamed = settings.rename.iter().filter(|(_, from)| **from == new);
        let before = columns.len();
        columns.extend(renamed.map(|(name, _)| Column::new(name, &old, Some("rename"))));
        if columns.len() == before {
            columns.push(Column::new(&new, &old, option));
        }
    }
    for (name, from) in &settings.rename {
        if columns.iter().all(|column| *column.new != **name) {
            // A field that the input has not is the engine's to report; one that is left out is reported here.
            if input.contains_key(from) || option.is_some() {
                let message = format!("`{from}` is renamed to `{name}`, but it does not go on");
                complaints.push(Complaint::about("rename", message));
            } else {
                columns.push(Column::new(name, from, Some("rename")));
            }
        }
    }
    let mut names = HashSet::new();
    for column in &columns {
        complaints.extend(check_new_name(&column.new, column.option.unwrap_or("fields")));
        if !names.insert(column.new.clone()) {
            let message = format!("two fields would be called `{}`", column.new);
            let help = "drop or rename the other one".to_owned();
            let option = if settings.rename.is_empty() { "fields" } else { "rename" };
            complaints.push(Complaint { help: Some(help), ..Complaint::about(option, message) });
        }
    }
    for index in 0..columns.len() {
        columns[index].shared = columns[index + 1..].iter().any(|later| later.old == columns[index].old);
    }
    (columns, complaints)
}

impl Column {
    fn new(new: &str, old: &str, option: Option<&'static str>) -> Self {
        Self { new: new.into(), old: old.to_owned(), shared: false, option }
    }
}

/// The fields that options name, with the option.
fn named<'a>(settings: &'a Settings, columns: &'a [Column]) -> impl Iterator<Item = (&'static str, &'a String)> {
    let columns = columns.iter().filter_map(|column| Some((column.option?, &column.old)));
    columns.chain(settings.drop.iter().map(|name| ("drop", name)))
}

struct Selection {
    columns: Vec<Column>,
}

impl StreamStage for Selection {
    fn begin<'a>(&'a self, _context: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        Ok(Box::new(self))
    }
}

impl StreamPass for &Selection {
    fn take(&mut self, _port: &'static str, mut records: Vec<Record>, out: &mut dyn Emit) -> Result<(), StageError> {
        for record in &mut records {
            let mut fields = Fields::new();
            for column in &self.columns {
                let value = if column.shared { None } else { record.fields.remove(column.old.as_str()) };
                if let Some(value) = value.or_else(|| value_of(record, &column.old)) {
                    fields.insert(column.new.clone(), value);
                }
            }
            record.fields = fields;
        }
        out.records(records)
    }

    fn end(&mut self, _port: &'static str, _out: &mut dyn Emit) -> Result<(), StageError> {
        Ok(())
    }
}
