//! Parts of a graph: `--to`, `--from`, `--set`, and rounds by `[repeat]`.

use std::collections::BTreeSet;

use crate::engine::{Project, Run};

fn computed(run: &Run) -> BTreeSet<&str> {
    run.nodes.iter().filter(|(_, did)| did.computed > 0).map(|(node, _)| node.as_str()).collect()
}

#[test]
fn a_run_goes_up_to_the_nodes_named() {
    let project = Project::new("records", 200);
    let run = project.run(&["--to", "brief"]);
    assert_eq!(computed(&run), BTreeSet::from(["brief", "rows"]));
    let run = project.run(&["--to", "cut", "--to", "brief"]);
    assert_eq!(computed(&run), BTreeSet::from(["cut"]));
    let plan = project.plan(&["--to", "good"]);
    assert_eq!(plan.keys().collect::<Vec<_>>(), ["brief", "cut", "good", "rows"]);
    assert!(!project.path("written.jsonl").exists());
    let run = project.run(&[]);
    assert_eq!((run.nodes["brief"].computed, run.nodes["cut"].computed), (0, 0));
    assert!(project.path("written.jsonl").exists());
}

#[test]
fn a_run_computes_again_from_the_nodes_named() {
    let project = Project::new("records", 200);
    project.run(&[]);
    let expected = project.outputs(&[]);
    let plan = project.plan(&["--from", "cut"]);
    let state = |node: &str| plan[node].state.clone();
    assert_eq!((state("rows"), state("brief"), state("cut")), ("hit".into(), "hit".into(), "run".into()));
    assert!(plan["cut"].why.contains("--from"), "{:?}", plan["cut"]);
    let run = project.run(&["--from", "cut"]);
    let computed = |node: &str| (run.nodes[node].hits, run.nodes[node].computed);
    assert_eq!(run.nodes["brief"].computed, 0);
    assert_eq!((computed("cut"), computed("good")), ((0, 175), (0, 175)));
    assert!(project.outputs(&[]) == expected, "the same work gives the same records");
    project.expect_all_hit(&[]);
    let several = project.run(&["--from", "good", "--from", "brief", "--to", "cut"]);
    assert_eq!((several.nodes["brief"].computed, several.nodes["cut"].computed), (200, 175));
}

#[test]
fn wrong_names_are_said() {
    let project = Project::new("records", 5);
    for arguments in [["--from", "bref"], ["--to", "bref"], ["--set", "nodes.bref.config.max=3"]] {
        let stderr = project.ruminate("run", &arguments).expect(2).stderr;
        assert!(stderr.contains("bref") && stderr.contains("brief"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_override_is_an_edit_like_any_other() {
    let project = Project::new("records", 200);
    project.run(&[]);
    // Another file, too: what lies outside the store cannot be both.
    let set = ["--set", "nodes.brief.config.max=12", "--set", "nodes.written.path=other.jsonl"];
    let why = &project.plan(&set)["brief"].why;
    assert!(["config.max", "20", "12"].iter().all(|part| why.contains(part)), "{why}");
    project.run(&set);
    project.expect_all_hit(&set);
    // What was before is still there.
    project.expect_all_hit(&[]);
}

#[test]
fn rounds_are_unrolled_and_a_round_more_reuses_those_before() {
    let project = Project::new("rounds", 200);
    let names: Vec<String> = project.plan(&[]).into_keys().collect();
    assert_eq!(names, ["brief", "brief@2", "brief@3", "cut", "cut@2", "cut@3", "rows"]);
    let run = project.run(&[]);
    let kept = |node: &str| (run.nodes[node].records_in, run.nodes[node].records_out);
    let (first, second) = (kept("brief"), kept("brief@2"));
    assert_eq!(first, (200, 175));
    assert!(second.0 == 175 && second.1 < 175, "the second round has its own options: {second:?}");
    assert_eq!(kept("brief@3"), (second.1, second.1), "the third gets what the second gave");

    let more = ["--set", "repeat.again.times=3"];
    let plan = project.plan(&more);
    assert!(plan.contains_key("cut@4"), "{:?}", plan.keys());
    for (node, planned) in plan.iter().filter(|(node, _)| !node.ends_with("@4")) {
        assert_eq!(planned.state, "hit", "`{node}`: {planned:?}");
    }
    let run = project.run(&more);
    assert!(computed(&run).iter().all(|node| node.ends_with("@4")), "{:?}", run.nodes);

    let one = ["--set", "nodes.brief@3.config={ field = \"text\", max = 9 }"];
    let run = project.run(&one);
    assert_eq!(computed(&run), BTreeSet::from(["brief@3"]), "{:?}", run.nodes);
    let shown = project.ruminate("show", &["brief@3", "--json", one[0], one[1]]).expect(0).json_lines();
    assert_eq!(shown.len() as u64, run.nodes["brief@3"].records_out);
    let run = project.run(&["--to", "cut@2"]);
    assert_eq!(run.nodes.keys().collect::<Vec<_>>(), ["brief", "brief@2", "cut", "cut@2", "rows"]);
}
