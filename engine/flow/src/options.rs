//! The options of a kind as a table: name, type, default, documentation. The table is what the check, `kinds` and the
//! key read; a stage reads the checked values by serde. Knows nothing of TOML.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::digest::Digest;

/// One option of a kind.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name in the graph file.
    pub name: &'static str,
    /// Its type and range.
    pub kind: OptionKind,
    /// Its default as JSON text (`null`: none is set); `None` if it must be given.
    pub default: Option<&'static str>,
    /// Part of the key. False for what cannot change a result: batch sizes, intervals between checkpoints.
    pub identity: bool,
    /// One or two sentences: what it does, its unit, where the default comes from.
    pub doc: &'static str,
}

/// The type and range of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number from `min` to `max`.
    Int {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// A number from `min` to `max`; a whole number is taken too.
    Float {
        /// The smallest allowed.
        min: f64,
        /// The largest allowed.
        max: f64,
    },
    /// Text.
    Text,
    /// Text with `{{ field }}` in it: [`crate::template::Template`]. The fields it names are checked against the input.
    Template,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file that must exist. Its content's digest goes into the key, never its path.
    File,
    /// One or more files by path or glob, or a list of these; at least one must exist. Their contents' digests go into the key.
    Files,
    /// A file that is written, relative to the folder of the graph file. It need not exist. The value is where it lies.
    Output,
    /// A list of texts.
    TextList,
    /// A table of text to number.
    Weights,
    /// A table of names to a weight, or to a table that names a [`crate::score::Scorer`]: `plugin`, the path of its file, and
    /// what the scorer and the kind take beside it. In the value, the file's digest stands at `plugin`; the file is in
    /// [`Options::files`] under [`scorer_file`].
    Scores,
    /// A table of text to text.
    TextMap,
    /// Any table or value, handed on as JSON: a plugin's `config`.
    Any,
}

/// The options of a node after the check: every option of the kind has a value of its type, defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Name -> value, in the order of the kind's table. A file option holds the path as written.
    pub values: IndexMap<String, Json>,
    /// The files of every [`OptionKind::File`], [`OptionKind::Files`] and [`OptionKind::Scores`] option, in the order in which
    /// they are read.
    pub files: IndexMap<String, Vec<InputFile>>,
}

/// A file named in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct InputFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl OptionSpec {
    /// An option that must be given.
    pub const fn required(name: &'static str, kind: OptionKind, doc: &'static str) -> Self {
        Self { name, kind, default: None, identity: true, doc }
    }

    /// An option with a default, as JSON text; `null` for none.
    pub const fn new(name: &'static str, kind: OptionKind, default: &'static str, doc: &'static str) -> Self {
        Self { name, kind, default: Some(default), identity: true, doc }
    }

    /// The same option, kept out of the key.
    pub const fn not_identity(mut self) -> Self {
        self.identity = false;
        self
    }
}

/// What a table of an [`OptionKind::Scores`] option may hold that says how a scorer goes about it, not what it gives: no part
/// of the key, like the options of that name of a plugin's node.
pub(crate) const SCORER_PACE: [&str; 2] = ["batch", "timeout-ms"];

/// The name in [`Options::files`] of the plugin that the entry `name` of the [`OptionKind::Scores`] option `option` names.
pub fn scorer_file(option: &str, name: &str) -> String {
    format!("{option}.{name}.plugin")
}

impl Options {
    /// What the object `given` says about the options of this table, over their defaults; no files. For hosts without a graph:
    /// nothing is checked, and what is not given and has no default is `null`.
    pub fn over_defaults(table: &[OptionSpec], given: &Json) -> Options {
        let value = |spec: &OptionSpec| {
            let default = || spec.default.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Json::Null);
            (spec.name.to_owned(), given.get(spec.name).cloned().unwrap_or_else(default))
        };
        Options { values: table.iter().map(value).collect(), files: IndexMap::new() }
    }

    /// The values as the struct that the stage works with.
    ///
    /// # Errors
    /// A kind whose table and struct disagree: a defect of the kind, not of the graph.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let object = self.values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        serde_json::from_value(Json::Object(object))
            .map_err(|error| format!("the kind's option table and its struct disagree: {error}"))
    }
}
