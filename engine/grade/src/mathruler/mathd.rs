//! The first normal form, from the grader of the MATH data set: text in, text out, no values. Follows the behaviour of
//! `math_normalize.py` in mathruler 0.1.0 (Apache 2.0), where an exception leaves the answer as it was.

use super::python::strip;
use super::text::enclosed_text;

/// `normalize_answer`.
pub(super) fn normalize(answer: &str) -> String {
    let answer = strip(answer);
    let answer = enclosed_text(answer).map_or(answer, strip);
    strip_string(answer).unwrap_or_else(|| answer.to_owned())
}

/// `None` where the reference raises.
fn strip_string(text: &str) -> Option<String> {
    let mut text = text.replace('\n', "").replace("\\!", "").replace("\\\\", "\\");
    text = text.replace("tfrac", "frac").replace("dfrac", "frac").replace("\\left", "").replace("\\right", "");
    text = text.replace("^{\\circ}", "").replace("^\\circ", "").replace("\\$", "");
    // Units on the right.
    if let Some((before, after)) = text.split_once("\\text{ ") {
        if after.contains("\\text{ ") {
            return None;
        }
        text = before.to_owned();
    }
    text = text.replace("\\%", "").replace('%', "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((left, right)) = text.split_once('=')
        && !right.contains('=')
        && left.chars().count() <= 2
    {
        text = right.to_owned();
    }
    text = brace_roots(&text)?.replace(' ', "");
    text = brace_fractions(&text)?;
    if text == "0.5" {
        "\\frac{1}{2}".clone_into(&mut text);
    }
    Some(slash_to_fraction(text))
}

/// `\sqrt3` to `\sqrt{3}`.
fn brace_roots(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut braced = parts.next()?.to_owned();
    for part in parts {
        braced.push_str("\\sqrt");
        let first = part.chars().next()?;
        if first == '{' {
            braced.push_str(part);
        } else {
            braced.push('{');
            braced.push(first);
            braced.push('}');
            braced.push_str(&part[first.len_utf8()..]);
        }
    }
    Some(braced)
}

/// `\frac12` to `\frac{1}{2}`.
fn brace_fractions(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut braced = parts.next()?.to_owned();
    for part in parts {
        braced.push_str("\\frac");
        let mut characters = part.chars();
        let above = characters.next()?;
        if above == '{' {
            braced.push_str(part);
            continue;
        }
        let Some(below) = characters.next() else { return Some(text.to_owned()) };
        braced.extend(['{', above, '}']);
        match below {
            '{' => braced.push('{'),
            _ => braced.extend(['{', below, '}']),
        }
        braced.push_str(characters.as_str());
    }
    Some(braced)
}

/// `1/2` to `\frac{1}{2}`, for integers as Python prints them.
fn slash_to_fraction(text: String) -> String {
    let canonical = |part: &str| {
        let digits = part.strip_prefix('-').unwrap_or(part);
        // Python converts no longer ones.
        let plain = digits.len() <= 4300 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain && (part == "0" || (!digits.is_empty() && !digits.starts_with('0')))
    };
    match text.split_once('/') {
        Some((above, below)) if canonical(above) && canonical(below) => format!("\\frac{{{above}}}{{{below}}}"),
        _ => text,
    }
}
