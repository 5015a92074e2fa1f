//! A measure: a value with a unit after it. Splits the two and gives each unit one name.
//! Knows which words are units, not how one unit converts to another.

use crate::token::{Kind, Token};
use crate::words::{is_name, is_product};

/// Units that differ in spelling only; the first is the name.
#[rustfmt::skip]
const SYNONYMS: [&[&str]; 30] = [
    &["cm", "centimeter", "centimetre"], &["mm", "millimeter", "millimetre"], &["km", "kilometer", "kilometre"],
    &["m", "meter", "metre"], &["in", "inch", "inche"], &["ft", "foot", "feet"], &["yd", "yard"], &["mi", "mile"],
    &["s", "sec", "second"], &["min", "minute"], &["h", "hr", "hour"], &["day"], &["week"], &["month"],
    &["year", "yr"], &["kg", "kilogram"], &["g", "gram"], &["mg", "milligram"], &["lb", "pound"],
    &["oz", "ounce"], &["l", "liter", "litre"], &["ml", "milliliter", "millilitre"], &["j", "joule"],
    &["n", "newton"], &["degree", "deg"], &["%", "percent", "pct"], &["dollar", "usd", "buck"], &["cent"],
    &["unit"], &["mph"],
];

/// Units of one letter; they need a space before them, else they are variables.
const LETTERS: [&str; 14] = ["m", "s", "h", "g", "l", "j", "n", "k", "w", "v", "c", "f", "hz", "pa"];

const SCALES: [(&str, &str); 5] =
    [("hundred", "2"), ("thousand", "3"), ("million", "6"), ("billion", "9"), ("trillion", "12")];

/// A value and the name of its unit, empty when there is none.
pub(crate) struct Measure {
    pub(crate) value: Vec<Token>,
    pub(crate) unit: String,
}

/// Splits a value from the unit after it. Without a number in front there is no unit.
pub(crate) fn measure(tokens: &[Token]) -> Measure {
    let tokens = without_currency(tokens);
    let whole = || Measure { value: tokens.to_vec(), unit: String::new() };
    let (mut depth, mut number) = (0usize, false);
    for (at, token) in tokens.iter().enumerate() {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.saturating_sub(1);
        }
        number |= token.kind == Kind::Number || token.is_command("pi");
        if depth == 0 && number && starts_unit(tokens, at) {
            return split_at(tokens, at).unwrap_or_else(whole);
        }
    }
    whole()
}

/// Whether two names of units are compatible: one missing, or both the same.
pub(crate) fn compatible(a: &str, b: &str) -> bool {
    a.is_empty() || b.is_empty() || a == b
}

fn without_currency(tokens: &[Token]) -> &[Token] {
    match tokens {
        [currency, number, ..]
            if number.kind == Kind::Number && ["usd", "us", "rs"].iter().any(|word| currency.is_word(word)) =>
        {
            &tokens[1..]
        }
        _ => tokens,
    }
}

fn starts_unit(tokens: &[Token], at: usize) -> bool {
    let token = &tokens[at];
    match token.kind {
        Kind::Symbol => token.text == "%",
        Kind::Command => {
            let angle = |token: &Token| crate::functions::function(&token.text).is_some();
            token.text == "degree" && !tokens[..at].iter().any(angle)
        }
        Kind::Word => {
            let word = token.text.to_lowercase();
            if is_name(&word) || matches!(word.as_str(), "and" | "or" | "to" | "x") {
                return false;
            }
            let letters = word.chars().count();
            if letters == 1 || LETTERS.contains(&word.as_str()) {
                return token.spaced && LETTERS.contains(&word.as_str());
            }
            SCALES.iter().any(|(scale, _)| *scale == word)
                || SYNONYMS.iter().any(|names| names.contains(&singular(&word).as_str()))
                || (token.spaced && !is_product(&word, true))
                || (letters >= 4 && !is_product(&word, false))
        }
        Kind::Number => false,
    }
}

fn split_at(tokens: &[Token], at: usize) -> Option<Measure> {
    let (value, rest) = tokens.split_at(at);
    let mut value = value.to_vec();
    let mut rest = rest;
    let scale = rest.first().and_then(|first| SCALES.iter().find(|(scale, _)| first.is_word(scale)));
    if let Some((_, exponent)) = scale {
        let power = [(Kind::Symbol, "*"), (Kind::Number, "10"), (Kind::Symbol, "^"), (Kind::Number, exponent)];
        value.extend(power.map(|(kind, text)| Token::new(kind, text)));
        rest = &rest[1..];
    }
    let mut unit = String::new();
    for token in rest {
        match (token.kind, token.text.as_str()) {
            (Kind::Word, text) => {
                let word = text.to_lowercase();
                if matches!(word.as_str(), "and" | "or") {
                    return None;
                }
                unit.push_str(name(&singular(&word)));
                unit.push(' ');
            }
            (Kind::Symbol, "{" | "}" | ".") => {}
            (Kind::Symbol, "%") => unit.push_str("% "),
            (Kind::Command, "degree") => unit.push_str("degree "),
            (Kind::Symbol, "^" | "/" | "*" | "-" | "(" | ")") | (Kind::Number, _) => unit.push_str(&token.text),
            _ => return None,
        }
    }
    Some(Measure { value, unit: unit.trim_end().to_string() })
}

/// The first name of a unit's synonyms.
fn name(word: &str) -> &str {
    SYNONYMS.iter().find(|names| names.contains(&word)).map_or(word, |names| names[0])
}

fn singular(word: &str) -> String {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 1 && !stem.ends_with('s') => stem.to_string(),
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::measure;
    use crate::token::{render, tokenize};

    #[test]
    fn values_and_units() {
        for (text, value, unit) in [
            ("5 cm", "5", "cm"),
            ("70students", "70", "student"),
            ("12\\text{ feet}", "12", "ft"),
            ("30 m/s", "30", "m /s"),
            ("5 square units", "5", "square unit"),
            ("2.5 million", "2.5*10^6", ""),
            ("40\\%", "40", "%"),
            ("2x", "2x", ""),
            ("3 x", "3x", ""),
            ("USD 5.10", "5.10", ""),
            ("x+1", "x+1", ""),
        ] {
            let measure = measure(&tokenize(text));
            assert_eq!((render(&measure.value).as_str(), measure.unit.as_str()), (value, unit), "{text}");
        }
    }
}
