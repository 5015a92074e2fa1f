//! Plugins as rewards, of GRPO and of stored samples: real plugins in the real program.

use serde_json::Value as Json;

use crate::support::Workplace;

const GRAPH: &str = "tests/cases/rewards/graph.toml";

fn number(record: &Json, field: &str) -> f64 {
    record[field].as_f64().unwrap_or_else(|| panic!("no number `{field}` in {record}"))
}

#[test]
fn grpo_is_rewarded_by_plugins() {
    let place = Workplace::new();
    place.ruminate(&["run", GRAPH, "--to", "grpo", "--quiet"]).expect(0);
    let metrics = place.ruminate(&["show", GRAPH, "grpo.metrics", "--json"]).expect(0).json_lines();
    assert_eq!(metrics.len(), 2);
    for step in &metrics {
        // The plugin calls the grader that the built-in reward calls.
        assert_eq!(number(step, "reward_right"), number(step, "reward_accuracy"), "{step}");
        let brevity = number(step, "reward_brevity");
        assert!((-1.0..=0.0).contains(&brevity), "{step}");
        let total = 1.5 * number(step, "reward_accuracy") + 0.25 * brevity;
        assert!((number(step, "reward_mean") - total).abs() < 1e-9, "{step}");
    }
    assert!(metrics.iter().any(|step| number(step, "reward_brevity") < 0.0), "no completion was long: {metrics:?}");

    let state = |settings: &[&str]| {
        let plan = [&["plan", GRAPH, "--json", "--to", "grpo"], settings].concat();
        let plan = place.ruminate(&plan).expect(0).json();
        let nodes = plan["nodes"].as_array().cloned().unwrap_or_default();
        let node = nodes.iter().find(|node| node["node"] == "grpo").cloned();
        node.unwrap_or_else(|| panic!("no grpo in {plan}"))["state"].clone()
    };
    assert_eq!(state(&[]), "hit");
    assert_eq!(
        state(&["--set", "nodes.grpo.rewards.brevity.timeout-ms=20000"]),
        "hit",
        "the clock is no part of the key"
    );
    assert_eq!(state(&["--set", "nodes.grpo.rewards.brevity.config.max=10"]), "run");
    assert_eq!(state(&["--set", "nodes.grpo.rewards.brevity.weight=0.5"]), "run");
}

#[test]
fn stored_samples_are_scored_by_a_node() {
    let place = Workplace::new();
    place.ruminate(&["run", GRAPH, "--to", "liked", "--quiet"]).expect(0);
    let show = |node: &str| place.ruminate(&["show", GRAPH, node, "--json", "--limit", "1000"]).expect(0).json_lines();
    let graded = show("graded");
    assert_eq!(graded.len(), 16);
    assert!(graded.iter().all(|record| [0.0, 1.0].contains(&number(record, "right"))), "{graded:?}");
    assert!(graded.iter().all(|record| record.get("right_note").is_some()), "{graded:?}");
    let right = graded.iter().filter(|record| number(record, "right") == 1.0).count();
    assert_eq!(show("liked").len(), right);
}
