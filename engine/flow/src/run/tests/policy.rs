//! Failure policies, recomputation on request, and what can be read of a node's outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::event::EventKind;
use crate::graph::{OnError, Policy};
use crate::plan::{Item, More, PlanOptions, State, outputs, plan, stream};
use crate::run::NodeState;

use super::fakes::{Bench, Double, Item as Row, Numbers, Train, ids, node};

fn dropping() -> Policy {
    Policy { on_error: OnError::Drop, ..Policy::default() }
}

#[test]
fn a_failing_record_is_dropped_and_tried_again_next_time() {
    let bench = Bench::new();
    let items = Row::many(100);
    let nodes = |fails_on, panics_on| {
        let double = Double { fails_on, panics_on, policy: dropping(), batch: 10, ..Double::default() };
        bench.graph(vec![
            Numbers::node(&items),
            double.node("double", 0),
            Train::default().node("train", &[("input", 1)], None),
        ])
    };
    let graph = nodes(Some(17), Some(42));
    let report = bench.run(&graph);
    assert!(report.report.nodes.iter().all(|node| node.state == NodeState::Done), "{:?}", report.report);
    assert_eq!(report.counts("double").dropped, 2);
    let reasons: Vec<_> = report.node("double").drop_reasons.keys().cloned().collect();
    assert_eq!(reasons, ["failed: cannot double this", "failed: the stage panicked: no 42 please"]);
    let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
    assert_eq!((output.records["records"].len(), output.complete), (98, true));
    assert_eq!(&*output.drops[0].record.id, "n17");
    let planned = plan(&graph, &bench.store(), &PlanOptions::default()).unwrap();
    assert_eq!((planned[1].state, planned[1].cached, planned[2].state), (State::Partial, 98, State::Hit));
    assert!(planned[1].why.contains("2 of 100 records failed last time"), "{}", planned[1].why);
    let again = bench.run(&graph);
    assert_eq!((again.hits("double"), again.computed("double"), again.computed("train")), (98, 2, 0));
    let healed = bench.run(&nodes(None, None));
    assert_eq!((healed.hits("double"), healed.computed("double"), healed.computed("train")), (98, 2, 1));
    assert_eq!(healed.counts("double").dropped, 0);
    assert_eq!(bench.run(&nodes(None, None)).total_computed(), 0);
}

#[test]
fn retries_help_what_fails_now_and_then() {
    for (failures, retries, state) in [(2, 2, NodeState::Done), (3, 2, NodeState::Failed), (1, 0, NodeState::Failed)] {
        let bench = Bench::new();
        let policy = Policy { retries, ..Policy::default() };
        let double = Double { flaky: Arc::new(AtomicU64::new(failures)), policy, ..Double::default() };
        let report = bench.run(&bench.graph(vec![Numbers::node(&Row::many(10)), double.node("double", 0)]));
        assert_eq!(report.node("double").state, state, "{failures} failures, {retries} retries");
        let units = if state == NodeState::Done { 10 } else { 9 };
        assert_eq!(bench.work.units.load(Ordering::SeqCst), units, "what had succeeded is not done again");
    }
}

#[test]
fn a_try_that_takes_too_long_is_a_failure_of_its_record() {
    let bench = Bench::new();
    let policy = Policy { timeout: Some(Duration::from_millis(50)), ..dropping() };
    let double = Double { hangs: true, policy, ..Double::default() };
    let report = bench.run(&bench.graph(vec![Numbers::node(&Row::many(10)), double.node("double", 0)]));
    assert_eq!((report.node("double").state, report.counts("double").dropped), (NodeState::Done, 1));
    let reason = report.node("double").drop_reasons.keys().next().unwrap();
    assert_eq!(reason, "failed: it took longer than the node's `timeout` of 0.05 s");
}

#[test]
fn from_a_node_on_everything_is_computed_again() {
    let bench = Bench::new();
    let graph = bench.chain(&Row::many(100), Double::default());
    bench.run(&graph);
    let planned = plan(&graph, &bench.store(), &PlanOptions { from: vec![node(1)], ..PlanOptions::default() }).unwrap();
    assert_eq!(planned.iter().map(|plan| plan.state).collect::<Vec<_>>(), [State::Hit, State::Run, State::Waits]);
    let report = bench.run_from(&bench.store(), &graph, &[], &[node(1)]);
    assert_eq!((report.computed("numbers"), report.computed("double"), report.computed("train")), (0, 100, 1));
    assert_eq!(bench.work.steps.load(Ordering::SeqCst), 20, "a training begins from its beginning, too");
    assert_eq!(bench.run(&graph).total_computed(), 0);
}

#[test]
fn a_hit_reads_no_record_and_a_memo_is_not_needed() {
    let bench = Bench::new();
    let graph = bench.chain(&Row::many(500), Double::default());
    let first = bench.run(&graph);
    let again = bench.run(&graph);
    // Nothing was streamed: no record could have been counted as dropped, no node was started.
    assert!(again.events.iter().all(|event| matches!(event.kind, EventKind::Hit | EventKind::Done(_))));
    for name in ["numbers", "double", "train"] {
        let (one, other) = (first.counts(name), again.counts(name));
        assert_eq!((one.records_in, one.records_out), (other.records_in, other.records_out), "{name}");
        assert_eq!(first.node(name).digests, again.node(name).digests, "{name}");
    }
    std::fs::remove_dir_all(bench.store().root().join("graphs")).unwrap();
    let slow = bench.run(&graph);
    assert_eq!((slow.total_computed(), slow.hits("double")), (0, 500));
    assert_eq!(slow.node("double").digests, first.node("double").digests);
}

#[test]
fn outputs_are_read_as_far_as_they_are_wanted() {
    let bench = Bench::new();
    let graph = bench.chain(&Row::many(5000), Double::default());
    bench.run(&graph);
    let mut seen = 0;
    let complete = stream(&graph, &bench.store(), &[node(1)], &mut |_, item| {
        if let Item::Records(_, records) = item {
            seen += records.len();
        }
        if seen >= 10 { More::Enough } else { More::Continue }
    });
    assert!(complete.is_ok() && seen < 2000, "{seen}");
    let mut both = [Vec::new(), Vec::new()];
    let complete = stream(&graph, &bench.store(), &[node(0), node(1)], &mut |id, item| {
        if let Item::Records(_, records) = item {
            both[id.0].extend(records.into_iter().map(|record| record.id));
        }
        More::Continue
    });
    assert!(complete.unwrap().values().all(|complete| *complete));
    assert_eq!((both[0].len(), &both[0]), (5000, &both[1]));
    let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
    assert_eq!(ids(&output)[4999], "n4999");
}
