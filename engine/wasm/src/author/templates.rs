//! New plugins: the templates and SDKs that the program carries, and the folder that is made of them.

use std::path::{Path, PathBuf};

use super::error::AuthorError;
use super::names;
use super::project::Language;
use crate::contract::World;

/// The files of these paths below `plugins/`, each with its text.
macro_rules! carried {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../../../plugins/", $path)))),*] };
}

/// The files that new plugins are made of. `templates/LANGUAGE/common/` and `templates/LANGUAGE/KIND/` become the folder,
/// `sdk/LANGUAGE/` its `sdk/`.
const CARRIED: &[(&str, &str)] = carried! {
    "sdk/c/bindings/filter.c"
    "sdk/c/bindings/filter.h"
    "sdk/c/bindings/mapper.c"
    "sdk/c/bindings/mapper.h"
    "sdk/c/bindings/reward.c"
    "sdk/c/bindings/reward.h"
    "sdk/c/config.c"
    "sdk/c/console.c"
    "sdk/c/internal.h"
    "sdk/c/ruminate.c"
    "sdk/c/ruminate.h"
    "sdk/js/build.mjs"
    "sdk/js/package.json"
    "sdk/js/ruminate.js"
    "sdk/js/world.js"
    "sdk/python/ruminate_plugin.py"
    "sdk/python/ruminate_world.py"
    "sdk/rust/Cargo.toml"
    "sdk/rust/src/export.rs"
    "sdk/rust/src/json.rs"
    "sdk/rust/src/lib.rs"
    "sdk/rust/src/log.rs"
    "sdk/rust/src/options.rs"
    "sdk/rust/src/options/tests.rs"
    "sdk/rust/src/row.rs"
    "sdk/rust/src/types.rs"
    "sdk/rust/src/world.rs"
    "templates/c/common/gitignore.in"
    "templates/c/filter/cases/words/config.json"
    "templates/c/filter/cases/words/expected.jsonl"
    "templates/c/filter/cases/words/input.jsonl"
    "templates/c/filter/plugin.c"
    "templates/c/filter/plugin.toml"
    "templates/c/mapper/cases/cut/config.json"
    "templates/c/mapper/cases/cut/expected.jsonl"
    "templates/c/mapper/cases/cut/input.jsonl"
    "templates/c/mapper/plugin.c"
    "templates/c/mapper/plugin.toml"
    "templates/c/reward/cases/length/config.json"
    "templates/c/reward/cases/length/expected.jsonl"
    "templates/c/reward/cases/length/input.jsonl"
    "templates/c/reward/plugin.c"
    "templates/c/reward/plugin.toml"
    "templates/js/common/gitignore.in"
    "templates/js/common/package.json"
    "templates/js/filter/cases/words/config.json"
    "templates/js/filter/cases/words/expected.jsonl"
    "templates/js/filter/cases/words/input.jsonl"
    "templates/js/filter/plugin.js"
    "templates/js/filter/plugin.toml"
    "templates/js/mapper/cases/paragraphs/config.json"
    "templates/js/mapper/cases/paragraphs/expected.jsonl"
    "templates/js/mapper/cases/paragraphs/input.jsonl"
    "templates/js/mapper/plugin.js"
    "templates/js/mapper/plugin.toml"
    "templates/js/reward/cases/length/config.json"
    "templates/js/reward/cases/length/expected.jsonl"
    "templates/js/reward/cases/length/input.jsonl"
    "templates/js/reward/plugin.js"
    "templates/js/reward/plugin.toml"
    "templates/python/common/gitignore.in"
    "templates/python/common/requirements.txt"
    "templates/python/filter/cases/words/config.json"
    "templates/python/filter/cases/words/expected.jsonl"
    "templates/python/filter/cases/words/input.jsonl"
    "templates/python/filter/plugin.py"
    "templates/python/filter/plugin.toml"
    "templates/python/mapper/cases/paragraphs/config.json"
    "templates/python/mapper/cases/paragraphs/expected.jsonl"
    "templates/python/mapper/cases/paragraphs/input.jsonl"
    "templates/python/mapper/plugin.py"
    "templates/python/mapper/plugin.toml"
    "templates/python/reward/cases/length/config.json"
    "templates/python/reward/cases/length/expected.jsonl"
    "templates/python/reward/cases/length/input.jsonl"
    "templates/python/reward/plugin.py"
    "templates/python/reward/plugin.toml"
    "templates/rust/common/Cargo.toml.in"
    "templates/rust/common/gitignore.in"
    "templates/rust/filter/cases/words/config.json"
    "templates/rust/filter/cases/words/expected.jsonl"
    "templates/rust/filter/cases/words/input.jsonl"
    "templates/rust/filter/plugin.toml"
    "templates/rust/filter/src/lib.rs"
    "templates/rust/mapper/cases/paragraphs/config.json"
    "templates/rust/mapper/cases/paragraphs/expected.jsonl"
    "templates/rust/mapper/cases/paragraphs/input.jsonl"
    "templates/rust/mapper/plugin.toml"
    "templates/rust/mapper/src/lib.rs"
    "templates/rust/reward/cases/length/config.json"
    "templates/rust/reward/cases/length/expected.jsonl"
    "templates/rust/reward/cases/length/input.jsonl"
    "templates/rust/reward/plugin.toml"
    "templates/rust/reward/src/lib.rs"
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// The plugin's name, in kebab case.
    pub name: &'a str,
    /// What it is to be written in.
    pub language: Language,
    /// What it is to be.
    pub kind: World,
    /// The folder in which its folder is made.
    pub parent: &'a Path,
}

/// Makes the folder of a new plugin, whole or not at all, and gives its path.
///
/// # Errors
/// A name that cannot be one, a folder that is there already, a disk that cannot be written.
pub fn create(new: &New<'_>) -> Result<PathBuf, AuthorError> {
    names::check(new.name).map_err(AuthorError::Input)?;
    let folder = new.parent.join(new.name);
    if folder.symlink_metadata().is_ok() {
        let shown = folder.display();
        return Err(AuthorError::Input(format!(
            "`{shown}` is there already: choose another name, or `--dir` another place"
        )));
    }
    std::fs::create_dir_all(new.parent).map_err(AuthorError::unwritable(new.parent))?;
    let place = tempfile::Builder::new().prefix(".plugin-").tempdir_in(new.parent);
    let place = place.map_err(AuthorError::unwritable(new.parent))?;
    // A temporary folder is for its owner alone; a new one within it is like any other.
    let root = place.path().join("new");
    for (path, text) in files(new) {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(AuthorError::unwritable(parent))?;
        }
        std::fs::write(&path, text).map_err(AuthorError::unwritable(&path))?;
    }
    std::fs::rename(&root, &folder).map_err(AuthorError::unwritable(&folder))?;
    Ok(folder)
}

/// The files of a new plugin: path in its folder, text.
fn files(new: &New<'_>) -> Vec<(String, String)> {
    let language = new.language.name();
    let common = format!("templates/{language}/common/");
    let of_kind = format!("templates/{language}/{}/", new.kind.name());
    let sdk = format!("sdk/{language}/");
    let mut files = Vec::new();
    for (path, text) in CARRIED {
        if let Some(path) = path.strip_prefix(&common).or_else(|| path.strip_prefix(&of_kind)) {
            let text = text.replace("{{name}}", new.name).replace("{{snake_name}}", &names::snake(new.name));
            files.push((real(path), text));
        } else if let Some(path) = path.strip_prefix(&sdk) {
            files.push((format!("sdk/{}", real(path)), (*text).to_owned()));
        }
    }
    files
}

/// The real path of a file that is kept under another, so that cargo and git take no notice of it here.
fn real(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let name = match name.strip_suffix(".in") {
        Some("gitignore") => ".gitignore",
        Some(name) => name,
        None => name,
    };
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The paths below `plugins/` of all files that the program carries.
#[cfg(test)]
pub(super) fn carried() -> Vec<&'static str> {
    CARRIED.iter().map(|(path, _)| *path).collect()
}
