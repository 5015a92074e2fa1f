//! Numbers and texts as people read them. Knows nothing of what they measure.

use indicatif::{HumanBytes, HumanCount};

/// What stands in a table where there is no value.
pub(crate) const NOTHING: &str = "–";

/// A count with separators: `12,345`.
pub(crate) fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// A size: `1.20 KiB`.
pub(crate) fn bytes(value: u64) -> String {
    HumanBytes(value).to_string()
}

/// A length of time: `0.04 s`, `12.3 s`, `3 min 07 s`, `1 h 04 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 0.995 {
        return format!("{:.2} s", seconds.max(0.0));
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A speed: `12.3/s`, or for slow work `4.5 s each`; nothing where it is not known.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        speed if !speed.is_finite() || speed <= 0.0 => String::new(),
        speed if speed >= 100.0 => format!("{}/s", count(speed.round() as u64)),
        speed if speed >= 1.0 => format!("{speed:.1}/s"),
        speed => format!("{} each", duration(1.0 / speed)),
    }
}

/// A share as a percentage: `41.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A difference of two shares in percentage points, signed: `+13.5`.
pub(crate) fn points(difference: f64) -> String {
    let rounded = (1000.0 * difference).round() / 10.0;
    if rounded == 0.0 { "0.0".to_owned() } else { format!("{rounded:+.1}") }
}

/// A p value: `0.0123`, `< 0.0001`.
pub(crate) fn probability(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// One of a thing or several: `1 record`, `2 records`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The text without what a terminal would obey: control characters become visible or blanks, line breaks stay.
pub(crate) fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|character| match character {
            '\n' => '\n',
            '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// The command that this process was started with, without the option `but` and its values.
pub(crate) fn same_command(but: &str) -> String {
    shell_line(without(std::env::args_os().map(|word| word.to_string_lossy().into_owned()), but))
}

/// The words without `OPTION VALUE` and `OPTION=VALUE`.
fn without(words: impl Iterator<Item = String>, option: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let mut value_follows = false;
    for word in words {
        let is_value = std::mem::take(&mut value_follows);
        value_follows = !is_value && word == option;
        let joined = word.strip_prefix(option).is_some_and(|rest| rest.starts_with('='));
        if !is_value && !value_follows && !joined {
            kept.push(word);
        }
    }
    kept
}

/// The words of a command as one line, fit to be pasted into a shell.
pub(crate) fn shell_line(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        let line = shell_line(["nodes.grpo.steps=10", "a b", "it's", ""].map(str::to_owned));
        assert_eq!(line, r"nodes.grpo.steps=10 'a b' 'it'\''s' ''");
    }

    #[test]
    fn an_option_leaves_with_its_value() {
        let words = "ruminate run g.toml --from sft --to eval --from=grpo --from-here x";
        let left = without(words.split(' ').map(str::to_owned), "--from");
        assert_eq!(left.join(" "), "ruminate run g.toml --to eval --from-here x");
    }

    #[test]
    fn durations_read_well() {
        let cases = [
            (0.0, "0.00 s"),
            (0.994, "0.99 s"),
            (0.996, "1.0 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (187.0, "3 min 07 s"),
            (3599.6, "1 h 00 min"),
            (3840.0, "1 h 04 min"),
            (200_000.0, "2 d 07 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn rates_and_shares_read_well() {
        assert_eq!(rate(12.34), "12.3/s");
        assert_eq!(rate(1234.0), "1,234/s");
        assert_eq!(rate(0.25), "4.0 s each");
        assert_eq!(rate(f64::NAN), "");
        assert_eq!(percent(0.415), "41.5 %");
        assert_eq!(points(0.135), "+13.5");
        assert_eq!(points(-0.0001), "0.0");
        assert_eq!(probability(0.00003), "< 0.0001");
        assert_eq!(plural(1, "record"), "1 record");
        assert_eq!(plural(1200, "record"), "1,200 records");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tb\r\nc"), "a\u{fffd}[2J b\nc");
    }
}
