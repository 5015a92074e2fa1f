//! Approximate complex values with a bound on their rounding error, for what is not rational: roots, powers,
//! elementary functions. Knows one point at a time; an overflow or a pole has no value.

use crate::elementary::{atan2, decimal, exp, hypot, ln, sin_cos};
use crate::expression::{Expression, Node, NodeId};
use crate::functions::Function;
use crate::modular::point;

const EPSILON: f64 = f64::EPSILON;
/// Beyond this the argument of a periodic function has lost its place in the period.
const LARGEST_ANGLE: f64 = 1e6;
/// Terms of a series.
const MAX_TERMS: f64 = 2_000.0;

/// A complex number and a bound on the modulus of its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Approximate {
    pub(crate) re: f64,
    pub(crate) im: f64,
    pub(crate) error: f64,
}

/// The value at the sample point `sample`, if it has one.
pub(crate) fn evaluate(expression: &Expression, sample: u64, steps: &mut u32) -> Option<Approximate> {
    let mut numeric = Numeric { expression, sample, bound: Vec::new(), steps };
    numeric.value(expression.root)
}

struct Numeric<'expression> {
    expression: &'expression Expression,
    sample: u64,
    bound: Vec<(u64, f64)>,
    steps: &'expression mut u32,
}

impl Numeric<'_> {
    fn value(&mut self, id: NodeId) -> Option<Approximate> {
        let expression = self.expression;
        let node = expression.nodes.get(id)?;
        // A step is about one multiplication.
        self.spend(match node {
            Node::Number(text) => text.len() as u32,
            Node::Power(..) | Node::Root(..) | Node::Call(..) => 32,
            _ => 1,
        })?;
        let value = match node {
            Node::Number(text) => {
                let (value, error) = decimal(text);
                real(value, error)
            }
            Node::Pi => real(std::f64::consts::PI, EPSILON),
            Node::Euler => real(std::f64::consts::E, EPSILON),
            Node::Imaginary => Approximate { re: 0.0, im: 1.0, error: 0.0 },
            Node::Infinity => return None,
            Node::Variable(name) => real(self.variable(*name), 0.0),
            Node::Sum(terms) => {
                let mut total = real(0.0, 0.0);
                for &(term, negative) in terms {
                    let term = self.value(term)?;
                    total = total.plus(if negative { term.negated() } else { term });
                }
                total
            }
            Node::Product(factors) => {
                let mut total = real(1.0, 0.0);
                for &(factor, divides) in factors {
                    let factor = self.value(factor)?;
                    total = total.times(if divides { factor.inverse()? } else { factor });
                }
                total
            }
            Node::Power(base, exponent) => {
                let (base, exponent) = (self.value(*base)?, self.value(*exponent)?);
                base.power(exponent)?
            }
            Node::Root(radicand, index) => self.value(*radicand)?.root(*index)?,
            Node::Factorial(argument) => self.factorial(*argument)?,
            Node::Call(function, arguments) => {
                let first = self.value(*arguments.first()?)?;
                let second = match arguments.get(1) {
                    Some(second) => Some(self.value(*second)?),
                    None => None,
                };
                call(*function, first, second)?
            }
            Node::Series { product, variable, from, to, body } => {
                self.series(*product, *variable, (*from, *to), *body)?
            }
        };
        value.finite()
    }

    fn spend(&mut self, steps: u32) -> Option<()> {
        *self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    /// Away from zero, of either sign, no integer.
    fn variable(&self, name: u64) -> f64 {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return *value;
        }
        let bits = point(name, self.sample);
        let size = 0.35 + 2.0 * ((bits >> 12) as f64 / (1u64 << 52) as f64);
        // The first samples are positive: what is meant for lengths and counts is defined there.
        if self.sample > 3 && bits & 1 == 1 { -size } else { size }
    }

    fn factorial(&mut self, argument: NodeId) -> Option<Approximate> {
        let count = self.value(argument)?.integer().filter(|count| (0.0..=170.0).contains(count))?;
        self.spend(count as u32)?;
        let value = (1..=count as u32).fold(1.0, |total, factor| total * f64::from(factor));
        Some(real(value, value * count * EPSILON))
    }

    fn series(&mut self, product: bool, name: u64, bounds: (NodeId, NodeId), body: NodeId) -> Option<Approximate> {
        let from = self.value(bounds.0)?.integer()?;
        let to = self.value(bounds.1)?.integer().filter(|to| to - from <= MAX_TERMS)?;
        let mut total = real(if product { 1.0 } else { 0.0 }, 0.0);
        let mut value = from;
        while value <= to {
            self.bound.push((name, value));
            let term = self.value(body);
            self.bound.pop();
            total = if product { total.times(term?) } else { total.plus(term?) };
            value += 1.0;
        }
        Some(total)
    }
}

fn real(re: f64, error: f64) -> Approximate {
    Approximate { re, im: 0.0, error }
}

fn call(function: Function, first: Approximate, second: Option<Approximate>) -> Option<Approximate> {
    let quotient = |above: Approximate, below: Approximate| Some(above.times(below.inverse()?));
    match function {
        Function::Sin => Some(first.circular()?.0),
        Function::Cos => Some(first.circular()?.1),
        Function::Tan => first.circular().and_then(|(sine, cosine)| quotient(sine, cosine)),
        Function::Cot => first.circular().and_then(|(sine, cosine)| quotient(cosine, sine)),
        Function::Sec => first.circular()?.1.inverse(),
        Function::Csc => first.circular()?.0.inverse(),
        Function::Arcsin | Function::Arccos | Function::Arctan => first.angle(function),
        Function::Sinh | Function::Cosh | Function::Tanh => {
            let (up, down) = (first.exponential()?, first.negated().exponential()?);
            let (difference, sum) = (up.plus(down.negated()), up.plus(down));
            match function {
                Function::Sinh => Some(difference.times(real(0.5, 0.0))),
                Function::Cosh => Some(sum.times(real(0.5, 0.0))),
                _ => quotient(difference, sum),
            }
        }
        Function::Exp => first.exponential(),
        // Of real numbers, as in answers: `2 ln x` is `ln x^2` where both are.
        Function::Ln if first.im == 0.0 && first.re < 0.0 => None,
        Function::Ln => first.logarithm(),
        Function::Log if second?.im == 0.0 && second?.re < 0.0 => None,
        Function::Log => quotient(second?.logarithm()?, first.logarithm()?),
        Function::Abs => Some(real(first.modulus(), first.error + first.modulus() * EPSILON)),
        Function::Floor => first.floor(),
        Function::Ceil => Some(first.negated().floor()?.negated()),
        Function::Min | Function::Max => {
            let second = second?;
            let first_wins = (first.re <= second.re) == (function == Function::Min);
            (first.im == 0.0 && second.im == 0.0).then_some(if first_wins { first } else { second })
        }
        Function::Binomial | Function::Gcd | Function::Lcm => None,
    }
}

impl Approximate {
    pub(crate) fn modulus(self) -> f64 {
        hypot(self.re, self.im)
    }

    fn finite(self) -> Option<Self> {
        (self.re.is_finite() && self.im.is_finite() && self.error.is_finite()).then_some(self)
    }

    /// The integer it is, when it is exactly one.
    fn integer(self) -> Option<f64> {
        (self.error == 0.0 && self.im == 0.0 && self.re.fract() == 0.0).then_some(self.re)
    }

    fn negated(self) -> Self {
        Self { re: -self.re, im: -self.im, error: self.error }
    }

    fn plus(self, other: Self) -> Self {
        let sum = Self { re: self.re + other.re, im: self.im + other.im, error: 0.0 };
        let exact = self.error == 0.0 && other.error == 0.0 && sum.re.fract() == 0.0 && sum.modulus() < 9e15;
        let rounding = if exact { 0.0 } else { EPSILON * (self.modulus() + other.modulus()) };
        Self { error: self.error + other.error + rounding, ..sum }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        let (a, b) = (self.modulus(), other.modulus());
        let product = Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
            error: 0.0,
        };
        let whole = product.re.fract() == 0.0 && product.im == 0.0;
        let exact = self.error == 0.0 && other.error == 0.0 && whole && a * b < 9e15;
        let rounding = if exact { 0.0 } else { 2.0 * EPSILON * a * b };
        Self { error: a * other.error + b * self.error + self.error * other.error + rounding, ..product }
    }

    pub(crate) fn inverse(self) -> Option<Self> {
        let size = self.modulus();
        // Zero as far as can be told.
        if size <= 4.0 * self.error || size == 0.0 {
            return None;
        }
        let error = self.error / size / size * 2.0 + 4.0 * EPSILON / size;
        Self { re: self.re / size / size, im: -self.im / size / size, error }.finite()
    }

    fn exponential(self) -> Option<Self> {
        if self.im.abs() > LARGEST_ANGLE {
            return None;
        }
        let size = exp(self.re);
        let (sine, cosine) = sin_cos(self.im);
        let error = size * (2.0 * self.error + EPSILON * (8.0 + self.modulus()));
        Self { re: size * cosine, im: size * sine, error }.finite()
    }

    fn logarithm(self) -> Option<Self> {
        let size = self.modulus();
        if size <= 4.0 * self.error || size == 0.0 {
            return None;
        }
        let (re, im) = (ln(size), atan2(self.im, self.re));
        Self { re, im, error: 2.0 * self.error / size + EPSILON * (8.0 + re.abs() + im.abs()) }.finite()
    }

    fn power(self, exponent: Self) -> Option<Self> {
        if self.modulus() == 0.0 && self.error == 0.0 {
            return (exponent.re > 0.0 && exponent.im == 0.0).then_some(self);
        }
        if let Some(count) = exponent.integer().filter(|count| count.abs() <= 64.0) {
            let total = (0..count.abs() as u32).fold(real(1.0, 0.0), |total, _| total.times(self));
            return if count < 0.0 { total.inverse() } else { Some(total) };
        }
        let power = self.logarithm()?.times(exponent).exponential()?;
        // A positive base with a real exponent stays real.
        Some(if self.im == 0.0 && self.re > 0.0 && exponent.im == 0.0 { Self { im: 0.0, ..power } } else { power })
    }

    /// The principal root; of a negative real number and an odd index, the real one.
    fn root(self, index: u32) -> Option<Self> {
        if self.modulus() <= self.error || self.modulus() == 0.0 {
            // Zero within the error: so is its root, within the root of the error.
            return Some(real(0.0, exp(ln(self.error.max(f64::MIN_POSITIVE)) / f64::from(index))));
        }
        let negative = self.im == 0.0 && self.re < 0.0;
        if negative && index % 2 == 1 {
            return Some(self.negated().root(index)?.negated());
        }
        if index == 2 && self.im == 0.0 {
            let root = self.re.abs().sqrt();
            let exact = self.error == 0.0 && root.fract() == 0.0 && root * root == self.re.abs();
            let error = if exact { 0.0 } else { self.error / root + EPSILON * root };
            return Some(if negative { Self { re: 0.0, im: root, error } } else { real(root, error) });
        }
        self.power(real(1.0 / f64::from(index), EPSILON / f64::from(index)))
    }

    /// Sine and cosine.
    fn circular(self) -> Option<(Self, Self)> {
        if self.re.abs() > LARGEST_ANGLE || self.im.abs() > 300.0 {
            return None;
        }
        let (sine, cosine) = sin_cos(self.re);
        let (up, down) = (exp(self.im), exp(-self.im));
        let (even, odd) = ((up + down) / 2.0, (up - down) / 2.0);
        let error = even * (2.0 * self.error + EPSILON * (8.0 + self.re.abs()));
        let sine_of = Self { re: sine * even, im: cosine * odd, error };
        Some((sine_of.finite()?, Self { re: cosine * even, im: -sine * odd, error }.finite()?))
    }

    /// The angle of which a real number is the sine, the cosine or the tangent.
    fn angle(self, function: Function) -> Option<Self> {
        let other = match function {
            Function::Arctan => 1.0,
            _ => ((1.0 - self.re) * (1.0 + self.re)).sqrt(),
        };
        if self.im != 0.0 || other.is_nan() {
            return None;
        }
        let value = if function == Function::Arccos { atan2(other, self.re) } else { atan2(self.re, other) };
        let slope = if function == Function::Arctan { 1.0 } else { 1.0 / other };
        let carried = if self.error == 0.0 { 0.0 } else { 2.0 * self.error * slope };
        real(value, carried + 8.0 * EPSILON * (value.abs() + 1.0)).finite()
    }

    fn floor(self) -> Option<Self> {
        let value = self.re.floor();
        let same = (self.re - 2.0 * self.error).floor() == value && (self.re + 2.0 * self.error).floor() == value;
        (self.im == 0.0 && same).then_some(real(value, 0.0))
    }
}
