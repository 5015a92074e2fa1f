//! Python's tokens, as the `tokenize` module of Python 3.11 finds them. Knows no names.

use std::rc::Rc;

use super::super::python::is_space;
use super::Stop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Operator,
    /// What is no token.
    Error,
    /// A line break within brackets.
    Break,
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: Text,
}

/// A token's text: most are of a few words.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Known(&'static str),
    Given(Rc<str>),
}

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Known(text) => text,
            Text::Given(text) => text,
        }
    }
}

impl Token {
    pub(super) fn new(kind: Kind, text: &str) -> Self {
        Self { kind, text: Text::Given(text.into()) }
    }

    pub(super) fn name(text: &'static str) -> Self {
        Self { kind: Kind::Name, text: Text::Known(text) }
    }

    pub(super) fn operator(text: &'static str) -> Self {
        Self { kind: Kind::Operator, text: Text::Known(text) }
    }

    pub(super) fn is(&self, operator: &str) -> bool {
        self.kind == Kind::Operator && &*self.text == operator
    }
}

/// Longest first.
const OPERATORS: [&str; 46] = [
    "**=", "...", "//=", "<<=", ">>=", "!=", "%=", "&=", "**", "*=", "+=", "-=", "->", "//", "/=", ":=", "<<", "<=",
    "==", ">=", ">>", "@=", "^=", "|=", "%", "&", "(", ")", "*", "+", ",", "-", ".", "/", ":", ";", "<", "=", ">", "@",
    "[", "]", "^", "{", "|", "}",
];
/// Brackets in brackets: Python reads no more, and every number and symbol becomes a call.
pub(super) const MAX_NESTING: usize = 198;
const MAX_TOKENS: usize = 8_000;

/// The tokens of one line in brackets; the last is the end.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, Stop> {
    let text = text.trim_matches(is_space);
    let bytes = text.as_bytes();
    let (mut tokens, mut at, mut nesting) = (Vec::new(), 0, 0usize);
    while at < bytes.len() {
        let rest = &text[at..];
        let length = match bytes[at] {
            b' ' | b'\t' | b'\x0c' => {
                at += 1;
                continue;
            }
            b'\n' if nesting > 0 => {
                tokens.push(Token::new(Kind::Break, "\n"));
                at += 1;
                continue;
            }
            // Lines outside of brackets, comments, texts, continued lines: nothing that has a value comes of them.
            b'\n' | b'\r' | b'#' | b'\'' | b'"' | b'\\' => return Err(Stop::Fails),
            _ => number(rest.as_bytes()),
        };
        let (kind, length) = if length > 0 {
            (Kind::Number, length)
        } else if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
            match operator {
                "(" | "[" | "{" => nesting += 1,
                ")" | "]" | "}" => nesting = nesting.saturating_sub(1),
                _ => {}
            }
            tokens.push(Token::operator(operator));
            at += operator.len();
            if nesting > MAX_NESTING {
                return Err(Stop::Fails);
            }
            continue;
        } else if rest.starts_with('~') {
            (Kind::Operator, 1)
        } else {
            let word = |character: char| character.is_alphanumeric() || character == '_';
            let length = rest.find(|character: char| !word(character)).unwrap_or(rest.len());
            let first = rest.chars().next().unwrap_or(' ');
            match length {
                0 => (Kind::Error, first.len_utf8()),
                // A word that begins with a digit of another script.
                _ if !first.is_alphabetic() && first != '_' => return Err(Stop::Fails),
                _ => (Kind::Name, length),
            }
        };
        if tokens.len() > MAX_TOKENS {
            return Err(Stop::Budget);
        }
        tokens.push(Token::new(kind, &rest[..length]));
        at += length;
    }
    tokens.push(Token::new(Kind::End, ""));
    Ok(tokens)
}

/// The length of the number that the text begins with; zero without one.
fn number(text: &[u8]) -> usize {
    if !text.first().is_some_and(|first| first.is_ascii_digit() || *first == b'.') {
        return 0;
    }
    let whole = digits(text, u8::is_ascii_digit);
    let mut length = whole;
    let mut is_float = false;
    if text.get(length) == Some(&b'.') {
        let fraction = digits(&text[length + 1..], u8::is_ascii_digit);
        if whole + fraction > 0 {
            is_float = true;
            length += 1 + fraction;
        }
    }
    if length == 0 {
        return 0;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(text.get(length + 1 + sign..).unwrap_or_default(), u8::is_ascii_digit);
        if exponent > 0 {
            is_float = true;
            length += 1 + sign + exponent;
        }
    }
    if matches!(text.get(length), Some(b'j' | b'J')) {
        return length + 1;
    }
    if is_float {
        return length;
    }
    if text[0] != b'0' {
        return whole;
    }
    let based = |fits: fn(&u8) -> bool| {
        let underscore = usize::from(text.get(2) == Some(&b'_'));
        let count = digits(text.get(2 + underscore..).unwrap_or_default(), fits);
        if count > 0 { 2 + underscore + count } else { 0 }
    };
    let found = match text.get(1) {
        Some(b'x' | b'X') => based(u8::is_ascii_hexdigit),
        Some(b'b' | b'B') => based(|digit| matches!(digit, b'0' | b'1')),
        Some(b'o' | b'O') => based(|digit| (b'0'..=b'7').contains(digit)),
        _ => 0,
    };
    // A zero begins no other integer: `05` is two numbers.
    if found > 0 { found } else { digits(text, |digit| *digit == b'0') }
}

/// `D(?:_?D)*`
fn digits(text: &[u8], fits: fn(&u8) -> bool) -> usize {
    let mut length = 0;
    loop {
        let underscore = usize::from(length > 0 && text.get(length) == Some(&b'_'));
        if !text.get(length + underscore).is_some_and(fits) {
            return length;
        }
        length += underscore + 1;
    }
}
