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
        assert_eq!(complaints[0].option.as_deref(), Some("config"));
        (complaints[0].message.clone(), complaints[0].help.clone().unwrap_or_default())
    };
    let (message, help) = error(json!({ "maximum": 3 }));
    assert_eq!(message, "plugin `max-words` refuses its config: unknown key `maximum`: expected `field`, `max`");
    assert_eq!(help, "it takes `field` (string, default \"reasoning\"), `max` (integer, default 500)");
    let (message, _) = error(json!({ "max": "many" }));
    assert_eq!(
        message,
        "plugin `max-words` refuses its config: `max` must be a whole number of at least 1, not the text \"many\""
    );
    let (message, _) = error(json!([]));
    assert_eq!(message, "plugin `max-words` refuses its config: the config must be a table, not a list");
}

#[test]
fn a_plugin_says_what_it_is() {
    let description = inspect(&file("plugins/cut-reflection.wasm"), &json!({})).expect("a plugin").description;
    assert_eq!((description.world, description.name.as_str()), (World::Mapper, "cut-reflection"));
    assert_eq!(inspect(&file("plugins/max-words.wasm"), &json!({})).expect("a plugin").description.world, World::Filter);
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

/// A measurement for people: `RUMINATE_MEASURE=1 cargo test --release time_of -- --nocapture`.
#[test]
fn time_of_a_call() {
    if std::env::var_os("RUMINATE_MEASURE").is_none() {
        return;
    }
    let plugin = file("plugins/cut-reflection.wasm");
    let start = std::time::Instant::now();
    let stage = build(&plugin, json!({}), TEXT).expect("the node is right");
    println!("first build of a node: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    build(&plugin, json!({ "fuel": 5000 }), TEXT).expect("the node is right");
    println!("second node with the same plugin: {:?}", start.elapsed());
    let trace = format!("<think>{} Wait, no.</think> <answer>6</answer>", "The sides are equal. ".repeat(90));
    let records: Vec<_> = (0..4096).map(|i| record(&i.to_string(), &[("reasoning", &trace)])).collect();
    for size in [1, 16, 256] {
        let start = std::time::Instant::now();
        records.chunks(size).for_each(|batch| drop(run(&stage, batch, 1)));
        println!("batches of {size}: {:?} a record", start.elapsed() / 4096);
    }
}
