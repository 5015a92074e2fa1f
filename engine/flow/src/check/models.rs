//! The entries of `[models]`: folders in Hugging Face layout, their files and traits. It does not know what uses them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::files::Files;
use crate::diagnostic::{Diagnostic, Place};
use crate::digest::Digest;
use crate::document::{Content, Entry, Table, Text};
use crate::model::{Model, ModelInspector, ModelTraits};

const KEYS: [&str; 4] = ["path", "config", "init", "seed"];

/// The files of a Hugging Face folder that belong to a model, beside its weights.
const FILES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
];
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// A checked entry of `[models]` whose files are not digested yet: weights are large, and only some are used.
pub(super) struct ModelDraft {
    place: Place,
    files: BTreeMap<String, PathBuf>,
    init_seed: Option<u64>,
    pub(super) traits: ModelTraits,
}

/// Checks every entry; one with errors is `None`.
pub(super) fn check(
    table: &Table,
    files: &Files<'_>,
    inspector: &dyn ModelInspector,
    graph_seed: u64,
    errors: &mut Vec<Diagnostic>,
) -> IndexMap<String, Option<ModelDraft>> {
    let entries = table.0.iter().map(|(name, entry)| {
        let before = errors.len();
        let draft = match &entry.item.content {
            Content::Table(keys) => draft(name, entry, keys, files, inspector, graph_seed, errors),
            Content::Broken => None,
            _ => {
                let message = format!("model `{name}` takes a table with `path`, found {}", entry.item.type_name());
                errors.push(Diagnostic::new(&entry.item.place, message));
                None
            }
        };
        (name.clone(), draft.filter(|_| errors.len() == before))
    });
    entries.collect()
}

fn draft(
    name: &str,
    entry: &Entry,
    keys: &Table,
    files: &Files<'_>,
    inspector: &dyn ModelInspector,
    graph_seed: u64,
    errors: &mut Vec<Diagnostic>,
) -> Option<ModelDraft> {
    let place = entry.place();
    if let Some(endpoint) = keys.0.get("endpoint") {
        let message = format!("model `{name}`: `endpoint` is not supported by this version");
        errors.push(Diagnostic::new(&endpoint.place(), message).help("use a model on disk: `path = \"FOLDER\"`"));
        return None;
    }
    for (key, unknown) in keys.0.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
        let error = Diagnostic::new(&unknown.key, format!("unknown key `{key}` of model `{name}`"));
        errors.push(error.suggest(key, "its keys are", KEYS.into_iter()));
    }
    let is_random = check_random(name, keys, errors);
    let seed = keys.0.get("seed").map(|seed| seed_of(seed, errors));
    let folder = match (keys.0.get("path"), keys.0.get("config")) {
        (Some(folder), None) | (None, Some(folder)) => folder,
        (Some(path), Some(config)) => {
            let message = format!("model `{name}` has both `path` and `config`");
            errors.push(Diagnostic::new(&config.key, message).note(&path.key, "`path` is given here"));
            return None;
        }
        (None, None) => {
            let message = format!("model `{name}` has no `path`");
            let help =
                "`path` is a folder in Hugging Face layout; `config` with `init = \"random\"` is one without weights";
            errors.push(Diagnostic::new(&place, message).help(help));
            return None;
        }
    };
    let text = text_of(folder, "a folder", errors)?;
    let found = collect(text, &folder.item.place, files, is_random).map_err(|error| errors.push(error)).ok()?;
    let traits = inspector.inspect(&found, is_random).map_err(|message| {
        errors.push(Diagnostic::new(&folder.item.place, format!("model `{name}` cannot be used: {message}")));
    });
    let init_seed = is_random.then(|| seed.flatten().unwrap_or(graph_seed));
    Some(ModelDraft { place: folder.item.place.clone(), files: found, init_seed, traits: traits.ok()? })
}

/// Whether the weights are drawn at random; checks that `config`, `init` and `seed` stand together.
fn check_random(name: &str, keys: &Table, errors: &mut Vec<Diagnostic>) -> bool {
    let config = keys.0.get("config");
    let init = keys.0.get("init");
    if let (Some(config), None) = (config, init) {
        let message = format!("model `{name}` has `config` but no `init`: where do its weights come from?");
        errors.push(
            Diagnostic::new(&config.key, message)
                .help("add `init = \"random\"`, or give a folder with weights as `path`"),
        );
    }
    if let Some(init) = init
        && let Some(text) = text_of(init, "`random`", errors)
        && text.value != "random"
    {
        let message = format!("`init` of model `{name}` must be `random`");
        errors.push(Diagnostic::new(&init.item.place, message).label(format!("found `{}`", text.written)));
    }
    for (key, entry) in [("init", init), ("seed", keys.0.get("seed"))] {
        if let (Some(entry), None) = (entry, config) {
            let message = format!("`{key}` of model `{name}` needs `config`");
            errors.push(
                Diagnostic::new(&entry.key, message).help("a model given as `path` has its weights in the folder"),
            );
        }
    }
    config.is_some()
}

/// The model's files in the folder that `text` names.
fn collect(
    text: &Text,
    place: &Place,
    files: &Files<'_>,
    is_random: bool,
) -> Result<BTreeMap<String, PathBuf>, Diagnostic> {
    let folder = files.find(text, place, "folder")?;
    if !folder.is_dir() {
        return Err(Diagnostic::new(
            place,
            format!("expected a folder in Hugging Face layout, `{}` is a file", text.written),
        ));
    }
    let found = names(&folder)
        .map_err(|error| Diagnostic::new(place, format!("cannot read folder `{}`: {error}", text.written)))?
        .into_iter()
        .filter(|name| FILES.contains(&name.as_str()) || (!is_random && is_weights(name)))
        .map(|name| (name.clone(), folder.join(name)))
        .collect::<BTreeMap<_, _>>();
    if !found.contains_key("config.json") {
        return Err(Diagnostic::new(
            place,
            format!("folder `{}` holds no model: it has no `config.json`", text.written),
        ));
    }
    if !is_random && !found.keys().any(|name| name.ends_with(".safetensors")) {
        let message = format!("folder `{}` holds no weights: it has no `*.safetensors`", text.written);
        let help = "`config = FOLDER` with `init = \"random\"` draws weights at random";
        return Err(Diagnostic::new(place, message).help(help));
    }
    Ok(found)
}

fn is_weights(name: &str) -> bool {
    name == WEIGHTS_INDEX || name.ends_with(".safetensors")
}

/// The names of the files in `folder`; links to files count.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The text of an entry, or an error that it is none.
fn text_of<'t>(entry: &'t Entry, wanted: &str, errors: &mut Vec<Diagnostic>) -> Option<&'t Text> {
    match &entry.item.content {
        Content::Text(text) => return Some(text),
        Content::Broken => {}
        _ => errors.push(
            Diagnostic::new(&entry.item.place, format!("expected text that names {wanted}"))
                .label(format!("found {}", entry.item.type_name())),
        ),
    }
    None
}

/// A seed: a whole number of at least 0.
pub(super) fn seed_of(entry: &Entry, errors: &mut Vec<Diagnostic>) -> Option<u64> {
    let found = match &entry.item.content {
        Content::Integer(value) => match u64::try_from(*value) {
            Ok(seed) => return Some(seed),
            Err(_) => value.to_string(),
        },
        Content::Broken => return None,
        _ => entry.item.type_name().to_owned(),
    };
    errors.push(
        Diagnostic::new(&entry.item.place, "`seed` takes a whole number of at least 0").label(format!("found {found}")),
    );
    None
}

impl ModelDraft {
    /// Digests the files: reads every byte that is not remembered.
    pub(super) fn digest(&self, files: &Files<'_>) -> Result<Model, Diagnostic> {
        let digest = |(name, path): (&String, &PathBuf)| Ok((name.clone(), (files.digest)(path)?));
        let digests: Result<BTreeMap<String, Digest>, crate::error::StageError> =
            self.files.iter().map(digest).collect();
        let digests = digests.map_err(|error| Diagnostic::new(&self.place, error.to_string()))?;
        Ok(Model {
            digest: Model::digest_of(&digests, self.init_seed),
            files: self.files.clone(),
            init_seed: self.init_seed,
            traits: self.traits.clone(),
        })
    }
}
