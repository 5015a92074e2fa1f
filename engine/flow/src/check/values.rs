//! A node's options against its kind's table: types, ranges, choices, defaults, files. Knows nothing of edges.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Number, Value as Json};

use super::files::Files;
use crate::diagnostic::{Diagnostic, Place, list, nearest};
use crate::document::{Content, Item, Table, Text};
use crate::options::{InputFile, OptionKind, OptionSpec, Options, scorer_file};
use crate::stage::Kind;
use crate::template::Template;

/// The checked defaults of kinds that were met, by kind and option: the same for every node, and most options have theirs.
#[derive(Default)]
pub(super) struct Defaults(HashMap<(&'static str, &'static str), Json>);

/// Checks one node's options: every option of the kind gets a value. `header`: the node's place, for what is missing.
pub(super) fn check(
    kind: &dyn Kind,
    table: &Table,
    header: &Place,
    files: &Files<'_>,
    defaults: &mut Defaults,
    errors: &mut Vec<Diagnostic>,
) -> Options {
    let mut options = Options::default();
    options.values.reserve(kind.options().len());
    for spec in kind.options() {
        let value = match table.0.get(spec.name) {
            Some(entry) => given(spec, &entry.item, files, &mut options, errors),
            None => match defaults.0.get(&(kind.name(), spec.name)) {
                Some(value) => Some(value.clone()),
                None => {
                    let value = default(spec, kind, header, files, &mut options, errors);
                    // A default that names files gives these too.
                    if let Some(value) = value.as_ref().filter(|_| !options.files.contains_key(spec.name)) {
                        defaults.0.insert((kind.name(), spec.name), value.clone());
                    }
                    value
                }
            },
        };
        options.values.insert(spec.name.to_owned(), value.unwrap_or(Json::Null));
    }
    options
}

/// The value of an option that is not given. `None` after an error.
fn default(
    spec: &OptionSpec,
    kind: &dyn Kind,
    header: &Place,
    files: &Files<'_>,
    options: &mut Options,
    errors: &mut Vec<Diagnostic>,
) -> Option<Json> {
    let Some(text) = spec.default else {
        let message = format!("option `{}` of kind `{}` is missing", spec.name, kind.name());
        errors.push(Diagnostic::new(header, message).help(format!("it takes {}: {}", wanted(&spec.kind), spec.doc)));
        return None;
    };
    match serde_json::from_str(text) {
        Ok(Json::Null) => Some(Json::Null),
        Ok(value) => given(spec, &item(value, header), files, options, errors),
        Err(error) => {
            let message =
                format!("kind `{}` is defective: the default of `{}` is not JSON: {error}", kind.name(), spec.name);
            errors.push(Diagnostic::new(header, message));
            None
        }
    }
}

/// A default as if it stood in the file, so that it goes through the same checks.
fn item(json: Json, place: &Place) -> Item {
    let content = match json {
        Json::Null => Content::Broken,
        Json::Bool(value) => Content::Bool(value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Content::Integer(value),
            None => Content::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Content::Text(Text { value: text.clone(), written: text }),
        Json::Array(values) => Content::List(values.into_iter().map(|value| item(value, place)).collect()),
        Json::Object(values) => {
            let entry = |value| crate::document::Entry { key: place.clone(), item: item(value, place) };
            Content::Table(Table(values.into_iter().map(|(key, value)| (key, entry(value))).collect()))
        }
    };
    Item { place: place.clone(), content }
}

/// The value of an option that is given, as canonical JSON. `None` after an error.
fn given(
    spec: &OptionSpec,
    item: &Item,
    files: &Files<'_>,
    options: &mut Options,
    errors: &mut Vec<Diagnostic>,
) -> Option<Json> {
    if item.is_broken() {
        return None;
    }
    let checker = Checker { spec, files };
    checker.value(item, options).map_err(|found| errors.extend(found)).ok()
}

struct Checker<'a> {
    spec: &'a OptionSpec,
    files: &'a Files<'a>,
}

/// The value, or what is wrong; nothing at all if that was already reported.
type Checked<T> = Result<T, Vec<Diagnostic>>;

impl Checker<'_> {
    fn value(&self, item: &Item, options: &mut Options) -> Checked<Json> {
        match (self.spec.kind, &item.content) {
            (OptionKind::Bool, Content::Bool(value)) => Ok(Json::Bool(*value)),
            (OptionKind::Int { min, max }, Content::Integer(value)) if (min..=max).contains(value) => {
                Ok(Json::from(*value))
            }
            (OptionKind::Float { min, max }, Content::Integer(_) | Content::Float(_)) => {
                let number = number(item).filter(|number| (min..=max).contains(number));
                number.and_then(Number::from_f64).map(Json::Number).ok_or_else(|| self.mismatch(item))
            }
            (OptionKind::Text, Content::Text(text)) => Ok(Json::String(text.value.clone())),
            (OptionKind::Template, Content::Text(text)) => match Template::parse(&text.value) {
                Ok(_) => Ok(Json::String(text.value.clone())),
                Err(message) => Err(vec![self.error(item, format!("option `{}`: {message}", self.spec.name))]),
            },
            (OptionKind::Choice(choices), Content::Text(text)) => self.choice(choices, text, item),
            (OptionKind::File, Content::Text(text)) => {
                let file = self.files.one(text, &item.place).map_err(|error| vec![error])?;
                options.files.insert(self.spec.name.to_owned(), vec![file]);
                Ok(Json::String(text.written.clone()))
            }
            (OptionKind::Files, Content::Text(_)) => {
                let (json, files) = self.input_files(std::slice::from_ref(item))?;
                options.files.insert(self.spec.name.to_owned(), files);
                Ok(json.into_iter().next().unwrap_or(Json::Null))
            }
            (OptionKind::Files, Content::List(items)) if !items.is_empty() => {
                let (json, files) = self.input_files(items)?;
                options.files.insert(self.spec.name.to_owned(), files);
                Ok(Json::Array(json))
            }
            (OptionKind::Output, Content::Text(text)) => {
                let path = self.files.output(text, &item.place).map_err(|error| vec![error])?;
                Ok(Json::String(path))
            }
            (OptionKind::TextList, Content::List(items)) => {
                let texts = collect(items.iter().map(|item| self.text(item)))?;
                Ok(Json::Array(texts.into_iter().map(|text| Json::String(text.value.clone())).collect()))
            }
            (OptionKind::TextMap, Content::Table(table)) => {
                self.table(table, &|item| self.text(item).map(|text| Json::String(text.value.clone())))
            }
            (OptionKind::Weights, Content::Table(table)) => self.table(table, &|item| {
                number(item).and_then(Number::from_f64).map(Json::Number).ok_or_else(|| self.mismatch(item))
            }),
            (OptionKind::Scores, Content::Table(table)) => self.scores(table, options),
            (OptionKind::Any, _) => self.any(item),
            _ => Err(self.mismatch(item)),
        }
    }

    fn choice(&self, choices: &[&str], text: &Text, item: &Item) -> Checked<Json> {
        if choices.contains(&text.value.as_str()) {
            return Ok(Json::String(text.value.clone()));
        }
        let message = format!("option `{}` takes one of {}", self.spec.name, list(choices.iter().copied()));
        let near = nearest(&text.value, choices.iter().copied());
        let label = near.map_or_else(|| format!("found `{}`", text.written), |near| format!("did you mean `{near}`?"));
        Err(vec![self.error(item, message).label(label)])
    }

    /// The files that the items name, each once, and the items as written.
    fn input_files(&self, items: &[Item]) -> Checked<(Vec<Json>, Vec<InputFile>)> {
        let matched = collect(items.iter().map(|item| {
            let text = self.text(item)?;
            let files = self.files.matching(text, &item.place).map_err(|error| vec![error])?;
            Ok((text, files))
        }))?;
        let mut files: Vec<InputFile> = Vec::new();
        let mut written = Vec::new();
        for (text, more) in matched {
            written.push(Json::String(text.written.clone()));
            let new = more.into_iter().filter(|file| files.iter().all(|old| old.path != file.path)).collect::<Vec<_>>();
            files.extend(new);
        }
        Ok((written, files))
    }

    fn text<'i>(&self, item: &'i Item) -> Checked<&'i Text> {
        match &item.content {
            Content::Text(text) => Ok(text),
            _ => Err(self.mismatch(item)),
        }
    }

    /// A table whose values all pass `value`. Keys are sorted: their order in the file means nothing.
    fn table(&self, table: &Table, value: &dyn Fn(&Item) -> Checked<Json>) -> Checked<Json> {
        let entries = collect(table.0.iter().map(|(key, entry)| Ok((key.clone(), value(&entry.item)?))))?;
        let sorted: BTreeMap<String, Json> = entries.into_iter().collect();
        Ok(Json::Object(sorted.into_iter().collect()))
    }

    /// Weights, and tables with the file of a scorer.
    fn scores(&self, table: &Table, options: &mut Options) -> Checked<Json> {
        let entries = collect(table.0.iter().map(|(name, entry)| {
            let Content::Table(settings) = &entry.item.content else {
                let weight = number(&entry.item).and_then(Number::from_f64).map(Json::Number);
                return Ok((name.clone(), weight.ok_or_else(|| self.mismatch(&entry.item))?));
            };
            let Some(plugin) = settings.0.get("plugin") else {
                let message = format!("`{}.{name}` names no `plugin`", self.spec.name);
                return Err(vec![self.error(&entry.item, message)]);
            };
            let file = self.files.one(self.text(&plugin.item)?, &plugin.item.place).map_err(|error| vec![error])?;
            let mut value = self.any(&entry.item)?;
            value["plugin"] = Json::String(file.digest.to_string());
            options.files.insert(scorer_file(self.spec.name, name), vec![file]);
            Ok((name.clone(), value))
        }))?;
        let sorted: BTreeMap<String, Json> = entries.into_iter().collect();
        Ok(Json::Object(sorted.into_iter().collect()))
    }

    /// Any value as JSON; a date becomes text.
    fn any(&self, item: &Item) -> Checked<Json> {
        match &item.content {
            Content::Bool(value) => Ok(Json::Bool(*value)),
            Content::Integer(value) => Ok(Json::from(*value)),
            Content::Float(value) => match Number::from_f64(*value) {
                Some(number) => Ok(Json::Number(number)),
                None => Err(vec![
                    self.error(item, format!("option `{}` takes no infinite or undefined number", self.spec.name)),
                ]),
            },
            Content::Text(text) => Ok(Json::String(text.value.clone())),
            Content::Date(date) => Ok(Json::String(date.clone())),
            Content::List(items) => Ok(Json::Array(collect(items.iter().map(|item| self.any(item)))?)),
            Content::Table(table) => self.table(table, &|item| self.any(item)),
            Content::Broken => Err(Vec::new()),
        }
    }

    fn error(&self, item: &Item, message: String) -> Diagnostic {
        Diagnostic::new(&item.place, message).help(self.spec.doc)
    }

    /// A value of the wrong type or out of range.
    fn mismatch(&self, item: &Item) -> Vec<Diagnostic> {
        let found = match &item.content {
            Content::Broken => return Vec::new(),
            Content::Integer(value) => value.to_string(),
            Content::Float(value) => format!("{value:?}").to_lowercase(),
            Content::Bool(value) => format!("`{value}`"),
            Content::List(items) if items.is_empty() => "an empty list".to_owned(),
            _ => item.type_name().to_owned(),
        };
        let message = format!("option `{}` takes {}", self.spec.name, wanted(&self.spec.kind));
        vec![self.error(item, message).label(format!("found {found}"))]
    }
}

/// All values, or all errors.
fn collect<T>(results: impl Iterator<Item = Checked<T>>) -> Checked<Vec<T>> {
    let (mut values, mut errors, mut failed) = (Vec::new(), Vec::new(), false);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(more) => {
                failed = true;
                errors.extend(more);
            }
        }
    }
    if failed { Err(errors) } else { Ok(values) }
}

fn number(item: &Item) -> Option<f64> {
    match item.content {
        Content::Integer(value) => Some(value as f64),
        Content::Float(value) => Some(value),
        _ => None,
    }
}

/// What an option takes, in words.
pub(super) fn wanted(kind: &OptionKind) -> String {
    match kind {
        OptionKind::Bool => "`true` or `false`".to_owned(),
        OptionKind::Int { min, max } => {
            let bound = |value: i64, none: i64| (value != none).then(|| value.to_string());
            ranged("a whole number", bound(*min, i64::MIN), bound(*max, i64::MAX))
        }
        OptionKind::Float { min, max } => {
            let bound = |value: f64| (value.abs() < f64::MAX).then(|| value.to_string());
            ranged("a number", bound(*min), bound(*max))
        }
        OptionKind::Text => "text".to_owned(),
        OptionKind::Template => "text with `{{ field }}` in it".to_owned(),
        OptionKind::Choice(choices) => format!("one of {}", list(choices.iter().copied())),
        OptionKind::File => "the path of a file".to_owned(),
        OptionKind::Files => "a path, a glob or a list of these".to_owned(),
        OptionKind::Output => "the path of a file to write".to_owned(),
        OptionKind::TextList => "a list of texts".to_owned(),
        OptionKind::Weights => "a table of names and numbers".to_owned(),
        OptionKind::Scores => "a table of names, each with a weight or a table with `plugin` and `weight`".to_owned(),
        OptionKind::TextMap => "a table of names and texts".to_owned(),
        OptionKind::Any => "any value".to_owned(),
    }
}

fn ranged(what: &str, min: Option<String>, max: Option<String>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what} of at least {min}"),
        (None, Some(max)) => format!("{what} of at most {max}"),
        (None, None) => what.to_owned(),
    }
}
