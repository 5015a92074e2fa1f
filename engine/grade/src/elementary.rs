//! Elementary functions of real numbers, so that a verdict is the same on every machine: the standard library's differ
//! between platforms in their last bits, and bring 14 KB into a plugin. Errors are below four units in the last place
//! where a result is not near zero; at a zero of a function they are below four units of 1.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E, PI, SQRT_2};

/// `x` times a power of two.
fn scaled(x: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    let power = |exponent: i32| f64::from_bits(((1023 + exponent.clamp(-1022, 1023)) as u64) << 52);
    x * power(half) * power(exponent - half)
}

/// e to the x.
pub(crate) fn exp(x: f64) -> f64 {
    if !(-745.2..=709.8).contains(&x) {
        return if x > 0.0 { f64::INFINITY } else { 0.0 };
    }
    const LN_2_LOW: f64 = 5.497_923_018_708_371e-14;
    const LN_2_HIGH: f64 = 0.693_147_180_559_890_3;
    let whole = (x * LOG2_E + 0.5).floor();
    let rest = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut total = 1.0;
    for term in (1..=14).rev() {
        total = 1.0 + total * rest / f64::from(term);
    }
    scaled(total, whole as i32)
}

/// The natural logarithm of a positive number.
pub(crate) fn ln(x: f64) -> f64 {
    let (x, small) = if x < f64::MIN_POSITIVE { (x * (1u64 << 54) as f64, 54.0) } else { (x, 0.0) };
    let bits = x.to_bits();
    let mut exponent = f64::from((bits >> 52) as u32 & 0x7ff) - 1023.0 - small;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    2.0 * odd_series(ratio, 1.0) + exponent * LN_2
}

/// `x + s x^3 / 3 + s^2 x^5 / 5 + ...` for a small x.
fn odd_series(x: f64, sign: f64) -> f64 {
    let square = sign * x * x;
    let mut total = 0.0;
    for term in (0..=12).rev() {
        total = total * square + 1.0 / f64::from(2 * term + 1);
    }
    total * x
}

/// Sine and cosine of an angle below 10^6.
pub(crate) fn sin_cos(x: f64) -> (f64, f64) {
    // Pi / 2 in three parts, of which a multiple below 2^20 of the first two is exact.
    const PARTS: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_7e-21];
    let quarter = (x * FRAC_2_PI + 0.5).floor();
    let rest = ((x - quarter * PARTS[0]) - quarter * PARTS[1]) - quarter * PARTS[2];
    let square = rest * rest;
    let (mut sine, mut cosine) = (1.0, 1.0);
    for term in (1..=9).rev() {
        let n = f64::from(2 * term);
        sine = 1.0 - sine * square / (n * (n + 1.0));
        cosine = 1.0 - cosine * square / (n * (n - 1.0));
    }
    let sine = sine * rest;
    match (quarter as i64).rem_euclid(4) {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// The angle of the point (x, y), from -pi to pi.
pub(crate) fn atan2(y: f64, x: f64) -> f64 {
    let (across, along) = (y.abs(), x.abs());
    let steep = across > along;
    let ratio = match (steep, along == 0.0) {
        (true, _) => along / across,
        (false, true) => 0.0,
        (false, false) => across / along,
    };
    // Two halvings of the angle.
    let mut half = ratio;
    for _ in 0..2 {
        half /= 1.0 + (1.0 + half * half).sqrt();
    }
    let mut angle = 4.0 * odd_series(half, -1.0);
    if steep {
        angle = FRAC_PI_2 - angle;
    }
    if x < 0.0 {
        angle = PI - angle;
    }
    if y < 0.0 { -angle } else { angle }
}

/// The length of the vector (x, y).
pub(crate) fn hypot(x: f64, y: f64) -> f64 {
    let (x, y) = (x.abs(), y.abs());
    let (long, short) = if x < y { (y, x) } else { (x, y) };
    if short == 0.0 { long } else { long * (1.0 + (short / long) * (short / long)).sqrt() }
}

/// The number that a decimal literal stands for, and the error of that.
pub(crate) fn decimal(text: &str) -> (f64, f64) {
    let (mut digits, mut exponent, mut places) = (0u64, 0i32, 0i32);
    let (mut fraction, mut scale, mut exact) = (0, 0, true);
    for byte in text.bytes() {
        match byte {
            b'.' => fraction = 1,
            b'e' => scale = 1,
            b'-' => scale = -1,
            b'0'..=b'9' if scale != 0 => exponent = (10 * exponent + scale * i32::from(byte - b'0')).clamp(-9999, 9999),
            b'0'..=b'9' if digits < (1 << 59) => {
                digits = 10 * digits + u64::from(byte - b'0');
                places -= fraction;
            }
            b'0'..=b'9' => {
                exact &= byte == b'0';
                places += 1 - fraction;
            }
            _ => {}
        }
    }
    let power = exponent.saturating_add(places);
    exact &= power == 0 && digits < (1 << 53);
    let mut value = digits as f64;
    let (mut left, mut factor) = (power.unsigned_abs().min(20_000), 10.0f64);
    let mut product = 1.0;
    while left > 0 && value != 0.0 {
        if left & 1 == 1 {
            product *= factor;
        }
        factor *= factor;
        left >>= 1;
    }
    value = if power < 0 { value / product } else { value * product };
    (value, if exact { 0.0 } else { value.abs() * 24.0 * f64::EPSILON })
}

#[cfg(test)]
mod tests {
    use super::{atan2, decimal, exp, hypot, ln, sin_cos};

    /// Points of many sizes and both signs.
    fn points() -> impl Iterator<Item = f64> {
        (-200..=200).map(|step| f64::from(step) * 0.37 + 0.011).chain([0.0, 1e-9, -1e-300, 700.5, -700.5, 0.5, 1.0])
    }

    fn close(found: f64, expected: f64, what: &str) {
        let error = (found - expected).abs() / (expected.abs() + if what.starts_with('~') { 1.0 } else { 0.0 });
        assert!(found == expected || error < 4.0 * f64::EPSILON, "{what}: {found} {expected} {error}");
    }

    #[test]
    fn functions_are_those_of_the_standard_library() {
        for x in points() {
            close(exp(x), x.exp(), &format!("exp {x}"));
            close(sin_cos(x).0, x.sin(), &format!("~sin {x}"));
            close(sin_cos(x * 5000.0).1, (x * 5000.0).cos(), &format!("~cos {x}"));
            for y in points() {
                close(atan2(y, x), y.atan2(x), &format!("~atan2 {y} {x}"));
                close(hypot(x, y), x.hypot(y), &format!("hypot {x} {y}"));
            }
            if x > 0.0 {
                close(ln(x), x.ln(), &format!("~ln {x}"));
                close(ln(x * 1e-310), (x * 1e-310).ln(), &format!("ln {x}"));
            }
        }
        assert_eq!((exp(1000.0), exp(-1000.0)), (f64::INFINITY, 0.0));
    }

    #[test]
    fn decimals_are_read() {
        for text in [
            "0",
            "5",
            "0.1",
            "1234567.891",
            "9007199254740993",
            "1e10",
            "2.5e-7",
            "1e300",
            "123456789012345678901234567890",
        ] {
            let (value, error) = decimal(text);
            assert!((value - text.parse::<f64>().unwrap()).abs() <= error, "{text} {value}");
        }
        assert_eq!((decimal("5"), decimal("1e99999").0, decimal("1e-99999").0), ((5.0, 0.0), f64::INFINITY, 0.0));
    }
}
