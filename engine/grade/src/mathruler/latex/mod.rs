//! LaTeX to plain text as pylatexenc 2.11 does it (MIT, `latex2text`), in its tolerant mode: unclosed groups end with the
//! text, stray braces vanish, unknown macros vanish without their arguments. Knows no mathematics.

mod macros;
mod parse;
mod render;

/// `LatexNodes2Text().latex_to_text(latex)`; `None` where it raises.
pub(super) fn to_text(latex: &str) -> Option<String> {
    let characters: Vec<char> = latex.chars().collect();
    let nodes = parse::parse(&characters)?;
    render::render(&nodes)
}

/// What Python's recursion limit leaves for nested constructs, in frames.
const FRAMES: u32 = 991;

/// A piece of LaTeX.
enum Node {
    Characters(String),
    /// A comment, of which the space after it stays.
    Comment(String),
    Group(Vec<Node>),
    Macro {
        name: String,
        /// `None`: reading them failed, or the macro stands as an argument itself.
        arguments: Option<Vec<Option<Node>>>,
        space_after: String,
    },
    Environment {
        name: String,
        body: Vec<Node>,
    },
    Special(&'static str),
    Math {
        display: bool,
        body: Vec<Node>,
    },
}

#[cfg(test)]
mod tests {
    use super::to_text;

    /// Against pylatexenc 2.11.
    #[test]
    fn text_is_as_in_the_reference() {
        let cases = [
            ("\\frac{1}{2}", Some("1/2")),
            ("\\frac12x", Some("1/2x")),
            ("\\sqrt[3]{x+1}", Some("√(x+1)")),
            ("\\sqrt", None),
            ("\\frac1", Some("%s/%s1")),
            ("2\\pi r", Some("2πr")),
            ("x^{2}}y", Some("x^2y")),
            ("{a{b", Some("ab")),
            ("\\text{a b} c\\unknown{d}", Some("a b cd")),
            ("\\mathbf{v}\\mathbb R", Some("𝐯ℝ")),
            ("\\begin{pmatrix}1&23\\\\4&5\\end{pmatrix}", Some("[  1 23;  4  5 ]")),
            ("\\begin{pmatrix}\\end{pmatrix}", None),
            ("\\left(1,2\\right)", Some("(1,2)")),
            ("a--b~c", Some("a–b\u{a0}c")),
            ("\\hat{x}\\vec v", Some("x̂v⃗")),
            ("\\mbox{a}b", Some("b")),
            ("\\(x + 1\\)", Some("x + 1")),
            ("a % b\nc", Some("a \nc")),
        ];
        for (latex, text) in cases {
            assert_eq!(to_text(latex).as_deref(), text, "{latex}");
        }
    }
}
