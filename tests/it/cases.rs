//! Broken graphs and the messages that they must give: a folder each, `graph.toml` and `error.txt`.
//!
//! `UPDATE_CASES=1 cargo test --release` writes the messages anew; read the difference before it is committed.

use crate::support::{Workplace, files, root};

#[test]
fn every_broken_graph_gives_its_message() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let workplace = Workplace::new();
    let graphs = files(&root().join("tests/cases/graph-errors"), "graph.toml");
    assert!(graphs.len() >= 60, "only {} cases were found", graphs.len());
    let mut wrong = Vec::new();
    for graph in graphs {
        let expected_path = graph.with_file_name("error.txt");
        let shown = graph.strip_prefix(root()).unwrap_or(&graph).to_string_lossy().into_owned();
        let ran = workplace.ruminate(&["check", &shown]);
        if ran.code != Some(2) {
            wrong.push(format!("{shown}: exit {:?} where 2 was expected\n{}{}", ran.code, ran.stdout, ran.stderr));
            continue;
        }
        if update {
            std::fs::write(&expected_path, &ran.stderr).expect("the case can be written");
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != ran.stderr {
            wrong.push(format!("{shown}: expected\n{expected}\nbut got\n{}", ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(!workplace.path("store").exists(), "`check` must not make a store");
}

#[test]
fn every_graph_of_ours_is_right() {
    let workplace = Workplace::new();
    for name in ["quickstart", "iterate", "smoke", "tables"] {
        let ran = workplace.ruminate(&["check", &format!("graphs/{name}.toml")]).expect(0);
        assert!(ran.stdout.contains("ok"), "{}", ran.stdout);
    }
}

#[test]
fn an_override_is_checked_like_the_file() {
    let workplace = Workplace::new();
    let ran = workplace.ruminate(&["check", "graphs/smoke.toml", "--set", "nodes.grpo.stepz=3"]).expect(2);
    assert!(ran.stderr.contains("stepz") && ran.stderr.contains("did you mean `steps`"), "{}", ran.stderr);
    let ran = workplace.ruminate(&["run", "graphs/smoke.toml", "--to", "gpro"]).expect(2);
    assert!(ran.stderr.contains("`gpro`") && ran.stderr.contains("`grpo`"), "{}", ran.stderr);
    let ran = workplace.ruminate(&["run", "graphs/smoke.toml", "--device", "cuda:0"]);
    if !cfg!(feature = "cuda") {
        assert_ne!(ran.code, Some(0));
        assert!(ran.stderr.contains("--features cuda"), "{}", ran.stderr);
    }
}
