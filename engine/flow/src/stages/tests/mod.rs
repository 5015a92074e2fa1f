//! The small relational stages: cases as data, and properties that hold for any records.

mod conditions;
mod driver;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::record::{FieldKind, Record, Schema, Value};
use crate::stage::{Port, Stage, many_port};
use driver::{Inputs, Ran, build, record, records, run, schema};

/// The name of a case's port as the engine has it.
fn port(name: &str) -> &'static str {
    let known = ["input", "with"].into_iter().chain((0..).map_while(many_port));
    known.into_iter().find(|known| *known == name).unwrap()
}

fn schemas(json: &Json) -> BTreeMap<&'static str, Schema> {
    json.as_object().unwrap().iter().map(|(name, fields)| (port(name), schema(fields))).collect()
}

/// The stage of a kind whose options fit.
fn stage(kind: &str, options: &Json, schemas: &BTreeMap<&'static str, Schema>) -> Stage {
    build(kind, options, schemas).unwrap_or_else(|complaints| panic!("{kind} {options}: {complaints:?}"))
}

/// The same at all sizes of batches.
fn run_all(stage: &Stage, inputs: &Inputs) -> Result<Ran, String> {
    let run = |batch| run(stage, inputs, batch).map_err(|error| error.to_string());
    let one = run(1);
    for batch in [7, 256] {
        assert_eq!(run(batch), one, "in batches of {batch}");
    }
    one
}

fn cases(text: &str) -> Vec<Json> {
    serde_json::from_str::<Json>(text).unwrap().as_array().unwrap().clone()
}

fn pairs(json: Option<&Json>) -> Vec<(String, String)> {
    json.map_or_else(Vec::new, |json| serde_json::from_value(json.clone()).unwrap())
}

#[test]
fn each_case_gives_its_records() {
    for case in cases(include_str!("cases.json")) {
        let kind = case["kind"].as_str().unwrap();
        let stage = stage(kind, &case["options"], &schemas(&case["schemas"]));
        let inputs = case["inputs"].as_object().unwrap().iter();
        let inputs: Inputs = inputs.map(|(name, rows)| (port(name), records(rows))).collect();
        let result = run_all(&stage, &inputs);
        let ran = match (result, case["error"].as_str()) {
            (Err(error), Some(wanted)) => {
                assert_eq!(error, wanted, "{case}");
                continue;
            }
            (result, _) => result.unwrap_or_else(|error| panic!("{case}: {error}")),
        };
        assert_eq!(ran.records, records(&case["records"]), "{case}");
        assert_eq!(ran.dropped, pairs(case.get("dropped")), "{case}");
        assert_eq!(ran.failed, pairs(case.get("failed")), "{case}");
        if let Some(wanted) = case.get("schema") {
            let wanted = schema(wanted);
            assert!(stage.schemas["records"].iter().eq(wanted.iter()), "{:?} for {case}", stage.schemas["records"]);
        }
        // What the stage promises of its output holds for it.
        for record in &ran.records {
            for (name, value) in &record.fields {
                let kind = stage.schemas["records"].get(&**name).unwrap_or_else(|| panic!("{name} in {case}"));
                assert!(*value == Value::Null || kind.accepts(&FieldKind::of(value)), "{name} in {case}");
            }
        }
    }
}

#[test]
fn each_mistake_has_its_complaint() {
    for case in cases(include_str!("complaints.json")) {
        let built = build(case["kind"].as_str().unwrap(), &case["options"], &schemas(&case["schemas"]));
        let complaints = built.err().unwrap_or_else(|| panic!("no complaint: {case}"));
        let found: Vec<Json> = complaints
            .iter()
            .map(|complaint| match &complaint.help {
                Some(help) => json!([complaint.option, complaint.message, help]),
                None => json!([complaint.option, complaint.message]),
            })
            .collect();
        assert_eq!(Json::from(found), case["complaints"], "{case}");
    }
}

#[test]
fn fields_that_are_named_are_read() {
    let input = schemas(&json!({ "input": { "a": "text", "b": "int" }, "with": { "a": "text", "c": "image" } }));
    let cases = [
        ("select", json!({ "fields": { "x": "a", "name": "id" } }), vec![("input", "a")]),
        ("select", json!({ "drop": ["gone"] }), vec![("input", "gone")]),
        ("select", json!({ "rename": { "x": "gone" } }), vec![("input", "gone")]),
        (
            "where",
            json!({ "condition": "b > 3 and a == gone" }),
            vec![("input", "a"), ("input", "b"), ("input", "gone")],
        ),
        ("join", json!({ "on": "a" }), vec![("input", "a"), ("with", "a"), ("with", "c")]),
        ("join", json!({ "on": { "a": "id" }, "how": "anti" }), vec![("input", "a")]),
        ("join", json!({ "on": "a", "fields": ["gone"] }), vec![("input", "a"), ("with", "a"), ("with", "gone")]),
    ];
    for (kind, options, wanted) in cases {
        let stage = stage(kind, &options, &input);
        let reads = stage.reads.iter().flat_map(|(port, reads)| reads.fields.iter().map(|read| (*port, &*read.name)));
        assert_eq!(reads.collect::<Vec<_>>(), wanted, "{kind} {options}");
    }
}

#[test]
fn no_option_has_the_name_of_a_port() {
    for kind in super::kinds() {
        let ports: Vec<&Port> = kind.inputs().iter().chain(kind.outputs()).collect();
        for spec in kind.options() {
            assert!(ports.iter().all(|port| port.name != spec.name), "{} {}", kind.name(), spec.name);
        }
    }
}

/// Records `n0`, `n1`, ... with a number each.
fn numbered(count: usize) -> Vec<Record> {
    (0..count).map(|number| record(&json!({ "id": format!("n{number}"), "number": number }))).collect()
}

fn plain(kind: &str, options: &Json) -> Stage {
    stage(kind, options, &schemas(&json!({ "input": { "number": "int" } })))
}

fn ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.id.to_string()).collect()
}

#[test]
fn a_sample_that_asks_for_too_much_says_so() {
    let ran = run_all(&plain("sample", &json!({ "count": 5 })), &vec![("input", numbered(3))]).unwrap();
    assert_eq!(ran.records, numbered(3));
    assert_eq!(ran.notes, ["the input has 3 records, `count` is 5: all are kept"]);
}

#[test]
fn a_fraction_is_kept_about() {
    let ran = run_all(&plain("sample", &json!({ "fraction": 0.3 })), &vec![("input", numbered(2000))]).unwrap();
    assert!((500..700).contains(&ran.records.len()), "{}", ran.records.len());
}

/// Some of the numbers below 60, in some order.
fn some() -> impl Strategy<Value = Vec<usize>> {
    proptest::sample::subsequence((0..60).collect::<Vec<usize>>(), 0..60).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_shuffle_is_a_permutation_that_insertions_leave_alone(chosen in some(), seed in 0..3i64) {
        let all = numbered(60);
        let stage = plain("shuffle", &json!({ "seed": seed }));
        let whole = run_all(&stage, &vec![("input", all.clone())]).unwrap();
        prop_assert_eq!(
            ids(&whole.records).into_iter().collect::<BTreeSet<_>>(),
            ids(&all).into_iter().collect::<BTreeSet<_>>()
        );
        let part: Vec<Record> = chosen.iter().map(|number| all[*number].clone()).collect();
        let ran = run_all(&stage, &vec![("input", part.clone())]).unwrap();
        let wanted: Vec<Record> = whole.records.into_iter().filter(|record| part.contains(record)).collect();
        prop_assert_eq!(ran.records, wanted);
    }

    #[test]
    fn a_sample_does_not_depend_on_other_records(chosen in some(), count in 0..60u64, seed in 0..3i64) {
        let all = numbered(60);
        let part: Vec<Record> = chosen.iter().map(|number| all[*number].clone()).collect();
        let inputs: Inputs = vec![("input", part.clone())];
        let fraction = plain("sample", &json!({ "fraction": count as f64 / 60.0, "seed": seed }));
        let whole = ids(&run_all(&fraction, &vec![("input", all)]).unwrap().records);
        let ran = run_all(&fraction, &inputs).unwrap();
        let wanted: Vec<String> = ids(&part).into_iter().filter(|id| whole.contains(id)).collect();
        prop_assert_eq!(ids(&ran.records), wanted);
        prop_assert_eq!(ran.records.len() + ran.dropped.len(), part.len());

        let smaller = run_all(&plain("sample", &json!({ "count": count / 2, "seed": seed })), &inputs).unwrap();
        let larger = run_all(&plain("sample", &json!({ "count": count, "seed": seed })), &inputs).unwrap();
        prop_assert_eq!(larger.records.len(), part.len().min(count as usize));
        prop_assert_eq!(larger.records.len() + larger.dropped.len(), part.len());
        let larger = ids(&larger.records);
        prop_assert_eq!(&larger, &ids(&part).into_iter().filter(|id| larger.contains(id)).collect::<Vec<_>>());
        prop_assert!(ids(&smaller.records).iter().all(|id| larger.contains(id)));
    }

    #[test]
    fn a_concat_has_all_records_or_names_the_id_that_comes_twice(streams in proptest::collection::vec(some(), 1..4)) {
        let streams: Vec<Vec<Record>> = streams
            .into_iter()
            .map(|numbers| numbers.into_iter().filter(|number| number % 5 < 3).map(|n| numbered(60)[n].clone()).collect())
            .collect();
        let inputs: Inputs =
            streams.iter().enumerate().map(|(index, records)| (many_port(index).unwrap(), records.clone())).collect();
        let schemas = inputs.iter().map(|(port, _)| (*port, schema(&json!({ "number": "int" })))).collect();
        let all = streams.concat();
        let repeated = {
            let mut seen = HashMap::new();
            streams.iter().enumerate().find_map(|(input, records)| {
                records.iter().find_map(|record| seen.insert(record.id.clone(), input).map(|first| (record, first, input)))
            })
        };
        match (run_all(&stage("concat", &json!({}), &schemas), &inputs), repeated) {
            (Ok(ran), None) => prop_assert_eq!(&ran.records, &all),
            (Err(error), Some((record, first, second))) => {
                let wanted = format!("the id `{}` comes from input {} and again from input {}", record.id, first + 1, second + 1);
                prop_assert!(error.starts_with(&wanted), "{}", error);
            }
            (result, repeated) => prop_assert!(false, "{:?} {:?}", result, repeated),
        }
        let prefixes: Vec<String> = (0..streams.len()).map(|index| format!("{index}:")).collect();
        let ran = run_all(&stage("concat", &json!({ "prefix": prefixes }), &schemas), &inputs).unwrap();
        prop_assert_eq!(ids(&ran.records).into_iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_join_is_what_comparing_all_with_all_gives(
        left in proptest::collection::vec(proptest::option::of(0..6i64), 0..20),
        right in proptest::collection::vec(proptest::option::of(0..6i64), 0..20),
    ) {
        let rows = |keys: &[Option<i64>], field: &str| -> Vec<Record> {
            let row = |(index, key): (usize, &Option<i64>)| record(&json!({ "id": format!("{field}{index}"), "key": key, field: index }));
            keys.iter().enumerate().map(row).collect()
        };
        let inputs: Inputs = vec![("input", rows(&left, "left")), ("with", rows(&right, "right"))];
        let schemas = schemas(&json!({ "input": { "key": "int", "left": "int" }, "with": { "key": "int", "right": "int" } }));
        for how in ["inner", "left", "semi", "anti"] {
            let stage = stage("join", &json!({ "on": "key", "how": how }), &schemas);
            let mut wanted = Vec::new();
            for record in &inputs[0].1 {
                let same = |other: &&Record| record.fields["key"] != Value::Null && other.fields["key"] == record.fields["key"];
                let matches: Vec<&Record> = inputs[1].1.iter().filter(same).collect();
                let lay = |value: &Value| {
                    let mut row = record.clone();
                    row.fields.insert("right".into(), value.clone());
                    row
                };
                match (how, matches.as_slice()) {
                    ("semi", [_, ..]) | ("anti", []) => wanted.push(record.clone()),
                    ("left", []) => wanted.push(lay(&Value::Null)),
                    ("inner" | "left", [one]) => wanted.push(lay(&one.fields["right"])),
                    ("inner" | "left", many) => wanted.extend(many.iter().enumerate().map(|(index, other)| {
                        let row = lay(&other.fields["right"]);
                        Record { id: format!("{}/{index}", record.id).into(), ..row }
                    })),
                    _ => {}
                }
            }
            prop_assert_eq!(run_all(&stage, &inputs).unwrap().records, wanted, "{}", how);
        }
    }
}
