//! One table `[repeat.BLOCK]`: its keys, and the table of a node in a round. It does not know of other blocks.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::size;
use crate::diagnostic::{Diagnostic, Place, SHOWN, list, nearest};
use crate::document::{Content, Entry, Item, Table, Text};

const KEYS: [&str; 5] = ["times", "nodes", "override", "unset", "round"];
/// The most further rounds.
const TIMES_LIMIT: i64 = 1000;

/// A block that is right.
pub(super) struct Block<'t> {
    pub(super) name: &'t str,
    /// Where `times` stands.
    pub(super) times: Place,
    /// The number of the last round.
    pub(super) last: usize,
    /// The nodes and where the block names them.
    pub(super) nodes: Nodes<'t>,
    /// How many values the block itself holds.
    pub(super) size: usize,
    overrides: Changes<'t>,
    unset: BTreeMap<&'t str, Vec<(&'t str, Place)>>,
    rounds: BTreeMap<usize, Changes<'t>>,
}

/// The nodes of a block, and where it names them.
type Nodes<'t> = IndexMap<&'t str, Place>;

/// The options of nodes that a round has instead of the file's, by node.
type Changes<'t> = BTreeMap<&'t str, &'t Table>;

impl<'t> Block<'t> {
    /// `None` if something is wrong with it.
    pub(super) fn read(name: &'t str, entry: &'t Entry, nodes: &Table, errors: &mut Vec<Diagnostic>) -> Option<Self> {
        let Content::Table(table) = &entry.item.content else {
            if !entry.item.is_broken() {
                let message = format!("block `{name}` takes a table with `times` and `nodes`");
                let error = Diagnostic::new(&entry.item.place, message);
                errors.push(error.label(format!("found {}", entry.item.type_name())));
            }
            return None;
        };
        let before = errors.len();
        for (key, unknown) in table.0.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            let error = Diagnostic::new(&unknown.key, format!("unknown key `{key}` of `repeat.{name}`"));
            errors.push(error.suggest(key, "its keys are", KEYS.into_iter()));
        }
        let mut reader = Reader { name, header: entry.place(), table, nodes, members: Nodes::new(), errors };
        let times = reader.times();
        let members = reader.nodes();
        let (times, last) = times?;
        reader.members = members?;
        let overrides = reader.changes_at("override");
        let unset = reader.unset(&overrides);
        let rounds = reader.rounds(last);
        if reader.errors.len() == before {
            reader.whole(&overrides, &rounds, last);
        }
        let nodes = reader.members;
        let size = size(&entry.item);
        (errors.len() == before).then_some(Block { name, times, last, nodes, size, overrides, unset, rounds })
    }

    /// The node `base` in round `number`: its table with what the block changes, each part where it stands in the file.
    pub(super) fn entry(&self, base: &str, entry: &Entry, number: usize) -> Entry {
        let mut entry = entry.clone();
        let Content::Table(table) = &mut entry.item.content else { return entry };
        for (key, _) in self.unset.get(base).into_iter().flatten() {
            table.0.shift_remove(*key);
        }
        let changes = [Some(&self.overrides), self.rounds.get(&number)];
        for change in changes.into_iter().flatten().filter_map(|changes| changes.get(base)) {
            table.0.extend(change.0.iter().map(|(key, entry)| (key.clone(), entry.clone())));
        }
        entry
    }
}

/// Reads a block's keys.
struct Reader<'t, 'e> {
    name: &'t str,
    header: Place,
    table: &'t Table,
    /// The nodes of the file.
    nodes: &'e Table,
    /// The block's nodes, once they are read.
    members: Nodes<'t>,
    errors: &'e mut Vec<Diagnostic>,
}

impl<'t> Reader<'t, '_> {
    fn error(&mut self, place: &Place, message: String, help: impl Into<String>) {
        self.errors.push(Diagnostic::new(place, message).help(help));
    }

    /// A value of the wrong type.
    fn mismatch(&mut self, item: &Item, message: String, help: &str) {
        if !item.is_broken() {
            let error = Diagnostic::new(&item.place, message).label(format!("found {}", item.type_name()));
            self.errors.push(error.help(help));
        }
    }

    /// Where `times` stands, and the number of the last round.
    fn times(&mut self) -> Option<(Place, usize)> {
        const HELP: &str = "`times = 2` adds two rounds: with the nodes as they stand in the file there are three";
        let Some(entry) = self.table.0.get("times") else {
            self.error(&self.header.clone(), format!("`repeat.{}` has no `times`", self.name), HELP);
            return None;
        };
        let wanted = format!("`times` takes a whole number from 1 to {TIMES_LIMIT}");
        match entry.item.content {
            Content::Integer(times) if (1..=TIMES_LIMIT).contains(&times) => {
                usize::try_from(times).ok().map(|times| (entry.place(), times + 1))
            }
            Content::Integer(times) => {
                let error = Diagnostic::new(&entry.item.place, wanted).label(format!("found {times}"));
                self.errors.push(error.help(HELP));
                None
            }
            _ => {
                self.mismatch(&entry.item, wanted, HELP);
                None
            }
        }
    }

    /// The names in `nodes`.
    fn nodes(&mut self) -> Option<Nodes<'t>> {
        const HELP: &str = "`nodes` lists the nodes that are there again in each round";
        let Some(entry) = self.table.0.get("nodes") else {
            self.error(&self.header.clone(), format!("`repeat.{}` has no `nodes`", self.name), HELP);
            return None;
        };
        let before = self.errors.len();
        let Content::List(items) = &entry.item.content else {
            self.mismatch(&entry.item, "`nodes` takes a list of names of nodes".to_owned(), HELP);
            return None;
        };
        if items.is_empty() {
            self.error(&entry.item.place, format!("`nodes` of `repeat.{}` is empty", self.name), HELP);
        }
        let mut names = Nodes::new();
        for item in items {
            let Content::Text(text) = &item.content else {
                self.mismatch(item, "`nodes` takes a list of names of nodes".to_owned(), HELP);
                continue;
            };
            if let Some(first) = names.get(text.value.as_str()) {
                let error = Diagnostic::new(&item.place, format!("`{}` is in `nodes` twice", text.written));
                self.errors.push(error.note(first, "first given here"));
            } else if self.nodes.0.contains_key(&text.value) {
                names.insert(&text.value, item.place.clone());
            } else {
                self.unknown_node(text, &item.place);
            }
        }
        let is_broken = items.iter().any(Item::is_broken);
        (self.errors.len() == before && !is_broken).then_some(names)
    }

    fn unknown_node(&mut self, text: &Text, place: &Place) {
        let error = Diagnostic::new(place, format!("there is no node `{}`", text.written));
        // A suggestion looks at all names: only where it is shown.
        let names = self.nodes.0.keys().map(String::as_str);
        let is_shown = self.errors.len() < SHOWN;
        self.errors.push(if is_shown { error.suggest(&text.value, "the nodes are", names) } else { error });
    }

    /// The table at `key` of the block, from nodes to options.
    fn changes_at(&mut self, key: &'static str) -> Changes<'t> {
        self.table.0.get(key).map(|entry| self.changes(entry, key)).unwrap_or_default()
    }

    /// A table from nodes to options; `title`: how the file names it.
    fn changes(&mut self, entry: &'t Entry, title: &str) -> Changes<'t> {
        let mut changes = Changes::new();
        let Content::Table(table) = &entry.item.content else {
            self.mismatch(
                &entry.item,
                format!("`{title}` takes tables"),
                &format!("write `{title}.NODE = {{ OPTION = VALUE }}`"),
            );
            return changes;
        };
        for (node, entry) in &table.0 {
            if !self.is_member(node, &entry.key, title) {
                continue;
            }
            match &entry.item.content {
                Content::Table(options) => _ = changes.insert(node, options),
                _ => self.mismatch(
                    &entry.item,
                    format!("`{title}.{node}` takes a table of options"),
                    &format!("write `{title}.{node} = {{ OPTION = VALUE }}`"),
                ),
            }
        }
        changes
    }

    /// Whether the block has the node; if not, that is reported.
    fn is_member(&mut self, node: &str, place: &Place, title: &str) -> bool {
        if self.members.contains_key(node) {
            return true;
        }
        let error = Diagnostic::new(
            place,
            format!("`{title}` names `{node}`, which is not in `nodes` of `repeat.{}`", self.name),
        );
        let members = self.members.keys().copied();
        self.errors.push(match nearest(node, members.clone()) {
            Some(near) => error.label(format!("did you mean `{near}`?")),
            None if self.nodes.0.contains_key(node) => {
                error.help("add it to `nodes`: only those are there in every round")
            }
            None => error.help(format!("its nodes are: {}", list(members))),
        });
        false
    }

    /// The options that the rounds do without, by node.
    fn unset(&mut self, overrides: &Changes<'t>) -> BTreeMap<&'t str, Vec<(&'t str, Place)>> {
        const HELP: &str = "write `unset.NODE = [\"OPTION\"]`: in further rounds the option has its default";
        let mut unset = BTreeMap::new();
        let Some(entry) = self.table.0.get("unset") else { return unset };
        let Content::Table(table) = &entry.item.content else {
            self.mismatch(&entry.item, "`unset` takes lists of options by node".to_owned(), HELP);
            return unset;
        };
        for (node, entry) in &table.0 {
            if !self.is_member(node, &entry.key, "unset") {
                continue;
            }
            let items = match &entry.item.content {
                Content::List(items) => items.as_slice(),
                Content::Text(_) => std::slice::from_ref(&entry.item),
                _ => {
                    self.mismatch(&entry.item, format!("`unset.{node}` takes a list of options"), HELP);
                    continue;
                }
            };
            let options: Vec<_> = items.iter().filter_map(|item| self.unset_option(node, item, overrides)).collect();
            unset.insert(node.as_str(), options);
        }
        unset
    }

    /// One option that is taken from `node`.
    fn unset_option(&mut self, node: &str, item: &'t Item, overrides: &Changes<'t>) -> Option<(&'t str, Place)> {
        let Content::Text(text) = &item.content else {
            self.mismatch(item, format!("`unset.{node}` takes a list of options"), "an option is named by a text");
            return None;
        };
        let given = match self.nodes.0.get(node).map(|entry| &entry.item.content) {
            Some(Content::Table(given)) => given,
            _ => return None,
        };
        let option = text.value.as_str();
        if option == "kind" || !given.0.contains_key(option) {
            let error =
                Diagnostic::new(&item.place, format!("node `{node}` has no option `{}` to unset", text.written));
            let names = given.0.keys().map(String::as_str).filter(|name| *name != "kind");
            self.errors.push(error.suggest(option, "it has", names));
            return None;
        }
        if let Some(entry) = overrides.get(node).and_then(|options| options.0.get(option)) {
            let error =
                Diagnostic::new(&item.place, format!("option `{option}` of `{node}` is both unset and overridden"));
            self.errors.push(error.note(&entry.place(), "overridden here").help("an override needs no `unset`"));
            return None;
        }
        Some((option, item.place.clone()))
    }

    /// The changes of single rounds.
    fn rounds(&mut self, last: usize) -> BTreeMap<usize, Changes<'t>> {
        const HELP: &str = "write `round.2.NODE = { OPTION = VALUE }`";
        let mut rounds = BTreeMap::new();
        let Some(entry) = self.table.0.get("round") else { return rounds };
        let Content::Table(table) = &entry.item.content else {
            self.mismatch(&entry.item, "`round` takes tables by the number of the round".to_owned(), HELP);
            return rounds;
        };
        for (key, entry) in &table.0 {
            let number = key.parse::<usize>().ok().filter(|number| number.to_string() == *key);
            match number {
                None => self.error(&entry.key, format!("`{key}` is not the number of a round"), HELP),
                Some(number) if number < 2 => {
                    let help = "round 1 is the nodes as they stand in the file: change them there";
                    self.error(&entry.key, format!("`round.{number}` cannot be given"), help);
                }
                Some(number) if number > last => {
                    let help = format!("`times = {}` makes rounds 1 to {last}: raise it, or take this away", last - 1);
                    self.error(&entry.key, format!("`repeat.{}` has no round {number}", self.name), help);
                }
                Some(number) => {
                    let changes = self.changes(entry, &format!("round.{number}"));
                    rounds.insert(number, changes);
                }
            }
        }
        rounds
    }

    /// An option that one round has for itself must be given for every round.
    fn whole(&mut self, overrides: &Changes<'t>, rounds: &BTreeMap<usize, Changes<'t>>, last: usize) {
        let mut seen = BTreeSet::new();
        let given = rounds.values().flatten().flat_map(|(node, table)| table.0.iter().map(move |entry| (*node, entry)));
        for (node, (option, entry)) in given {
            let has = |changes: &Changes<'t>| changes.get(node).is_some_and(|table| table.0.contains_key(option));
            if !seen.insert((node, option)) || has(overrides) {
                continue;
            }
            let without = (2..=last).find(|number| !rounds.get(number).is_some_and(has));
            if let Some(number) = without {
                let message = format!("round {number} of `{}` has no `{option}` of its own for `{node}`", self.name);
                let help = format!(
                    "give it in `round.{number}.{node}`, or in `override.{node}` for all rounds without one; else it would \
                     silently be round 1's"
                );
                let error = Diagnostic::new(&entry.place(), message).label("this round has one");
                self.errors.push(error.help(help));
            }
        }
    }
}
