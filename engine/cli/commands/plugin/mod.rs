//! `ruminate plugin`: plugins are made, built, tested, looked at and tried. Needs no graph and no store.

mod inspect;
mod run;
mod test;

use std::io::Write;
use std::path::Path;

use ruminate_wasm::author::{self, AuthorError, Language, New, Project};
use serde_json::{Map, Value as Json};

use crate::arguments::plugin::{BuildArguments, ConfigArguments, NewArguments, PluginCommand};
use crate::failure::Failure;
use crate::format::{bytes, duration, shell_line};
use crate::terminal::{self, GOOD, QUIET, STRONG, paint};

/// Does what the command line asks of a plugin.
///
/// # Errors
/// Wrong names, files and configs; a compiler that is missing or refuses the source; cases that do not pass.
pub(crate) fn plugin(command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New(arguments) => new(arguments),
        PluginCommand::Build(arguments) => build(arguments),
        PluginCommand::Test(arguments) => test::test(arguments),
        PluginCommand::Inspect(arguments) => inspect::inspect(arguments),
        PluginCommand::Run(arguments) => run::run(arguments),
    }
}

impl From<AuthorError> for Failure {
    fn from(error: AuthorError) -> Self {
        match error {
            AuthorError::Manifest(diagnostics) => Failure::Graph(diagnostics),
            AuthorError::Output(error) => Failure::Output(error),
            other if other.is_input() => Failure::Input(other.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}

fn new(arguments: &NewArguments) -> Result<(), Failure> {
    let NewArguments { name, lang, kind, dir } = arguments;
    let parent = if dir == Path::new(".") { Path::new("") } else { dir };
    let folder = author::create(&New { name, language: *lang, kind: *kind, parent })?;
    let project = Project::open(&folder)?;
    let shown = folder.display().to_string();
    let line = |words: &[&str]| shell_line(words.iter().map(|word| (*word).to_owned()));
    let mut out = terminal::stdout();
    writeln!(out, "{} `{shown}`: a {} in {}. Next:\n", paint(GOOD, "made"), kind.name(), language_name(*lang))?;
    match lang {
        Language::Js => writeln!(out, "  {}", line(&["npm", "install", "--prefix", &shown]))?,
        Language::Python => {
            writeln!(out, "  {}", line(&["pip", "install", "-r", &format!("{shown}/requirements.txt")]))?
        }
        Language::Rust | Language::C => {}
    }
    let component = project.component().display().to_string();
    let rows = author::find_cases(&folder)?
        .into_iter()
        .map(|case| case.folder.join("input.jsonl"))
        .find(|rows| rows.is_file());
    writeln!(out, "  {}", line(&["ruminate", "plugin", "build", &shown]))?;
    writeln!(out, "  {}", line(&["ruminate", "plugin", "test", &shown]))?;
    if let Some(rows) = rows {
        let rows = rows.display().to_string();
        writeln!(out, "  {}", line(&["ruminate", "plugin", "run", &component, "--input", &rows]))?;
    }
    Ok(())
}

fn build(arguments: &BuildArguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.folder)?;
    let note = |text: &str| terminal::say(&paint(QUIET, text));
    let built = author::build(&project, arguments.output.as_deref(), &note)?;
    let state = if built.unchanged { ", the same bytes as before" } else { "" };
    let (path, size, time) = (built.path.display(), bytes(built.bytes), duration(built.time.as_secs_f64()));
    terminal::say(&paint(QUIET, format!("{} took {time}", built.compiler)));
    writeln!(
        terminal::stdout(),
        "{} {}: {}, {size}{state}",
        paint(GOOD, "built"),
        paint(STRONG, path),
        built.description.world.name()
    )?;
    Ok(())
}

fn language_name(language: Language) -> &'static str {
    match language {
        Language::Rust => "Rust",
        Language::C => "C",
        Language::Js => "JavaScript",
        Language::Python => "Python",
    }
}

/// The config that was given; `None` if none was.
///
/// # Errors
/// It is no JSON, or no TOML.
fn read_config(arguments: &ConfigArguments) -> Result<Option<Json>, Failure> {
    if let Some(text) = &arguments.config {
        let wrong =
            |error| Failure::Input(format!("`--config` is not JSON: {error}; `--config '{{\"max\": 3}}'` would be"));
        return serde_json::from_str(text).map(Some).map_err(wrong);
    }
    let Some(path) = &arguments.config_file else { return Ok(None) };
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::Input(format!("cannot read `{shown}`: {error}")))?;
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let config = if is_toml {
        author::config_of_toml(&text)
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let form = if is_toml { "TOML" } else { "JSON" };
    config.map(Some).map_err(|error| Failure::Input(format!("`{shown}` is not {form}: {}", error.trim_end())))
}

/// A config without entries.
fn empty_config() -> Json {
    Json::Object(Map::new())
}

/// What is said about a config that a plugin refuses.
fn refused(file: &Path, faults: &[String], help: Option<&str>) -> Failure {
    let shown = file.display();
    let help = help.map(|help| format!("\n  help: {help}")).unwrap_or_default();
    match faults {
        [fault] => Failure::Input(format!("`{shown}` refuses its config: {fault}{help}")),
        faults => Failure::Input(format!("`{shown}` refuses its config:\n  {}{help}", faults.join("\n  "))),
    }
}
