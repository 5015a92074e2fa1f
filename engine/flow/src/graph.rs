//! The checked graph: what the plan and the executor work on. Made from a graph file by [`Graph::load`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::model::Model;
use crate::options::{OptionSpec, Options};
use crate::stage::Stage;

/// A node's index in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A checked graph: every edge fits, every file exists, there is no cycle.
pub struct Graph {
    /// The graph's `name`, or the file's name without its extension.
    pub name: String,
    /// The graph's `seed` (default 0).
    pub seed: u64,
    /// The graph file.
    pub path: PathBuf,
    /// The nodes in the order of the file.
    pub nodes: Vec<Node>,
    /// The nodes so that each comes after all that it depends on; otherwise in the order of the file.
    pub order: Vec<NodeId>,
    /// The entries of `[models]`, resolved and digested.
    pub models: IndexMap<String, Arc<Model>>,
}

/// A checked node.
pub struct Node {
    /// Its name: the key of its table.
    pub name: Arc<str>,
    /// The name of its kind.
    pub kind: &'static str,
    /// Where each input port comes from; ports that are not connected are absent.
    pub inputs: BTreeMap<&'static str, Edge>,
    /// The option table of its kind ([`crate::stage::Kind::options`]): says which options are part of the key.
    pub option_specs: &'static [OptionSpec],
    /// The options, defaults filled in.
    pub options: Options,
    /// The stage that does its work.
    pub stage: Stage,
    /// What happens when something of it fails.
    pub policy: Policy,
    /// Where its table begins in the file.
    pub position: Position,
    /// Where each option and edge given in the file stands, by name.
    pub option_positions: BTreeMap<String, Position>,
    /// The options that were set on the command line, in full or in part: `KEY=VALUE` by name.
    pub option_settings: BTreeMap<String, String>,
}

/// What happens when something of a node fails. No part of a key: a failure is never cached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Policy {
    /// `on-error`.
    pub on_error: OnError,
    /// `retries`: how often more a unit, or a whole source, set stage or sink, is tried after it failed.
    pub retries: u32,
    /// `timeout`: how long one try may take. It asks the stage to stop, as an interrupt does.
    pub timeout: Option<std::time::Duration>,
}

/// The keys of [`Policy`] in a graph file, which every node has: the name, what it takes, what it does.
pub const POLICY_KEYS: [(&str, &str, &str); 3] = [
    (
        "on-error",
        "`fail` or `drop`",
        "What becomes of a record that failed at every try: the node fails, or the record goes to the ledger with the reason. \
         `drop` is for kinds that work record by record.",
    ),
    ("retries", "a whole number from 0 to 100", "How often more something is tried after it failed. Default: 0."),
    ("timeout", "a number of seconds above 0", "How long one try may take. Default: as long as it takes."),
];

/// What happens with a unit that failed at every try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The node fails; what it had finished is kept.
    #[default]
    Fail,
    /// The unit's records are dropped, with the failure as the reason.
    Drop,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// An output port of a node.
    Node {
        /// The node.
        node: NodeId,
        /// The output port.
        port: &'static str,
    },
    /// An entry of [`Graph::models`].
    Model(String),
}

/// A place in a graph file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}
