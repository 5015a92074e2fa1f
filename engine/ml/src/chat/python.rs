//! What chat templates use of Python and of transformers' own additions: how values print, `tojson`, methods of texts. They
//! are strangers' programs, so every size that they name is bounded.

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use regex::Regex;

use super::json::tojson;

/// Levels of lists and dictionaries in one value at most.
pub(super) const MOST_LEVELS: usize = 100;
/// Bytes of a list or dictionary as text at most.
const MOST_BYTES: usize = 64 << 20;
/// Characters that a text is filled up to at most.
const MOST_WIDTH: usize = 1 << 20;
/// Bytes that one unit of minijinja's fuel pays for.
const FUEL_BYTES: u64 = 64;

pub(super) type Outcome<T> = std::result::Result<T, Error>;

/// An error of a template.
pub(super) fn refusal(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Gives templates what transformers gives them.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.remove_global("debug");
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|output, state, value| {
        if is_float(value) || is_container(value) {
            Ok(output.write_str(&text(state, value)?)?)
        } else {
            minijinja::escape_formatter(output, state, value)
        }
    });
    environment
        .add_function("raise_exception", |message: Value| -> Outcome<Value> { Err(refusal(message.to_string())) });
    environment.add_function("strftime_now", strftime_now);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |state: &State<'_, '_>, value: Value| text(state, &value));
    environment.add_filter("wordcount", word_count);
    environment
        .add_filter("center", |text: &str, width: Option<usize>| fill(text, width.unwrap_or(80), " ", Side::Both));
    environment.add_filter("attr", |value: &Value, name: &Value| -> Outcome<Value> {
        // A dictionary's items are no attributes.
        if is_dictionary(value) { Ok(Value::UNDEFINED) } else { value.get_item(name) }
    });
    environment.add_test("sequence", |value: &Value| {
        let lists = [ValueKind::Seq, ValueKind::String, ValueKind::Map, ValueKind::Bytes, ValueKind::Undefined];
        lists.contains(&value.kind())
    });
}

fn is_float(value: &Value) -> bool {
    value.is_number() && !value.is_integer()
}

fn is_container(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// Whether a value is a plain dictionary rather than an object with attributes, such as a namespace.
pub(super) fn is_dictionary(value: &Value) -> bool {
    value.downcast_object_ref::<IndexMap<Value, Value>>().is_some()
}

/// Python's `str(value)`.
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Outcome<String> {
    let mut out = String::new();
    if is_float(value) || is_container(value) {
        write_value(value, &mut out, 0)?;
        state.consume_fuel(out.len() as u64 / FUEL_BYTES)?;
    } else {
        out = value.to_string();
    }
    Ok(out)
}

/// Python's `repr(value)`.
fn write_value(value: &Value, out: &mut String, level: usize) -> Outcome<()> {
    if level > MOST_LEVELS || out.len() > MOST_BYTES {
        let message =
            format!("a value has more than {MOST_LEVELS} levels of lists or more than {MOST_BYTES} bytes as text");
        return Err(refusal(message));
    }
    match value.kind() {
        ValueKind::String => write_text(value.as_str().unwrap_or_default(), out),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Number if is_float(value) => out.push_str(&float(f64::try_from(value.clone())?)),
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_value(&key, out, level + 1)?;
                out.push_str(": ");
                write_value(&value.get_item(&key)?, out, level + 1)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.downcast_object_ref::<Tuple>().is_some();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter()? {
                out.push_str(if count > 0 { ", " } else { "" });
                write_value(&item, out, level + 1)?;
                count += 1;
            }
            out.push_str(if tuple && count == 1 { "," } else { "" });
            out.push(if tuple { ')' } else { ']' });
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A text in Python's quotes.
fn write_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => out.extend(['\\', quote]),
            ' '..='~' => out.push(character),
            _ if is_printable(character) => out.push(character),
            _ => out.push_str(&match u32::from(character) {
                code @ ..=0xFF => format!("\\x{code:02x}"),
                code @ ..=0xFFFF => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
}

fn is_printable(character: char) -> bool {
    // Rust escapes what has no shape of its own; Python also shows combining marks.
    character.is_alphanumeric() || !matches!(character.escape_debug().next(), Some('\\')) || is_mark(character)
}

fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36F}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}')
}

/// Python's `repr` of a float: the shortest digits that give it again, with an exponent where it is large or small.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..16 => format!("{value:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

fn strftime_now(format: &str) -> Outcome<String> {
    use std::fmt::Write;
    let mut text = String::new();
    write!(text, "{}", chrono::Local::now().format(format))
        .map_err(|_| refusal(format!("`{format}` is no format of a time, expected one such as `%d %b %Y`")))?;
    Ok(text)
}

fn word_count(state: &State<'_, '_>, text: &str) -> Outcome<usize> {
    state.consume_fuel(text.len() as u64)?;
    let words = Regex::new(r"\w+").map_err(|error| refusal(error.to_string()))?;
    Ok(words.find_iter(text).count())
}

/// Methods of Python's texts that minijinja-contrib lacks; the others are its own.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Outcome<Value> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments);
    };
    let one = || from_args::<(&str,)>(arguments).map(|(argument,)| argument);
    let filled = |side| {
        let (width, with): (usize, Option<&str>) = from_args(arguments)?;
        fill(text, width, with.unwrap_or(" "), side).map(Value::from)
    };
    state.consume_fuel(made_bytes(text, name, arguments)? / FUEL_BYTES)?;
    match name {
        "rsplit" => rsplit(text, arguments),
        "partition" => {
            let separator = separator(one()?)?;
            let parts = text.split_once(separator).map(|(before, after)| [before, separator, after]);
            Ok(tuple(parts.unwrap_or([text, "", ""])))
        }
        "rpartition" => {
            let separator = separator(one()?)?;
            let parts = text.rsplit_once(separator).map(|(before, after)| [before, separator, after]);
            Ok(tuple(parts.unwrap_or(["", "", text])))
        }
        "removeprefix" => Ok(Value::from(one().map(|prefix| text.strip_prefix(prefix).unwrap_or(text))?)),
        "removesuffix" => Ok(Value::from(one().map(|suffix| text.strip_suffix(suffix).unwrap_or(text))?)),
        "ljust" => filled(Side::Right),
        "rjust" => filled(Side::Left),
        "center" => filled(Side::Both),
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let digits = text.trim_start_matches(['+', '-']);
            let sign = if text.len() - digits.len() == 1 { &text[..1] } else { "" };
            let filled = fill(&text[sign.len()..], width.saturating_sub(sign.len()), "0", Side::Left)?;
            Ok(Value::from(format!("{sign}{filled}")))
        }
        "casefold" if text.is_ascii() => Ok(Value::from(text.to_ascii_lowercase())),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// About how many bytes the methods of minijinja-contrib make that can make far more than they are given: they are paid for
/// before they do it.
fn made_bytes(text: &str, method: &str, arguments: &[Value]) -> Outcome<u64> {
    let texts: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let bytes = match (method, texts.as_slice()) {
        ("replace", [from, to, ..]) => text.matches(from).count().saturating_mul(to.len()),
        ("join", _) => {
            let items = arguments.first().map(Value::try_iter).transpose()?.into_iter().flatten();
            let length = |item: Value| item.as_str().map_or(0, str::len).saturating_add(text.len());
            items.fold(0, |sum: usize, item| sum.saturating_add(length(item)))
        }
        // The widths that it asks for.
        ("format", _) => {
            let numbers = text.split(|character: char| !character.is_ascii_digit()).filter(|number| !number.is_empty());
            numbers.fold(0, |sum: usize, number| sum.saturating_add(number.parse().unwrap_or(usize::MAX)))
        }
        _ => 0,
    };
    Ok(bytes as u64)
}

fn separator(separator: &str) -> Outcome<&str> {
    if separator.is_empty() { Err(refusal("the separator is empty, expected a text")) } else { Ok(separator) }
}

fn tuple(parts: [&str; 3]) -> Value {
    Value::from_object(Tuple::from(parts.map(Value::from)))
}

fn rsplit(text: &str, arguments: &[Value]) -> Outcome<Value> {
    let (by, most, options): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
    let by = match by {
        Some(by) => Some(by),
        None => options.get("sep")?,
    };
    let most = match most {
        Some(most) => Some(most),
        None => options.get::<Option<i64>>("maxsplit")?,
    };
    options.assert_all_used()?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    match by.as_ref().and_then(Value::as_str) {
        Some(by) => parts.extend(text.rsplitn(most.saturating_add(1), separator(by)?)),
        None => {
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                match rest.rfind(char::is_whitespace).filter(|_| parts.len() < most) {
                    Some(at) => {
                        let start = at + rest[at..].chars().next().map_or(0, char::len_utf8);
                        parts.push(&rest[start..]);
                        rest = rest[..at].trim_end();
                    }
                    None => {
                        parts.push(rest);
                        rest = "";
                    }
                }
            }
        }
    }
    Ok(parts.into_iter().rev().map(Value::from).collect())
}

/// Where a text is filled up.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
    Both,
}

fn fill(text: &str, width: usize, with: &str, side: Side) -> Outcome<String> {
    if width > MOST_WIDTH {
        return Err(refusal(format!("a width of {width} is asked for, expected at most {MOST_WIDTH}")));
    }
    if with.chars().count() != 1 {
        return Err(refusal("expected one character to fill a text up with"));
    }
    let missing = width.saturating_sub(text.chars().count());
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // As Python rounds.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    Ok(format!("{}{text}{}", with.repeat(left), with.repeat(missing - left)))
}
