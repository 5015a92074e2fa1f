//! What Python's strings and numbers do, where the reference relies on it: white space, digits, `float()`, `round()`.
//! Knows nothing of answers.

use num_bigint::BigInt;
use num_traits::FromPrimitive;

/// The zeros of the decimal digits of Unicode; nine more digits follow each.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0,
    0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x11f50,
    0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950,
];

/// `str.isspace` of one character.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// `str.isalpha` of one character: letters, without the marks and the letter-like numbers that Rust counts in.
pub(super) fn is_alpha(character: char) -> bool {
    const OTHERS: [(char, char); 8] = [
        ('\u{345}', '\u{345}'),
        ('\u{5b0}', '\u{5c7}'),
        ('\u{610}', '\u{61a}'),
        ('\u{64b}', '\u{65f}'),
        ('\u{16ee}', '\u{16f0}'),
        ('\u{2160}', '\u{2188}'),
        ('\u{24b6}', '\u{24e9}'),
        ('\u{1f130}', '\u{1f189}'),
    ];
    character.is_alphabetic() && !OTHERS.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// `str.strip`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The value of a decimal digit of any script.
pub(super) fn digit(character: char) -> Option<u32> {
    if character.is_ascii() {
        return character.to_digit(10);
    }
    let code = character as u32;
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= code)].last()?;
    Some(code - zero).filter(|value| *value < 10)
}

/// `float(text)`: digits of any script, underscores between digits, `inf` and `nan`. `None` where it raises.
pub(super) fn float(text: &str) -> Option<f64> {
    let text = strip(text);
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match digit(character) {
            Some(value) => plain.push(char::from_digit(value, 10)?),
            None => plain.push(character),
        }
    }
    let between_digits = |(at, byte): (usize, u8)| {
        let digit = |at: Option<usize>| at.and_then(|at| plain.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
        byte != b'_' || (digit(at.checked_sub(1)) && digit(at.checked_add(1)))
    };
    if !plain.bytes().enumerate().all(between_digits) {
        return None;
    }
    let plain = plain.replace('_', "");
    let named = plain.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if named.starts_with(|first: char| first.is_ascii_alphabetic()) {
        if plain.len() > named.len() + 1 {
            return None;
        }
        let value = match named.as_str() {
            "inf" | "infinity" => f64::INFINITY,
            "nan" => f64::NAN,
            _ => return None,
        };
        return Some(if plain.starts_with('-') { -value } else { value });
    }
    plain.parse().ok()
}

/// `abs(x - int(round(x))) <= 1e-7`; false where it raises.
pub(super) fn is_near_integer(value: f64) -> bool {
    value.is_finite() && (value - value.round_ties_even()).abs() <= 1e-7
}

/// All digits of an integral double.
pub(super) fn digits(value: f64) -> String {
    BigInt::from_f64(value).map_or_else(String::new, |integer| integer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_python() {
        let cases = [
            ("1", Some(1.0)),
            (" 1_000.5 ", Some(1000.5)),
            ("１２", Some(12.0)),
            ("-.5", Some(-0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1__0", None),
            ("_1", None),
            ("", None),
            ("+-1", None),
            ("--inf", None),
            ("0x10", None),
            ("1,000", None),
        ];
        for (text, value) in cases {
            assert_eq!(float(text), value, "{text}");
        }
        assert!(float("nan").is_some_and(f64::is_nan));
        assert_eq!(digits(1e22), "10000000000000000000000");
    }
}
