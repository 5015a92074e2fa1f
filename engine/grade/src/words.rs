//! Runs of letters in a formula: a product of variables, a function's name, or a word.
//! Decides by spelling alone; a word makes the whole no formula.

use crate::functions::function;
use crate::token::{Kind, Token};

/// Longest run of letters inside a formula that is read as a product.
const LONGEST_PRODUCT: usize = 3;

/// Splits each run of letters into variables and names. `None` if one of them is a word.
pub(crate) fn split(tokens: &[Token]) -> Option<Vec<Token>> {
    let alone = !tokens.iter().any(|token| token.kind == Kind::Number || is_operator(token));
    let mut split = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Word {
            split.push(token.clone());
            continue;
        }
        let text = token.text.as_str();
        if is_name(&text.to_ascii_lowercase()) {
            split.push(Token { text: text.to_ascii_lowercase(), ..token.clone() });
        } else if is_times(tokens, at) {
            split.push(Token::new(Kind::Symbol, "*"));
        } else {
            push_letters(token, alone, &mut split)?;
        }
    }
    Some(split)
}

fn push_letters(token: &Token, alone: bool, split: &mut Vec<Token>) -> Option<()> {
    let text = token.text.as_str();
    // A function's name may end a run: `xsin(x)`.
    let name = ["sqrt", "sin", "cos", "tan", "log", "ln", "pi"].into_iter().find(|name| text.ends_with(name));
    let letters = name.map_or(text, |name| &text[..text.len() - name.len()]);
    if !is_product(letters, alone && name.is_none()) {
        return None;
    }
    let mut spaced = token.spaced;
    for letter in letters.chars() {
        split.push(Token { kind: Kind::Word, text: letter.to_string(), spaced });
        spaced = false;
    }
    if let Some(name) = name {
        split.push(Token { kind: Kind::Word, text: name.to_string(), spaced });
    }
    Some(())
}

/// A function or a constant with a name of several letters.
pub(crate) fn is_name(lowercase: &str) -> bool {
    matches!(lowercase, "pi" | "sqrt" | "inf" | "infinity" | "oo") || function(lowercase).is_some()
}

/// Whether letters side by side are variables multiplied. By themselves they are so only when they spell nothing:
/// the letters of `abc` and `xyz`, no vowel, or one letter again and again.
pub(crate) fn is_product(letters: &str, alone: bool) -> bool {
    let lowercase = letters.to_ascii_lowercase();
    let Some(first) = lowercase.chars().next() else { return false };
    if lowercase.chars().nth(1).is_none() || lowercase.chars().all(|letter| letter == first) {
        return true;
    }
    if !lowercase.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return false;
    }
    let classic = lowercase.bytes().all(|byte| b"abcdwxyz".contains(&byte));
    let spells = lowercase.bytes().any(|byte| b"aeiou".contains(&byte));
    if alone {
        return lowercase.len() <= 6 && (classic || !spells);
    }
    lowercase.len() <= LONGEST_PRODUCT || (lowercase.len() <= 6 && (classic || !spells))
}

/// The letter x between two numbers, as in `6.0 x 10^4`.
fn is_times(tokens: &[Token], at: usize) -> bool {
    let number = |at: Option<usize>| at.and_then(|at| tokens.get(at)).filter(|token| token.kind == Kind::Number);
    let (Some(_), Some(after)) = (number(at.checked_sub(1)), number(Some(at + 1))) else {
        return false;
    };
    let powers_of_ten = after.text == "10" && tokens.get(at + 2).is_some_and(|token| token.is_symbol("^"));
    tokens[at].is_word("x") && (powers_of_ten || (tokens[at].spaced && after.spaced))
}

fn is_operator(token: &Token) -> bool {
    match token.kind {
        Kind::Symbol => matches!(token.text.as_str(), "+" | "-" | "*" | "/" | "^" | "="),
        Kind::Command => matches!(token.text.as_str(), "frac" | "sqrt" | "pm"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_product;

    #[test]
    fn words_are_no_products() {
        for (letters, expected) in [
            ("x", true),
            ("ab", true),
            ("cab", true),
            ("xyz", true),
            ("xxxx", true),
            ("cat", false),
            ("it", false),
            ("me", false),
            ("blue", false),
            ("北京", false),
        ] {
            assert_eq!(is_product(letters, true), expected, "{letters}");
        }
    }
}
