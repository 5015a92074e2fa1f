//! `filter-shortest-correct`: of the traces of one problem, keep one that is correct, by default the shortest.
//!
//! OpenVLThinker's paper keeps the shortest; its released code sorts by words, drops the longest and takes the longest of
//! the rest. Both are here, as rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::Model;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Record};
use ruminate_flow::stage::{
    Complaint, Dropped, Kind, NodeInput, Outcome, Port, Reads, RecordStage, Row, Stage, StageContext, Unit, Work,
};
use ruminate_grade::{Grader, Mode};
use serde_json::json;

use super::grading;
use super::prompting::field_text;

pub(super) struct FilterShortestCorrect;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rule {
    Shortest,
    SecondLongest,
    First,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Options {
    rule: Rule,
    response: String,
    answer: String,
    group: String,
    #[serde(deserialize_with = "grading::read")]
    grader: Grader,
}

impl Kind for FilterShortestCorrect {
    fn name(&self) -> &'static str {
        "filter-shortest-correct"
    }

    fn summary(&self) -> &'static str {
        "keep one correct trace of each problem: the shortest"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new(
                "rule",
                OptionKind::Choice(&["shortest", "second-longest", "first"]),
                "\"shortest\"",
                "Which correct trace is kept, counted in words. `shortest` is the OpenVLThinker paper's rule, \
                 `second-longest` what its released code does (a single correct trace is kept as it is).",
            ),
            OptionSpec::new("response", OptionKind::Text, "\"reasoning\"", "The field with the trace."),
            OptionSpec::new("answer", OptionKind::Text, "\"answer\"", "The field with the true answer."),
            OptionSpec::new("group", OptionKind::Text, "\"parent\"", "The field that samples of one problem share."),
            grading::GRADER,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "traces, those of one problem side by side")] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("records", "one correct trace for each problem that has any")] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let options: Options = node.settings()?;
        let reads = Reads::default()
            .require(&options.response, FieldKind::Text, Some("response"))
            .require(&options.answer, FieldKind::Json, Some("answer"))
            .require(&options.group, FieldKind::Text, Some("group"));
        Ok(Stage {
            version: 1,
            identity: json!({ "grader": grading::identity(options.grader) }),
            reads: BTreeMap::from([("input", reads)]),
            schemas: BTreeMap::from([("records", node.schemas["input"].clone())]),
            models: BTreeMap::new(),
            seeded: false,
            uses_device: false,
            work: Work::Record(Box::new(Chooser { options })),
        })
    }
}

struct Chooser {
    options: Options,
}

impl RecordStage for Chooser {
    fn group_by(&self) -> Option<&str> {
        Some(&self.options.group)
    }

    fn process(
        &self,
        units: &[Unit],
        _models: &BTreeMap<&'static str, Arc<Model>>,
        _context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        Ok(units
            .iter()
            .map(|unit| self.choose(&unit.records).unwrap_or_else(|reason| Outcome::Failed { reason }))
            .collect())
    }
}

/// Why a trace goes no further.
const NO_ANSWER: &str = "no answer";
const WRONG: &str = "wrong answer";
const NOT_CHOSEN: &str = "correct, but another trace of the problem was chosen";

impl Chooser {
    fn choose(&self, records: &[Record]) -> Result<Outcome, String> {
        let mut correct: Vec<(usize, usize)> = Vec::new();
        let mut drops = Vec::new();
        for (source, record) in records.iter().enumerate() {
            let response = field_text(record, &self.options.response)?;
            let truth = field_text(record, &self.options.answer)?;
            let grader = self.options.grader;
            if grader.rule(&response, &truth, Mode::Response).is_correct() {
                correct.push((source, response.split_whitespace().count()));
            } else {
                let answered = grader.extract(&response, Mode::Response).is_some();
                let reason = if answered { WRONG } else { NO_ANSWER };
                drops.push(Dropped { source, reason: reason.to_owned() });
            }
        }
        let chosen = pick(self.options.rule, &correct);
        for (source, _) in correct.iter().filter(|(source, _)| Some(*source) != chosen) {
            drops.push(Dropped { source: *source, reason: NOT_CHOSEN.to_owned() });
        }
        drops.sort_by_key(|dropped| dropped.source);
        let rows = chosen.into_iter().map(|source| Row { source, child: None, fields: Fields::new() }).collect();
        Ok(Outcome::Done { rows, drops })
    }
}

/// The index of the chosen trace among `correct` (index, words); ties go to the earlier sample.
fn pick(rule: Rule, correct: &[(usize, usize)]) -> Option<usize> {
    match rule {
        Rule::First => correct.first().map(|(source, _)| *source),
        Rule::Shortest => correct.iter().min_by_key(|(_, words)| *words).map(|(source, _)| *source),
        Rule::SecondLongest => {
            let mut sorted = correct.to_vec();
            sorted.sort_by_key(|(_, words)| *words);
            if sorted.len() > 1 {
                sorted.pop();
            }
            sorted.last().map(|(source, _)| *source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_picks_its_trace() {
        let correct = [(0, 30), (2, 10), (3, 20), (4, 10)];
        assert_eq!(pick(Rule::First, &correct), Some(0));
        assert_eq!(pick(Rule::Shortest, &correct), Some(2));
        assert_eq!(pick(Rule::SecondLongest, &correct), Some(3));
        assert_eq!(pick(Rule::SecondLongest, &correct[..1]), Some(0));
        assert_eq!(pick(Rule::Shortest, &[]), None);
    }
}
