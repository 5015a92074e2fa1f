//! Sets of real numbers as intervals: brackets, unions, inequalities in one variable, the reals without a point.
//! Reads them off the form; ends are compared by the caller's rule.

use crate::form::{Form, Tokens, form};
use crate::token::{Kind, Token};

/// An end of an interval: its value, nothing for infinity, and whether it belongs to the interval.
#[derive(Clone, Copy)]
pub(crate) struct End<'text> {
    pub(crate) value: Option<Tokens<'text>>,
    pub(crate) closed: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Interval<'text> {
    pub(crate) low: End<'text>,
    pub(crate) high: End<'text>,
}

const UNBOUNDED: End<'static> = End { value: None, closed: false };

/// The intervals that a form is the union of, if it is one.
pub(crate) fn intervals<'text>(shape: &Form<'text>) -> Option<Vec<Interval<'text>>> {
    match shape {
        Form::Sequence { brackets, items } => match items[..] {
            [low, high] => Some(vec![Interval {
                low: end(low, brackets.0 == '[', true),
                high: end(high, brackets.1 == ']', false),
            }]),
            _ => None,
        },
        Form::Union(parts) => joined(parts, true),
        Form::List { items, either: true } => joined(items, false),
        Form::Chain { parts, relations } => inequality(parts, relations),
        Form::RealsWithout(set) => match form(set) {
            Form::Set(points) => match points[..] {
                [point] => Some(around(point)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn joined<'text>(parts: &[Tokens<'text>], brackets: bool) -> Option<Vec<Interval<'text>>> {
    let mut all = Vec::new();
    for part in parts {
        let shape = form(part);
        if !brackets && matches!(shape, Form::Sequence { .. }) {
            return None;
        }
        match shape {
            Form::Union(_) | Form::List { .. } => return None,
            shape => all.extend(intervals(&shape)?),
        }
    }
    Some(all)
}

fn around(point: Tokens<'_>) -> Vec<Interval<'_>> {
    let open = End { value: Some(point), closed: false };
    vec![Interval { low: UNBOUNDED, high: open }, Interval { low: open, high: UNBOUNDED }]
}

/// `-\infty` as a lower and `\infty` as an upper end are no bounds.
fn end(value: Tokens<'_>, closed: bool, low: bool) -> End<'_> {
    let infinite = |token: &Token| token.is_command("infty") || token.is_word("inf") || token.is_word("oo");
    match value {
        [sign, infinity] if low && sign.is_symbol("-") && infinite(infinity) => UNBOUNDED,
        [sign, infinity] if !low && sign.is_symbol("+") && infinite(infinity) => UNBOUNDED,
        [infinity] if !low && infinite(infinity) => UNBOUNDED,
        _ => End { value: Some(value), closed },
    }
}

/// `a < x \le b`, `x > a`, `b \ge x`, `x \ne a`.
fn inequality<'text>(parts: &[Tokens<'text>], relations: &[&str]) -> Option<Vec<Interval<'text>>> {
    let rises = |relation: &str| matches!(relation, "<" | "le");
    let falls = |relation: &str| matches!(relation, ">" | "ge");
    let closed = |relation: &str| matches!(relation, "le" | "ge");
    match (parts, relations) {
        (&[variable, point], &["ne"]) if is_variable(variable) && !mentions(point, variable) => Some(around(point)),
        (&[left, right], &[relation]) if rises(relation) || falls(relation) => {
            let (variable, bound) = if is_variable(left) { (left, right) } else { (right, left) };
            if !is_variable(variable) || bound.is_empty() || mentions(bound, variable) {
                return None;
            }
            let above = rises(relation) != is_variable(left);
            Some(vec![if above {
                Interval { low: end(bound, closed(relation), true), high: UNBOUNDED }
            } else {
                Interval { low: UNBOUNDED, high: end(bound, closed(relation), false) }
            }])
        }
        (&[first, variable, last], &[left, right]) if is_variable(variable) => {
            let (low, high) = if rises(left) && rises(right) {
                ((first, left), (last, right))
            } else if falls(left) && falls(right) {
                ((last, right), (first, left))
            } else {
                return None;
            };
            let low_end = end(low.0, closed(low.1), true);
            Some(vec![Interval { low: low_end, high: end(high.0, closed(high.1), false) }])
        }
        _ => None,
    }
}

fn is_variable(tokens: Tokens<'_>) -> bool {
    match tokens {
        [only] => {
            let letter = only.kind == Kind::Word && only.text.chars().count() == 1;
            letter || (only.kind == Kind::Command && crate::functions::is_letter_command(&only.text))
        }
        _ => false,
    }
}

fn mentions(tokens: Tokens<'_>, variable: Tokens<'_>) -> bool {
    variable.iter().any(|name| tokens.iter().any(|token| token.kind == name.kind && token.text.contains(&name.text)))
}
