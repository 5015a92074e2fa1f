//! The cases of a plugin: rows in, the answers that are expected, and what differs. It does not know how that is shown.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ruminate_flow::target::NewFile;
use serde_json::{Map, Value as Json};
use similar::{ChangeTag, TextDiff};

use super::error::AuthorError;
use super::trial::{self, Limits, Trial, TrialError};

const INPUT: &str = "input.jsonl";
const CONFIG: &str = "config.json";
const EXPECTED: &str = "expected.jsonl";
const REFUSAL: &str = "error.txt";
/// Lines that are shown around a difference.
const CONTEXT: usize = 2;

/// A folder with one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many rows, or refusals of a config, were compared.
    pub compared: usize,
    /// What differs; nothing if the case passes.
    pub differences: Vec<Difference>,
    /// The file of what is expected.
    pub file: PathBuf,
    /// What that file must hold for the case to pass.
    pub actual: String,
}

/// Something that differs from what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is about: "record `r0`", "the refusal of the config".
    pub about: String,
    /// What is expected and what was given, line by line.
    pub lines: Vec<Line>,
}

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The same in both.
    Same(String),
    /// Expected, and not given.
    Expected(String),
    /// Given, and not expected.
    Given(String),
}

/// The cases in the folder `cases` of a plugin, by name.
///
/// # Errors
/// There are none.
pub fn find_cases(plugin: &Path) -> Result<Vec<Case>, AuthorError> {
    let folder = plugin.join("cases");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut cases: Vec<Case> = entries
        .filter(|path| path.is_dir())
        .map(|folder| Case { name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(), folder })
        .filter(|case| !case.name.starts_with('.'))
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    if cases.is_empty() {
        return Err(AuthorError::Input(format!(
            "there is no case in `{}`: a case is a folder there with `{INPUT}`, if need be `{CONFIG}`, and `{EXPECTED}` or \
             `{REFUSAL}`",
            folder.display()
        )));
    }
    Ok(cases)
}

/// Runs `case` through the component in `plugin`. `note` gets what the plugin logs. With `update` what is expected need not be
/// there yet.
///
/// # Errors
/// Files of the case that are missing or cannot be read; a component that is none.
pub fn check(case: &Case, plugin: &Path, update: bool, note: &(dyn Fn(&str) + Sync)) -> Result<Outcome, AuthorError> {
    let (expected, refusal) = (case.folder.join(EXPECTED), case.folder.join(REFUSAL));
    if expected.exists() && refusal.exists() {
        let shown = case.folder.display();
        return Err(AuthorError::Input(format!(
            "`{shown}` has both `{EXPECTED}` and `{REFUSAL}`: a case has one of them"
        )));
    }
    let config = config(case)?;
    match Trial::open(plugin, config.clone(), Limits::default()) {
        Ok(trial) => check_answers(case, &trial, update, note),
        Err(TrialError::Author(error)) => Err(error),
        Err(TrialError::Refused { faults, .. }) => {
            let own = trial::refusal(plugin, &config);
            check_refusal(&faults.join("\n"), own, &refusal, &expected, update)
        }
    }
}

impl Outcome {
    /// Makes the case expect what the plugin gives; the file is written whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn accept(&self) -> Result<(), AuthorError> {
        let parent = self.file.parent().unwrap_or(Path::new("."));
        let unwritable = || AuthorError::unwritable(&self.file);
        let new = NewFile::create(&self.file).map_err(unwritable())?;
        let written = new.file().write_all(self.actual.as_bytes());
        written.and_then(|()| new.finish()).map_err(unwritable())?;
        // Of the two files only one can say what is expected.
        let other = if self.file.ends_with(EXPECTED) { REFUSAL } else { EXPECTED };
        let other = parent.join(other);
        if other.exists() { std::fs::remove_file(&other).map_err(AuthorError::unwritable(&other)) } else { Ok(()) }
    }
}

fn config(case: &Case) -> Result<Json, AuthorError> {
    let path = case.folder.join(CONFIG);
    if !path.exists() {
        return Ok(Json::Object(Map::new()));
    }
    let text = std::fs::read_to_string(&path).map_err(AuthorError::unreadable(&path))?;
    serde_json::from_str(&text)
        .map_err(|error| AuthorError::Input(format!("`{}` is not JSON: {error}", path.display())))
}

fn check_answers(
    case: &Case,
    trial: &Trial,
    update: bool,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Outcome, AuthorError> {
    let file = case.folder.join(EXPECTED);
    let input = case.folder.join(INPUT);
    if !input.is_file() {
        return Err(AuthorError::Input(format!("the case `{}` lacks its rows: `{}`", case.name, input.display())));
    }
    let mut given = Vec::new();
    trial.run(&input, None, note, &mut |answer| {
        given.push((answer.id.to_string(), answer.to_json()));
        Ok(())
    })?;
    let actual: String = given.iter().map(|(_, json)| format!("{json}\n")).collect();
    let refusal = case.folder.join(REFUSAL);
    let mut differences = Vec::new();
    if refusal.exists() && !update {
        let wanted = std::fs::read_to_string(&refusal).map_err(AuthorError::unreadable(&refusal))?;
        let about = "the config, which the plugin takes and should refuse".to_owned();
        differences.push(Difference { about, lines: vec![Line::Expected(wanted.trim_end().to_owned())] });
    } else if file.exists() {
        differences = compare(&expected(&file, update)?, &given);
    } else if update {
        let lines = actual.lines().map(|line| Line::Given(line.to_owned())).collect();
        differences.push(Difference { about: format!("`{EXPECTED}`, which is not there yet"), lines });
    } else {
        return Err(AuthorError::Input(format!(
            "the case `{}` does not say what is expected: `{}` is missing; `--update` writes it",
            case.name,
            file.display()
        )));
    }
    Ok(Outcome { compared: given.len(), differences, file, actual })
}

/// Compares a refusal with `error.txt`: with what the engine says about the config, and with the plugin's own words.
fn check_refusal(
    faults: &str,
    own: Option<String>,
    file: &Path,
    expected: &Path,
    update: bool,
) -> Result<Outcome, AuthorError> {
    let wanted = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AuthorError::unreadable(file)(error)),
        Err(_) if update => String::new(),
        Err(_) => {
            return Err(AuthorError::Input(format!(
                "the plugin refuses the config of `{}`: {faults}",
                expected.parent().unwrap_or(expected).display()
            )));
        }
    };
    let wanted = wanted.trim_end();
    let actual = own.clone().unwrap_or_else(|| faults.to_owned());
    let same = wanted == faults || own.as_deref() == Some(wanted);
    let differences = if same {
        Vec::new()
    } else {
        vec![Difference { about: "the refusal of the config".to_owned(), lines: lines(wanted, &actual) }]
    };
    Ok(Outcome { compared: 1, differences, file: file.to_owned(), actual: actual + "\n" })
}

/// The lines of `expected.jsonl`, by id. A file that `--update` replaces may hold anything.
fn expected(file: &Path, update: bool) -> Result<Vec<(String, Json)>, AuthorError> {
    let text = std::fs::read_to_string(file).map_err(AuthorError::unreadable(file))?;
    let mut expected: Vec<(String, Json)> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |fault: String| AuthorError::Input(format!("`{}:{}`: {fault}", file.display(), number + 1));
        let parsed = serde_json::from_str::<Json>(line).map_err(|error| wrong(format!("not JSON: {error}")));
        let id = parsed.and_then(|json| match json["id"].as_str() {
            Some(id) => Ok((id.to_owned(), json)),
            None => Err(wrong("expected an object with the record's `id`, a text".to_owned())),
        });
        match id {
            Ok((id, _)) if expected.iter().any(|(known, _)| *known == id) && !update => {
                return Err(wrong(format!("the record `{id}` is here for the second time")));
            }
            Ok(entry) => expected.push(entry),
            Err(_) if update => {}
            Err(error) => return Err(error),
        }
    }
    Ok(expected)
}

fn compare(expected: &[(String, Json)], given: &[(String, Json)]) -> Vec<Difference> {
    let by_id = |list: &'_ [(String, Json)]| -> BTreeMap<String, Json> { list.iter().cloned().collect() };
    let (wanted, found) = (by_id(expected), by_id(given));
    let mut differences = Vec::new();
    for (id, json) in given {
        let about = format!("record `{id}`");
        match wanted.get(id) {
            Some(wanted) if same(wanted, json) => {}
            Some(wanted) => differences.push(Difference { about, lines: lines(&shown(wanted), &shown(json)) }),
            None => differences.push(Difference {
                about: format!("{about}, which is not expected"),
                lines: shown(json).lines().map(|line| Line::Given(line.to_owned())).collect(),
            }),
        }
    }
    for (id, json) in expected.iter().filter(|(id, _)| !found.contains_key(id)) {
        let lines = shown(json).lines().map(|line| Line::Expected(line.to_owned())).collect();
        differences.push(Difference { about: format!("record `{id}`, which is not there"), lines });
    }
    let order = |list: &[(String, Json)]| list.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join("\n");
    if differences.is_empty() && order(expected) != order(given) {
        let lines = lines(&order(expected), &order(given));
        differences.push(Difference { about: "the order of the records".to_owned(), lines });
    }
    differences
}

/// Whether two answers are equal: a note or value that is null may also be left out, and 1 is 1.0.
fn same(one: &Json, other: &Json) -> bool {
    let (Json::Object(one), Json::Object(other)) = (one, other) else { return false };
    let in_other = |(name, value): (&String, &Json)| equal(value, other.get(name).unwrap_or(&Json::Null));
    one.iter().all(in_other) && other.iter().all(|(name, value)| one.contains_key(name) || value.is_null())
}

fn equal(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let in_other = |(name, value): (&String, &Json)| other.get(name).is_some_and(|other| equal(value, other));
            one.len() == other.len() && one.iter().all(in_other)
        }
        (one, other) => one == other,
    }
}

/// An answer as people read it: a line for each value, and for each line of a text.
fn shown(answer: &Json) -> String {
    serde_json::to_string_pretty(&sorted(answer)).unwrap_or_default().replace("\\n", "\\n\n      ")
}

/// The fields in the order of their names, so that only what differs is shown as different.
fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_by_key(|name| (*name != "id", *name));
            Json::Object(names.into_iter().map(|name| (name.clone(), sorted(&fields[name]))).collect())
        }
        Json::Array(values) => Json::Array(values.iter().map(sorted).collect()),
        // As `same` compares them.
        Json::Number(number) => number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
            .map_or_else(|| json.clone(), |float| Json::from(float as i64)),
        other => other.clone(),
    }
}

fn lines(expected: &str, given: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(expected, given);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            lines.push(match change.tag() {
                ChangeTag::Equal => Line::Same(text),
                ChangeTag::Delete => Line::Expected(text),
                ChangeTag::Insert => Line::Given(text),
            });
        }
    }
    lines
}
