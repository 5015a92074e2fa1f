//! Answer text -> verdict: is a prediction the same answer as the truth, and by which rule.
//!
//! The order is MathRuler's: equal text, equal normal form, tuples and other collections part by part, then equal
//! value by a small evaluator. There is no computer algebra and no clock: the work of one verdict is bounded by
//! budgets, so no input can hang it, whatever it is.
//!
//! ```
//! use ruminate_grade::{Mode, grade};
//! assert!(grade("1/2", "\\frac{1}{2}", Mode::Answer).correct);
//! assert!(grade("<think>...</think><answer>5 cm</answer>", "5", Mode::Response).correct);
//! assert!(!grade("9**9**9", "5", Mode::Answer).correct);
//! ```

mod calendar;
mod characters;
mod choice;
mod clean;
mod compare;
mod elementary;
mod equality;
mod expression;
mod extract;
mod form;
mod functions;
#[cfg(feature = "mathruler")]
mod grader;
mod interval;
mod lexer;
#[cfg(feature = "mathruler")]
mod mathruler;
mod modular;
mod names;
mod numeric;
mod parser;
mod token;
mod units;
mod words;

use std::fmt;

pub use clean::clean_answer;
pub use extract::{Source, extract, extract_answer, extract_boxed, format_score};
#[cfg(feature = "mathruler")]
pub use grader::{Grader, UnknownGrader};

use characters::{same_but_case, to_latex, trim};
use equality::Work;
use lexer::tokenize;
use token::Tokens;

/// Version of the rules; part of every cache key that depends on grading.
pub const VERSION: u32 = 3;

/// Longer texts are compared as text only.
const MAX_LENGTH: usize = 13_000;
/// Characters of an answer and of a normal form that a verdict shows.
const MAX_SHOWN: usize = 200;

/// How a prediction is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A bare answer.
    Answer,
    /// A whole response, of which the answer is what [`extract`] finds.
    Response,
}

/// The rule that found a prediction correct; `None` when none did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The texts are equal but for case and surrounding white space.
    Exact,
    /// The sentence around the answer was taken away first.
    Cleaned,
    /// The normal forms are equal: layout, wrappers, units of one name.
    Normal,
    /// Both name the same option of a multiple choice.
    Choice,
    /// Both are numbers of the same value.
    Numeric,
    /// Both are formulas of the same value for all values of their variables.
    Expression,
    /// Collections equal in order: tuples, points, ratios.
    Tuple,
    /// Collections equal in any order: sets, lists without brackets, both signs.
    Set,
    /// The same intervals.
    Interval,
    /// Matrices, cell by cell.
    Matrix,
    /// Equations or inequalities with the same solutions.
    Equation,
    /// mathruler: equal after the normalisation of the MATH data set.
    Mathd,
    /// mathruler: sympy simplifies the difference to zero.
    Sympy,
    /// mathruler: no answer within the budget, where the original works on without end; not correct.
    Budget,
    /// No rule: the prediction is not correct.
    None,
}

impl Rule {
    /// Whether a prediction is correct by this rule.
    pub fn is_correct(self) -> bool {
        !matches!(self, Rule::Budget | Rule::None)
    }

    /// The stable lowercase name.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Exact => "exact",
            Rule::Cleaned => "cleaned",
            Rule::Normal => "normal",
            Rule::Choice => "choice",
            Rule::Numeric => "numeric",
            Rule::Expression => "expression",
            Rule::Tuple => "tuple",
            Rule::Set => "set",
            Rule::Interval => "interval",
            Rule::Matrix => "matrix",
            Rule::Equation => "equation",
            Rule::Mathd => "mathd",
            Rule::Sympy => "sympy",
            Rule::Budget => "budget",
            Rule::None => "none",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the prediction is the truth.
    pub correct: bool,
    /// The rule that decided.
    pub rule: Rule,
    /// The answer that was found in the prediction, cut to 200 characters; empty when a response has no answer.
    pub prediction_extracted: String,
    /// The truth as it was compared, cut to 200 characters.
    pub truth_extracted: String,
    /// The prediction's normal form, cut to 200 characters; empty when a response has no answer.
    pub prediction_form: String,
    /// The truth's normal form, cut to 200 characters.
    pub truth_form: String,
}

/// Whether a prediction gives the same answer as the truth. An empty answer is never correct.
///
/// Unreduced fractions equal reduced ones; a missing unit is taken as meant, another unit is converted or an error; a
/// percentage equals its fraction; a list without brackets has no order. Decimals must be equal, not close: values that
/// are not rational are compared within their rounding error, below 1e-7 of the value.
pub fn grade(prediction: &str, truth: &str, mode: Mode) -> Verdict {
    let (answer, truth) = (graded(prediction, mode), trim(truth));
    let rule = decide(answer, truth);
    Verdict {
        correct: rule.is_correct(),
        rule,
        prediction_extracted: shown(answer),
        truth_extracted: shown(truth),
        prediction_form: normal_form(answer),
        truth_form: normal_form(truth),
    }
}

/// The rule by which a prediction gives the same answer as the truth: [`grade`] without the texts that explain it.
pub fn rule(prediction: &str, truth: &str, mode: Mode) -> Rule {
    decide(graded(prediction, mode), trim(truth))
}

/// The answer that is graded; empty when there is none.
fn graded(prediction: &str, mode: Mode) -> &str {
    match mode {
        Mode::Answer => trim(prediction),
        Mode::Response => answer_of(prediction).unwrap_or_default(),
    }
}

/// The answer that a whole response gives.
fn answer_of(response: &str) -> Option<&str> {
    extract(response).map(|(answer, _)| answer)
}

fn decide(prediction: &str, truth: &str) -> Rule {
    if prediction.is_empty() || truth.is_empty() {
        return Rule::None;
    }
    if prediction == truth {
        return Rule::Exact;
    }
    if prediction.len() > MAX_LENGTH || truth.len() > MAX_LENGTH {
        return Rule::None;
    }
    if same_but_case(prediction, truth) {
        return Rule::Exact;
    }
    let mut work = Work::ALL;
    let truth = to_latex(truth);
    let truth = tokenize(&truth);
    if let Some(rule) = compared(prediction, &truth, &mut work) {
        return rule;
    }
    let stated = [extract_boxed(prediction), clean::stated_answer(prediction)];
    let found = stated.into_iter().flatten().any(|answer| compared(answer, &truth, &mut work).is_some());
    if found { Rule::Cleaned } else { Rule::None }
}

fn compared(prediction: &str, truth: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    compare::compare(&tokenize(&to_latex(prediction)), truth, work)
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// The rendered tokens of what a verdict has room for.
fn normal_form(text: &str) -> String {
    // Where a text is cut, the form is cut too.
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= 8 * MAX_SHOWN).last().unwrap_or(0);
    let latex = to_latex(if text.len() <= 8 * MAX_SHOWN { text } else { characters::part(text, 0, end) });
    let tokens = tokenize(&latex);
    let tokens = form::strip(&tokens);
    if tokens.is_empty() { shown(text) } else { shown(&token::render(tokens)) }
}

#[cfg(test)]
mod tests;
