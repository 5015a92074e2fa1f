//! The second normal form and what is asked of it: units and wrappers off, LaTeX to text, integers to their digits,
//! tuples to their parts. Follows the behaviour of `grader.py` in mathruler 0.1.0 (Apache 2.0), its regular expressions
//! by hand.

use super::latex;
use super::python::{digit, digits, float, is_near_integer, strip};

const UNITS: [&str; 16] = [
    "degree",
    "cm",
    "centimeter",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
];
const BRACKETS: [char; 4] = ['(', ')', '[', ']'];

/// What `^\\text\{(.+?)\}$` captures.
pub(super) fn enclosed_text(text: &str) -> Option<&str> {
    let inside = |text: &'_ str| -> Option<std::ops::Range<usize>> {
        let end = text.strip_prefix("\\text{")?.strip_suffix('}')?.len();
        (end > 0 && !text["\\text{".len()..][..end].contains('\n')).then_some("\\text{".len()..end + "\\text{".len())
    };
    inside(text).or_else(|| inside(text.strip_suffix('\n')?)).map(|range| &text[range])
}

/// `_normalize`.
pub(super) fn normalize(text: &str) -> String {
    let mut text = enclosed_text(text).unwrap_or(text).to_owned();
    for (from, to) in [
        ("\\%", "%"),
        ("\\$", "$"),
        ("$", ""),
        ("%", ""),
        (" or ", " , "),
        (" and ", " , "),
        ("million", "*10^6"),
        ("billion", "*10^9"),
        ("trillion", "*10^12"),
    ] {
        replace(&mut text, from, to);
    }
    for unit in UNITS {
        text = remove_unit(text, unit);
    }
    text = remove_spaced(text, "^", "\\circ");
    if text.starts_with('{') && text.ends_with('}') && text.len() > 1 {
        text = text[1..text.len() - 1].to_owned();
    }
    text = remove_before_spaces(text, ",\\!", "");
    if let Some(value) = float(&text).filter(|value| is_near_integer(*value)) {
        text = digits(value.round_ties_even());
    }
    if text.contains('\\')
        && let Some(plain) = plain_text(&text)
    {
        text = plain;
    }
    text = remove_before_spaces(text, "-", "-");
    text = join_mixed_numbers(&text);
    text.retain(|character| !matches!(character, ' ' | '{' | '}'));
    text = text.to_lowercase();
    if is_integer(&text) {
        // `int` cuts where `round` would not.
        text = float(&text.replace(',', "")).map_or(text, |value| digits(value.trunc()));
    }
    text
}

fn replace(text: &mut String, from: &str, to: &str) {
    if text.contains(from) {
        *text = text.replace(from, to);
    }
}

/// `UNIT(es)?(s)? *(\^[0-9]+)?`
fn remove_unit(text: String, unit: &str) -> String {
    if !text.contains(unit) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(unit) {
        kept.push_str(before);
        let after = after.strip_prefix("es").unwrap_or(after);
        let after = after.strip_prefix('s').unwrap_or(after).trim_start_matches(' ');
        let power = after.strip_prefix('^').map(|power| power.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        rest = power.filter(|power| power.len() + 1 < after.len()).unwrap_or(after);
    }
    kept.push_str(rest);
    kept
}

/// Removes `before`, spaces, `after`.
fn remove_spaced(text: String, before: &str, after: &str) -> String {
    if !text.contains(after) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((left, right)) = rest.split_once(before) {
        kept.push_str(left);
        match right.trim_start_matches(' ').strip_prefix(after) {
            Some(right) => rest = right,
            None => {
                kept.push_str(before);
                rest = right;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// `mark` and the spaces after it become `to`.
fn remove_before_spaces(text: String, mark: &str, to: &str) -> String {
    if !text.contains(mark) {
        return text;
    }
    let mut parts = text.split(mark);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(to);
        kept.push_str(part.trim_start_matches(' '));
    }
    kept
}

/// `7 3/4` to `7+3/4`: matches do not overlap, so `1 2 3` becomes `1+2 3`.
fn join_mixed_numbers(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut joined = String::with_capacity(text.len());
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        let spaces = bytes[at + 1..].iter().take_while(|byte| **byte == b' ').count();
        let next = at + 1 + spaces;
        if bytes[at].is_ascii_digit() && spaces > 0 && bytes.get(next).is_some_and(u8::is_ascii_digit) {
            joined.push_str(&text[from..=at]);
            joined.push('+');
            (from, at) = (next, next + 1);
        } else {
            // No digit stands among the spaces: they are passed at once.
            at = next;
        }
    }
    joined.push_str(&text[from..]);
    joined
}

/// Longer LaTeX stays as it is.
const MAX_LATEX: usize = 100_000;

/// `_parse_latex`; `None` where it raises.
fn plain_text(text: &str) -> Option<String> {
    if text.len() > MAX_LATEX {
        return None;
    }
    let text = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac").replace("\\frac", " \\frac");
    let mut plain = latex::to_text(&text)?;
    for (from, to) in [("√", "sqrt"), ("π", "pi"), ("∞", "inf"), ("∪", "U"), ("·", "*"), ("×", "*")] {
        replace(&mut plain, from, to);
    }
    Some(strip(&plain).to_owned())
}

/// `_strip_properly_formatted_commas`: `(\d)(,)(\d\d\d)($|\D)`, again and again.
fn strip_commas(text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let is_digit = |at: usize, characters: &[char]| characters.get(at).is_some_and(|one| digit(*one).is_some());
    loop {
        let mut kept = Vec::with_capacity(characters.len());
        let mut at = 0;
        while at < characters.len() {
            let grouped = is_digit(at, &characters)
                && characters.get(at + 1) == Some(&',')
                && (2..5).all(|place| is_digit(at + place, &characters))
                && !is_digit(at + 5, &characters);
            if grouped {
                kept.push(characters[at]);
                kept.extend_from_slice(&characters[at + 2..at + 5]);
                // The character after the group is part of the match, but for a newline that ends the text.
                let last_newline = at + 6 == characters.len() && characters[at + 5] == '\n';
                if let Some(next) = characters.get(at + 5).filter(|_| !last_newline) {
                    kept.push(*next);
                    at += 6;
                } else {
                    at += 5;
                }
            } else {
                kept.push(characters[at]);
                at += 1;
            }
        }
        if kept.len() == characters.len() {
            return kept.into_iter().collect();
        }
        characters = kept;
    }
}

/// `_str_is_int`.
pub(super) fn is_integer(text: &str) -> bool {
    // What begins otherwise is no number; most texts are not.
    let first = text.trim_start_matches(super::python::is_space).chars().next();
    first.is_some_and(|first| digit(first).is_some() || matches!(first, '+' | '-' | '.'))
        && float(&strip_commas(text)).is_some_and(is_near_integer)
}

/// `split_tuple`.
pub(super) fn parts(text: &str) -> Vec<String> {
    let text = strip_commas(text);
    if text.is_empty() {
        return Vec::new();
    }
    let inside = text
        .strip_prefix(BRACKETS)
        .and_then(|text| text.strip_suffix(BRACKETS))
        .filter(|inside| !inside.is_empty() && !inside.contains(BRACKETS));
    match inside {
        Some(inside) => inside.split(',').map(|part| strip(part).to_owned()).collect(),
        None => vec![text],
    }
}

/// `_is_frac`: `^-?[0-9]+.?/0*[1-9][0-9]*.?$`
pub(super) fn is_fraction(text: &str) -> bool {
    matches_fraction(text) || text.strip_suffix('\n').is_some_and(matches_fraction)
}

fn matches_fraction(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let shorter = |part: &'_ str| -> usize { part.chars().next_back().map_or(0, |last| part.len() - last.len_utf8()) };
    let loosely =
        |part: &str, fits: &dyn Fn(&str) -> bool| fits(part) || (!part.ends_with('\n') && fits(&part[..shorter(part)]));
    let below = |part: &str| whole(part) && part.bytes().any(|byte| byte != b'0');
    text.match_indices('/').take(3).any(|(at, _)| loosely(&text[..at], &whole) && loosely(&text[at + 1..], &below))
}
