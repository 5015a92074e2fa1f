//! Runs of letters in a formula: a product of variables, a function's name, or a word.
//! Decides by spelling alone; a word makes the whole no formula.

use crate::characters::{from, part};
use crate::names::Name;
use crate::token::{Kind, Token, Tokens};

/// Longest run of letters inside a formula that is read as a product.
const LONGEST_PRODUCT: usize = 3;

/// Splits each run of letters into variables and names. `None` if one of them is a word.
pub(crate) fn split<'text>(tokens: Tokens<'text>) -> Option<Vec<Token<'text>>> {
    let alone = !tokens.iter().any(|token| token.is_number() || is_operator(token.name));
    let mut split = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let called = token.name == Name::Minute && tokens.get(at + 1).is_some_and(|next| next.name == Name::Open);
        if token.kind != Kind::Word || token.name.is_function_or_constant() || token.name == Name::Degree {
            split.push(*token);
        } else if called {
            split.push(Token { name: Name::Min, ..*token });
        } else if is_times(tokens, at) {
            split.push(Token { kind: Kind::Symbol, name: Name::Times, ..*token });
        } else {
            push_letters(token, alone, &mut split)?;
        }
    }
    Some(split)
}

fn push_letters<'text>(token: &Token<'text>, alone: bool, split: &mut Vec<Token<'text>>) -> Option<()> {
    // A function's name may end a run: `xsin(x)`.
    let names = ["sqrt", "sin", "cos", "tan", "log", "ln", "pi"];
    let length = names.iter().find(|name| token.text.ends_with(**name)).map_or(0, |name| name.len());
    let letters = part(token.text, 0, token.text.len() - length);
    let name = from(token.text, letters.len());
    if !is_product(letters, alone && name.is_empty()) {
        return None;
    }
    let mut rest = letters;
    let mut spaced = token.spaced;
    while let Some(letter) = rest.chars().next() {
        let text = part(rest, 0, letter.len_utf8());
        split.push(Token { kind: Kind::Word, name: Name::None, text, spaced });
        (rest, spaced) = (from(rest, letter.len_utf8()), false);
    }
    if !name.is_empty() {
        split.push(Token { spaced, ..Token::new(Kind::Word, name) });
    }
    Some(())
}

/// Whether letters side by side are variables multiplied. By themselves they are so only when they spell nothing:
/// the letters of `abc` and `xyz`, no vowel, or one letter again and again.
pub(crate) fn is_product(letters: &str, alone: bool) -> bool {
    let Some(first) = letters.chars().next() else { return false };
    if letters.chars().all(|letter| letter == first) {
        return true;
    }
    let (mut classic, mut spells) = (true, false);
    for byte in letters.bytes() {
        let letter = byte.to_ascii_lowercase();
        if !letter.is_ascii_lowercase() {
            return false;
        }
        classic &= matches!(letter, b'a'..=b'd' | b'w'..=b'z');
        spells |= matches!(letter, b'a' | b'e' | b'i' | b'o' | b'u');
    }
    (!alone && letters.len() <= LONGEST_PRODUCT) || (letters.len() <= 6 && (classic || !spells))
}

/// The letter x between two numbers, as in `6.0 x 10^4`.
pub(crate) fn is_times(tokens: Tokens<'_>, at: usize) -> bool {
    let number = |at: usize| tokens.get(at).filter(|token| token.is_number());
    let (Some(_), Some(after)) = (number(at.wrapping_sub(1)), number(at + 1)) else {
        return false;
    };
    let powers_of_ten = after.text == "10" && tokens.get(at + 2).is_some_and(|token| token.name == Name::Power);
    matches!(tokens[at].text, "x" | "X") && (powers_of_ten || (tokens[at].spaced && after.spaced))
}

fn is_operator(name: Name) -> bool {
    use Name::{Equals, Frac, Minus, Plus, PlusMinus, Power, Slash, Sqrt, Times};
    matches!(name, Plus | Minus | Times | Slash | Power | Equals | Frac | Sqrt | PlusMinus)
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
