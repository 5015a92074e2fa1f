//! The grader of mathruler 0.1.0 (Apache 2.0), which published numbers rest on: its verdicts, slips included, for
//! comparing with them. What needs computer algebra is decided by evaluation, and where the reference would work for
//! ever the verdict is false. Written after the behaviour of `grader.py`, of pylatexenc 2.11 and sympy 1.14.

mod latex;
mod mathd;
mod python;
mod sympy;
mod text;

#[cfg(test)]
mod tests;

use crate::{MAX_SHOWN, Mode, Rule, Verdict};

/// Version of the reproduction; part of every cache key that depends on it.
pub(crate) const VERSION: u32 = 1;

/// Longer answers are compared as text only.
const MAX_LENGTH: usize = 1 << 20;
/// Longer differences are not evaluated.
const MAX_EVALUATED: usize = 20_000;

/// `extract_boxed_content`: what the last `\boxed{` encloses, if it is closed.
pub(crate) fn extract(response: &str) -> Option<&str> {
    let open = "\\boxed{";
    let content = &response[response.rfind(open)? + open.len()..];
    let mut depth = 0i64;
    for (at, byte) in content.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return Some(python::strip(&content[..at]));
        }
    }
    None
}

/// The verdict of `grade_answer`, for a response on what it has boxed.
pub(crate) fn grade(prediction: &str, truth: &str, mode: Mode) -> Verdict {
    let prediction = match mode {
        Mode::Answer => prediction,
        // Python's name for nothing, which is graded like any text.
        Mode::Response => extract(prediction).unwrap_or("None"),
    };
    let shown = |text: &str| text.chars().take(MAX_SHOWN).collect();
    let verdict = |rule: Rule, prediction_form: &str, truth_form: &str| Verdict {
        correct: rule.is_correct(),
        rule,
        prediction_extracted: shown(prediction),
        truth_extracted: shown(truth),
        prediction_form: shown(prediction_form),
        truth_form: shown(truth_form),
    };
    if prediction.len().max(truth.len()) > MAX_LENGTH {
        let rule = if prediction == truth { Rule::Exact } else { Rule::Budget };
        return verdict(rule, prediction, truth);
    }
    let (prediction_form, truth_form) = (mathd::normalize(prediction), mathd::normalize(truth));
    if prediction_form == truth_form {
        return verdict(Rule::Mathd, &prediction_form, &truth_form);
    }
    let (prediction_form, truth_form) = (text::normalize(prediction), text::normalize(truth));
    verdict(decide(&prediction_form, &truth_form), &prediction_form, &truth_form)
}

fn decide(prediction: &str, truth: &str) -> Rule {
    if prediction == truth {
        return Rule::Normal;
    }
    if prediction.is_empty() {
        return Rule::None;
    }
    let (truths, predictions) = (text::parts(truth), text::parts(prediction));
    let ends = |text: &str| (text.chars().next(), text.chars().next_back());
    if truths.len() != predictions.len() || (truths.len() > 1 && ends(truth) != ends(prediction)) {
        return Rule::None;
    }
    for (truth, prediction) in truths.iter().zip(&predictions) {
        let equal = if text::is_fraction(truth) && text::is_fraction(prediction) {
            Ok(truth == prediction)
        } else if text::is_integer(truth) != text::is_integer(prediction) {
            Ok(false)
        } else {
            is_difference_zero(truth, prediction)
        };
        match equal {
            Ok(true) => {}
            Ok(false) | Err(sympy::Stop::Fails) => return Rule::None,
            Err(sympy::Stop::Budget) => return Rule::Budget,
        }
    }
    if truths.is_empty() { Rule::None } else { Rule::Sympy }
}

/// `are_equal_under_sympy`
fn is_difference_zero(truth: &str, prediction: &str) -> Result<bool, sympy::Stop> {
    let difference = format!("({truth})-({prediction})");
    if !may_evaluate(&difference) {
        return Ok(false);
    }
    if difference.len() > MAX_EVALUATED { Err(sympy::Stop::Budget) } else { sympy::is_zero(&difference) }
}

/// `should_allow_eval`: at most two letters, no powers but of one digit.
fn may_evaluate(text: &str) -> bool {
    let mut letters: Vec<char> = Vec::with_capacity(2);
    for letter in text.replace("sqrt", "").replace("frac", "").chars().filter(|letter| python::is_alpha(*letter)) {
        if !letters.contains(&letter) {
            if letters.len() == 2 {
                return false;
            }
            letters.push(letter);
        }
    }
    !text.split('^').skip(1).any(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        after.starts_with(['{', '(']) || digits > 1
    }) && !has_power_of_power(text)
}

/// `\^[0-9]+\^`
fn has_power_of_power(text: &str) -> bool {
    let mut parts = text.split('^').skip(1).peekable();
    while let Some(part) = parts.next() {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits && parts.peek().is_some() {
            return true;
        }
    }
    false
}
