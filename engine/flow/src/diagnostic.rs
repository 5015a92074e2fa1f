//! What is wrong with a graph file and how it is shown: place, source line, caret, what to do. Knows nothing of graphs.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that is wrong with a graph.
///
/// The style of all messages: lowercase, names in backticks, one sentence without a full stop; the message says what is
/// wrong, the label under the caret what was found or the nearest name, the help what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong and what was expected.
    pub message: String,
    /// Where.
    pub place: Place,
    /// A few words beside the caret.
    pub label: Option<String>,
    /// Other places that matter: the far end of an edge, the first of two equal names.
    pub notes: Vec<Note>,
    /// The rounds of a `[repeat]` block in which it is so; `None` outside of one, and in the block as it is written.
    pub rounds: Option<Rounds>,
    /// What to do.
    pub help: Option<String>,
}

/// Rounds of a `[repeat]` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// The block's name.
    pub block: Arc<str>,
    /// The rounds' numbers, rising.
    pub numbers: Vec<usize>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The graph as a whole.
    Whole,
    /// Bytes of the graph file.
    Span(Range<usize>),
    /// A value given on the command line: `nodes.grpo.steps=10`.
    Setting(String),
}

/// A second place of a [`Diagnostic`], with what is to be seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub place: Place,
    /// What is there.
    pub text: String,
}

/// Everything that is wrong with a graph file, in the order of the file. `Display` renders all of it, without colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The graph file, as the user named it.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// What is wrong; never empty.
    pub items: Vec<Diagnostic>,
}

/// Where the lines of a text begin: turns byte offsets into lines and columns.
pub struct Lines {
    starts: Vec<usize>,
}

impl Place {
    /// The bytes of the file; `None` for a place outside it.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Place::Span(span) => Some(span.clone()),
            Place::Whole | Place::Setting(_) => None,
        }
    }

    /// From the beginning of this place to the end of `other`, where both are in the file; else `other`.
    pub fn to(&self, other: &Place) -> Place {
        match (self, other) {
            (Place::Span(first), Place::Span(last)) if first.start <= last.end => Place::Span(first.start..last.end),
            _ => other.clone(),
        }
    }
}

impl Diagnostic {
    /// A diagnostic without label, notes and help.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { message: message.into(), place: place.clone(), label: None, notes: Vec::new(), rounds: None, help: None }
    }

    /// Adds the words beside the caret.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// Adds a second place.
    pub fn note(mut self, place: &Place, text: impl Into<String>) -> Self {
        self.notes.push(Note { place: place.clone(), text: text.into() });
        self
    }

    /// Adds what to do.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds the nearest of `candidates` to `name` beside the caret, or all of them as help if none is near.
    pub fn suggest<'a>(self, name: &str, what: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Self {
        match nearest(name, candidates.clone()) {
            Some(candidate) => self.label(format!("did you mean `{candidate}`?")),
            None => self.help(format!("{what}: {}", list(candidates))),
        }
    }

    /// The bytes of the file it is about; `None` if it is about no place in the file.
    pub fn span(&self) -> Option<Range<usize>> {
        self.place.span()
    }

    /// Puts `replacement` for every `text` in what is shown.
    pub(crate) fn replace(&mut self, text: &str, replacement: &str) {
        let notes = self.notes.iter_mut().map(|note| &mut note.text);
        for part in [&mut self.message].into_iter().chain(&mut self.label).chain(&mut self.help).chain(notes) {
            *part = part.replace(text, replacement);
        }
    }
}

/// The name among `candidates` that `name` most likely stands for; `None` if none is near. Letter case and the choice
/// between `-` and `_` do not count.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let wanted = plain(name);
    let limit = (wanted.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The names in backticks with commas between, cut if there are many; `none` if there are none.
pub fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const LIMIT: usize = 30;
    let mut names = names.map(|name| format!("`{name}`"));
    let mut text = names.by_ref().take(LIMIT).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 if text.is_empty() => text.push_str("none"),
        0 => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}

impl Lines {
    /// Finds the lines of `source`.
    pub fn new(source: &str) -> Self {
        let after_newlines = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        Self { starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line and column of a byte offset into the same `source`; both count from 1, columns in characters.
    pub fn locate(&self, source: &str, offset: usize) -> (usize, usize) {
        let offset = floor_boundary(source, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        (line, source[start..offset].chars().count() + 1)
    }

    /// The text of line `line`, without its end.
    fn text<'s>(&self, source: &'s str, line: usize) -> &'s str {
        let start = self.starts.get(line - 1).copied().unwrap_or(source.len());
        let end = self.starts.get(line).map_or(source.len(), |next| next - 1);
        source[start..end].trim_end_matches('\r')
    }
}

/// The nearest character boundary at or before `offset`.
fn floor_boundary(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

impl Diagnostics {
    /// Puts the diagnostics in the order in which they are shown: the whole graph, the file from its top, the settings.
    pub(crate) fn sorted(path: &Path, source: String, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_key(|item| match &item.place {
            Place::Whole => (0, 0),
            Place::Span(span) => (1, span.start),
            Place::Setting(_) => (2, 0),
        });
        Self { path: path.to_owned(), source, items: said_once(items) }
    }
}

/// The items without those that say the same of a later round of the same block: that round's number goes to the first.
fn said_once(items: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if items.iter().all(|item| item.rounds.is_none()) {
        return items;
    }
    let mut said: HashMap<(Place, String, Option<String>), usize> = HashMap::new();
    let mut once: Vec<Diagnostic> = Vec::new();
    for item in items {
        let key = (item.place.clone(), without_rounds(&item.message), item.label.as_deref().map(without_rounds));
        match said.get(&key).and_then(|first| once.get_mut(*first)) {
            Some(first) => {
                // Without a round it is wrong in the block as it is written: nothing more is to be said.
                if let (Some(rounds), Some(more)) = (&mut first.rounds, item.rounds) {
                    rounds.numbers.extend(more.numbers);
                    rounds.numbers.sort_unstable();
                    rounds.numbers.dedup();
                } else {
                    first.rounds = None;
                }
            }
            None => {
                said.insert(key, once.len());
                once.push(item);
            }
        }
    }
    once
}

/// The text with `traces` in place of `traces@2`.
fn without_rounds(text: &str) -> String {
    let mut parts = text.split('@');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        if rest.len() == part.len() {
            plain.push('@');
        }
        plain.push_str(rest);
    }
    plain
}

impl fmt::Display for Rounds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = &self.block;
        match self.numbers.as_slice() {
            [only] => write!(formatter, "in round {only} of `{block}`"),
            [first, .., last] if last - first + 1 == self.numbers.len() && self.numbers.len() > 2 => {
                write!(formatter, "in rounds {first} to {last} of `{block}`")
            }
            [before @ .., last] => {
                let before: Vec<String> = before.iter().map(usize::to_string).collect();
                write!(formatter, "in rounds {} and {last} of `{block}`", before.join(", "))
            }
            [] => write!(formatter, "in `{block}`"),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = Lines::new(&self.source);
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            Rendering { file: self, lines: &lines, gutter: gutter(self, &lines, item) }.item(formatter, item)?;
        }
        Ok(())
    }
}

/// The width of the largest line number that `item` shows.
fn gutter(file: &Diagnostics, lines: &Lines, item: &Diagnostic) -> usize {
    let places = item.notes.iter().map(|note| &note.place).chain([&item.place]);
    let largest = places.filter_map(Place::span).map(|span| lines.locate(&file.source, span.start).0).max();
    largest.unwrap_or(1).to_string().len()
}

struct Rendering<'a> {
    file: &'a Diagnostics,
    lines: &'a Lines,
    gutter: usize,
}

impl Rendering<'_> {
    fn item(&self, formatter: &mut fmt::Formatter<'_>, item: &Diagnostic) -> fmt::Result {
        writeln!(formatter, "error: {}", block(&item.message, "error: ".len()))?;
        self.place(formatter, &item.place, item.label.as_deref())?;
        for note in &item.notes {
            writeln!(formatter, "note: {}", block(&note.text, "note: ".len()))?;
            self.place(formatter, &note.place, None)?;
        }
        if let Some(rounds) = &item.rounds {
            writeln!(formatter, "{:gutter$} = {rounds}", "", gutter = self.gutter)?;
        }
        if let Some(help) = &item.help {
            writeln!(
                formatter,
                "{:gutter$} = help: {}",
                "",
                block(help, self.gutter + " = help: ".len()),
                gutter = self.gutter
            )?;
        }
        Ok(())
    }

    fn place(&self, formatter: &mut fmt::Formatter<'_>, place: &Place, label: Option<&str>) -> fmt::Result {
        let gutter = self.gutter;
        let path = self.file.path.display();
        let Place::Span(span) = place else {
            match place {
                Place::Setting(setting) => writeln!(formatter, "{:gutter$}--> --set {}", "", one_line(setting))?,
                _ => writeln!(formatter, "{:gutter$}--> {path}", "")?,
            }
            return label.map_or(Ok(()), |label| writeln!(formatter, "{:gutter$} = {}", "", one_line(label)));
        };
        let source = &self.file.source;
        let (line, column) = self.lines.locate(source, span.start);
        let text = self.lines.text(source, line);
        let marked =
            source[floor_boundary(source, span.start)..floor_boundary(source, span.end.max(span.start))].lines().next();
        let shown = Excerpt::new(text, column - 1, marked.map_or(0, |marked| marked.chars().count()));
        writeln!(formatter, "{:gutter$}--> {path}:{line}:{column}", "")?;
        writeln!(formatter, "{:gutter$} |", "")?;
        writeln!(formatter, "{line:gutter$} | {}", shown.text.trim_end())?;
        let caret = format!(
            "{:indent$}{:^<width$} {}",
            "",
            "",
            one_line(label.unwrap_or_default()),
            indent = shown.indent,
            width = shown.width
        );
        writeln!(formatter, "{:gutter$} | {}", "", caret.trim_end())
    }
}

/// A source line as it is shown: tabs as spaces, control characters made visible, cut around the caret if it is long.
struct Excerpt {
    text: String,
    /// Columns before the caret.
    indent: usize,
    /// Columns under which carets stand; at least 1.
    width: usize,
}

impl Excerpt {
    /// The most characters of a line that are shown.
    const LIMIT: usize = 120;
    const TAB: &str = "    ";
    const CUT: &str = "...";

    /// `start` and `length`: the characters of `line` to be marked.
    fn new(line: &str, start: usize, length: usize) -> Self {
        let total = line.chars().count();
        let length = length.min(total.saturating_sub(start));
        let (from, to) = if total <= Self::LIMIT {
            (0, total)
        } else {
            let from = start.saturating_sub(Self::LIMIT / 2).min(total - Self::LIMIT);
            (from, from + Self::LIMIT)
        };
        let show = |from: usize, to: usize| -> String {
            line.chars().skip(from).take(to.saturating_sub(from)).map(visible).collect()
        };
        let columns = |from, to| show(from, to).chars().count();
        let before = if from > 0 { Self::CUT } else { "" };
        let after = if to < total { Self::CUT } else { "" };
        Self {
            text: format!("{before}{}{after}", show(from, to)),
            indent: before.len() + columns(from, start),
            width: columns(start, (start + length).min(to)).max(1),
        }
    }
}

/// One character of a source line as text.
fn visible(character: char) -> String {
    match character {
        '\t' => Excerpt::TAB.to_owned(),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    }
}

/// Text from outside as it is shown: further lines are indented by `indent`, control characters are made visible.
fn block(text: &str, indent: usize) -> String {
    let show = |character: char| match character {
        '\n' => format!("\n{:indent$}", ""),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    };
    text.trim_end().replace("\r\n", "\n").chars().map(show).collect()
}

/// Text on one line.
fn one_line(text: &str) -> String {
    block(&text.replace('\n', " "), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, items: Vec<Diagnostic>) -> String {
        Diagnostics::sorted(Path::new("g.toml"), source.to_owned(), items).to_string()
    }

    #[test]
    fn an_error_shows_place_line_caret_label_note_and_help() {
        let source = "a = 1\n\ttemprature = 0.6\r\n";
        let error = Diagnostic::new(&Place::Span(7..17), "unknown option `temprature`")
            .suggest("temprature", "options", ["temperature", "samples"].into_iter())
            .note(&Place::Span(0..1), "here")
            .help("look");
        let wanted = "error: unknown option `temprature`
 --> g.toml:2:2
  |
2 |     temprature = 0.6
  |     ^^^^^^^^^^ did you mean `temperature`?
note: here
 --> g.toml:1:1
  |
1 | a = 1
  | ^
  = help: look
";
        assert_eq!(render(source, vec![error]), wanted);
    }

    #[test]
    fn places_outside_the_file_and_at_its_end_are_shown() {
        let items = vec![
            Diagnostic::new(&Place::Setting("nodes.a.steps=x".into()), "bad").label("found text"),
            Diagnostic::new(&Place::Span(3..3), "unexpected end"),
            Diagnostic::new(&Place::Whole, "empty"),
        ];
        let wanted = "error: empty\n --> g.toml\n\nerror: unexpected end\n --> g.toml:1:3\n  |\n1 | aé\n  |   ^\n
error: bad\n --> --set nodes.a.steps=x\n  = found text\n";
        assert_eq!(render("aé", items), wanted);
    }

    #[test]
    fn what_is_so_in_several_rounds_is_said_once() {
        let item = |round: Option<usize>, name: &str| {
            let mut item = Diagnostic::new(&Place::Span(0..1), format!("`{name}` is bad, a@b"));
            item.rounds = round.map(|number| Rounds { block: "loop".into(), numbers: vec![number] });
            item
        };
        let shown = |items| render("a\n", items).lines().map(str::to_owned).collect::<Vec<_>>();
        let rounds = [2, 3, 4].map(|number| item(Some(number), &format!("x@{number}")));
        assert_eq!(shown(rounds.to_vec())[5..], ["  = in rounds 2 to 4 of `loop`"]);
        assert_eq!(shown(vec![rounds[0].clone(), rounds[2].clone()])[5..], ["  = in rounds 2 and 4 of `loop`"]);
        assert_eq!(shown(vec![item(None, "x"), rounds[0].clone()]).len(), 5);
        let two = shown(vec![item(Some(2), "x@2"), item(Some(3), "y@3")]);
        assert_eq!((two[5].as_str(), two[12].as_str()), ("  = in round 2 of `loop`", "  = in round 3 of `loop`"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let text = render(&source, vec![Diagnostic::new(&Place::Span(500..501), "m")]);
        let (line, caret) = (text.lines().nth(3).unwrap(), text.lines().nth(4).unwrap());
        assert!(line.len() < 140 && line.starts_with("1 | ...aaa") && line.ends_with("bbb..."));
        assert_eq!(line.find('X'), caret.find('^'));
    }

    #[test]
    fn the_nearest_name_must_be_near() {
        let names = ["reasoning-sample", "sft", "read"];
        assert_eq!(nearest("Reasoning_Sampel", names.into_iter()), Some("reasoning-sample"));
        assert_eq!(nearest("raed", names.into_iter()), Some("read"));
        assert_eq!(nearest("eval", names.into_iter()), None);
        assert_eq!(nearest("", names.into_iter()), None);
    }
}
