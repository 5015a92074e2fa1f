//! The committed plugins do what they say, at any batch size and thread count.

use ruminate_flow::record::{FieldKind, Value};
use ruminate_flow::stage::Outcome;
use serde_json::json;

use super::{build, file, reason, record, run};
use crate::{World, inspect};

const TEXT: &[(&str, FieldKind)] = &[("reasoning", FieldKind::Text), ("other", FieldKind::Int)];

#[test]
fn cut_reflection_writes_the_cut_trace_and_nothing_else() {
    let stage = build(&file("plugins/cut-reflection.wasm"), json!({}), TEXT).expect("the node is right");
    assert_eq!(stage.schemas["output"].keys().collect::<Vec<_>>(), ["reasoning", "other"]);
    assert_eq!(stage.reads["input"].fields[0].name, "reasoning");
    let records = [
        record("a", &[("reasoning", "<think>Six. Wait, no.</think> <answer>6</answer>")]),
        record("b", &[("reasoning", "<think>Six.</think> <answer>6</answer>")]),
    ];
    let (outcomes, notes) = run(&stage, &records, 1);
    let [Outcome::Done { rows: cut, .. }, Outcome::Done { rows: same, .. }] = outcomes.as_slice() else {
        panic!("both records pass: {outcomes:?}")
    };
    assert_eq!(cut[0].fields["reasoning"], Value::text("<think>Six.</think> <answer>6</answer>"));
    assert_eq!((cut[0].child, cut.len()), (None, 1));
    assert!(same[0].fields.is_empty(), "a trace without doubt is not written again");
    assert!(notes.is_empty());
}

#[test]
fn max_words_drops_with_one_reason() {
    let options = json!({ "config": { "max": 3, "field": "other" } });
    let stage = build(&file("plugins/max-words.wasm"), options, TEXT).expect("the node is right");
    let records = [("a", "one two three"), ("b", "one two three four"), ("c", "")]
        .map(|(id, text)| record(id, &[("other", text)]));
    let (outcomes, _) = run(&stage, &records, 1);
    assert_eq!(outcomes.iter().map(reason).collect::<Vec<_>>(), ["passed", "more than 3 words", "passed"]);
}

#[test]
fn threads_change_nothing() {
    let stage =
        build(&file("plugins/max-words.wasm"), json!({ "config": { "max": 5 } }), TEXT).expect("the node is right");
    let records: Vec<_> = (0..257).map(|i| record(&i.to_string(), &[("reasoning", &"word ".repeat(i % 11))])).collect();
    let (alone, _) = run(&stage, &records, 1);
    assert_eq!(alone.len(), records.len());
    for threads in [2, 3, 16, 1000] {
        assert_eq!(run(&stage, &records, threads).0, alone);
    }
    assert!(run(&stage, &[], 4).0.is_empty());
}

#[test]
fn a_config_that_is_wrong_is_explained() {
    let error = |config| {
        let complaints =
            build(&file("plugins/max-words.wasm"), json!({ "config": config }), TEXT).err().expect("a wrong config");
        let first = complaints[0].clone();
        (first.option.unwrap_or_default(), first.message, first.help.unwrap_or_default(), complaints.len())
    };
    let (option, message, help, _) = error(json!({ "maximum": 3 }));
    assert_eq!(option, "config.maximum");
    assert_eq!(message, "plugin `max-words` refuses its config: unknown key `maximum`: expected `field`, `max`");
    assert_eq!(help, "it takes `field` (string, default \"reasoning\"), `max` (integer, default 500)");
    let (option, message, ..) = error(json!({ "maxx": 3 }));
    assert_eq!(option, "config.maxx");
    assert_eq!(message, "plugin `max-words` refuses its config: unknown key `maxx`: did you mean `max`?");
    let (option, message, ..) = error(json!({ "max": "many" }));
    assert_eq!(option, "config.max");
    assert_eq!(message, "plugin `max-words` refuses its config: `max` must be a whole number, not the text \"many\"");
    let (option, message, ..) = error(json!([]));
    assert_eq!(option, "config");
    assert_eq!(message, "plugin `max-words` refuses its config: the config must be a table, not a list");
    let (.., count) = error(json!({ "max": 0, "field": 3, "more": null }));
    assert_eq!(count, 3, "everything that is wrong is said at once");
}

#[test]
fn a_plugin_says_what_it_is() {
    let looked = |name: &str, config| inspect(&file(&format!("plugins/{name}.wasm")), &config).expect("a plugin");
    let cut = looked("cut-reflection", json!({}));
    assert_eq!((cut.description.world, cut.description.name.as_str()), (World::Mapper, "cut-reflection"));
    assert_eq!(cut.description.imports, ["ruminate:plugin/logging@0.1.0", "ruminate:plugin/types@0.1.0"]);
    let lifecycle = "ruminate:plugin/lifecycle@0.1.0";
    let exports = ["transform", &format!("{lifecycle}#describe"), &format!("{lifecycle}#configure")];
    assert_eq!(cut.description.exports, exports);
    let bytes = std::fs::read(file("plugins/cut-reflection.wasm")).expect("the file");
    assert_eq!((cut.bytes, cut.digest), (bytes.len() as u64, ruminate_flow::digest::Digest::of(&bytes)));
    let columns = cut.setup.expect("the config is taken");
    assert_eq!(columns.reads, columns.writes);
    let words = looked("max-words", json!({ "field": "x" }));
    assert_eq!(words.description.world, World::Filter);
    let columns = words.setup.expect("the config is taken");
    assert_eq!(columns.reads.into_iter().collect::<Vec<_>>(), [("x".to_owned(), FieldKind::Text)]);
    let refusal = looked("max-words", json!({ "max": 0 })).setup.expect_err("the config is refused");
    assert_eq!(refusal[0].option.as_deref(), Some("config.max"));
}

#[test]
fn a_field_of_another_kind_fails_its_record_alone() {
    let stage = build(&file("plugins/max-words.wasm"), json!({}), TEXT).expect("the node is right");
    let mut wrong = record("b", &[]);
    wrong.fields.insert("reasoning".into(), Value::Int(3));
    let records = [record("a", &[("reasoning", "x")]), wrong, record("c", &[])];
    let (outcomes, _) = run(&stage, &records, 1);
    assert_eq!(reason(&outcomes[0]), "passed");
    let failed = |reason: &str| Outcome::Failed { reason: reason.to_owned() };
    assert_eq!(outcomes[1], failed("field `reasoning` is `int`, and the plugin reads `text`"));
    assert_eq!(outcomes[2], failed("there is no field `reasoning`, which the plugin reads"));
}
