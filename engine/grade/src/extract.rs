//! Takes the answer out of a whole response, and checks a response's shape.
//! One pass over the text each; knows nothing about what an answer means.

use crate::characters::{from, part, trim};
use crate::choice::chosen;

const BOXED: &[u8] = b"\\boxed";

/// Where a response gives its answer; the first of these that it has counts, and of several of one kind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// After the last `<answer>`, up to `</answer>`; a box in it counts instead of all of it.
    Tag,
    /// In the last complete `\boxed{}`.
    Boxed,
    /// After the last `answer is`, `answers are`, `answer:` or `answer =`, up to the end of the sentence.
    Statement,
    /// The last line is the letter of a choice, `A` to `J`: `(B)`, `B.`, `**B**`, `Option B`; or its last sentence only says
    /// which one is right: `So it's B.`, `I choose (B) root`, `Option B is correct`, `Final choice: B`.
    Choice,
    /// The last formula between dollar signs, in the last line.
    Formula,
    /// The last number, wherever it stands.
    Number,
}

impl Source {
    /// The stable lowercase name.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Tag => "tag",
            Source::Boxed => "boxed",
            Source::Statement => "statement",
            Source::Choice => "choice",
            Source::Formula => "formula",
            Source::Number => "number",
        }
    }
}

/// The answer that a whole response gives, and where: the list of [`Source`], in its order.
///
/// A response with a `<think>` or `<answer>` tag gives its answer in a tag or a box and nowhere else: a thought that was
/// cut off is no answer, and who was asked for tags must use them. There is one candidate, so that a response that
/// names many answers has the chance of one.
pub fn extract(response: &str) -> Option<(&str, Source)> {
    if let Some(answer) = extract_answer(response) {
        return Some((extract_boxed(answer).unwrap_or(answer), Source::Tag));
    }
    if let Some(answer) = extract_boxed(response) {
        return Some((answer, Source::Boxed));
    }
    if find_last(response, "<think>").is_some() || find_last(response, "</think>").is_some() {
        return None;
    }
    if let Some(answer) = statement(response) {
        return Some((answer, Source::Statement));
    }
    let line = trim(response);
    let line = trim(from(line, line.bytes().rposition(|byte| byte == b'\n').map_or(0, |at| at + 1)));
    if let Some(letter) = chosen(line) {
        return Some((letter, Source::Choice));
    }
    if let Some(formula) = formula(line) {
        return Some((formula, Source::Formula));
    }
    number(response).map(|number| (number, Source::Number))
}

/// Text after the last `<answer>`, up to `</answer>` or the end, without surrounding white space.
/// `None` when there is no tag.
pub fn extract_answer(response: &str) -> Option<&str> {
    let after = after_last(response, "<answer>")?;
    let bytes = after.as_bytes();
    let end = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"</answer>"));
    Some(trim(part(after, 0, end.unwrap_or(after.len()))))
}

/// Content of the last `\boxed{...}` whose braces balance, without surrounding white space.
/// Of nested boxes the innermost last one counts; `\boxed 5` without braces takes the next word.
/// Escaped braces are part of the content. `None` when there is no complete box.
pub fn extract_boxed(response: &str) -> Option<&str> {
    let bytes = response.as_bytes();
    let mut open: Vec<usize> = Vec::new();
    let mut last = (0, 0);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' if bytes[at - 1..].starts_with(BOXED) => {
                at += BOXED.len() - 1;
                let start = skip_white_space(bytes, at);
                if bytes.get(start) == Some(&b'{') {
                    open.push(start + 1);
                    at = start + 1;
                } else {
                    let end = word_end(bytes, start);
                    if start > at && end > start {
                        last = last.max((start, end));
                    }
                    at = end.max(at);
                }
            }
            // A backslash takes the next byte with it, so `\{` and `\}` are content.
            b'\\' if matches!(bytes.get(at), Some(b'{' | b'}' | b'\\')) => at += 1,
            // A brace of its own: no box begins at 0.
            b'{' => open.push(0),
            b'}' => last = last.max((open.pop().unwrap_or(0), at - 1)),
            _ => {}
        }
    }
    (last.0 > 0).then(|| trim(part(response, last.0, last.1)))
}

/// Whether a response is one `<think>...</think>` block, then one `<answer>...</answer>` block.
/// White space may stand before and after; free text may stand between the blocks.
pub fn format_score(response: &str) -> bool {
    let tags = ["<think>", "</think>", "<answer>", "</answer>"];
    if tags.iter().any(|tag| response.matches(tag).count() != 1) {
        return false;
    }
    let Some(rest) = response.trim().strip_prefix("<think>") else {
        return false;
    };
    let Some((_, rest)) = rest.split_once("</think>") else {
        return false;
    };
    let Some((_, rest)) = rest.split_once("<answer>") else {
        return false;
    };
    rest.strip_suffix("</answer>").is_some()
}

/// Where a text of ASCII characters, in any case, or of others stands last.
pub(crate) fn find_last(text: &str, part: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let first = part.as_bytes().first()?.to_ascii_lowercase();
    let mut left = bytes.len();
    while let Some(at) = bytes.get(..left)?.iter().rposition(|byte| byte.to_ascii_lowercase() == first) {
        if starts_with(bytes.get(at..)?, part) {
            return Some(at);
        }
        left = at;
    }
    None
}

/// What follows the last place of such a text.
pub(crate) fn after_last<'text>(text: &'text str, part: &str) -> Option<&'text str> {
    find_last(text, part).map(|at| from(text, at + part.len()))
}

pub(crate) fn starts_with(bytes: &[u8], part: &str) -> bool {
    bytes.get(..part.len()).is_some_and(|head| head.eq_ignore_ascii_case(part.as_bytes()))
}

/// What follows the last `answer is` or its like, up to the end of the sentence.
fn statement(response: &str) -> Option<&str> {
    let bytes = response.as_bytes();
    let mut before = response;
    let start = loop {
        let found = find_last(before, "answer")?;
        before = part(response, 0, found);
        let mut at = found + "answer".len();
        at += usize::from(starts_with(from(response, at).as_bytes(), "s"));
        at = skip_markup(bytes, at);
        let rest = from(response, at).as_bytes();
        let Some(word) = ["is", "are", ":", "="].into_iter().find(|word| starts_with(rest, word)) else { continue };
        at += word.len();
        let ends = word.len() == 1 || !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        at = skip_markup(bytes, at);
        if ends {
            break if bytes.get(at) == Some(&b':') { skip_markup(bytes, at + 1) } else { at };
        }
    };
    let line = from(response, start);
    let line = trim(part(line, 0, line.bytes().position(|byte| byte == b'\n').unwrap_or(line.len())));
    let bytes = line.as_bytes();
    let ends = |at: &usize| bytes[*at] == b'.' && bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace);
    let answer = unmarked(part(line, 0, (0..line.len()).find(ends).unwrap_or(line.len())), b"*_ ");
    (!answer.is_empty()).then_some(answer)
}

/// The text without these ASCII characters at its ends.
pub(crate) fn unmarked<'text>(text: &'text str, marks: &[u8]) -> &'text str {
    let plain = |byte: u8| !marks.contains(&byte);
    let start = text.bytes().position(plain).unwrap_or(text.len());
    part(text, start, text.bytes().rposition(plain).map_or(start, |at| at + 1))
}

/// What stands between the last two dollar signs, or pairs of them.
fn formula(line: &str) -> Option<&str> {
    let line = unmarked(line, b"*. ");
    let inner = unmarked(line, b"$");
    let start = inner.bytes().rposition(|byte| byte == b'$').map(|at| at + 1);
    let start = start.or(line.starts_with('$').then_some(0)).filter(|_| line.ends_with('$'))?;
    let formula = trim(from(inner, start));
    (!formula.is_empty()).then_some(formula)
}

/// The last number: digits with separators, a fraction, a sign, a percent sign.
fn number(response: &str) -> Option<&str> {
    let bytes = response.as_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_digit)?;
    let belongs = |at: usize| {
        let within = matches!(bytes[at], b'.' | b',' | b'/') && at > 0 && bytes[at - 1].is_ascii_digit();
        bytes[at].is_ascii_digit() || within
    };
    let mut start = last;
    while start > 0 && belongs(start - 1) {
        start -= 1;
    }
    let signed = start > 0 && bytes[start - 1] == b'-' && !(start > 1 && bytes[start - 2].is_ascii_alphanumeric());
    let percent = usize::from(bytes.get(last + 1) == Some(&b'%'));
    Some(part(response, start - usize::from(signed), last + percent + 1))
}

fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn skip_markup(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'*' | b'_' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

fn word_end(bytes: &[u8], mut at: usize) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'$' | b',' | b';' | b'{' | b'}' | b'\\');
    while bytes.get(at).is_some_and(|byte| !ends(byte)) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{Source, extract, extract_answer, extract_boxed, format_score};

    #[test]
    fn the_last_answer_counts() {
        assert_eq!(extract_answer("<answer>3</answer> no <answer> 5 </answer> bye"), Some("5"));
        assert_eq!(extract_answer("<answer>3"), Some("3"));
        assert_eq!(extract_answer("3"), None);
        assert_eq!(extract_answer("<answer></answer>"), Some(""));
    }

    #[test]
    fn the_last_complete_box_counts() {
        for (response, expected) in [
            ("\\boxed{3} then \\boxed{5}", Some("5")),
            ("\\boxed{\\frac{1}{2}}", Some("\\frac{1}{2}")),
            ("\\boxed{x=\\boxed{5}}", Some("5")),
            ("\\boxed{\\{1,2\\}}", Some("\\{1,2\\}")),
            ("\\boxed{5} \\boxed{", Some("5")),
            ("\\boxed 5.", Some("5.")),
            ("\\boxed {5}", Some("5")),
            ("\\boxed{5} {x} }", Some("5")),
            ("\\boxed{}", Some("")),
            ("\\boxedx", None),
            ("\\boxed{5", None),
            ("boxed{5}", None),
            ("\\boxed{é} ü", Some("é")),
        ] {
            assert_eq!(extract_boxed(response), expected, "{response}");
        }
    }

    #[test]
    fn places_of_an_answer_have_an_order() {
        use Source::{Boxed, Choice, Formula, Number, Statement, Tag};
        for (response, expected) in [
            ("\\boxed{3} <answer>so 5</answer> the answer is 7", Some(("so 5", Tag))),
            ("<answer>so \\boxed{5}</answer>", Some(("5", Tag))),
            ("answer: 5\n\n\\boxed{6}", Some(("6", Boxed))),
            ("The answer is 5.", Some(("5", Statement))),
            ("The answer is 5. No, the answer is 6, I think", Some(("6, I think", Statement))),
            ("**Final answer:** $\\frac{1}{2}$", Some(("$\\frac{1}{2}$", Statement))),
            ("So the answer is: **3.5**.\nGood.", Some(("3.5", Statement))),
            ("# Answer\n42 = \n**Answer**: \n 17 cm", Some(("17 cm", Statement))),
            ("My answers are 1 and 2", Some(("1 and 2", Statement))),
            ("I cannot answer this: 5 or 6", Some(("6", Number))),
            ("the answer island", None),
            ("It must be\n(B)", Some(("B", Choice))),
            ("\n**Option C.** ", Some(("C", Choice))),
            ("A is right: 5", Some(("A", Choice))),
            ("A is small: 5", Some(("5", Number))),
            ("I am 5", Some(("5", Number))),
            ("(I)", Some(("I", Choice))),
            ("Hence $x = 3$ and $y = 4$.", Some(("y = 4", Formula))),
            ("$$x^2$$", Some(("x^2", Formula))),
            ("It costs 5$", Some(("5", Number))),
            ("so we get -1,234.5%!", Some(("-1,234.5%", Number))),
            ("from 3-5", Some(("5", Number))),
            ("it is 3/4.", Some(("3/4", Number))),
            ("<think>it is 5", None),
            ("<think>it is</think> 5", None),
            ("<think>\\boxed{4}</think> 5", Some(("4", Boxed))),
            ("$$$$", None),
            ("nothing", None),
            ("", None),
        ] {
            assert_eq!(extract(response), expected, "{response}");
        }
    }

    #[test]
    fn a_response_has_one_think_block_then_one_answer() {
        for (response, expected) in [
            ("<think>a</think><answer>b</answer>", true),
            (" <think>a\nb</think>\n\nso\n<answer>b</answer>\n", true),
            ("x <think>a</think><answer>b</answer>", false),
            ("<think>a</think><answer>b</answer> x", false),
            ("<answer>b</answer><think>a</think>", false),
            ("<think>a</think><think>a</think><answer>b</answer>", false),
            ("<think>a<answer>b</answer></think>", false),
            ("<answer>b</answer>", false),
            ("", false),
        ] {
            assert_eq!(format_score(response), expected, "{response}");
        }
    }
}
