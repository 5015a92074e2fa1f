//! Evaluations as numbers: from the items of `eval` nodes to accuracies that can be compared. Knows how an eval node
//! names its fields; the formulas are in [`crate::statistics`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruminate_flow::graph::{Node, NodeId};
use ruminate_flow::plan;
use ruminate_flow::record::{Fields, Record, Value};
use ruminate_grade::Grader;
use serde::Serialize;

use crate::failure::Failure;
use crate::project::Project;
use crate::statistics::{Comparison, Estimate, clustered, compare, wilson};

/// The kind whose nodes are evaluations, and its port and input names.
const KIND: &str = "eval";
const ITEMS: &str = "items";
const DATA: &str = "input";
const MODEL: &str = "model";

/// Fields of an item that the evaluation wrote; all others describe the problem.
const WRITTEN: [&str; 9] =
    ["parent", "sample", "response", "prediction", "correct", "rule", "style", "tokens", "finished"];

/// All evaluations of a graph.
pub(crate) struct Evaluations {
    /// Those with a result in the store, in the order of the file.
    pub(crate) done: Vec<Evaluation>,
    /// The names of those without.
    pub(crate) missing: Vec<Arc<str>>,
}

/// One evaluation: each problem with the verdicts on its samples.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    node: Arc<str>,
    model: String,
    data: String,
    /// With its version: `ruminate 2`.
    grader: String,
    decoding: Decoding,
    problems: BTreeMap<Arc<str>, Problem>,
    /// The share of each style among the items; empty if items have no style.
    styles: BTreeMap<String, f64>,
}

/// How answers were drawn. Two evaluations are comparable only if this is equal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Decoding {
    /// Samples per problem.
    pub(crate) samples: Option<u64>,
    /// 0 is greedy.
    pub(crate) temperature: Option<f64>,
    /// The nucleus; `None` for greedy decoding, which has none.
    pub(crate) top_p: Option<f64>,
    /// The likeliest tokens to choose from; `None` for all, and for greedy decoding.
    pub(crate) top_k: Option<u64>,
    /// How tokens that were there already are made less likely; `None` where they are not.
    pub(crate) repetition_penalty: Option<f64>,
    /// The longest answer.
    pub(crate) max_new_tokens: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Problem {
    verdicts: Vec<bool>,
    fields: Fields,
}

/// A line of the results. The names are what scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// The eval node.
    pub(crate) node: Arc<str>,
    /// The name on its model edge.
    pub(crate) model: String,
    /// The name on its input edge.
    pub(crate) data: String,
    /// The grader and its version.
    pub(crate) grader: String,
    /// Problems.
    pub(crate) n: usize,
    /// The mean over problems of the mean over samples; `None` without problems.
    pub(crate) accuracy: Option<f64>,
    /// The lower end of the 95 % interval.
    pub(crate) ci_low: Option<f64>,
    /// The upper end.
    pub(crate) ci_high: Option<f64>,
    /// The accuracy minus that of `baseline`; `None` for the baseline itself.
    pub(crate) difference: Option<f64>,
    /// The two-sided p value of the difference.
    pub(crate) p: Option<f64>,
    /// The first evaluation that is comparable; `None` if that is this one.
    pub(crate) baseline: Option<Arc<str>>,
    /// How answers were drawn.
    #[serde(flatten)]
    pub(crate) decoding: Decoding,
    /// The share of each style.
    pub(crate) styles: BTreeMap<String, f64>,
}

/// What the store holds of the graph's evaluations.
///
/// # Errors
/// A store that cannot be read; items that are none.
pub(crate) fn collect(project: &Project) -> Result<Evaluations, Failure> {
    let mut evaluations = Evaluations { done: Vec::new(), missing: Vec::new() };
    for (index, node) in project.graph.nodes.iter().enumerate() {
        if node.kind != KIND {
            continue;
        }
        let output = plan::outputs(&project.graph, &project.store, NodeId(index))?.filter(|output| output.complete);
        match output.as_ref().and_then(|output| output.records.get(ITEMS)) {
            Some(items) => evaluations.done.push(Evaluation::new(project, node, items)?),
            None => evaluations.missing.push(node.name.clone()),
        }
    }
    Ok(evaluations)
}

/// The lines of the results, in the given order.
pub(crate) fn summarise(evaluations: &[Evaluation]) -> Vec<Line> {
    evaluations
        .iter()
        .enumerate()
        .map(|(index, evaluation)| {
            let baseline = evaluations[..index].iter().find(|earlier| earlier.comparable(evaluation));
            evaluation.line(baseline)
        })
        .collect()
}

impl Evaluation {
    /// The eval node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    fn new(project: &Project, node: &Node, items: &[Record]) -> Result<Self, Failure> {
        let edge = |port| node.inputs.get(port).map_or_else(String::new, |edge| project.edge_name(edge));
        let option = |name: &str| node.options.values.get(name).and_then(serde_json::Value::as_f64);
        let temperature = option("temperature");
        // Greedy decoding does not look at the nucleus.
        let drawn = |name| if temperature == Some(0.0) { None } else { option(name) };
        let decoding = Decoding {
            samples: option("samples").map(|samples| samples as u64),
            temperature,
            top_p: drawn("top-p"),
            top_k: drawn("top-k").filter(|tokens| *tokens > 0.0).map(|tokens| tokens as u64),
            repetition_penalty: option("repetition-penalty").filter(|penalty| *penalty != 1.0),
            max_new_tokens: option("max-new-tokens").map(|tokens| tokens as u64),
        };
        // Results under this node's key are of the grader's present version.
        let grader = node.options.values.get("grader").and_then(serde_json::Value::as_str).unwrap_or_default();
        let grader = Grader::from_name(grader).unwrap_or_default();
        let evaluation = Self::from_items(&node.name, edge(MODEL), edge(DATA), decoding, items);
        evaluation.map(|evaluation| Self { grader: grader.to_string(), ..evaluation }).map_err(Failure::Failed)
    }

    fn from_items(
        node: &Arc<str>,
        model: String,
        data: String,
        decoding: Decoding,
        items: &[Record],
    ) -> Result<Self, String> {
        let mut problems: BTreeMap<Arc<str>, Problem> = BTreeMap::new();
        let mut styles: BTreeMap<String, usize> = BTreeMap::new();
        for item in items {
            let Some(Value::Bool(correct)) = item.fields.get("correct") else {
                return Err(format!(
                    "item `{}` of node `{node}` has no verdict: its field `correct` is not boolean",
                    item.id
                ));
            };
            let problem = problems.entry(problem_id(item)).or_default();
            if problem.verdicts.is_empty() {
                let described = |(name, _): &(&Arc<str>, &Value)| !WRITTEN.contains(&&***name);
                problem.fields =
                    item.fields.iter().filter(described).map(|(name, value)| (name.clone(), value.clone())).collect();
            }
            problem.verdicts.push(*correct);
            if let Some(style) = item.text("style") {
                *styles.entry(style.to_owned()).or_default() += 1;
            }
        }
        let share = |number: usize| number as f64 / items.len() as f64;
        let styles = styles.into_iter().map(|(style, number)| (style, share(number))).collect();
        let grader = Grader::default().to_string();
        Ok(Self { node: node.clone(), model, data, grader, decoding, problems, styles })
    }

    /// Whether both answered the same problems, drawn and graded in the same way. Fields that only one of the streams has (a caption,
    /// say) do not make problems different.
    fn comparable(&self, other: &Evaluation) -> bool {
        let same = |(one, two): (&Problem, &Problem)| {
            one.fields.iter().all(|(name, value)| two.fields.get(name).is_none_or(|other| other == value))
        };
        self.decoding == other.decoding
            && self.grader == other.grader
            && self.problems.keys().eq(other.problems.keys())
            && self.problems.values().zip(other.problems.values()).all(same)
    }

    fn line(&self, baseline: Option<&Evaluation>) -> Line {
        let estimate = self.estimate();
        let comparison = baseline.and_then(|baseline| self.difference_from(baseline));
        Line {
            node: self.node.clone(),
            model: self.model.clone(),
            data: self.data.clone(),
            grader: self.grader.clone(),
            n: self.problems.len(),
            accuracy: estimate.map(|estimate| estimate.mean),
            ci_low: estimate.map(|estimate| estimate.low),
            ci_high: estimate.map(|estimate| estimate.high),
            difference: comparison.map(|comparison| comparison.difference),
            p: comparison.and_then(|comparison| comparison.p),
            baseline: baseline.map(|baseline| baseline.node.clone()),
            decoding: self.decoding,
            styles: self.styles.clone(),
        }
    }

    fn estimate(&self) -> Option<Estimate> {
        let scores: Vec<f64> = self.problems.values().map(Problem::score).collect();
        if self.one_sample() {
            wilson(scores.iter().sum::<f64>() / scores.len() as f64, scores.len())
        } else {
            clustered(&scores)
        }
    }

    fn difference_from(&self, baseline: &Evaluation) -> Option<Comparison> {
        let pairs: Vec<(f64, f64)> = baseline
            .problems
            .values()
            .zip(self.problems.values())
            .map(|(first, second)| (first.score(), second.score()))
            .collect();
        compare(&pairs, self.one_sample() && baseline.one_sample())
    }

    fn one_sample(&self) -> bool {
        self.problems.values().all(|problem| problem.verdicts.len() == 1)
    }
}

impl Problem {
    fn score(&self) -> f64 {
        let right = self.verdicts.iter().filter(|verdict| **verdict).count();
        right as f64 / self.verdicts.len() as f64
    }
}

impl Decoding {
    /// A few words: `greedy`, `4 samples at 0.7`.
    pub(crate) fn summary(&self) -> String {
        let samples = match self.samples {
            None | Some(1) => String::new(),
            Some(samples) => format!("{samples} samples"),
        };
        let drawn = match self.temperature {
            None => String::new(),
            Some(0.0) => "greedy".to_owned(),
            Some(temperature) => format!("at {temperature}"),
        };
        let nucleus = match self.top_p {
            None | Some(1.0) => String::new(),
            Some(top_p) => format!("top-p {top_p}"),
        };
        let likeliest = self.top_k.map(|tokens| format!("top-k {tokens}")).unwrap_or_default();
        let penalty = self.repetition_penalty.map(|penalty| format!("penalty {penalty}")).unwrap_or_default();
        let words = [samples, drawn, nucleus, likeliest, penalty];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(", ").replace("samples, at", "samples at")
    }
}

/// The styles that occur in `lines`, in alphabetical order.
pub(crate) fn style_names(lines: &[Line]) -> BTreeSet<&str> {
    lines.iter().flat_map(|line| line.styles.keys().map(String::as_str)).collect()
}

/// The problem that an item answers.
fn problem_id(item: &Record) -> Arc<str> {
    match item.fields.get("parent") {
        Some(Value::Text(parent)) => parent.clone(),
        _ => item.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: Decoding = Decoding {
        samples: Some(1),
        temperature: Some(0.0),
        top_p: None,
        top_k: None,
        repetition_penalty: None,
        max_new_tokens: Some(48),
    };
    const SAMPLED: Decoding = Decoding { samples: Some(2), temperature: Some(0.7), top_p: Some(1.0), ..GREEDY };

    fn item(id: &str, answer: &str, correct: bool) -> Record {
        let problem = id.split('/').next().unwrap_or(id);
        let fields = [
            ("answer", Value::text(answer)),
            ("correct", Value::Bool(correct)),
            ("parent", Value::text(problem)),
            ("style", Value::text("short")),
        ];
        Record { id: id.into(), fields: fields.into_iter().map(|(name, value)| (name.into(), value)).collect() }
    }

    fn evaluation(node: &str, decoding: Decoding, items: &[Record]) -> Evaluation {
        Evaluation::from_items(&node.into(), "m".into(), "d".into(), decoding, items).expect("items are well formed")
    }

    #[test]
    fn each_is_compared_with_the_first_of_its_group() {
        let greedy = [item("a", "1", true), item("b", "2", false)];
        let better = [item("a", "1", true), item("b", "2", true)];
        let sampled =
            [item("a/0", "1", true), item("a/1", "1", false), item("b/0", "2", false), item("b/1", "2", false)];
        let by_mathruler = Evaluation { grader: "mathruler 1".into(), ..evaluation("graded", GREEDY, &greedy) };
        let other_answers = [item("a", "1", true), item("b", "3", true)];
        let lines = summarise(&[
            evaluation("first", GREEDY, &greedy),
            evaluation("sampled", SAMPLED, &sampled),
            evaluation("second", GREEDY, &better),
            evaluation("others", GREEDY, &other_answers),
            evaluation("sampled-again", SAMPLED, &sampled),
            by_mathruler,
            evaluation("longer", Decoding { max_new_tokens: Some(96), ..GREEDY }, &better),
            evaluation("penalised", Decoding { repetition_penalty: Some(1.1), ..GREEDY }, &better),
        ]);
        let baselines: Vec<_> = lines.iter().map(|line| line.baseline.as_deref()).collect();
        assert_eq!(baselines, [None, None, Some("first"), None, Some("sampled"), None, None, None]);
        assert_eq!(lines[1].n, 2);
        assert_eq!(lines[1].accuracy, Some(0.25));
        assert_eq!((lines[2].difference, lines[2].p), (Some(0.5), Some(1.0)));
        assert_eq!((lines[4].difference, lines[4].p), (Some(0.0), Some(1.0)));
        assert_eq!(lines[0].styles.get("short"), Some(&1.0));
    }

    #[test]
    fn evaluation_without_problems_has_no_accuracy() {
        let lines = summarise(&[evaluation("none", GREEDY, &[])]);
        assert_eq!((lines[0].n, lines[0].accuracy), (0, None));
    }

    #[test]
    fn item_without_verdict_is_an_error() {
        let item = Record { id: "a".into(), fields: Fields::new() };
        let result = Evaluation::from_items(&"e".into(), String::new(), String::new(), GREEDY, &[item]);
        assert!(result.is_err_and(|message| message.contains("`a`") && message.contains("`correct`")));
    }

    #[test]
    fn decoding_in_words() {
        assert_eq!(GREEDY.summary(), "greedy");
        assert_eq!(SAMPLED.summary(), "2 samples at 0.7");
        assert_eq!(Decoding { top_p: Some(0.9), ..SAMPLED }.summary(), "2 samples at 0.7, top-p 0.9");
    }
}
