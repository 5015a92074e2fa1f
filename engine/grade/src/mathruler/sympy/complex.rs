//! Complex numbers in double precision with a bound on their error, principal branches as sympy has them.

use num_rational::BigRational;
use num_traits::ToPrimitive;

#[derive(Clone, Copy, Debug)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
    pub(super) error: f64,
}

const UNIT: f64 = 4.0 * f64::EPSILON;

impl Complex {
    pub(super) fn real(re: f64, relative_error: f64) -> Self {
        Self { re, im: 0.0, error: re.abs() * relative_error }
    }

    pub(super) fn rational(value: &BigRational) -> Self {
        let double = value.to_f64().unwrap_or(f64::NAN);
        // Small multiples of a power of two are exact.
        let exact = (double * 1024.0).fract() == 0.0 && double.abs() < 1e12;
        Self::real(double, if exact { 0.0 } else { f64::EPSILON })
    }

    pub(super) fn size(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub(super) fn finite(self) -> Option<Self> {
        (self.re.is_finite() && self.im.is_finite() && self.error.is_finite()).then_some(self)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        let rounding = UNIT * (self.size() + other.size());
        Self { re: self.re + other.re, im: self.im + other.im, error: self.error + other.error + rounding }
    }

    pub(super) fn times(self, other: Self) -> Self {
        let (left, right) = (self.size(), other.size());
        let error = left * other.error + right * self.error + self.error * other.error + UNIT * left * right;
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re, error }
    }

    fn inverse(self) -> Option<Self> {
        let size = self.size();
        // Zero as far as can be told.
        if size <= 4.0 * self.error || size == 0.0 {
            return None;
        }
        let error = 2.0 * self.error / size / size + UNIT / size;
        Self { re: self.re / size / size, im: (0.0 - self.im) / size / size, error }.finite()
    }

    pub(super) fn logarithm(self) -> Option<Self> {
        let size = self.size();
        if size <= 4.0 * self.error || size == 0.0 {
            return None;
        }
        let value = Self { re: size.ln(), im: self.im.atan2(self.re), error: 0.0 };
        Self { error: 2.0 * self.error / size + UNIT * (1.0 + value.size()), ..value }.finite()
    }

    fn square_root(self) -> Option<Self> {
        let size = self.size();
        if size <= 4.0 * self.error || size == 0.0 {
            return None;
        }
        let (re, im) = (((size + self.re.abs()) / 2.0).sqrt(), self.im.abs());
        let im = im / (2.0 * re);
        let (re, im) = if self.re < 0.0 { (im, re) } else { (re, im) };
        let im = if self.im < 0.0 { -im } else { im };
        Self { re, im, error: self.error / size.sqrt() + UNIT * size.sqrt() }.finite()
    }

    fn exponential(self) -> Option<Self> {
        if self.re > 300.0 || self.im.abs() > 1e6 {
            return None;
        }
        let size = self.re.exp();
        let error = size * (2.0 * self.error + UNIT * (1.0 + self.size()));
        Self { re: size * self.im.cos(), im: size * self.im.sin(), error }.finite()
    }

    pub(super) fn power(self, exponent: Self) -> Option<Self> {
        let whole = exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() <= 4096.0;
        if !whole {
            let known_zero = self.re == 0.0 && self.im == 0.0 && self.error == 0.0;
            if known_zero && exponent.re > 0.0 {
                return Some(self);
            }
            // Square roots without detour: what is real stays exactly real.
            if exponent.im == 0.0 && exponent.error == 0.0 && exponent.re.abs() == 0.5 {
                let root = self.square_root()?;
                return if exponent.re < 0.0 { root.inverse() } else { Some(root) };
            }
            return self.logarithm()?.times(exponent).exponential();
        }
        let mut left = exponent.re.abs() as u32;
        let (mut base, mut total) = (self, Self::real(1.0, 0.0));
        while left > 0 {
            if left & 1 == 1 {
                total = total.times(base);
            }
            base = base.times(base);
            left >>= 1;
        }
        if exponent.re < 0.0 { total.inverse() } else { total.finite() }
    }

    /// Gamma of one more: Lanczos' approximation with reflection.
    pub(super) fn factorial(self) -> Option<Self> {
        const COEFFICIENTS: [f64; 9] = [
            0.999_999_999_999_809_9,
            676.520_368_121_885_1,
            -1_259.139_216_722_402_8,
            771.323_428_777_653_1,
            -176.615_029_162_140_6,
            12.507_343_278_686_905,
            -0.138_571_095_265_720_12,
            9.984_369_578_019_572e-6,
            1.505_632_735_149_311_6e-7,
        ];
        let one = Self::real(1.0, 0.0);
        if self.re < -0.5 {
            // z! (-z)! = pi z / sin(pi z)
            let turned = self.times(Self::real(std::f64::consts::PI, 0.0));
            let (sin, cos) = turned.re.sin_cos();
            let sine = Self { re: sin * turned.im.cosh(), im: cos * turned.im.sinh(), error: 0.0 };
            let sine = Self { error: 1e-13 * (1.0 + sine.size()), ..sine };
            let other = Self { re: -self.re, im: -self.im, error: self.error }.factorial()?;
            return turned.times(sine.times(other).inverse()?).finite();
        }
        let mut series = Self::real(COEFFICIENTS[0], 0.0);
        for (place, coefficient) in COEFFICIENTS.iter().enumerate().skip(1) {
            let below = self.plus(Self::real(place as f64, 0.0)).inverse()?;
            series = series.plus(below.times(Self::real(*coefficient, 0.0)));
        }
        let shifted = self.plus(Self::real(7.5, 0.0));
        let power = shifted.power(self.plus(Self::real(0.5, 0.0)))?;
        let decay = Self { re: -shifted.re, im: -shifted.im, error: shifted.error }.exponential()?;
        let value =
            power.times(decay).times(series).times(one).times(Self::real((2.0 * std::f64::consts::PI).sqrt(), 0.0));
        Self { error: value.error + 1e-12 * value.size(), ..value }.finite()
    }
}
