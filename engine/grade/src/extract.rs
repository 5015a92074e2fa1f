//! Takes the answer out of a whole response, and checks a response's shape.
//! One pass over the text each; knows nothing about what an answer means.

const BOXED: &str = "\\boxed";

/// Text after the last `<answer>`, up to `</answer>` or the end, without surrounding white space.
/// `None` when there is no tag.
pub fn extract_answer(response: &str) -> Option<&str> {
    let (_, after) = response.rsplit_once("<answer>")?;
    let answer = after.split_once("</answer>").map_or(after, |(inside, _)| inside);
    Some(answer.trim())
}

/// Content of the last `\boxed{...}` whose braces balance, without surrounding white space.
/// Of nested boxes the innermost last one counts; `\boxed 5` without braces takes the next word.
/// Escaped braces are part of the content. `None` when there is no complete box.
pub fn extract_boxed(response: &str) -> Option<&str> {
    let bytes = response.as_bytes();
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if response[at..].starts_with(BOXED) => {
                let start = skip_white_space(bytes, at + BOXED.len());
                if bytes.get(start) == Some(&b'{') {
                    open.push(Some(start + 1));
                    at = start + 1;
                } else {
                    let end = word_end(bytes, start);
                    if start > at + BOXED.len() && end > start {
                        last = later(last, (start, end));
                    }
                    at = end.max(at + BOXED.len());
                }
                continue;
            }
            // A backslash takes the next byte with it, so `\{` and `\}` are content.
            b'\\' if matches!(bytes.get(at + 1), Some(b'{' | b'}' | b'\\')) => at += 1,
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some(start)) = open.pop() {
                    last = later(last, (start, at));
                }
            }
            _ => {}
        }
        at += 1;
    }
    last.map(|(start, end)| response[start..end].trim())
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

fn later(last: Option<(usize, usize)>, found: (usize, usize)) -> Option<(usize, usize)> {
    Some(last.map_or(found, |known| if known.0 > found.0 { known } else { found }))
}

fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
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
    use super::{extract_answer, extract_boxed, format_score};

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
            ("\\boxedx", None),
            ("\\boxed{5", None),
            ("boxed{5}", None),
            ("\\boxed{é} ü", Some("é")),
        ] {
            assert_eq!(extract_boxed(response), expected, "{response}");
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
