//! `tojson` as transformers gives it to chat templates: Python's `json.dumps` with `ensure_ascii=False`.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{State, Value};

use super::python::{MOST_LEVELS, Outcome, float, refusal};

/// Bytes of one value as JSON at most.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of JSON that one unit of minijinja's fuel pays for.
const FUEL_BYTES: u64 = 16;

struct Style {
    ascii: bool,
    /// What each level is indented by; without it, all stands in one line.
    indent: Option<String>,
    /// Between items, and between key and value.
    separators: [String; 2],
    sorted: bool,
}

/// `value|tojson(ensure_ascii, indent, separators=..., sort_keys=...)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    options: Kwargs,
) -> Outcome<String> {
    let option = |given: Option<Value>, name: &str| match given {
        Some(given) => Ok(Some(given)),
        None => options.get::<Option<Value>>(name),
    };
    let true_option =
        |given: Option<Value>, name: &str| option(given, name).map(|it| it.is_some_and(|it| it.is_true()));
    let ascii = true_option(ensure_ascii, "ensure_ascii")?;
    let indent = match option(indent, "indent")?.filter(|indent| !indent.is_none()) {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(spaces) => {
            let spaces =
                if spaces.kind() == ValueKind::Bool { i64::from(spaces.is_true()) } else { i64::try_from(spaces)? };
            let most = 1 << 10;
            match usize::try_from(spaces).unwrap_or(0) {
                spaces if spaces <= most => Some(" ".repeat(spaces)),
                spaces => return Err(refusal(format!("`indent` is {spaces}, expected at most {most}"))),
            }
        }
    };
    let separators = match option(None, "separators")?.filter(|separators| !separators.is_none()) {
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
        Some(pair) => {
            let pair: Vec<String> = pair.try_iter()?.filter_map(|text| text.as_str().map(str::to_owned)).collect();
            pair.try_into().map_err(|_| refusal("`separators` is no pair of texts"))?
        }
    };
    let style = Style { ascii, indent, separators, sorted: true_option(None, "sort_keys")? };
    options.assert_all_used()?;
    let mut out = String::new();
    style.write(value, &mut out, 0)?;
    state.consume_fuel(out.len() as u64 / FUEL_BYTES)?;
    Ok(out)
}

impl Style {
    fn write(&self, value: &Value, out: &mut String, level: usize) -> Outcome<()> {
        if level > MOST_LEVELS || out.len() > MOST_BYTES {
            let message = format!("a value has more than {MOST_LEVELS} levels or more than {MOST_BYTES} bytes as JSON");
            return Err(refusal(message));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
            ValueKind::Number => out.push_str(&number(f64::try_from(value.clone())?)),
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq => {
                out.push('[');
                let mut first = true;
                for item in value.try_iter()? {
                    self.begin_item(&mut first, out, level + 1);
                    self.write(&item, out, level + 1)?;
                }
                self.end(first, ']', out, level);
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                out.push('{');
                let mut first = true;
                for key in keys {
                    self.begin_item(&mut first, out, level + 1);
                    self.write_key(&key, out)?;
                    out.push_str(&self.separators[1]);
                    self.write(&value.get_item(&key)?, out, level + 1)?;
                }
                self.end(first, '}', out, level);
            }
            kind => {
                return Err(refusal(format!("`tojson` was given a value of type {kind}, which JSON does not have")));
            }
        }
        Ok(())
    }

    fn write_key(&self, key: &Value, out: &mut String) -> Outcome<()> {
        match key.kind() {
            ValueKind::String => self.write_text(key.as_str().unwrap_or_default(), out),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                out.push('"');
                self.write(key, out, 0)?;
                out.push('"');
            }
            kind => return Err(refusal(format!("`tojson` was given a key of type {kind}, expected a text"))),
        }
        Ok(())
    }

    fn begin_item(&self, first: &mut bool, out: &mut String, level: usize) {
        if !std::mem::take(first) {
            out.push_str(&self.separators[0]);
        }
        self.begin_line(out, level);
    }

    fn end(&self, empty: bool, bracket: char, out: &mut String, level: usize) {
        if !empty {
            self.begin_line(out, level);
        }
        out.push(bracket);
    }

    fn begin_line(&self, out: &mut String, level: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..level).for_each(|_| out.push_str(indent));
        }
    }

    fn write_text(&self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{C}' => out.push_str("\\f"),
                '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
                '\u{7F}'.. if self.ascii => {
                    character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                }
                _ => out.push(character),
            }
        }
        out.push('"');
    }
}

/// Python's JSON has names for what is no number.
fn number(value: f64) -> String {
    match float(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        number => number.to_owned(),
    }
}
