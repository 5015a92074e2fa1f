//! Graphs against a few small kinds: what a right graph becomes, and what is said about wrong ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::load;
use crate::diagnostic::Diagnostics;
use crate::graph::{Edge, Graph, NodeId};
use crate::model::{ModelInspector, ModelTraits};
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Record, Schema};
use crate::stage::{Complaint, Kind, NodeInput, Port, Reads, Registry, Source, Stage, StageContext, Work};
use crate::template::Template;

struct Inspector;

impl ModelInspector for Inspector {
    fn inspect(&self, files: &BTreeMap<String, PathBuf>, random_init: bool) -> Result<ModelTraits, String> {
        let config = fs::read_to_string(&files["config.json"]).map_err(|error| error.to_string())?;
        if config.contains("broken") {
            return Err("`config.json` names no architecture".to_owned());
        }
        Ok(ModelTraits { vision: config.contains("vision"), summary: format!("random: {random_init}") })
    }
}

/// A source whose schema is an option.
struct Read;
/// Reads the fields of a template and a field named by an option; needs a model that takes images.
struct Sample;
/// Gives a model and records.
struct Train;

struct Nothing;

impl Source for Nothing {
    fn read(
        &self,
        _: &StageContext<'_>,
        _: &mut dyn FnMut(Vec<Record>) -> Result<(), crate::error::StageError>,
    ) -> Result<(), crate::error::StageError> {
        Ok(())
    }
}

fn stage(reads: BTreeMap<&'static str, Reads>, schemas: BTreeMap<&'static str, Schema>) -> Stage {
    Stage {
        version: 1,
        identity: json!(null),
        reads,
        schemas,
        models: BTreeMap::new(),
        keeps: None,
        seeded: false,
        uses_device: false,
        work: Work::Source(Box::new(Nothing)),
    }
}

impl Kind for Read {
    fn name(&self) -> &'static str {
        "read"
    }
    fn summary(&self) -> &'static str {
        "reads"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::required("path", OptionKind::Files, "The files to read."),
            OptionSpec::new("columns", OptionKind::TextMap, r#"{"question": "text"}"#, "The fields."),
        ];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        &[]
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("records", "what was read")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let columns = node.options.values["columns"].as_object().unwrap();
        let schema = columns
            .iter()
            .map(|(name, kind)| (name.clone(), FieldKind::parse(kind.as_str().unwrap()).unwrap_or(FieldKind::Json)));
        Ok(stage(BTreeMap::new(), BTreeMap::from([("records", schema.collect())])))
    }
}

impl Kind for Sample {
    fn name(&self) -> &'static str {
        "reasoning-sample"
    }
    fn summary(&self) -> &'static str {
        "samples"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new(
                "temperature",
                OptionKind::Float { min: 0.0, max: 2.0 },
                "1",
                "How random the samples are.",
            ),
            OptionSpec::new("samples", OptionKind::Int { min: 1, max: i64::MAX }, "4", "Samples per record."),
            OptionSpec::new("prompt", OptionKind::Template, "\"{{ question }}\"", "What is asked."),
            OptionSpec::new("image", OptionKind::Text, "null", "The field with the image."),
            OptionSpec::new("style", OptionKind::Choice(&["plain", "boxed"]), "\"plain\"", "How answers are marked."),
            OptionSpec::new("stop", OptionKind::TextList, "[]", "Where to stop."),
            OptionSpec::new("weights", OptionKind::Weights, "{}", "Weights."),
            OptionSpec::new("config", OptionKind::Any, "null", "Anything."),
            OptionSpec::new("system", OptionKind::File, "null", "A file.").not_identity(),
        ];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("input", "the problems"), Port::model("model", "who answers")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("samples", "the samples")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut reads = Reads::default();
        for field in Template::parse(node.options.values["prompt"].as_str().unwrap()).unwrap().fields() {
            reads = reads.require(field, FieldKind::Text, Some("prompt"));
        }
        if let Some(image) = node.options.values["image"].as_str() {
            if !node.models["model"].vision {
                return Err(vec![Complaint::about("image", "the model takes no images")]);
            }
            reads = reads.require(image, FieldKind::Image, Some("image"));
        }
        let mut schema = node.schemas["input"].clone();
        schema.insert("reasoning".into(), FieldKind::Text);
        Ok(stage(BTreeMap::from([("input", reads)]), BTreeMap::from([("samples", schema)])))
    }
}

impl Kind for Train {
    fn name(&self) -> &'static str {
        "sft"
    }
    fn summary(&self) -> &'static str {
        "trains"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] =
            &[OptionSpec::new("steps", OptionKind::Int { min: 1, max: 1000 }, "10", "Steps of the optimizer.")];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("input", "the data"), Port::model("model", "where to start")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::model("model", "the result"), Port::records("metrics", "losses")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut stage = stage(BTreeMap::new(), BTreeMap::from([("metrics", Schema::default())]));
        stage.reads.insert("input", Reads::default().require("question", FieldKind::Text, None));
        stage.models.insert("model", node.models["model"].clone());
        Ok(stage)
    }
}

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
    let kinds: [Box<dyn Kind>; 3] = [Box::new(Read), Box::new(Sample), Box::new(Train)];
    let registry = Registry::new(Box::new(Inspector), kinds);
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
[nodes.c]\nkind = 'read'\npath = ['data/a.jsonl', 'nowhere', 3]\n[nodes.d]\nkind = 'read'\npath = ['***']\n[nodes.e]\nkind = 'read'\n";
    assert_eq!(
        complaints(source),
        [
            "3:8 no file matches `data/*.parquet`",
            "6:8 expected files, `data` is a folder",
            "9:25 there is no file `nowhere`",
            "9:36 option `path` takes a path, a glob or a list of these [found 3]",
            "12:9 `***` is not a glob: wildcards are either regular `*` or recursive `**`",
            "13:1 option `path` of kind `read` is missing",
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
        let registry = Registry::new(Box::new(Inspector), [Box::new(Read) as Box<dyn Kind>]);
        let error = Graph::load(&folder.path().join("graph.toml"), &[], &registry, None).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let registry = Registry::new(Box::new(Inspector), [] as [Box<dyn Kind>; 0]);
    let folder = folder(b"");
    for (path, wanted) in [("nowhere.toml", "cannot read the graph file"), ("data", "found a folder")] {
        let error = Graph::load(&folder.path().join(path), &[], &registry, None).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let large = folder.path().join("large.toml");
    fs::write(&large, vec![b'#'; 11 << 20]).unwrap();
    assert!(Graph::load(&large, &[], &registry, None).err().unwrap().to_string().contains("larger than 10 MiB"));
}

/// Graphs with bytes cut out, doubled or replaced: an error or a graph, and an error can be shown.
#[test]
fn damaged_graphs_never_panic() {
    let source = format!(
        "name = 'é'\nseed = 0x1F\n{HEAD}columns = {{ question = \"text\", 'ü' = 'json' }}
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r.records'\nmodel = 't'\nprompt = \"\"\"\n{{{{ question }}}}\"\"\"
temperature = 1e-1\nconfig = {{ a = [1979-05-27, {{ b.c = true }}] }}\n[nodes.t]\nkind = 'sft'\ninput = 's'\nmodel = 'm'\n"
    );
    let bytes = source.as_bytes();
    let folder = folder(bytes);
    let path = folder.path().join("graph.toml");
    let kinds: [Box<dyn Kind>; 3] = [Box::new(Read), Box::new(Sample), Box::new(Train)];
    let registry = Registry::new(Box::new(Inspector), kinds);
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..1000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..=next(3) {
            let (from, length) = (next(damaged.len()), next(12));
            let part = damaged[from..(from + length).min(damaged.len())].to_vec();
            let to = next(damaged.len() + 1);
            match next(4) {
                0 => _ = damaged.splice(to..to, part),
                1 => _ = damaged.splice(from..from + part.len(), []),
                2 => damaged[from] = b"\"'[]{}=.,#\n\0\xff"[next(13)],
                _ => damaged.truncate(to.max(1)),
            }
        }
        fs::write(&path, damaged).unwrap();
        if let Err(errors) = Graph::load(&path, &[], &registry, None) {
            assert!(!errors.items.is_empty());
            assert!(errors.to_string().starts_with("error: "));
        }
    }
}
