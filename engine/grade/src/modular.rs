//! Exact values of rational expressions, as residues modulo two primes: equal residues at random points mean
//! equal expressions but for a chance of about 1 in 2^120, and no number grows. Knows +, -, *, /, integer powers,
//! factorials and finite sums; pi and e are points like variables, being algebraically independent as far as known.

use crate::expression::{Expression, Node, NodeId};
use crate::functions::Function;

/// Both are 1 modulo 4, so that -1 has a square root.
const PRIMES: [u64; 2] = [0xffff_ffff_0000_0001, 3_141_592_653_589_793_197];
/// A square root of -1 modulo each.
const IMAGINARY: [u64; 2] = [1 << 48, 2_303_716_685_468_129_604];
/// Steps that a division or a power counts for, a step being about one multiplication.
const INVERSE_STEPS: u32 = 128;
/// Factors of a factorial, terms of a series.
const MAX_TERMS: i128 = 2_000;

pub(crate) type Residues = [u64; 2];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Zero divides.
    Undefined,
    /// Not a rational expression, or too much work.
    Unsupported,
}

pub(crate) struct Modular<'expression> {
    expression: &'expression Expression,
    bound: Vec<(u64, i128)>,
    sample: u64,
    steps: u32,
}

/// The value of an expression modulo both primes, its variables at the point `sample`.
pub(crate) fn evaluate(expression: &Expression, sample: u64, steps: u32) -> Result<Residues, Failure> {
    let mut modular = Modular { expression, bound: Vec::new(), sample, steps };
    modular.value(expression.root)
}

/// A point for a name, the same in every expression; `salt` picks among points.
pub(crate) fn point(name: u64, salt: u64) -> u64 {
    let mut mixed = name ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 31)
}

impl Modular<'_> {
    fn value(&mut self, id: NodeId) -> Result<Residues, Failure> {
        self.spend(1)?;
        let expression = self.expression;
        match expression.nodes.get(id).ok_or(Failure::Unsupported)? {
            Node::Number(text) => {
                self.spend(text.len() as u32)?;
                literal(text)
            }
            Node::Pi => Ok(free(u64::from(b'p'), 0)),
            Node::Euler => Ok(free(u64::from(b'e'), 0)),
            Node::Imaginary => Ok(IMAGINARY),
            Node::Variable(name) => Ok(self.bound_value(*name).map_or_else(|| free(*name, self.sample), integer)),
            Node::Sum(terms) => {
                let mut total = [0, 0];
                for &(term, negative) in terms {
                    let term = self.value(term)?;
                    total = combine(total, term, |a, b, p| if negative { subtract(a, b, p) } else { add(a, b, p) });
                }
                Ok(total)
            }
            Node::Product(factors) => {
                let (mut above, mut below) = ([1, 1], [1, 1]);
                for &(factor, divides) in factors {
                    let factor = self.value(factor)?;
                    let side = if divides { &mut below } else { &mut above };
                    *side = combine(*side, factor, multiply);
                }
                Ok(if below == [1, 1] { above } else { combine(above, self.inverse(below)?, multiply) })
            }
            Node::Power(base, exponent) => {
                let exponent = self.integer(*exponent).ok_or(Failure::Unsupported)?;
                let base = self.value(*base)?;
                if exponent == 0 && base == [0, 0] {
                    return Err(Failure::Undefined);
                }
                self.spend(2 * (128 - exponent.unsigned_abs().leading_zeros()))?;
                let base = if exponent < 0 { self.inverse(base)? } else { base };
                Ok(power(base, exponent.unsigned_abs()))
            }
            Node::Factorial(_) | Node::Call(Function::Binomial, _) => self.counted(id),
            Node::Series { product, variable, from, to, body } => self.series(*product, *variable, (*from, *to), *body),
            Node::Root(..) | Node::Call(..) | Node::Infinity => match self.integer(id) {
                Some(value) => Ok(integer(value)),
                None => Err(Failure::Unsupported),
            },
        }
    }

    fn spend(&mut self, steps: u32) -> Result<(), Failure> {
        self.steps = self.steps.checked_sub(steps).ok_or(Failure::Unsupported)?;
        Ok(())
    }

    fn inverse(&mut self, value: Residues) -> Result<Residues, Failure> {
        self.spend(INVERSE_STEPS)?;
        inverse(value)
    }

    fn bound_value(&self, name: u64) -> Option<i128> {
        self.bound.iter().rev().find(|(bound, _)| *bound == name).map(|(_, value)| *value)
    }

    fn counted(&mut self, id: NodeId) -> Result<Residues, Failure> {
        let expression = self.expression;
        match &expression.nodes[id] {
            Node::Factorial(argument) => {
                let count = self.integer(*argument).filter(|count| (0..=MAX_TERMS).contains(count));
                self.spend(count.unwrap_or(0) as u32)?;
                Ok((1..=count.ok_or(Failure::Unsupported)?)
                    .fold([1, 1], |total, factor| combine(total, integer(factor), multiply)))
            }
            Node::Call(_, arguments) if arguments.len() == 2 => {
                let all = self.integer(arguments[0]).ok_or(Failure::Unsupported)?;
                let some = self.integer(arguments[1]).filter(|some| (0..=MAX_TERMS).contains(some));
                let (mut above, mut below) = ([1, 1], [1, 1]);
                self.spend(2 * some.unwrap_or(0) as u32)?;
                for factor in 1..=some.ok_or(Failure::Unsupported)? {
                    let next = all.checked_sub(factor - 1).ok_or(Failure::Unsupported)?;
                    above = combine(above, integer(next), multiply);
                    below = combine(below, integer(factor), multiply);
                }
                Ok(combine(above, self.inverse(below)?, multiply))
            }
            _ => Err(Failure::Unsupported),
        }
    }

    fn series(
        &mut self,
        product: bool,
        name: u64,
        bounds: (NodeId, NodeId),
        body: NodeId,
    ) -> Result<Residues, Failure> {
        let from = self.integer(bounds.0).ok_or(Failure::Unsupported)?;
        let to = self.integer(bounds.1).ok_or(Failure::Unsupported)?;
        if to.checked_sub(from).is_none_or(|terms| terms > MAX_TERMS) {
            return Err(Failure::Unsupported);
        }
        let mut total = if product { [1, 1] } else { [0, 0] };
        for value in from..=to {
            self.bound.push((name, value));
            let term = self.value(body);
            self.bound.pop();
            total = combine(total, term?, if product { multiply } else { add });
        }
        Ok(total)
    }

    /// The value as an integer, where it is one and small.
    fn integer(&mut self, id: NodeId) -> Option<i128> {
        self.steps = self.steps.checked_sub(1)?;
        let expression = self.expression;
        match expression.nodes.get(id)? {
            Node::Number(text) => text.parse().ok(),
            Node::Variable(name) => self.bound_value(*name),
            Node::Sum(terms) => terms.iter().try_fold(0i128, |total, &(term, negative)| {
                let term = self.integer(term)?;
                if negative { total.checked_sub(term) } else { total.checked_add(term) }
            }),
            Node::Product(factors) => {
                let (mut above, mut below) = (1i128, 1i128);
                for &(factor, divides) in factors {
                    let side = if divides { &mut below } else { &mut above };
                    *side = side.checked_mul(self.integer(factor)?)?;
                }
                (above.checked_rem(below)? == 0).then(|| above / below)
            }
            Node::Power(base, exponent) => {
                let exponent = u32::try_from(self.integer(*exponent)?).ok()?;
                self.integer(*base)?.checked_pow(exponent)
            }
            Node::Factorial(argument) => {
                let count = self.integer(*argument).filter(|count| (0..=33).contains(count))?;
                Some((1..=count).product())
            }
            Node::Call(Function::Gcd, arguments) => self.fold(arguments, greatest_common_divisor),
            Node::Call(Function::Lcm, arguments) => {
                self.fold(arguments, |a, b| (a / greatest_common_divisor(a, b)?).checked_mul(b))
            }
            Node::Call(Function::Min, arguments) => self.fold(arguments, |a, b| Some(a.min(b))),
            Node::Call(Function::Max, arguments) => self.fold(arguments, |a, b| Some(a.max(b))),
            Node::Call(Function::Abs, arguments) => self.integer(*arguments.first()?)?.checked_abs(),
            _ => None,
        }
    }

    fn fold(&mut self, arguments: &[NodeId], join: impl Fn(i128, i128) -> Option<i128>) -> Option<i128> {
        let (first, rest) = arguments.split_first()?;
        let first = self.integer(*first)?;
        rest.iter().try_fold(first, |total, argument| join(total, self.integer(*argument)?))
    }
}

fn greatest_common_divisor(a: i128, b: i128) -> Option<i128> {
    let (mut a, mut b) = (a.checked_abs()?, b.checked_abs()?);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (a != 0).then_some(a)
}

/// A decimal literal: digits, an optional fraction, an optional exponent.
fn literal(text: &str) -> Result<Residues, Failure> {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| Failure::Unsupported)?;
    let mut total = [0, 0];
    let mut places = 0i64;
    let mut fraction = false;
    for byte in mantissa.bytes() {
        if byte == b'.' {
            fraction = true;
            continue;
        }
        total = combine(combine(total, [10, 10], multiply), integer(i128::from(byte - b'0')), add);
        places += i64::from(fraction);
    }
    let exponent = exponent.checked_sub(places).ok_or(Failure::Unsupported)?;
    let ten = if exponent < 0 { inverse([10, 10])? } else { [10, 10] };
    Ok(combine(total, power(ten, u128::from(exponent.unsigned_abs())), multiply))
}

fn free(name: u64, sample: u64) -> Residues {
    [point(name, 2 * sample) % PRIMES[0], point(name, 2 * sample + 1) % PRIMES[1]]
}

fn integer(value: i128) -> Residues {
    PRIMES.map(|prime| value.rem_euclid(i128::from(prime)) as u64)
}

fn combine(a: Residues, b: Residues, operation: impl Fn(u64, u64, u64) -> u64) -> Residues {
    [operation(a[0], b[0], PRIMES[0]), operation(a[1], b[1], PRIMES[1])]
}

/// The product of two values.
pub(crate) fn product(a: Residues, b: Residues) -> Residues {
    combine(a, b, multiply)
}

fn add(a: u64, b: u64, prime: u64) -> u64 {
    ((u128::from(a) + u128::from(b)) % u128::from(prime)) as u64
}

fn subtract(a: u64, b: u64, prime: u64) -> u64 {
    add(a, prime - b, prime)
}

fn multiply(a: u64, b: u64, prime: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(prime)) as u64
}

fn power(base: Residues, exponent: u128) -> Residues {
    let (mut base, mut exponent, mut total) = (base, exponent, [1, 1]);
    while exponent > 0 {
        if exponent & 1 == 1 {
            total = combine(total, base, multiply);
        }
        base = combine(base, base, multiply);
        exponent >>= 1;
    }
    total
}

fn inverse(value: Residues) -> Result<Residues, Failure> {
    if value.contains(&0) {
        return Err(Failure::Undefined);
    }
    Ok([0, 1].map(|at| {
        let (prime, mut base, mut exponent, mut total) = (PRIMES[at], value[at], PRIMES[at] - 2, 1);
        while exponent > 0 {
            if exponent & 1 == 1 {
                total = multiply(total, base, prime);
            }
            base = multiply(base, base, prime);
            exponent >>= 1;
        }
        total
    }))
}

#[cfg(test)]
mod tests {
    use super::{IMAGINARY, PRIMES, combine, multiply};

    #[test]
    fn the_imaginary_unit_squares_to_minus_one() {
        assert_eq!(combine(IMAGINARY, IMAGINARY, multiply), PRIMES.map(|prime| prime - 1));
    }
}
