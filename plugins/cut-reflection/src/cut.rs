//! Where a trace begins to doubt itself, and what is left of it when the doubt is cut out. Knows nothing of plugins.

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const ANSWER: &str = "<answer>";
const BOXED: &str = "\\boxed{";

/// Cuts `trace` at the earliest of the phrases `cut_at` and keeps its final answer; `None` if there is nothing to cut.
///
/// The final answer is everything from the last `<answer>`; without that tag, what follows the last `</think>`; without
/// either, everything from the last `\boxed{`. Phrases in it do not count. White space round the tags stays as it was.
/// A phrase with nothing before it in its thought doubts nothing and is passed over: a thought is never cut to nothing.
pub fn cut_reflection(trace: &str, cut_at: &[String]) -> Option<String> {
    let (thought, answer) = split_answer(trace);
    let cut = find_cut(thought, cut_at)?;
    let kept = thought[..cut].trim_end();
    let mut result = String::with_capacity(trace.len());
    result.push_str(kept);
    if let Some(closing) = closing_tag(thought, cut) {
        result.push_str(closing);
    }
    // The space between the thought and its answer belongs to the form of the trace, not to the doubt.
    result.push_str(&thought[thought.trim_end().len()..]);
    result.push_str(answer);
    Some(result)
}

/// The trace up to its final answer, and the final answer.
fn split_answer(trace: &str) -> (&str, &str) {
    let start = trace.rfind(ANSWER).or_else(|| trace.rfind(THINK_END).map(|at| at + THINK_END.len()));
    trace.split_at(start.or_else(|| trace.rfind(BOXED)).unwrap_or(trace.len()))
}

/// The byte at which the earliest phrase begins that has something before it.
fn find_cut(thought: &str, cut_at: &[String]) -> Option<usize> {
    let places = cut_at.iter().flat_map(|phrase| thought.match_indices(phrase.as_str()).map(|(at, _)| at));
    places.filter(|at| has_thought_before(thought, *at)).min()
}

/// Whether anything but tags and white space stands between the start of the thought and `cut`.
fn has_thought_before(thought: &str, cut: usize) -> bool {
    let before = &thought[..cut];
    let start = before.rfind(THINK).map_or(0, |at| at + THINK.len());
    !before[start..].trim().is_empty()
}

/// What closes the thought that `cut` lies in: its own `</think>` with the white space before it, or a new one. `None`
/// if the cut lies outside. A trace may lack `<think>` where the prompt already held it.
fn closing_tag(thought: &str, cut: usize) -> Option<&str> {
    let before = &thought[..cut];
    let opened = before.rfind(THINK);
    if before.rfind(THINK_END) > opened {
        return None;
    }
    match thought[cut..].find(THINK_END) {
        Some(offset) => {
            let end = cut + offset;
            Some(&thought[thought[..end].trim_end().len()..end + THINK_END.len()])
        }
        None => opened.map(|_| THINK_END),
    }
}

#[cfg(test)]
mod tests {
    use super::cut_reflection;

    fn check(trace: &str, expected: &str) {
        let phrases = ["Wait,", "But wait,", "But the question"].map(str::to_owned);
        let cut = cut_reflection(trace, &phrases);
        assert_eq!(cut.as_deref().unwrap_or(trace), expected, "the trace was {trace:?}");
        assert_eq!(cut.is_none(), trace == expected, "a trace that is not cut is `None`: {trace:?}");
    }

    #[test]
    fn cuts_inside_a_thought() {
        check("<think>a. Wait, b.</think> <answer>4</answer>", "<think>a.</think> <answer>4</answer>");
        check("<think>\na\nWait, b\n</think>\n\n<answer>4</answer>", "<think>\na\n</think>\n\n<answer>4</answer>");
        check("<think>a But the question b Wait, c</think><answer>4</answer>", "<think>a</think><answer>4</answer>");
        check("<think>a But wait, b</think>so it is<answer>4</answer> done", "<think>a</think><answer>4</answer> done");
        check("<think>ü. Wait, é</think><answer>ß</answer>", "<think>ü.</think><answer>ß</answer>");
    }

    #[test]
    fn leaves_what_has_no_doubt() {
        for trace in
            ["", "a", "<think>a wait, b</think><answer>4</answer>", "<think>a Wait b</think><answer>4</answer>"]
        {
            check(trace, trace);
        }
        check("<think>a</think><answer>Wait, 4</answer>", "<think>a</think><answer>Wait, 4</answer>");
    }

    #[test]
    fn a_thought_is_never_cut_to_nothing() {
        check("<think>Wait, b</think><answer>4</answer>", "<think>Wait, b</think><answer>4</answer>");
        check("<think>\nWait, a. Wait, b</think><answer>4</answer>", "<think>\nWait, a.</think><answer>4</answer>");
    }

    #[test]
    fn tags_may_be_missing() {
        check("a. Wait, b <answer>4</answer>", "a. <answer>4</answer>");
        check("a. Wait, b</think> <answer>4</answer>", "a.</think> <answer>4</answer>");
        check("<think>a. Wait, b <answer>4</answer>", "<think>a.</think> <answer>4</answer>");
        check("<think>a. Wait, b</think>\n\\boxed{4}", "<think>a.</think>\n\\boxed{4}");
        check("a. Wait, so \\boxed{3} or \\boxed{4}.", "a. \\boxed{4}.");
        check("<think>a. Wait, b", "<think>a.</think>");
        check("a. Wait, b", "a.");
    }

    #[test]
    fn outside_the_thought_no_tag_is_added() {
        check("<think>a</think> b. Wait, c <answer>4</answer>", "<think>a</think> b. <answer>4</answer>");
    }

    #[test]
    fn the_last_answer_counts() {
        check(
            "<think>a <answer>3</answer> Wait, b</think> <answer>4</answer>",
            "<think>a <answer>3</answer></think> <answer>4</answer>",
        );
    }
}
