//! The limits of a plugin, each as an option: what is beyond costs the record, or is refused at the check.

use std::time::Duration;

use ruminate_flow::digest::Digest;
use ruminate_flow::record::FieldKind;
use serde_json::{Value as Json, json};

use super::wat::Guest;
use super::{build, complaint, file, on_disk, reason, record, run};
use crate::call::CallError;
use crate::engines::Storage;
use crate::host::{Plugin, setup_reason};
use crate::limits::Limits;

/// A filter that keeps everything, after `work` on its rows.
fn keep(imports: &str, work: &str) -> String {
    format!(
        r#"{imports}
  (func $deep (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get $n) (i32.const 1)))))
      (else (i32.const 0))))
  (func (export "filter") (param $rows i32) (param $count i32) (result i32)
    {work}
    (i32.store (i32.const 65540) (i32.const 65600))
    (i32.store (i32.const 65544) (local.get $count))
    (i32.const 65536))"#
    )
}

/// What becomes of a record in a node of the filter with this body and these options.
fn outcome(body: &str, options: Json) -> String {
    let bytes = Guest { reads: &[("text", "text")], body, ..Guest::default() }.component("filter");
    let (_folder, path) = on_disk(&bytes);
    let stage = build(&path, options, &[("text", FieldKind::Text)]).expect("the node is right");
    let (outcomes, _) = run(&stage, &[record("a", &[("text", "x")]), record("b", &[("text", "y")])], 2);
    assert_eq!(outcomes[0], outcomes[1]);
    reason(&outcomes[0]).to_owned()
}

#[test]
fn tables_are_capped() {
    let body = keep("(table $t 10 funcref)", "(drop (table.grow $t (ref.null func) (i32.const 5000)))");
    assert_eq!(outcome(&body, json!({})), "passed");
    assert_eq!(
        outcome(&body, json!({ "table-elements": 5000 })),
        "plugin trapped: it asked for more than 5000 table elements (option `table-elements`)"
    );
}

#[test]
fn tables_grow_the_same_wherever_they_are() {
    let grow = |table: &str, by: u32| {
        let work =
            format!("(if (i32.ne (table.grow $t (ref.null func) (i32.const {by})) (i32.const -1)) (then unreachable))");
        keep(&format!("(table $t {table} funcref)"), &work)
    };
    let aborted = "plugin trapped: it aborted without a message";
    for (table, by, pooled, roomy) in [
        ("10 300", 400, "passed", "passed"),
        ("10 300", 200, aborted, aborted),
        ("10", 199_900, aborted, aborted),
        ("10 500000", 300_000, "plugin trapped: it asked for more than 200000 table elements", aborted),
        ("10 500000", 600_000, "plugin trapped: it asked for more than 200000 table elements", "passed"),
        ("10", 300_000, "plugin trapped: it asked for more than 200000 table elements", aborted),
    ] {
        let body = grow(table, by);
        let (default, more) = (outcome(&body, json!({})), outcome(&body, json!({ "table-elements": 1_000_000 })));
        assert!(default.starts_with(pooled), "a table of {table} and {by}: {default}");
        assert_eq!(more, roomy, "a table of {table} and {by}");
    }
}

#[test]
fn the_stack_is_as_deep_as_the_option_says() {
    let body = |depth: i64| keep("", &format!("(drop (call $deep (i32.const {depth})))"));
    let exhausted = "plugin trapped: the call stack is exhausted";
    assert!(outcome(&body(100_000), json!({})).starts_with(exhausted));
    assert_eq!(outcome(&body(100_000), json!({ "stack-kb": 16_384 })), "passed");
    // The deepest stack that there is has its guard where the thread's own has not yet ended.
    assert!(outcome(&body(-1), json!({ "stack-kb": 65_536, "fuel": i64::MAX })).starts_with(exhausted));
    assert!(outcome(&body(-1), json!({ "stack-kb": 64 })).starts_with(exhausted));
}

#[test]
fn a_plugin_that_does_not_start_within_its_memory_names_the_option() {
    let body = keep("", "");
    let bytes = Guest { configure: "(drop (memory.grow (i32.const 512)))", body: &body, ..Guest::default() };
    let (_folder, path) = on_disk(&bytes.component("filter"));
    let (option, message) = complaint(&path, json!({ "memory-mb": 8 }));
    assert_eq!(option, "memory-mb");
    assert_eq!(message, "plugin `guest` does not start within 8 MB of memory");
    assert!(build(&path, json!({ "memory-mb": 40 }), &[]).is_ok());
}

#[test]
fn configure_has_a_deadline_of_its_own() {
    let body = keep("", "");
    let configure = "(loop $again (br $again))";
    let bytes = Guest { configure, body: &body, ..Guest::default() }.component("filter");
    let limits = Limits { setup_timeout: Duration::from_millis(40), ..Limits::for_check() };
    let plugin =
        Plugin::load_with(&limits, Storage::System, Digest::of(&bytes), &|| Ok(bytes.clone())).expect("a plugin");
    let error = plugin.configure("{}", &limits).expect_err("it never ends");
    assert_eq!(error, CallError::Timeout(40));
    assert_eq!(setup_reason(&error), "plugin ran longer than 0.04 s");
}

#[test]
fn what_describe_and_configure_say_is_checked() {
    let body = keep("", "");
    let error = |guest: Guest<'_>| {
        let (_folder, path) = on_disk(&Guest { body: &body, ..guest }.component("filter"));
        let (option, message) = complaint(&path, json!({}));
        assert_eq!(option, "plugin");
        message
    };
    let named = "the plugin describes itself with a name that is not one line of 1 to 64 characters";
    assert_eq!(error(Guest { name: "", ..Guest::default() }), named);
    assert_eq!(error(Guest { name: "two\nlines", ..Guest::default() }), named);
    assert_eq!(error(Guest { name: &"long".repeat(100), ..Guest::default() }), named);
    assert_eq!(
        error(Guest { schema: Some("{"), ..Guest::default() }),
        "the plugin has a config schema that is not JSON: EOF while parsing an object at line 1 column 1"
    );
    let wrong = error(Guest { schema: Some(r#"{"type": 3}"#), ..Guest::default() });
    assert!(wrong.starts_with("the plugin has a config schema that is not valid JSON Schema: `/type`: "), "{wrong}");
    let deep = "list<".repeat(12_000);
    let wrong = error(Guest { reads: &[("a", &deep)], ..Guest::default() });
    assert!(wrong.starts_with("the plugin's setup is wrong: it reads `a` of the kind `list<list<"), "{wrong}");
    assert!(wrong.len() < 500, "{} bytes", wrong.len());
    let wrong = error(Guest { reads: &[("a\nb", "text")], ..Guest::default() });
    assert!(wrong.contains("a field whose name is not one line of at most 200 characters"), "{wrong}");
}

#[test]
fn a_mix_of_good_and_bad_records_comes_out_the_same_in_every_batch() {
    let commands = ["good", "panic", "good", "loop", "none", "good", "error", "recurse"];
    let records: Vec<_> = (0..50_usize)
        .map(|i| record(&format!("r{i}"), &[("command", if i % 3 == 0 { commands[i % 8] } else { "good" })]))
        .collect();
    let outcomes = |batch: usize, threads: usize| {
        let options = json!({ "batch": batch, "fuel": 300_000 });
        let stage = build(&file("tests/plugins/hostile.wasm"), options, &[("command", FieldKind::Text)]);
        let stage = stage.expect("the node is right");
        // Twice: the second time, the size of the batches is another.
        let first = run(&stage, &records, threads).0;
        assert_eq!(run(&stage, &records, threads).0, first);
        first
    };
    let alone = outcomes(1, 1);
    for (batch, threads) in [(3, 1), (7, 2), (256, 1), (256, 5)] {
        assert_eq!(outcomes(batch, threads), alone, "batch {batch}, {threads} threads");
    }
}

#[test]
fn the_default_limits_need_no_clock() {
    let default = |name: &str| {
        let kinds = crate::kinds();
        let option = kinds[0].options().iter().find(|option| option.name == name).expect("an option");
        option.default.and_then(|default| default.parse().ok()).expect("a number")
    };
    let timeout = Duration::from_millis(default("timeout-ms"));
    let limits = Limits { fuel: default("fuel"), timeout, ..Limits::for_check() };
    assert!(!limits.need_clock());
    assert!(Limits { fuel: limits.fuel + 1, ..limits }.need_clock(), "raise both or neither");
}
