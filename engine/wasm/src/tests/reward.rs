//! Rewards: as scorers, as nodes, and what is wrong with their settings. The guest gives the length of its text as the
//! score, unless the first letter asks for something else.

use ruminate_flow::digest::Digest;
use ruminate_flow::options::InputFile;
use ruminate_flow::record::{FieldKind, Record, Value};
use ruminate_flow::score::{Score, Unscored};
use ruminate_flow::stage::{Complaint, Outcome};
use serde_json::{Value as Json, json};

use super::wat::Guest;
use super::{build, complaint, file, on_disk, reason, record, run, score};
use crate::scorers;

const BODY: &str = r#"
  (data (i32.const 65600) "marked")
  (func $spin (loop $again (br $again)))
  (func (export "score") (param $rows i32) (param $count i32) (result i32)
    (local $i i32) (local $out i32) (local $at i32) (local $field i32) (local $first i32) (local $length i32) (local $score f64)
    (local.set $out (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.mul (local.get $count) (i32.const 24))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
      (local.set $field (i32.load offset=8 (i32.add (local.get $rows) (i32.mul (local.get $i) (i32.const 16)))))
      (local.set $at (i32.add (local.get $out) (i32.mul (local.get $i) (i32.const 24))))
      (local.set $length (i32.load offset=20 (local.get $field)))
      (local.set $score (f64.convert_i32_u (local.get $length)))
      (local.set $first (i32.const 0))
      (if (local.get $length) (then (local.set $first (i32.load8_u (i32.load offset=16 (local.get $field))))))
      (if (i32.eq (local.get $first) (i32.const 110)) (then (local.set $score (f64.const nan))))
      (if (i32.eq (local.get $first) (i32.const 105)) (then (local.set $score (f64.const inf))))
      (if (i32.eq (local.get $first) (i32.const 116)) (then unreachable))
      (if (i32.eq (local.get $first) (i32.const 108)) (then (call $spin)))
      (f64.store (local.get $at) (local.get $score))
      (i32.store8 offset=8 (local.get $at) (i32.eq (local.get $first) (i32.const 109)))
      (i32.store offset=12 (local.get $at) (i32.const 65600))
      (i32.store offset=16 (local.get $at) (i32.const 6))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next)))
    (i32.store (i32.const 65536) (i32.const 0))
    (i32.store (i32.const 65540) (local.get $out))
    (i32.store (i32.const 65544) (local.get $count))
    (i32.const 65536))"#;

const SCHEMA: &str =
    r#"{"type": "object", "additionalProperties": false, "properties": {"target": {"type": "integer"}}}"#;

fn guest() -> Guest<'static> {
    Guest { name: "length", schema: Some(SCHEMA), reads: &[("text", "text")], body: BODY, ..Guest::default() }
}

fn texts(texts: &[&str]) -> Vec<Record> {
    texts.iter().enumerate().map(|(i, text)| record(&format!("r{i}"), &[("text", text), ("other", "x")])).collect()
}

fn opened(bytes: &[u8], settings: Json) -> Result<std::sync::Arc<dyn ruminate_flow::score::Scorer>, Vec<Complaint>> {
    let (_folder, path) = on_disk(bytes);
    scorers().open(&InputFile { path, digest: Digest::of(bytes) }, &settings)
}

#[test]
fn a_reward_scores_records_whatever_the_batch() {
    let bytes = guest().component("reward");
    let mut records = texts(&["abc", "", "mark", "nan", "infinite", "trap", "loop", "twelve"]);
    records.push(record("r8", &[("other", "x")]));
    let good = |value: f64, note: Option<&str>| Ok(Score { value, note: note.map(str::to_owned) });
    let bad = |reason: &str| Err(Unscored { reason: reason.to_owned(), deterministic: true });
    let expected = [
        good(3.0, None),
        good(0.0, None),
        good(4.0, Some("marked")),
        bad("plugin gave a wrong result: the score is NaN, not a finite number"),
        bad("plugin gave a wrong result: the score is inf, not a finite number"),
        bad("plugin trapped: it aborted without a message"),
        bad("plugin ran out of fuel: one record needs more than 50000 (option `fuel`)"),
        bad("plugin trapped: it aborted without a message"),
        Err(Unscored { reason: "there is no field `text`, which the plugin reads".to_owned(), deterministic: false }),
    ];
    for (batch, threads) in [(256, 1), (1, 1), (3, 2), (2, 5)] {
        let settings = json!({ "fuel": 50_000, "batch": batch, "config": { "target": 3 } });
        let scorer = opened(&bytes, settings).expect("the settings are right");
        assert_eq!(scorer.name(), "length");
        assert_eq!(scorer.reads().keys().collect::<Vec<_>>(), ["text"]);
        assert_eq!(score(scorer.as_ref(), &records, threads), expected, "batch {batch}, {threads} threads");
        assert!(score(scorer.as_ref(), &[], threads).is_empty());
    }
}

#[test]
fn the_clock_is_no_verdict_on_a_score() {
    let settings = json!({ "fuel": i64::MAX, "timeout-ms": 30 });
    let scorer = opened(&guest().component("reward"), settings).expect("the settings are right");
    let scored = score(scorer.as_ref(), &texts(&["loop", "abc"]), 1);
    let late =
        Unscored { reason: "plugin ran longer than 30 ms (option `timeout-ms`)".to_owned(), deterministic: false };
    assert_eq!(scored, [Err(late), Ok(Score { value: 3.0, note: None })]);
}

#[test]
fn settings_that_are_wrong_are_explained() {
    let bytes = guest().component("reward");
    let cases = [
        (json!({ "fule": 1 }), "fule", "a plugin has no option `fule`: did you mean `fuel`?"),
        (
            json!({ "score": "x" }),
            "score",
            "a plugin has no option `score`: expected one of `config`, `fuel`, `memory-mb`, `table-elements`, `stack-kb`, \
             `timeout-ms`, `batch`",
        ),
        (
            json!({ "fuel": "much" }),
            "fuel",
            "option `fuel` takes a whole number of at least 1000, not the text \"much\"",
        ),
        (json!({ "batch": 0 }), "batch", "option `batch` takes a whole number from 1 to 65536, not 0"),
        (
            json!({ "config": { "targt": 3 } }),
            "config.targt",
            "plugin `length` refuses its config: unknown key `targt`: did you mean `target`?",
        ),
    ];
    for (settings, option, message) in cases {
        let complaints = opened(&bytes, settings.clone()).err().expect("the settings are wrong");
        assert_eq!(
            (complaints[0].option.as_deref(), complaints[0].message.as_str()),
            (Some(option), message),
            "{settings}"
        );
    }
    let complaints = opened(&bytes, json!(["config"])).err().expect("the settings are wrong");
    assert_eq!(complaints[0].message, "a plugin's settings are a table, not a list");
    let path = file("plugins/max-words.wasm");
    let digest = Digest::of(&std::fs::read(&path).expect("the plugin is there"));
    let filter = InputFile { path, digest };
    let complaints = scorers().open(&filter, &json!({})).err().expect("a filter is no reward");
    assert_eq!(complaints[0].option.as_deref(), Some("plugin"));
    assert_eq!(
        complaints[0].message,
        "plugin `max-words` is of the world `filter`: expected one of the world `reward`, which scores"
    );
    let writes = Guest { writes: &[("more", "text")], ..guest() }.component("reward");
    let complaints = opened(&writes, json!({})).err().expect("a reward writes nothing");
    assert_eq!(complaints[0].message, "the plugin's setup is wrong: a reward writes no fields");
}

#[test]
fn a_node_writes_the_score_and_the_note() {
    let (_folder, path) = on_disk(&guest().component("reward"));
    let input = [("text", FieldKind::Text)];
    let stage = build(&path, json!({ "score": "length" }), &input).expect("the node is right");
    let schema: Vec<_> = stage.schemas["output"].iter().map(|(name, kind)| (name.as_str(), kind.to_string())).collect();
    assert_eq!(
        schema,
        [("text", "text".to_owned()), ("length", "float".to_owned()), ("length_note", "text".to_owned())]
    );
    let (outcomes, notes) = run(&stage, &texts(&["abc", "nan", "mark"]), 1);
    let fields = |outcome: &Outcome| match outcome {
        Outcome::Done { rows, .. } => rows.first().map(|row| row.fields.clone()).unwrap_or_default(),
        Outcome::Failed { .. } => Default::default(),
    };
    assert_eq!(
        fields(&outcomes[0]),
        [("length".into(), Value::Float(3.0)), ("length_note".into(), Value::Null)].into()
    );
    assert_eq!(reason(&outcomes[1]), "plugin gave a wrong result: the score is NaN, not a finite number");
    assert_eq!(fields(&outcomes[2])["length_note"], Value::text("marked"));
    assert!(notes.is_empty(), "{notes:?}");
    let stage = build(&path, json!({}), &input).expect("the node is right");
    assert!(stage.schemas["output"].contains_key("score") && stage.schemas["output"].contains_key("score_note"));
}

#[test]
fn the_option_score_is_for_rewards() {
    let (_folder, path) = on_disk(&guest().component("reward"));
    assert_eq!(complaint(&path, json!({ "score": "id" })).1, "expected the name of a field, not `id`");
    let (option, message) = complaint(&file("plugins/max-words.wasm"), json!({ "score": "length" }));
    assert_eq!(option, "score");
    assert_eq!(message, "plugin `max-words` is of the world `filter` and gives no scores");
}
