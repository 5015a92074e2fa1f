//! A plugin's options, declared once: from that come the JSON Schema of its config, the strict reading of it, and the messages.
//! Knows nothing of rows. Messages are joined from their parts, not formatted; see `json`.

use crate::json::{Json, joined, quote};

/// Declares the options of a plugin: a struct whose fields are read from the config of the plugin's node.
///
/// The doc line of the struct says what the plugin does; each option has a doc line, a default, and maybe a rule:
/// [`at_least`], [`between`], [`one_of`] or [`not_empty`]. Options are of the types `bool`, `i64`, `u64`, `f64`, `String`,
/// `Vec<String>`, or an `Option` of these whose default is `()`. Other defaults are literals that JSON writes alike.
///
/// ```
/// use ruminate_plugin::Options;
///
/// ruminate_plugin::options! {
///     /// keeps what is near enough
///     struct Near {
///         /// how far from the truth a number may be
///         #[rule(at_least(0))]
///         distance: f64 = 0.5,
///         /// the words that count as numbers
///         words: Vec<String> = ["one", "two"],
///         /// the unit that must follow
///         unit: Option<String> = (),
///     }
/// }
///
/// let near = Near::from_json(r#"{"distance": 2}"#).unwrap();
/// assert_eq!((near.distance, near.words.len(), near.unit), (2.0, 2, None));
/// let error = Near::from_json(r#"{"distance": -1}"#).err().unwrap();
/// assert_eq!(error, "`distance` must be a number of at least 0, not the number -1");
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $summary:literal])+
        $visibility:vis struct $plugin:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[rule($rule:expr)])?
                $name:ident: $type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $(#[doc = $summary])+
        $visibility struct $plugin {
            $($(#[doc = $doc])+ $name: $type,)*
        }

        impl $crate::Options for $plugin {
            const SUMMARY: &'static str = concat!($($summary, "\n"),+);

            fn specs() -> Vec<$crate::Spec> {
                #[allow(unused_imports)]
                use $crate::{at_least, between, not_empty, one_of};
                vec![$(
                    $crate::Spec::new::<$type>(
                        stringify!($name),
                        concat!($($doc, "\n"),+),
                        stringify!($default),
                        $crate::__rule!($($rule)?),
                    ),
                )*]
            }

            fn read(config: &$crate::Config) -> Result<Self, String> {
                Ok(Self { $($name: config.get(stringify!($name))?,)* })
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rule {
    () => {
        None
    };
    ($rule:expr) => {
        Some($rule)
    };
}

/// What [`options!`](crate::options) makes of a struct.
pub trait Options: Sized {
    /// What the plugin does.
    const SUMMARY: &'static str;

    /// The options, in the order in which they are declared.
    fn specs() -> Vec<Spec>;

    #[doc(hidden)]
    fn read(config: &Config) -> Result<Self, String>;

    /// The options in a config, a JSON object; defaults where it says nothing.
    ///
    /// # Errors
    /// What is wrong with the config and what was expected, for the person who wrote it.
    fn from_json(json: &str) -> Result<Self, String> {
        Self::read(&Config::parse(json, Self::specs())?)
    }

    /// The JSON Schema of the config.
    fn schema() -> String {
        schema(&Self::specs())
    }
}

// Functions that run once a batch are kept out of line: inlined into a guest, each would be built for speed, and large.

#[inline(never)]
fn schema(specs: &[Spec]) -> String {
    let properties = specs.iter().map(Spec::schema).reduce(comma).unwrap_or_default();
    joined(&[r#"{"type": "object", "additionalProperties": false, "properties": {"#, &properties, "}}"])
}

/// One more entry of a list in a text.
#[inline(never)]
pub(crate) fn comma(list: String, entry: String) -> String {
    joined(&[&list, ", ", &entry])
}

/// A name as messages show it.
#[inline(never)]
pub(crate) fn code(name: &str) -> String {
    joined(&["`", name, "`"])
}

/// What an option's value must be beside its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A number of at least this.
    AtLeast(i64),
    /// A number from the first to the second, both included.
    Between(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text of at least one character; a list of at least one text, none of them empty.
    NotEmpty,
}

/// A number of at least `min`.
pub fn at_least(min: i64) -> Rule {
    Rule::AtLeast(min)
}

/// A number from `min` to `max`, both included.
pub fn between(min: i64, max: i64) -> Rule {
    Rule::Between(min, max)
}

/// One of these texts.
pub fn one_of(texts: &'static [&'static str]) -> Rule {
    Rule::OneOf(texts)
}

/// A text of at least one character; a list of at least one text, none of them empty.
pub fn not_empty() -> Rule {
    Rule::NotEmpty
}

/// The type of an option.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    Boolean,
    Int,
    Count,
    Float,
    Text,
    Texts,
}

/// An option: its name, type, rule and default.
#[derive(Clone, Debug)]
pub struct Spec {
    name: &'static str,
    doc: &'static str,
    kind: Type,
    rule: Option<Rule>,
    /// As it stands in the source, which is JSON; `()` if the option may be absent.
    default: &'static str,
}

impl Spec {
    #[doc(hidden)]
    pub fn new<T: Setting>(name: &'static str, doc: &'static str, default: &'static str, rule: Option<Rule>) -> Self {
        Self { name, doc, kind: T::TYPE, rule, default }
    }

    /// The option's entry among the properties of the JSON Schema.
    fn schema(&self) -> String {
        let not_empty = self.rule == Some(Rule::NotEmpty);
        let kind = match self.kind {
            Type::Boolean => r#""type": "boolean""#,
            Type::Int | Type::Count => r#""type": "integer""#,
            Type::Float => r#""type": "number""#,
            Type::Text if not_empty => r#""type": "string", "minLength": 1"#,
            Type::Text => r#""type": "string""#,
            Type::Texts if not_empty => {
                r#""type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1"#
            }
            Type::Texts => r#""type": "array", "items": {"type": "string"}"#,
        };
        let rule = match (self.rule, self.kind) {
            (Some(Rule::AtLeast(min)), _) => joined(&[r#", "minimum": "#, &min.to_string()]),
            (Some(Rule::Between(min, max)), _) => {
                joined(&[r#", "minimum": "#, &min.to_string(), r#", "maximum": "#, &max.to_string()])
            }
            (Some(Rule::OneOf(texts)), _) => {
                let texts = texts.iter().map(|text| quote(text)).reduce(comma).unwrap_or_default();
                joined(&[r#", "enum": ["#, &texts, "]"])
            }
            (_, Type::Count) => r#", "minimum": 0"#.to_owned(),
            _ => String::new(),
        };
        let default = match self.default {
            "()" => String::new(),
            default => joined(&[r#", "default": "#, default]),
        };
        let doc = quote(&one_line(self.doc));
        joined(&[r#"""#, self.name, r#"": {"#, kind, &rule, &default, r#", "description": "#, &doc, "}"])
    }

    /// What the value must be, in words.
    fn expected(&self) -> String {
        let kind = match self.kind {
            Type::Boolean => "true or false",
            Type::Int | Type::Count => "a whole number",
            Type::Float => "a number",
            Type::Text => "a text",
            Type::Texts => "a list of texts",
        };
        match (self.rule, self.kind) {
            (Some(Rule::AtLeast(min)), _) => joined(&[kind, " of at least ", &min.to_string()]),
            (Some(Rule::Between(min, max)), _) => joined(&[kind, " from ", &min.to_string(), " to ", &max.to_string()]),
            (Some(Rule::OneOf(texts)), _) => {
                let texts = texts.iter().map(|text| code(text)).reduce(comma).unwrap_or_default();
                joined(&["one of ", &texts])
            }
            (Some(Rule::NotEmpty), Type::Text) => joined(&[kind, " that is not empty"]),
            (None, Type::Count) => joined(&[kind, " of at least 0"]),
            _ => kind.to_owned(),
        }
    }

    /// Checks what the type does not: the rules of texts.
    #[inline(never)]
    fn check(&self, value: &Json) -> Result<(), String> {
        let fits = match (self.rule, value) {
            (_, Json::List(entries)) if self.kind == Type::Texts => return self.check_entries(entries),
            (Some(Rule::OneOf(texts)), Json::Text(text)) => texts.contains(&text.as_str()),
            (Some(Rule::NotEmpty), Json::Text(text)) => !text.is_empty(),
            _ => true,
        };
        if fits { Ok(()) } else { Err(self.refuse(value)) }
    }

    /// The least and the largest number that the rule allows.
    fn bounds(&self) -> (i64, i64) {
        match self.rule {
            Some(Rule::AtLeast(min)) => (min, i64::MAX),
            Some(Rule::Between(min, max)) => (min, max),
            _ => (i64::MIN, i64::MAX),
        }
    }

    #[inline(never)]
    fn refuse(&self, value: &Json) -> String {
        joined(&[&code(self.name), " must be ", &self.expected(), ", not ", &describe(value)])
    }

    #[inline(never)]
    fn check_entries(&self, entries: &[Json]) -> Result<(), String> {
        let not_empty = self.rule == Some(Rule::NotEmpty);
        if not_empty && entries.is_empty() {
            return Err(joined(&[&code(self.name), " must hold at least one text, not an empty list"]));
        }
        let wrong = |entry: &Json| match entry {
            Json::Text(text) => not_empty && text.is_empty(),
            _ => true,
        };
        match entries.iter().enumerate().find(|(_, entry)| wrong(entry)) {
            None => Ok(()),
            Some((index, entry)) => {
                let that = if not_empty { " that are not empty" } else { "" };
                let (name, index, entry) = (code(self.name), index.to_string(), describe(entry));
                Err(joined(&[&name, " must be a list of texts", that, "; entry ", &index, " is ", &entry]))
            }
        }
    }
}

/// A type that an option can have.
#[doc(hidden)]
pub trait Setting: Sized {
    const TYPE: Type;
    const OPTIONAL: bool = false;

    /// The value, if it is of the type and, a number, within the bounds. The largest bound is none.
    fn from_json(value: &Json, bounds: (i64, i64)) -> Option<Self>;
}

macro_rules! setting {
    ($($type:ty, $kind:ident, $pattern:pat => |$bounds:pat_param| $read:expr;)*) => {
        $(impl Setting for $type {
            const TYPE: Type = Type::$kind;

            fn from_json(value: &Json, $bounds: (i64, i64)) -> Option<Self> {
                if let $pattern = value { $read } else { None }
            }
        })*
    };
}

setting! {
    bool, Boolean, Json::Boolean(value) => |_| Some(*value);
    i64, Int, Json::Number(text) => |(min, max)| text.parse().ok().filter(|value| (min..=max).contains(value));
    u64, Count, Json::Number(text) => |(min, max)| {
        let within = |value: &u64| {
            i128::from(min) <= i128::from(*value) && (max == i64::MAX || i128::from(*value) <= i128::from(max))
        };
        text.parse().ok().filter(within)
    };
    f64, Float, Json::Number(text) => |(min, max)| {
        let above = |value: f64| min == i64::MIN || min as f64 <= value;
        let below = |value: f64| max == i64::MAX || value <= max as f64;
        text.parse().ok().filter(|value: &f64| value.is_finite() && above(*value) && below(*value))
    };
    String, Text, Json::Text(text) => |_| Some(text.clone());
    Vec<String>, Texts, Json::List(entries) => |_| entries.iter().map(|entry| match entry {
        Json::Text(text) => Some(text.clone()),
        _ => None,
    }).collect();
}

impl<T: Setting> Setting for Option<T> {
    const TYPE: Type = T::TYPE;
    const OPTIONAL: bool = true;

    fn from_json(value: &Json, bounds: (i64, i64)) -> Option<Self> {
        if *value == Json::Null { Some(None) } else { T::from_json(value, bounds).map(Some) }
    }
}

/// A config: a JSON object whose keys are options. Those that it does not name have their default, if there is one.
#[doc(hidden)]
pub struct Config {
    values: Vec<(String, Json)>,
    specs: Vec<Spec>,
}

impl Config {
    #[inline(never)]
    fn parse(json: &str, specs: Vec<Spec>) -> Result<Self, String> {
        let value = Json::parse(json).map_err(|error| joined(&["the config is not JSON: ", &error]))?;
        let Json::Table(mut values) = value else {
            return Err(joined(&["the config must be a table, not ", &describe(&value)]));
        };
        if let Some((unknown, _)) = values.iter().find(|(key, _)| specs.iter().all(|spec| spec.name != key)) {
            let known = specs.iter().map(|spec| code(spec.name)).reduce(comma).unwrap_or_else(|| "none".to_owned());
            return Err(joined(&["unknown key ", &code(unknown), ": expected ", &known]));
        }
        for Spec { name, default, .. } in &specs {
            if *default != "()" && values.iter().all(|(key, _)| key != name) {
                let explain = |error: String| joined(&["the default of ", &code(name), " is not JSON: ", &error]);
                values.push(((*name).to_owned(), Json::parse(default).map_err(explain)?));
            }
        }
        Ok(Self { values, specs })
    }

    #[doc(hidden)]
    pub fn get<T: Setting>(&self, name: &str) -> Result<T, String> {
        let (spec, value) = self.checked(name, T::OPTIONAL)?;
        T::from_json(value, spec.bounds()).ok_or_else(|| spec.refuse(value))
    }

    #[inline(never)]
    fn checked(&self, name: &str, optional: bool) -> Result<(&Spec, &Json), String> {
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| joined(&["there is no option ", &code(name)]))?;
        let value = self.values.iter().find(|(key, _)| key == name).map_or(&Json::Null, |(_, value)| value);
        if !(optional && *value == Json::Null) {
            spec.check(value)?;
        }
        Ok((spec, value))
    }
}

/// Doc lines as one.
#[inline(never)]
pub(crate) fn one_line(doc: &str) -> String {
    doc.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// A JSON value in a few words.
fn describe(value: &Json) -> String {
    const SHOWN: usize = 60;
    match value {
        Json::Null => "null".to_owned(),
        Json::Boolean(value) => joined(&["the boolean ", if *value { "true" } else { "false" }]),
        Json::Number(number) => joined(&["the number ", number]),
        Json::Text(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => {
                joined(&["the text ", &quote(&text[..end]), "... of ", &text.len().to_string(), " bytes"])
            }
            None => joined(&["the text ", &quote(text)]),
        },
        Json::List(_) => "a list".to_owned(),
        Json::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests;
