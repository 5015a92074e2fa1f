//! A plugin that misbehaves on one record costs that record alone, with a reason that says what it did.

use std::time::{Duration, Instant};

use ruminate_flow::error::StageError;
use ruminate_flow::event::Cancel;
use ruminate_flow::record::{Blob, FieldKind, Record, Value};
use ruminate_flow::stage::{Outcome, Stage};
use serde_json::{Value as Json, json};

use super::{build, complaint, file, reason, record, run, try_run};

const INPUT: &[(&str, FieldKind)] = &[("command", FieldKind::Text)];

fn hostile(options: Json) -> Stage {
    build(&file("tests/plugins/hostile.wasm"), options, INPUT).unwrap_or_else(|complaints| panic!("{complaints:?}"))
}

fn commands(commands: &[&str]) -> Vec<Record> {
    commands.iter().enumerate().map(|(i, command)| record(&format!("r{i}"), &[("command", command)])).collect()
}

/// What becomes of a record with this command, between two that are good.
fn check(options: Json, command: &str, expected: &str) -> Vec<String> {
    let stage = hostile(options);
    let (outcomes, notes) = run(&stage, &commands(&["good", command, "good"]), 1);
    assert_eq!(outcomes.iter().map(reason).collect::<Vec<_>>(), ["passed", expected, "passed"], "command `{command}`");
    let (alone, _) = run(&stage, &commands(&[command]), 1);
    assert_eq!(alone[0], outcomes[1], "the outcome of `{command}` depends on its batch");
    notes
}

#[test]
fn a_record_that_breaks_the_plugin_is_dropped_alone() {
    let few = || json!({ "fuel": 5_000_000 });
    check(few(), "loop", "plugin ran out of fuel: one record needs more than 5000000 (option `fuel`)");
    check(json!({ "memory-mb": 16 }), "memory", "plugin asked for more than 16 MB of memory (option `memory-mb`)");
    check(json!({ "memory-mb": 3 }), "memory", "plugin asked for more than 3 MB of memory (option `memory-mb`)");
    check(json!({}), "recurse", "plugin trapped: the call stack is exhausted");
    check(json!({}), "error", "plugin error: the record is refused");
    let notes = check(json!({}), "panic", "plugin panicked: the record said so (tests/hostile/src/lib.rs:68)");
    let note =
        "plugin `hostile` on record `r1`: panicked: the record said so (tests/hostile/src/lib.rs:68), in hostile::obey";
    assert!(notes.len() == 1 && notes[0].starts_with(note), "{notes:?}");
}

#[test]
fn a_call_ends_when_the_time_of_its_node_is_over() {
    let stage = hostile(json!({ "fuel": 1_000_000_000_000_000_i64, "timeout-ms": 86_400_000 }));
    let cancel = Cancel::default().until(Some(Instant::now() + Duration::from_millis(50)));
    let (outcomes, _) = try_run(&stage, &commands(&["good", "loop"]), 1, &cancel);
    assert!(matches!(outcomes, Err(StageError::Interrupted)), "{outcomes:?}");
}

#[test]
fn a_result_that_breaks_the_contract_is_dropped_alone() {
    let wrong = |fault: &str| format!("plugin gave a wrong result: {fault}");
    check(json!({}), "none", "mapper gave no row");
    check(json!({}), "short", &wrong("0 lists of rows for a batch of 1"));
    check(json!({}), "undeclared", &wrong("field `secret` is not among the fields that it writes"));
    check(json!({}), "twice", &wrong("field `note` comes twice in one row"));
    check(json!({}), "missing", &wrong("field `data` is missing"));
    check(json!({}), "wrong-kind", &wrong("field `note` is `int`, declared as `text`"));
    check(json!({}), "not-a-number", &wrong("field `score` is not a finite number"));
    check(json!({}), "bad-json", &wrong("field `data` is not JSON: EOF while parsing an object at line 1 column 1"));
}

#[test]
fn several_rows_become_children() {
    let (outcomes, _) = run(&hostile(json!({})), &commands(&["two", "good"]), 1);
    let children: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Done { rows, .. } => rows.iter().map(|row| row.child).collect(),
            Outcome::Failed { .. } => Vec::new(),
        })
        .collect();
    assert_eq!(children, [vec![Some(0), Some(1)], vec![None]]);
    let Outcome::Done { rows, .. } = &outcomes[1] else { panic!("the record passes") };
    assert_eq!(rows[0].fields["score"], Value::Float(0.5));
    assert_eq!(rows[0].fields["data"].to_json(), json!([1, { "a": null }]));
}

#[test]
fn a_batch_may_need_more_fuel_than_one_record() {
    let long: Vec<String> = (0..64).map(|i| format!("good {}", "x".repeat(i))).collect();
    let records = commands(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let plenty = run(&hostile(json!({})), &records, 1).0;
    // Enough for each record alone, not for all of them at once.
    assert_eq!(run(&hostile(json!({ "fuel": 20_000 })), &records, 2).0, plenty);
    assert!(plenty.iter().all(|outcome| reason(outcome) == "passed"));
}

#[test]
fn the_clock_is_no_verdict() {
    let stage = hostile(json!({ "fuel": i64::MAX, "timeout-ms": 60 }));
    let start = Instant::now();
    let (outcomes, _) = run(&stage, &commands(&["loop", "good"]), 1);
    assert_eq!(
        outcomes[0],
        Outcome::Failed { reason: "plugin ran longer than 60 ms (option `timeout-ms`)".to_owned() }
    );
    assert_eq!(reason(&outcomes[1]), "passed");
    assert!(start.elapsed().as_secs() < 30);
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let notes = check(json!({}), "log", "passed");
    assert_eq!(notes.len(), 11);
    assert_eq!(
        (notes[0].as_str(), notes[10].as_str()),
        ("plugin `hostile`: line 0", "plugin `hostile`: 90 more lines")
    );
}

#[test]
fn lists_and_nulls_arrive_as_declared() {
    let options = json!({ "config": { "configure": "read-list" } });
    let stage = build(&file("tests/plugins/hostile.wasm"), options, INPUT).expect("the node is right");
    let numbers = |value: Value| {
        let mut record = record("a", &[("command", "good")]);
        record.fields.insert("numbers".into(), value);
        match run(&stage, &[record], 1).0.remove(0) {
            Outcome::Done { rows, .. } => rows[0].fields["note"].clone(),
            Outcome::Failed { reason } => Value::text(reason),
        }
    };
    assert_eq!(numbers(Value::List(vec![Value::Int(1), Value::Int(2)])), Value::text("numbers: json [1,2]"));
    assert_eq!(numbers(Value::Null), Value::text("numbers: null"));
    assert_eq!(numbers(Value::text("x")), Value::text("field `numbers` is `text`, and the plugin reads `list<int>`"));
}

#[test]
fn an_image_that_cannot_be_read_fails_its_record() {
    let options = json!({ "config": { "configure": "read-image" } });
    let stage = build(&file("tests/plugins/hostile.wasm"), options, INPUT).expect("the node is right");
    let mut record = record("a", &[("command", "good")]);
    record.fields.insert("image".into(), Value::Blob(Blob::of(b"gone", "image/png")));
    let expected = "field `image` cannot be read: there is no such blob".to_owned();
    assert_eq!(run(&stage, &[record], 1).0, [Outcome::Failed { reason: expected }]);
}

#[test]
fn a_plugin_that_cannot_be_configured_is_refused_at_the_check() {
    let error = |configure: &str, option: &str| {
        let options = json!({ "config": { "configure": configure }, "timeout-ms": 60_000 });
        let (about, message) = complaint(&file("tests/plugins/hostile.wasm"), options);
        assert_eq!(about, option);
        message
    };
    let refuses = "plugin `hostile` refuses its config: `configure` failed: plugin";
    assert_eq!(error("loop", "config"), format!("{refuses} ran out of fuel"));
    assert_eq!(
        error("panic", "config"),
        format!("{refuses} panicked: no configuration today (tests/hostile/src/lib.rs:35)")
    );
    assert_eq!(
        error("unknown-kind", "plugin"),
        "the plugin's setup is wrong: it reads `note` of the kind `tekst`: expected one of `boolean`, `int`, `float`, \
         `text`, `image`, `json`, `list<KIND>`"
    );
    assert_eq!(error("read-twice", "plugin"), "the plugin's setup is wrong: it reads `command` twice");
}
