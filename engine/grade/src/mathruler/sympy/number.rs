//! sympy's numbers: exact rationals, and floats of a binary precision that round as mpmath rounds, to nearest, ties to
//! even. Knows no symbols. Numbers that are too large have no value here: the work of a verdict is bounded.

use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::Stop;

/// Bits that a numerator, a denominator or an exponent of ten may take.
pub(super) const MAX_BITS: u64 = 16_000;

/// `mantissa * 2^exponent`, rounded to `precision` bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Float {
    mantissa: BigInt,
    exponent: i64,
    precision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Number {
    Rational(BigRational),
    Float(Float),
}

/// Keeps what is small enough.
pub(super) fn bounded(value: BigRational) -> Result<BigRational, Stop> {
    if value.numer().bits().max(value.denom().bits()) > MAX_BITS { Err(Stop::Budget) } else { Ok(value) }
}

pub(super) fn integer(value: i64) -> BigRational {
    BigRational::from_integer(value.into())
}

impl Float {
    /// The literal as `Float("...")` reads it: at least 15 digits, more if more are written.
    pub(super) fn literal(text: &str) -> Result<Self, Stop> {
        let (value, digits) = decimal(text)?;
        let whole = !text.contains('.') && value.is_integer();
        let digits = if whole { digits.max(value.numer().to_string().trim_start_matches('-').len()) } else { digits };
        let precision = ((digits.max(15) + 1) as f64 * 3.321_928_094_887_362_6).round_ties_even() as u64;
        Ok(Self::from_rational(&value, precision))
    }

    pub(super) fn from_rational(value: &BigRational, precision: u64) -> Self {
        let (above, below) = (value.numer(), value.denom());
        // A quotient of two bits more than wanted, and whether anything is left.
        let shift = precision as i64 + 2 - (above.bits() as i64 - below.bits() as i64);
        let (above, below) = match usize::try_from(shift) {
            Ok(shift) => (above << shift, below.clone()),
            Err(_) => (above.clone(), below << shift.unsigned_abs() as usize),
        };
        let (quotient, rest) = above.abs().div_rem(&below);
        let signed = if value.is_negative() { -quotient } else { quotient };
        Self::rounded(signed, -shift, precision, !rest.is_zero())
    }

    fn from_f64(value: f64, precision: u64) -> Option<Self> {
        Some(Self::from_rational(&BigRational::from_float(value)?, precision))
    }

    fn rounded(mantissa: BigInt, exponent: i64, precision: u64, sticky: bool) -> Self {
        let extra = mantissa.bits().saturating_sub(precision);
        let negative = mantissa.is_negative();
        let (mut size, mut exponent) = (mantissa.magnitude().clone(), exponent);
        if extra > 0 {
            let cut = &size >> extra;
            let rest = &size - (&cut << extra);
            let half = num_bigint::BigUint::one() << (extra - 1);
            let up = rest > half || (rest == half && (sticky || cut.bit(0)));
            size = if up { cut + 1u32 } else { cut };
            exponent += extra as i64;
        }
        let zeros = size.trailing_zeros().unwrap_or(0);
        size >>= zeros;
        exponent = if size.is_zero() { 0 } else { exponent + zeros as i64 };
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        Self { mantissa: BigInt::from_biguint(sign, size), exponent, precision }
    }

    pub(super) fn exact(&self) -> Result<BigRational, Stop> {
        let shift = self.exponent.unsigned_abs();
        if shift > MAX_BITS {
            return Err(Stop::Budget);
        }
        let power = BigInt::one() << shift;
        Ok(if self.exponent >= 0 {
            BigRational::from_integer(&self.mantissa * power)
        } else {
            BigRational::new(self.mantissa.clone(), power)
        })
    }

    /// The fraction that `nsimplify(rational=True)` takes it for: a simple one as near as a double can tell, else its
    /// fifteen digits.
    fn rationalized(&self) -> Result<BigRational, Stop> {
        let value = self.exact()?;
        if let Some(simple) = simplest(&value) {
            return Ok(simple);
        }
        let double = value.to_f64().unwrap_or(f64::NAN);
        let text = if self.precision > 53 { return Ok(value) } else { format!("{double:.14e}") };
        decimal(&text).map(|(value, _)| value)
    }
}

/// A fraction of small numbers within 1e-15.
fn simplest(value: &BigRational) -> Option<BigRational> {
    let near = BigRational::new(1.into(), BigInt::from(10u64.pow(15)));
    let (mut before, mut last) = ((BigInt::one(), BigInt::zero()), (BigInt::zero(), BigInt::one()));
    let mut rest = value.clone();
    for _ in 0..20 {
        let whole = rest.floor().to_integer();
        let next = (&whole * &before.0 + &last.0, &whole * &before.1 + &last.1);
        if next.0.magnitude() > &1000u32.into() || next.1 > 1000.into() {
            return None;
        }
        let candidate = BigRational::new(next.0.clone(), next.1.clone());
        // What is not zero does not become zero.
        if (&candidate - value).abs() <= near && (!candidate.is_zero() || value.is_zero()) {
            return Some(candidate);
        }
        (last, before) = (before, next);
        rest -= BigRational::from_integer(whole);
        if rest.is_zero() {
            return None;
        }
        rest = rest.recip();
    }
    None
}

/// The value of a decimal literal and how many digits it is written with.
fn decimal(text: &str) -> Result<(BigRational, usize), Stop> {
    let plain = text.replace('_', "");
    let (digits, exponent) = plain.split_once(['e', 'E']).unwrap_or((&plain, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| Stop::Budget)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let joined = format!("{whole}{fraction}");
    let count = joined.trim_start_matches(['-', '0']).len().max(1);
    if count > 4300 {
        return Err(Stop::Fails);
    }
    let value: BigInt = joined.parse().map_err(|_| Stop::Fails)?;
    let power = exponent - fraction.len() as i64;
    if power.unsigned_abs() > MAX_BITS / 4 {
        return Err(Stop::Budget);
    }
    let ten = BigInt::from(10).pow(power.unsigned_abs() as u32);
    let value = if power >= 0 { BigRational::from_integer(value * ten) } else { BigRational::new(value, ten) };
    Ok((value, count))
}

impl Number {
    pub(super) fn zero() -> Self {
        Number::Rational(BigRational::zero())
    }

    pub(super) fn one() -> Self {
        Number::Rational(BigRational::one())
    }

    pub(super) fn integer(value: i64) -> Self {
        Number::Rational(integer(value))
    }

    /// What an operation on it takes: it grows with the square of its length.
    pub(super) fn weight(&self) -> u64 {
        let bits = match self {
            Number::Rational(value) => value.numer().bits().max(value.denom().bits()),
            Number::Float(value) => value.mantissa.bits() + value.exponent.unsigned_abs(),
        };
        1 + (bits / 64).pow(2)
    }

    pub(super) fn is_zero(&self) -> bool {
        match self {
            Number::Rational(value) => value.is_zero(),
            Number::Float(value) => value.mantissa.is_zero(),
        }
    }

    pub(super) fn is_one(&self) -> bool {
        matches!(self, Number::Rational(value) if value.is_one())
    }

    pub(super) fn is_negative(&self) -> bool {
        match self {
            Number::Rational(value) => value.is_negative(),
            Number::Float(value) => value.mantissa.is_negative(),
        }
    }

    pub(super) fn as_integer(&self) -> Option<&BigInt> {
        match self {
            Number::Rational(value) if value.is_integer() => Some(value.numer()),
            _ => None,
        }
    }

    pub(super) fn rational(&self) -> Option<&BigRational> {
        match self {
            Number::Rational(value) => Some(value),
            Number::Float(_) => None,
        }
    }

    pub(super) fn to_f64(&self) -> f64 {
        let value = match self {
            Number::Rational(value) => value.to_f64(),
            Number::Float(value) => value.exact().ok().and_then(|value| value.to_f64()),
        };
        value.unwrap_or(f64::NAN)
    }

    /// The fraction that stands for it where an expression is simplified.
    pub(super) fn rationalized(&self) -> Result<BigRational, Stop> {
        match self {
            Number::Rational(value) => Ok(value.clone()),
            Number::Float(value) => value.rationalized(),
        }
    }

    fn precision(&self) -> Option<u64> {
        match self {
            Number::Rational(_) => None,
            Number::Float(value) => Some(value.precision),
        }
    }

    /// As a fraction, rounded first to the precision of the float that it meets.
    fn exact_at(&self, precision: u64) -> Result<BigRational, Stop> {
        match self {
            Number::Rational(value) => Float::from_rational(value, precision).exact(),
            Number::Float(value) => value.exact(),
        }
    }

    /// A sum or a product, rounded once when a float is in it. A float of zero becomes the integer.
    fn combine(
        &self,
        other: &Self,
        operation: impl Fn(&BigRational, &BigRational) -> BigRational,
    ) -> Result<Self, Stop> {
        let precision = self.precision().max(other.precision());
        match (self, other, precision) {
            (Number::Rational(left), Number::Rational(right), _) => {
                bounded(operation(left, right)).map(Number::Rational)
            }
            (_, _, Some(precision)) => {
                let value = operation(&self.exact_at(precision)?, &other.exact_at(precision)?);
                if value.is_zero() {
                    return Ok(Self::zero());
                }
                Ok(Number::Float(Float::from_rational(&bounded(value)?, precision)))
            }
            _ => Err(Stop::Fails),
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Result<Self, Stop> {
        self.combine(other, |left, right| left + right)
    }

    pub(super) fn minus(&self, other: &Self) -> Result<Self, Stop> {
        self.combine(other, |left, right| left - right)
    }

    pub(super) fn times(&self, other: &Self) -> Result<Self, Stop> {
        self.combine(other, |left, right| left * right)
    }

    /// The quotient; the divisor is not zero. A fraction divided by a float is multiplied by its rounded inverse.
    pub(super) fn over(&self, other: &Self) -> Result<Self, Stop> {
        match (self, other) {
            (Number::Rational(_), Number::Float(_)) => {
                self.times(&Self::one().combine(other, |left, right| left / right)?)
            }
            _ => self.combine(other, |left, right| left / right),
        }
    }

    /// A power with an integer exponent; zero is not raised to a negative one.
    pub(super) fn power(&self, exponent: &BigInt) -> Result<Self, Stop> {
        let times = exponent.magnitude().to_u32();
        match self {
            Number::Rational(value) => {
                if value.is_one() || value.is_zero() || (-value).is_one() {
                    return Ok(if exponent.is_even() { Number::Rational(value * value) } else { self.clone() });
                }
                let bits = value.numer().bits().max(value.denom().bits());
                let times = times.filter(|times| bits * u64::from(*times) <= MAX_BITS).ok_or(Stop::Budget)?;
                let power = BigRational::new_raw(value.numer().pow(times), value.denom().pow(times));
                Ok(Number::Rational(if exponent.is_negative() { power.recip() } else { power }))
            }
            Number::Float(value) => {
                let bits = value.mantissa.bits() + value.exponent.unsigned_abs();
                let times = times.filter(|times| bits * u64::from(*times) <= MAX_BITS).ok_or(Stop::Budget)?;
                let power = value.exact()?.pow(times as i32);
                let (power, precision) = if exponent.is_negative() {
                    // Its inverse is taken of the power rounded to five bits more.
                    let extra = if times == 1 { 0 } else { 5 };
                    (Float::from_rational(&power, value.precision + extra).exact()?.recip(), value.precision)
                } else {
                    (power, value.precision)
                };
                Ok(Number::Float(Float::from_rational(&power, precision)))
            }
        }
    }

    /// A root or power that a float makes a float; `None` where the value is not real.
    pub(super) fn float_power(&self, exponent: &Self) -> Option<Self> {
        let precision = self.precision().max(exponent.precision())?;
        if self.is_negative() {
            return None;
        }
        Float::from_f64(self.to_f64().powf(exponent.to_f64()), precision).map(Number::Float)
    }

    /// The natural logarithm of a positive float.
    pub(super) fn float_logarithm(&self) -> Option<Self> {
        let precision = self.precision()?;
        Float::from_f64(self.to_f64().ln(), precision).map(Number::Float)
    }

    /// The exact root of a positive fraction, where it is a fraction.
    pub(super) fn exact_root(&self, index: u32) -> Option<BigRational> {
        let value = self.rational().filter(|value| value.is_positive())?;
        let root = BigRational::new_raw(value.numer().nth_root(index), value.denom().nth_root(index));
        let power = BigRational::new_raw(root.numer().pow(index), root.denom().pow(index));
        (power == *value).then_some(root)
    }
}
