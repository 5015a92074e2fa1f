//! `[repeat]`: what it unrolls into, and what is said about wrong blocks.

use std::collections::BTreeMap;

use super::{complaints, load_with};
use crate::digest::DigestBuilder;
use crate::graph::{Edge, Graph};
use crate::key::NodeKey;

/// Two nodes in a loop, and one that looks at its second round.
const GRAPH: &str = "[models.m]
path = 'model'
[nodes.r]
kind = 'read'
path = 'data/a.jsonl'
[nodes.s]
kind = 'reasoning-sample'
input = 'r'
model = 'm'
samples = 8
temperature = 0.5
[nodes.t]
kind = 'sft'
input = 's'
model = 'm'
[nodes.last]
kind = 'merge'
inputs = ['r', 't@2.metrics', 's', 's@3']
[repeat.refine]
times = 2
nodes = ['t', 's', 'r']
override.s = { model = 't@previous', samples = 2 }
unset.s = ['temperature']
round.2.r = { path = 'data/b.jsonl' }
round.3.r.path = 'data/*.jsonl'
";

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| &*node.name).collect()
}

/// What feeds `port` of `node`.
fn source(graph: &Graph, node: &str, port: &str) -> String {
    let node = &graph.nodes[graph.node(node).unwrap().0];
    match &node.inputs[port] {
        Edge::Node { node, port } => format!("{}.{port}", graph.nodes[node.0].name),
        Edge::Model(name) => name.clone(),
    }
}

/// The key of every node with those of all above it: what a full run would be stored under, in short.
fn keys(graph: &Graph) -> BTreeMap<String, String> {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    for id in &graph.order {
        let node = &graph.nodes[id.0];
        let mut digest = DigestBuilder::default();
        digest.part(NodeKey::of(graph, node, &BTreeMap::new()).digest().to_string().as_bytes());
        for (port, edge) in &node.inputs {
            let above = match edge {
                Edge::Node { node, port } => format!("{port} {}", keys[&*graph.nodes[node.0].name]),
                Edge::Model(name) => graph.models[name].digest.to_string(),
            };
            digest.part(port.as_bytes()).part(above.as_bytes());
        }
        keys.insert(node.name.to_string(), digest.finish().to_string());
    }
    keys
}

#[test]
fn a_block_is_unrolled() {
    // `last` merges metrics, which lack the field that it reads.
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    let graph = load_with(&graph, &[("nodes.s@3.samples", "16")]).unwrap();
    assert_eq!(names(&graph), ["r", "s", "t", "r@2", "s@2", "t@2", "r@3", "s@3", "t@3", "last"]);
    for (node, port, wanted) in [
        ("s", "input", "r.records"),
        ("s", "model", "m"),
        ("s@2", "input", "r@2.records"),
        ("s@2", "model", "t.model"),
        ("t@2", "input", "s@2.samples"),
        ("t@2", "model", "m"),
        ("s@3", "model", "t@2.model"),
        ("t@3", "input", "s@3.samples"),
        ("last", "00", "r.records"),
        ("last", "02", "s@3.samples"),
    ] {
        assert_eq!(source(&graph, node, port), wanted, "{node} {port}");
    }
    let option = |node: &str, name: &str| graph.nodes[graph.node(node).unwrap().0].options.values[name].clone();
    assert_eq!(["s", "s@2", "s@3"].map(|node| option(node, "samples").as_i64().unwrap()), [8, 2, 16]);
    assert_eq!(["s", "s@2", "s@3"].map(|node| option(node, "temperature").as_f64().unwrap()), [0.5, 1.0, 1.0]);
    let files = |node: &str| graph.nodes[graph.node(node).unwrap().0].options.files["path"].len();
    assert_eq!(["r", "r@2", "r@3"].map(files), [1, 1, 2]);
    let line = |node: &str, name: &str| {
        graph.nodes[graph.node(node).unwrap().0].option_positions.get(name).map(|position| position.line)
    };
    assert_eq!((line("s@2", "input"), line("s@2", "model"), line("r@3", "path")), (Some(8), Some(22), Some(25)));
    assert_eq!((line("s@2", "samples"), line("s@3", "samples"), line("s@2", "temperature")), (Some(22), None, None));
    assert_eq!((line("last", "inputs"), line("last", "01")), (Some(18), Some(18)));
    assert_eq!(graph.nodes[graph.node("t@3").unwrap().0].position.line, 12);
}

#[test]
fn outputs_of_rounds_are_named_on_edges() {
    let graph = GRAPH.replace("'t@2.metrics', ", "").replace("nodes = ['t',", "nodes = ['w', 't',");
    let graph = graph
        + "round.2.w = { input = 't@previous.metrics', path = '/nowhere/2.jsonl' }
round.3.w = { input = 't.metrics', path = '/nowhere/3.jsonl' }
[nodes.w]\nkind = 'write'\ninput = 't@1.metrics'\npath = '/nowhere/1.jsonl'
[nodes.x]\nkind = 'write'\ninput = 't@2.metrics'\npath = '/nowhere/x.jsonl'\n";
    let graph = load_with(&graph, &[]).unwrap();
    let sources = ["w", "w@2", "w@3", "x"].map(|node| source(&graph, node, "input"));
    assert_eq!(sources, ["t.metrics", "t.metrics", "t@3.metrics", "t@2.metrics"]);
}

#[test]
fn a_round_more_changes_no_key_of_those_before() {
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    let two = keys(&load_with(&graph, &[]).unwrap());
    let more = [("repeat.refine.times", "3"), ("repeat.refine.round.4.r.path", "data/a.jsonl")];
    let three = keys(&load_with(&graph, &more).unwrap());
    assert_eq!((two.len(), three.len()), (10, 13));
    for (node, key) in &two {
        assert_eq!(three[node], *key, "{node}");
    }
    assert_ne!(three["t@4"], three["t@2"]);
    // The same, written out: other names, the same keys.
    let spelled = "[models.m]\npath = 'model'\n[nodes.data]\nkind = 'read'\npath = 'data/a.jsonl'
[nodes.first]\nkind = 'reasoning-sample'\ninput = 'data'\nmodel = 'm'\nsamples = 8\ntemperature = 0.5
[nodes.one]\nkind = 'sft'\ninput = 'first'\nmodel = 'm'\n[nodes.more]\nkind = 'read'\npath = 'data/b.jsonl'
[nodes.second]\nkind = 'reasoning-sample'\ninput = 'more'\nmodel = 'one'\nsamples = 2
[nodes.two]\nkind = 'sft'\ninput = 'second'\nmodel = 'm'\n";
    let spelled = keys(&load_with(spelled, &[]).unwrap());
    assert_eq!((&spelled["one"], &spelled["second"], &spelled["two"]), (&two["t"], &two["s@2"], &two["t@2"]));
}

/// The graph with one replacement, and what is said about it.
#[test]
fn wrong_blocks_are_errors_at_their_place() {
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    for (from, to, wanted) in [
        ("times = 2", "times = 0", "20:9 `times` takes a whole number from 1 to 1000 [found 0]"),
        ("times = 2", "times = -1", "20:9 `times` takes a whole number from 1 to 1000 [found -1]"),
        ("times = 2", "times = 1001", "20:9 `times` takes a whole number from 1 to 1000 [found 1001]"),
        ("times = 2", "times = 'x'", "20:9 `times` takes a whole number from 1 to 1000 [found text]"),
        ("times = 2\n", "", "19:1 `repeat.refine` has no `times`"),
        ("times = 2", "time = 2\ntimes = 2", "20:1 unknown key `time` of `repeat.refine` [did you mean `times`?]"),
        ("nodes = ['t', 's', 'r']\n", "", "19:1 `repeat.refine` has no `nodes`"),
        ("['t', 's', 'r']", "'t'", "21:9 `nodes` takes a list of names of nodes [found text]"),
        ("['t', 's', 'r']", "[]", "21:9 `nodes` of `repeat.refine` is empty"),
        (
            "['t', 's', 'r']",
            "['t', 's', 'r', 'x', 1]",
            "21:25 there is no node `x`|21:30 `nodes` takes a list of names of nodes [found a whole number]",
        ),
        ("['t', 's', 'r']", "['t', 's', 'r', 's']", "21:25 `s` is in `nodes` twice"),
        ("override.s ", "override.lst ", "22:10 `override` names `lst`, which is not in `nodes` of `repeat.refine`"),
        ("override.s ", "override.last ", "22:10 `override` names `last`, which is not in `nodes` of `repeat.refine`"),
        ("override.s = {", "override.s = 3 # {", "22:14 `override.s` takes a table of options [found a whole number]"),
        (
            "['temperature']",
            "['temprature']",
            "23:12 node `s` has no option `temprature` to unset [did you mean `temperature`?]",
        ),
        ("['temperature']", "['kind']", "23:12 node `s` has no option `kind` to unset"),
        ("['temperature']", "['samples']", "23:12 option `samples` of `s` is both unset and overridden"),
        ("round.3", "round.4", "25:7 `repeat.refine` has no round 4"),
        (
            "round.3.r.path",
            "round.3.t.steps",
            "24:15 round 3 of `refine` has no `path` of its own for `r` [this round has one]|25:11 round 2 of `refine` has no `steps` of its own for `t` [this round has one]",
        ),
        ("times = 2", "times = 3", "24:15 round 4 of `refine` has no `path` of its own for `r` [this round has one]"),
        ("round.3", "round.1", "25:7 `round.1` cannot be given"),
        ("round.3", "round.two", "25:7 `two` is not the number of a round"),
        ("'t@previous'", "'t'", "22:16 cycle: `s@2` -> `t@2` -> `s@2`"),
        ("'t@previous'", "'t@3'", "22:16 cycle: `s@2` -> `t@2` -> `s@2`"),
        ("'t@previous'", "'r@previous'", "22:24 input `model` takes a model, `r` gives records"),
        ("'t@previous'", "'m@previous'", "22:24 there is no node `m`"),
        (
            "'t@previous'",
            "'last@previous'",
            "22:24 `last` has no previous round: it is not in `nodes` of `repeat.refine`",
        ),
        ("'t@previous'", "'t@before'", "22:24 `@before` is no round"),
        (
            "'t@previous', samples = 2",
            "'t@previous', sampels = 2",
            "22:38 unknown option `sampels` of kind `reasoning-sample` [did you mean `samples`?]",
        ),
        (
            "model = 'm'\nsamples",
            "model = 't@previous'\nsamples",
            "9:9 `t@previous` stands in round 1 of `refine`, which has no round before it",
        ),
        ("'s@3'", "'s@4'", "18:21 `s` has no round 4"),
        ("'s@3'", "'s@03'", "18:21 `@03` is no round"),
        ("'s@3'", "'s@previous'", "18:21 `s@previous` stands outside a `[repeat]` block: node `last` is in none"),
        ("['r', 's'", "['last@2', 's'", "18:11 `last` has no round 2: it is in no `[repeat]` block"),
        ("[repeat.refine]", "[repeat.t]", "19:1 `t` is the name of a `[repeat]` block and of a node"),
        ("[repeat.refine]", "[repeat.'a b']", "19:9 name `a b` holds ' '"),
        ("[repeat.refine]", "[[repeat]]", "19:3 `repeat` takes tables with names, found a list"),
        (
            "[repeat.refine]",
            "[nodes.'s@2']\nkind = 'read'\npath = 'data/a.jsonl'\n[repeat.refine]",
            "19:8 name `s@2` holds '@'",
        ),
    ] {
        assert!(graph.contains(from), "{from}");
        let said = complaints(&graph.replacen(from, to, 1));
        if to.ends_with("@3'") && from.contains("previous") {
            // Several cycles: through round 2 and 3, and in round 3.
            assert!(said.iter().all(|error| error.contains("cycle: ")), "{said:?}");
        } else {
            assert_eq!(said, wanted.split('|').collect::<Vec<_>>(), "{from} -> {to}");
        }
    }
}

#[test]
fn a_node_is_in_one_block_and_a_block_is_not_too_large() {
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    let second = format!("{graph}[repeat.again]\ntimes = 1\nnodes = ['last', 's']\n");
    assert_eq!(complaints(&second), ["28:18 node `s` is in two blocks, `refine` and `again`"]);
    let mut many = String::from("[repeat.a]\ntimes = 1000\nnodes = [");
    (0..30).for_each(|index| many.push_str(&format!("'n{index}', ")));
    many.push_str("]\n");
    (0..30).for_each(|index| many.push_str(&format!("[nodes.n{index}]\nkind = 'read'\npath = 'data/a.jsonl'\n")));
    assert_eq!(complaints(&many), ["2:1 `a` unrolls into 30000 more nodes; a graph has at most 20000"]);
}

#[test]
fn what_is_wrong_in_several_rounds_is_said_once_and_with_its_rounds() {
    let shown = |source: &str| load_with(source, &[]).err().unwrap().to_string();
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    // In the block as it stands: no round is named.
    let error = shown(&graph.replace("input = 's'", "input = 'x'").replace("'r', 's'", "'r'"));
    assert_eq!((error.matches("error: ").count(), error.contains("in round")), (1, false), "{error}");
    let error = shown(&graph.replace("samples = 2", "samples = 0"));
    assert_eq!(error.matches("error: ").count(), 1, "{error}");
    assert!(error.contains("found 0\n   = in rounds 2 and 3 of `refine`\n   = help: "), "{error}");
    let error = shown(&graph.replace("'data/b.jsonl'", "'data/c.jsonl'"));
    assert!(error.contains("no file `data/c.jsonl`") && error.contains("= in round 2 of `refine`\n"), "{error}");
    let error = shown(&graph.replace("unset.s = ['temperature']", "unset.t = ['input']"));
    assert!(error.contains("input `input` of node `t@2` is not connected"), "{error}");
    assert!(error.contains("graph.toml:12:1\n") && error.contains("= in rounds 2 and 3 of `refine`\n"), "{error}");
}

#[test]
fn settings_reach_blocks_and_rounds() {
    let graph = GRAPH.replace("'t@2.metrics', ", "");
    let said = |settings: &[(&str, &str)]| {
        let errors = load_with(&graph, settings).err().unwrap();
        errors.items.into_iter().map(|error| error.message).collect::<Vec<_>>()
    };
    assert_eq!(said(&[("nodes.s@4.samples", "1")]), ["there is no node `s@4`"]);
    assert_eq!(said(&[("repeat.refin.times", "1")]), ["there is no block `refin`"]);
    assert_eq!(said(&[("repeat.refine", "1")]), ["`repeat.refine` cannot be set"]);
    assert_eq!(
        said(&[("repeat.refine.times", "0"), ("nodes.s@2.samples", "1")]),
        ["`times` takes a whole number from 1 to 1000"]
    );
    assert!(load_with(&graph, &[("nodes.\"s@2\".samples", "1"), ("repeat.refine.override.t.steps", "7")]).is_ok());
}
