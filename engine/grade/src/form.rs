//! The outer form of an answer: a set, a tuple, a list, a matrix, an equation, an interval, or none of these.
//! Looks at brackets and separators only; what stands between them is for others to compare.

use crate::characters::is_longer;
use crate::names::Name;
use crate::token::{Kind, Token, Tokens};

/// Layers of brackets and punctuation around an answer that are looked through.
const MAX_LAYERS: usize = 16;

pub(crate) enum Form<'a> {
    Set(Vec<Tokens<'a>>),
    /// Ordered, in brackets: a tuple, a point, a vector, an interval.
    Sequence {
        brackets: (Name, Name),
        items: Vec<Tokens<'a>>,
    },
    /// Without brackets. `either`: joined by `or`, not `and`.
    List {
        items: Vec<Tokens<'a>>,
        either: bool,
    },
    /// The value with `+` and the value with `-`.
    PlusMinus(Tokens<'a>),
    Union(Vec<Tokens<'a>>),
    /// The real numbers, or an interval, but not the numbers of a set.
    Without {
        whole: Tokens<'a>,
        set: Tokens<'a>,
    },
    Matrix {
        determinant: bool,
        rows: Vec<Vec<Tokens<'a>>>,
    },
    /// Parts between relations, and these relations.
    Chain {
        parts: Vec<Tokens<'a>>,
        relations: Vec<Name>,
    },
    Ratio(Vec<Tokens<'a>>),
    Plain(Tokens<'a>),
}

/// The form of an answer.
pub(crate) fn form(tokens: Tokens<'_>) -> Form<'_> {
    let mut tokens = match strip(tokens) {
        // `x \in S` is S.
        [_, member, set @ ..] if member.name == Name::In && !set.is_empty() => set,
        tokens => tokens,
    };
    // Brackets around one thing mean nothing.
    for _ in 0..MAX_LAYERS {
        let around = matches!(tokens, [first, ..] if matches!(first.name, Name::Open | Name::OpenSquare));
        match enclosed(tokens).filter(|_| around) {
            Some(inside) if !inside.is_empty() && items(inside).len() == 1 => tokens = strip(inside),
            _ => break,
        }
    }
    if let [only] = tokens
        && only.name == Name::EmptySet
    {
        return Form::Set(Vec::new());
    }
    if let Some(inside) = enclosed(tokens) {
        let (open, close) = (tokens[0].name, tokens[tokens.len() - 1].name);
        if open == Name::OpenSet {
            return condition(inside).map_or_else(|| Form::Set(items(inside)), form);
        }
        if open == Name::Begin {
            return matrix(tokens[0].text, inside).unwrap_or(Form::Plain(tokens));
        }
        let items = items(inside);
        if items.len() > 1 {
            return Form::Sequence { brackets: (open, close), items };
        }
    }
    let unions = split(tokens, is_union);
    if unions.len() > 1 {
        return union(unions);
    }
    if is_reals(tokens) {
        return Form::Without { whole: tokens, set: &[] };
    }
    let difference = split(tokens, |tokens, at| {
        let set = tokens.get(at + 1).is_some_and(|token| token.name == Name::OpenSet);
        matches!(tokens[at].name, Name::Setminus | Name::Minus) && set
    });
    match difference[..] {
        [whole, set] => Form::Without { whole, set },
        _ => inner_form(tokens),
    }
}

/// A union; of sets whose elements are written out, the set of them.
fn union(parts: Vec<Tokens<'_>>) -> Form<'_> {
    let mut all = Vec::new();
    for part in &parts {
        match form(part) {
            Form::Set(mut items) => all.append(&mut items),
            _ => return Form::Union(parts),
        }
    }
    Form::Set(all)
}

/// Whether it is the set of real numbers.
fn is_reals(tokens: Tokens<'_>) -> bool {
    matches!(tokens, [only] if only.kind == Kind::Word && only.text == "R")
}

/// What `\{x : x > 0\}` says of its elements.
fn condition(inside: Tokens<'_>) -> Option<Tokens<'_>> {
    let rest = match inside {
        [variable, member, _, rest @ ..] if variable.letter().is_some() && member.name == Name::In => rest,
        [variable, rest @ ..] if variable.letter().is_some() => rest,
        _ => return None,
    };
    let (bar, rest) = rest.split_first()?;
    (matches!(bar.name, Name::Bar | Name::Colon) && rest.iter().any(|token| token.name.relates())).then_some(rest)
}

fn inner_form(tokens: Tokens<'_>) -> Form<'_> {
    let separated = items(tokens);
    if separated.len() > 1 {
        let either = !tokens.iter().any(|token| token.is_word(Name::And));
        return Form::List { items: separated, either };
    }
    let parts = split(tokens, |tokens, at| tokens[at].name.relates());
    if parts.len() > 1 {
        let mut relations = Vec::with_capacity(parts.len());
        let mut at = 0;
        for part in &parts[..parts.len() - 1] {
            at += part.len();
            relations.push(tokens[at].name);
            at += 1;
        }
        return Form::Chain { parts, relations };
    }
    let ratio = split(tokens, |tokens, at| {
        let is_number = |at: usize| tokens.get(at).is_some_and(Token::is_number);
        tokens[at].name == Name::Colon
            || (tokens[at].is_word(Name::To) && is_number(at.wrapping_sub(1)) && is_number(at + 1))
    });
    if ratio.len() > 1 && ratio.iter().all(|part| !part.is_empty()) {
        return Form::Ratio(ratio);
    }
    if tokens.iter().any(|token| token.name == Name::PlusMinus) {
        return Form::PlusMinus(tokens);
    }
    Form::Plain(tokens)
}

/// Takes away what surrounds an answer: braces, quotes, punctuation at the end, an equals sign in front.
pub(crate) fn strip(tokens: Tokens<'_>) -> Tokens<'_> {
    let mut tokens = tokens;
    for _ in 0..MAX_LAYERS {
        let [first, .., last] = tokens else { break };
        let inner = &tokens[1..];
        let quote = matches!(first.name, Name::Quote | Name::Prime) && first.name == last.name;
        tokens = if quote && inner.len() > 1 {
            &inner[..inner.len() - 1]
        } else if first.name == Name::OpenGroup {
            match enclosed(tokens) {
                Some(inside) => inside,
                None => break,
            }
        } else if matches!(first.name, Name::Equals | Name::Approx) {
            inner
        } else if ends(last.name) {
            &tokens[..tokens.len() - 1]
        } else {
            break;
        };
    }
    tokens
}

fn ends(name: Name) -> bool {
    matches!(name, Name::Dot | Name::Comma | Name::Semicolon | Name::Colon | Name::Quote | Name::Newline)
}

/// What the first and the last token enclose, when they are brackets of one pair.
pub(crate) fn enclosed<'a>(tokens: Tokens<'a>) -> Option<Tokens<'a>> {
    let [first, inside @ .., last] = tokens else { return None };
    let pair = match first.name {
        Name::OpenGroup => last.name == Name::CloseGroup,
        Name::OpenSet => last.name == Name::CloseSet,
        Name::Begin => last.name == Name::End,
        Name::Open | Name::OpenSquare => matches!(last.name, Name::Close | Name::CloseSquare),
        _ => false,
    };
    if !pair {
        return None;
    }
    let mut depth = 0usize;
    for token in inside {
        if token.name.opens() {
            depth += 1;
        } else if token.name.closes() {
            depth = depth.checked_sub(1)?;
        }
    }
    (depth == 0).then_some(inside)
}

/// The parts between the places outside all brackets where a separator stands.
fn split<'a>(tokens: Tokens<'a>, separates: fn(Tokens<'a>, usize) -> bool) -> Vec<Tokens<'a>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, token) in tokens.iter().enumerate() {
        if token.name.opens() {
            depth += 1;
        } else if token.name.closes() {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && separates(tokens, at) {
            parts.push(&tokens[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// Items between commas, semicolons, `and` and `or`; a comma before `and` counts once. Empty items stay.
fn items(tokens: Tokens<'_>) -> Vec<Tokens<'_>> {
    if tokens.is_empty() {
        return Vec::new();
    }
    split(tokens, |tokens, at| match tokens[at].name {
        Name::Comma => !tokens.get(at + 1).is_some_and(is_conjunction),
        Name::Semicolon => true,
        _ => at > 0 && is_conjunction(&tokens[at]) && !is_mixed_number(tokens),
    })
}

fn is_conjunction(token: &Token<'_>) -> bool {
    token.is_word(Name::And) || token.is_word(Name::Or)
}

/// `4 and 3/5`: a whole number and a fraction below one.
pub(crate) fn is_mixed_number(tokens: Tokens<'_>) -> bool {
    let (whole, and, above, below) = match tokens {
        [whole, and, above, slash, below] if slash.name == Name::Slash => (whole, and, above, below),
        [whole, and, frac, _, above, _, _, below, _] if frac.name == Name::Frac => (whole, and, above, below),
        _ => return false,
    };
    let proper = (above.text.len(), above.text) < (below.text.len(), below.text);
    and.is_word(Name::And) && proper && [whole, above, below].into_iter().all(Token::is_integer)
}

/// `\cup`, or the letter U between two intervals.
fn is_union(tokens: Tokens<'_>, at: usize) -> bool {
    let closes = tokens.get(at.wrapping_sub(1)).is_some_and(|token| token.name.closes());
    let opens = tokens.get(at + 1).is_some_and(|token| token.name.opens());
    tokens[at].name == Name::Cup || (tokens[at].text == "U" && closes && opens)
}

/// The rows of `\begin{pmatrix} ... \end{pmatrix}`.
fn matrix<'a>(environment: &str, body: Tokens<'a>) -> Option<Form<'a>> {
    let determinant = environment == "vmatrix";
    if !determinant && !matches!(environment, "pmatrix" | "bmatrix" | "matrix" | "smallmatrix" | "array" | "Bmatrix") {
        return None;
    }
    // `(5, 6)` as a matrix of one row.
    let commas = !body.iter().any(|token| token.name == Name::Ampersand);
    let mut rows = Vec::new();
    for row in split(body, |tokens, at| tokens[at].name == Name::Newline) {
        if !row.is_empty() {
            let cells = if commas {
                split(row, |tokens, at| tokens[at].name == Name::Comma)
            } else {
                split(row, |tokens, at| tokens[at].name == Name::Ampersand)
            };
            rows.push(cells);
        }
    }
    Some(Form::Matrix { determinant, rows })
}

/// Whether the left side of an equation only names its right side: `x`, `f(3)`, `f^{-1}(x)`, `AB`, `|AB|`, `(x, y)`, `x:y`,
/// `\angle ABC`, `\sin A`, `area`.
pub(crate) fn is_name(tokens: Tokens<'_>) -> bool {
    let tokens = match tokens {
        // A length, not the absolute value of a variable.
        [open, length, close] if open.name == Name::Bar && close.name == Name::Bar && is_longer(length.text, 1) => {
            std::slice::from_ref(length)
        }
        _ => tokens,
    };
    let starts = tokens.first().is_some_and(|first| {
        let several =
            first.name == Name::Open && tokens.iter().any(|token| matches!(token.name, Name::Comma | Name::Circ));
        matches!(first.kind, Kind::Word | Kind::Command) || several
    });
    let (mut after_letter, mut before, mut at) = (false, Name::None, 0);
    while let Some(token) = tokens.get(at) {
        let fits = match token.name {
            Name::Open | Name::Close | Name::Under | Name::OpenGroup | Name::CloseGroup | Name::Prime | Name::Comma => {
                true
            }
            Name::Letter | Name::Mark | Name::Pi | Name::Circ | Name::Colon => true,
            Name::Sin | Name::Cos | Name::Tan => true,
            Name::Minus => before == Name::Open,
            // The inverse of a function.
            Name::Power if is_inverse(&tokens[at + 1..]) => {
                at += 4;
                true
            }
            _ if token.is_number() => after_letter || (matches!(before, Name::Open | Name::Minus) && at > 1),
            _ => token.kind == Kind::Word,
        };
        if !fits {
            return false;
        }
        after_letter =
            token.kind == Kind::Word || matches!(token.name, Name::Under | Name::OpenGroup | Name::Letter | Name::Mark);
        before = token.name;
        at += 1;
    }
    starts && tokens.len() <= 12
}

/// `{-1}` and a bracket.
fn is_inverse(tokens: Tokens<'_>) -> bool {
    let is = |at: usize, name: Name| tokens.get(at).is_some_and(|token| token.name == name);
    is(0, Name::OpenGroup)
        && is(1, Name::Minus)
        && tokens.get(2).is_some_and(|one| one.text == "1")
        && is(3, Name::CloseGroup)
        && is(4, Name::Open)
}
