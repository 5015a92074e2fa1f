//! Compares two answers by their form: part by part where they have parts, else by value.
//! The order of the rules is MathRuler's (normal form, tuples, values), with more forms.

use crate::Rule;
use crate::equality::{Equal, Work, equal, same_equation};
use crate::form::{Form, Tokens, form, is_mixed_number, is_name, strip};
use crate::interval::{End, Interval, intervals};
use crate::token::{Kind, Token, render};
use crate::units::{compatible, measure};

/// Forms within forms: an interval in a list in a set.
const MAX_DEPTH: usize = 6;
/// Items of a collection that are matched in any order; longer ones only by their normal form.
const MAX_UNORDERED: usize = 24;

/// The rule by which two answers are the same, if one finds them so.
pub(crate) fn compare(prediction: Tokens<'_>, truth: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    let (prediction, truth) = (strip(prediction), strip(truth));
    if prediction.is_empty() || truth.is_empty() {
        return None;
    }
    if render(prediction) == render(truth) {
        return Some(Rule::Normal);
    }
    if same_words(prediction, truth) {
        return Some(Rule::Normal);
    }
    if let (Some(chosen), Some(right)) = (choice(prediction), choice(truth)) {
        return (chosen == right).then_some(Rule::Choice);
    }
    if is_date(prediction) || is_date(truth) {
        return None;
    }
    if let Some(same) = same_time(prediction, truth, work) {
        return same.then_some(Rule::Numeric);
    }
    same(prediction, truth, 0, work)
}

fn same(a: Tokens<'_>, b: Tokens<'_>, depth: usize, work: &mut Work) -> Option<Rule> {
    if depth > MAX_DEPTH || !work.spend(a.len() + b.len()) {
        return None;
    }
    let (a, b) = (strip(a), strip(b));
    if a.is_empty() || b.is_empty() {
        return None;
    }
    // At the top the normal forms are known to differ.
    if depth > 0 && render(a) == render(b) {
        return Some(Rule::Normal);
    }
    let depth = depth + 1;
    let (form_a, form_b) = (form(a), form(b));
    match (&form_a, &form_b) {
        (Form::Set(a), Form::Set(b)) => unordered(&distinct(a), &distinct(b), depth, work).then_some(Rule::Set),
        (Form::Set(set), Form::List { items, .. }) | (Form::List { items, .. }, Form::Set(set)) => {
            unordered(&distinct(set), items, depth, work).then_some(Rule::Set)
        }
        (Form::Sequence { brackets: left, items: a }, Form::Sequence { brackets: right, items: b }) => {
            (left == right && ordered(a, b, depth, work)).then_some(Rule::Tuple)
        }
        (Form::Sequence { brackets: ('(', ')'), items: a }, Form::List { items: b, .. })
        | (Form::List { items: a, .. }, Form::Sequence { brackets: ('(', ')'), items: b }) => {
            ordered(a, b, depth, work).then_some(Rule::Tuple)
        }
        (Form::List { items: a, .. }, Form::List { items: b, .. }) => {
            let same = unordered(a, b, depth, work) || (a.len() > MAX_UNORDERED && ordered(a, b, depth, work));
            if same { Some(Rule::Set) } else { same_intervals(&form_a, &form_b, depth, work) }
        }
        (Form::PlusMinus(both), other) | (other, Form::PlusMinus(both)) => plus_minus(both, other, depth, work),
        (Form::Matrix { determinant: left, rows: a }, Form::Matrix { determinant: right, rows: b }) => {
            let rows = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ordered(a, b, depth, work));
            (left == right && rows).then_some(Rule::Matrix)
        }
        (Form::Ratio(a), Form::Ratio(b)) => ordered(a, b, depth, work).then_some(Rule::Tuple),
        (Form::Chain { parts: a, relations: left }, Form::Chain { parts: b, relations: right }) => {
            relations((a, left), (b, right), depth, work).or_else(|| same_intervals(&form_a, &form_b, depth, work))
        }
        (Form::Chain { parts, relations }, _) if is_value(parts, relations, work) => {
            same(parts[parts.len() - 1], b, depth, work)
        }
        (_, Form::Chain { parts, relations }) if is_value(parts, relations, work) => {
            same(a, parts[parts.len() - 1], depth, work)
        }
        (Form::Plain(a), Form::Plain(b)) => same_value(a, b, work),
        // One of them may still be a number: `4 and 3/5` beside `4, 3/5`, `(5)` beside `5`.
        _ => same_intervals(&form_a, &form_b, depth, work),
    }
}

/// Values, each with its unit: equal values, and units that do not contradict.
fn same_value(a: Tokens<'_>, b: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    let (a, b) = (joined_mixed(a), joined_mixed(b));
    if let Some(same) = same_based(&a, &b) {
        return same.then_some(Rule::Numeric);
    }
    let (left, right) = (measure(&a), measure(&b));
    if left.unit.is_empty() && right.unit.is_empty() {
        return equal_rule(&left.value, &right.value, work);
    }
    if compatible(&left.unit, &right.unit)
        && let Some(rule) = equal_rule(&left.value, &right.value, work)
    {
        return Some(rule);
    }
    None
}

fn equal_rule(a: Tokens<'_>, b: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    if render(a) == render(b) {
        return Some(Rule::Normal);
    }
    Some(match equal(a, b, work)? {
        Equal::Number => Rule::Numeric,
        Equal::Expression => Rule::Expression,
    })
}

/// `4 and 3/5` as `4 3/5`.
fn joined_mixed(tokens: Tokens<'_>) -> Vec<Token> {
    if !is_mixed_number(tokens) {
        return tokens.to_vec();
    }
    tokens.iter().filter(|token| !token.is_word("and")).cloned().map(|token| Token { spaced: true, ..token }).collect()
}

/// Numbers with a base as subscript: the digits decide; a missing base is taken as meant. `None` without a base.
fn same_based(a: Tokens<'_>, b: Tokens<'_>) -> Option<bool> {
    let (left, right) = (based(a), based(b));
    let plain = |tokens: Tokens<'_>| match tokens {
        [number] if number.is_integer() => Some((render(tokens), String::new())),
        _ => None,
    };
    if left.is_none() && right.is_none() {
        return None;
    }
    let (left, right) = (left.or_else(|| plain(a))?, right.or_else(|| plain(b))?);
    Some(left.0 == right.0 && compatible(&left.1, &right.1))
}

fn based(tokens: Tokens<'_>) -> Option<(String, String)> {
    match tokens {
        [digits, under, base @ ..] if digits.is_integer() && under.is_symbol("_") && !base.is_empty() => {
            Some((digits.text.clone(), render(base)))
        }
        _ => None,
    }
}

fn ordered(a: &[Tokens<'_>], b: &[Tokens<'_>], depth: usize, work: &mut Work) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, depth, work).is_some())
}

/// Whether each item has a partner of its own.
fn unordered(a: &[Tokens<'_>], b: &[Tokens<'_>], depth: usize, work: &mut Work) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let sorted = |items: &[Tokens<'_>]| {
        let mut lines: Vec<String> = items.iter().map(|item| render(item)).collect();
        lines.sort_unstable();
        lines
    };
    if sorted(a) == sorted(b) {
        return a.iter().all(|item| !item.is_empty());
    }
    if a.len() > MAX_UNORDERED {
        return false;
    }
    let mut left: Vec<&Tokens<'_>> = b.iter().collect();
    a.iter().all(|item| match left.iter().position(|other| same(item, other, depth, work).is_some()) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    })
}

fn distinct<'text>(items: &[Tokens<'text>]) -> Vec<Tokens<'text>> {
    let mut seen = std::collections::HashSet::new();
    items.iter().copied().filter(|item| seen.insert(render(item))).collect()
}

/// `a \pm b` is the list of both values.
fn plus_minus(both: Tokens<'_>, other: &Form<'_>, depth: usize, work: &mut Work) -> Option<Rule> {
    let signed = |tokens: Tokens<'_>, plus: bool| -> Vec<Token> {
        let sign = |token: &Token| match (token.kind, token.text.as_str()) {
            (Kind::Command, "pm") => Token::new(Kind::Symbol, if plus { "+" } else { "-" }),
            (Kind::Command, "mp") => Token::new(Kind::Symbol, if plus { "-" } else { "+" }),
            _ => token.clone(),
        };
        tokens.iter().map(sign).collect()
    };
    if both.len() > 200 {
        return None;
    }
    let (plus, minus) = (signed(both, true), signed(both, false));
    let found = match other {
        Form::List { items, .. } | Form::Set(items) => unordered(&[&plus, &minus], items, depth, work),
        Form::PlusMinus(other) => {
            let (plus_2, minus_2) = (signed(other, true), signed(other, false));
            unordered(&[&plus, &minus], &[&plus_2, &minus_2], depth, work)
        }
        Form::Chain { parts, relations } if is_value(parts, relations, work) => {
            return plus_minus(both, &form(parts[parts.len() - 1]), depth, work);
        }
        _ => false,
    };
    found.then_some(Rule::Set)
}

/// Whether a chain only gives a value a name, or works a number out: `x = 5`, `1 + 1 = 2`.
fn is_value(parts: &[Tokens<'_>], relations: &[&str], work: &mut Work) -> bool {
    let equations = relations.iter().all(|relation| *relation == "=");
    let Some((last, before)) = parts.split_last() else { return false };
    equations
        && !last.is_empty()
        && before.iter().all(|part| is_name(part) || (!part.is_empty() && equal(part, last, work).is_some()))
}

fn relations(a: (&[Tokens<'_>], &[&str]), b: (&[Tokens<'_>], &[&str]), depth: usize, work: &mut Work) -> Option<Rule> {
    let named = |parts: &[Tokens<'_>]| parts.len() == 2 && is_name(parts[0]);
    if let (&["="], &["="]) = (a.1, b.1) {
        let same_name = render(a.0[0]) == render(b.0[0]) || a.0[0].len() > 1 || b.0[0].len() > 1;
        if named(a.0) && named(b.0) && same_name && same(a.0[1], b.0[1], depth, work).is_some() {
            return Some(Rule::Equation);
        }
        let (left, right) = ([a.0[0], a.0[1]], [b.0[0], b.0[1]]);
        return same_equation(left, right, false, work).then_some(Rule::Equation);
    }
    let (&[left], &[right]) = (a.1, b.1) else { return None };
    let strict = |relation: &str| matches!(relation, "<" | ">");
    let sides = |parts: &[_], relation: &str| match relation {
        ">" | "ge" => [parts[1], parts[0]],
        _ => [parts[0], parts[1]],
    };
    let comparable = ["<", ">", "le", "ge"];
    if !comparable.contains(&left) || !comparable.contains(&right) || strict(left) != strict(right) {
        return None;
    }
    same_equation(sides(a.0, left), sides(b.0, right), true, work).then_some(Rule::Equation)
}

fn same_intervals(a: &Form<'_>, b: &Form<'_>, depth: usize, work: &mut Work) -> Option<Rule> {
    let (a, b) = (intervals(a)?, intervals(b)?);
    if a.len() != b.len() || a.len() > MAX_UNORDERED {
        return None;
    }
    let mut left: Vec<&Interval<'_>> = b.iter().collect();
    let all = a.iter().all(|interval| {
        let partner = left.iter().position(|other| {
            same_end(interval.low, other.low, depth, work) && same_end(interval.high, other.high, depth, work)
        });
        partner.map(|at| left.swap_remove(at)).is_some()
    });
    all.then_some(Rule::Interval)
}

fn same_end(a: End<'_>, b: End<'_>, depth: usize, work: &mut Work) -> bool {
    match (a.value, b.value) {
        (None, None) => true,
        (Some(left), Some(right)) => a.closed == b.closed && same(left, right, depth, work).is_some(),
        _ => false,
    }
}

/// Text that differs in its spaces only: `forest green`, `forestgreen`.
fn same_words(a: Tokens<'_>, b: Tokens<'_>) -> bool {
    let joined = |tokens: Tokens<'_>| -> Option<String> {
        let words = tokens.iter().all(|token| token.kind == Kind::Word);
        words.then(|| tokens.iter().map(|token| token.text.to_lowercase()).collect())
    };
    joined(a).is_some_and(|text| text.chars().nth(3).is_some() && joined(b) == Some(text))
}

/// The letter of a multiple-choice answer: `A`, `(A)`, `A.`, `Option A`, `(A) and what it says`.
fn choice(tokens: Tokens<'_>) -> Option<char> {
    let tokens = match tokens {
        [word, rest @ ..] if ["option", "choice", "answer"].iter().any(|name| word.is_word(name)) => rest,
        _ => tokens,
    };
    let letter = |token: &Token| {
        let mut characters = token.text.chars();
        let first = characters.next().filter(char::is_ascii_alphabetic);
        first.filter(|_| token.kind == Kind::Word && characters.next().is_none()).map(|c| c.to_ascii_uppercase())
    };
    let option = |token: &Token| letter(token).filter(|letter| ('A'..='J').contains(letter));
    match tokens {
        [only] => letter(only),
        [open, middle, close] if open.is_symbol("(") && close.is_symbol(")") => letter(middle),
        [first, end] if [")", ".", ":"].iter().any(|mark| end.is_symbol(mark)) => letter(first),
        [open, middle, close, rest @ ..] if open.is_symbol("(") && close.is_symbol(")") && explains(rest) => {
            option(middle)
        }
        [first, end, rest @ ..] if [")", ".", ":"].iter().any(|mark| end.is_symbol(mark)) && explains(rest) => {
            option(first)
        }
        _ => None,
    }
}

/// Whether what follows an option's letter is its text, not more of a formula or another option.
fn explains(rest: Tokens<'_>) -> bool {
    let starts = rest.first().is_some_and(|first| {
        first.spaced && matches!(first.kind, Kind::Word | Kind::Number | Kind::Command) && !first.is_command("cup")
    });
    let joins = rest.iter().any(|token| token.is_word("and") || token.is_word("or") || token.is_symbol(","));
    starts && !joins
}

/// `2021-03-05`, `10/1/1`: digits in three parts. Such answers are compared as text only.
fn is_date(tokens: Tokens<'_>) -> bool {
    match tokens {
        [year, first, month, second, day] => {
            let mark = first.is_symbol("-") || first.is_symbol("/");
            let short = [year, month, day].iter().all(|part| part.is_integer() && part.text.len() <= 4);
            mark && first.text == second.text && short
        }
        _ => false,
    }
}

/// Times of day with am or pm. `None` unless both are such times.
fn same_time(a: Tokens<'_>, b: Tokens<'_>, work: &mut Work) -> Option<bool> {
    let time = |tokens: Tokens<'_>| -> Option<(Token, Option<Token>, String)> {
        let (half, clock) = tokens.split_last()?;
        let half = ["am", "pm"].into_iter().find(|word| half.is_word(word))?;
        match clock {
            [hour] if hour.is_integer() => Some((hour.clone(), None, half.to_string())),
            [hour, colon, minute] if colon.is_symbol(":") => {
                Some((hour.clone(), Some(minute.clone()), half.to_string()))
            }
            _ => None,
        }
    };
    let (a, b) = (time(a)?, time(b)?);
    let zero = Token::new(Kind::Number, "0");
    let (minute_a, minute_b) = (a.1.unwrap_or_else(|| zero.clone()), b.1.unwrap_or(zero));
    let hours = equal(&[a.0], &[b.0], work).is_some();
    Some(hours && a.2 == b.2 && equal(&[minute_a], &[minute_b], work).is_some())
}
