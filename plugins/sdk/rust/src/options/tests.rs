//! Configs that are taken and refused, and the schema that says so beforehand.

use serde_json::Value;

use super::*;

crate::options! {
    /// does nothing
    /// at all
    struct Sample {
        /// a flag
        flag: bool = false,
        /// any whole number
        offset: i64 = -1,
        /// a count
        count: u64 = 0,
        /// a count of at least 1
        #[rule(at_least(1))]
        max: u64 = 500,
        /// a share
        #[rule(between(0, 1))]
        share: f64 = 0.25,
        /// any text
        text: String = "",
        /// a name
        #[rule(not_empty())]
        field: String = "reasoning",
        /// how
        #[rule(one_of(&["tokens", "words"]))]
        by: String = "tokens",
        /// phrases
        #[rule(not_empty())]
        cut_at: Vec<String> = ["Wait,"],
        /// may be absent
        limit: Option<u64> = (),
    }
}

#[test]
fn what_a_config_does_not_say_has_its_default() {
    let sample = Sample::from_json("{}").expect("defaults are right");
    assert_eq!((sample.flag, sample.offset, sample.count, sample.max), (false, -1, 0, 500));
    assert_eq!((sample.share, sample.text.as_str(), sample.field.as_str()), (0.25, "", "reasoning"));
    assert_eq!((sample.by.as_str(), sample.cut_at, sample.limit), ("tokens", vec!["Wait,".to_owned()], None));
    let sample = Sample::from_json(r#"{"share": 1, "limit": 3, "by": "words", "offset": -5}"#).expect("right");
    assert_eq!((sample.share, sample.limit, sample.by.as_str(), sample.offset), (1.0, Some(3), "words", -5));
}

#[test]
fn a_config_that_is_wrong_is_explained() {
    for (json, expected) in [
        ("{", "the config is not JSON: expected a text in quotes at byte 1"),
        ("[]", "the config must be a table, not a list"),
        (r#"{"flag": 1}"#, "`flag` must be true or false, not the number 1"),
        (r#"{"offset": 0.5}"#, "`offset` must be a whole number, not the number 0.5"),
        (r#"{"offset": 9223372036854775808}"#, "`offset` must be a whole number, not the number 9223372036854775808"),
        (r#"{"count": -1}"#, "`count` must be a whole number of at least 0, not the number -1"),
        (r#"{"max": 0}"#, "`max` must be a whole number of at least 1, not the number 0"),
        (r#"{"max": "x"}"#, "`max` must be a whole number of at least 1, not the text \"x\""),
        (r#"{"max": null}"#, "`max` must be a whole number of at least 1, not null"),
        (r#"{"share": 1.5}"#, "`share` must be a number from 0 to 1, not the number 1.5"),
        (r#"{"text": {}}"#, "`text` must be a text, not a table"),
        (r#"{"field": ""}"#, "`field` must be a text that is not empty, not the text \"\""),
        (r#"{"by": "hand"}"#, "`by` must be one of `tokens`, `words`, not the text \"hand\""),
        (r#"{"cut_at": "x"}"#, "`cut_at` must be a list of texts, not the text \"x\""),
        (r#"{"cut_at": []}"#, "`cut_at` must hold at least one text, not an empty list"),
        (r#"{"cut_at": ["a", ""]}"#, "`cut_at` must be a list of texts that are not empty; entry 1 is the text \"\""),
        (r#"{"share": 1e999}"#, "`share` must be a number from 0 to 1, not the number 1e999"),
        (r#"{"limit": true}"#, "`limit` must be a whole number of at least 0, not the boolean true"),
    ] {
        assert_eq!(Sample::from_json(json).err().as_deref(), Some(expected), "{json}");
    }
    let unknown = Sample::from_json(r#"{"size": 1}"#).err().expect("there is no `size`");
    assert!(unknown.starts_with("unknown key `size`: expected `flag`, `offset`, "), "{unknown}");
    let long = Sample::from_json(&format!(r#"{{"count": "{}"}}"#, "é".repeat(1000))).err().expect("no number");
    assert!(long.ends_with("é\"... of 2000 bytes") && long.len() < 300, "{long}");
}

#[test]
fn the_schema_says_the_same() {
    let schema: Value = serde_json::from_str(&Sample::schema()).expect("the schema is JSON");
    let property = |name: &str| schema["properties"][name].clone();
    assert_eq!(schema["additionalProperties"], false);
    let expected = r#"{"type": "integer", "minimum": 1, "default": 500, "description": "a count of at least 1"}"#;
    assert_eq!(property("max"), serde_json::from_str::<Value>(expected).expect("JSON"));
    assert_eq!((property("count")["minimum"].as_f64(), property("share")["maximum"].as_f64()), (Some(0.0), Some(1.0)));
    assert_eq!(property("by")["enum"], Value::from(["tokens", "words"].as_slice()));
    assert_eq!((&property("cut_at")["minItems"], &property("cut_at")["items"]["minLength"]), (&1.into(), &1.into()));
    assert_eq!((property("limit").get("default"), property("field")["minLength"].as_u64()), (None, Some(1)));
    assert_eq!(one_line(Sample::SUMMARY), "does nothing at all");
}
