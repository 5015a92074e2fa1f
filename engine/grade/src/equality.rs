//! Whether two formulas have the same value, or two equations the same solutions, for all values of their variables.
//! Exact where both sides are rational; elsewhere approximate at sample points, within the rounding error.

use crate::elementary::hypot;
use crate::expression::{Expression, Node};
use crate::modular::{self, Failure};
use crate::numeric::{self, Approximate};
use crate::parser::parse;
use crate::token::Tokens;

/// Points at which expressions with variables are compared.
const SAMPLES: u64 = 5;
/// Largest rounding error, beside the value, at which a comparison still tells something.
const MAX_RELATIVE_ERROR: f64 = 1e-7;

/// Work left for one verdict. No input can take more, so that none can hang a verdict, and no clock is needed.
#[derive(Debug)]
pub(crate) struct Work {
    /// Tokens to look at.
    pub(crate) tokens: u32,
    /// Steps of evaluations, each about one multiplication.
    pub(crate) steps: u32,
}

impl Work {
    pub(crate) const ALL: Self = Self { tokens: 60_000, steps: 200_000 };

    /// Takes tokens away; false when there are not enough left.
    pub(crate) fn spend(&mut self, tokens: usize) -> bool {
        let left = self.tokens.checked_sub(tokens as u32 + 8);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

/// How two formulas were found equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equal {
    /// Both are numbers.
    Number,
    /// They are equal for all values of their variables, or involve functions.
    Expression,
}

/// Whether two formulas are equal; `None` when they are not, or cannot be read.
pub(crate) fn equal(a: Tokens<'_>, b: Tokens<'_>, work: &mut Work) -> Option<Equal> {
    if !work.spend(a.len() + b.len()) {
        return None;
    }
    equal_expressions(&parse(a)?, &parse(b)?, work)
}

/// Whether two expressions are equal.
pub(crate) fn equal_expressions(a: &Expression, b: &Expression, work: &mut Work) -> Option<Equal> {
    if let (Some(left), Some(right)) = (infinity(a), infinity(b)) {
        return (left == right).then_some(Equal::Number);
    }
    let kind = if is_plain(a) && is_plain(b) { Equal::Number } else { Equal::Expression };
    match (modular::evaluate(a, a.root, 1, &mut work.steps), modular::evaluate(b, b.root, 1, &mut work.steps)) {
        (Err(Failure::Undefined), _) | (_, Err(Failure::Undefined)) => None,
        (Ok(left), Ok(right)) => (left == right).then_some(kind),
        _ => (equal_numerically(a, b, work) && may_be_root(a, b, work) && may_be_root(b, a, work)).then_some(kind),
    }
}

/// Whether the power of a rational value may be what a root is of, exactly: `\\sqrt{10^{20}+1}` is near `10^{10}` only.
fn may_be_root(root: &Expression, value: &Expression, work: &mut Work) -> bool {
    let Some(&Node::Root(radicand, index)) = root.nodes.get(root.root) else { return true };
    let Ok(value) = modular::evaluate(value, value.root, 1, &mut work.steps) else { return true };
    let radicand = modular::evaluate(root, radicand, 1, &mut work.steps);
    radicand.is_err() || radicand == Ok(modular::power(value, u64::from(index)))
}

/// Whether `left = right` and the other two sides are one equation: their differences are proportional.
/// With `order`, by a positive factor, as inequalities need it.
pub(crate) fn same_equation(a: [Tokens<'_>; 2], b: [Tokens<'_>; 2], order: bool, work: &mut Work) -> bool {
    if !work.spend(a[0].len() + a[1].len() + b[0].len() + b[1].len()) {
        return false;
    }
    let difference = |sides: [Tokens<'_>; 2]| Some(parse(sides[0])?.joined(parse(sides[1])?, true));
    let (Some(a), Some(b)) = (difference(a), difference(b)) else {
        return false;
    };
    if is_constant(&a) || is_constant(&b) {
        return false;
    }
    let (mut ratio, mut valid): (Option<Approximate>, u64) = (None, 0);
    for sample in 1..=SAMPLES {
        let above = numeric::evaluate(&a, sample, &mut work.steps);
        let below = numeric::evaluate(&b, sample, &mut work.steps);
        let (Some(above), Some(below)) = (above, below) else { continue };
        let Some(here) = below.inverse().map(|inverse| above.times(inverse)) else {
            return false;
        };
        if here.modulus() <= 4.0 * here.error || (order && here.re <= 0.0) {
            return false;
        }
        if !ratio.is_none_or(|known| agree(known, here)) {
            return false;
        }
        ratio = Some(here);
        valid += 1;
    }
    valid >= 3 && same_ratio_exactly(&a, &b, work) != Some(false)
}

/// Whether the ratio is the same at two points, where both are rational.
fn same_ratio_exactly(a: &Expression, b: &Expression, work: &mut Work) -> Option<bool> {
    let mut at = |expression: &Expression, sample: u64| {
        modular::evaluate(expression, expression.root, sample, &mut work.steps).ok()
    };
    Some(modular::product(at(a, 1)?, at(b, 2)?) == modular::product(at(a, 2)?, at(b, 1)?))
}

fn equal_numerically(a: &Expression, b: &Expression, work: &mut Work) -> bool {
    let samples = if is_constant(a) && is_constant(b) { 1 } else { SAMPLES };
    let mut valid = 0;
    for sample in 1..=samples {
        let (left, right) =
            (numeric::evaluate(a, sample, &mut work.steps), numeric::evaluate(b, sample, &mut work.steps));
        match (left, right) {
            (Some(left), Some(right)) if agree(left, right) => valid += 1,
            (Some(_), Some(_)) => return false,
            // Not defined there, as a logarithm below zero.
            _ => {}
        }
    }
    2 * valid > samples
}

/// Whether two values differ by no more than their rounding errors, and those are small.
fn agree(a: Approximate, b: Approximate) -> bool {
    let size = a.modulus().max(b.modulus());
    let error = a.error + b.error;
    let tolerance = 4.0 * error + 8.0 * f64::EPSILON * size;
    error <= MAX_RELATIVE_ERROR * size.max(MAX_RELATIVE_ERROR) && hypot(a.re - b.re, a.im - b.im) <= tolerance
}

/// A number without variables or functions.
fn is_plain(expression: &Expression) -> bool {
    expression.nodes.iter().all(|node| matches!(node, Node::Number(_) | Node::Sum(_) | Node::Product(_)))
}

fn is_constant(expression: &Expression) -> bool {
    !expression.nodes.iter().any(|node| matches!(node, Node::Variable(_)))
}

/// Whether the whole is infinity, and then whether it is the negative one.
fn infinity(expression: &Expression) -> Option<bool> {
    match expression.nodes.get(expression.root)? {
        Node::Infinity => Some(false),
        Node::Sum(terms) => match terms[..] {
            [(term, negative)] if matches!(expression.nodes.get(term), Some(Node::Infinity)) => Some(negative),
            _ => None,
        },
        _ => None,
    }
}
