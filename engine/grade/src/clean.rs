//! Prose around an answer: OpenVLThinker's clean-up, and the parts of a sentence that may be the answer.
//! Works on plain text; knows nothing about mathematics.

use crate::characters::{from, part, trim};
use crate::extract::{find_last, starts_with};

/// Words at which OpenVLThinker cuts an answer, in its order.
const UNITS: [&str; 21] = [
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
    "liter",
    "gram",
    "kilogram",
    "ounce",
    "pound",
];

/// OpenVLThinker's clean-up of a prediction: lowercase, no final period, a bare yes or no, no parenthesis after
/// the answer, the first of alternatives, what follows ` is `, ` = ` or ` ≈ `, and nothing from a unit on.
///
/// The rules are substring rules, as they were published: `monday` becomes `mon`. [`crate::grade`] therefore
/// does not rest on it; a filter that must reproduce the recipe may call it first.
pub fn clean_answer(prediction: &str) -> String {
    let lowered = prediction.to_lowercase();
    let mut answer = lowered.strip_suffix('.').unwrap_or(&lowered);
    if answer.contains("yes,") || answer.contains("yes. ") {
        return "yes".to_string();
    }
    if answer.contains("no,") || answer.contains("no. ") {
        return "no".to_string();
    }
    if let Some((before, _)) = answer.split_once('(')
        && answer.contains(')')
        && !before.trim().is_empty()
    {
        answer = before.trim();
    }
    if let Some((before, _)) = answer.split_once(" or ") {
        answer = before.trim();
    }
    for marker in [" is ", " = ", " ≈ "] {
        if let Some((_, after)) = answer.rsplit_once(marker) {
            answer = after.trim();
        }
    }
    for unit in UNITS {
        if let Some((before, _)) = answer.split_once(unit) {
            answer = before.trim();
        }
    }
    answer.to_string()
}

/// The part of a sentence that states its answer, when the sentence has the shape of one.
pub(crate) fn stated_answer(prediction: &str) -> Option<&str> {
    let text = trim(prediction);
    for word in ["yes", "no"] {
        let ends = matches!(text.as_bytes().get(word.len()), Some(b',' | b'.' | b';' | b':' | b'!'));
        if ends && starts_with(text.as_bytes(), word) {
            return Some(part(text, 0, word.len()));
        }
    }
    let markers = [" is: ", " is ", " are ", " equals ", "nswer: ", "nswer:", " ≈ ", "≈", "\\approx"];
    markers.into_iter().find_map(|marker| {
        let at = find_last(text, marker)?;
        let after = trim(from(text, at + marker.len()));
        (!after.is_empty()).then_some(after)
    })
}

#[cfg(test)]
mod tests {
    use super::{clean_answer, stated_answer};

    #[test]
    fn cleaning_follows_the_recipe() {
        for (prediction, expected) in [
            ("Yes, it is.", "yes"),
            ("No. It is odd", "no"),
            ("B (the second)", "b"),
            ("(B)", "(b)"),
            ("3 or 4", "3"),
            ("The area is 12 cm", "12"),
            ("x = 5.", "5"),
            ("Monday", "mon"),
            ("", ""),
        ] {
            assert_eq!(clean_answer(prediction), expected, "{prediction}");
        }
    }

    #[test]
    fn sentences_state_their_answer() {
        assert_eq!(stated_answer("The answer is 5"), Some("5"));
        assert_eq!(stated_answer("Yes, it is"), Some("Yes"));
        assert_eq!(stated_answer("isosceles"), None);
        assert_eq!(stated_answer("nobody, really"), None);
        assert_eq!(stated_answer("é"), None);
    }
}
