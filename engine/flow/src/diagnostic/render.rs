//! Diagnostics as text: place, source line, caret. Knows nothing of graphs.

use std::fmt;

use super::lines::floor_boundary;
use super::{Diagnostic, Diagnostics, Lines, Place, SHOWN};

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = Lines::new(&self.source);
        for (index, item) in self.items.iter().take(SHOWN).enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            Rendering { file: self, lines: &lines, gutter: gutter(self, &lines, item) }.item(formatter, item)?;
        }
        match self.items.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(formatter, "\nerror: there are {more} more errors\n --> {}\n", self.path.display()),
        }
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
