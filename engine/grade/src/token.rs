//! Text -> tokens: LaTeX and plain mathematics in one alphabet, without layout commands, wrappers and delimiters.
//! One pass over the characters, one over the tokens; knows nothing about what the tokens mean together.

use crate::characters::to_latex;

/// Most bytes of LaTeX for a byte of text: `½` in two bytes is `\frac{1}{2}`.
const MAX_GROWTH: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Digits with an optional fraction and exponent; no separators.
    Number,
    /// A run of letters.
    Word,
    /// A LaTeX command, without its backslash. `lbrace` and `rbrace` are the braces of a set.
    Command,
    /// One other character. `{` and `}` group.
    Symbol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// White space, or a LaTeX space, stands before it.
    pub(crate) spaced: bool,
}

impl Token {
    pub(crate) fn new(kind: Kind, text: &str) -> Self {
        Self { kind, text: text.to_string(), spaced: false }
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    pub(crate) fn is_command(&self, name: &str) -> bool {
        self.kind == Kind::Command && self.text == name
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Digits only: no fraction, no exponent.
    pub(crate) fn is_integer(&self) -> bool {
        self.kind == Kind::Number && self.text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// `{`, `(`, `[` or the opening brace of a set.
    pub(crate) fn opens(&self) -> bool {
        match self.kind {
            Kind::Symbol => matches!(self.text.as_str(), "{" | "(" | "["),
            Kind::Command => matches!(self.text.as_str(), "lbrace" | "lfloor" | "lceil" | "begin"),
            _ => false,
        }
    }

    pub(crate) fn closes(&self) -> bool {
        match self.kind {
            Kind::Symbol => matches!(self.text.as_str(), "}" | ")" | "]"),
            Kind::Command => matches!(self.text.as_str(), "rbrace" | "rfloor" | "rceil" | "end"),
            _ => false,
        }
    }
}

/// The tokens of a text, with layout taken away.
pub(crate) fn tokenize(text: &str) -> Vec<Token> {
    let mut text = text.trim();
    // Markdown's bold; inside an expression `**` is a power.
    if let Some(inner) = text.strip_prefix("**").and_then(|rest| rest.strip_suffix("**"))
        && !inner.contains("**")
    {
        text = inner.trim();
    }
    let latex = to_latex(text).replace("a.m.", "am").replace("p.m.", "pm");
    // Some characters stand for a phrase; such a text is not mathematics.
    if latex.len() > MAX_GROWTH * text.len() + 64 {
        return Vec::new();
    }
    simplify(&split(&latex))
}

fn split(latex: &str) -> Vec<Token> {
    let characters: Vec<char> = latex.chars().collect();
    let mut tokens: Vec<Token> = Vec::new();
    let (mut at, mut depth, mut spaced) = (0, 0usize, false);
    while let Some(&first) = characters.get(at) {
        let start = at;
        let (kind, text) = match first {
            _ if first.is_whitespace() || first == '~' => {
                spaced = true;
                at += 1;
                continue;
            }
            '\\' => {
                at += 1;
                (Kind::Command, command(&characters, &mut at))
            }
            _ if first.is_ascii_digit() || (first == '.' && starts_fraction(&characters, at)) => {
                (Kind::Number, number(&characters, &mut at, depth == 0))
            }
            _ if first.is_alphabetic() => {
                while characters.get(at).is_some_and(|letter| letter.is_alphabetic()) {
                    at += 1;
                }
                (Kind::Word, characters[start..at].iter().collect())
            }
            _ => {
                at += 1;
                (Kind::Symbol, first.to_string())
            }
        };
        match text.as_str() {
            "(" | "[" if kind == Kind::Symbol => depth += 1,
            ")" | "]" if kind == Kind::Symbol => depth = depth.saturating_sub(1),
            "{" if kind == Kind::Command => depth += 1,
            "}" if kind == Kind::Command => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { kind, text, spaced });
        spaced = false;
    }
    tokens
}

fn starts_fraction(characters: &[char], at: usize) -> bool {
    let digit = |at: usize| characters.get(at).is_some_and(char::is_ascii_digit);
    digit(at + 1) && !(at > 0 && digit(at - 1))
}

fn command(characters: &[char], at: &mut usize) -> String {
    let start = *at;
    while characters.get(*at).is_some_and(char::is_ascii_alphabetic) {
        *at += 1;
    }
    if *at == start && *at < characters.len() {
        *at += 1;
    }
    characters[start..*at].iter().collect()
}

/// A number from `at`; a comma counts as a separator of thousands only where a list cannot stand.
fn number(characters: &[char], at: &mut usize, commas: bool) -> String {
    let digits = |from: usize| characters[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut text = String::new();
    let whole = digits(*at);
    text.extend(&characters[*at..*at + whole]);
    *at += whole;
    if (1..=3).contains(&whole) {
        while let Some(skip) = separator(&characters[*at..], commas)
            && digits(*at + skip) == 3
        {
            *at += skip;
            text.extend(&characters[*at..*at + 3]);
            *at += 3;
        }
    }
    if characters.get(*at) == Some(&'.') && digits(*at + 1) > 0 {
        let fraction = digits(*at + 1);
        text.extend(&characters[*at..=*at + fraction]);
        *at += 1 + fraction;
    }
    if matches!(characters.get(*at), Some('e' | 'E')) {
        let sign = usize::from(matches!(characters.get(*at + 1), Some('+' | '-')));
        let exponent = characters.get(*at + 1 + sign..).map_or(0, |_| digits(*at + 1 + sign));
        if exponent > 0 {
            text.push('e');
            text.extend(&characters[*at + 1..*at + 1 + sign + exponent]);
            *at += 1 + sign + exponent;
        }
    }
    text
}

fn separator(rest: &[char], commas: bool) -> Option<usize> {
    const ALWAYS: [&[char]; 4] = [&['{', ',', '}'], &[',', '\\', '!'], &['\\', ','], &['\\', '!']];
    if let Some(found) = ALWAYS.iter().find(|separator| rest.starts_with(separator)) {
        return Some(found.len());
    }
    match rest.first() {
        Some(',') if commas => Some(1),
        Some(' ' | '~' | '\u{a0}' | '\u{202f}' | '\u{2009}') if commas => Some(1),
        _ => None,
    }
}

/// Commands that only set type; with their group they mean the group.
#[rustfmt::skip]
const WRAPPERS: [&str; 30] = [
    "text", "textbf", "textit", "textrm", "textsf", "texttt", "textnormal", "mathrm", "mathbf", "mathit", "mathsf",
    "mathtt", "mathbb", "mathcal", "boldsymbol", "bm", "mbox", "hbox", "operatorname", "underline", "boxed", "fbox",
    "emph", "mathnormal", "mathop", "pmb", "ensuremath", "textsc", "tt", "bold",
];

/// Commands that mean nothing by themselves.
#[rustfmt::skip]
const LAYOUT: [&str; 40] = [
    "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "middle",
    "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "bf", "rm", "it", "sf", "cal", "centering",
    "nonumber", "notag", "hfill", "quad", "qquad", "!", ",", ";", ":", " ", "\n", ">", "/", "space", "thinspace",
    "strut",
];

/// Commands that go together with their group.
const DROPPED: [&str; 8] = ["phantom", "hphantom", "vphantom", "color", "hspace", "vspace", "label", "tag"];

/// Environments that only lay their content out.
#[rustfmt::skip]
const PLAIN_ENVIRONMENTS: [&str; 10] = [
    "aligned", "align", "align*", "equation", "equation*", "gathered", "gather", "gather*", "split", "center",
];

fn synonym(command: &str) -> Option<(Kind, &'static str)> {
    let same = match command {
        "dfrac" | "tfrac" | "cfrac" | "nicefrac" => (Kind::Command, "frac"),
        "dbinom" | "tbinom" => (Kind::Command, "binom"),
        "leq" | "leqslant" => (Kind::Command, "le"),
        "geq" | "geqslant" => (Kind::Command, "ge"),
        "neq" => (Kind::Command, "ne"),
        "lt" => (Kind::Symbol, "<"),
        "gt" => (Kind::Symbol, ">"),
        "cdotp" | "ast" | "cdot" | "times" | "star" => (Kind::Symbol, "*"),
        "div" => (Kind::Symbol, "/"),
        "colon" => (Kind::Symbol, ":"),
        "%" => (Kind::Symbol, "%"),
        "&" => (Kind::Symbol, "&"),
        "#" => (Kind::Symbol, "#"),
        "_" => (Kind::Symbol, "_"),
        "lvert" | "rvert" | "vert" | "mid" | "|" => (Kind::Symbol, "|"),
        "lbrack" => (Kind::Symbol, "["),
        "rbrack" => (Kind::Symbol, "]"),
        "lparen" => (Kind::Symbol, "("),
        "rparen" => (Kind::Symbol, ")"),
        "{" | "lbrace" => (Kind::Command, "lbrace"),
        "}" | "rbrace" => (Kind::Command, "rbrace"),
        "varnothing" | "empty" => (Kind::Command, "emptyset"),
        "rightarrow" | "longrightarrow" => (Kind::Command, "to"),
        "varepsilon" => (Kind::Command, "epsilon"),
        "varphi" => (Kind::Command, "phi"),
        "vartheta" => (Kind::Command, "theta"),
        "backslash" => (Kind::Command, "setminus"),
        "degree" | "degrees" | "textdegree" => (Kind::Command, "degree"),
        "\\" | "newline" | "cr" => (Kind::Command, "newline"),
        _ => return None,
    };
    Some(same)
}

/// Takes layout, wrappers and the delimiters of mathematics away and gives each symbol one spelling.
fn simplify(tokens: &[Token]) -> Vec<Token> {
    let mut simple = Simplifier { tokens, at: 0, dropped: Vec::new(), out: Vec::new(), spaced: false };
    while simple.at < tokens.len() {
        simple.step();
    }
    simple.out
}

struct Simplifier<'tokens> {
    tokens: &'tokens [Token],
    at: usize,
    /// For each open `{`, whether it was a wrapper's and is not written.
    dropped: Vec<bool>,
    out: Vec<Token>,
    spaced: bool,
}

impl Simplifier<'_> {
    fn step(&mut self) {
        let token = &self.tokens[self.at];
        self.at += 1;
        self.spaced |= token.spaced;
        match (token.kind, token.text.as_str()) {
            (Kind::Symbol, "{") => {
                self.dropped.push(false);
                self.push(Kind::Symbol, "{");
            }
            (Kind::Symbol, "}") => match self.dropped.pop() {
                Some(true) => self.spaced = true,
                _ => self.push(Kind::Symbol, "}"),
            },
            (Kind::Symbol, "$" | "`") => {}
            (Kind::Symbol, "*") if self.next_is("*") => {
                self.at += 1;
                self.push(Kind::Symbol, "^");
            }
            (Kind::Symbol, "<" | ">") if self.next_is("=") => {
                self.at += 1;
                self.push(Kind::Command, if token.text == "<" { "le" } else { "ge" });
            }
            (Kind::Symbol, "^") if self.degree() => self.push(Kind::Command, "degree"),
            (Kind::Command, name) => self.command(name),
            (kind, text) => self.push(kind, text),
        }
    }

    fn command(&mut self, name: &str) {
        if matches!(name, "$" | "(" | ")" | "[" | "]" | "") {
        } else if LAYOUT.contains(&name) {
            self.spaced = true;
            if matches!(name, "left" | "right") && self.next_is(".") {
                self.at += 1;
            }
        } else if WRAPPERS.contains(&name) {
            self.spaced |= name.starts_with("text") || matches!(name, "mbox" | "mathrm");
            if self.next_is("{") {
                self.dropped.push(true);
                self.at += 1;
            }
        } else if DROPPED.contains(&name) {
            self.skip_group();
        } else if matches!(name, "begin" | "end") {
            self.environment(name);
        } else if let Some((kind, text)) = synonym(name) {
            self.push(kind, text);
        } else {
            self.push(Kind::Command, name);
        }
        if self.out.last().is_some_and(|token| token.is_command("frac") || token.is_command("binom")) {
            self.split_arguments();
        }
    }

    /// `\begin{pmatrix}` becomes the commands `begin` and `pmatrix`; an environment for layout only is left out.
    fn environment(&mut self, side: &str) {
        let group = self.tokens.get(self.at..).unwrap_or_default();
        let length = group.iter().take(8).position(|token| token.is_symbol("}"));
        let Some(length) = length.filter(|_| self.next_is("{")) else {
            self.push(Kind::Command, side);
            return;
        };
        let name: String = group[1..length].iter().map(|token| token.text.as_str()).collect();
        self.at += length + 1;
        if PLAIN_ENVIRONMENTS.contains(&name.as_str()) {
            self.spaced = true;
            return;
        }
        self.push(Kind::Command, side);
        self.push(Kind::Command, &name);
        if name == "array" && side == "begin" && self.next_is("{") {
            self.skip_group();
        }
    }

    /// `\frac12` is a half and `\frac12x` a half of x: an argument without braces is one digit or letter.
    fn split_arguments(&mut self) {
        let mut missing = 2;
        while missing > 0 {
            let Some(token) = self.tokens.get(self.at) else { return };
            if !matches!(token.kind, Kind::Number | Kind::Word) {
                return;
            }
            self.at += 1;
            let mut rest = token.text.as_str();
            while let Some(first) = rest.chars().next().filter(|_| missing > 0) {
                let (argument, after) = rest.split_at(first.len_utf8());
                self.group(token.kind, argument);
                (rest, missing) = (after, missing - 1);
            }
            if !rest.is_empty() {
                self.push(token.kind, rest);
            }
        }
    }

    fn group(&mut self, kind: Kind, text: &str) {
        self.push(Kind::Symbol, "{");
        self.push(kind, text);
        self.push(Kind::Symbol, "}");
    }

    /// After `^`: `\circ`, `{\circ}` or the letter o.
    fn degree(&mut self) -> bool {
        let is_circle = |token: &Token| token.is_command("circ") || token.is_word("o") || token.is_command("degree");
        match self.tokens.get(self.at..) {
            Some([circle, ..]) if is_circle(circle) => self.at += 1,
            Some([open, circle, close, ..]) if open.is_symbol("{") && is_circle(circle) && close.is_symbol("}") => {
                self.at += 3;
            }
            _ => return false,
        }
        true
    }

    fn skip_group(&mut self) {
        if !self.next_is("{") {
            return;
        }
        let mut depth = 0usize;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            if token.is_symbol("{") {
                depth += 1;
            } else if token.is_symbol("}") {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    fn next_is(&self, symbol: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| token.is_symbol(symbol))
    }

    fn push(&mut self, kind: Kind, text: &str) {
        self.out.push(Token { kind, text: text.to_string(), spaced: self.spaced });
        self.spaced = false;
    }
}

/// Writes tokens as one line: lowercase, spaces only where two words or numbers meet, no braces around one token.
pub(crate) fn render(tokens: &[Token]) -> String {
    let mut line = String::new();
    let mut last: Option<Kind> = None;
    let mut skip_close = usize::MAX;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_symbol("{") && tokens.get(at + 2).is_some_and(|close| close.is_symbol("}")) {
            skip_close = at + 2;
            continue;
        }
        if at == skip_close {
            continue;
        }
        let apart = match token.kind {
            Kind::Number => last == Some(Kind::Number),
            Kind::Word => matches!(last, Some(Kind::Word | Kind::Command)),
            Kind::Command | Kind::Symbol => false,
        };
        if apart {
            line.push(' ');
        }
        if token.kind == Kind::Command {
            line.push('\\');
            line.push_str(&token.text);
        } else {
            line.extend(token.text.chars().flat_map(char::to_lowercase));
        }
        last = Some(token.kind);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{render, tokenize};

    #[test]
    fn one_spelling() {
        for (text, expected) in [
            ("$\\dfrac12$", "\\frac1 2"),
            ("\\frac{1}{2}", "\\frac1 2"),
            ("\\text{ 5 cm}", "5cm"),
            ("1,234,567", "1234567"),
            ("1{,}234", "1234"),
            ("1\\,234", "1234"),
            ("\\{1,132\\}", "\\lbrace1,132\\rbrace"),
            ("30^{\\circ}", "30\\degree"),
            ("x**2", "x^2"),
            ("**A**", "a"),
            ("\\left( 1 , 2\\right]", "(1,2]"),
            ("\\color{red}5", "5"),
            ("\\frac{1", "\\frac{1"),
        ] {
            assert_eq!(render(&tokenize(text)), expected, "{text}");
        }
    }
}
