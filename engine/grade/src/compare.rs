//! Compares two answers by their form: part by part where they have parts, else by value.
//! The order of the rules is MathRuler's (normal form, tuples, values), with more forms.

use crate::Rule;
use crate::calendar::{self, Day};
use crate::equality::{Equal, Work, equal, equal_expressions, same_equation};
use crate::form::{Form, enclosed, form, is_mixed_number, is_name, strip};
use crate::interval::{End, Interval, intervals};
use crate::names::Name;
use crate::parser::parse;
use crate::token::{Kind, Token, Tokens, digest, same_text};
use crate::units::{Measure, Unit, compound, measure};
use crate::words::is_product;

/// Forms within forms: an interval in a list in a set.
const MAX_DEPTH: usize = 6;
/// Items of a collection that are matched in any order; longer ones only by their normal form.
const MAX_UNORDERED: usize = 24;
/// Items of a set of which repeated ones are left out.
const MAX_DISTINCT: usize = 256;

/// The rule by which two answers are the same, if one finds them so.
pub(crate) fn compare(prediction: Tokens<'_>, truth: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    let (prediction, truth) = (strip(prediction), strip(truth));
    if prediction.is_empty() || truth.is_empty() || !work.spend(prediction.len() + truth.len()) {
        return None;
    }
    if same_text(prediction, truth) || same_words(prediction, truth) {
        return Some(Rule::Normal);
    }
    if let (Some(chosen), Some(right)) = (choice(prediction), choice(truth)) {
        return (chosen == right).then_some(Rule::Choice);
    }
    match (calendar::day(prediction), calendar::day(truth)) {
        (Day::None, Day::None) => {}
        (left, right) => return (left == right && left != Day::Unclear).then_some(Rule::Normal),
    }
    if let Some(same) = calendar::same_time(prediction, truth) {
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
    if depth > 0 && same_text(a, b) {
        return Some(Rule::Normal);
    }
    same_form(&form(a), &form(b), depth + 1, work)
}

fn same_form(a: &Form<'_>, b: &Form<'_>, depth: usize, work: &mut Work) -> Option<Rule> {
    match (a, b) {
        (Form::Set(a), Form::Set(b)) => unordered(&distinct(a), &distinct(b), depth, work).then_some(Rule::Set),
        (Form::Set(set), Form::List { items, .. }) | (Form::List { items, .. }, Form::Set(set)) => {
            unordered(&distinct(set), items, depth, work).then_some(Rule::Set)
        }
        (Form::Sequence { brackets: left, items: a }, Form::Sequence { brackets: right, items: b }) => {
            (left == right && ordered(a, b, depth, work)).then_some(Rule::Tuple)
        }
        (Form::Sequence { brackets: (Name::Open, Name::Close), items: a_items }, Form::List { items: b_items, .. })
        | (Form::List { items: a_items, .. }, Form::Sequence { brackets: (Name::Open, Name::Close), items: b_items }) =>
        {
            let tuple = ordered(a_items, b_items, depth, work).then_some(Rule::Tuple);
            tuple.or_else(|| same_intervals(a, b, depth, work))
        }
        (Form::List { items: left, .. }, Form::List { items: right, .. }) => {
            let long = left.len() > MAX_UNORDERED;
            let same = unordered(left, right, depth, work) || (long && ordered(left, right, depth, work));
            if same { Some(Rule::Set) } else { same_intervals(a, b, depth, work) }
        }
        (Form::PlusMinus(both), other) | (other, Form::PlusMinus(both)) => plus_minus(both, other, depth, work),
        (Form::Matrix { determinant: left, rows: a }, Form::Matrix { determinant: right, rows: b }) => {
            let rows = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ordered(a, b, depth, work));
            (left == right && rows).then_some(Rule::Matrix)
        }
        (Form::Ratio(a), Form::Ratio(b)) => ordered(a, b, depth, work).then_some(Rule::Tuple),
        (Form::Chain { parts: left, relations: of_left }, Form::Chain { parts: right, relations: of_right }) => {
            same_relations((left, of_left), (right, of_right), depth, work)
                .or_else(|| same_intervals(a, b, depth, work))
        }
        (Form::Chain { parts, relations }, other) | (other, Form::Chain { parts, relations })
            if value_of(parts, relations, work).is_some() =>
        {
            same_form(&form(value_of(parts, relations, work)?), other, depth, work)
        }
        (Form::Plain(a), Form::Plain(b)) => same_value(a, b, work),
        _ => same_intervals(a, b, depth, work),
    }
}

fn same_value(a: Tokens<'_>, b: Tokens<'_>, work: &mut Work) -> Option<Rule> {
    if let Some(same) = same_based(a, b) {
        return same.then_some(Rule::Numeric);
    }
    let (mixed_a, mixed_b) = (without_and(a), without_and(b));
    let (left, right) = (measure(&mixed_a), measure(&mixed_b));
    let found = same_measures((a, left), (b, right), work);
    let has_unit = !(left.unit.is_empty() && right.unit.is_empty());
    if found.is_none() && has_unit && left.may_be_product() && right.may_be_product() {
        return equal(a, b, work).map(rule_of);
    }
    found
}

fn rule_of(equal: Equal) -> Rule {
    match equal {
        Equal::Number => Rule::Numeric,
        Equal::Expression => Rule::Expression,
    }
}

/// Values, each with its unit: equal values, and units that do not contradict.
fn same_measures(
    (a, left): (Tokens<'_>, Measure<'_>),
    (b, right): (Tokens<'_>, Measure<'_>),
    work: &mut Work,
) -> Option<Rule> {
    let (unit_a, unit_b) = (Unit::of(left.unit), Unit::of(right.unit));
    let one_is_missing = unit_a.is_none() || unit_b.is_none();
    let same_units = unit_a.same_dimensions(&unit_b);
    let converts = same_units && !unit_a.same_sizes(&unit_b);
    let comparable = (same_units || one_is_missing) && left.scale == right.scale;
    if comparable && !converts && same_text(left.value, right.value) {
        return Some(Rule::Normal);
    }
    if !work.spend(a.len() + b.len()) {
        return None;
    }
    let whole = |parts: Option<(_, _)>, value: Tokens<'_>, unit: Unit| match parts {
        Some(parts) => Some(parts),
        None => Some((unit.apply(parse(value)?), unit)),
    };
    let (parts_a, parts_b) = (compound(a), compound(b));
    if parts_a.is_some() || parts_b.is_some() {
        let (left, right) = (whole(parts_a, left.value, unit_a)?, whole(parts_b, right.value, unit_b)?);
        let equal = left.1.same_dimensions(&right.1) && equal_expressions(&left.0, &right.0, work).is_some();
        return equal.then_some(Rule::Numeric);
    }
    if !(same_units || one_is_missing) {
        return None;
    }
    let scaled = |value: Tokens<'_>, scale: Option<&str>| Some(parse(value)?.scaled(scale.unwrap_or("1"), 1));
    let (mut value_a, mut value_b) = (scaled(left.value, left.scale)?, scaled(right.value, right.scale)?);
    if converts {
        (value_a, value_b) = (unit_a.apply(value_a), unit_b.apply(value_b));
    }
    if let Some(equal) = equal_expressions(&value_a, &value_b, work) {
        return Some(rule_of(equal));
    }
    // A percentage beside the fraction that it is.
    if unit_a.is_percent() && unit_b.is_none() {
        value_a = value_a.scaled("0.01", 1);
    } else if unit_b.is_percent() && unit_a.is_none() {
        value_b = value_b.scaled("0.01", 1);
    } else {
        return None;
    }
    equal_expressions(&value_a, &value_b, work).map(rule_of)
}

/// `4 and 3/5` as `4 3/5`.
fn without_and<'a>(tokens: Tokens<'a>) -> Vec<Token<'a>> {
    let mut tokens = tokens.to_vec();
    if is_mixed_number(&tokens) {
        tokens.remove(1);
        tokens[1].spaced = true;
    }
    tokens
}

/// Numbers with a base as subscript: the digits decide; a missing base is taken as meant. `None` without a base.
fn same_based(a: Tokens<'_>, b: Tokens<'_>) -> Option<bool> {
    let (left, right) = (based(a), based(b));
    let plain = |tokens: Tokens<'_>| tokens.len() == 1 && tokens[0].is_number();
    match (left, right) {
        (None, None) => None,
        (Some(left), Some(right)) => Some(same_text(left.0, right.0) && same_text(left.1, right.1)),
        (Some(left), None) => plain(b).then(|| same_text(left.0, b)),
        (None, Some(right)) => plain(a).then(|| same_text(a, right.0)),
    }
}

/// Digits and base of `1011_2`, `(1011)_2`, `1011_{(2)}`.
fn based<'a>(tokens: Tokens<'a>) -> Option<(Tokens<'a>, Tokens<'a>)> {
    let at = tokens.iter().position(|token| token.name == Name::Under)?;
    let digits = strip_brackets(&tokens[..at]);
    let base = strip_brackets(strip_brackets(&tokens[at + 1..]));
    (digits.len() == 1 && digits[0].is_integer() && !base.is_empty()).then_some((digits, base))
}

/// What stands in brackets, or what stands there without.
fn strip_brackets(tokens: Tokens<'_>) -> Tokens<'_> {
    enclosed(tokens).unwrap_or(tokens)
}

fn ordered(a: &[Tokens<'_>], b: &[Tokens<'_>], depth: usize, work: &mut Work) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, depth, work).is_some())
}

/// Whether each item has a partner of its own.
fn unordered(a: &[Tokens<'_>], b: &[Tokens<'_>], depth: usize, work: &mut Work) -> bool {
    // In any order, so the sum of the items' digests is the same.
    let total =
        |items: &[Tokens<'_>]| items.iter().fold(0u64, |total, item| total.wrapping_add(spread(digest(strip(item)))));
    if a.len().max(b.len()) <= MAX_UNORDERED && a.iter().chain(b).any(|item| has_both_signs(item)) {
        let [a, b] = [a, b].map(one_sign_each);
        let [a, b] = [&a, &b].map(|items| items.iter().map(Vec::as_slice).collect::<Vec<_>>());
        return unordered(&a, &b, depth, work);
    }
    if a.len() != b.len() || a.iter().chain(b).any(|item| item.is_empty()) {
        return false;
    }
    if total(a) == total(b) {
        return true;
    }
    let mut left = b.to_vec();
    a.len() <= MAX_UNORDERED
        && a.iter().all(|item| {
            let partner = left.iter().position(|other| same(item, other, depth, work).is_some());
            partner.map(|at| left.swap_remove(at)).is_some()
        })
}

/// Makes sums of digests as good as the digests.
fn spread(digest: u64) -> u64 {
    crate::modular::point(digest, 1)
}

/// The items of a set without those that repeat another word by word, unless they are very many.
fn distinct<'a>(items: &[Tokens<'a>]) -> Vec<Tokens<'a>> {
    let mut seen: Vec<u64> = Vec::with_capacity(items.len());
    let mut kept = items.to_vec();
    kept.retain(|item| {
        let digest = digest(item);
        let new = items.len() > MAX_DISTINCT || !seen.contains(&digest);
        seen.push(digest);
        new
    });
    kept
}

/// `a \pm b` is the list of both values.
fn plus_minus(both: Tokens<'_>, other: &Form<'_>, depth: usize, work: &mut Work) -> Option<Rule> {
    if both.len() > 200 {
        return None;
    }
    let (plus, minus) = (signed(both, Name::Plus, Name::Minus), signed(both, Name::Minus, Name::Plus));
    let found = match other {
        Form::List { items, .. } | Form::Set(items) => unordered(&[&plus, &minus], items, depth, work),
        Form::PlusMinus(other) => {
            let (plus_2, minus_2) = (signed(other, Name::Plus, Name::Minus), signed(other, Name::Minus, Name::Plus));
            unordered(&[&plus, &minus], &[&plus_2, &minus_2], depth, work)
        }
        Form::Chain { parts, relations } if depth <= MAX_DEPTH => {
            return plus_minus(both, &form(value_of(parts, relations, work)?), depth + 1, work);
        }
        _ => false,
    };
    found.then_some(Rule::Set)
}

fn has_both_signs(tokens: Tokens<'_>) -> bool {
    tokens.iter().any(|token| token.name == Name::PlusMinus)
}

/// The items, those with `\pm` as two.
fn one_sign_each<'a>(items: &[Tokens<'a>]) -> Vec<Vec<Token<'a>>> {
    let mut all = Vec::new();
    for item in items {
        all.push(signed(item, Name::Plus, Name::Minus));
        if has_both_signs(item) {
            all.push(signed(item, Name::Minus, Name::Plus));
        }
    }
    all
}

/// The tokens with these signs for `\pm` and `\mp`.
fn signed<'a>(tokens: Tokens<'a>, plus_minus: Name, minus_plus: Name) -> Vec<Token<'a>> {
    let mut tokens = tokens.to_vec();
    for token in &mut tokens {
        match token.name {
            Name::PlusMinus => token.name = plus_minus,
            Name::MinusPlus => token.name = minus_plus,
            _ => {}
        }
    }
    tokens
}

/// The value to which a chain only gives a name, or which it works out: `x = 5`, `5 = x`, `1 + 1 = 2`.
fn value_of<'a>(parts: &[Tokens<'a>], relations: &[Name], work: &mut Work) -> Option<Tokens<'a>> {
    let (last, before) = parts.split_last()?;
    if last.is_empty() || !relations.iter().all(|relation| *relation == Name::Equals) {
        return None;
    }
    match before {
        [first] if is_name(last) && !is_name(first) && !first.is_empty() => Some(first),
        _ => {
            let mut named =
                before.iter().all(|part| is_name(part) || (!part.is_empty() && equal(part, last, work).is_some()));
            named &= !before.is_empty();
            named.then_some(last)
        }
    }
}

fn same_relations(
    a: (&[Tokens<'_>], &[Name]),
    b: (&[Tokens<'_>], &[Name]),
    depth: usize,
    work: &mut Work,
) -> Option<Rule> {
    let ([first_a, last_a], [first_b, last_b]) = (a.0, b.0) else { return None };
    let (left, right) = (a.1[0], b.1[0]);
    if left == Name::Equals && right == Name::Equals {
        let same_name = same_text(first_a, first_b)
            || ((first_a.len() > 1 || first_b.len() > 1) && is_loose_name(first_a) && is_loose_name(first_b));
        let named = is_name(first_a) && is_name(first_b) && same_name;
        let same = (named && same(last_a, last_b, depth, work).is_some())
            || same_equation([first_a, last_a], [first_b, last_b], false, work);
        return same.then_some(Rule::Equation);
    }
    let rising = |first, last, relation: Name| match relation {
        Name::Less => Some(([first, last], true)),
        Name::LessEqual => Some(([first, last], false)),
        Name::Greater => Some(([last, first], true)),
        Name::GreaterEqual => Some(([last, first], false)),
        _ => None,
    };
    let (left, strict) = rising(*first_a, *last_a, left)?;
    let (right, as_strict) = rising(*first_b, *last_b, right)?;
    (strict == as_strict && same_equation(left, right, true, work)).then_some(Rule::Equation)
}

/// Whether a name may stand for any other: `f(x)`, `area`; not one that a number, a function or brackets single out.
fn is_loose_name(name: Tokens<'_>) -> bool {
    let numbered = name.iter().any(Token::is_number);
    !numbered && name.first().is_some_and(|first| first.name.function().is_none() && first.kind != Kind::Symbol)
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

/// Text that differs in its spaces, a hyphen or an article only: `forest green`, `forestgreen`, `the forest-green`; or
/// yes and true.
fn same_words(a: Tokens<'_>, b: Tokens<'_>) -> bool {
    let truth = |tokens: Tokens<'_>| matches!(tokens, [only] if matches!(only.name, Name::Yes | Name::No));
    if truth(a) && truth(b) {
        return a[0].name == b[0].name;
    }
    let (Some(left), Some(right)) = (joined_words(a), joined_words(b)) else { return false };
    left.len() > 3 && left == right
}

/// The letters of words, in lowercase, unless they may be variables.
fn joined_words(tokens: Tokens<'_>) -> Option<String> {
    let tokens = match tokens {
        [the, rest @ ..] if the.name == Name::Article && !rest.is_empty() => rest,
        _ => tokens,
    };
    let mut joined = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let hyphen = token.name == Name::Minus
            && [at.wrapping_sub(1), at + 1].into_iter().all(|at| {
                tokens
                    .get(at)
                    .is_some_and(|word| word.kind == Kind::Word && word.text.len() > 2 && !is_product(word.text, true))
            });
        if token.kind == Kind::Word {
            token.text.chars().for_each(|letter| joined.push(crate::characters::lower(letter)));
        } else if !hyphen {
            return None;
        }
    }
    Some(joined)
}

/// The letter of a multiple-choice answer: `A`, `(A)`, `A.`, `Option A`, `(A) and what it says`.
fn choice(tokens: Tokens<'_>) -> Option<u8> {
    let tokens = match tokens {
        [word, colon, rest @ ..] if word.name == Name::Option && colon.name == Name::Colon => rest,
        [word, rest @ ..] if word.name == Name::Option && !rest.is_empty() => rest,
        _ => tokens,
    };
    let marked = |mark: &Token<'_>| matches!(mark.name, Name::Close | Name::Dot | Name::Colon);
    let (letter, rest) = match tokens {
        [only] => (only, &[][..]),
        [open, letter, close, rest @ ..] if open.name == Name::Open && close.name == Name::Close => (letter, rest),
        [letter, mark, rest @ ..] if marked(mark) => (letter, rest),
        _ => return None,
    };
    let letter = letter.letter()?.to_ascii_uppercase();
    (rest.is_empty() || (letter <= b'J' && explains(rest))).then_some(letter)
}

/// Whether what follows an option's letter is its text, not more of a formula or another option.
fn explains(rest: Tokens<'_>) -> bool {
    let starts = rest[0].spaced && rest[0].kind != Kind::Symbol && rest[0].name != Name::Cup;
    let joins =
        rest.iter().any(|token| token.is_word(Name::And) || token.is_word(Name::Or) || token.name == Name::Comma);
    starts && !joins
}
