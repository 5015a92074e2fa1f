//! Policies, lists of inputs and outputs of nodes.

use std::time::Duration;

use super::{HEAD, complaints, load_with};
use crate::graph::{OnError, Policy};

/// [`HEAD`] with a record stage that has `keys`.
fn sample(keys: &str) -> String {
    format!("{HEAD}[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r'\nmodel = 'm'\n{keys}\n")
}

#[test]
fn every_node_takes_a_policy() {
    for (keys, wanted) in [
        ("", Policy::default()),
        ("on-error = 'fail'\nretries = 0", Policy::default()),
        ("on-error = 'drop'", Policy { on_error: OnError::Drop, ..Policy::default() }),
        (
            "retries = 100\ntimeout = 3",
            Policy { retries: 100, timeout: Some(Duration::from_secs(3)), ..Policy::default() },
        ),
        ("timeout = 0.25", Policy { timeout: Some(Duration::from_millis(250)), ..Policy::default() }),
    ] {
        let graph = load_with(&sample(keys), &[]).unwrap();
        assert_eq!(graph.nodes[1].policy, wanted, "{keys}");
        assert_eq!(graph.nodes[1].option_positions.contains_key("timeout"), keys.contains("timeout"));
        assert!(!graph.nodes[1].options.values.contains_key("retries"));
    }
}

#[test]
fn wrong_policies_are_errors() {
    for (keys, wanted) in [
        ("on-error = 'skip'", "10:12 `on-error` takes `fail` or `drop` [found `skip`]"),
        ("on-error = 'Drop'", "10:12 `on-error` takes `fail` or `drop` [did you mean `drop`?]"),
        ("on-error = true", "10:12 `on-error` takes `fail` or `drop` [found a boolean]"),
        ("on_error = 'drop'", "10:1 unknown option `on_error` of kind `reasoning-sample` [did you mean `on-error`?]"),
        ("retries = -1", "10:11 `retries` takes a whole number from 0 to 100 [found -1]"),
        ("retries = 101", "10:11 `retries` takes a whole number from 0 to 100 [found 101]"),
        ("retries = 1.0", "10:11 `retries` takes a whole number from 0 to 100 [found a number]"),
        ("timeout = 0", "10:11 `timeout` takes a number of seconds above 0 [found 0]"),
        ("timeout = -0.5", "10:11 `timeout` takes a number of seconds above 0 [found -0.5]"),
        ("timeout = nan", "10:11 `timeout` takes a number of seconds above 0 [found nan]"),
        ("timeout = inf", "10:11 `timeout` takes a number of seconds above 0 [found inf]"),
        ("timeout = 1e-300", "10:11 `timeout` takes a number of seconds above 0 [found 1e-300]"),
        ("timeout = '2s'", "10:11 `timeout` takes a number of seconds above 0 [found text]"),
    ] {
        assert_eq!(complaints(&sample(keys)), [wanted], "{keys}");
    }
    let train = format!("{HEAD}[nodes.t]\nkind = 'sft'\ninput = 'r'\nmodel = 'm'\nretries = 1\non-error = 'drop'\n");
    let wanted =
        "11:1 `on-error = \"drop\"` drops single records that fail, kind `sft` works on all its records at once";
    assert_eq!(complaints(&train), [wanted]);
}

#[test]
fn an_input_takes_several_names() {
    let merge = |value: &str| format!("{HEAD}[nodes.a]\nkind = 'merge'\ninputs = {value}\n");
    let graph = load_with(&merge("['r', 'r.records']"), &[]).unwrap();
    assert_eq!(graph.nodes[1].inputs.keys().copied().collect::<Vec<_>>(), ["00", "01"]);
    assert_eq!(load_with(&merge("'r'"), &[]).unwrap().nodes[1].inputs.len(), 1);
    let many = format!("[{}]", "'r', ".repeat(65));
    for (value, wanted) in [
        ("[]", "8:10 input `inputs` takes a list of 1 to 64 names of nodes [found an empty list]"),
        (many.as_str(), "8:10 input `inputs` takes a list of 1 to 64 names of nodes [found 65]"),
        ("3", "8:10 input `inputs` takes a list of names, each of a node that gives records [found a whole number]"),
        (
            "['r', 3]",
            "8:16 input `inputs` takes a list of names, each of a node that gives records [found a whole number]",
        ),
        ("['r', 'rr']", "8:16 there is no node or model `rr`"),
        ("['r', 'm']", "8:16 input `inputs` takes records, `m` is a model"),
        ("['r', 'a']", "8:16 cycle: `a` -> `a`"),
    ] {
        assert_eq!(complaints(&merge(value)), [wanted], "{value}");
    }
    let missing = format!("{HEAD}[nodes.a]\nkind = 'merge'\n");
    assert_eq!(complaints(&missing), ["6:1 input `inputs` of node `a` is not connected"]);
    let lacking = format!(
        "{HEAD}[nodes.b]\nkind = 'read'\npath = 'data/*'\ncolumns = {{}}\n[nodes.a]\nkind = 'merge'\ninputs = ['r', 'b']\n"
    );
    assert_eq!(complaints(&lacking), ["12:16 kind `merge` reads field `question` (text), which `b` does not give"]);
}

#[test]
fn a_file_is_written_by_one_node_and_read_by_none() {
    let write = |name: &str, path: &str| format!("[nodes.{name}]\nkind = 'write'\ninput = 'r'\npath = '{path}'\n");
    let two =
        format!("{HEAD}{}{}{}", write("a", "/tmp/x.jsonl"), write("b", "/tmp/y.jsonl"), write("c", "/tmp/./x.jsonl"));
    assert_eq!(complaints(&two), ["17:1 nodes `a` and `c` write the same file"]);
    let folder = super::folder(format!("{HEAD}{}", write("a", "PATH")).as_bytes());
    let path = folder.path().join("graph.toml");
    let source = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, source.replace("PATH", &folder.path().join("data/a.jsonl").display().to_string())).unwrap();
    let error = crate::graph::Graph::load(&path, &[], &super::registry(), None).err().unwrap();
    assert_eq!(error.items[0].message, "node `a` writes a file that node `r` reads");
}
