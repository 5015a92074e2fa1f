//! A plugin's options, declared once: from that come the JSON Schema of its config, the strict reading of it, and the messages.
//! Knows nothing of rows.

use serde_json::{Map, Value as Json};

/// Declares the options of a plugin: a struct whose fields are read from the config of the plugin's node.
///
/// The doc line of the struct says what the plugin does; each option has a doc line, a default, and maybe a rule:
/// [`at_least`], [`between`], [`one_of`] or [`not_empty`]. Options are of the types `bool`, `i64`, `u64`, `f64`, `String`,
/// `Vec<String>`, or an `Option` of these whose default is `()`.
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
                        $crate::serde_json::Value::from($default),
                        [$($rule)?].into(),
                    ),
                )*]
            }

            fn read(config: &$crate::Config) -> Result<Self, String> {
                Ok(Self { $($name: config.get(stringify!($name))?,)* })
            }
        }
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
        let properties: Vec<_> = Self::specs().iter().map(Spec::schema).collect();
        format!(r#"{{"type": "object", "additionalProperties": false, "properties": {{{}}}}}"#, properties.join(", "))
    }
}

/// What an option's value must be beside its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// A number of at least this.
    AtLeast(f64),
    /// A number from the first to the second, both included.
    Between(f64, f64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text of at least one character; a list of at least one text, none of them empty.
    NotEmpty,
}

/// A number of at least `min`.
pub fn at_least(min: impl Into<f64>) -> Rule {
    Rule::AtLeast(min.into())
}

/// A number from `min` to `max`, both included.
pub fn between(min: impl Into<f64>, max: impl Into<f64>) -> Rule {
    Rule::Between(min.into(), max.into())
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
    /// Null if the option may be absent.
    default: Json,
}

impl Spec {
    #[doc(hidden)]
    pub fn new<T: Setting>(name: &'static str, doc: &'static str, default: Json, rules: Vec<Rule>) -> Self {
        Self { name, doc, kind: T::TYPE, rule: rules.first().copied(), default }
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
            (Some(Rule::AtLeast(min)), _) => format!(r#", "minimum": {min}"#),
            (Some(Rule::Between(min, max)), _) => format!(r#", "minimum": {min}, "maximum": {max}"#),
            (Some(Rule::OneOf(texts)), _) => format!(r#", "enum": {}"#, Json::from(texts)),
            (_, Type::Count) => r#", "minimum": 0"#.to_owned(),
            _ => String::new(),
        };
        let default = match &self.default {
            Json::Null => String::new(),
            default => format!(r#", "default": {default}"#),
        };
        format!(r#""{}": {{{kind}{rule}{default}, "description": {}}}"#, self.name, Json::from(one_line(self.doc)))
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
            (Some(Rule::AtLeast(min)), _) => format!("{kind} of at least {min}"),
            (Some(Rule::Between(min, max)), _) => format!("{kind} from {min} to {max}"),
            (Some(Rule::OneOf(texts)), _) => {
                let texts: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
                format!("one of {}", texts.join(", "))
            }
            (Some(Rule::NotEmpty), Type::Text) => format!("{kind} that is not empty"),
            (None, Type::Count) => format!("{kind} of at least 0"),
            _ => kind.to_owned(),
        }
    }

    /// Checks a value against type and rule.
    fn check(&self, value: &Json) -> Result<(), String> {
        if let (Type::Texts, Json::Array(entries)) = (self.kind, value) {
            return self.check_entries(entries);
        }
        let of_type = match self.kind {
            Type::Boolean => value.is_boolean(),
            Type::Int => value.is_i64(),
            Type::Count => value.is_u64(),
            Type::Float => value.is_number(),
            Type::Text => value.is_string(),
            Type::Texts => false,
        };
        let number = value.as_f64().unwrap_or_default();
        let text = value.as_str().unwrap_or_default();
        let fits = match self.rule {
            None => true,
            Some(Rule::AtLeast(min)) => number >= min,
            Some(Rule::Between(min, max)) => min <= number && number <= max,
            Some(Rule::OneOf(texts)) => texts.contains(&text),
            Some(Rule::NotEmpty) => !text.is_empty(),
        };
        if of_type && fits {
            return Ok(());
        }
        Err(format!("`{}` must be {}, not {}", self.name, self.expected(), describe(value)))
    }

    fn check_entries(&self, entries: &[Json]) -> Result<(), String> {
        let not_empty = self.rule == Some(Rule::NotEmpty);
        if not_empty && entries.is_empty() {
            return Err(format!("`{}` must hold at least one text, not an empty list", self.name));
        }
        let wrong = |entry: &Json| entry.as_str().is_none_or(|text| not_empty && text.is_empty());
        match entries.iter().enumerate().find(|(_, entry)| wrong(entry)) {
            None => Ok(()),
            Some((index, entry)) => {
                let that = if not_empty { " that are not empty" } else { "" };
                let entry = describe(entry);
                Err(format!("`{}` must be a list of texts{that}; entry {index} is {entry}", self.name))
            }
        }
    }
}

/// A type that an option can have.
#[doc(hidden)]
pub trait Setting: Sized {
    const TYPE: Type;
    const OPTIONAL: bool = false;

    /// The value, if it is of the type.
    fn from_json(value: &Json) -> Option<Self>;
}

macro_rules! setting {
    ($($type:ty, $kind:ident, |$value:ident| $read:expr;)*) => {
        $(impl Setting for $type {
            const TYPE: Type = Type::$kind;

            fn from_json($value: &Json) -> Option<Self> {
                $read
            }
        })*
    };
}

setting! {
    bool, Boolean, |value| value.as_bool();
    i64, Int, |value| value.as_i64();
    u64, Count, |value| value.as_u64();
    f64, Float, |value| value.as_f64();
    String, Text, |value| value.as_str().map(str::to_owned);
    Vec<String>, Texts, |value| value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect();
}

impl<T: Setting> Setting for Option<T> {
    const TYPE: Type = T::TYPE;
    const OPTIONAL: bool = true;

    fn from_json(value: &Json) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_json(value).map(Some) }
    }
}

/// A config: a JSON object whose keys are options.
#[doc(hidden)]
pub struct Config {
    values: Map<String, Json>,
    specs: Vec<Spec>,
}

impl Config {
    fn parse(json: &str, specs: Vec<Spec>) -> Result<Self, String> {
        let value = serde_json::from_str(json).map_err(|error| format!("the config is not JSON: {error}"))?;
        let Json::Object(values) = value else {
            return Err(format!("the config must be a table, not {}", describe(&value)));
        };
        let Some(unknown) = values.keys().find(|key| specs.iter().all(|spec| spec.name != **key)) else {
            return Ok(Self { values, specs });
        };
        let known: Vec<_> = specs.iter().map(|spec| format!("`{}`", spec.name)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(format!("unknown key `{unknown}`: expected {known}"))
    }

    #[doc(hidden)]
    pub fn get<T: Setting>(&self, name: &str) -> Result<T, String> {
        let spec = self.specs.iter().find(|spec| spec.name == name);
        let spec = spec.ok_or_else(|| format!("there is no option `{name}`"))?;
        let value = self.values.get(name).unwrap_or(&spec.default);
        if !(T::OPTIONAL && value.is_null()) {
            spec.check(value)?;
        }
        T::from_json(value).ok_or_else(|| format!("`{name}` must be {}, not {}", spec.expected(), describe(value)))
    }
}

/// Doc lines as one.
pub(crate) fn one_line(doc: &str) -> String {
    doc.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A JSON value in a few words.
fn describe(value: &Json) -> String {
    const SHOWN: usize = 60;
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => format!("the boolean {value}"),
        Json::Number(number) => format!("the number {number}"),
        Json::String(text) if text.chars().nth(SHOWN).is_some() => {
            let head: String = text.chars().take(SHOWN).collect();
            format!("the text {head:?}... of {} bytes", text.len())
        }
        Json::String(text) => format!("the text {text:?}"),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests;
