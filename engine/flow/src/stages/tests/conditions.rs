//! What conditions say, and what their check finds.

use serde_json::json;

use super::super::condition::{Condition, Verdict};
use super::driver::{record, schema};
use crate::record::Schema;

fn fields() -> Schema {
    schema(&json!({
        "score": "float", "count": "int", "lang": "text", "text": "text", "flag": "boolean", "tags": "list<text>",
        "counts": "list<int>", "meta": "json", "image": "image", "gone": "float", "empty": "text", "unset": "boolean"
    }))
}

/// `true`, `false`, `missing NAMES`, or what went wrong.
fn verdict(condition: &str, row: &serde_json::Value) -> String {
    let condition = Condition::new(condition, &fields()).unwrap_or_else(|mistakes| panic!("{condition}: {mistakes:?}"));
    match condition.judge([&record(row)].into_iter()).unwrap().swap_remove(0) {
        Verdict::True => "true".to_owned(),
        Verdict::False => "false".to_owned(),
        Verdict::Missing(names) => format!("missing {}", names.join(" ")).trim_end().to_owned(),
        Verdict::Failed(reason) => reason,
    }
}

#[test]
fn conditions_judge_records() {
    let row = json!({
        "id": "1", "score": 0.5, "count": 7, "lang": "en", "text": "naïve text", "flag": true, "tags": ["a", "b"],
        "counts": [3, 4], "meta": { "score": 2, "source": "web", "none": null }, "gone": null, "empty": null,
        "unset": null, "image": { "blob": "0".repeat(64), "bytes": 300, "type": "image/png" }
    });
    for (condition, wanted) in [
        ("score >= 0.5 and lang == \"en\" and text | length < 200", "true"),
        ("score > 0.5 or lang in [\"de\", \"fr\"]", "false"),
        ("0 < count <= 7 and not count < score", "true"),
        ("text | length == 10 and text | upper == \"NAÏVE TEXT\"", "true"),
        ("\"text\" in text and lang != \"de\" and \"b\" in tags", "true"),
        ("text is startingwith \"na\" and text is not endingwith \"x\"", "true"),
        ("flag", "true"),
        ("not flag or flag == 1", "true"),
        ("counts[0] + 1 == counts[1] and counts | max > 3 and tags | first == \"a\"", "true"),
        ("meta.source == \"web\" and meta.score | float > 1.5", "true"),
        ("meta.source == 3", "false"),
        ("image.bytes | int > 200 and image is defined", "true"),
        ("count % 2 == 1 and count // 2 == 3", "true"),
        ("(count / 2 if flag else 0) > 3", "true"),
        // Without a value.
        ("gone > 0.5", "missing gone"),
        ("gone <= 0.5", "missing gone"),
        ("not gone > 0.5", "missing gone"),
        ("gone == 0.5", "missing gone"),
        ("gone + 1 > 0", "missing gone"),
        ("-gone < 3", "missing gone"),
        ("gone is none or gone + 1 > 0", "true"),
        ("empty | length > 3", "missing empty"),
        ("empty | lower == \"x\"", "missing empty"),
        ("\"x\" in empty", "missing empty"),
        ("empty in [\"x\"]", "missing empty"),
        ("empty is startingwith \"x\"", "missing empty"),
        ("unset", "missing unset"),
        ("not unset", "missing unset"),
        ("meta.none | float > 1", "missing"),
        ("meta.other == 1", "missing"),
        ("counts[5] == 1", "missing"),
        ("empty ~ \"x\" == \"x\"", "missing empty"),
        ("lang == \"en\" or gone > 0.5", "true"),
        ("gone > 0.5 or lang == \"en\"", "missing gone"),
        ("gone is none", "true"),
        ("score is none or gone is not none", "false"),
        ("gone is not defined and score is defined", "true"),
        ("gone is none or gone > 0.5", "true"),
        ("gone is not none and gone > 0.5", "false"),
        ("gone | default(0) > 0.5", "false"),
        ("gone | default(1) > 0.5", "true"),
        ("gone | float > 0.5", "missing gone"),
        ("empty | string > \"a\"", "missing empty"),
        // What cannot be said.
        (
            "meta.source | float > 0.5",
            "`meta.source | float > 0.5`: invalid float literal, where meta = {\"none\":null,\"score\":2,\"source\":\"web\"}",
        ),
        ("100 // (count - 7) == 1", "`100 // (count - 7) == 1`: unable to calculate 100 // 0, where count = 7"),
    ] {
        assert_eq!(verdict(condition, &row), wanted, "{condition}");
    }
    let row = json!({ "id": "1", "score": "high" });
    assert_eq!(verdict("score > 0.5", &row), "field `score` is float in this stream, and here it is \"high\"");
    assert_eq!(verdict("lang == \"en\"", &row), "missing lang");
}

#[test]
fn a_condition_that_cannot_be_meant_is_a_mistake() {
    for (condition, wanted) in [
        (
            "score >",
            "`score >` is no condition: unexpected end of input, expected expression; a condition looks like `score >= 0.5 and (lang == \"en\" or not flag)`",
        ),
        (
            "lang = \"en\"",
            "`lang = \"en\"` is no condition: unexpected input after expression; a condition looks like `score >= 0.5 and (lang == \"en\" or not flag)`",
        ),
        (
            "score > \"high\"",
            "`score` is float and `\"high\"` is text: they have no order; numbers are compared with numbers, text with text",
        ),
        (
            "lang < 0.5",
            "`lang` is text and `0.5` is float: they have no order; numbers are compared with numbers, text with text",
        ),
        ("lang == 1", "`lang` is text and `1` is int: they are never equal"),
        (
            "text | length < \"9\"",
            "`text | length` is int and `\"9\"` is text: they have no order; numbers are compared with numbers, text with text",
        ),
        (
            "0 < lang < 3",
            "`0` is int and `lang` is text: they have no order; numbers are compared with numbers, text with text | `lang` is text and `3` is int: they have no order; numbers are compared with numbers, text with text",
        ),
        (
            "tags > 3",
            "`tags` is list<text> and `3` is int: they have no order; numbers are compared with numbers, text with text",
        ),
        (
            "meta.score > 3",
            "the kind of `meta.score` is not known before the run, and values of different kinds have no order; write `meta.score | float` for a number, `meta.score | string` for text",
        ),
        ("score == none", "nothing equals `none`: a field without a value ends the comparison; write `score is none`"),
        ("3 in text", "`3` is int and never in a text"),
        ("lang in [1, 2]", "`lang` is text and never in a list of int"),
        ("\"a\" in score", "`score` is float: nothing is `in` it"),
        ("score | length > 3", "`length` counts the letters of text or the values of a list, not of float"),
        ("score is gt(3)", "the test `is gt` compares values of any types; write `<`, `<=`, `>` or `>=`"),
        (
            "text | lenght < 3",
            "there is no filter `lenght`; filters are `length`, `lower`, `upper`, `trim`, `float`, `int`, `string`, `default`, `first`, ... | the kind of `text | lenght` is not known before the run, and values of different kinds have no order; write `text | lenght | float` for a number, `text | lenght | string` for text",
        ),
        (
            "lang is nul",
            "there is no test `nul`; tests are `none`, `defined`, `string`, `number`, `startingwith`, `endingwith`, `containing`, ...",
        ),
        (
            "id == \"x\"",
            "`id` names the record itself and is no field; make a field of it before, with a node of kind `select`: `rename = { name = \"id\" }`",
        ),
        (
            "\"lang\" == \"en\"",
            "`\"lang\" == \"en\"` names no field: it is the same for all records; text stands in quotes, fields do not",
        ),
    ] {
        let mistakes = Condition::new(condition, &fields()).err().unwrap_or_else(|| panic!("no mistake: {condition}"));
        let found = mistakes.into_iter().map(|mistake| match mistake.help {
            Some(help) => format!("{}; {help}", mistake.message),
            None => mistake.message,
        });
        assert_eq!(found.collect::<Vec<_>>().join(" | "), wanted, "{condition}");
    }
}

#[test]
fn a_condition_knows_its_fields() {
    let condition = Condition::new("absent > 3 or range(3) | first == count or meta.lang == lang", &fields()).unwrap();
    assert_eq!(condition.fields().collect::<Vec<_>>(), ["absent", "count", "lang", "meta"]);
}
