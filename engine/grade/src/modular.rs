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
const MAX_TERMS: i64 = 2_000;

/// Values modulo both primes, in Montgomery's form.
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
    bound: Vec<(u64, i64)>,
    sample: u64,
    steps: &'expression mut u32,
}

/// The value of a node modulo both primes, its variables at the point `sample`. Takes the steps that it needs.
pub(crate) fn evaluate(
    expression: &Expression,
    node: NodeId,
    sample: u64,
    steps: &mut u32,
) -> Result<Residues, Failure> {
    let mut modular = Modular { expression, bound: Vec::new(), sample, steps };
    modular.value(node)
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
            Node::Imaginary => Ok(both(|at| enter(IMAGINARY[at], at))),
            Node::Variable(name) => Ok(self.bound_value(*name).map_or_else(|| free(*name, self.sample), integer)),
            Node::Sum(terms) => {
                let mut total = [0, 0];
                for &(term, negative) in terms {
                    let term = self.value(term)?;
                    total = sum(total, if negative { negated(term) } else { term });
                }
                Ok(total)
            }
            Node::Product(factors) => {
                let (mut above, mut below) = (integer(1), integer(1));
                for &(factor, divides) in factors {
                    let factor = self.value(factor)?;
                    let side = if divides { &mut below } else { &mut above };
                    *side = product(*side, factor);
                }
                self.quotient(above, below)
            }
            Node::Power(base, exponent) => {
                let exponent = self.integer(*exponent).ok_or(Failure::Unsupported)?;
                let base = self.value(*base)?;
                if exponent == 0 && base == [0, 0] {
                    return Err(Failure::Undefined);
                }
                self.spend(INVERSE_STEPS)?;
                let base = if exponent < 0 { self.quotient(integer(1), base)? } else { base };
                Ok(power(base, exponent.unsigned_abs()))
            }
            Node::Factorial(argument) => {
                let count = self.integer(*argument).filter(|count| (0..=MAX_TERMS).contains(count));
                let count = count.ok_or(Failure::Unsupported)?;
                self.spend(count as u32)?;
                Ok((1..=count).fold(integer(1), |total, factor| product(total, integer(factor))))
            }
            Node::Call(Function::Binomial, arguments) => self.binomial(arguments),
            Node::Series { product, variable, from, to, body } => self.series(*product, *variable, (*from, *to), *body),
            Node::Root(..) | Node::Call(..) | Node::Infinity => {
                self.integer(id).map(integer).ok_or(Failure::Unsupported)
            }
        }
    }

    fn spend(&mut self, steps: u32) -> Result<(), Failure> {
        *self.steps = self.steps.checked_sub(steps).ok_or(Failure::Unsupported)?;
        Ok(())
    }

    fn quotient(&mut self, above: Residues, below: Residues) -> Result<Residues, Failure> {
        if below == integer(1) {
            return Ok(above);
        }
        self.spend(INVERSE_STEPS)?;
        if below.contains(&0) {
            return Err(Failure::Undefined);
        }
        Ok(product(above, inverse(below)))
    }

    fn bound_value(&self, name: u64) -> Option<i64> {
        self.bound.iter().rev().find(|(bound, _)| *bound == name).map(|(_, value)| *value)
    }

    fn binomial(&mut self, arguments: &[NodeId]) -> Result<Residues, Failure> {
        let [all, some] = *arguments else { return Err(Failure::Unsupported) };
        let all = self.value(all)?;
        let some = self.integer(some).filter(|some| (0..=MAX_TERMS).contains(some)).ok_or(Failure::Unsupported)?;
        self.spend(2 * some as u32)?;
        let (mut above, mut below) = (integer(1), integer(1));
        for factor in 1..=some {
            above = product(above, sum(all, integer(1 - factor)));
            below = product(below, integer(factor));
        }
        self.quotient(above, below)
    }

    fn series(
        &mut self,
        is_product: bool,
        name: u64,
        bounds: (NodeId, NodeId),
        body: NodeId,
    ) -> Result<Residues, Failure> {
        let from = self.integer(bounds.0).ok_or(Failure::Unsupported)?;
        let to = self.integer(bounds.1).ok_or(Failure::Unsupported)?;
        if to.checked_sub(from).is_none_or(|terms| terms > MAX_TERMS) {
            return Err(Failure::Unsupported);
        }
        let mut total = integer(i64::from(is_product));
        for value in from..=to {
            self.bound.push((name, value));
            let term = self.value(body);
            self.bound.pop();
            total = if is_product { product(total, term?) } else { sum(total, term?) };
        }
        Ok(total)
    }

    /// The value as an integer, where it is one and small.
    fn integer(&mut self, id: NodeId) -> Option<i64> {
        *self.steps = self.steps.checked_sub(1)?;
        let expression = self.expression;
        match expression.nodes.get(id)? {
            Node::Number(text) => text.bytes().try_fold(0i64, |total, digit| {
                let digit = i64::from(digit).checked_sub(48).filter(|digit| (0..=9).contains(digit))?;
                total.checked_mul(10)?.checked_add(digit)
            }),
            Node::Variable(name) => self.bound_value(*name),
            Node::Sum(terms) => {
                let mut total = 0i64;
                for &(term, negative) in terms {
                    let term = self.integer(term)?;
                    total = if negative { total.checked_sub(term)? } else { total.checked_add(term)? };
                }
                Some(total)
            }
            Node::Product(factors) => {
                let (mut above, mut below) = (1i64, 1i64);
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
                let count = self.integer(*argument).filter(|count| (0..=20).contains(count))?;
                Some((1..=count).product())
            }
            Node::Call(function, arguments) => {
                let mut total = None;
                for argument in arguments {
                    let next = self.integer(*argument)?;
                    let known = total.unwrap_or(next);
                    total = Some(match function {
                        Function::Gcd => greatest_common_divisor(known, next)?,
                        Function::Lcm => {
                            (known / greatest_common_divisor(known, next)?).checked_mul(next)?.checked_abs()?
                        }
                        Function::Min => known.min(next),
                        Function::Max => known.max(next),
                        Function::Abs | Function::Floor | Function::Ceil if arguments.len() > 1 => return None,
                        Function::Abs => next.checked_abs()?,
                        Function::Floor | Function::Ceil => next,
                        _ => return None,
                    });
                }
                total
            }
            _ => None,
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> Option<i64> {
    let (mut a, mut b) = (a.checked_abs()?, b.checked_abs()?);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (a != 0).then_some(a)
}

/// A decimal literal: digits, an optional fraction, an optional exponent.
fn literal(text: &str) -> Result<Residues, Failure> {
    let (mut total, mut places, mut fraction) = ([0, 0], 0i64, 0);
    let (mut exponent, mut scale) = (0i64, 0);
    for byte in text.bytes() {
        match byte {
            b'.' => fraction = 1,
            b'e' => scale = 1,
            b'-' => scale = -1,
            b'0'..=b'9' if scale == 0 => {
                total = sum(product(total, integer(10)), integer(i64::from(byte - b'0')));
                places += fraction;
            }
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0') * scale;
                exponent = exponent.checked_mul(10).and_then(|e| e.checked_add(digit)).ok_or(Failure::Unsupported)?;
            }
            _ => {}
        }
    }
    let exponent = exponent.checked_sub(places).ok_or(Failure::Unsupported)?;
    let scale = power(integer(10), exponent.unsigned_abs());
    Ok(product(total, if exponent < 0 { inverse(scale) } else { scale }))
}

fn both(value: impl Fn(usize) -> u64) -> Residues {
    [value(0), value(1)]
}

fn free(name: u64, sample: u64) -> Residues {
    both(|at| point(name, 2 * sample + at as u64) % PRIMES[at])
}

/// The residues of an integer.
fn integer(value: i64) -> Residues {
    let residues = both(|at| enter(value.unsigned_abs() % PRIMES[at], at));
    if value < 0 { negated(residues) } else { residues }
}

/// The inverse of a prime modulo 2^64, by Newton's method.
const fn inverse_of_prime(at: usize) -> u64 {
    let (prime, mut inverse, mut bits) = (PRIMES[at], 1u64, 1);
    while bits < 64 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(prime.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// 2^128 modulo a prime: what takes a residue into Montgomery's form.
const fn square_of_radix(at: usize) -> u64 {
    let prime = PRIMES[at] as u128;
    let radix = (1u128 << 64) % prime;
    (radix * radix % prime) as u64
}

const INVERSES: [u64; 2] = [inverse_of_prime(0), inverse_of_prime(1)];
const SQUARES: [u64; 2] = [square_of_radix(0), square_of_radix(1)];

/// Montgomery's product: `a * b / 2^64`.
fn multiply(a: u64, b: u64, at: usize) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    let quotient = (wide as u64).wrapping_mul(INVERSES[at]);
    let carried = ((u128::from(quotient) * u128::from(PRIMES[at])) >> 64) as u64;
    let (value, borrowed) = ((wide >> 64) as u64).overflowing_sub(carried);
    if borrowed { value.wrapping_add(PRIMES[at]) } else { value }
}

fn enter(value: u64, at: usize) -> u64 {
    multiply(value, SQUARES[at], at)
}

/// The product of two values.
pub(crate) fn product(a: Residues, b: Residues) -> Residues {
    both(|at| multiply(a[at], b[at], at))
}

fn sum(a: Residues, b: Residues) -> Residues {
    both(|at| {
        let (value, borrowed) = a[at].overflowing_sub(PRIMES[at] - b[at]);
        if borrowed { value.wrapping_add(PRIMES[at]) } else { value }
    })
}

fn negated(a: Residues) -> Residues {
    both(|at| if a[at] == 0 { 0 } else { PRIMES[at] - a[at] })
}

pub(crate) fn power(base: Residues, exponent: u64) -> Residues {
    both(|at| power_of(base[at], exponent, at))
}

/// The inverse of residues that are not 0.
fn inverse(value: Residues) -> Residues {
    both(|at| power_of(value[at], PRIMES[at] - 2, at))
}

fn power_of(mut base: u64, mut exponent: u64, at: usize) -> u64 {
    let mut total = enter(1, at);
    while exponent > 0 {
        if exponent & 1 == 1 {
            total = multiply(total, base, at);
        }
        base = multiply(base, base, at);
        exponent >>= 1;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::{IMAGINARY, PRIMES, both, enter, integer, inverse, literal, negated, power, product, sum};

    #[test]
    fn residues_form_a_field() {
        let imaginary = both(|at| enter(IMAGINARY[at], at));
        assert_eq!(product(imaginary, imaginary), integer(-1));
        assert_eq!(sum(integer(7), integer(-9)), integer(-2));
        assert_eq!(negated(integer(0)), integer(0));
        assert_eq!(product(integer(i64::MAX), inverse(integer(i64::MAX))), integer(1));
        assert_eq!(power(integer(3), 5), integer(243));
        assert_eq!(both(|at| enter(PRIMES[at] - 1, at)), integer(-1));
    }

    #[test]
    fn literals_are_exact() {
        assert_eq!(literal("12.50"), Ok(product(integer(25), inverse(integer(2)))));
        assert_eq!(literal("3e2"), Ok(integer(300)));
        assert_eq!(literal("3.5e-1"), Ok(product(integer(35), inverse(integer(100)))));
        assert!(literal("1e99999999999999999999").is_err());
    }
}
