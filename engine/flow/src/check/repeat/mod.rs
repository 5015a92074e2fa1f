//! `[repeat.BLOCK]`: nodes that are there again in further rounds, unrolled into `NODE@2`, `NODE@3`, ... before names are checked.
//! It does not know what kinds there are, nor where the nodes' inputs lead.
//!
//! ```toml
//! [repeat.refine]
//! times = 2                                           # two more rounds: the nodes as they stand in the file are round 1
//! nodes = ["problems", "traces", "sft", "grpo"]
//! override.traces = { input = "problems", model = "grpo@previous" }   # in every further round, for the whole option
//! unset.traces = ["prompt"]                           # back to the kind's default
//! round.2.problems = { path = "second.parquet" }      # in one round, over what `override` says
//! round.3.problems = { path = "third.parquet" }
//! ```
//!
//! In the block a name means the same round, `@previous` the round before; elsewhere it means round 1, and `grpo@3` the third.
//! An option that some round has from `round` must be given for every round, there or in `override`: a round that is added
//! later must not take round 1's data by accident.

mod block;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::block::Block;
use crate::diagnostic::{Diagnostic, Place, Rounds};
use crate::document::{Content, Entry, Item, Table};
use crate::graph::NodeId;

/// The most nodes that a graph with blocks may have.
const NODE_LIMIT: usize = 20_000;
/// The most values that the nodes of all rounds may hold, about 100 MB: a node can be as large as a file.
const VALUE_LIMIT: usize = 500_000;
/// Bytes of text that count as one value.
const TEXT_VALUE: usize = 64;

/// Which nodes are in a block, and in which round.
#[derive(Default)]
pub(crate) struct Unrolled {
    /// The nodes of all blocks and rounds, by name.
    nodes: HashMap<String, Round>,
    /// A block is wrong: what its rounds would be is not known.
    broken: bool,
}

/// The round of a node.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// The block's name.
    block: Arc<str>,
    /// From 1, which is the node as it stands in the file.
    number: usize,
    /// How many rounds the block has.
    last: usize,
}

/// Puts the nodes of all further rounds into `[nodes]`, behind the last node of their block.
pub(crate) fn unroll(root: &mut Table, errors: &mut Vec<Diagnostic>) -> Unrolled {
    let mut unrolled = Unrolled::default();
    let Some(repeat) = root.0.get("repeat").cloned() else { return unrolled };
    if !matches!(root.0.get("nodes").map(|entry| &entry.item.content), Some(Content::Table(_))) {
        unrolled.broken = true;
        return unrolled;
    }
    let before = errors.len();
    let blocks = blocks(&repeat, root, errors);
    unrolled.broken = errors.len() > before;
    let Some(Content::Table(nodes)) = root.0.get_mut("nodes").map(|entry| &mut entry.item.content) else {
        return unrolled;
    };
    let (mut count, mut values) = (nodes.0.len(), 0);
    for block in blocks {
        let more = block.nodes.len().saturating_mul(block.last - 1);
        count = count.saturating_add(more);
        let members = block.nodes.keys().filter_map(|node| nodes.0.get(*node));
        let own = members.map(|entry| size(&entry.item)).sum::<usize>() + block.size;
        values += own.saturating_mul(block.last - 1);
        if count > NODE_LIMIT || values > VALUE_LIMIT {
            let message = if count > NODE_LIMIT {
                format!("`{}` unrolls into {more} more nodes; a graph has at most {NODE_LIMIT}", block.name)
            } else {
                format!("the nodes of `{}` are too large to be there {} times", block.name, block.last)
            };
            errors.push(Diagnostic::new(&block.times, message).help("lower `times`"));
            unrolled.broken = true;
            return unrolled;
        }
        unrolled.add(&block, nodes);
    }
    unrolled
}

/// The blocks that are right.
fn blocks<'t>(repeat: &'t Entry, root: &Table, errors: &mut Vec<Diagnostic>) -> Vec<Block<'t>> {
    let Content::Table(table) = &repeat.item.content else {
        if let Content::List(_) = repeat.item.content {
            let error = Diagnostic::new(&repeat.key, "`repeat` takes tables with names, found a list");
            errors.push(error.help("write `[repeat.NAME]` instead of `[[repeat]]`"));
        } else if !repeat.item.is_broken() {
            let message = format!("`repeat` takes tables, found {}", repeat.item.type_name());
            errors.push(Diagnostic::new(&repeat.item.place, message).help("write `[repeat.NAME]`"));
        }
        return Vec::new();
    };
    let none = Table::default();
    let [nodes, models] = ["nodes", "models"].map(|name| match root.0.get(name).map(|entry| &entry.item.content) {
        Some(Content::Table(table)) => table,
        _ => &none,
    });
    let mut taken: HashMap<&str, (&str, Place)> = HashMap::new();
    let mut blocks = Vec::new();
    for (name, entry) in &table.0 {
        clash(name, entry, nodes, models, errors);
        let Some(block) = Block::read(name, entry, nodes, errors) else { continue };
        let mut is_free = true;
        for (node, place) in &block.nodes {
            if let Some((other, first)) = taken.insert(*node, (name, place.clone())) {
                let message = format!("node `{node}` is in two blocks, `{other}` and `{name}`");
                errors.push(Diagnostic::new(place, message).note(&first, format!("it is in `{other}` here")));
                is_free = false;
            }
        }
        if is_free {
            blocks.push(block);
        }
    }
    blocks
}

/// How many values an item holds.
fn size(item: &Item) -> usize {
    match &item.content {
        Content::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Table(table) => 1 + table.0.values().map(|entry| size(&entry.item)).sum::<usize>(),
        Content::Text(text) => 1 + text.written.len() / TEXT_VALUE,
        _ => 1,
    }
}

/// A block's name must not stand for a node or model too.
fn clash(name: &str, entry: &Entry, nodes: &Table, models: &Table, errors: &mut Vec<Diagnostic>) {
    for (what, table) in [("node", nodes), ("model", models)] {
        if let Some(other) = table.0.get(name) {
            let message = format!("`{name}` is the name of a `[repeat]` block and of a {what}");
            let error = Diagnostic::new(&entry.place(), message).note(&other.place(), format!("the {what} is here"));
            errors.push(error.help("rename one of the two"));
        }
    }
}

impl Unrolled {
    /// Whether the name was made here, not by the user.
    pub(crate) fn made(&self, name: &str) -> bool {
        self.round(name).is_some_and(|round| round.number > 1)
    }

    /// Whether a block is wrong, so that rounds are missing.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The round of a node; `None` if it is in no block.
    pub(super) fn round(&self, name: &str) -> Option<&Round> {
        self.nodes.get(name)
    }

    fn add(&mut self, block: &Block<'_>, nodes: &mut Table) {
        let name: Arc<str> = Arc::from(block.name);
        let round = |number| Round { block: name.clone(), number, last: block.last };
        let mut members: Vec<usize> = block.nodes.keys().filter_map(|node| nodes.0.get_index_of(*node)).collect();
        members.sort_unstable();
        let Some(last) = members.last().copied() else { return };
        let mut made: Vec<(String, Entry)> = Vec::new();
        for member in &members {
            let Some((base, _)) = nodes.0.get_index(*member) else { continue };
            self.nodes.insert(base.clone(), round(1));
        }
        for number in 2..=block.last {
            for member in &members {
                let Some((base, entry)) = nodes.0.get_index(*member) else { continue };
                let unrolled = format!("{base}@{number}");
                // A node of that name in the file is reported: `@` is reserved.
                if !nodes.0.contains_key(&unrolled) {
                    self.nodes.insert(unrolled.clone(), round(number));
                    made.push((unrolled, block.entry(base, entry, number)));
                }
            }
        }
        let behind = nodes.0.split_off(last + 1);
        nodes.0.extend(made);
        nodes.0.extend(behind);
    }

    /// The node that `name` (without an output) means where `consumer` says it. `None`: as it stands.
    ///
    /// # Errors
    /// A round that there is not; nothing if that follows from a block that was reported.
    pub(super) fn resolve(
        &self,
        name: &str,
        consumer: &str,
        nodes: &BTreeMap<&str, NodeId>,
        place: &Place,
    ) -> Result<Option<String>, Option<Diagnostic>> {
        let here = self.round(consumer);
        let Some((base, suffix)) = name.split_once('@') else {
            let there = self.round(name);
            let same = here.filter(|here| there.is_some_and(|there| there.block == here.block));
            return Ok(same.and_then(|here| at(name, here.number)));
        };
        let wrong = |message: String| Diagnostic::new(place, message);
        if !nodes.contains_key(base) {
            let names = nodes.keys().copied().filter(|name| !name.contains('@'));
            let error = wrong(format!("there is no node `{base}`"));
            return Err(Some(error.suggest(base, "the nodes are", names.collect::<Vec<_>>().into_iter())));
        }
        let found = if suffix == "previous" {
            self.previous(base, consumer, here).map(|number| (number, at(base, number)))
        } else {
            self.numbered(base, suffix).map(|number| (number, at(base, number)))
        };
        match found {
            Ok((1, _)) => Ok(Some(base.to_owned())),
            Ok((_, name)) => Ok(name),
            Err(_) if self.broken => Err(None),
            Err((message, help)) => Err(Some(wrong(message).help(help))),
        }
    }

    /// The number of the round before; or what is wrong and what to do.
    fn previous(&self, base: &str, consumer: &str, here: Option<&Round>) -> Result<usize, (String, String)> {
        let Some(here) = here else {
            let message = format!("`{base}@previous` stands outside a `[repeat]` block: node `{consumer}` is in none");
            let help = match self.round(base) {
                Some(round) => format!("`{base}` is its first round, `{base}@{}` its last", round.last),
                None => format!("write `{base}`, or put `{consumer}` into the `nodes` of a block `[repeat.NAME]`"),
            };
            return Err((message, help));
        };
        let block = &here.block;
        if self.round(base).is_none_or(|there| there.block != *block) {
            let message = format!("`{base}` has no previous round: it is not in `nodes` of `repeat.{block}`");
            return Err((message, format!("add it to `nodes`, or write `{base}`, which is the same in every round")));
        }
        if here.number == 1 {
            let message = format!("`{base}@previous` stands in round 1 of `{block}`, which has no round before it");
            let help =
                format!("the node's own table is round 1: give this in `override.{consumer}` of `[repeat.{block}]`");
            return Err((message, help));
        }
        Ok(here.number - 1)
    }

    /// The number of a round that is named; or what is wrong and what to do.
    fn numbered(&self, base: &str, suffix: &str) -> Result<usize, (String, String)> {
        let number = suffix.parse::<usize>().ok().filter(|number| number.to_string() == suffix);
        let Some(number) = number else {
            let help = "`@previous` is the round before, `@2` the second round".to_owned();
            return Err((format!("`@{suffix}` is no round"), help));
        };
        match self.round(base) {
            None => {
                let message = format!("`{base}` has no round {number}: it is in no `[repeat]` block");
                Err((message, format!("write `{base}`, or put it into the `nodes` of a block `[repeat.NAME]`")))
            }
            Some(round) if (1..=round.last).contains(&number) => Ok(number),
            Some(round) => {
                let message = format!("`{base}` has no round {number}");
                let help = format!(
                    "`times = {}` of `repeat.{}` makes rounds 1 to {}",
                    round.last - 1,
                    round.block,
                    round.last
                );
                Err((message, help))
            }
        }
    }
}

/// The name of a node in a round.
fn at(base: &str, number: usize) -> Option<String> {
    (number > 1).then(|| format!("{base}@{number}"))
}

/// The round of all of these nodes, if they are in one and the same.
pub(super) fn common<'r>(rounds: impl Iterator<Item = Option<&'r Round>>) -> Option<&'r Round> {
    let mut rounds = rounds.collect::<Option<Vec<_>>>()?.into_iter();
    let first = rounds.next()?;
    rounds.all(|round| (&round.block, round.number) == (&first.block, first.number)).then_some(first)
}

/// Says of which round the errors are.
pub(super) fn mark(errors: &mut [Diagnostic], round: Option<&Round>) {
    let Some(round) = round.filter(|round| round.number > 1) else { return };
    for error in errors {
        error.rounds = Some(Box::new(Rounds { block: round.block.clone(), numbers: vec![round.number] }));
    }
}
