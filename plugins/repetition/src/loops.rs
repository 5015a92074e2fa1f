//! Whether a text ends in a loop: the same passage several times in a row, the last maybe cut off. Knows nothing of plugins.

/// Bytes at the end of a text in which a loop is looked for.
const TAIL: usize = 1 << 16;

/// Whether the text ends with a passage that stands more than `max_loops` times in a row, `min_loop` characters or more in
/// all. Runs of white space count as one space, and a last passage that is cut off counts as far as it goes: the
/// length of the repeating end, divided by that of its passage, is more than `max_loops`.
///
/// Only the last 64 KiB are looked at. Linear in their length.
pub fn ends_in_loop(text: &str, max_loops: u64, min_loop: u64) -> bool {
    let reversed = reversed_tail(text);
    let prefixes = common_prefixes(&reversed);
    let loops = |(period, common): (usize, &usize)| {
        // The reversed text begins with `period + common` bytes that have this period.
        let length = period + common;
        let often = length as u64 > max_loops.saturating_mul(period as u64);
        often && characters(&reversed[..length]) >= min_loop
    };
    prefixes.iter().enumerate().skip(1).any(loops)
}

/// The bytes of the text's end from back to front, with one space for each run of white space and none at the end.
fn reversed_tail(text: &str) -> Vec<u8> {
    let mut reversed = Vec::with_capacity(text.len().min(TAIL));
    for word in text.split_whitespace().rev() {
        if !reversed.is_empty() {
            reversed.push(b' ');
        }
        reversed.extend(word.bytes().rev().take(TAIL));
        if reversed.len() >= TAIL {
            reversed.truncate(TAIL);
            break;
        }
    }
    reversed
}

/// The Z-function: for each place, how many bytes from there agree with the beginning. That of the beginning is left 0.
fn common_prefixes(bytes: &[u8]) -> Vec<usize> {
    let mut common = vec![0; bytes.len()];
    // The match that reaches furthest: where it begins and ends.
    let (mut left, mut right) = (0, 0);
    for at in 1..bytes.len() {
        let mut length = if at < right { common[at - left].min(right - at) } else { 0 };
        while bytes.get(at + length).is_some_and(|byte| *byte == bytes[length]) {
            length += 1;
        }
        if at + length > right {
            (left, right) = (at, at + length);
        }
        common[at] = length;
    }
    common
}

/// The characters of UTF-8 bytes, in whatever order: all bytes but those that continue one.
fn characters(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64
}

#[cfg(test)]
mod tests {
    use super::{common_prefixes, ends_in_loop};

    #[test]
    fn common_prefixes_are_those_of_the_definition() {
        for text in ["", "a", "aaaa", "abab", "aabaab", "abcabcabd", "aabxaayaab"] {
            let bytes = text.as_bytes();
            let expected = |at: usize| bytes[at..].iter().zip(bytes).take_while(|(a, b)| a == b).count();
            let found = common_prefixes(bytes);
            assert!((1..bytes.len()).all(|at| found[at] == expected(at)), "{text}: {found:?}");
        }
    }

    #[test]
    fn the_end_counts() {
        let check = |text: &str, max_loops, expected| assert_eq!(ends_in_loop(text, max_loops, 1), expected, "{text}");
        check("", 1, false);
        check("a", 1, false);
        check("so it is 4. so it is 4.", 1, true);
        check("so it is 4. so it is 4.", 2, false);
        check("well: so it is 4.\nso it  is 4.\n\nso it is 4.", 2, true);
        check("no no no no yes", 1, false);
        check("I see. wait, no. wait, no. wait, no. wai", 3, true);
        check("ångström ångström ångström", 2, true);
        check("三角形三角形三角形", 2, true);
        check("1 2 3 4 5 6 7 8 9 10", 2, false);
    }

    #[test]
    fn a_short_loop_may_be_none() {
        assert!(!ends_in_loop("and so on ........", 3, 10));
        assert!(ends_in_loop("and so on ........", 3, 8));
        assert!(!ends_in_loop("ééééé", 3, 6), "characters are counted, not bytes");
        assert!(ends_in_loop("ééééé", 3, 5));
    }

    #[test]
    fn a_long_text_is_judged_by_its_end() {
        let text = format!("{}{}", "no loop here, only words ".repeat(10_000), "x");
        assert!(!ends_in_loop(&text, 3, 1));
        assert!(ends_in_loop(&format!("{text} {}", "again ".repeat(20_000)), 3, 100));
        assert!(ends_in_loop(&"a".repeat(1_000_000), 100, 1000));
    }
}
