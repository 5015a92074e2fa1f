//! What is wrong with a graph file and how it is shown: place, source line, caret, what to do. Knows nothing of graphs.

mod lines;
mod render;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::lines::Lines;

/// The most errors that are shown at once. A file with more was made by a program, or is no graph.
pub const SHOWN: usize = 200;

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
    pub label: Option<Box<str>>,
    /// Other places that matter: the far end of an edge, the first of two equal names.
    pub notes: Vec<Note>,
    /// The rounds of a `[repeat]` block in which it is so; `None` outside of one, and in the block as it is written.
    pub rounds: Option<Box<Rounds>>,
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

/// Everything that is wrong with a graph file, in the order of the file. `Display` renders the first [`SHOWN`] of it,
/// without colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The graph file, as the user named it.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// What is wrong; never empty.
    pub items: Vec<Diagnostic>,
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
        self.label = Some(text.into().into_boxed_str());
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
        for part in [&mut self.message].into_iter().chain(&mut self.help).chain(notes) {
            *part = part.replace(text, replacement);
        }
        if let Some(label) = &mut self.label {
            *label = label.replace(text, replacement).into_boxed_str();
        }
    }
}

/// The name among `candidates` that `name` most likely stands for; `None` if none is near. Letter case and the choice
/// between `-` and `_` do not count.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let wanted = plain(name);
    let length = wanted.chars().count();
    let limit = (length / 3).max(1);
    candidates
        // The lengths alone say that most names are not near.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
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

impl Diagnostics {
    /// Puts the diagnostics in the order in which they are shown: the whole graph, the file from its top, the settings.
    pub(crate) fn sorted(path: &Path, source: String, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_key(|item| {
            let round = item.rounds.as_ref().and_then(|rounds| rounds.numbers.first()).copied();
            match &item.place {
                Place::Whole => (0, 0, round),
                Place::Span(span) => (1, span.start, round),
                Place::Setting(_) => (2, 0, None),
            }
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
            item.rounds = round.map(|number| Box::new(Rounds { block: "loop".into(), numbers: vec![number] }));
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
    fn the_first_of_very_many_errors_are_shown() {
        let items = vec![Diagnostic::new(&Place::Span(0..1), "bad"); SHOWN + 7];
        let text = render("a", items);
        assert_eq!(text.matches("error: bad").count(), SHOWN);
        assert!(text.ends_with("\nerror: there are 7 more errors\n --> g.toml\n"), "{text}");
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
