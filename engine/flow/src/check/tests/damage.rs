//! Damaged, hostile and huge graph files: an error or a graph, never a panic. `fuzz/` does the same for hours.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::kinds::registry;
use super::{HEAD, complaints, folder, load_with};
use crate::diagnostic::{Diagnostics, SHOWN};
use crate::graph::Graph;

/// The repository's graphs, right ones and broken ones, over the kinds and files of these tests.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patterns = ["graphs/*.toml", "tests/cases/graph-errors/*/graph.toml", "fuzz/seeds/*.toml"];
    let paths = patterns.iter().flat_map(|pattern| glob::glob(&root.join(pattern).to_string_lossy()).unwrap());
    let mut seeds: Vec<Vec<u8>> = paths.map(|path| adapted(fs::read(path.unwrap()).unwrap())).collect();
    assert!(seeds.len() > 60, "{} seeds", seeds.len());
    seeds.push(HEAD.into());
    seeds
});

/// The bytes with this crate's test kinds and files in place of the graph's.
fn adapted(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(text) = String::from_utf8(bytes) else { return b"name = '\xff'".to_vec() };
    let word = |word: &str| match word {
        "caption" | "wasm" | "filter-shortest-correct" => "reasoning-sample".to_owned(),
        "grpo" | "eval" => "sft".to_owned(),
        path if path.ends_with(".jsonl") || path.ends_with(".parquet") => "data/a.jsonl".to_owned(),
        path if path.contains("/models/") => "model".to_owned(),
        other => other.to_owned(),
    };
    text.split('"').map(word).collect::<Vec<_>>().join("\"").into_bytes()
}

/// What is put into a graph.
const TOKENS: [&str; 40] = [
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\0",
    "\u{feff}",
    "\r",
    "@previous",
    "@2",
    "@",
    "${",
    "${HOME}",
    "{{ x }}",
    "\"\"\"",
    "-1",
    "0",
    "1e999",
    "nan",
    "99999999999999999999",
    "1979-05-27",
    "[repeat.x]\n",
    "times = 1\n",
    "nodes = ['r']\n",
    "override.r = {}\n",
    "round.2.r.path = 'x'\n",
    "unset.r = 'path'\n",
    "on-error = 'drop'\n",
    "retries = 1\n",
    "timeout = 1\n",
    "inputs = ['r', 'r@2']\n",
    "[nodes.r]\n",
    "[[nodes]]\n",
    "kind = 'merge'\n",
];

/// One thing done to a graph.
#[derive(Clone, Debug)]
enum Damage {
    Cut(Index, usize),
    Token(Index, Index),
    Byte(Index, u8),
    Copy { from: Index, length: usize, to: Index },
    Graft { seed: Index, from: Index, length: usize, to: Index },
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 1..40_usize).prop_map(|(at, length)| Damage::Cut(at, length)),
        (index(), index()).prop_map(|(at, token)| Damage::Token(at, token)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (index(), 1..80_usize, index()).prop_map(|(from, length, to)| Damage::Copy { from, length, to }),
        (index(), index(), 1..200_usize, index()).prop_map(|(seed, from, length, to)| Damage::Graft {
            seed,
            from,
            length,
            to
        }),
    ]
}

impl Damage {
    fn apply(&self, graph: &mut Vec<u8>) {
        let slice = |bytes: &[u8], from: &Index, length: usize| {
            let from = from.index(bytes.len() + 1);
            bytes[from..(from + length).min(bytes.len())].to_vec()
        };
        let end = graph.len() + 1;
        let (to, part) = match self {
            Damage::Cut(at, length) => {
                let at = at.index(end);
                graph.drain(at..(at + length).min(end - 1));
                return;
            }
            Damage::Byte(at, byte) => (at.index(end), vec![*byte]),
            Damage::Token(at, token) => (at.index(end), TOKENS[token.index(TOKENS.len())].into()),
            Damage::Copy { from, length, to } => (to.index(end), slice(graph, from, *length)),
            Damage::Graft { seed, from, length, to } => {
                (to.index(end), slice(&SEEDS[seed.index(SEEDS.len())], from, *length))
            }
        };
        graph.splice(to..to, part);
    }
}

/// A graph whose nodes are all in order, or errors that can be shown.
fn check_answer(answer: Result<Graph, Diagnostics>) {
    match answer {
        Ok(graph) => assert_eq!(graph.order.len(), graph.nodes.len()),
        Err(errors) => {
            assert!(!errors.items.is_empty());
            assert!(errors.to_string().starts_with("error: "));
        }
    }
}

#[test]
fn damaged_graphs_never_panic() {
    let folder = folder(b"");
    let path = folder.path().join("graph.toml");
    let registry = registry();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let cases = (any::<Index>(), vec(damage(), 0..6));
    let result = runner.run(&cases, |(seed, damages)| {
        let mut graph = SEEDS[seed.index(SEEDS.len())].clone();
        damages.iter().for_each(|damage| damage.apply(&mut graph));
        fs::write(&path, graph).unwrap();
        check_answer(Graph::load(&path, &[], &registry, None));
        Ok(())
    });
    result.unwrap();
}

/// Files of 10 MB, the most that is read: each is answered, and with one error where one thing is wrong.
#[test]
fn a_huge_file_is_read() {
    let megabytes = |part: &str, count: usize| part.repeat((count << 20) / part.len());
    let comment = format!("{HEAD}sampels = 1\n{}", megabytes("# a comment of no interest to anybody\n", 9));
    assert_eq!(complaints(&comment), ["6:1 unknown option `sampels` of kind `read`"]);
    let text = format!("{HEAD}columns = {{ x = 'text' }}\nsampels = '{}'\n", megabytes("é", 9));
    assert_eq!(complaints(&text), ["7:1 unknown option `sampels` of kind `read`"]);
    let unclosed = format!("{HEAD}{}", megabytes("[", 9));
    assert!(!complaints(&unclosed).is_empty());
}

/// More errors than anybody reads, on one line: they are found and the first are shown.
#[test]
fn very_many_errors_are_answered() {
    let mut source = "nodes = {".to_owned();
    for node in 0..2000 {
        let _ = write!(source, "node-{node} = {{kind = 'sft', input = 'nodes-{node}', model = 'x'}}, ");
    }
    source.push('}');
    let errors = load_with(&source, &[]).err().unwrap();
    assert_eq!(errors.items.len(), 4000);
    assert_eq!(errors.to_string().matches("error: there is no node").count(), SHOWN);
}

/// A thick knot: every node takes from every other.
#[test]
fn cycles_without_number_are_answered() {
    let names = (0..40).map(|node| format!("'n{node}'")).collect::<Vec<_>>().join(", ");
    let nodes = (0..40).map(|node| format!("[nodes.n{node}]\nkind = 'merge'\ninputs = [{names}]\n"));
    let said = complaints(&nodes.collect::<String>());
    assert_eq!((said.len(), said[0].as_str()), (21, "there are more than 20 cycles"));
}
