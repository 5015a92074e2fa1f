//! Characters beyond ASCII, written the way LaTeX writes them, so that the lexer sees one spelling.
//! Looks at single characters only; the result is at most a constant factor longer than the text.

use unicode_normalization::UnicodeNormalization;

/// Rewrites mathematical and typographic characters as LaTeX or ASCII; the rest is put in form NFKC.
pub(crate) fn to_latex(text: &str) -> String {
    if text.is_ascii() {
        return text.to_string();
    }
    let mut latex = String::with_capacity(text.len() + 16);
    let mut script = Script::None;
    for character in text.chars() {
        let (next, plain) = match (superscript(character), subscript(character)) {
            (Some(plain), _) => (Script::Super, plain),
            (_, Some(plain)) => (Script::Sub, plain),
            _ => (Script::None, character),
        };
        if next != script {
            if script != Script::None {
                latex.push('}');
            }
            match next {
                Script::Super => latex.push_str("^{"),
                Script::Sub => latex.push_str("_{"),
                Script::None => {}
            }
            script = next;
        }
        match (next, spelling(character)) {
            (Script::None, Some(spelled)) => latex.push_str(spelled),
            (Script::None, None) => push_normalized(character, &mut latex),
            _ => latex.push(plain),
        }
    }
    if script != Script::None {
        latex.push('}');
    }
    latex
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    None,
    Super,
    Sub,
}

fn push_normalized(character: char, latex: &mut String) {
    if character.is_ascii() {
        latex.push(character);
        return;
    }
    // Arabic-Indic, its extended form and Devanagari have no compatibility form in ASCII.
    for zero in ['\u{660}', '\u{6f0}', '\u{966}'] {
        if let Some(digit) = (character as u32).checked_sub(zero as u32)
            && let Some(digit) = char::from_digit(digit, 10)
        {
            latex.push(digit);
            return;
        }
    }
    for part in std::iter::once(character).nfkc() {
        match spelling(part) {
            Some(spelled) => latex.push_str(spelled),
            None => latex.push(part),
        }
    }
}

fn superscript(character: char) -> Option<char> {
    let plain = match character {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴' => '4',
        '⁵' => '5',
        '⁶' => '6',
        '⁷' => '7',
        '⁸' => '8',
        '⁹' => '9',
        '⁺' => '+',
        '⁻' => '-',
        '⁽' => '(',
        '⁾' => ')',
        'ⁿ' => 'n',
        'ⁱ' => 'i',
        'ˣ' => 'x',
        _ => return None,
    };
    Some(plain)
}

fn subscript(character: char) -> Option<char> {
    match character {
        '₀'..='₉' => char::from_digit(character as u32 - '₀' as u32, 10),
        'ₙ' => Some('n'),
        'ᵢ' => Some('i'),
        'ₓ' => Some('x'),
        _ => None,
    }
}

#[rustfmt::skip]
fn spelling(character: char) -> Option<&'static str> {
    let spelled = match character {
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => "",
        '\u{2212}' | '\u{2010}'..='\u{2015}' | '\u{fe63}' => "-",
        '\u{2044}' | '\u{2215}' => "/",
        '×' | '✕' | '⨯' => "\\times ", '·' | '⋅' | '∙' | '•' => "\\cdot ", '÷' => "\\div ", '∗' => "*",
        '±' => "\\pm ", '∓' => "\\mp ", '√' => "\\sqrt ", '∛' => "\\sqrt[3]", '∜' => "\\sqrt[4]",
        '°' | 'º' | '˚' => "^{\\circ}", '℃' => "^{\\circ}C", '℉' => "^{\\circ}F", '∘' => "\\circ ",
        '∞' => "\\infty ", '≤' | '⩽' => "\\le ", '≥' | '⩾' => "\\ge ", '≠' => "\\ne ", '≈' => "\\approx ",
        '∪' => "\\cup ", '∩' => "\\cap ", '∈' => "\\in ", '∅' | '⌀' => "\\emptyset ", '∖' => "\\setminus ",
        'ℝ' => "\\mathbb{R}", 'ℤ' => "\\mathbb{Z}", 'ℕ' => "\\mathbb{N}", 'ℚ' => "\\mathbb{Q}", 'ℂ' => "\\mathbb{C}",
        '∠' => "\\angle ", '△' | '▵' => "\\triangle ", '∥' => "\\parallel ", '⊥' => "\\perp ",
        '⌊' => "\\lfloor ", '⌋' => "\\rfloor ", '⌈' => "\\lceil ", '⌉' => "\\rceil ",
        '→' => "\\to ", '∑' => "\\sum ", '∏' => "\\prod ", '∫' => "\\int ",
        '“' | '”' | '„' | '«' | '»' => "\"", '‘' | '’' | '‚' | '′' => "'",
        '€' => " euro ", '£' => " pound ", '¥' => " yen ",
        '½' => "\\frac{1}{2}", '⅓' => "\\frac{1}{3}", '⅔' => "\\frac{2}{3}", '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}", '⅕' => "\\frac{1}{5}", '⅖' => "\\frac{2}{5}", '⅗' => "\\frac{3}{5}",
        '⅘' => "\\frac{4}{5}", '⅙' => "\\frac{1}{6}", '⅚' => "\\frac{5}{6}", '⅛' => "\\frac{1}{8}",
        '⅜' => "\\frac{3}{8}", '⅝' => "\\frac{5}{8}", '⅞' => "\\frac{7}{8}",
        'α' => "\\alpha ", 'β' => "\\beta ", 'γ' => "\\gamma ", 'δ' => "\\delta ", 'ε' | 'ϵ' => "\\epsilon ",
        'ζ' => "\\zeta ", 'η' => "\\eta ", 'θ' | 'ϑ' => "\\theta ", 'κ' => "\\kappa ", 'λ' => "\\lambda ",
        'μ' | 'µ' => "\\mu ", 'ν' => "\\nu ", 'ξ' => "\\xi ", 'π' => "\\pi ", 'ρ' => "\\rho ", 'σ' => "\\sigma ",
        'τ' => "\\tau ", 'φ' | 'ϕ' => "\\phi ", 'χ' => "\\chi ", 'ψ' => "\\psi ", 'ω' => "\\omega ",
        'Γ' => "\\Gamma ", 'Δ' | '∆' => "\\Delta ", 'Θ' => "\\Theta ", 'Λ' => "\\Lambda ", 'Σ' => "\\Sigma ",
        'Φ' => "\\Phi ", 'Ψ' => "\\Psi ", 'Ω' => "\\Omega ",
        _ => return None,
    };
    Some(spelled)
}

#[cfg(test)]
mod tests {
    use super::to_latex;

    #[test]
    fn characters_become_latex() {
        for (text, expected) in [
            ("x²+1", "x^{2}+1"),
            ("2⁻¹", "2^{-1}"),
            ("x₁", "x_{1}"),
            ("−5", "-5"),
            ("５", "5"),
            ("2½", "2\\frac{1}{2}"),
            ("30°", "30^{\\circ}"),
            ("1⁄2", "1/2"),
            ("٥", "5"),
            ("\u{feff}5\u{200b}", "5"),
            ("北京", "北京"),
        ] {
            assert_eq!(to_latex(text), expected, "{text}");
        }
    }
}
