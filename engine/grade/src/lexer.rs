//! Text -> tokens: LaTeX and plain mathematics in one alphabet, without layout commands, wrappers and delimiters.
//! One pass over the text; knows nothing about what the tokens mean together.

use crate::characters::{from, is_letter, is_space, part, same_but_case, trim};
use crate::extract::find_last;
use crate::names::Name;
use crate::token::{Kind, Token};

/// The tokens of a text, with layout taken away. [`to_latex`](crate::characters::to_latex) has rewritten its characters.
pub(crate) fn tokenize(latex: &str) -> Vec<Token<'_>> {
    let mut text = trim(latex);
    // Markdown's bold; inside an expression `**` is a power.
    if let Some(inner) = text.strip_prefix("**").and_then(|rest| rest.strip_suffix("**"))
        && find_last(inner, "**").is_none()
    {
        text = inner;
    }
    let mut lexer = Lexer { rest: text, depth: 0, spaced: false, dropped: Vec::new(), out: Vec::new() };
    while let Some(token) = lexer.raw() {
        lexer.add(token);
    }
    let mut tokens = lexer.out;
    if let [only] = &mut tokens[..] {
        spell_out(only);
    }
    tokens
}

/// A number in words by itself, in digits.
fn spell_out(token: &mut Token<'_>) {
    const WORDS: [&str; 13] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    const DIGITS: [&str; 13] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    if token.kind == Kind::Word
        && let Some(at) = WORDS.iter().position(|word| same_but_case(word, token.text))
    {
        *token = Token::new(Kind::Number, DIGITS[at]);
    }
}

struct Lexer<'text> {
    rest: &'text str,
    /// Open brackets, in which a comma is no separator of thousands.
    depth: u32,
    spaced: bool,
    /// For each open `{`, whether it was a wrapper's and is not written.
    dropped: Vec<bool>,
    out: Vec<Token<'text>>,
}

impl<'text> Lexer<'text> {
    fn take(&mut self, bytes: usize) -> &'text str {
        let text = part(self.rest, 0, bytes);
        self.rest = from(self.rest, bytes);
        text
    }

    /// The next token as it stands.
    fn raw(&mut self) -> Option<Token<'text>> {
        let first = loop {
            let first = self.rest.chars().next()?;
            if !is_space(first) && first != '~' {
                break first;
            }
            self.spaced = true;
            self.take(first.len_utf8());
        };
        let bytes = self.rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let (kind, length) = if first == '\\' {
            let letters = bytes[1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            let other = from(self.rest, 1).chars().next().map_or(0, char::len_utf8);
            (Kind::Command, 1 + if letters > 0 { letters } else { other })
        } else if digit(0) || (first == '.' && digit(1)) {
            (Kind::Number, self.number_length())
        } else if is_letter(first) {
            let others = self.rest.char_indices().find(|(_, character)| !is_letter(*character));
            (Kind::Word, others.map_or(self.rest.len(), |(at, _)| at))
        } else {
            (Kind::Symbol, first.len_utf8())
        };
        let text = self.take(length);
        let mut token = Token::new(kind, text);
        // Two ways to draw one letter.
        let plain = match text {
            "\\varphi" => "\\phi",
            "\\varepsilon" => "\\epsilon",
            "\\vartheta" => "\\theta",
            "\\varrho" => "\\rho",
            "\\varsigma" => "\\sigma",
            _ => text,
        };
        if plain != text {
            token = Token::new(kind, plain);
        }
        if kind == Kind::Word && matches!(text, "a" | "p" | "A" | "P") && self.meridiem() {
            token = Token::new(kind, if matches!(text, "a" | "A") { "am" } else { "pm" });
        }
        Some(token)
    }

    /// Takes the rest of `a.m.`.
    fn meridiem(&mut self) -> bool {
        let rest = self.rest.as_bytes();
        let found = matches!(rest, [b'.', b'm' | b'M', ..]) && !rest.get(2).is_some_and(u8::is_ascii_alphanumeric);
        if found {
            self.take(if rest.get(2) == Some(&b'.') { 3 } else { 2 });
        }
        found
    }

    /// The length of a number; a comma counts as a separator of thousands only where a list cannot stand.
    fn number_length(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let whole = digits(0);
        let mut at = whole;
        while (1..=3).contains(&whole)
            && let Some(skip) = separator(from(self.rest, at), self.depth == 0)
            && digits(at + skip) == 3
        {
            at += skip + 3;
        }
        if bytes.get(at) == Some(&b'.') && digits(at + 1) > 0 {
            at += 1 + digits(at + 1);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(at + 1 + sign);
            if exponent > 0 {
                at += 1 + sign + exponent;
            }
        }
        at
    }

    /// Writes a token, or does what a command for layout says.
    fn add(&mut self, token: Token<'text>) {
        match token.name {
            Name::OpenGroup => {
                self.dropped.push(false);
                self.push(token);
            }
            Name::CloseGroup if self.dropped.pop() == Some(true) => self.spaced = true,
            Name::Delimiter => {}
            // `**` is a power, `<=` one relation, `==` a doubled one.
            Name::Times if token.text == "*" && self.next_is('*') => self.double(Name::Power, token),
            Name::Less if self.next_is('=') => self.double(Name::LessEqual, token),
            Name::Greater if self.next_is('=') => self.double(Name::GreaterEqual, token),
            Name::Equals if self.next_is('=') => self.double(Name::Equals, token),
            Name::Bang if self.next_is('=') => self.double(Name::NotEqual, token),
            Name::Power if self.degree() => self.push(Token { kind: Kind::Command, name: Name::Degree, ..token }),
            Name::Side => {
                self.spaced = true;
                if self.next_is('.') {
                    self.raw();
                }
            }
            Name::Layout => self.spaced = true,
            Name::Wrapper | Name::Text => {
                self.spaced |= token.name == Name::Text;
                if self.next_is('{') {
                    self.dropped.push(true);
                    self.raw();
                }
            }
            Name::Dropped => self.skip_group(),
            Name::Begin | Name::End => self.environment(token),
            // A backslash before white space or at the end.
            Name::None if matches!(token.text.strip_prefix('\\'), Some(rest) if trim(rest).is_empty()) => {
                self.spaced = true
            }
            Name::Frac | Name::Binom => {
                self.push(token);
                self.split_arguments();
            }
            Name::Newline => {
                self.push(token);
                self.skip_line_space();
            }
            _ => self.push(token),
        }
    }

    fn double(&mut self, name: Name, first: Token<'text>) {
        self.raw();
        self.push(Token { kind: Kind::Symbol, name, ..first });
    }

    /// `\begin{pmatrix}` becomes one token with the text `pmatrix`; an environment for layout only is left out.
    fn environment(&mut self, side: Token<'text>) {
        let end = self.rest.bytes().take(18).position(|byte| byte == b'}');
        let Some(end) = end.filter(|_| self.next_is('{')) else {
            self.push(side);
            return;
        };
        let name = part(self.take(end + 1), 1, end);
        let name = name.strip_suffix('*').unwrap_or(name);
        if matches!(name, "aligned" | "align" | "equation" | "gathered" | "gather" | "split" | "center") {
            self.spaced = true;
            return;
        }
        self.push(Token { text: name, ..side });
        if name == "array" && side.name == Name::Begin && self.next_is('{') {
            self.skip_group();
        }
    }

    /// `\frac12` is a half and `\frac12x` a half of x: an argument without braces is one digit or letter.
    fn split_arguments(&mut self) {
        let mut missing = 2;
        while missing > 0 {
            let before = self.rest;
            let Some(token) = self.raw() else { return };
            if !matches!(token.kind, Kind::Number | Kind::Word) {
                self.rest = before;
                return;
            }
            let mut rest = token.text;
            while let Some(first) = rest.chars().next().filter(|_| missing > 0) {
                let argument = part(rest, 0, first.len_utf8());
                self.push(Token::new(Kind::Symbol, "{"));
                self.push(Token::new(token.kind, argument));
                self.push(Token::new(Kind::Symbol, "}"));
                (rest, missing) = (from(rest, first.len_utf8()), missing - 1);
            }
            if !rest.is_empty() {
                self.push(Token::new(token.kind, rest));
            }
        }
    }

    /// After `^`: `\circ`, `{\circ}` or the letter o.
    fn degree(&mut self) -> bool {
        let (rest, spaced) = (self.rest, self.spaced);
        let mut next = || self.raw().map(|token| (token.name, token.text));
        let mut first = next();
        let braced = matches!(first, Some((Name::OpenGroup, _)));
        if braced {
            first = next();
        }
        let circle = matches!(first, Some((Name::Circ | Name::Degree, _) | (Name::None, "o")));
        let found = circle && (!braced || matches!(next(), Some((Name::CloseGroup, _))));
        self.spaced = spaced;
        if !found {
            self.rest = rest;
        }
        found
    }

    /// Leaves a group out.
    fn skip_group(&mut self) {
        if !self.next_is('{') {
            return;
        }
        let mut depth = 0usize;
        while let Some(token) = self.raw() {
            match token.name {
                Name::OpenGroup => depth += 1,
                Name::CloseGroup => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Leaves out the space after a line, as of `\\\\[2pt]`.
    fn skip_line_space(&mut self) {
        let end = self.rest.bytes().take(10).position(|byte| byte == b']');
        if let Some(end) = end.filter(|_| self.rest.starts_with('['))
            && ["pt", "em", "ex", "mm", "cm"].iter().any(|unit| part(self.rest, 1, end).ends_with(unit))
        {
            self.take(end + 1);
        } else if self.rest.starts_with('*') {
            self.take(1);
        }
    }

    fn next_is(&self, symbol: char) -> bool {
        self.rest.chars().find(|character| !is_space(*character)) == Some(symbol)
    }

    fn push(&mut self, token: Token<'text>) {
        match token.name {
            Name::Open | Name::OpenSquare | Name::OpenSet => self.depth += 1,
            Name::Close | Name::CloseSquare | Name::CloseSet => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.out.push(Token { spaced: self.spaced, ..token });
        self.spaced = false;
    }
}

/// The length of a separator of thousands.
fn separator(rest: &str, commas: bool) -> Option<usize> {
    for separator in ["{,}", ",\\!", "\\,", "\\!", "\\;", "\\:", "\\ "] {
        if rest.starts_with(separator) {
            return Some(separator.len());
        }
    }
    let first = rest.chars().next().filter(|_| commas)?;
    matches!(first, ',' | ' ' | '~' | '\u{a0}' | '\u{202f}' | '\u{2009}').then(|| first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::tokenize;
    use crate::token::{digest, render, same_text};

    #[test]
    fn one_spelling() {
        for (text, expected) in [
            ("$\\dfrac12$", "\\frac1 2"),
            ("\\frac{1}{2}", "\\frac1 2"),
            ("\\text{ 5 cm}", "5cm"),
            ("1,234,567", "1234567"),
            ("1{,}234", "1234"),
            ("1\\,234", "1234"),
            ("\\{1,132\\}", "\\{1,132\\}"),
            ("30^{\\circ}", "30\\degree"),
            ("x**2", "x^2"),
            ("**A**", "a"),
            ("\\left( 1 , 2\\right]", "(1,2]"),
            ("\\left\\{1\\right.", "\\{1"),
            ("\\color{red}5", "5"),
            ("\\frac{1", "\\frac{1"),
            ("x<=2", "x\\le2"),
            ("9:00 a.m.", "9:00am"),
            ("1\\\\[2pt]2\\\\[1,2]", "1\\\\2\\\\[1,2]"),
            ("1\\;000\\ 000", "1000000"),
            ("{\\large 5}\\textcolor{red}{x}", "5x"),
            ("\\begin{array}{cc}1&2\\end{array}", "\\begin{array}1&2\\end{array}"),
            ("2.5E-3 e", "2.5e-3e"),
            ("\\", ""),
        ] {
            let tokens = tokenize(text);
            assert_eq!(render(&tokens), expected, "{text}");
            let again = tokenize(expected);
            assert!(same_text(&tokens, &again), "{text}");
            assert_eq!(digest(&tokens), digest(&again), "{text}");
        }
        assert!(!same_text(&tokenize("x y"), &tokenize("xy")));
    }
}
