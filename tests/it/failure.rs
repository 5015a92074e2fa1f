//! Nothing is hidden: failures by a node's policy, the ledger of drops, and an event log whose counts add up.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::engine::{Did, Project};

const ROWS: u64 = 60;
const FAILING: [u64; 3] = [5, 23, 41];

/// Rows of which a few make the plugin loop until its deadline: a failure of the machine's, not a verdict.
fn failing() -> Project {
    let project = Project::new("failing", 0);
    write(&project, |row| if FAILING.contains(&row) { "loop" } else { "good" });
    project
}

fn write(project: &Project, command: impl Fn(u64) -> &'static str) {
    let row = |row| json!({ "id": format!("row-{row}"), "command": command(row), "numbers": [row] });
    project.write_json("rows.jsonl", (0..ROWS).map(row));
}

#[test]
fn a_failure_stops_its_branch_and_nothing_else() {
    let project = failing();
    let run = project.try_run(&[]);
    let stderr = run.ran.expect(1).stderr;
    for part in ["fragile", "row-5", "longer than 100 ms", "timeout-ms", "go on", "ruminate run"] {
        assert!(stderr.contains(part), "no `{part}` in\n{stderr}");
    }
    assert!(run.nodes["fragile"].failed && run.nodes["after"].failed, "{:?}", run.nodes);
    assert!(!run.nodes["apart"].failed && run.nodes["apart"].records_out == ROWS, "{:?}", run.nodes);
    assert_eq!(project.written()["written.jsonl"].iter().filter(|byte| **byte == b'\n').count() as u64, ROWS);

    write(&project, |_| "good");
    let run = project.run(&[]);
    let did = run.nodes["fragile"];
    assert!(did.computed >= 3 && did.hits > 0, "what was finished before the failure is kept: {did:?}");
    assert_eq!(did.records_out, ROWS);
    assert_eq!((run.nodes["apart"].computed, run.nodes["apart"].hits), (0, ROWS), "it has seen both words");
}

#[test]
fn a_failing_record_is_dropped_where_the_graph_says_so() {
    let project = failing();
    project.edit("timeout-ms = 100", "timeout-ms = 100\non-error = \"drop\"\nretries = 1");
    let run = project.run(&[]);
    let did = run.nodes["fragile"];
    assert_eq!((did.records_in, did.records_out, did.dropped), (ROWS, ROWS - 3, 3));
    assert!(run.ran.stderr.contains("longer than 100 ms"), "the summary counts drops by reason:\n{}", run.ran.stderr);
    let dropped = project.ruminate("show", &["fragile", "--dropped", "--json"]).expect(0).json_lines();
    let expected: Vec<Json> = FAILING.iter().map(|row| json!(format!("row-{row}"))).collect();
    assert_eq!(dropped.iter().map(|record| record["id"].clone()).collect::<Vec<_>>(), expected);
    for record in &dropped {
        assert!(record["reason"].as_str().is_some_and(|reason| reason.contains("longer than 100 ms")), "{record}");
        assert_eq!(record["command"], "loop", "the record itself is in the ledger: {record}");
    }
    // A failure is no result: what comes with a mended row is computed, and the others are not.
    write(&project, |row| if row == 5 { "loop" } else { "good" });
    let run = project.run(&[]);
    assert_eq!((run.nodes["fragile"].dropped, run.nodes["fragile"].records_out), (1, ROWS - 1));
    assert!(run.nodes["fragile"].computed <= 3, "{:?}", run.nodes["fragile"]);
}

/// The deadline of a node ends a try; the rest is as with any failure.
#[test]
fn a_node_has_no_longer_than_its_timeout() {
    let project = failing();
    project.edit("timeout-ms = 100", "timeout-ms = 86400000\ntimeout = 0.5\nbatch = 1");
    let run = project.try_run(&["--to", "fragile"]);
    let stderr = run.ran.expect(1).stderr;
    assert!(stderr.contains("fragile") && stderr.contains("timeout"), "{stderr}");
}

#[test]
fn policies_are_checked() {
    let project = failing();
    for (set, parts) in [
        ("nodes.fragile.on-error=ignore", ["on-error", "drop"]),
        ("nodes.fragile.retries=-1", ["retries", "0"]),
        ("nodes.fragile.timeout=0", ["timeout", "0"]),
        ("nodes.rows.on-error=drop", ["on-error", "record"]),
    ] {
        let stderr = project.ruminate("check", &["--set", set]).expect(2).stderr;
        assert!(parts.iter().all(|part| stderr.contains(part)), "{set}: {stderr}");
    }
}

/// For each node its events, in order.
fn by_node(events: &[Json]) -> BTreeMap<&str, Vec<&Json>> {
    let mut nodes: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for event in events {
        nodes.entry(event["node"].as_str().expect("an event names its node")).or_default().push(event);
    }
    nodes
}

#[test]
fn the_event_log_adds_up() {
    let project = Project::new("records", 500);
    for (what, more) in [("cold", &[][..]), ("cached", &[]), ("in part", &["--set", "nodes.brief.config.max=15"])] {
        let run = project.run(more);
        for (node, events) in by_node(&run.events) {
            let did = run.nodes[node];
            let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
            let when = format!("{what}, `{node}`: {kinds:?} and {did:?}");
            let times = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
            assert_eq!((kinds.last(), times("done")), (Some(&"done"), 1), "{when}");
            assert_eq!(times("run") > 0, did.computed > 0, "{when}");
            assert_eq!(times("hit"), usize::from(did.computed == 0), "{when}");
            assert_eq!(times("partial"), usize::from(did.computed > 0 && did.hits > 0), "{when}");
            if let Some(partial) = events.iter().find(|event| event["event"] == "partial") {
                assert_eq!(
                    (partial["hits"].as_u64(), partial["computed"].as_u64()),
                    (Some(did.hits), Some(did.computed))
                );
            }
            if times("run") > 0 {
                assert_eq!(times("drop") as u64, did.dropped, "{when}");
            }
        }
        for (above, below) in [("rows", "brief"), ("brief", "cut"), ("cut", "good"), ("good", "mixed")] {
            assert_eq!(run.nodes[above].records_out, run.nodes[below].records_in, "{what}: `{above}` to `{below}`");
        }
        for node in ["brief", "cut", "good"] {
            let Did { records_in, records_out, dropped, hits, computed, .. } = run.nodes[node];
            assert_eq!((records_out + dropped, hits + computed), (records_in, records_in), "{what}, `{node}`");
        }
        for reason in ["more than", "score >= 0.25"] {
            assert!(run.ran.stderr.contains(reason), "{what}: the summary counts drops by reason:\n{}", run.ran.stderr);
        }
    }
}

#[test]
fn every_dropped_record_is_in_the_ledger() {
    let project = Project::new("records", 400);
    project.run(&[]);
    let ids = |more: &[&str]| -> Vec<String> {
        let lines = project.ruminate("show", &[more, &["--json"]].concat()).expect(0).json_lines();
        lines.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    };
    for (above, node) in [("rows", "brief"), ("cut", "good")] {
        let mut all = [ids(&[node]), ids(&[node, "--dropped"])].concat();
        let mut expected = ids(&[above]);
        all.sort();
        expected.sort();
        assert_eq!(all, expected, "`{node}`");
    }
}
