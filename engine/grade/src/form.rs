//! The outer form of an answer: a set, a tuple, a list, a matrix, an equation, an interval, or none of these.
//! Looks at brackets and separators only; what stands between them is for others to compare.

use crate::functions::is_letter_command;
use crate::token::{Kind, Token};

/// Layers of brackets and punctuation around an answer that are looked through.
const MAX_LAYERS: usize = 16;

pub(crate) type Tokens<'text> = &'text [Token];

pub(crate) enum Form<'text> {
    Set(Vec<Tokens<'text>>),
    /// Ordered, in brackets: a tuple, a point, a vector, an interval.
    Sequence {
        brackets: (char, char),
        items: Vec<Tokens<'text>>,
    },
    /// Without brackets. `either`: joined by `or`, not `and`.
    List {
        items: Vec<Tokens<'text>>,
        either: bool,
    },
    /// The value with `+` and the value with `-`.
    PlusMinus(Tokens<'text>),
    Union(Vec<Tokens<'text>>),
    /// All real numbers but those of a set.
    RealsWithout(Tokens<'text>),
    Matrix {
        determinant: bool,
        rows: Vec<Vec<Tokens<'text>>>,
    },
    /// Parts between `=`, `<`, `>`, `le`, `ge`, `ne`, and these relations.
    Chain {
        parts: Vec<Tokens<'text>>,
        relations: Vec<&'text str>,
    },
    Ratio(Vec<Tokens<'text>>),
    Plain(Tokens<'text>),
}

/// The form of an answer.
pub(crate) fn form(tokens: Tokens<'_>) -> Form<'_> {
    let tokens = without_membership(strip(tokens));
    if let [only] = tokens
        && only.is_command("emptyset")
    {
        return Form::Set(Vec::new());
    }
    if let Some(inside) = enclosed(tokens) {
        let (open, close) = (&tokens[0], &tokens[tokens.len() - 1]);
        if open.is_command("lbrace") {
            return Form::Set(items(inside));
        }
        if open.is_command("begin") {
            return matrix(inside).unwrap_or(Form::Plain(tokens));
        }
        let items = items(inside);
        if items.len() > 1 || open.is_symbol("[") {
            let bracket = |token: &Token| token.text.chars().next().unwrap_or(' ');
            return Form::Sequence { brackets: (bracket(open), bracket(close)), items };
        }
    }
    let unions = split(tokens, |at| is_union(tokens, at));
    if unions.len() > 1 {
        return Form::Union(unions);
    }
    if let [reals, minus, set @ ..] = tokens
        && reals.is_word("r")
        && (minus.is_command("setminus") || minus.is_symbol("-"))
        && set.first().is_some_and(|token| token.is_command("lbrace"))
    {
        return Form::RealsWithout(set);
    }
    inner_form(tokens)
}

fn inner_form(tokens: Tokens<'_>) -> Form<'_> {
    let separated = items(tokens);
    if separated.len() > 1 {
        let either = !tokens.iter().any(|token| token.is_word("and"));
        return Form::List { items: separated, either };
    }
    let relation = |at: usize| relation(&tokens[at]).is_some();
    let parts = split(tokens, relation);
    if parts.len() > 1 {
        let at_depth = positions(tokens, relation);
        return Form::Chain { parts, relations: at_depth.iter().map(|&at| tokens[at].text.as_str()).collect() };
    }
    let is_number = |token: Option<&Token>| token.is_some_and(|token| token.kind == Kind::Number);
    let ratio = split(tokens, |at| {
        let to = tokens[at].is_word("to") && at > 0 && is_number(tokens.get(at - 1)) && is_number(tokens.get(at + 1));
        tokens[at].is_symbol(":") || to
    });
    if ratio.len() > 1 && ratio.iter().all(|part| !part.is_empty()) {
        return Form::Ratio(ratio);
    }
    if tokens.iter().any(|token| token.is_command("pm")) {
        return Form::PlusMinus(tokens);
    }
    Form::Plain(tokens)
}

/// Takes away what surrounds an answer: braces, quotes, punctuation at the end, an equals sign in front.
pub(crate) fn strip(tokens: Tokens<'_>) -> Tokens<'_> {
    let mut tokens = tokens;
    for _ in 0..MAX_LAYERS {
        let quote = |token: &Token| token.kind == Kind::Symbol && matches!(token.text.as_str(), "\"" | "'");
        let end = |token: &Token| {
            let punctuation = matches!(token.text.as_str(), "." | "," | ";" | ":" | "\"");
            (token.kind == Kind::Symbol && punctuation) || token.is_command("newline")
        };
        let inner = match tokens {
            [first, inner @ .., last] if quote(first) && first == last && !inner.is_empty() => inner,
            [first, ..] if first.is_symbol("{") => match enclosed(tokens) {
                Some(inside) => inside,
                None => return tokens,
            },
            [first, inner @ ..] if first.is_symbol("=") && !inner.is_empty() => inner,
            [inner @ .., last] if end(last) && !inner.is_empty() => inner,
            _ => return tokens,
        };
        tokens = inner;
    }
    tokens
}

/// What the first and the last token enclose, when they are brackets of one pair.
pub(crate) fn enclosed(tokens: Tokens<'_>) -> Option<Tokens<'_>> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let last_closes = last.closes() || tokens.iter().rev().nth(1).is_some_and(|token| token.is_command("end"));
    if tokens.len() < 2 || !first.opens() || !last_closes {
        return None;
    }
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.checked_sub(1)?;
            let end = if token.is_command("end") { at + 2 } else { at + 1 };
            if depth == 0 {
                let pair = bracket_pair(first, token);
                return (end == tokens.len() && pair).then(|| &tokens[1..at]);
            }
        }
    }
    None
}

fn bracket_pair(open: &Token, close: &Token) -> bool {
    match open.text.as_str() {
        "{" => close.is_symbol("}"),
        "lbrace" => close.is_command("rbrace"),
        "begin" => close.is_command("end"),
        "(" | "[" => close.is_symbol(")") || close.is_symbol("]"),
        _ => false,
    }
}

/// Positions outside all brackets where a separator stands.
fn positions(tokens: Tokens<'_>, separates: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut depth = 0usize;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.opens() {
            depth += 1;
        } else if token.closes() {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && separates(at) {
            found.push(at);
        }
    }
    found
}

fn split<'text>(tokens: Tokens<'text>, separates: impl Fn(usize) -> bool) -> Vec<Tokens<'text>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in positions(tokens, separates) {
        parts.push(&tokens[start..at]);
        start = at + 1;
    }
    parts.push(&tokens[start..]);
    parts
}

/// Items between commas, semicolons, `and` and `or`; a comma before `and` counts once. Empty items stay.
fn items(tokens: Tokens<'_>) -> Vec<Tokens<'_>> {
    if tokens.is_empty() {
        return Vec::new();
    }
    let mixed = is_mixed_number(tokens);
    let separates = |at: usize| {
        let token = &tokens[at];
        let word = token.is_word("and") || token.is_word("or");
        token.is_symbol(",") || token.is_symbol(";") || (word && !mixed && at > 0)
    };
    let parts = split(tokens, separates);
    if parts.len() == 1 {
        return parts;
    }
    let joined = |at: usize| at > 0 && tokens.get(at).is_some_and(|token| token.is_word("and") || token.is_word("or"));
    let mut kept = Vec::with_capacity(parts.len());
    let mut at = 0;
    for part in parts {
        let next = at + part.len();
        if !(part.is_empty() && joined(next)) {
            kept.push(part);
        }
        at = next + 1;
    }
    kept
}

/// `4 and 3/5`: a whole number and a fraction below one.
pub(crate) fn is_mixed_number(tokens: Tokens<'_>) -> bool {
    let [whole, and, fraction @ ..] = tokens else { return false };
    let proper = |above: &Token, below: &Token| {
        above.is_integer() && below.is_integer() && (above.text.len(), &above.text) < (below.text.len(), &below.text)
    };
    whole.is_integer()
        && and.is_word("and")
        && match fraction {
            [above, slash, below] => slash.is_symbol("/") && proper(above, below),
            [frac, _, above, _, _, below, _] => frac.is_command("frac") && proper(above, below),
            _ => false,
        }
}

/// `\cup`, or the letter U between two intervals.
fn is_union(tokens: Tokens<'_>, at: usize) -> bool {
    let closes = |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_some_and(Token::closes);
    let opens = tokens.get(at + 1).is_some_and(Token::opens);
    tokens[at].is_command("cup") || (tokens[at].text == "U" && closes(at.checked_sub(1)) && opens)
}

fn relation(token: &Token) -> Option<&str> {
    let text = token.text.as_str();
    match token.kind {
        Kind::Symbol => matches!(text, "=" | "<" | ">").then_some(text),
        Kind::Command => matches!(text, "le" | "ge" | "ne").then_some(text),
        _ => None,
    }
}

/// `x \in S` is S.
fn without_membership(tokens: Tokens<'_>) -> Tokens<'_> {
    match tokens {
        [_, member, set @ ..] if member.is_command("in") && !set.is_empty() => set,
        _ => tokens,
    }
}

/// The rows of `\begin{pmatrix} ... \end{pmatrix}`, given what stands between `begin` and `end`.
fn matrix(inside: Tokens<'_>) -> Option<Form<'_>> {
    let (name, body) = inside.split_first()?;
    let determinant = name.text == "vmatrix";
    if !determinant && !matches!(name.text.as_str(), "pmatrix" | "bmatrix" | "matrix" | "smallmatrix" | "array") {
        return None;
    }
    let mut rows: Vec<Vec<Tokens<'_>>> = split(body, |at| body[at].is_command("newline"))
        .into_iter()
        .map(|row| split(row, |at| row[at].is_symbol("&")))
        .collect();
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    Some(Form::Matrix { determinant, rows })
}

/// Whether the left side of an equation only names its right side: `x`, `f(x)`, `AB`, `\angle ABC`, `area`.
pub(crate) fn is_name(tokens: Tokens<'_>) -> bool {
    let named = |token: &Token| match token.kind {
        Kind::Word => true,
        Kind::Number => false,
        Kind::Symbol => matches!(token.text.as_str(), "(" | ")" | "_" | "{" | "}" | "'" | ","),
        Kind::Command => {
            is_letter_command(&token.text)
                || matches!(token.text.as_str(), "angle" | "triangle" | "overline" | "overrightarrow" | "vec")
        }
    };
    let subscript = |at: usize| at > 0 && (tokens[at - 1].is_symbol("_") || tokens[at - 1].kind == Kind::Word);
    let holds = |(at, token): (usize, &Token)| named(token) || (token.kind == Kind::Number && subscript(at));
    let starts = tokens.first().is_some_and(|first| matches!(first.kind, Kind::Word | Kind::Command));
    starts && tokens.len() <= 10 && tokens.iter().enumerate().all(holds)
}
