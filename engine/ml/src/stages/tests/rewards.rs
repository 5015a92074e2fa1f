//! The rewards of `grpo` beside the grader's. A plugin host belongs to another crate: a scorer of the tests stands at its
//! boundary, and the program's own tests run real plugins.

use std::sync::Arc;

use indexmap::IndexMap;
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::options::{InputFile, scorer_file};
use ruminate_flow::record::{FieldKind, Record, Schema, Value};
use ruminate_flow::score::{Score, Scorer, Scorers, Unscored};
use ruminate_flow::stage::{Complaint, StageContext};
use serde_json::{Value as Json, json};

use super::Bench;

/// Gives every completion minus its number of tokens, or what its settings say.
pub(super) struct TestScorers;

struct TestScorer {
    reads: Schema,
    /// The outcome for records of an odd sample.
    odd: Option<Unscored>,
}

impl Scorers for TestScorers {
    fn open(&self, _file: &InputFile, settings: &Json) -> Result<Arc<dyn Scorer>, Vec<Complaint>> {
        if settings["config"]["refuse"] == true {
            return Err(vec![Complaint::about("config.refuse", "no"), Complaint::whole("nor the whole")]);
        }
        let reads = settings["config"]["reads"].as_object().cloned().unwrap_or_default();
        let kind = |kind: &Json| FieldKind::parse(kind.as_str().unwrap()).unwrap();
        let odd = settings["config"]["odd"]
            .as_str()
            .map(|reason| Unscored { reason: reason.to_owned(), deterministic: settings["config"]["clock"] != true });
        let reads = reads.iter().map(|(name, value)| (name.clone(), kind(value))).collect();
        Ok(Arc::new(TestScorer { reads, odd }))
    }
}

impl Scorer for TestScorer {
    fn name(&self) -> &str {
        "minus-tokens"
    }

    fn reads(&self) -> &Schema {
        &self.reads
    }

    fn identity(&self) -> Json {
        json!({ "reads": self.reads })
    }

    fn score(
        &self,
        records: &[Record],
        _context: &StageContext<'_>,
    ) -> Result<Vec<Result<Score, Unscored>>, StageError> {
        let one = |record: &Record| {
            assert!(record.fields.contains_key("question") && record.fields.contains_key("finished"));
            let Value::Int(tokens) = record.fields["tokens"] else { panic!("tokens are a number") };
            match &self.odd {
                Some(unscored) if record.id.ends_with("/1") => Err(unscored.clone()),
                _ => Ok(Score { value: -(tokens as f64), note: None }),
            }
        };
        Ok(records.iter().map(one).collect())
    }
}

/// The files of the plugins that `rewards` names.
pub(super) fn plugin_files(options: &Json) -> IndexMap<String, Vec<InputFile>> {
    let file = |bytes: &str| InputFile { path: bytes.into(), digest: Digest::of(bytes.as_bytes()) };
    let tables = options["rewards"].as_object().into_iter().flatten().filter(|(_, value)| value.is_object());
    tables
        .filter_map(|(name, value)| Some((scorer_file("rewards", name), vec![file(value["plugin"].as_str()?)])))
        .collect()
}

fn options(rewards: Json) -> Json {
    json!({
        "steps": 2, "prompts-per-step": 2, "samples": 2, "max-new-tokens": 3, "learning-rate": 1e-3,
        "freeze": ["visual."], "rewards": rewards,
    })
}

fn complaints(rewards: Json) -> Vec<(String, String)> {
    let found = Bench::new().try_stage("grpo", options(rewards)).err().expect("a wrong option");
    found.into_iter().map(|complaint| (complaint.option.unwrap_or_default(), complaint.message)).collect()
}

#[test]
fn a_plugin_s_score_is_a_part_of_the_reward() {
    let bench = Bench::new();
    let records: Vec<Record> = (0..4).map(|index| bench.problem(index)).collect();
    let rewards = json!({ "format": 0.0, "brevity": { "plugin": "p", "weight": 0.5, "config": {} } });
    let output = bench.set("grpo", options(rewards.clone()), &records).expect("trained");
    for record in &output.records["metrics"] {
        let number = |name: &str| match record.fields[name] {
            Value::Float(number) => number,
            ref other => panic!("{name}: {other:?}"),
        };
        assert_eq!(number("reward_brevity"), -number("completion_length"));
        assert!((number("reward_mean") - 0.5 * number("reward_brevity")).abs() < 1e-12);
        assert_eq!(number("reward_accuracy"), 0.0, "it is logged without a weight, too");
    }
    let stage = bench.stage("grpo", options(rewards));
    assert_eq!(stage.schemas["metrics"]["reward_brevity"], FieldKind::Float);
    assert!(stage.identity["scorers"]["brevity"].is_object());
}

#[test]
fn a_plugin_that_fails_stops_the_training_or_gives_its_fallback() {
    let failing = |extra: Json| {
        let mut reward = json!({ "plugin": "p", "config": { "odd": "plugin panicked: no" } });
        reward.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        options(json!({ "brevity": reward }))
    };
    let bench = Bench::new();
    let records: Vec<Record> = (0..4).map(|index| bench.problem(index)).collect();
    let error = bench.set("grpo", failing(json!({})), &records).err().expect("no fallback").to_string();
    assert!(error.starts_with("the reward `brevity` of sample 1 of `"), "{error}");
    assert!(error.contains("plugin panicked: no; mend the plugin, or give `rewards.brevity` a `fallback`"), "{error}");
    let output = bench.set("grpo", failing(json!({ "fallback": -9.0 })), &records).expect("trained");
    for record in &output.records["metrics"] {
        assert_eq!(record.fields["reward_brevity_failed"], Value::Float(0.5));
    }
    let notes = bench.notes.lock().unwrap();
    assert_eq!(notes.iter().filter(|note| note.contains("told once")).count(), 1, "{notes:?}");
    let clock = json!({ "fallback": -9.0, "config": { "odd": "too slow", "clock": true } });
    let error = bench.set("grpo", failing(clock), &records).err().expect("the clock is no verdict").to_string();
    assert!(error.ends_with("too slow; run the same command again to go on"), "{error}");
}

#[test]
fn what_is_wrong_with_a_reward_is_told_with_its_place() {
    let found = complaints(json!({ "accuracy": 1.0, "brevty": 0.5 }));
    assert_eq!(found[0].0, "rewards.brevty");
    assert!(found[0].1.starts_with("unknown reward `brevty`: expected `accuracy` or `format`"));
    assert_eq!(complaints(json!({ "mean": { "plugin": "p" } }))[0].0, "rewards.mean");
    let found = complaints(json!({ "own": { "plugin": "p", "weight": "much", "fallback": [] } }));
    let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["rewards.own.weight", "rewards.own.fallback"]);
    let found = complaints(json!({ "own": { "plugin": "p", "config": { "refuse": true } } }));
    let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["rewards.own.config.refuse", "rewards.own"]);
    let found = complaints(json!({ "own": { "plugin": "p", "config": { "reads": { "tokens": "text" } } } }));
    assert_eq!(found[0].0, "rewards.own.plugin");
    assert_eq!(found[0].1, "plugin `minus-tokens` reads field `tokens` as text, a completion gives it as int");
}

#[test]
fn a_plugin_s_fields_are_read_from_the_problems() {
    let reads = json!({ "reasoning": "text", "level": "int" });
    let rewards = json!({ "own": { "plugin": "p", "config": { "reads": reads } } });
    let stage = Bench::new().stage("grpo", options(rewards));
    let names: Vec<_> = stage.reads["input"].fields.iter().map(|read| read.name.as_str()).collect();
    assert!(names.contains(&"level") && !names.contains(&"reasoning"), "{names:?}");
}
