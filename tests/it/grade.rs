//! `grade`: verdicts of one pair and of files of them, by either grader. Cases are data: a pair's arguments and what the
//! answer says; the pairs of the reference and mathruler's verdicts.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::support::{Ran, Workplace, root};

#[test]
fn a_pair_is_graded_and_explained() {
    let workplace = Workplace::new();
    let cases: [(&[&str], bool, &str); 6] = [
        (&["\\frac{1}{2}", "0.5"], true, "rule"),
        (&["-3", "-3"], true, "the texts are equal"),
        (&["<think>so</think><answer>42</answer>", "42", "--mode", "response"], true, "extracted:  42"),
        (&["5 miles", "5 cm", "--grader", "mathruler"], true, "rule `normal` of mathruler 1"),
        (&["2sqrt(6)", "\\sqrt{24}", "--grader", "mathruler"], true, "sympy simplifies the difference to zero"),
        (&["2/4", "1/2", "--grader", "mathruler"], false, "rule `none` of mathruler 1"),
    ];
    for (arguments, correct, says) in cases {
        let ran = workplace.ruminate(&[&["grade"], arguments].concat()).expect(0);
        let verdict = if correct { "correct" } else { "not correct" };
        assert!(ran.stdout.starts_with(verdict) && ran.stdout.contains(says), "{arguments:?}: {}", ran.stdout);
        let ran = workplace.ruminate(&[&["grade", "--json"], arguments].concat()).expect(0);
        assert_eq!(ran.json()["verdict"], json!(correct), "{arguments:?}");
    }
}

#[test]
fn a_line_comes_out_for_each_pair_in_order() {
    let workplace = Workplace::new();
    let path = workplace.write(
        "pairs.jsonl",
        "{\"prediction\": \"so \\\\boxed{0.5}\", \"truth\": \"1/2\", \"mode\": \"response\", \"id\": \"a\"}\n\n\
         {\"prediction\": \"7\", \"truth\": \"8\", \"id\": [2]}\n\
         {\"prediction\": \"nothing\", \"truth\": \"8\", \"mode\": \"response\"}",
    );
    let lines = workplace.ruminate(&["grade", path.to_str().unwrap(), "--grader", "mathruler"]).expect(0).json_lines();
    let expected = [
        json!({
            "id": "a", "verdict": true, "rule": "mathd",
            "prediction_form": "\\frac{1}{2}", "truth_form": "\\frac{1}{2}",
            "prediction_extracted": "0.5", "truth_extracted": "1/2", "grader": "mathruler 1",
        }),
        json!({
            "id": [2], "verdict": false, "rule": "none", "prediction_form": "7", "truth_form": "8",
            "prediction_extracted": "7", "truth_extracted": "8", "grader": "mathruler 1",
        }),
        json!({
            "verdict": false, "rule": "none", "prediction_form": "none", "truth_form": "8",
            "prediction_extracted": null, "truth_extracted": "8", "grader": "mathruler 1",
        }),
    ];
    assert_eq!(lines, expected);
}

/// Whatever reads numbers as floats would change these.
#[test]
fn ids_stay_as_they_are_written() {
    let workplace = Workplace::new();
    let ids = [
        "123456789012345678901234567890",
        "-18446744073709551617",
        "1.10",
        "[1e2, {\"a\": 98765432109876543210}]",
        "\"\\u00e9\\/\"",
        "null",
    ];
    let mut lines = String::new();
    for id in ids {
        lines.push_str(&format!("{{\"prediction\": \"1\", \"id\" : {id} , \"truth\": \"1\"}}\r\n"));
    }
    let path = workplace.write("pairs.jsonl", &lines);
    let given = workplace.ruminate(&["grade", path.to_str().unwrap()]).expect(0).stdout;
    for (line, id) in given.lines().zip(ids) {
        assert!(line.starts_with(&format!("{{\"id\":{id},\"verdict\":true,")), "{line}");
    }
    assert_eq!(given.lines().count(), ids.len());
}

#[test]
#[cfg(target_os = "linux")]
fn input_that_never_ends_is_refused() {
    let ran = Workplace::new().ruminate(&["grade", "/dev/zero"]).expect(2);
    assert!(ran.stderr.contains("/dev/zero:1: the line is longer than 1024 MiB"), "{}", ran.stderr);
}

#[test]
fn the_verdicts_of_mathruler_are_reproduced() {
    let workplace = Workplace::new();
    let path = root().join("tests/reference/grading/public.jsonl");
    let pairs = std::fs::read_to_string(&path).expect("the pairs are there");
    let pairs: Vec<Json> = pairs.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let verdicts =
        workplace.ruminate(&["grade", path.to_str().unwrap(), "--grader", "mathruler"]).expect(0).json_lines();
    assert_eq!(pairs.len(), verdicts.len());
    let answered = |pair: &&(&Json, &Json)| !pair.0["mathruler"].is_null();
    for (pair, verdict) in pairs.iter().zip(&verdicts).collect::<Vec<_>>().iter().filter(answered) {
        assert_eq!(pair["id"], verdict["id"]);
        assert_eq!(pair["mathruler"], verdict["verdict"], "{}: {} | {}", pair["id"], pair["prediction"], pair["truth"]);
    }
}

#[test]
fn what_is_no_pair_is_told_with_its_line() {
    let workplace = Workplace::new();
    let good = "{\"prediction\": \"1\", \"truth\": \"1\"}\n";
    let text = format!("{good}{{\"prediction\": 1, \"truth\": \"1\"}}\n{good}[]\n{{");
    let path = workplace.write("pairs.jsonl", &text);
    let path = path.to_str().unwrap();
    let ran = workplace.ruminate(&["grade", path]).expect(2);
    assert_eq!(ran.json_lines().len(), 1, "the verdicts end before the first wrong line");
    for message in [
        format!("{path}:2: `prediction` is a number: expected text"),
        format!("{path}:4: expected an object with `prediction` and `truth`, found an array"),
        format!("{path}:5: not JSON at column 1"),
    ] {
        assert!(ran.stderr.contains(&message), "{message}\n{}", ran.stderr);
    }
    let ran = workplace.ruminate(&["grade", "absent.jsonl"]).expect(2);
    assert!(ran.stderr.contains("cannot read `absent.jsonl`") && ran.stderr.contains("a prediction and a truth"));
    let ran = workplace.ruminate(&["grade", "1", "1", "--grader", "mathrules"]).expect(2);
    assert!(ran.stderr.contains("mathruler"), "{}", ran.stderr);
}

#[test]
fn pairs_are_read_from_standard_input() {
    let workplace = Workplace::new();
    let mut child = workplace
        .command(&["grade", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("its input is a pipe");
    input.write_all(b"{\"prediction\": \"1\", \"truth\": \"1\"}\n").expect("it reads");
    drop(input);
    let ran = Ran::of(child.wait_with_output().expect("it ends")).expect(0);
    assert_eq!(ran.json_lines()[0]["verdict"], json!(true));
}

/// Two graders disagree on both problems: units, and fractions that are not reduced.
#[test]
fn a_graph_names_its_grader() {
    let workplace = Workplace::new();
    workplace.write(
        "traces.jsonl",
        "{\"id\": \"a/0\", \"parent\": \"a\", \"reasoning\": \"so \\\\boxed{2/4}\", \"answer\": \"1/2\"}\n\
         {\"id\": \"b/0\", \"parent\": \"b\", \"reasoning\": \"so \\\\boxed{5 miles}\", \"answer\": \"5 cm\"}\n",
    );
    let graph = "name = \"graders\"\n[nodes.traces]\nkind = \"read\"\npath = \"traces.jsonl\"\n\
                 [nodes.best]\nkind = \"filter-shortest-correct\"\ninput = \"traces\"\n";
    let graph = workplace.write("graph.toml", graph);
    let graph = graph.to_str().unwrap();
    let state = |set: &[&str]| {
        let plan = workplace.ruminate(&[&["plan", graph, "--json"], set].concat()).expect(0).json();
        plan["nodes"].as_array().unwrap()[1]["state"].clone()
    };
    for (set, kept) in [(&[][..], "a/0"), (&["--set", "nodes.best.grader=mathruler"][..], "b/0")] {
        assert_eq!(state(set), "run", "no grader takes over another's verdicts");
        workplace.ruminate(&[&["run", graph, "--quiet"], set].concat()).expect(0);
        let records = workplace.ruminate(&[&["show", graph, "best", "--json"], set].concat()).expect(0).json_lines();
        assert_eq!(records.iter().map(|record| &record["id"]).collect::<Vec<_>>(), [kept]);
    }
    assert_eq!(state(&["--set", "nodes.best.grader=ruminate"]), "hit", "naming the default changes no key");
    let ran = workplace.ruminate(&["check", graph, "--set", "nodes.best.grader=mathrules"]).expect(2);
    assert!(ran.stderr.contains("mathruler"), "{}", ran.stderr);
}
