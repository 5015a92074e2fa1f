//! The rewards of `grpo`: the grader's verdict, the form of the response, and scorers from outside (plugins), each with a
//! weight.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ruminate_flow::diagnostic::nearest;
use ruminate_flow::error::StageError;
use ruminate_flow::options::{Options, scorer_file};
use ruminate_flow::record::{FieldKind, Record, Schema, Value};
use ruminate_flow::score::{Score, Scorer, Scorers, Unscored};
use ruminate_flow::stage::{Complaint, Reads, StageContext};
use ruminate_grade::{Grader, Mode, format_score};
use serde_json::{Map, Value as Json, json};

use crate::train::rollout::Reward;

/// The option that holds the weights and the plugins.
pub(super) const OPTION: &str = "rewards";

/// The rewards that need no plugin, in the order in which they are logged.
const BUILT_IN: [&str; 2] = ["accuracy", "format"];

/// Names that the figures of a step have already: `reward_mean`, `reward_std`.
const TAKEN: [&str; 2] = ["mean", "std"];

/// The keys of a plugin's reward that are not the plugin's.
const OWN: [&str; 3] = ["plugin", "weight", "fallback"];

/// What a completion gives to a scorer beside its prompt's record, named as `reasoning-sample` names it.
const REASONING: &str = "reasoning";
const TOKENS: &str = "tokens";
const FINISHED: &str = "finished";

/// A completion to reward.
pub(super) struct Response<'a> {
    /// The prompt's record.
    pub(super) record: &'a Record,
    /// The index among the prompt's samples.
    pub(super) sample: usize,
    /// The true answer.
    pub(super) answer: &'a str,
    /// The decoded text.
    pub(super) text: String,
    /// Its tokens, the stop token included.
    pub(super) tokens: usize,
    /// Whether it ended by itself, not at the length limit.
    pub(super) finished: bool,
}

/// All rewards of a node.
pub(super) struct Rewards {
    grader: Grader,
    accuracy: f64,
    format: f64,
    scored: Vec<Scored>,
    /// The failures of scorers that were told already.
    told: Mutex<Vec<String>>,
}

/// A reward that a scorer gives.
struct Scored {
    name: String,
    weight: f64,
    /// The score of a completion for which the scorer fails. Without one, training stops.
    fallback: Option<f64>,
    scorer: Arc<dyn Scorer>,
}

impl Rewards {
    /// The rewards that a node's options name; `grader` decides the accuracy.
    ///
    /// # Errors
    /// Every complaint: unknown names, numbers out of range, and what is wrong with a plugin or its settings.
    pub(super) fn new(options: &Options, grader: Grader, scorers: &dyn Scorers) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Vec::new();
        let mut rewards = Self { grader, accuracy: 0.0, format: 0.0, scored: Vec::new(), told: Mutex::default() };
        for (name, value) in options.values.get(OPTION).and_then(Json::as_object).into_iter().flatten() {
            let place = format!("{OPTION}.{name}");
            match (name.as_str(), value) {
                ("accuracy", Json::Number(weight)) => rewards.accuracy = weight.as_f64().unwrap_or(0.0),
                ("format", Json::Number(weight)) => rewards.format = weight.as_f64().unwrap_or(0.0),
                (_, Json::Number(_)) => {
                    let message = format!(
                        "unknown reward `{name}`: expected `accuracy` or `format`, or a table that names a plugin"
                    );
                    let help = "a reward of your own is a plugin: { plugin = \"FILE.wasm\", weight = 0.5 }".to_owned();
                    complaints.push(Complaint { option: Some(place), message, help: Some(help) });
                }
                (taken, _) if BUILT_IN.contains(&taken) || TAKEN.contains(&taken) => {
                    let message = format!("the name `{taken}` is taken: call the plugin's reward otherwise");
                    complaints.push(Complaint::about(&place, message));
                }
                (_, settings) => match Scored::new(name, settings, options, scorers) {
                    Ok(scored) => rewards.scored.push(scored),
                    Err(found) => complaints.extend(found),
                },
            }
        }
        if complaints.is_empty() { Ok(rewards) } else { Err(complaints) }
    }

    /// Adds the fields of the prompts' records that the scorers read.
    pub(super) fn reads(&self, mut reads: Reads) -> Result<Reads, Vec<Complaint>> {
        let own: Schema = [(REASONING, FieldKind::Text), (TOKENS, FieldKind::Int), (FINISHED, FieldKind::Bool)]
            .map(|(name, kind)| (name.to_owned(), kind))
            .into();
        let mut complaints = Vec::new();
        for Scored { name, scorer, .. } in &self.scored {
            for (field, kind) in scorer.reads() {
                match own.get(field) {
                    Some(given) if !kind.accepts(given) => {
                        let message = format!(
                            "plugin `{}` reads field `{field}` as {kind}, a completion gives it as {given}",
                            scorer.name()
                        );
                        complaints.push(Complaint::about(&format!("{OPTION}.{name}.plugin"), message));
                    }
                    Some(_) => {}
                    None => reads = reads.require(field, kind.clone(), Some(OPTION)),
                }
            }
        }
        if complaints.is_empty() { Ok(reads) } else { Err(complaints) }
    }

    /// What decides the scores beside the options and the plugins' files; `None` without a scorer.
    pub(super) fn identity(&self) -> Option<Json> {
        let of = |scored: &Scored| (scored.name.clone(), scored.scorer.identity());
        (!self.scored.is_empty()).then(|| json!(self.scored.iter().map(of).collect::<BTreeMap<_, _>>()))
    }

    /// The names of the figures that the scorers add to those of a step.
    pub(super) fn figures(&self) -> Vec<String> {
        let of = |scored: &Scored| {
            let failed = scored.fallback.map(|_| format!("reward_{}_failed", scored.name));
            std::iter::once(format!("reward_{}", scored.name)).chain(failed)
        };
        self.scored.iter().flat_map(of).collect()
    }

    /// The reward of each response, in order.
    ///
    /// # Errors
    /// A scorer that fails for a response without a fallback, naming record and sample; a stop.
    pub(super) fn of(&self, responses: &[Response<'_>], context: &StageContext<'_>) -> Result<Vec<Reward>, StageError> {
        let mut rewards: Vec<Reward> = responses.iter().map(|response| self.graded(response)).collect();
        if self.scored.is_empty() {
            return Ok(rewards);
        }
        let records: Vec<Record> = responses.iter().map(Response::record).collect();
        for scored in &self.scored {
            let scores = scored.scorer.score(&records, context)?;
            for ((score, reward), response) in scores.into_iter().zip(&mut rewards).zip(responses) {
                let (value, failed) = match score {
                    Ok(Score { value, .. }) => (value, 0.0),
                    Err(unscored) => (self.fallback(scored, &unscored, response, context)?, 1.0),
                };
                reward.total += scored.weight * value;
                reward.parts.push((scored.name.clone(), value));
                if scored.fallback.is_some() {
                    reward.parts.push((format!("{}_failed", scored.name), failed));
                }
            }
        }
        Ok(rewards)
    }

    /// The built-in parts. Both are always there, so that runs can be compared whatever they train on.
    fn graded(&self, response: &Response<'_>) -> Reward {
        let score = |verdict: bool| if verdict { 1.0 } else { 0.0 };
        let rule = self.grader.rule(&response.text, response.answer, Mode::Response);
        let parts = [
            ("accuracy", self.accuracy, score(rule.is_correct())),
            ("format", self.format, score(format_score(&response.text))),
        ];
        Reward {
            total: parts.iter().map(|(_, weight, value)| weight * value).sum(),
            parts: parts.iter().map(|(name, _, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    fn fallback(
        &self,
        scored: &Scored,
        unscored: &Unscored,
        response: &Response<'_>,
        context: &StageContext<'_>,
    ) -> Result<f64, StageError> {
        let place = format!("the reward `{}` of sample {} of `{}`", scored.name, response.sample, response.record.id);
        let reason = &unscored.reason;
        // What another machine would not see must not decide what a model learns.
        let Some(value) = scored.fallback.filter(|_| unscored.deterministic) else {
            let advice = if unscored.deterministic {
                format!("mend the plugin, or give `{OPTION}.{}` a `fallback`", scored.name)
            } else {
                "run the same command again to go on".to_owned()
            };
            return Err(StageError::failed(format!("{place}: {reason}; {advice}")));
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(reason) {
            told.push(reason.clone());
            context.progress.note(&format!("{place} is its fallback, {value}: {reason} (told once)"));
        }
        Ok(value)
    }
}

impl Scored {
    fn new(name: &str, settings: &Json, options: &Options, scorers: &dyn Scorers) -> Result<Self, Vec<Complaint>> {
        let place = |inner: &str| format!("{OPTION}.{name}.{inner}");
        let mut settings: Map<String, Json> = settings.as_object().cloned().unwrap_or_default();
        settings.remove("plugin");
        let mut complaints = Vec::new();
        // The scorer knows its own settings; what is near one of ours is ours.
        settings.retain(|key, _| {
            let near = nearest(key, OWN.into_iter()).filter(|near| near != key);
            if let Some(near) = near {
                let message = format!("unknown key `{key}` of a reward: did you mean `{near}`?");
                complaints.push(Complaint::about(&place(key), message));
            }
            near.is_none()
        });
        let mut number = |key: &str| match settings.remove(key).map(|value| value.as_f64()) {
            Some(None) => {
                complaints.push(Complaint::about(&place(key), format!("`{}` takes a number", place(key))));
                None
            }
            found => found.flatten(),
        };
        let (weight, fallback) = (number("weight").unwrap_or(1.0), number("fallback"));
        let file = options.files.get(&scorer_file(OPTION, name)).and_then(|files| files.first());
        let Some(file) = file else {
            complaints.push(Complaint::about(&place("plugin"), "expected the path of a plugin"));
            return Err(complaints);
        };
        match scorers.open(file, &Json::Object(settings)) {
            Ok(scorer) if complaints.is_empty() => Ok(Self { name: name.to_owned(), weight, fallback, scorer }),
            Ok(_) => Err(complaints),
            Err(found) => {
                let within = |inner: Complaint| {
                    let option = inner.option.map_or_else(|| format!("{OPTION}.{name}"), |option| place(&option));
                    Complaint { option: Some(option), ..inner }
                };
                complaints.extend(found.into_iter().map(within));
                Err(complaints)
            }
        }
    }
}

impl Response<'_> {
    /// What a scorer sees: the prompt's record with the completion's fields laid over it.
    fn record(&self) -> Record {
        let mut fields = self.record.fields.clone();
        fields.insert(REASONING.into(), Value::text(&self.text));
        fields.insert(TOKENS.into(), Value::Int(self.tokens as i64));
        fields.insert(FINISHED.into(), Value::Bool(self.finished));
        Record { id: format!("{}/{}", self.record.id, self.sample).into(), fields }
    }
}
