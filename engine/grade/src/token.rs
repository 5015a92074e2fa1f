//! Parts of a formula or a sentence, and lines of them: which read the same, and how they are written.
//! Knows spellings; nothing about what the tokens mean together.

use crate::characters::{lower, same_but_case};
use crate::names::Name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Digits with an optional fraction and exponent; separators of thousands may stand between the digits.
    Number,
    /// A run of letters.
    Word,
    /// A LaTeX command with its backslash; `\begin` and `\end` have the environment's name as text, so with no backslash.
    Command,
    /// One other character. `{` and `}` group.
    Symbol,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'text> {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    /// White space, or a LaTeX space, stands before it.
    pub(crate) spaced: bool,
    pub(crate) text: &'text str,
}

/// Tokens side by side.
pub(crate) type Tokens<'a> = &'a [Token<'a>];

impl<'text> Token<'text> {
    pub(crate) fn new(kind: Kind, text: &'text str) -> Self {
        let name = if kind == Kind::Number { Name::None } else { Name::of(text) };
        Self { kind, name, spaced: false, text }
    }

    pub(crate) fn is_word(&self, name: Name) -> bool {
        self.kind == Kind::Word && self.name == name
    }

    pub(crate) fn is_number(&self) -> bool {
        self.kind == Kind::Number
    }

    /// Digits only: no fraction, no exponent.
    pub(crate) fn is_integer(&self) -> bool {
        self.kind == Kind::Number && !self.text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    }

    /// The one ASCII letter that it is.
    pub(crate) fn letter(&self) -> Option<u8> {
        match self.text.as_bytes() {
            [letter] if self.kind == Kind::Word => Some(*letter),
            _ => None,
        }
    }

    /// The characters of a number without separators.
    pub(crate) fn digits(&self) -> impl Iterator<Item = u8> {
        let mut scale = false;
        self.text.bytes().filter_map(move |byte| match byte {
            b'0'..=b'9' | b'.' => Some(byte),
            b'e' | b'E' => {
                scale = true;
                Some(b'e')
            }
            b'+' | b'-' if scale => Some(byte),
            _ => None,
        })
    }

    /// Whether both are spelled alike, but for case.
    fn same(&self, other: &Self) -> bool {
        if self.name.is_sign() || other.name.is_sign() {
            return self.name == other.name;
        }
        match self.kind {
            _ if self.kind != other.kind => false,
            Kind::Number => self.digits().eq(other.digits()),
            Kind::Command => self.text == other.text,
            Kind::Word | Kind::Symbol => same_but_case(self.text, other.text),
        }
    }
}

/// The tokens without the braces around a single one.
fn visible<'a>(tokens: Tokens<'a>) -> impl Iterator<Item = &'a Token<'a>> {
    let mut skip = usize::MAX;
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        if token.name == Name::OpenGroup && tokens.get(at + 2).is_some_and(|close| close.name == Name::CloseGroup) {
            skip = at + 2;
            return None;
        }
        (at != skip).then_some(token)
    })
}

/// Whether two lines of tokens read the same: not counting case, spaces, and braces around a single token.
pub(crate) fn same_text(a: Tokens<'_>, b: Tokens<'_>) -> bool {
    let (mut left, mut right) = (visible(a), visible(b));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.same(b) => {}
            _ => return false,
        }
    }
}

/// A number that is the same for lines that read the same; others share it by chance alone.
pub(crate) fn digest(tokens: Tokens<'_>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut mix = |value: u32| hash = (hash ^ u64::from(value)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    for token in visible(tokens) {
        mix(0x11_0000);
        match token.kind {
            _ if token.name.is_sign() => mix(0x12_0000 + token.name as u32),
            Kind::Number => token.digits().for_each(|digit| mix(u32::from(digit))),
            Kind::Command => token.text.chars().for_each(|character| mix(character as u32)),
            _ => token.text.chars().for_each(|character| mix(lower(character) as u32)),
        }
    }
    hash
}

/// Writes tokens as one line: lowercase, spaces only where two words or numbers meet, no braces around one token.
pub(crate) fn render(tokens: Tokens<'_>) -> String {
    let mut line = String::new();
    let mut last = None;
    for token in visible(tokens) {
        let apart = match token.kind {
            Kind::Number => last == Some(Kind::Number),
            Kind::Word => matches!(last, Some(Kind::Word | Kind::Command)),
            Kind::Command | Kind::Symbol => false,
        };
        if apart {
            line.push(' ');
        }
        match token.kind {
            _ if token.name.is_sign() => line.push_str(token.name.spelling()),
            Kind::Number => token.digits().for_each(|digit| line.push(char::from(digit))),
            Kind::Word => token.text.chars().for_each(|letter| line.push(lower(letter))),
            Kind::Command if matches!(token.name, Name::Begin | Name::End) => {
                line.push_str(token.name.spelling());
                line.push('{');
                line.push_str(token.text);
                line.push('}');
            }
            Kind::Command | Kind::Symbol => line.push_str(token.text),
        }
        last = Some(token.kind);
    }
    line
}
