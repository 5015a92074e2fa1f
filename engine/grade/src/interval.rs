//! Sets of real numbers as intervals: brackets, unions, inequalities in one variable, the reals without points.
//! Reads them off the form; ends are compared by the caller's rule.

use crate::characters::is_longer;
use crate::form::{Form, form};
use crate::names::Name;
use crate::token::{Kind, Tokens, same_text};

/// An end of an interval: its value, nothing for infinity, and whether it belongs to the interval.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) value: Option<Tokens<'a>>,
    pub(crate) closed: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Interval<'a> {
    pub(crate) low: End<'a>,
    pub(crate) high: End<'a>,
}

const UNBOUNDED: End<'static> = End { value: None, closed: false };
const REALS: Interval<'static> = Interval { low: UNBOUNDED, high: UNBOUNDED };

/// The intervals that a form is the union of, if it is one.
pub(crate) fn intervals<'a>(shape: &Form<'a>) -> Option<Vec<Interval<'a>>> {
    match shape {
        Form::Sequence { brackets, items } => match items[..] {
            [low, high] => Some(vec![Interval {
                low: end(low, brackets.0 == Name::OpenSquare, true),
                high: end(high, brackets.1 == Name::CloseSquare, false),
            }]),
            _ => None,
        },
        Form::Union(parts) => joined(parts, true),
        Form::List { items, either: true } => joined(items, false),
        Form::List { items, .. } => both_bounds(items),
        Form::Chain { parts, relations } => inequality(parts, relations),
        Form::Without { whole, set } => {
            let whole = match form(whole) {
                Form::Without { set: [], .. } => REALS,
                Form::Sequence { brackets, items } => intervals(&Form::Sequence { brackets, items })?.pop()?,
                _ => return None,
            };
            match form(set) {
                Form::Set(points) => Some(around(whole, &points)),
                _ if set.is_empty() => Some(vec![whole]),
                _ => None,
            }
        }
        _ => None,
    }
}

fn joined<'a>(parts: &[Tokens<'a>], brackets: bool) -> Option<Vec<Interval<'a>>> {
    let mut all = Vec::new();
    for part in parts {
        let shape = form(part);
        match shape {
            Form::Union(_) | Form::List { .. } => return None,
            Form::Sequence { .. } if !brackets => return None,
            Form::Set(points) if brackets => all.extend(points.into_iter().map(|point| {
                let end = End { value: Some(point), closed: true };
                Interval { low: end, high: end }
            })),
            shape => all.append(&mut intervals(&shape)?),
        }
    }
    Some(merged(all))
}

/// The intervals, those that touch as one.
fn merged(intervals: Vec<Interval<'_>>) -> Vec<Interval<'_>> {
    let mut merged: Vec<Interval<'_>> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        if let Some(last) = merged.last_mut()
            && let (Some(end), Some(start)) = (last.high.value, interval.low.value)
            && (last.high.closed || interval.low.closed)
            && same_text(end, start)
        {
            last.high = interval.high;
        } else {
            merged.push(interval);
        }
    }
    merged
}

/// `x > a` and `x < b`, in any order.
fn both_bounds<'a>(items: &[Tokens<'a>]) -> Option<Vec<Interval<'a>>> {
    let [first, second] = items else { return None };
    let bound = |tokens: Tokens<'a>| match form(tokens) {
        shape @ Form::Chain { .. } => intervals(&shape).filter(|found| found.len() == 1)?.pop(),
        _ => None,
    };
    let (first, second) = (bound(first)?, bound(second)?);
    let (low, high) = if first.high.value.is_none() { (first, second) } else { (second, first) };
    let one_each =
        low.low.value.is_some() && low.high.value.is_none() && high.low.value.is_none() && high.high.value.is_some();
    one_each.then(|| vec![Interval { low: low.low, high: high.high }])
}

/// An interval without points of it, in their order.
fn around<'a>(whole: Interval<'a>, points: &[Tokens<'a>]) -> Vec<Interval<'a>> {
    let mut parts = vec![whole];
    for point in points {
        let open = End { value: Some(*point), closed: false };
        if let Some(last) = parts.last_mut() {
            last.high = open;
        }
        parts.push(Interval { low: open, high: whole.high });
    }
    parts
}

/// `-\infty` as a lower and `\infty` as an upper end are no bounds.
fn end(value: Tokens<'_>, closed: bool, low: bool) -> End<'_> {
    match value {
        [sign, infinity]
            if infinity.name == Name::Infinity && sign.name == if low { Name::Minus } else { Name::Plus } =>
        {
            UNBOUNDED
        }
        [infinity] if !low && infinity.name == Name::Infinity => UNBOUNDED,
        _ => End { value: Some(value), closed },
    }
}

/// `a < x \le b`, `x > a`, `b \ge x`, `x \ne a`.
fn inequality<'a>(parts: &[Tokens<'a>], relations: &[Name]) -> Option<Vec<Interval<'a>>> {
    let rises = |relation: Name| matches!(relation, Name::Less | Name::LessEqual);
    let falls = |relation: Name| matches!(relation, Name::Greater | Name::GreaterEqual);
    let closed = |relation: Name| matches!(relation, Name::LessEqual | Name::GreaterEqual);
    match (parts, relations) {
        (&[variable, point], &[Name::NotEqual]) if is_variable(variable) && !mentions(point, variable) => {
            Some(around(REALS, &[point]))
        }
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
        [only] => only.name == Name::Letter || (only.kind == Kind::Word && !is_longer(only.text, 1)),
        _ => false,
    }
}

fn mentions(tokens: Tokens<'_>, variable: Tokens<'_>) -> bool {
    tokens.iter().any(|token| {
        let letter = variable[0].letter();
        let within = token.kind == Kind::Word && letter.is_some_and(|letter| token.text.as_bytes().contains(&letter));
        within || same_text(std::slice::from_ref(token), variable)
    })
}
