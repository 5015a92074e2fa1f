//! Whether an expression is zero for all values of its symbols: exactly, modulo a prime, for fractions of polynomials;
//! numerically at several complex points for roots, powers and functions, with more digits where no symbol is left.
//! Symbols are complex, as sympy's are: what holds for positive ones only does not hold.

use std::sync::LazyLock;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::Stop;
use super::complex::Complex;
use super::node::Node;
use super::number::Number;

/// 2^61 - 1
const PRIME: u64 = (1 << 61) - 1;
const POINTS: u64 = 8;
/// Nodes that one evaluation may visit.
const MAX_STEPS: u32 = 20_000;
/// Bits after the point of the numbers with more digits.
const DIGITS: usize = 320;
/// Of which these are trusted.
const TRUSTED: u64 = 240;

pub(super) fn is_zero(node: &Node) -> Result<bool, Stop> {
    match node {
        Node::Number(value) => return Ok(value.is_zero()),
        Node::Sum(_) | Node::Product(_) => {}
        _ => return Ok(false),
    }
    // A factor decides for a product, and is smaller.
    if let Node::Product(product) = node {
        let whole = |exponent: &Node| exponent.number().is_some_and(|power| !power.is_negative());
        let candidates = product.1.iter().filter(|(base, exponent)| whole(exponent) && matches!(base, Node::Sum(_)));
        for (base, _) in candidates {
            if is_zero(base)? {
                return Ok(true);
            }
        }
    }
    let exact = (1..=2).map(|sample| Modular { sample, steps: MAX_STEPS }.value(node));
    if let Ok(values) = exact.collect::<Result<Vec<u64>, Unknown>>() {
        return Ok(values.iter().all(|value| *value == 0));
    }
    numerically_zero(node)
}

/// It is no fraction of polynomials, or has no value there.
struct Unknown;

struct Modular {
    sample: u64,
    steps: u32,
}

impl Modular {
    fn value(&mut self, node: &Node) -> Result<u64, Unknown> {
        self.steps = self.steps.checked_sub(1).ok_or(Unknown)?;
        match node {
            Node::Number(value) => residue(&value.rationalized().map_err(|_| Unknown)?),
            Node::Pi => Ok(scattered("\u{3c0}", self.sample) % PRIME),
            Node::Symbol(name) => Ok(scattered(name, self.sample) % PRIME),
            Node::Sum(sum) => {
                let mut total = residue(&sum.0.rationalized().map_err(|_| Unknown)?)?;
                for (term, coefficient) in &sum.1 {
                    let coefficient = residue(&coefficient.rationalized().map_err(|_| Unknown)?)?;
                    total = (total + times(self.value(term)?, coefficient)) % PRIME;
                }
                Ok(total)
            }
            Node::Product(product) => {
                let mut total = residue(&product.0.rationalized().map_err(|_| Unknown)?)?;
                for (base, exponent) in &product.1 {
                    let Node::Number(power) = exponent else { return Err(Unknown) };
                    let whole = power.rational().filter(|power| power.is_integer()).ok_or(Unknown)?;
                    let base = self.value(base)?;
                    if base == 0 && whole.is_negative() {
                        return Err(Unknown);
                    }
                    // The group has PRIME - 1 elements.
                    let order = BigInt::from(PRIME - 1);
                    let exponent = ((whole.numer() % &order) + &order) % &order;
                    let mut value = raised(base, exponent.to_u64().ok_or(Unknown)?);
                    if base == 0 && !whole.is_zero() {
                        value = 0;
                    }
                    total = times(total, value);
                }
                Ok(total)
            }
            _ => Err(Unknown),
        }
    }
}

fn residue(value: &BigRational) -> Result<u64, Unknown> {
    let prime = BigInt::from(PRIME);
    let of = |value: &BigInt| ((value % &prime + &prime) % &prime).to_u64().ok_or(Unknown);
    let below = of(value.denom())?;
    if below == 0 {
        return Err(Unknown);
    }
    Ok(if below == 1 { of(value.numer())? } else { times(of(value.numer())?, raised(below, PRIME - 2)) })
}

fn times(left: u64, right: u64) -> u64 {
    (u128::from(left) * u128::from(right) % u128::from(PRIME)) as u64
}

fn raised(base: u64, mut exponent: u64) -> u64 {
    let (mut base, mut total) = (base, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            total = times(total, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    total
}

/// A number that a name and a sample decide: FNV-1a, scattered once more.
fn scattered(name: &str, sample: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ sample.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 29)
}

fn numerically_zero(node: &Node) -> Result<bool, Stop> {
    let constant = !has_symbol(node);
    let mut seen = 0;
    for sample in 0..if constant { 1 } else { POINTS } {
        let mut numeric = Numeric { sample, steps: MAX_STEPS, in_exponent: false };
        let Some(value) = numeric.value(node) else {
            if numeric.steps == 0 {
                return Err(Stop::Budget);
            }
            continue;
        };
        if value.size() > value.error {
            return Ok(false);
        }
        seen += 1;
    }
    if constant && seen > 0 {
        let mut fixed = Fixed { largest: 0, steps: MAX_STEPS };
        if let Some(value) = fixed.value(node) {
            return Ok(value.bits() + TRUSTED < DIGITS as u64 + fixed.largest.saturating_sub(DIGITS as u64));
        }
    }
    // Where most points have no value, nothing is known.
    Ok(seen > 0 && (constant || seen >= POINTS / 2))
}

fn has_symbol(node: &Node) -> bool {
    match node {
        Node::Symbol(_) => true,
        Node::Sum(sum) => sum.1.iter().any(|(term, _)| has_symbol(term)),
        Node::Product(product) => product.1.iter().any(|(base, exponent)| has_symbol(base) || has_symbol(exponent)),
        Node::Call(_, arguments) => arguments.iter().any(has_symbol),
        _ => false,
    }
}

struct Numeric {
    sample: u64,
    steps: u32,
    in_exponent: bool,
}

/// sympy keeps floats in exponents apart from the fractions that they are near: they count as other numbers.
const APART: f64 = 1.037_181;

impl Numeric {
    fn value(&mut self, node: &Node) -> Option<Complex> {
        self.steps = self.steps.checked_sub(1)?;
        let apart = self.in_exponent;
        let number = |value: &Number| {
            let exact = Complex::rational(&value.rationalized().ok()?);
            let float = apart && value.rational().is_none();
            Some(if float { exact.times(Complex::real(APART, 0.0)) } else { exact })
        };
        let value = match node {
            Node::Number(value) => number(value)?,
            Node::Pi => Complex::real(std::f64::consts::PI, f64::EPSILON),
            Node::Imaginary => Complex { re: 0.0, im: 1.0, error: 0.0 },
            Node::Symbol(name) => {
                let bits = scattered(name, self.sample + 100);
                let part = |bits: u64| {
                    let size = 0.3 + f64::from(bits as u16) / 45_000.0;
                    if bits >> 16 & 1 == 1 { -size } else { size }
                };
                // Far from zero, on the negative axis, where roots jump, and anywhere.
                let scale = if self.sample % 4 == 1 { 9.0 } else { 1.0 };
                match self.sample % 4 {
                    0 | 1 => Complex { re: -scale * part(bits).abs(), im: 0.0, error: 0.0 },
                    _ => Complex { re: scale * part(bits), im: scale * part(bits >> 20), error: 0.0 },
                }
            }
            Node::Sum(sum) => {
                let mut total = number(&sum.0)?;
                for (term, coefficient) in &sum.1 {
                    total = total.plus(self.value(term)?.times(number(coefficient)?));
                }
                total
            }
            Node::Product(product) => {
                let mut total = number(&product.0)?;
                for (base, exponent) in &product.1 {
                    total = total.times(self.power(base, exponent)?);
                }
                total
            }
            Node::Call(name, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments.iter() {
                    values.push(self.value(argument)?);
                }
                match (*name, &values[..]) {
                    ("ln", [value]) => value.logarithm()?,
                    ("factorial", [value]) => value.factorial()?,
                    ("re", [value]) => Complex::real(value.re, value.error),
                    ("im", [value]) => Complex::real(value.im, value.error),
                    // A function of which nothing is known but that equal arguments give equal values.
                    (name, values) => {
                        let key = values.iter().map(|value| format!("{:.9e} {:.9e}", value.re, value.im));
                        let key = key.collect::<Vec<_>>().join(",");
                        Complex::real(f64::from(scattered(&format!("{name}({key})"), 7) as u32), 0.0)
                    }
                }
            }
            Node::Infinite | Node::Undefined => return None,
        };
        value.finite()
    }
}

impl Numeric {
    fn power(&mut self, base: &Node, exponent: &Node) -> Option<Complex> {
        let outside = std::mem::replace(&mut self.in_exponent, true);
        let power = self.value(exponent)?;
        // And a float under an exponent that is no number.
        self.in_exponent = exponent.number().is_none() && base.number().is_some();
        let value = self.value(base)?;
        self.in_exponent = outside;
        value.power(power)
    }
}

/// Real numbers of many digits after the point, for sums, products, roots and pi.
struct Fixed {
    /// Bits of the largest value on the way.
    largest: u64,
    steps: u32,
}

impl Fixed {
    fn value(&mut self, node: &Node) -> Option<BigInt> {
        self.steps = self.steps.checked_sub(1)?;
        let value = match node {
            Node::Number(value) => fixed(value)?,
            Node::Pi => PI.clone(),
            Node::Sum(sum) => {
                let mut total = fixed(&sum.0)?;
                for (term, coefficient) in &sum.1 {
                    total += (self.value(term)? * fixed(coefficient)?) >> DIGITS;
                }
                total
            }
            Node::Product(product) => {
                let mut total = fixed(&product.0)?;
                for (base, exponent) in &product.1 {
                    let power = exponent.number()?.rational()?;
                    let base = self.value(base)?;
                    let index = power.denom().to_u32().filter(|index| *index < 32)?;
                    let times = power.numer().to_i32().filter(|times| times.abs() < 64)?;
                    if base.is_negative() && index > 1 || base.is_zero() {
                        return None;
                    }
                    let root = (base << (DIGITS * (index as usize - 1))).nth_root(index);
                    let mut value = BigInt::one() << DIGITS;
                    for _ in 0..times.abs() {
                        value = (value * &root) >> DIGITS;
                    }
                    if times < 0 {
                        if value.is_zero() {
                            return None;
                        }
                        value = (BigInt::one() << (2 * DIGITS)) / value;
                    }
                    total = (total * value) >> DIGITS;
                }
                total
            }
            _ => return None,
        };
        self.largest = self.largest.max(value.bits());
        Some(value)
    }
}

fn fixed(value: &Number) -> Option<BigInt> {
    let value = value.rationalized().ok()?;
    Some((value.numer() << DIGITS) / value.denom())
}

/// Machin's formula.
static PI: LazyLock<BigInt> = LazyLock::new(|| {
    let inverse_tangent = |of: u32| {
        let mut power = (BigInt::one() << (DIGITS + 32)) / of;
        let (mut total, mut odd) = (power.clone(), 1u32);
        while !power.is_zero() {
            power /= of * of;
            odd += 2;
            let term = &power / odd;
            if odd % 4 == 3 { total -= term } else { total += term }
        }
        total
    };
    (inverse_tangent(5) * 16 - inverse_tangent(239) * 4) >> 32usize
});
