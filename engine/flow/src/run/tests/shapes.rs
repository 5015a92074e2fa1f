//! Graphs of every shape come to their end, and nodes on the device take turns.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::graph::Edge;
use crate::run::NodeState;

use super::fakes::{Bench, Double, Item, Join, Numbers, Train, node};

#[test]
fn fan_out_diamond_and_waiting_for_a_model_do_not_lock_up() {
    let bench = Bench::new();
    let items = Item::many(20_000);
    // The source feeds a stage that waits for a model which is trained on the same source, and a join of both.
    let graph = bench.graph(vec![
        Numbers::node(&items),
        Train { pause: Duration::from_millis(50), ..Train::default() }.node("train", &[("input", 0)], None),
        Double { model: Some(1), version: 2, ..Double::default() }.node("sample", 0),
        Double::default().node("double", 0),
        Join.node("join", &[("left", 2), ("right", 3)]),
        Join.node("again", &[("left", 0), ("right", 4)]),
    ]);
    let report = bench.run(&graph);
    assert!(report.report.nodes.iter().all(|node| node.state == NodeState::Done), "{:?}", report.report);
    assert_eq!(report.counts("again").records_in, 40_000);
    assert_eq!(report.counts("join").dropped, 20_000);
    assert_eq!(bench.run(&graph).total_computed(), 0);
}

#[test]
fn only_what_a_target_needs_takes_part() {
    let bench = Bench::new();
    let graph = bench.chain(&Item::many(10), Double::default());
    let report = bench.run_to(&graph, &[node(1)]);
    assert_eq!(report.names, ["numbers", "double"]);
}

#[test]
fn nodes_on_the_device_take_turns_and_the_lower_one_waits_for_the_upper() {
    let bench = Bench::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let device = |version| Double { device: Some(log.clone()), batch: 10, version, ..Double::default() };
    let graph = bench.graph(vec![Numbers::node(&Item::many(100)), device(1).node("one", 0), device(2).node("two", 1)]);
    bench.run(&graph);
    let mut turns = log.lock().unwrap().clone();
    turns.dedup();
    assert_eq!(turns, ["one", "one lets go", "two", "two lets go"]);
}

#[test]
fn a_failure_stops_what_is_below_and_nothing_else() {
    let bench = Bench::new();
    let items = Item::many(200);
    let nodes = |fails_on, panics_on| {
        vec![
            Numbers::node(&items),
            Double { fails_on, panics_on, batch: 10, ..Double::default() }.node("fails", 0),
            Train::default().node("below", &[("input", 1)], None),
            Double { version: 2, ..Double::default() }.node("beside", 0),
        ]
    };
    let report = bench.run(&bench.graph(nodes(Some(150), None)));
    assert_eq!(report.node("fails").state, NodeState::Failed);
    assert_eq!(report.node("fails").error.as_deref(), Some("record `n150`: cannot double this"));
    assert_eq!(report.node("below").state, NodeState::Blocked);
    assert_eq!(report.node("below").error.as_deref(), Some("cannot go on: `fails` failed"));
    assert_eq!(report.node("beside").state, NodeState::Done);
    let report = bench.run(&bench.graph(nodes(None, Some(199))));
    assert!(report.node("fails").error.as_deref().unwrap().contains("no 199 please"));
    let report = bench.run(&bench.graph(nodes(None, None)));
    // All around the one that panicked were kept.
    assert_eq!((report.computed("fails"), report.computed("beside")), (1, 0));
    assert_eq!(report.computed("below"), 1);
}

#[test]
fn a_model_goes_to_several_nodes() {
    let bench = Bench::new();
    let graph = bench.graph(vec![
        Numbers::node(&Item::many(30)),
        Train::default().node("train", &[("input", 0)], None),
        Double { model: Some(1), ..Double::default() }.node("one", 0),
        Train::default().node("next", &[("input", 2)], Some(1)),
    ]);
    assert!(matches!(graph.nodes[3].inputs["model"], Edge::Node { .. }));
    let report = bench.run(&graph);
    assert!(report.report.nodes.iter().all(|node| node.state == NodeState::Done));
    assert_eq!(bench.run(&graph).total_computed(), 0);
}
