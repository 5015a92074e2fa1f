//! Graphs against a few small kinds: what a right graph becomes, and what is said about wrong ones.

mod damage;
mod kinds;
mod policy;
mod repeat;
mod speed;

use std::fs;

use tempfile::TempDir;

use self::kinds::registry;
use super::load;
use crate::diagnostic::Diagnostics;
use crate::graph::{Edge, Graph, NodeId};
use crate::stage::Registry;

/// A folder with data, a model and the graph `source`.
fn folder(source: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["model", "text-model", "broken-model", "data", "no-model"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for (name, bytes) in [
        ("model/config.json", "vision".as_bytes()),
        ("model/model.safetensors", b"weights"),
        ("model/README.md", b"not part of it"),
        ("text-model/config.json", b"text"),
        ("broken-model/config.json", b"broken"),
        ("data/b.jsonl", b"b"),
        ("data/a.jsonl", b"a"),
        ("graph.toml", source),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn load_with(source: &str, overrides: &[(&str, &str)]) -> Result<Graph, Diagnostics> {
    let folder = folder(source.as_bytes());
    let registry = registry();
    let overrides: Vec<_> = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let environment = |name: &str| (name == "SECRET").then(|| "hunter22".to_owned());
    load(&folder.path().join("graph.toml"), &overrides, &registry, &super::digest_of, &environment)
}

/// What is said about `source`: `line:column message [label]` each, with notes and help left out.
fn complaints(source: &str) -> Vec<String> {
    let errors = load_with(source, &[]).err().expect("the graph is wrong");
    let lines = crate::diagnostic::Lines::new(&errors.source);
    let shown = errors.items.iter().map(|item| {
        let place = item.span().map(|span| lines.locate(&errors.source, span.start));
        let place = place.map(|(line, column)| format!("{line}:{column} ")).unwrap_or_default();
        let label = item.label.as_ref().map(|label| format!(" [{label}]")).unwrap_or_default();
        format!("{place}{}{label}", item.message)
    });
    shown.collect()
}

const HEAD: &str = "[models.m]\npath = 'model'\n[nodes.r]\nkind = 'read'\npath = 'data/*.jsonl'\n";

#[test]
fn a_right_graph_is_resolved() {
    let source = "name = 'demo'\nseed = 7
[models.m]\npath = 'model'\n[models.unused]\nconfig = 'text-model'\ninit = 'random'
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r'\nmodel = 't'\ntemperature = 1\nweights = { b = 1, a = 2 }
[nodes.t]\nkind = 'sft'\ninput = 'r.records'\nmodel = 'm'
[nodes.again]\nkind = 'sft'\ninput = 's'\nmodel = 't'
[nodes.r]\nkind = 'read'\npath = ['data/b.jsonl', 'data/*.jsonl']\n";
    let graph = load_with(source, &[("nodes.t.steps", "20")]).unwrap();
    assert_eq!((graph.name.as_str(), graph.seed), ("demo", 7));
    let names: Vec<&str> = graph.order.iter().map(|id| &*graph.nodes[id.0].name).collect();
    assert_eq!(names, ["r", "t", "s", "again"]);
    assert_eq!(graph.models.keys().collect::<Vec<_>>(), ["m"]);
    assert_eq!(graph.models["m"].files.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
    let sample = &graph.nodes[graph.node("s").unwrap().0];
    assert_eq!(sample.inputs["model"], Edge::Node { node: NodeId(1), port: "model" });
    assert_eq!(serde_json::to_string(&sample.options.values["weights"]).unwrap(), r#"{"a":2.0,"b":1.0}"#);
    assert_eq!(serde_json::to_string(&sample.options.values["temperature"]).unwrap(), "1.0");
    assert_eq!((sample.position.line, sample.option_positions["temperature"].line), (8, 12));
    assert_eq!(graph.nodes[1].options.values["steps"], 20);
    assert!(!graph.nodes[1].option_positions.contains_key("steps"));
    let files: Vec<_> =
        graph.nodes[3].options.files["path"].iter().map(|file| file.path.file_name().unwrap()).collect();
    assert_eq!(files, ["b.jsonl", "a.jsonl"]);
}

#[test]
fn every_error_is_reported_at_its_place() {
    let source = format!(
        "{HEAD}
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'x'\nmodel = 'r'\ntemprature = 1\nsamples = 0\nstyle = 'boxd'\nstop = 'a'
[nodes.t]\nkind = 'sfd'\n[nodes.u]\nkind = 'sft'\ninput = 'r.record'\nsteps = 1.5\n[nodez]\n"
    );
    assert_eq!(
        complaints(&source),
        [
            "9:9 there is no node or model `x`",
            "10:9 input `model` takes a model, `r` gives records",
            "11:1 unknown option `temprature` of kind `reasoning-sample` [did you mean `temperature`?]",
            "12:11 option `samples` takes a whole number of at least 1 [found 0]",
            "13:9 option `style` takes one of `plain`, `boxed` [did you mean `boxed`?]",
            "14:8 option `stop` takes a list of texts [found text]",
            "16:8 unknown kind `sfd` [did you mean `sft`?]",
            "17:1 input `model` of node `u` is not connected",
            "19:9 node `r` of kind `read` has no output `record` [did you mean `records`?]",
            "20:9 option `steps` takes a whole number from 1 to 1000 [found 1.5]",
            "21:2 unknown key `nodez` [did you mean `nodes`?]",
        ]
    );
}

#[test]
fn fields_are_checked_along_edges() {
    let source = format!(
        "{HEAD}columns = {{ quesion = 'text', picture = 'text' }}
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r'\nmodel = 'm'\nprompt = '{{{{ question }}}}'\nimage = 'picture'
[nodes.t]\nkind = 'sft'\ninput = 'r'\nmodel = 'm'\n[nodes.below]\nkind = 'sft'\ninput = 's'\nmodel = 't'\n"
    );
    let errors = load_with(&source, &[]).err().unwrap();
    assert_eq!(
        complaints(&source),
        [
            "11:1 option `prompt` of kind `reasoning-sample` reads field `question` (text), which `r` does not give [did you mean `quesion`?]",
            "12:1 option `image` of kind `reasoning-sample` reads field `picture` as image, `r` gives it as text",
            "15:1 kind `sft` reads field `question` (text), which `r` does not give [did you mean `quesion`?]",
        ]
    );
    let shown = errors.to_string();
    assert!(shown.contains("note: `r` gives picture (text), quesion (text)\n"), "{shown}");
    assert!(shown.contains("graph.toml:3:1\n   |\n 3 | [nodes.r]\n   | ^^^^^^^^^\n"), "{shown}");
}

#[test]
fn cycles_have_their_path() {
    let source = format!(
        "{HEAD}[nodes.a]\nkind = 'sft'\ninput = 'r'\nmodel = 'c'\n[nodes.b]\nkind = 'sft'\ninput = 'r'\nmodel = 'a'
[nodes.c]\nkind = 'sft'\ninput = 'c.metrics'\nmodel = 'b'\n[nodes.d]\nkind = 'sft'\ninput = 'r'\nmodel = 'c'\n"
    );
    assert_eq!(complaints(&source), ["9:1 cycle: `a` -> `b` -> `c` -> `a`", "16:1 cycle: `c` -> `c`"]);
}

#[test]
fn models_are_checked() {
    let source = "[models.a]\npath = 'nowhere'\n[models.b]\nconfig = 'model'\n[models.c]\nendpoint = 'http://x'
[models.d]\npath = 'no-model'\n[models.e]\npath = 'text-model'\n[models.f]\nconfig = 'broken-model'\ninit = 'random'\nseed = -1
[models.g]\nfoo = 1\n[models.'a b']\npath = 'data/a.jsonl'\n[models.r]\npath = 'model'\ninit = 'random'
[nodes.r]\nkind = 'read'\npath = 'data/a.jsonl'\n";
    assert_eq!(
        complaints(source),
        [
            "2:8 there is no folder `nowhere`",
            "4:1 model `b` has `config` but no `init`: where do its weights come from?",
            "6:1 model `c`: `endpoint` is not supported by this version",
            "8:8 folder `no-model` holds no model: it has no `config.json`",
            "10:8 folder `text-model` holds no weights: it has no `*.safetensors`",
            "12:10 model `f` cannot be used: `config.json` names no architecture",
            "14:8 `seed` takes a whole number of at least 0 [found -1]",
            "15:1 model `g` has no `path`",
            "16:1 unknown key `foo` of model `g`",
            "17:9 name `a b` holds ' '",
            "18:8 expected a folder in Hugging Face layout, `data/a.jsonl` is a file",
            "21:1 `init` of model `r` needs `config`",
            "22:1 `r` is the name of a node and of a model",
        ]
    );
}

#[test]
fn a_kind_complains_at_the_option() {
    let source = "[models.t]\nconfig = 'text-model'\ninit = 'random'\n[nodes.r]\nkind = 'read'\npath = 'data/*'
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r'\nmodel = 't'\nimage = 'x'\n";
    assert_eq!(complaints(source), ["11:1 the model takes no images"]);
}

#[test]
fn files_must_be_there() {
    let source = "[nodes.a]\nkind = 'read'\npath = 'data/*.parquet'\n[nodes.b]\nkind = 'read'\npath = 'data'
[nodes.c]\nkind = 'read'\npath = ['data/a.jsonl', 'nowhere', 3]\n[nodes.d]\nkind = 'read'\npath = ['***']\n[nodes.e]\nkind = 'read'
[nodes.f]\nkind = 'read'\npath = '/dev/zero'\n";
    assert_eq!(
        complaints(source),
        [
            "3:8 no file matches `data/*.parquet`",
            "6:8 expected files, `data` is a folder",
            "9:25 there is no file `nowhere`",
            "9:36 option `path` takes a path, a glob or a list of these [found 3]",
            "12:9 `***` is not a glob: wildcards are either regular `*` or recursive `**`",
            "13:1 option `path` of kind `read` is missing",
            "17:8 expected a file, `/dev/zero` is a pipe or a device",
        ]
    );
}

#[test]
fn a_setting_is_named_in_its_error() {
    let overrides = [("nodes.r.path", "${SECRET}/x"), ("nodes.rr.path", "x"), ("nodes.r.pth", "1")];
    let shown = load_with(HEAD, &overrides).err().unwrap().to_string();
    assert!(shown.contains("error: there is no file `${SECRET}/x`\n --> --set nodes.r.path=${SECRET}/x\n"), "{shown}");
    assert!(
        shown.contains("error: there is no node `rr`\n --> --set nodes.rr.path=x\n  = help: the nodes are: `r`\n"),
        "{shown}"
    );
    assert!(shown.contains("error: unknown option `pth` of kind `read`\n --> --set nodes.r.pth=1\n"), "{shown}");
    assert!(!shown.contains("hunter22"));
}

#[test]
fn broken_files_are_errors_and_never_panic() {
    for (source, wanted) in [
        (&b""[..], "the graph file is empty"),
        (b"\xef\xbb\xbf\r\n", "the graph file is empty"),
        (b"seed = 1\r\n", "the graph has no nodes"),
        (b"[nodes]\n", "the graph has no nodes"),
        (b"nodes = 3\n", "`nodes` takes tables, found a whole number"),
        (b"[[nodes]]\nkind = 'a'\n", "write `[nodes.NAME]` instead of `[[nodes]]`"),
        (b"nodes.a = 3\nseed = inf\nname = ''", "node `a` takes a table with `kind`, found a whole number"),
        (b"a = \xff\xfe\n", "the graph file is not UTF-8 text"),
        (b"a = \"x\n", "invalid basic string"),
        (b"[nodes.a]\nkind = 'read'\n[nodes.a]\n", "first given here"),
        (b"\0\0\0", "error"),
    ] {
        let folder = folder(source);
        let error = Graph::load(&folder.path().join("graph.toml"), &[], &registry(), None).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let registry = Registry::new(Box::new(kinds::Inspector), []);
    let folder = folder(b"");
    for (path, wanted) in [("nowhere.toml", "cannot read the graph file"), ("data", "found a folder")] {
        let error = Graph::load(&folder.path().join(path), &[], &registry, None).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let large = folder.path().join("large.toml");
    fs::write(&large, vec![b'#'; 11 << 20]).unwrap();
    assert!(Graph::load(&large, &[], &registry, None).err().unwrap().to_string().contains("larger than 10 MiB"));
}
