//! Nodes to text: pylatexenc's `LatexNodes2Text` with its defaults. Knows the texts of macros, not their arguments.

use unicode_normalization::UnicodeNormalization;

use super::super::python::{is_space, strip};
use super::macros::{self, Text};
use super::{FRAMES, Node};

/// Bytes that are written, those of inner texts once for each text around them. A matrix in a cell of a matrix makes all cells
/// as wide, so that every level multiplies the text.
const MAX_WRITTEN: usize = 400_000;

/// The text of the nodes; `None` where the reference raises, or writes without end.
pub(super) fn render(nodes: &[Node]) -> Option<String> {
    Renderer { in_equation: false, frames: 0, left: MAX_WRITTEN }.list(nodes.iter())
}

struct Renderer {
    in_equation: bool,
    frames: u32,
    /// Bytes that may still be written.
    left: usize,
}

impl Renderer {
    fn list<'nodes>(&mut self, nodes: impl Iterator<Item = &'nodes Node>) -> Option<String> {
        self.frames += 2;
        if self.frames > FRAMES {
            return None;
        }
        let mut text = String::new();
        let mut space: Option<&str> = None;
        for node in nodes {
            if let (Node::Characters(_), Some(space), true) = (node, space, self.in_equation) {
                text.push_str(space);
            }
            let part = self.node(node)?;
            self.left = self.left.checked_sub(part.len())?;
            text.push_str(&part);
            space = match node {
                Node::Macro { arguments, space_after, name } if is_bare(name, arguments.as_deref()) => {
                    Some(space_after)
                }
                _ => None,
            };
        }
        self.frames -= 2;
        Some(text)
    }

    fn node(&mut self, node: &Node) -> Option<String> {
        Some(match node {
            Node::Characters(text) if self.in_equation && text.chars().all(is_space) => String::new(),
            Node::Characters(text) => text.clone(),
            Node::Comment(after) => after.clone(),
            Node::Group(nodes) => {
                self.frames += 2;
                let text = self.list(nodes.iter())?;
                self.frames -= 2;
                text
            }
            Node::Macro { name, arguments, .. } => {
                self.frames += 2;
                let text = self.macro_text(name, arguments.as_deref().unwrap_or_default())?;
                self.frames -= 2;
                text
            }
            Node::Environment { name, body } => self.environment(name, body)?,
            Node::Special(special) => match *special {
                "&" => "   ",
                "~" => "\u{a0}",
                "``" => "“",
                "''" => "”",
                "--" => "–",
                "---" => "—",
                "!`" => "¡",
                "?`" => "¿",
                other => other,
            }
            .to_owned(),
            Node::Math { display, body } => self.math(*display, body)?,
        })
    }

    fn math(&mut self, display: bool, body: &[Node]) -> Option<String> {
        let outside = std::mem::replace(&mut self.in_equation, true);
        self.frames += 2;
        let text = self.list(body.iter())?;
        self.frames -= 2;
        self.in_equation = outside;
        Some(if display { block(strip(&text)) } else { strip(&text).to_owned() })
    }

    fn environment(&mut self, name: &str, body: &[Node]) -> Option<String> {
        match name {
            "center" | "flushleft" | "flushright" => Some(format!("\n{}\n", self.list(body.iter())?)),
            "array" | "pmatrix" | "bmatrix" | "smallmatrix" | "psmallmatrix" | "bsmallmatrix" => self.matrix(body),
            "equation" | "equation*" | "eqnarray" | "eqnarray*" | "align" | "align*" | "multline" | "multline*"
            | "gather" | "gather*" | "dmath" | "dmath*" => self.math(true, body),
            _ => {
                self.frames += 1;
                let text = self.list(body.iter());
                self.frames -= 1;
                text
            }
        }
    }

    /// `[ a b; c d ]`, cells as wide as the widest; `None` without a cell.
    fn matrix(&mut self, body: &[Node]) -> Option<String> {
        let mut rows: Vec<Vec<String>> = vec![Vec::new()];
        let mut cell: Vec<&Node> = Vec::new();
        for node in body.iter().map(Some).chain([None]) {
            let is_row = matches!(node, Some(Node::Macro { name, .. }) if name == "\\");
            if !is_row && !matches!(node, None | Some(Node::Special("&"))) {
                cell.extend(node);
                continue;
            }
            if !cell.is_empty() {
                self.frames += 5;
                let text = self.list(cell.drain(..))?;
                self.frames -= 5;
                rows.last_mut()?.push(strip(&text).to_owned());
            }
            if is_row {
                rows.push(Vec::new());
            }
        }
        let width = rows.iter().flatten().map(|cell| cell.chars().count()).max()?;
        let cells: usize = rows.iter().map(Vec::len).sum();
        self.left = self.left.checked_sub(cells.saturating_mul(width))?;
        // The widths of `format!` end at 65,535.
        let padded = |cell: &String| " ".repeat(width - cell.chars().count()) + cell;
        let row = |row: &Vec<String>| row.iter().map(padded).collect::<Vec<_>>().join(" ");
        Some(format!("[ {} ]", rows.iter().map(row).collect::<Vec<_>>().join("; ")))
    }

    /// One argument's text.
    fn argument(&mut self, argument: Option<&Node>) -> Option<String> {
        match argument {
            None => Some(String::new()),
            Some(Node::Group(nodes)) => {
                self.frames += 1;
                let text = self.list(nodes.iter())?;
                self.frames -= 1;
                Some(text)
            }
            Some(node) => self.node(node),
        }
    }

    /// All arguments' texts; reading each takes `frames` more.
    fn texts(&mut self, arguments: &[Option<Node>], frames: u32) -> Option<Vec<String>> {
        self.frames += frames;
        let texts = arguments.iter().map(|one| self.argument(one.as_ref())).collect();
        self.frames -= frames;
        texts
    }

    fn macro_text(&mut self, name: &str, arguments: &[Option<Node>]) -> Option<String> {
        let Some(known) = macros::find(name) else { return Some(String::new()) };
        let argument = |at: usize| arguments.get(at).and_then(Option::as_ref);
        match &known.text {
            Text::Drop => Some(String::new()),
            Text::Plain(text) => Some(text.clone()),
            Text::Arguments => self.texts(arguments, 1).map(|texts| texts.concat()),
            Text::Pattern(pattern) => {
                let texts = self.texts(arguments, if pattern.contains("%(") { 3 } else { 2 })?;
                fill(pattern, &texts)
            }
            Text::Accent(accent) => {
                self.frames += 3;
                let text = match argument(0) {
                    Some(node) => self.list(std::iter::once(node))?,
                    // An accent over nothing: over a space, which the reference then strips in one of its ways only.
                    None => " ".to_owned(),
                };
                self.frames -= 3;
                let text = if arguments.is_empty() { text.as_str() } else { strip(&text) };
                Some(text.chars().map(|letter| accented(letter, *accent)).collect())
            }
            Text::Style(style) => {
                self.frames += 3;
                let text = self.argument(argument(0))?;
                self.frames -= 3;
                Some(text.chars().map(|letter| styled(letter, style)).collect())
            }
            Text::Special => self.special(name, arguments),
        }
    }

    fn special(&mut self, name: &str, arguments: &[Option<Node>]) -> Option<String> {
        let mut nth = |at: usize| match arguments {
            [] => Some(String::new()),
            _ => self.argument(arguments.get(at)?.as_ref()),
        };
        match name {
            "item" => match arguments.first() {
                Some(Some(_)) => Some(format!("\n  {}", nth(0)?)),
                _ => Some("\n  * ".to_owned()),
            },
            "texorpdfstring" => nth(1),
            // Kept for another place, or read from files, of which there are none.
            "title" | "author" | "date" | "input" | "include" => {
                arguments.first()?;
                nth(0).map(|_| String::new())
            }
            "includegraphics" => Some(block("< g r a p h i c s >")),
            "part" => Some(format!("\n\nPART: {}\n", nth(2)?.to_uppercase())),
            "chapter" => Some(format!("\n\nCHAPTER: {}\n", nth(2)?.to_uppercase())),
            "section" => Some(format!("\n\n§ {}\n", nth(2)?.to_uppercase())),
            "subsection" => Some(format!("\n\n §.§ {}\n", nth(2)?)),
            "subsubsection" => Some(format!("\n\n  §.§.§ {}\n", nth(2)?)),
            "paragraph" => Some(format!("\n\n  {}\n", nth(2)?)),
            "subparagraph" => Some(format!("\n\n    {}\n", nth(2)?)),
            "exercise" | "uebung" => match arguments {
                [Some(_), None] => Some(format!("\n{}\n", nth(0)?)),
                [Some(_), Some(_)] => Some(format!("\n{}\n[{}]\n", nth(0)?, nth(1)?)),
                _ => None,
            },
            // `href`, of which the reference reads arguments that it did not parse.
            _ => None,
        }
    }
}

/// Whether a macro stands without any argument, so that space may follow it.
fn is_bare(name: &str, arguments: Option<&[Option<Node>]>) -> bool {
    match arguments {
        None | Some([]) => true,
        Some([None]) => name == "item",
        Some([_, None]) => name == "\\",
        Some(_) => false,
    }
}

fn block(text: &str) -> String {
    format!("\n    {}\n", text.replace('\n', "\n    "))
}

/// Python's `pattern % texts`; a count that does not fit leaves the pattern as it is, a missing name raises.
fn fill(pattern: &str, texts: &[String]) -> Option<String> {
    if let Some((before, rest)) = pattern.split_once("%(") {
        let (number, after) = rest.split_once(")s")?;
        let text = texts.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        return Some(format!("{before}{text}{after}"));
    }
    let mut parts = pattern.split("%s");
    if pattern.matches("%s").count() != texts.len() {
        return Some(pattern.to_owned());
    }
    let mut text = parts.next()?.to_owned();
    for (argument, part) in texts.iter().zip(parts) {
        text.push_str(argument);
        text.push_str(part);
    }
    Some(text)
}

fn accented(letter: char, accent: char) -> String {
    let letter = match letter {
        'ı' => 'i',
        'ȷ' => 'j',
        other => other,
    };
    [letter, accent].into_iter().nfc().collect()
}

/// A letter of one of Unicode's mathematical alphabets.
fn styled(letter: char, style: &str) -> char {
    let special = match (style, letter) {
        ("italic", 'h') => 'ℎ',
        ("script", 'B') => 'ℬ',
        ("script", 'E') => 'ℰ',
        ("script", 'F') => 'ℱ',
        ("script", 'H') => 'ℋ',
        ("script", 'I') => 'ℐ',
        ("script", 'L') => 'ℒ',
        ("script", 'M') => 'ℳ',
        ("script", 'R') => 'ℛ',
        ("script", 'e') => 'ℯ',
        ("script", 'g') => 'ℊ',
        ("script", 'o') => 'ℴ',
        ("fraktur", 'C') => 'ℭ',
        ("fraktur", 'H') => 'ℌ',
        ("fraktur", 'I') => 'ℑ',
        ("fraktur", 'R') => 'ℜ',
        ("fraktur", 'Z') => 'ℨ',
        ("doublestruck", 'C') => 'ℂ',
        ("doublestruck", 'H') => 'ℍ',
        ("doublestruck", 'N') => 'ℕ',
        ("doublestruck", 'P') => 'ℙ',
        ("doublestruck", 'Q') => 'ℚ',
        ("doublestruck", 'R') => 'ℝ',
        ("doublestruck", 'Z') => 'ℤ',
        _ => '\0',
    };
    if special != '\0' {
        return special;
    }
    let capitals = match style {
        "bold" => 0x1d400,
        "italic" => 0x1d434,
        "script" => 0x1d49c,
        "fraktur" => 0x1d504,
        "doublestruck" => 0x1d538,
        "sans" => 0x1d5a0,
        _ => 0x1d670,
    };
    let code = match letter {
        'A'..='Z' => capitals + letter as u32 - 'A' as u32,
        'a'..='z' => capitals + 26 + letter as u32 - 'a' as u32,
        _ => return letter,
    };
    char::from_u32(code).unwrap_or(letter)
}
