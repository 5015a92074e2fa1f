//! Tests of the kind `write`: what it refuses before a run, and what a pass leaves.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::digest::Digest;
use crate::event::Cancel;
use crate::model::{ModelInspector, ModelTraits};
use crate::options::Options;
use crate::record::{Fields, Value};
use crate::run::{RunOptions, run};
use crate::stage::Registry;
use crate::stage::bare::{NoCheckpoint, Notes};
use crate::store::Store;

fn build(path: &Path, fields: Json) -> Result<Stage, Vec<Complaint>> {
    let options = Options {
        values: [("path".to_owned(), json!(path)), ("fields".to_owned(), fields)].into_iter().collect(),
        ..Options::default()
    };
    let kinds = [("question", FieldKind::Text), ("image", FieldKind::List(Box::new(FieldKind::Image)))];
    let schema = kinds.map(|(name, kind)| (name.to_owned(), kind)).into_iter().collect();
    let (schemas, models) = (BTreeMap::from([("input", schema)]), BTreeMap::new());
    let digest_file = |_: &Path| Ok(Digest::of(b""));
    Write.build(&NodeInput { options: &options, schemas: &schemas, models: &models, digest_file: &digest_file })
}

#[test]
fn a_path_that_says_no_format_and_images_in_csv_are_refused() {
    let message = |path: &str, fields| {
        let complaints = build(Path::new(path), fields).err().expect("it is refused");
        format!("{}: {}", complaints[0].option.as_deref().unwrap_or_default(), complaints[0].message)
    };
    assert!(message("out/x.json", json!([])).starts_with("path: `x.json` does not say the format: expected a name"));
    assert_eq!(message("x.csv", json!([])), "path: CSV cannot hold images, and field `image` is list<image>");
    assert_eq!(message("x.jsonl", json!(["a", "a"])), "fields: `a` is named twice");
}

#[test]
fn fields_asked_for_are_required_and_the_path_is_in_no_key() {
    let stage = build(Path::new("x.csv"), json!(["question", "id"])).unwrap_or_else(|_| panic!("it fits"));
    let names: Vec<_> = stage.reads["input"].fields.iter().map(|read| (read.name.as_str(), read.required)).collect();
    assert_eq!(names, [("question", true)]);
    let other = build(Path::new("folder/y.csv"), json!(["question", "id"])).unwrap_or_else(|_| panic!("it fits"));
    assert_eq!(stage.identity, other.identity);
    let packed = build(Path::new("x.csv.gz"), json!(["question"])).unwrap_or_else(|_| panic!("it fits"));
    assert_ne!(stage.identity, packed.identity);
    assert!(Write.options().iter().filter(|spec| spec.identity).all(|spec| spec.name != "path"));
}

#[test]
fn a_pass_makes_folders_and_leaves_the_whole_file_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let context = StageContext {
        seed: 0,
        device: "cpu",
        threads: 1,
        blobs: &store,
        checkpoint: &NoCheckpoint,
        progress: &Notes(|_: &str| {}),
        scratch: folder.path(),
        cancel: &Cancel::default(),
    };
    let path = folder.path().join("a/b/x.jsonl");
    let stage = build(&path, json!(["question"])).unwrap_or_else(|_| panic!("it fits"));
    let Work::Sink(sink) = stage.work else { panic!("a sink") };
    assert_eq!(sink.path(), path);
    let record = Record { id: "1".into(), fields: Fields::from([("question".into(), Value::text("why?"))]) };
    for finished in [false, true] {
        let mut pass = sink.begin(&context).unwrap();
        pass.take(std::slice::from_ref(&record)).unwrap();
        if finished {
            pass.finish().unwrap();
        } else {
            drop(pass);
        }
        let files: Vec<_> = std::fs::read_dir(folder.path().join("a/b")).unwrap().collect();
        assert_eq!(files.len(), usize::from(finished));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"question\":\"why?\"}\n");
}

/// A graph without models.
struct NoModels;

impl ModelInspector for NoModels {
    fn inspect(&self, _: &BTreeMap<String, PathBuf>, _: bool) -> Result<ModelTraits, String> {
        Err("there are no models here".to_owned())
    }
}

#[test]
fn a_graph_reads_and_writes_once_and_again_when_the_file_is_not_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let registry = Registry::new(Box::new(NoModels), crate::stages::kinds());
    let rows: String = (0..3000).map(|index| format!("{{\"id\": {index}, \"text\": \"row {index}\"}}\n")).collect();
    std::fs::write(folder.path().join("in.jsonl"), &rows).unwrap();
    let text = "[nodes.rows]\nkind = \"read\"\npath = \"in.jsonl\"\n[nodes.out]\nkind = \"write\"\ninput = \"rows\"\n\
                path = \"deep/out.csv.gz\"\n";
    let path = folder.path().join("graph.toml");
    std::fs::write(&path, text).unwrap();
    let computed = || {
        let graph =
            crate::graph::Graph::load(&path, &[], &registry, Some(&store)).unwrap_or_else(|_| panic!("it fits"));
        let options = RunOptions {
            to: Vec::new(),
            from: Vec::new(),
            device: "cpu".to_owned(),
            threads: 2,
            drop_events: false,
            cancel: Cancel::default(),
        };
        let report = run(&graph, &store, &options, &|_| {}).unwrap();
        assert!(report.nodes.iter().all(|node| node.error.is_none()), "{:?}", report.nodes[1].error);
        report.nodes.iter().map(|node| node.counts.computed).collect::<Vec<_>>()
    };
    let out = folder.path().join("deep/out.csv.gz");
    assert_eq!(computed(), [1, 1]);
    let first = std::fs::read(&out).unwrap();
    assert_eq!(computed(), [0, 0]);
    std::fs::write(&out, "something else").unwrap();
    assert_eq!(computed(), [0, 1]);
    std::fs::remove_file(&out).unwrap();
    assert_eq!(computed(), [0, 1]);
    assert!(std::fs::read(&out).unwrap() == first);
    // Nothing half-written lies beside it.
    assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
    std::fs::write(folder.path().join("in.jsonl"), rows.replace("row 7\"", "row seven\"")).unwrap();
    assert_eq!(computed(), [1, 1]);
    assert!(std::fs::read(&out).unwrap() != first);
}
