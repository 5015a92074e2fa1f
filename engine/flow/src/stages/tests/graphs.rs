//! The example graph of these stages, from files to files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::event::Cancel;
use crate::graph::Graph;
use crate::model::{ModelInspector, ModelTraits};
use crate::run::{NodeState, RunOptions, run};
use crate::stage::Registry;
use crate::store::Store;

struct NoModels;

impl ModelInspector for NoModels {
    fn inspect(&self, _: &BTreeMap<String, PathBuf>, _: bool) -> Result<ModelTraits, String> {
        Err("there are no models here".to_owned())
    }
}

fn copy(name: &str, root: &Path) {
    let target = root.join(name);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name), target).unwrap();
}

#[test]
fn the_example_runs_twice_to_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["problems.csv", "more.jsonl", "ratings.jsonl"] {
        copy(&format!("examples/data/tables/{name}"), root);
    }
    copy("graphs/tables.toml", root);
    let registry = Registry::new(Box::new(NoModels), crate::stages::kinds());
    let mut files = Vec::new();
    for round in 0..2 {
        let graph = Graph::load(&root.join("graphs/tables.toml"), &[], &registry, None)
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let store = Store::open(&root.join("store")).unwrap();
        let events = Mutex::new(Vec::new());
        let options = RunOptions {
            to: Vec::new(),
            from: Vec::new(),
            device: "cpu".into(),
            threads: 1,
            drop_events: true,
            cancel: Cancel::default(),
        };
        let report = run(&graph, &store, &options, &|event| events.lock().unwrap().push(event)).unwrap();
        for node in &report.nodes {
            let name = &graph.nodes[node.node.0].name;
            assert_eq!(node.state, NodeState::Done, "{name}: {:?}", node.error);
            assert!(round == 0 || node.counts.computed == 0, "{name} computes again");
        }
        let count = |name: &str| {
            let node = graph.nodes.iter().position(|node| &*node.name == name).unwrap();
            report.nodes.iter().find(|report| report.node.0 == node).unwrap().counts.clone()
        };
        if round == 0 {
            assert_eq!(count("all").records_out, 36);
            assert_eq!((count("rated").records_out, count("rated").dropped), (32, 4));
            assert_eq!(count("unrated").records_out, 4);
            assert_eq!(count("some").records_out, 12);
        }
        let text = |name: &str| std::fs::read_to_string(root.join("target/tables").join(name)).unwrap();
        files.push((text("train.jsonl"), text("to-rate.csv")));
    }
    assert_eq!(files[0], files[1]);
    assert_eq!(files[0].0.lines().count(), 12);
    assert!(files[0].1.starts_with("id,question,lang\np09,"), "{}", files[0].1);
}
