//! Characters beyond ASCII, written the way LaTeX writes them, so that the lexer sees one spelling.
//! Knows the ranges in which answers are written, not all of Unicode: a table of all compatibility forms has 150 KB.

use std::borrow::Cow;

/// Rewrites mathematical and typographic characters as LaTeX or ASCII, and letters with combining marks as one character.
/// The result is at most a constant factor longer than the text.
pub(crate) fn to_latex(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut latex = String::with_capacity(2 * text.len());
    let mut script = None;
    for character in text.chars() {
        let raised = scripted(character);
        let next = raised.map(|(mark, _)| mark);
        if next != script {
            if script.is_some() {
                latex.push('}');
            }
            if let Some(mark) = next {
                latex.push_str(mark);
            }
            script = next;
        }
        match raised {
            Some((_, plain)) => latex.push(plain),
            None => push(character, &mut latex),
        }
    }
    if script.is_some() {
        latex.push('}');
    }
    Cow::Owned(latex)
}

/// White space as answers have it: of ASCII, no-break and typographic spaces, the ideographic space.
pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// The text without white space around it.
pub(crate) fn trim(text: &str) -> &str {
    let (mut start, mut end) = (0, 0);
    for (at, character) in text.char_indices().filter(|(_, character)| !is_space(*character)) {
        if end == 0 {
            start = at;
        }
        end = at + character.len_utf8();
    }
    part(text, start, end)
}

/// The text between two bytes; nothing where that is no text.
pub(crate) fn part(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

/// The text from a byte on.
pub(crate) fn from(text: &str, start: usize) -> &str {
    part(text, start, text.len())
}

/// Whether a text has more characters than `count`.
pub(crate) fn is_longer(text: &str, count: usize) -> bool {
    text.bytes().filter(|byte| byte & 0xc0 != 0x80).count() > count
}

/// Whether a word may consist of it: a letter or a mark of any script; not a digit, a space, punctuation or a symbol.
pub(crate) fn is_letter(character: char) -> bool {
    match character {
        '\0'..='\u{7f}' => character.is_ascii_alphabetic(),
        '\u{80}'..='\u{bf}' => matches!(character, 'ª' | 'µ' | 'º'),
        '×' | '÷' | '\u{2000}'..='\u{2bff}' | '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{3020}' => false,
        '\u{fe10}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff20}' | '\u{e000}'..='\u{f8ff}' | '\u{1f000}'..='\u{1faff}' => {
            false
        }
        _ => true,
    }
}

/// The lowercase letter of ASCII, Latin-1, Greek and Cyrillic; anything else as it is.
pub(crate) fn lower(character: char) -> char {
    let distance = match character {
        'A'..='Z' | 'À'..='Ö' | 'Ø'..='Þ' | 'Α'..='Ω' | 'А'..='Я' => 32,
        'Ѐ'..='Џ' => 80,
        _ => 0,
    };
    shifted(character, 0, distance)
}

/// Whether two texts differ in the case of their letters at most.
pub(crate) fn same_but_case(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (a.chars(), b.chars());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || lower(a) == lower(b) => {}
            _ => return false,
        }
    }
}

/// The character as far after `to` as this one is after `from`.
fn shifted(character: char, from: u32, to: u32) -> char {
    char::from_u32((character as u32).wrapping_sub(from).wrapping_add(to)).unwrap_or(character)
}

/// Superscripts and subscripts: the mark that begins one, and what is raised or lowered.
fn scripted(character: char) -> Option<(&'static str, char)> {
    const RAISED: &str = "⁰0¹1²2³3⁴4⁵5⁶6⁷7⁸8⁹9⁺+⁻-⁼=⁽(⁾)ⁿnⁱiˣxᵃaᵇbᵐmᵏkʸy";
    const LOWERED: &str = "₀0₁1₂2₃3₄4₅5₆6₇7₈8₉9₊+₋-₍(₎)ₙnᵢiₓxₐaₖkₘm";
    let find = |table: &str| {
        let mut pairs = table.chars();
        while let (Some(raised), Some(plain)) = (pairs.next(), pairs.next()) {
            if raised == character {
                return Some(plain);
            }
        }
        None
    };
    if !matches!(character as u32, 0xb2..=0xb9 | 0x2b0..=0x2ff | 0x1d40..=0x1d70 | 0x2070..=0x209f) {
        return None;
    }
    find(RAISED).map(|plain| ("^{", plain)).or_else(|| find(LOWERED).map(|plain| ("_{", plain)))
}

fn push(character: char, latex: &mut String) {
    let folded = folded(character);
    match folded {
        '\u{300}'..='\u{327}' => combine(folded, latex),
        'Α'..='ω' => push_greek(folded, latex),
        '\0'..='\u{7f}' => latex.push(folded),
        _ => match spelling(folded) {
            Some(spelled) => latex.push_str(spelled),
            None => latex.push(folded),
        },
    }
}

/// Forms that differ in width, weight or script from a plain character.
fn folded(character: char) -> char {
    match character {
        '\u{ff01}'..='\u{ff5e}' => shifted(character, 0xff00, 0x20),
        // Digits of Arabic, Persian and Devanagari.
        '\u{660}'..='\u{669}' => shifted(character, 0x660, 0x30),
        '\u{6f0}'..='\u{6f9}' => shifted(character, 0x6f0, 0x30),
        '\u{966}'..='\u{96f}' => shifted(character, 0x966, 0x30),
        '①'..='⑨' => shifted(character, '①' as u32, 0x31),
        'Ⓐ'..='Ⓩ' => shifted(character, 'Ⓐ' as u32, 0x41),
        // Mathematical letters and digits, by style.
        '\u{1d400}'..='\u{1d6a3}' => {
            let letter = (character as u32 - 0x1d400) % 52;
            char::from_u32(if letter < 26 { 0x41 + letter } else { 0x61 + letter - 26 }).unwrap_or(character)
        }
        '\u{1d6a8}'..='\u{1d7cb}' => match (character as u32 - 0x1d6a8) % 58 {
            letter @ 0..=24 => char::from_u32(0x391 + letter).unwrap_or(character),
            letter @ 26..=50 => char::from_u32(0x3b1 + letter - 26).unwrap_or(character),
            52 => 'ε',
            53 => 'θ',
            55 => 'φ',
            56 => 'ρ',
            57 => 'π',
            _ => character,
        },
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_u32(0x30 + (character as u32 - 0x1d7ce) % 10).unwrap_or(character),
        'ℎ' => 'h',
        'ϵ' => 'ε',
        'ϑ' => 'θ',
        'ϕ' => 'φ',
        'µ' => 'μ',
        'Ω' => 'Ω',
        '∆' => 'Δ',
        _ => character,
    }
}

/// Greek letters by their commands; those that look like Latin ones, and accented ones, stay letters.
fn push_greek(letter: char, latex: &mut String) {
    #[rustfmt::skip]
    const COMMANDS: [&str; 25] = [
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
        "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
    ];
    let upper = letter < 'α';
    let first = if upper { 'Α' } else { 'α' };
    let Some(command) = COMMANDS.get(letter as usize - first as usize).filter(|_| letter != 'ο') else {
        return latex.push(letter);
    };
    if upper && !matches!(letter, 'Γ' | 'Δ' | 'Θ' | 'Λ' | 'Ξ' | 'Π' | 'Σ' | 'Φ' | 'Ψ' | 'Ω') {
        return latex.push(letter);
    }
    latex.push('\\');
    for (at, byte) in command.bytes().enumerate() {
        latex.push(char::from(if upper && at == 0 { byte.to_ascii_uppercase() } else { byte }));
    }
    latex.push(' ');
}

/// A letter and a combining mark after it, as the one character that they make.
fn combine(mark: char, latex: &mut String) {
    // Grave, acute, circumflex, tilde, diaeresis, ring, cedilla.
    const MARKS: &str = "\u{300}\u{301}\u{302}\u{303}\u{308}\u{30a}\u{327}";
    const MADE: [&str; 14] = [
        "AÀÁÂÃÄÅ",
        "EÈÉÊ-Ë",
        "IÌÍÎ-Ï",
        "OÒÓÔÕÖ",
        "UÙÚÛ-Ü",
        "aàáâãäå",
        "eèéê-ë",
        "iìíî-ï",
        "oòóôõö",
        "uùúû-ü",
        "n---ñ",
        "N---Ñ",
        "c------ç",
        "y-ý--ÿ",
    ];
    let made = latex.chars().next_back().and_then(|last| {
        let mut row = MADE.iter().find(|row| row.starts_with(last))?.chars();
        row.next();
        MARKS.chars().zip(row).find(|(known, made)| *known == mark && *made != '-')
    });
    match made {
        Some((_, made)) => {
            latex.pop();
            latex.push(made);
        }
        None => latex.push(mark),
    }
}

/// Characters, and after them how they are written, a line each.
const SPELLINGS: &str = "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2060}\u{2061}\u{feff}\u{ad}
\u{2212}\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{fe63}-
\u{2044}\u{2215}/
×✕⨯\\times \n·⋅∙•∗*\n÷\\div \n±\\pm \n∓\\mp \n√\\sqrt \n∛\\sqrt[3]\n∜\\sqrt[4]
°º˚\\degree \n℃\\degree C\n℉\\degree F\n∘\\circ \n∞\\infty \n≤⩽≦\\le \n≥⩾≧\\ge \n≠\\ne \n≈\\approx 
∪\\cup \n∩\\cap \n∈\\in \n∅⌀\\emptyset \n∖\\setminus \nℝR\nℤZ\nℕN\nℚQ\nℂC\nℓ\\ell \n∠\\angle \n△▵\\triangle 
∶:\n¢ cent \n≅\\cong \n∥\\parallel \n⊥\\perp \n∣|\n⌊\\lfloor \n⌋\\rfloor \n⌈\\lceil \n⌉\\rceil \n→\\to \n∧ and \n∨ or 
∑\\sum \n∏\\prod \n∫\\int \n∂\\partial \n“”„«»\"\n‘’‚′'\n″''\n。.\n、,\n…...\n€ euro \n£ pound \n¥ yen 
ﬀff\nﬁfi\nﬂfl\nﬃffi\nﬄffl\nⅠⅰI\nⅡⅱII\nⅢⅲIII\nⅣⅳIV\nⅤⅴV\nⅥⅵVI\nⅦⅶVII\nⅧⅷVIII\nⅨⅸIX\nⅩⅹX
½\\frac12\n⅓\\frac13\n⅔\\frac23\n¼\\frac14\n¾\\frac34\n⅕\\frac15\n⅖\\frac25\n⅗\\frac35\n⅘\\frac45\n⅙\\frac16
⅚\\frac56\n⅐\\frac17\n⅛\\frac18\n⅜\\frac38\n⅝\\frac58\n⅞\\frac78\n⅑\\frac19\n⅒\\frac1{10}
";

/// How a character is written, if it is one of the table.
fn spelling(character: char) -> Option<&'static str> {
    if is_letter(character) && !matches!(character, 'º' | '˚' | '\u{feff}' | 'ﬀ'..='ﬄ') {
        return None;
    }
    let mut buffer = [0; 4];
    let key = character.encode_utf8(&mut buffer).as_bytes();
    let table = SPELLINGS.as_bytes();
    let last = *key.last()?;
    // The last byte of a character tells more than its first.
    let ends =
        |(at, byte): &(usize, &u8)| **byte == last && table.get(..*at + 1).is_some_and(|head| head.ends_with(key));
    let (at, _) = table.iter().enumerate().find(ends)?;
    let rest = table.get(at..)?;
    let start = at + rest.iter().position(u8::is_ascii)?;
    let end = at + rest.iter().position(|byte| *byte == b'\n')?;
    Some(part(SPELLINGS, start, end))
}

#[cfg(test)]
mod tests {
    use super::{is_letter, lower, same_but_case, to_latex, trim};

    #[test]
    fn characters_become_latex() {
        for (text, expected) in [
            ("x²+1", "x^{2}+1"),
            ("2⁻¹", "2^{-1}"),
            ("x₁", "x_{1}"),
            ("x₁²", "x_{1}^{2}"),
            ("−5", "-5"),
            ("５", "5"),
            ("𝟓𝑥𝐀𝛼𝚨", "5xA\\alpha Α"),
            ("2½", "2\\frac12"),
            ("30°", "30\\degree "),
            ("1⁄2", "1/2"),
            ("٥", "5"),
            ("①", "1"),
            ("\u{feff}5\u{200b}", "5"),
            ("Ωω ϕ", "\\Omega \\omega  \\phi "),
            ("ς", "\\sigma "),
            ("Poincare\u{301}", "Poincaré"),
            ("x\u{308}", "x\u{308}"),
            ("北京", "北京"),
        ] {
            assert_eq!(to_latex(text), expected, "{text}");
        }
    }

    #[test]
    fn letters_spaces_and_case() {
        assert!("aéßжא北あ".chars().all(is_letter));
        assert!(!"1 ,·×→☃。🙂".chars().any(is_letter));
        assert_eq!(trim("\u{3000} \n a b\u{a0}\t"), "a b");
        assert_eq!("ÀÖØÞΩЯЏ×1".chars().map(lower).collect::<String>(), "àöøþωяџ×1");
        assert!(same_but_case("Ångström", "ångstrÖm") && !same_but_case("a", "ab"));
    }
}
