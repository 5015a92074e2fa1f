//! A plugin's folder as its `plugin.toml` describes it. What is wrong with that file is said with its place in it.

use std::path::{Path, PathBuf};

use ruminate_flow::diagnostic::{Diagnostic, Diagnostics, Place};
use ruminate_flow::document::{self, Content, Entry, Item, Table};

use super::error::AuthorError;
use super::names;
use crate::contract::World;

/// The name of the file that makes a folder a plugin's.
pub(super) const MANIFEST: &str = "plugin.toml";
/// All kinds of plugins.
pub(super) const WORLDS: [World; 3] = [World::Filter, World::Mapper, World::Reward];
/// A manifest is a few lines; what is larger is another file.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A language that plugins can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, by cargo.
    Rust,
    /// C, by clang.
    C,
    /// JavaScript, by componentize-js.
    Js,
    /// Python, by componentize-py.
    Python,
}

/// A plugin's folder.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder, as the user named it.
    pub folder: PathBuf,
    /// The plugin's name.
    pub name: String,
    /// What it is written in.
    pub language: Language,
    /// What it is.
    pub kind: World,
    /// C: the source files, relative to the folder; empty: all in the folder.
    pub(super) sources: Vec<String>,
    /// The folder of the SDK.
    pub(super) sdk: PathBuf,
}

impl Language {
    /// All languages.
    pub const ALL: [Language; 4] = [Language::Rust, Language::C, Language::Js, Language::Python];

    /// Its name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Js => "js",
            Language::Python => "python",
        }
    }
}

impl Project {
    /// Reads the manifest in `folder`.
    ///
    /// # Errors
    /// A folder without one; everything that is wrong with it, with places.
    pub fn open(folder: &Path) -> Result<Self, AuthorError> {
        let path = folder.join(MANIFEST);
        let source = read(folder, &path)?;
        let mut errors = Vec::new();
        let table = document::parse(&source, &|name| std::env::var(name).ok(), &mut errors);
        let project = table.and_then(|table| Reader { errors: &mut errors }.project(folder, &table));
        match project {
            Some(project) if errors.is_empty() => Ok(project),
            _ => {
                errors.sort_by_key(|error| error.span().map(|span| span.start));
                Err(AuthorError::Manifest(Box::new(Diagnostics { path, source, items: errors })))
            }
        }
    }

    /// Where the component is built: `NAME.wasm` in the folder.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// The component that is there: in the folder, or beside it as with the plugins that ship with the engine.
    pub fn existing_component(&self) -> PathBuf {
        let own = self.component();
        let beside = self.folder.join("..").join(format!("{}.wasm", self.name));
        if !own.is_file() && beside.is_file() { beside } else { own }
    }

    /// A source that is newer than `component`, if there is one: it was edited and not built since.
    pub fn newer_source(&self, component: &Path) -> Option<PathBuf> {
        let built = std::fs::metadata(component).and_then(|metadata| metadata.modified()).ok()?;
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<PathBuf> =
                std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            entries.sort();
            for path in entries {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let edited = || std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
                if path.is_dir() {
                    let skipped = ["target", "node_modules", "__pycache__", "cases"].contains(&name.as_str());
                    if !skipped && !name.starts_with('.') {
                        folders.push(path);
                    }
                } else if is_source(&name) && edited().is_some_and(|edited| edited > built) {
                    return Some(path);
                }
            }
        }
        None
    }
}

/// A plugin's config that is written in TOML, as the JSON that the plugin gets.
///
/// # Errors
/// What is wrong with the text, and where.
pub fn config_of_toml(text: &str) -> Result<serde_json::Value, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn is_source(name: &str) -> bool {
    name == MANIFEST
        || name == "Cargo.toml"
        || [".rs", ".c", ".h", ".js", ".mjs", ".py"].iter().any(|ending| name.ends_with(ending))
}

fn read(folder: &Path, path: &Path) -> Result<String, AuthorError> {
    let shown = folder.display();
    if !folder.is_dir() {
        let what = if folder.exists() { "is a file: expected the folder of a plugin" } else { "does not exist" };
        return Err(AuthorError::Input(format!("`{shown}` {what}; `ruminate plugin new` makes one")));
    }
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AuthorError::Input(format!(
                "`{shown}` is not the folder of a plugin: it has no `{MANIFEST}`; `ruminate plugin new` makes one"
            )));
        }
        Err(error) => return Err(AuthorError::unreadable(path)(error)),
    };
    if size > MANIFEST_BYTES_MAX {
        return Err(AuthorError::Input(format!("`{}` is larger than 1 MiB: it is no manifest", path.display())));
    }
    let bytes = std::fs::read(path).map_err(AuthorError::unreadable(path))?;
    String::from_utf8(bytes).map_err(|_| AuthorError::Input(format!("`{}` is not UTF-8 text", path.display())))
}

/// Takes the values out of a manifest and collects what is wrong with it.
struct Reader<'a> {
    errors: &'a mut Vec<Diagnostic>,
}

const KEYS: [&str; 5] = ["name", "language", "kind", "sources", "sdk"];

impl Reader<'_> {
    fn project(&mut self, folder: &Path, table: &Table) -> Option<Project> {
        for (name, entry) in &table.0 {
            if !KEYS.contains(&name.as_str()) {
                let error = Diagnostic::new(&entry.key, format!("unknown key `{name}`"));
                self.errors.push(error.suggest(name, "a manifest has", KEYS.into_iter()));
            }
        }
        let name = self.required(table, "name", "\"max-words\"").map(str::to_owned);
        if let (Some(name), Some(entry)) = (&name, table.0.get("name"))
            && let Err(message) = names::check(name)
        {
            self.errors.push(Diagnostic::new(&entry.item.place, message));
        }
        let language = self.choice(table, "language", Language::ALL.map(|language| (language.name(), language)));
        let kind = self.choice(table, "kind", WORLDS.map(|world| (world.name(), world)));
        let sources = self.sources(table, language);
        let sdk = match table.0.get("sdk") {
            Some(entry) => self.text(&entry.item, "sdk").unwrap_or_default(),
            None => "sdk",
        };
        Some(Project {
            folder: folder.to_owned(),
            name: name?,
            language: language?,
            kind: kind?,
            sources,
            sdk: folder.join(sdk),
        })
    }

    fn required<'t>(&mut self, table: &'t Table, key: &str, example: &str) -> Option<&'t str> {
        match table.0.get(key) {
            Some(entry) => self.text(&entry.item, key),
            None => {
                self.errors.push(Diagnostic::new(&Place::Whole, format!("`{key}` is missing: `{key} = {example}`")));
                None
            }
        }
    }

    fn choice<T: Copy, const N: usize>(
        &mut self,
        table: &Table,
        key: &str,
        choices: [(&'static str, T); N],
    ) -> Option<T> {
        let names = || choices.iter().map(|(name, _)| *name);
        let text = self.required(table, key, &format!("{:?}", choices[0].0))?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if let (None, Some(entry)) = (found, table.0.get(key)) {
            let error = Diagnostic::new(&entry.item.place, format!("`{text}` is no {key} of plugins"));
            self.errors.push(error.suggest(text, &format!("expected one of these for `{key}`"), names()));
        }
        found
    }

    fn sources(&mut self, table: &Table, language: Option<Language>) -> Vec<String> {
        let Some(Entry { key, item }) = table.0.get("sources") else { return Vec::new() };
        if language.is_some_and(|language| language != Language::C) {
            self.errors.push(Diagnostic::new(key, "`sources` is for plugins in C only"));
        }
        let Content::List(items) = &item.content else {
            self.wrong(item, "sources", "a list of file names, such as `[\"plugin.c\"]`");
            return Vec::new();
        };
        let texts: Vec<String> =
            items.iter().filter_map(|item| self.text(item, "sources")).map(str::to_owned).collect();
        if items.is_empty() {
            self.errors.push(Diagnostic::new(&item.place, "`sources` is empty: leave it out for all `.c` files"));
        }
        texts
    }

    fn text<'t>(&mut self, item: &'t Item, key: &str) -> Option<&'t str> {
        match &item.content {
            Content::Text(text) if !text.value.is_empty() => Some(&text.value),
            Content::Broken => None,
            _ => {
                self.wrong(item, key, "text that is not empty");
                None
            }
        }
    }

    fn wrong(&mut self, item: &Item, key: &str, expected: &str) {
        if !item.is_broken() {
            let found = match &item.content {
                Content::Text(_) => "empty text",
                _ => item.type_name(),
            };
            self.errors.push(
                Diagnostic::new(&item.place, format!("`{key}` must be {expected}")).label(format!("found {found}")),
            );
        }
    }
}
