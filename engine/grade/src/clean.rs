//! Prose around an answer: OpenVLThinker's clean-up, and the parts of a sentence that may be the answer.
//! Works on plain text; knows nothing about mathematics.

use crate::characters::{from, part, trim};
use crate::extract::{after_last, find_last, starts_with, unmarked};

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
    let end = find_last(text, "explanation").unwrap_or(text.len());
    let mut answer = unmarked(part(text, 0, end), b"_* \n");
    let markers =
        [" is: ", " is ", " are ", " equals ", "therefore ", "answer:", "ans:", "option:", "choice:", "≈", "\\approx"];
    for marker in markers {
        answer = after_last(answer, marker).map(trim).filter(|after| !after.is_empty()).unwrap_or(answer);
    }
    // `in 2019`, `at (1, 2)`.
    if let [b'i' | b'a', b'n' | b't', b' ', b'0'..=b'9' | b'(', ..] = answer.as_bytes() {
        answer = from(answer, 3);
    }
    if starts_with(answer.as_bytes(), "not ") {
        answer = after_last(answer, " but ")?;
    }
    // The marker stood in `\text{`.
    if text.starts_with('\\') && !answer.contains('{') {
        answer = unmarked(answer, b"}");
    }
    let remark = find_last(answer, " (the ").unwrap_or(answer.len());
    answer = part(answer, 0, remark);
    (answer.len() < text.len()).then_some(answer)
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
        for (sentence, expected) in [
            ("Point P is at (3, -1).", Some("(3, -1).")),
            ("in 2019", Some("2019")),
            ("in the middle", None),
            ("at + 3", None),
            ("$-2$ (the negative slope)", Some("$-2$")),
            ("The width (the shorter side) is 5", Some("5")),
            ("The answer is not 4 but 6.", Some("6.")),
            ("The answer is not 4", None),
            ("C\n\n**Explanation:** A and B are too small.", Some("C")),
            ("It is therefore option: B", Some("B")),
            ("Ans: B", Some("B")),
            ("\\text{Answer: B}", Some("B")),
            ("Answer: \\{1, 2\\}", Some("\\{1, 2\\}")),
            ("__B__", Some("B")),
            ("5}", None),
        ] {
            assert_eq!(stated_answer(sentence), expected, "{sentence}");
        }
        assert_eq!(stated_answer("The answer is 5"), Some("5"));
        assert_eq!(stated_answer("Yes, it is"), Some("Yes"));
        assert_eq!(stated_answer("isosceles"), None);
        assert_eq!(stated_answer("nobody, really"), None);
        assert_eq!(stated_answer("é"), None);
    }
}
