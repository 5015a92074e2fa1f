//! Text to nodes: pylatexenc's `LatexWalker`, with its recoveries from errors. Knows the arguments of macros, not their
//! meaning.

use super::super::python::{is_alpha, is_space};
use super::macros;
use super::{FRAMES, Node};

/// The nodes of a text; `None` where the reference runs out of stack or of text.
pub(super) fn parse(text: &[char]) -> Option<Vec<Node>> {
    let mut walker = Walker { text, frames: 0, overflow: false, steps: MAX_STEPS };
    let (nodes, _) = walker.nodes(0, &Until::End, false);
    (!walker.overflow).then_some(nodes)
}

#[derive(PartialEq)]
enum Until {
    End,
    Brace(char),
    Environment(String),
    Math(String),
}

enum Token {
    Char(String),
    Macro(String, String),
    Open(char),
    Close(char),
    Begin(String),
    Finish(String),
    Comment(String),
    Special(&'static str),
    Math(String),
}

/// A token with the space before it.
struct Found {
    token: Token,
    at: usize,
    length: usize,
    space: String,
}

/// The text is over; the space before its end.
struct Ended(String);

struct Walker<'text> {
    text: &'text [char],
    frames: u32,
    overflow: bool,
    /// What is unclosed is read again and again.
    steps: usize,
}

const MAX_STEPS: usize = 50_000;

/// Longest first.
const SPECIALS: [&str; 8] = ["---", "``", "''", "--", "!`", "?`", "&", "~"];

impl Walker<'_> {
    fn starts(&self, at: usize, what: &str) -> bool {
        let mut at = at;
        what.chars().all(|character| {
            at += 1;
            self.text.get(at - 1) == Some(&character)
        })
    }

    fn collect(&self, from: usize, to: usize) -> String {
        self.text[from.min(self.text.len())..to.min(self.text.len())].iter().collect()
    }

    /// `in_dollars`: inside `$...$`, where `$$` is two closings.
    fn token(&mut self, mut at: usize, square: bool, environments: bool, in_dollars: bool) -> Result<Found, Ended> {
        self.step(1);
        let text = self.text;
        let mut space = String::new();
        while let Some(character) = text.get(at).filter(|character| is_space(**character)) {
            space.push(*character);
            at += 1;
            if space.ends_with("\n\n") {
                space.truncate(space.len() - 2);
                return Ok(Found { token: Token::Char("\n\n".into()), at: at - 2, length: 2, space });
            }
        }
        let Some(&character) = text.get(at) else { return Err(Ended(space)) };
        let found = |token, length| Ok(Found { token, at, length, space: space.clone() });
        match character {
            '\\' => {
                let Some(&first) = text.get(at + 1) else { return Err(Ended(String::new())) };
                let mut end = at + 2;
                if is_alpha(first) {
                    while text.get(end).is_some_and(|next| is_alpha(*next)) {
                        end += 1;
                    }
                }
                let name = self.collect(at + 1, end);
                if matches!(first, '[' | ']' | '(' | ')') {
                    return found(Token::Math(format!("\\{name}")), 2);
                }
                if environments && (name == "begin" || name == "end") {
                    return match self.environment_name(end) {
                        None => found(Token::Char(format!("\\{name}")), end - at),
                        Some((environment, end)) if name == "begin" => found(Token::Begin(environment), end - at),
                        Some((environment, end)) => found(Token::Finish(environment), end - at),
                    };
                }
                let mut after = String::new();
                if is_alpha(first) {
                    while let Some(next) = text.get(end).filter(|next| is_space(**next)) {
                        after.push(*next);
                        end += 1;
                        if after.ends_with("\n\n") {
                            after.truncate(after.len() - 2);
                            end -= 2;
                            break;
                        }
                    }
                }
                found(Token::Macro(name, after), end - at)
            }
            '%' => {
                let (length, after) = self.comment(at);
                found(Token::Comment(after), length)
            }
            '{' => found(Token::Open('{'), 1),
            '}' => found(Token::Close('}'), 1),
            '[' if square => found(Token::Open('['), 1),
            ']' if square => found(Token::Close(']'), 1),
            '$' if !in_dollars && self.starts(at, "$$") => found(Token::Math("$$".into()), 2),
            '$' => found(Token::Math("$".into()), 1),
            _ => match SPECIALS.into_iter().find(|special| self.starts(at, special)) {
                Some(special) => found(Token::Special(special), special.len()),
                None => found(Token::Char(character.to_string()), 1),
            },
        }
    }

    /// `\s*\{([\w* ._-]+)\}`: the name and the place after it.
    fn environment_name(&self, mut at: usize) -> Option<(String, usize)> {
        while self.text.get(at).is_some_and(|next| is_space(*next)) {
            at += 1;
        }
        let start = at + 1;
        if self.text.get(at) != Some(&'{') {
            return None;
        }
        let fits = |next: &char| next.is_alphanumeric() || "_* .-".contains(*next);
        let end = start + self.text[start..].iter().take_while(|next| fits(next)).count();
        (end > start && self.text.get(end) == Some(&'}')).then(|| (self.collect(start, end), end + 1))
    }

    /// The length of a comment and the space that stays after it.
    fn comment(&self, at: usize) -> (usize, String) {
        let is_end = |character: &char| matches!(character, '\n' | '\r');
        let Some(line) = self.text[at..].iter().position(is_end) else { return (self.text.len() - at, String::new()) };
        let end = at + line;
        if self.text.get(end + 1).is_some_and(is_end) {
            return (line, String::new());
        }
        let spaces = self.text[end..].iter().take_while(|next| is_space(**next)).count();
        (line + spaces, self.collect(end, end + spaces))
    }

    fn step(&mut self, steps: usize) {
        self.steps = self.steps.saturating_sub(steps);
        self.overflow |= self.steps == 0;
    }

    fn enter(&mut self, frames: u32) -> bool {
        self.frames += frames;
        self.overflow |= self.frames > FRAMES;
        !self.overflow
    }

    /// Nodes up to what ends them, and the place after that.
    fn nodes(&mut self, from: usize, until: &Until, in_dollars: bool) -> (Vec<Node>, usize) {
        let mut nodes = Vec::new();
        let mut characters = String::new();
        let mut at = from;
        let square = *until == Until::Brace(']');
        if !self.enter(2) {
            return (nodes, self.text.len());
        }
        loop {
            if self.overflow {
                break;
            }
            let found = match self.token(at, square, true, in_dollars) {
                Ok(found) => found,
                Err(Ended(space)) => {
                    characters.push_str(&space);
                    at += space.chars().count();
                    break;
                }
            };
            let Found { token, at: start, length, space } = found;
            at = start + length;
            if let Token::Char(character) = &token {
                characters.push_str(&space);
                characters.push_str(character);
                continue;
            }
            characters.push_str(&space);
            if !characters.is_empty() {
                nodes.push(Node::Characters(std::mem::take(&mut characters)));
            }
            match token {
                Token::Char(_) => {}
                Token::Close(brace) => {
                    if *until == Until::Brace(brace) {
                        break;
                    }
                }
                Token::Finish(name) => {
                    if *until == Until::Environment(name) {
                        break;
                    }
                }
                Token::Math(mark) => {
                    let closes = matches!(until, Until::Math(expected) if *expected == mark);
                    if closes {
                        break;
                    }
                    if mark == "\\)" || mark == "\\]" {
                        continue;
                    }
                    let (closing, display) = match mark.as_str() {
                        "\\(" => ("\\)", false),
                        "\\[" => ("\\]", true),
                        "$" => ("$", false),
                        _ => ("$$", true),
                    };
                    let (body, end) = self.nodes(at, &Until::Math(closing.into()), mark == "$");
                    at = end;
                    nodes.push(Node::Math { display, body });
                }
                Token::Comment(after) => nodes.push(Node::Comment(after)),
                Token::Open(brace) => {
                    let (group, end) = self.group(start, brace, in_dollars);
                    at = end;
                    nodes.push(group);
                }
                Token::Begin(name) => {
                    let (environment, end) = self.environment(name, at, in_dollars);
                    at = end;
                    nodes.push(environment);
                }
                Token::Macro(name, space_after) => {
                    let (arguments, end) = self.macro_arguments(&name, at, in_dollars);
                    at = end;
                    nodes.push(Node::Macro { name, arguments, space_after });
                }
                Token::Special(special) => nodes.push(Node::Special(special)),
            }
        }
        self.frames -= 2;
        if !characters.is_empty() {
            nodes.push(Node::Characters(characters));
        }
        (nodes, at)
    }

    /// The group whose brace is at `at`.
    fn group(&mut self, at: usize, brace: char, in_dollars: bool) -> (Node, usize) {
        self.frames += 1;
        let closing = if brace == '{' { '}' } else { ']' };
        let (nodes, end) = self.nodes(at + 1, &Until::Brace(closing), in_dollars);
        self.frames -= 1;
        (Node::Group(nodes), end)
    }

    fn environment(&mut self, name: String, at: usize, in_dollars: bool) -> (Node, usize) {
        let mut at = at;
        if name == "verbatim" {
            let end = "\\end{verbatim}";
            self.step(self.text.len() - at);
            at = (at..self.text.len()).find(|place| self.starts(*place, end)).unwrap_or(at);
        } else if let Some((_, end)) = self.arguments(macros::environment_arguments(&name), at, false, in_dollars) {
            at = end;
        }
        self.frames += 1;
        let in_dollars = in_dollars && !macros::is_math_environment(&name);
        let (body, end) = self.nodes(at, &Until::Environment(name.clone()), in_dollars);
        self.frames -= 1;
        (Node::Environment { name, body }, end)
    }

    fn macro_arguments(&mut self, name: &str, at: usize, in_dollars: bool) -> (Option<Vec<Option<Node>>>, usize) {
        if name == "verb" {
            return self.verbatim(at);
        }
        let specification = macros::find(name).map_or("", |known| known.arguments);
        let in_dollars = in_dollars && !macros::takes_text(name);
        match self.arguments(specification, at, name == "\\", in_dollars) {
            Some((arguments, end)) => (Some(arguments), end),
            None => (None, at),
        }
    }

    /// `\verb|...|`, whose text is dropped.
    fn verbatim(&mut self, at: usize) -> (Option<Vec<Option<Node>>>, usize) {
        self.step(self.text.len() - at);
        let start = at + self.text[at..].iter().take_while(|next| is_space(**next)).count();
        let Some(mark) = self.text.get(start) else {
            // The reference reads beyond the end.
            self.overflow |= start == at;
            return (None, at);
        };
        match self.text[start + 1..].iter().position(|next| next == mark) {
            Some(length) => (Some(Vec::new()), start + length + 2),
            None => (None, at),
        }
    }

    /// `None` when the text ends before a needed argument.
    fn arguments(
        &mut self,
        specification: &str,
        from: usize,
        no_space: bool,
        in_dollars: bool,
    ) -> Option<(Vec<Option<Node>>, usize)> {
        let mut at = from;
        let mut arguments = Vec::with_capacity(specification.len());
        for kind in specification.chars() {
            let argument = match kind {
                '{' => {
                    let (node, end) = self.expression(at, in_dollars)?;
                    at = end;
                    Some(node)
                }
                '[' if no_space && self.text.get(at).is_some_and(|next| is_space(*next)) => None,
                '[' => match self.token(at, true, false, in_dollars) {
                    Ok(Found { token: Token::Open('['), at: start, .. }) => {
                        self.frames += 2;
                        let (group, end) = self.group(start, '[', in_dollars);
                        self.frames -= 2;
                        at = end;
                        Some(group)
                    }
                    _ => None,
                },
                _ => match self.token(at, false, true, false).ok()? {
                    Found { token: Token::Char(star), at: start, .. } if star == "*" => {
                        at = start + 1;
                        Some(Node::Characters("*".into()))
                    }
                    _ => None,
                },
            };
            arguments.push(argument);
        }
        Some((arguments, at))
    }

    /// One expression: a group, or a single token.
    fn expression(&mut self, at: usize, in_dollars: bool) -> Option<(Node, usize)> {
        let Found { token, at: start, length, .. } = self.token(at, false, false, in_dollars).ok()?;
        let end = start + length;
        let name_only = |name: String| Node::Macro { name, arguments: None, space_after: String::new() };
        Some(match token {
            Token::Macro(name, _) if name == "end" => (Node::Characters(String::new()), start),
            Token::Macro(name, _) => (name_only(name), end),
            Token::Special(special) => (Node::Special(special), end),
            Token::Comment(_) => {
                if !self.enter(1) {
                    return None;
                }
                let found = self.expression(end, in_dollars);
                self.frames -= 1;
                return found;
            }
            Token::Open(_) => {
                self.frames += 2;
                let found = self.group(start, '{', in_dollars);
                self.frames -= 2;
                found
            }
            Token::Close(_) => (Node::Characters(String::new()), start),
            Token::Math(mark) if mark.starts_with('\\') => (name_only(mark), end),
            Token::Char(text) | Token::Math(text) => (Node::Characters(text), end),
            Token::Begin(_) | Token::Finish(_) => return None,
        })
    }
}
