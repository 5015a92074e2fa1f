//! Tests of the executor, the plan and the store together, on small stages that count their work.

mod fakes;
mod policy;
mod robust;
mod shapes;

use std::sync::atomic::Ordering;

use crate::plan::{PlanOptions, State, outputs, plan};

use fakes::{Bench, Double, Item, Join, Numbers, Train, ids, node};

#[test]
fn a_second_run_computes_nothing_and_gives_the_same() {
    let bench = Bench::new();
    let items = Item::many(1000);
    let first = bench.chain(&items, Double::default());
    assert!(
        plan(&first, &bench.store(), &PlanOptions::default())
            .unwrap()
            .iter()
            .all(|node| matches!(node.state, State::Run | State::Waits))
    );
    let report = bench.run(&first);
    assert_eq!((report.computed("numbers"), report.computed("double"), report.computed("train")), (1, 1000, 1));
    let again = bench.run(&first);
    assert_eq!(again.total_computed(), 0);
    assert_eq!(again.events_of("run"), 0);
    assert_eq!(bench.work.units.load(Ordering::SeqCst), 1000);
    assert_eq!(bench.work.sets.load(Ordering::SeqCst), 1);
    assert!(plan(&first, &bench.store(), &PlanOptions::default()).unwrap().iter().all(|node| node.state == State::Hit));
    assert_eq!(report.counts("double").records_out, again.counts("double").records_out);
    let output = outputs(&first, &bench.store(), node(2)).unwrap().unwrap();
    assert!(output.complete && output.models.contains_key("model"));
}

#[test]
fn one_edited_record_of_a_thousand_is_one_unit_of_work() {
    let bench = Bench::new();
    let mut items = Item::many(1000);
    bench.run(&bench.chain(&items, Double::default()));
    items[500].value = 123_456;
    let graph = bench.chain(&items, Double::default());
    let planned = plan(&graph, &bench.store(), &PlanOptions::default()).unwrap();
    assert_eq!(planned[0].state, State::Run);
    let report = bench.run(&graph);
    assert_eq!((report.computed("double"), report.hits("double"), report.computed("train")), (1, 999, 1));
    assert_eq!(bench.run(&graph).total_computed(), 0);
}

#[test]
fn an_unread_column_reruns_nothing_below_and_passes_through() {
    let bench = Bench::new();
    let mut items = Item::many(100);
    bench.run(&bench.chain(&items, Double::default()));
    items.iter_mut().for_each(|item| item.note = "edited".into());
    let graph = bench.chain(&items, Double::default());
    let report = bench.run(&graph);
    assert_eq!((report.computed("numbers"), report.computed("double"), report.computed("train")), (1, 0, 0));
    let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
    assert_eq!(output.records["records"][0].text("note"), Some("edited"));
}

#[test]
fn another_order_reruns_no_unit_and_duplicates_are_computed_once() {
    let bench = Bench::new();
    let mut items = Item::many(100);
    bench.run(&bench.chain(&items, Double::default()));
    items.reverse();
    let report = bench.run(&bench.chain(&items, Double::default()));
    assert_eq!((report.computed("double"), report.computed("train")), (0, 1), "a set stage sees the order");
    let same: Vec<_> = items.iter().map(|item| Item { value: 7_000, ..item.clone() }).collect();
    let report = bench.run(&bench.chain(&same, Double::default()));
    // None of them was in the store; the work was done once.
    assert_eq!((report.computed("double"), report.hits("double")), (100, 0));
    assert_eq!(bench.work.units.load(Ordering::SeqCst), 100 + 1);
}

#[test]
fn a_rerun_to_the_same_output_reruns_nothing_below() {
    let bench = Bench::new();
    let items = Item::many(50);
    bench.run(&bench.chain(&items, Double::default()));
    let report = bench.run(&bench.chain(&items, Double { version: 2, ..Double::default() }));
    assert_eq!((report.computed("double"), report.computed("train")), (50, 0));
}

#[test]
fn the_plan_says_what_how_many_and_why() {
    let bench = Bench::new();
    let items = Item::many(10);
    bench.run(&bench.chain(&items[..4], Double::default()));
    bench.run(&bench.graph(vec![Numbers::node(&items), Double::default().node("double", 0)]));
    let graph = bench.chain(&items, Double { version: 3, ..Double::default() });
    let planned = plan(&graph, &bench.store(), &PlanOptions::default()).unwrap();
    assert_eq!((planned[1].state, planned[1].records, planned[1].cached), (State::Run, Some(10), 0));
    assert_eq!(planned[1].why, "the stage's version 1 -> 3");
    assert!(planned[1].seconds_last.is_some());
    assert_eq!((planned[2].state, planned[2].why.as_str()), (State::Waits, "waits for `double`"));
    let more = Item::many(12);
    let graph = bench.graph(vec![Numbers::node(&more), Double::default().node("double", 0)]);
    bench.run_to(&graph, &[node(0)]);
    let planned = plan(&graph, &bench.store(), &PlanOptions::default()).unwrap();
    assert_eq!((planned[1].state, planned[1].records, planned[1].cached), (State::Partial, Some(12), 10));
    assert_eq!(planned[1].why, "2 of 12 records are new, changed or not finished");
    let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
    assert!(!output.complete);
    assert_eq!(output.records["records"].len(), 10);
}

#[test]
fn order_is_the_inputs_at_every_batch_size() {
    let items = Item::many(1000);
    let mut expected = None;
    for batch in [1, 7, 256] {
        let bench = Bench::new();
        let double = Double { batch, ..Double::default() };
        // Every third record is in the store already, so hits stand behind misses.
        let third: Vec<_> = items.iter().step_by(3).cloned().collect();
        bench.run(&bench.chain(&third, double.clone()));
        let graph = bench.chain(&items, double);
        assert_eq!(bench.run(&graph).computed("double"), 666);
        let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
        let model = outputs(&graph, &bench.store(), node(2)).unwrap().unwrap().models["model"].digest;
        assert_eq!(ids(&output), items.iter().map(|item| item.id.clone()).collect::<Vec<_>>());
        assert_eq!(*expected.get_or_insert(model), model);
    }
}

#[test]
fn groups_span_batches_children_keep_their_parent_and_drops_their_reason() {
    let bench = Bench::new();
    let mut items = Item::many(1000);
    items.iter_mut().enumerate().for_each(|(index, item)| item.note = (index / 300).to_string());
    items[3].value = -1;
    let group = Double { group: true, samples: 2, ..Double::default() };
    let graph = bench.graph(vec![Numbers::node(&items), group.node("group", 0)]);
    let report = bench.run(&graph);
    assert_eq!((report.computed("group"), report.counts("group").dropped), (4, 1));
    let output = outputs(&graph, &bench.store(), node(1)).unwrap().unwrap();
    assert_eq!(output.records["records"].len(), 999 * 2);
    assert_eq!(&*output.records["records"][1].id, "n0/1");
    assert_eq!(output.records["records"][1].text("parent"), Some("n0"));
    assert_eq!(output.drops[0].reason, "negative");
    assert_eq!(&*output.drops[0].record.id, "n3");
    assert_eq!(report.report.nodes[1].drop_reasons["negative"], 1);
}

#[test]
fn a_name_is_no_part_of_a_key() {
    let bench = Bench::new();
    let items = Item::many(20);
    bench.run(&bench.chain(&items, Double::default()));
    let graph = bench.graph(vec![
        Numbers::node(&items),
        Double::default().node("renamed", 0),
        Train::default().node("other", &[("input", 1)], None),
        Join.node("join", &[("left", 0), ("right", 1)]),
    ]);
    let report = bench.run(&graph);
    assert_eq!((report.computed("renamed"), report.computed("other"), report.computed("join")), (0, 0, 1));
}

/// A measurement for people: `RUMINATE_MEASURE=1 cargo test --release time_of -- --nocapture`.
#[test]
fn time_of_a_cached_rerun() {
    if std::env::var_os("RUMINATE_MEASURE").is_none() {
        return;
    }
    let bench = Bench::new();
    let mut items = Item::many(5000);
    for item in &mut items {
        item.note =
            format!("question {} with a text of the usual length for a word problem, {}", item.id, "word ".repeat(40));
        item.image = Some(item.id.as_bytes().repeat(500));
    }
    let mut nodes = vec![Numbers::node(&items)];
    for index in 0..16 {
        let version = u32::try_from(index).unwrap() + 1;
        nodes.push(Double { version, text: 600, ..Double::default() }.node(&format!("double{index}"), index));
    }
    nodes.push(Train::default().node("train", &[("input", 16)], None));
    nodes.push(Double { model: Some(17), ..Double::default() }.node("sample", 16));
    nodes.push(Train::default().node("next", &[("input", 18)], Some(17)));
    let graph = bench.graph(nodes);
    for what in ["cold", "cached", "cached"] {
        let started = std::time::Instant::now();
        let report = bench.run(&graph);
        println!("{what}: {:.3} s, {} computed", started.elapsed().as_secs_f64(), report.total_computed());
    }
    let started = std::time::Instant::now();
    plan(&graph, &bench.store(), &PlanOptions::default()).unwrap();
    println!("plan: {:.3} s", started.elapsed().as_secs_f64());
}
