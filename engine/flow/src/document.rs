//! A graph file as a tree of values, each with its place: TOML text, filled from the environment.
//! It does not know what a node is.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Lines, Place};

/// The largest graph file that is read, in bytes.
pub const SIZE_LIMIT: u64 = 10 << 20;
/// The deepest nesting of tables and arrays.
const DEPTH_LIMIT: usize = 100;
/// The parser bounds brackets and dotted keys at 80 each, which multiply: its tree can be 6,500 levels deep. It is walked and
/// dropped on a stack of this many bytes.
const PARSER_STACK: usize = 64 << 20;
/// The most errors of syntax that are shown.
const SYNTAX_LIMIT: usize = 50;

/// A table with its entries in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Table(pub IndexMap<String, Entry>);

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// The value.
    pub item: Item,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where the value stands; for a table under a header, the header.
    pub place: Place,
    /// The value.
    pub content: Content,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Content {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number, perhaps not finite.
    Float(f64),
    /// Text.
    Text(Text),
    /// A date or time, as written.
    Date(String),
    /// An array.
    List(Vec<Item>),
    /// A table.
    Table(Table),
    /// A value that was already reported: nothing more is said about it.
    Broken,
}

/// A text value.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text, with what `${NAME}` stands for.
    pub value: String,
    /// The text as written, to be shown: it holds nothing from the environment.
    pub written: String,
}

/// Reads variables of the environment.
pub type Environment<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

impl Item {
    /// The type of the value, in words.
    pub fn type_name(&self) -> &'static str {
        match &self.content {
            Content::Bool(_) => "a boolean",
            Content::Integer(_) => "a whole number",
            Content::Float(_) => "a number",
            Content::Text(_) => "text",
            Content::Date(_) => "a date",
            Content::List(_) => "a list",
            Content::Table(_) => "a table",
            Content::Broken => "a broken value",
        }
    }

    /// Whether the value was already reported.
    pub fn is_broken(&self) -> bool {
        matches!(self.content, Content::Broken)
    }
}

impl Entry {
    /// Key and value together; for a table under a header, the header.
    pub fn place(&self) -> Place {
        match (&self.key, &self.item.place) {
            (Place::Span(key), Place::Span(value)) if value.start <= key.start => self.item.place.clone(),
            _ => self.key.to(&self.item.place),
        }
    }
}

/// Reads the text of a graph file, without its byte order mark.
///
/// # Errors
/// A file that cannot be read, is too large or is not UTF-8; the text that can be shown comes along.
pub fn read_source(path: &Path) -> Result<String, Box<(String, Diagnostic)>> {
    let fail = |message: String| Box::new((String::new(), Diagnostic::new(&Place::Whole, message)));
    if path.is_dir() {
        return Err(fail("expected a graph file, found a folder".to_owned()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(format!("cannot read the graph file: {error}")))?;
    if bytes.len() as u64 > SIZE_LIMIT {
        let error = Diagnostic::new(&Place::Whole, format!("the graph file is larger than {} MiB", SIZE_LIMIT >> 20));
        return Err(Box::new((String::new(), error.help("data belongs into files of its own, read by a `read` node"))));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let source = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = Place::Span(offset..offset + char::REPLACEMENT_CHARACTER.len_utf8());
        Box::new((source, Diagnostic::new(&place, "the graph file is not UTF-8 text").help("save it as UTF-8")))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Parses TOML text. Syntax errors, numbers out of range and missing variables of the environment go to `errors`; `None` if
/// the syntax is broken.
pub fn parse(source: &str, environment: Environment<'_>, errors: &mut Vec<Diagnostic>) -> Option<Table> {
    on_large_stack(|| parse_here(source, environment, &mut *errors)).unwrap_or_else(|message| {
        errors.push(Diagnostic::new(&Place::Whole, message));
        None
    })
}

/// Does `work` on a thread with a stack of [`PARSER_STACK`] bytes.
///
/// # Errors
/// The system gives no thread.
fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("cannot start a thread to read the graph: {error}"))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn parse_here(source: &str, environment: Environment<'_>, errors: &mut Vec<Diagnostic>) -> Option<Table> {
    let (root, syntax) = DeTable::parse_recoverable(source);
    if syntax.is_empty() {
        let mut reader = Reader { environment, setting: None, errors };
        return Some(reader.table(root.into_inner(), 0));
    }
    let mut syntax: Vec<_> = syntax.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    syntax.sort_by_key(|(span, _)| span.start);
    report_syntax(source, syntax, errors);
    None
}

/// Reports what the parser found, without what follows from an earlier mistake: the rest of a line, and the keys below a
/// header that was given twice.
fn report_syntax(source: &str, syntax: Vec<(Range<usize>, &str)>, errors: &mut Vec<Diagnostic>) {
    let lines = Lines::new(source);
    let (mut last_line, mut repeated_until, mut shown) = (0, 0, 0);
    for (span, message) in syntax {
        let (line, _) = lines.locate(source, span.start);
        let is_duplicate = message == "duplicate key";
        if line == last_line || (is_duplicate && span.start < repeated_until) {
            continue;
        }
        last_line = line;
        shown += 1;
        if shown > SYNTAX_LIMIT {
            errors.push(Diagnostic::new(&Place::Span(span), "there are more errors of syntax from here on"));
            return;
        }
        let place = Place::Span(span.clone());
        errors.push(match message {
            _ if is_duplicate => {
                if let Some(end) = header_end(source, span.start) {
                    repeated_until = end;
                }
                duplicate(source, span)
            }
            "cannot recurse further; max recursion depth met" => {
                Diagnostic::new(&place, "tables and arrays are nested too deeply")
            }
            "string values must be quoted, expected literal string" => {
                Diagnostic::new(&place, "text must be in quotes")
            }
            _ if source.get(span).is_some_and(|text| text.starts_with('@')) => {
                let help = "`NODE@2` names a round on an edge; what differs in a round stands in `[repeat.BLOCK]`, in \
                            `round.2.NODE`";
                Diagnostic::new(&place, "a name cannot hold `@`").help(help)
            }
            _ => Diagnostic::new(&place, message),
        });
    }
}

/// If `offset` is in a table's header: where the next header begins.
fn header_end(source: &str, offset: usize) -> Option<usize> {
    let line_start = source[..offset].rfind('\n').map_or(0, |index| index + 1);
    let is_header = source[line_start..].trim_start().starts_with('[');
    is_header.then(|| source[offset..].find("\n[").map_or(source.len(), |next| offset + next))
}

/// Names the key that was given twice and points at the line that gave it first.
fn duplicate(source: &str, span: Range<usize>) -> Diagnostic {
    let key = source.get(span.clone()).unwrap_or_default();
    let error = Diagnostic::new(&Place::Span(span.clone()), format!("duplicate key `{key}`"));
    let line_start = source[..span.start].rfind('\n').map_or(0, |index| index + 1);
    let line = source[line_start..].lines().next().unwrap_or_default();
    let is_header = line.trim_start().starts_with('[');
    let header = line.split('#').next().unwrap_or_default().trim();
    let mut first = None;
    let mut offset = 0;
    for other in source[..line_start].split_inclusive('\n') {
        let trimmed = other.trim_start();
        let start = offset + other.len() - trimmed.len();
        let same_key = trimmed.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_header && trimmed.split('#').next().unwrap_or_default().trim() == header {
            first = Some(start..start + header.len());
        } else if !is_header && trimmed.starts_with('[') {
            first = None;
        } else if !is_header && same_key {
            first = Some(start..start + key.len());
        }
        offset += other.len();
    }
    match first {
        Some(first) => error.note(&Place::Span(first), "first given here"),
        None => error,
    }
}

/// A value given on the command line as `setting` (`KEY=VALUE`): TOML, or else plain text.
pub(crate) fn parse_value(
    value: &str,
    setting: &str,
    environment: Environment<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Item {
    let place = Place::Setting(setting.to_owned());
    let mut reader = Reader { environment, setting: Some(setting.to_owned()), errors };
    let content = on_large_stack(|| match DeValue::parse(value) {
        Ok(parsed) => reader.content(parsed.into_inner(), &place, 0),
        Err(_) => reader.text(value, &place),
    });
    let content = content.unwrap_or_else(|message| reader.broken(&place, message));
    Item { place, content }
}

/// Turns the parser's values into the tree.
struct Reader<'a> {
    environment: Environment<'a>,
    /// The setting that is read; `None`: the file.
    setting: Option<String>,
    errors: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        match &self.setting {
            Some(setting) => Place::Setting(setting.clone()),
            None => Place::Span(span),
        }
    }

    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries.into_iter().map(|(key, value)| {
            let place = self.place(value.span());
            let item = Item { content: self.content(value.into_inner(), &place, depth + 1), place };
            let entry = Entry { key: self.place(key.span()), item };
            (key.into_inner().into_owned(), entry)
        });
        Table(entries.collect())
    }

    fn content(&mut self, value: DeValue<'_>, place: &Place, depth: usize) -> Content {
        if depth > DEPTH_LIMIT {
            self.errors
                .push(Diagnostic::new(place, format!("tables and arrays are nested deeper than {DEPTH_LIMIT} levels")));
            return Content::Broken;
        }
        match value {
            DeValue::Boolean(value) => Content::Bool(value),
            DeValue::Integer(number) => self.integer(&number, place),
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Content::Float(number),
                Err(_) => self.broken(place, format!("`{}` is not a number that can be held", number.as_str())),
            },
            DeValue::String(text) => self.text(&text, place),
            DeValue::Datetime(date) => Content::Date(date.to_string()),
            DeValue::Array(values) => {
                let items = values.into_iter().map(|value| {
                    let place = self.place(value.span());
                    Item { content: self.content(value.into_inner(), &place, depth + 1), place }
                });
                Content::List(items.collect())
            }
            DeValue::Table(table) => Content::Table(self.table(table, depth)),
        }
    }

    fn integer(&mut self, number: &DeInteger<'_>, place: &Place) -> Content {
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Content::Integer(value),
            Err(_) => self.broken(place, "the number does not fit into 64 bits".to_owned()),
        }
    }

    fn broken(&mut self, place: &Place, message: String) -> Content {
        self.errors.push(Diagnostic::new(place, message));
        Content::Broken
    }

    /// Puts variables of the environment for `${NAME}`; `$${NAME}` stands for the text `${NAME}` itself.
    fn text(&mut self, written: &str, place: &Place) -> Content {
        let mut value = String::with_capacity(written.len());
        let mut rest = written;
        while let Some(start) = rest.find("${") {
            let name = rest[start + 2..].split('}').next().unwrap_or_default();
            let end = start + 2 + name.len() + 1;
            let is_name = rest.len() >= end
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
            if !is_name {
                value.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                continue;
            }
            if rest[..start].ends_with('$') {
                value.push_str(&rest[..start - 1]);
                value.push_str(&rest[start..end]);
            } else {
                value.push_str(&rest[..start]);
                match (self.environment)(name) {
                    Some(text) => value.push_str(&text),
                    None => {
                        let message = format!("the environment has no variable `{name}`");
                        let help = format!("set it, or write `$${{{name}}}` for the text `${{{name}}}` itself");
                        self.errors.push(Diagnostic::new(place, message).help(help));
                        return Content::Broken;
                    }
                }
            }
            rest = &rest[end..];
        }
        value.push_str(rest);
        Content::Text(Text { value, written: written.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> (Option<Table>, Vec<String>) {
        let mut errors = Vec::new();
        let environment = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
        let table = parse(source, &environment, &mut errors);
        (table, errors.into_iter().map(|error| error.message).collect())
    }

    fn text(table: &Table, key: &str) -> String {
        match &table.0[key].item.content {
            Content::Text(text) => text.value.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_environment_fills_text() {
        let (table, errors) = read("a = '${HOME}/x'\nb = '$${HOME} ${ {{ a }} ${1} ${'\nc = '${NOT_SET}'");
        let table = table.unwrap();
        assert_eq!(text(&table, "a"), "/home/a/x");
        assert_eq!(text(&table, "b"), "${HOME} ${ {{ a }} ${1} ${");
        assert!(table.0["c"].item.is_broken());
        assert_eq!(errors, ["the environment has no variable `NOT_SET`"]);
    }

    #[test]
    fn the_order_is_that_of_the_file() {
        let (table, errors) = read("z = 1\r\n[b]\r\n[a]\r\n[a.d]\r\n");
        assert_eq!(table.unwrap().0.keys().collect::<Vec<_>>(), ["z", "b", "a"]);
        assert!(errors.is_empty());
    }

    #[test]
    fn what_follows_from_a_repeated_header_is_not_reported() {
        let (_, errors) = read("[a]\nx = 1\n[a]\nx = 1\n[b]\ny = 1\ny = 2\nz = w v\n");
        assert_eq!(errors[..2], ["duplicate key `a`", "duplicate key `y`"]);
        assert_eq!(errors.len(), 3);
        assert_eq!(read(&"a = 1\n".repeat(1000)).1.len(), SYNTAX_LIMIT + 1);
    }

    #[test]
    fn hostile_nesting_and_numbers_are_errors() {
        let keys = vec!["a"; 79].join(".");
        let deep = format!("x = {}1{}", format!("{{{keys} = ").repeat(79), "}".repeat(79));
        for source in [
            format!("x = {}", "[".repeat(100_000)),
            format!("x = {}", "{a=".repeat(100_000)),
            format!("[{}]", vec!["a"; 100_000].join(".")),
            format!("[{keys}]\n{deep}"),
            "a = 99999999999999999999".to_owned(),
        ] {
            assert!(!read(&source).1.is_empty(), "{}", &source[..20]);
        }
    }
}
