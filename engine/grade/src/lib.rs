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

mod characters;
mod clean;
mod compare;
mod equality;
mod expression;
mod extract;
mod form;
mod functions;
mod grader;
mod interval;
mod mathruler;
mod modular;
mod numeric;
mod token;
mod units;
mod words;

use std::fmt;

pub use clean::clean_answer;
pub use extract::{extract_answer, extract_boxed, format_score};
pub use grader::{Grader, UnknownGrader};

use equality::Work;
use token::Token;

/// Version of the rules; part of every cache key that depends on grading.
pub const VERSION: u32 = 1;

/// Longer texts are compared as text only.
const MAX_LENGTH: usize = 13_000;
/// Tokens that one verdict may look at.
const WORK: u32 = 60_000;
/// Characters of a normal form that a verdict shows.
const MAX_SHOWN: usize = 200;

/// How a prediction is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A bare answer.
    Answer,
    /// A whole response: its last `<answer>` counts, else its last `\boxed{}`, else there is no answer.
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
    /// The prediction's normal form, cut to 200 characters; empty when a response has no answer.
    pub prediction_form: String,
    /// The truth's normal form, cut to 200 characters.
    pub truth_form: String,
}

/// Whether a prediction gives the same answer as the truth. An empty answer is never correct.
///
/// Unreduced fractions equal reduced ones; a missing unit is taken as meant, another unit is an error; a list
/// without brackets has no order. Decimals must be equal, not close.
pub fn grade(prediction: &str, truth: &str, mode: Mode) -> Verdict {
    let prediction = match mode {
        Mode::Answer => Some(prediction.trim()),
        Mode::Response => answer_of(prediction),
    };
    let (prediction, truth) = (prediction.unwrap_or_default(), truth.trim());
    let readable = prediction.len() <= MAX_LENGTH && truth.len() <= MAX_LENGTH;
    let tokens = |text: &str| if text.len() <= MAX_LENGTH { token::tokenize(text) } else { Vec::new() };
    let (prediction_tokens, truth_tokens) = (tokens(prediction), tokens(truth));
    let rule = if prediction.is_empty() || truth.is_empty() {
        None
    } else if prediction == truth || (readable && prediction.to_lowercase() == truth.to_lowercase()) {
        Some(Rule::Exact)
    } else if readable {
        decide(prediction, &prediction_tokens, &truth_tokens)
    } else {
        None
    };
    Verdict {
        correct: rule.is_some(),
        rule: rule.unwrap_or(Rule::None),
        prediction_form: normal_form(prediction, &prediction_tokens),
        truth_form: normal_form(truth, &truth_tokens),
    }
}

/// The answer that a whole response gives.
fn answer_of(response: &str) -> Option<&str> {
    match extract_answer(response) {
        Some(answer) => Some(extract_boxed(answer).unwrap_or(answer)),
        None => extract_boxed(response),
    }
}

fn decide(prediction: &str, prediction_tokens: &[Token], truth: &[Token]) -> Option<Rule> {
    let mut work = Work(WORK);
    if let Some(rule) = compare::compare(prediction_tokens, truth, &mut work) {
        return Some(rule);
    }
    let stated = [extract_boxed(prediction), clean::stated_answer(prediction)];
    stated.into_iter().flatten().find_map(|answer| {
        let found = compare::compare(&token::tokenize(answer), truth, &mut work);
        found.map(|_| Rule::Cleaned)
    })
}

/// The rendered tokens; of a text too long to be read, the text itself.
fn normal_form(text: &str, tokens: &[Token]) -> String {
    let tokens = form::strip(tokens);
    if tokens.is_empty() {
        return text.chars().take(MAX_SHOWN).collect();
    }
    // A token is at least one character of the line.
    token::render(&tokens[..tokens.len().min(MAX_SHOWN)]).chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests;
