//! A measure: a value with a unit after it. Splits the two, gives each unit one name, and knows how units of one
//! dimension convert, by exact decimals.

use crate::characters::{is_longer, part};
use crate::expression::Expression;
use crate::names::Name;
use crate::parser::parse;
use crate::token::{Kind, Token, Tokens, digest};
use crate::words::{is_product, is_times};

/// Higher powers of a unit are taken for this one.
const MAX_POWER: i32 = 1000;

/// Dimension and size of each unit, in the order of the names from [`Name::Metre`] on. Units of different kinds of one
/// dimension, and those without a fixed ratio, have dimensions of their own.
const SCALES: [(u8, &str); 39] = [
    (b'L', "1"),
    (b'L', "0.01"),
    (b'L', "0.001"),
    (b'L', "1000"),
    (b'L', "0.0254"),
    (b'L', "0.3048"),
    (b'L', "0.9144"),
    (b'L', "1609.344"),
    (b'T', "1"),
    (b'T', "60"),
    (b'T', "3600"),
    (b'T', "86400"),
    (b'T', "604800"),
    (b'Y', "1"),
    (b'Y', "12"),
    (b'M', "1"),
    (b'M', "1000"),
    (b'M', "0.001"),
    (b'M', "453.59237"),
    (b'M', "28.349523125"),
    (b'V', "1"),
    (b'V', "0.001"),
    (b'D', "1"),
    (b'D', "0.01"),
    (b'E', "1"),
    (b'%', "1"),
    (b'G', "1"),
    (b'J', "1"),
    (b'N', "1"),
    (b'W', "1"),
    (b'U', "1"),
    (b'K', "1"),
    (b'C', "1"),
    (b'F', "1"),
    (b'H', "1"),
    (b'P', "1"),
    (b'1', "1"),
    (b'1', "1"),
    (b'1', "1"),
];

/// A value and what stands after it: a power of ten in words, and the unit.
#[derive(Clone, Copy)]
pub(crate) struct Measure<'a> {
    pub(crate) value: Tokens<'a>,
    pub(crate) scale: Option<&'static str>,
    pub(crate) unit: Tokens<'a>,
}

/// A product of powers of dimensions, and the sizes of the units that it came from.
#[derive(Default)]
pub(crate) struct Unit {
    dimensions: Vec<(u64, i32)>,
    sizes: Vec<(&'static str, i32)>,
}

/// Splits a value from the unit after it. Without a number in front there is no unit.
pub(crate) fn measure<'a>(tokens: Tokens<'a>) -> Measure<'a> {
    if let [currency, value @ ..] = tokens
        && value.first().is_some_and(Token::is_number)
        && currency.kind == Kind::Word
        && matches!(currency.name, Name::Currency | Name::Dollar | Name::Euro | Name::Pound)
    {
        return Measure { value, scale: None, unit: &tokens[..1] };
    }
    let (mut depth, mut number) = (0usize, false);
    for (at, token) in tokens.iter().enumerate() {
        number |= token.is_number() || token.name == Name::Pi;
        if depth == 0 && number && starts_unit(tokens, at) {
            let scale = token.name.power_of_ten();
            let unit = &tokens[at + usize::from(scale.is_some())..];
            if (0..unit.len()).all(|at| belongs(unit, at)) {
                return Measure { value: &tokens[..at], scale, unit };
            }
            break;
        }
        if token.name.opens() {
            depth += 1;
        } else if token.name.closes() {
            depth = depth.saturating_sub(1);
        }
    }
    Measure { value: tokens, scale: None, unit: &[] }
}

impl Measure<'_> {
    /// Whether it may be a product of variables, its unit included: `3m`.
    pub(crate) fn may_be_product(&self) -> bool {
        self.unit.iter().all(|token| !is_longer(token.text, 1))
    }
}

/// Values each with its unit, one after the other: `2 hours 30 minutes`.
pub(crate) fn compound(tokens: Tokens<'_>) -> Option<(Expression, Unit)> {
    let mut total: Option<(Expression, Unit)> = None;
    for pair in tokens.chunks(2) {
        let [value, unit] = pair else { return None };
        if !value.is_number() || unit.kind != Kind::Word || !unit_name(unit).is_unit() {
            return None;
        }
        let unit = Unit::of(&pair[1..]);
        let part = unit.apply(parse(&pair[..1])?);
        total = Some(match total {
            Some((sum, known)) if known.same_dimensions(&unit) => (sum.joined(part, false), known),
            Some(_) => return None,
            None => (part, unit),
        });
    }
    total.filter(|_| tokens.len() > 2)
}

fn starts_unit(tokens: Tokens<'_>, at: usize) -> bool {
    let token = &tokens[at];
    match token.name {
        Name::Percent => return true,
        Name::Degree => return !tokens[..at].iter().any(|token| token.name.function().is_some()),
        Name::And | Name::Or | Name::To => return false,
        // `\frac{\text{m}}{\text{s}}` after a number.
        Name::Frac => {
            return token.spaced
                && tokens.get(at + 2).is_some_and(|above| is_unit_letter(above) || unit_name(above).is_unit());
        }
        _ if is_unit_letter(token) => return has_unit_letter(tokens, at),
        _ if token.kind != Kind::Word => return false,
        name if name.power_of_ten().is_some() => return true,
        Name::Sec => return token.spaced && at + 1 == tokens.len(),
        name if name.is_function_or_constant() => return false,
        _ => {}
    }
    if !is_longer(token.text, 1) {
        return false;
    }
    unit_name(token).is_unit()
        || (token.spaced && !is_product(token.text, true))
        || (is_longer(token.text, 3) && !is_product(token.text, false))
}

/// Whether a letter may be a unit: case tells them from variables.
fn is_unit_letter(token: &Token<'_>) -> bool {
    const LETTERS: &str = "m s g h l L J N W V A K C F T \\Omega \\mu";
    matches!(token.kind, Kind::Word | Kind::Command) && LETTERS.split(' ').any(|letter| letter == token.text)
}

/// Whether the letter there is a unit, not a variable: what stands before it has no variable and is no sum, and what is
/// not a plain number is measured in `m` alone.
fn has_unit_letter(tokens: Tokens<'_>, at: usize) -> bool {
    let (value, letter) = (&tokens[..at], &tokens[at]);
    let last = &value[at - 1];
    let mut plain = true;
    for (at, token) in value.iter().enumerate() {
        let sign = matches!(token.name, Name::Plus | Name::Minus);
        let sum = sign && at > 0 && (value[at - 1].is_number() || value[at - 1].name.closes());
        if sum || (token.kind == Kind::Word && !is_times(tokens, at)) || token.name == Name::Letter {
            return false;
        }
        plain &= token.kind != Kind::Command || matches!(token.name, Name::Frac | Name::Times);
    }
    (letter.spaced || last.is_number()) && (plain || letter.text == "m")
}

/// Whether the token there may be a part of a unit. A minus belongs to a power.
fn belongs(unit: Tokens<'_>, at: usize) -> bool {
    let token = &unit[at];
    match token.name {
        Name::And | Name::Or => false,
        Name::OpenGroup | Name::CloseGroup | Name::Open | Name::Close | Name::Dot | Name::Percent | Name::Degree => {
            true
        }
        Name::Minus => at > 0 && matches!(unit[at - 1].name, Name::OpenGroup | Name::Power),
        Name::Power | Name::Slash | Name::Times | Name::Frac => true,
        _ if is_unit_letter(token) => true,
        _ => token.is_number() || (token.kind == Kind::Word && is_longer(token.text, 1)),
    }
}

/// The name of a unit in the singular or the plural.
fn unit_name(token: &Token<'_>) -> Name {
    match token.name {
        Name::Sec => Name::Second,
        Name::None => singular(token.text).map_or(Name::None, Name::of),
        name => name,
    }
}

fn singular(word: &str) -> Option<&str> {
    match word.as_bytes() {
        [_, .., b's' | b'S', b's' | b'S'] => None,
        [_, _, .., b's' | b'S'] => Some(part(word, 0, word.len() - 1)),
        _ => None,
    }
}

impl Unit {
    pub(crate) fn of(tokens: Tokens<'_>) -> Self {
        let (mut unit, mut divides, mut power, mut raised, mut sign) = (Self::default(), 1, 1, false, 1);
        for (at, token) in tokens.iter().enumerate() {
            match token.name {
                // Below the bar of a fraction.
                Name::OpenGroup if at > 0 && tokens[at - 1].name == Name::CloseGroup => divides = -1,
                Name::Slash => divides = -1,
                Name::Square => power = 2,
                Name::Cubic => power = 3,
                Name::Power => (raised, sign) = (true, 1),
                Name::Minus if raised => sign = -1,
                _ if token.is_number() => {
                    let times =
                        token.digits().fold(0i32, |n, digit| (10 * n + i32::from(digit & 15)).min(MAX_POWER)) * sign;
                    if let (Some(dimension), Some(size)) = (unit.dimensions.last_mut(), unit.sizes.last_mut()) {
                        // Both are within the bound, so the product fits.
                        dimension.1 = (dimension.1 * times).clamp(-MAX_POWER, MAX_POWER);
                        size.1 = dimension.1;
                    }
                    raised = false;
                }
                Name::Percent | Name::Degree => unit.push(token, divides),
                _ if token.kind == Kind::Word || is_unit_letter(token) => {
                    unit.push(token, divides * power);
                    power = 1;
                }
                _ => {}
            }
        }
        // `square units`, `degrees Celsius`: a mark that means nothing of its own.
        if power != 1 {
            unit.push(&Token::new(Kind::Word, "unit"), power);
        }
        unit
    }

    fn push(&mut self, token: &Token<'_>, power: i32) {
        let scale = unit_name(token).unit().and_then(|at| SCALES.get(at));
        // `degrees Celsius` are no angle.
        if matches!(scale, Some((b'C' | b'F' | b'K', _))) && self.dimensions.last() == Some(&(u64::from(b'G'), 1)) {
            self.dimensions.pop();
            self.sizes.pop();
        }
        let (dimension, size) = match scale {
            Some((dimension, size)) => (u64::from(*dimension), *size),
            None => {
                let token = Token { text: singular(token.text).unwrap_or(token.text), ..*token };
                (digest(std::slice::from_ref(&token)), "1")
            }
        };
        self.dimensions.push((dimension, power));
        self.sizes.push((size, power));
    }

    pub(crate) fn is_none(&self) -> bool {
        self.dimensions.is_empty()
    }

    pub(crate) fn is_percent(&self) -> bool {
        self.dimensions == [(u64::from(b'%'), 1)]
    }

    /// How often a dimension divides or multiplies.
    fn power_of(&self, dimension: u64) -> i32 {
        self.dimensions.iter().filter(|(known, _)| *known == dimension).map(|(_, power)| power).sum()
    }

    pub(crate) fn same_dimensions(&self, other: &Self) -> bool {
        let all = self.dimensions.len() + other.dimensions.len() <= 24;
        all && self
            .dimensions
            .iter()
            .chain(&other.dimensions)
            .all(|(dimension, _)| self.power_of(*dimension) == other.power_of(*dimension))
    }

    pub(crate) fn same_sizes(&self, other: &Self) -> bool {
        self.sizes == other.sizes
    }

    /// The value in units of size 1.
    pub(crate) fn apply(&self, value: Expression) -> Expression {
        self.sizes.iter().fold(value, |value, (size, power)| value.scaled(size, *power))
    }
}

#[cfg(test)]
mod tests {
    use super::{SCALES, Unit, compound, measure};
    use crate::lexer::tokenize;
    use crate::names::Name;
    use crate::token::render;

    #[test]
    fn every_unit_has_a_size() {
        assert_eq!(Name::OtherUnit.unit(), Some(SCALES.len()));
    }

    #[test]
    fn values_and_units() {
        for (text, value, unit) in [
            ("5 cm", "5", "cm"),
            ("70students", "70", "students"),
            ("12\\text{ feet}", "12", "feet"),
            ("30 m/s", "30", "m/s"),
            ("5 square units", "5", "square units"),
            ("40\\%", "40", "%"),
            ("2x", "2x", ""),
            ("3 x", "3x", ""),
            ("3 n", "3n", ""),
            ("2.4V", "2.4", "v"),
            ("71L", "71", "l"),
            ("9.81m/s^2", "9.81", "m/s^2"),
            ("12x", "12x", ""),
            ("2\\pi r h", "2\\pi r h", ""),
            ("\\pi r^2 h", "\\pi r^2h", ""),
            ("36\\pi m^3", "36\\pi", "m^3"),
            ("3 + 2 m", "3+2m", ""),
            ("10^{-3} m", "10^{-3}", "m"),
            ("3\\,\\Omega", "3", "\\Omega"),
            ("7\\ \\frac{\\text{m}}{\\text{s}}", "7", "\\frac m s"),
            ("90^\\circ - 60^\\circ", "90\\degree-60\\degree", ""),
            ("USD 5.10", "5.10", "usd"),
            ("x+1", "x+1", ""),
            ("5 sec", "5", "sec"),
            ("2 sec x", "2sec x", ""),
        ] {
            let tokens = tokenize(text);
            let measure = measure(&tokens);
            assert_eq!((render(measure.value), render(measure.unit)), (value.to_string(), unit.to_string()), "{text}");
        }
    }

    #[test]
    fn units_that_agree() {
        for (a, b, same) in [
            ("cm^2", "square centimeters", true),
            ("m/s", "metres per second", true),
            ("m s^{-1}", "m/s", true),
            ("\\frac{m}{s}", "m/s", true),
            ("m/s", "m/s^2", false),
            ("m", "m^2", false),
            ("cm", "m", true),
            ("apples", "apple", true),
            ("apples", "pears", false),
            ("degrees Celsius", "\\degree C", true),
            ("kg", "s", false),
        ] {
            let (left, right) = (tokenize(a), tokenize(b));
            assert_eq!(Unit::of(&left).same_dimensions(&Unit::of(&right)), same, "{a} {b}");
        }
        // Powers of powers are bounded.
        let tower = format!("m{}", "^{9}".repeat(40));
        assert!(Unit::of(&tokenize(&tower)).same_dimensions(&Unit::of(&tokenize(&tower))));
        assert!(compound(&tokenize("2 hours 30 minutes")).is_some());
        assert!(compound(&tokenize("2 hours 30 cm")).is_none() && compound(&tokenize("2 hours")).is_none());
    }
}
