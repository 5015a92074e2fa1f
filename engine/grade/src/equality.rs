//! Whether two formulas have the same value, or two equations the same solutions, for all values of their variables.
//! Exact where both sides are rational; elsewhere approximate at sample points, within the rounding error.

use crate::expression::{Expression, Node, parse};
use crate::modular::{self, Failure};
use crate::numeric::{self, Approximate};
use crate::token::{Kind, Token};

/// Points at which expressions with variables are compared.
const SAMPLES: u64 = 4;
/// Steps of one evaluation.
const EXACT_STEPS: u32 = 40_000;
const NUMERIC_STEPS: u32 = 12_000;
/// Largest rounding error, beside the value, at which a comparison still tells something.
const MAX_RELATIVE_ERROR: f64 = 1e-7;

/// Work left for one verdict, in tokens looked at.
#[derive(Debug)]
pub(crate) struct Work(pub(crate) u32);

impl Work {
    /// Takes work away; false when there is not enough left.
    pub(crate) fn spend(&mut self, tokens: usize) -> bool {
        let tokens = u32::try_from(tokens + 8).unwrap_or(u32::MAX);
        let left = self.0.checked_sub(tokens);
        self.0 = left.unwrap_or(0);
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
pub(crate) fn equal(a: &[Token], b: &[Token], work: &mut Work) -> Option<Equal> {
    if a.is_empty() || b.is_empty() || !work.spend(a.len() + b.len()) {
        return None;
    }
    let (a, b) = (fold_case(a), fold_case(b));
    let (a, b) = (parse(&a, None)?, parse(&b, None)?);
    if let (Some(left), Some(right)) = (infinity(&a), infinity(&b)) {
        return (left == right).then_some(Equal::Number);
    }
    let kind = if is_plain(&a) && is_plain(&b) { Equal::Number } else { Equal::Expression };
    match (modular::evaluate(&a, 1, EXACT_STEPS), modular::evaluate(&b, 1, EXACT_STEPS)) {
        (Err(Failure::Undefined), _) | (_, Err(Failure::Undefined)) => None,
        (Ok(left), Ok(right)) => (left == right).then_some(kind),
        _ => equal_numerically(&a, &b).then_some(kind),
    }
}

/// Whether `left = right` and the other two sides are one equation: their differences are proportional.
/// With `order`, by a positive factor, as inequalities need it.
pub(crate) fn same_equation(a: [&[Token]; 2], b: [&[Token]; 2], order: bool, work: &mut Work) -> bool {
    let (a, b) = (difference(a), difference(b));
    if !work.spend(a.len() + b.len()) {
        return false;
    }
    let (Some(a), Some(b)) = (parse(&a, None), parse(&b, None)) else {
        return false;
    };
    if is_constant(&a) || is_constant(&b) {
        return false;
    }
    let (mut ratio, mut valid): (Option<Approximate>, u64) = (None, 0);
    for sample in 1..=SAMPLES {
        let above = numeric::evaluate(&a, sample, NUMERIC_STEPS);
        let below = numeric::evaluate(&b, sample, NUMERIC_STEPS);
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
    valid >= 3 && same_ratio_exactly(&a, &b) != Some(false)
}

/// Whether the ratio is the same at two points, where both are rational.
fn same_ratio_exactly(a: &Expression, b: &Expression) -> Option<bool> {
    let at = |expression: &Expression, sample: u64| modular::evaluate(expression, sample, EXACT_STEPS).ok();
    let cross = |x: modular::Residues, y: modular::Residues| modular::product(x, y);
    Some(cross(at(a, 1)?, at(b, 2)?) == cross(at(a, 2)?, at(b, 1)?))
}

fn difference(sides: [&[Token]; 2]) -> Vec<Token> {
    let symbol = |text: &str| Token::new(Kind::Symbol, text);
    let mut tokens = vec![symbol("(")];
    tokens.extend_from_slice(sides[0]);
    tokens.extend([symbol(")"), symbol("-"), symbol("(")]);
    tokens.extend_from_slice(sides[1]);
    tokens.push(symbol(")"));
    fold_case(&tokens)
}

fn equal_numerically(a: &Expression, b: &Expression) -> bool {
    let samples = if is_constant(a) && is_constant(b) { 1 } else { SAMPLES };
    let mut valid = 0;
    for sample in 1..=samples {
        match (numeric::evaluate(a, sample, NUMERIC_STEPS), numeric::evaluate(b, sample, NUMERIC_STEPS)) {
            (Some(left), Some(right)) if agree(left, right) => valid += 1,
            (None, None) => {}
            _ => return false,
        }
    }
    2 * valid > samples
}

/// Whether two values differ by no more than their rounding errors, and those are small.
fn agree(a: Approximate, b: Approximate) -> bool {
    let size = a.modulus().max(b.modulus());
    let error = a.error + b.error;
    let tolerance = 4.0 * error + 8.0 * f64::EPSILON * size;
    error <= MAX_RELATIVE_ERROR * size.max(MAX_RELATIVE_ERROR) && (a.re - b.re).hypot(a.im - b.im) <= tolerance
}

/// Lowercase letters, unless the formula uses both cases of one letter.
fn fold_case(tokens: &[Token]) -> Vec<Token> {
    let mut seen = [false; 128];
    let words = tokens.iter().filter(|token| token.kind == Kind::Word);
    for byte in words.flat_map(|token| token.text.bytes()).filter(u8::is_ascii_alphabetic) {
        seen[usize::from(byte)] = true;
    }
    let both = (b'a'..=b'z').any(|byte| seen[usize::from(byte)] && seen[usize::from(byte.to_ascii_uppercase())]);
    let fold = |token: &Token| match token.kind {
        Kind::Word if !both => Token { text: token.text.to_lowercase(), ..token.clone() },
        _ => token.clone(),
    };
    tokens.iter().map(fold).collect()
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
