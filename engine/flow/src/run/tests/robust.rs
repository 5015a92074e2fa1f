//! Interruptions and damage: nothing finished is lost, what is damaged is made anew and noted.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::event::Cancel;
use crate::plan::outputs;
use crate::run::NodeState;
use crate::stage::{Blobs, Checkpoint};

use super::fakes::{Bench, Double, Item, Numbers, Train, node};

#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let mut bench = Bench::new();
    let items = Item::many(500);
    let stop = Double { cancels_on: Some((234, bench.cancel.clone())), batch: 10, ..Double::default() };
    let report = bench.run(&bench.chain(&items, stop));
    assert!(report.report.interrupted);
    assert_eq!(report.node("double").state, NodeState::Interrupted);
    assert_eq!(report.computed("double"), 240, "the batch in flight is finished");
    bench.cancel = Cancel::default();
    let graph = bench.chain(&items, Double::default());
    let report = bench.run(&graph);
    assert_eq!((report.computed("double"), report.hits("double")), (260, 240));
    let clean = Bench::new();
    clean.run(&clean.chain(&items, Double::default()));
    let model = |bench: &Bench| outputs(&graph, &bench.store(), node(2)).unwrap().unwrap().models["model"].digest;
    assert_eq!(model(&bench), model(&clean));
}

#[test]
fn what_is_computed_is_on_the_disk_within_a_second() {
    let bench = Bench::new();
    // Killed without any farewell: the second batch never comes back to the engine.
    let slow = Double { pause: Duration::from_millis(1100), panics_on: Some(10), batch: 10, ..Double::default() };
    let graph = bench.graph(vec![Numbers::node(&Item::many(20)), slow.node("double", 0)]);
    let store = bench.store();
    let report = bench.run_in(&store, &graph, &[]);
    assert_eq!(report.node("double").state, NodeState::Failed);
    std::mem::forget(store);
    let report = bench.run(&bench.graph(vec![Numbers::node(&Item::many(20)), Double::default().node("double", 0)]));
    assert_eq!(report.hits("double"), 19, "all but the one that panicked");
}

#[test]
fn an_interrupted_training_resumes_from_its_checkpoint() {
    let mut bench = Bench::new();
    let items = Item::many(100);
    let nodes = |train: Train| {
        vec![Numbers::node(&items), Double::default().node("double", 0), train.node("train", &[("input", 1)], None)]
    };
    let report =
        bench.run(&bench.graph(nodes(Train { cancel_at: Some((4, bench.cancel.clone())), ..Train::default() })));
    assert_eq!(report.node("train").state, NodeState::Interrupted);
    bench.cancel = Cancel::default();
    let graph = bench.graph(nodes(Train::default()));
    assert_eq!(bench.run(&graph).computed("train"), 1);
    assert_eq!(bench.work.steps.load(Ordering::SeqCst), 10, "no step is done twice");
    let clean = Bench::new();
    clean.run(&clean.graph(nodes(Train::default())));
    let model = |bench: &Bench| outputs(&graph, &bench.store(), node(2)).unwrap().unwrap().models["model"].digest;
    assert_eq!(model(&bench), model(&clean));
    assert!(files(&bench.store().root().join("checkpoints")).is_empty());
}

#[test]
fn a_damaged_checkpoint_is_none_and_a_note() {
    let bench = Bench::new();
    let store = bench.store();
    let key = crate::digest::Digest::of(b"key");
    let parts = [("a".to_owned(), vec![1; 100]), ("b".to_owned(), vec![2; 100])].into();
    store.checkpoint(&key).save(&parts).unwrap();
    assert_eq!(store.checkpoint(&key).load().unwrap(), Some(parts));
    let part = files(&store.root().join("checkpoints")).into_iter().find(|path| path.extension().is_none()).unwrap();
    flip(&part);
    assert_eq!(store.checkpoint(&key).load().unwrap(), None);
    assert_eq!(store.take_notes().len(), 1);
}

#[test]
fn damaged_entries_are_made_anew_and_noted() {
    let items: Vec<_> =
        Item::many(50).into_iter().map(|item| Item { image: Some(item.id.as_bytes().repeat(9)), ..item }).collect();
    let double = Double { reads_image: true, ..Double::default() };
    for (folder, recomputed) in
        [("units", "double"), ("actions", "train"), ("segments", "numbers"), ("blobs", "train"), ("graphs", "")]
    {
        let bench = Bench::new();
        let graph = bench.chain(&items, double.clone());
        bench.run(&graph);
        let damaged = files(&bench.store().root().join(folder));
        assert!(!damaged.is_empty(), "{folder}");
        damaged.iter().for_each(|path| flip(path));
        let report = bench.run(&graph);
        assert!(report.report.nodes.iter().all(|node| node.state == NodeState::Done), "{folder}: {:?}", report.report);
        assert!(report.notes().iter().any(|note| note.contains("is damaged")), "{folder}: {:?}", report.notes());
        assert!(recomputed.is_empty() || report.computed(recomputed) > 0, "{folder}");
        assert_eq!(bench.run(&graph).total_computed(), 0, "{folder}");
    }
}

#[test]
fn a_damaged_image_is_read_again_in_the_same_run() {
    let bench = Bench::new();
    let items: Vec<_> =
        Item::many(50).into_iter().map(|item| Item { image: Some(item.id.as_bytes().repeat(99)), ..item }).collect();
    bench.run(&bench.graph(vec![Numbers::node(&items)]));
    let pack = files(&bench.store().root().join("packs")).remove(0);
    flip(&pack);
    let graph = bench.chain(&items, Double { reads_image: true, ..Double::default() });
    let report = bench.run(&graph);
    assert_eq!((report.node("double").state, report.computed("numbers")), (NodeState::Done, 1), "{:?}", report.report);
    assert!(report.notes().iter().any(|note| note.contains("is damaged")));
    assert_eq!(report.events_of("failed"), 0);
    assert_eq!(bench.run(&graph).total_computed(), 0);
    std::fs::remove_dir_all(bench.store().root().join("packs")).unwrap();
    assert_eq!(bench.run(&graph).computed("numbers"), 1, "a missing pack is a miss");
}

#[test]
fn two_handles_share_a_store() {
    let bench = Bench::new();
    let items = Item::many(300);
    let graph = bench.chain(&items, Double { batch: 7, ..Double::default() });
    let (one, two) = (bench.store(), bench.store());
    let reports = std::thread::scope(|scope| {
        let first = scope.spawn(|| bench.run_in(&one, &graph, &[]));
        let second = scope.spawn(|| bench.run_in(&two, &graph, &[]));
        [first.join().unwrap(), second.join().unwrap()]
    });
    for report in &reports {
        assert!(report.report.nodes.iter().all(|node| node.state == NodeState::Done), "{:?}", report.report);
        assert!(report.notes().is_empty(), "{:?}", report.notes());
    }
    assert_eq!(bench.run(&graph).total_computed(), 0);
    let blob = one.put(b"small", "text/plain").unwrap();
    one.flush().unwrap();
    assert_eq!(two.get(&blob).unwrap(), b"small", "a pack written after the other looked");
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_with_its_path() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.store().root()).unwrap();
    std::fs::write(bench.store().root().join("segments"), b"in the way").unwrap();
    let report = bench.run(&bench.chain(&Item::many(3), Double::default()));
    assert_eq!(report.node("numbers").state, NodeState::Failed);
    assert!(report.node("numbers").error.as_deref().unwrap().contains("segments"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 3;
    // A segment without records is an empty file.
    let Some(byte) = bytes.get_mut(middle) else { return };
    *byte ^= 1;
    std::fs::write(path, bytes).unwrap();
}
