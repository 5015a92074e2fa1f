//! A plugin's config held against the JSON Schema that the plugin gives for it: every violation with its place and what
//! was expected. Knows no plugin and no graph; what else a config must be, `configure` says.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError, Validator};
use ruminate_flow::diagnostic::{list, nearest};
use serde_json::Value as Json;

/// The most bytes of a schema, and the most violations that are told at once.
const SCHEMA_BYTES_MAX: usize = 256 << 10;
const VIOLATIONS_MAX: usize = 20;
/// The most forms of an `anyOf` that a message lists, and the most characters of a text that it quotes.
const FORMS_MAX: usize = 4;
const QUOTE_CHARS_MAX: usize = 40;

/// A JSON Schema, compiled.
pub(crate) struct ConfigSchema {
    schema: Json,
    validator: Validator,
}

/// Something in a config that its schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where in the config: empty for the whole, else `.cut_at[1]`.
    pub(crate) place: String,
    /// What is wrong and what was expected.
    pub(crate) message: String,
}

impl ConfigSchema {
    /// Reads a schema. It may refer to parts of itself, to nothing else.
    ///
    /// # Errors
    /// What is wrong with it, after "a config schema that".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("has {} bytes: at most {SCHEMA_BYTES_MAX} are read", text.len()));
        }
        let schema: Json = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        if !schema.is_object() {
            return Err(format!("is {}: expected a JSON Schema, a table", value_text(&schema)));
        }
        let validator = jsonschema::options().offline().build(&schema).map_err(|error| match error.kind() {
            ValidationErrorKind::Referencing(fault) => {
                format!("refers to what is not in it, or to something outside: {fault}")
            }
            _ => format!("is not valid JSON Schema: `{}`: {error}", error.instance_path()),
        })?;
        Ok(Self { schema, validator })
    }

    /// Every violation of `config`.
    pub(crate) fn violations(&self, config: &Json) -> Vec<Violation> {
        let mut violations: Vec<Violation> = Vec::new();
        for error in self.validator.iter_errors(config) {
            for violation in self.explain(&error) {
                if !violations.contains(&violation) {
                    violations.push(violation);
                }
            }
            if violations.len() >= VIOLATIONS_MAX {
                break;
            }
        }
        violations
    }

    /// What the config takes, in one line; `None` if the schema lists no keys.
    pub(crate) fn explain_keys(&self) -> Option<String> {
        let explain = |(name, property): (&String, &Json)| {
            let kind = match property.get("type") {
                Some(Json::String(kind)) => kind.clone(),
                Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" or "),
                _ => "any".to_owned(),
            };
            let default = property.get("default").map(|default| format!(", default {default}")).unwrap_or_default();
            format!("`{name}` ({kind}{default})")
        };
        let keys: Vec<_> = self.schema.get("properties")?.as_object()?.iter().map(explain).collect();
        (!keys.is_empty()).then(|| format!("it takes {}", keys.join(", ")))
    }

    fn explain(&self, error: &ValidationError<'_>) -> Vec<Violation> {
        let place = place(error.instance_path());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().map(|key| self.unknown_key(error, &place, key)).collect()
            }
            ValidationErrorKind::Required { property } => {
                let key = format!("{place}.{}", property.as_str().unwrap_or_default());
                vec![Violation { message: format!("`{}` is missing", key.trim_start_matches('.')), place }]
            }
            kind => {
                let subject = match place.trim_start_matches('.') {
                    "" => "the config".to_owned(),
                    path => format!("`{path}`"),
                };
                let message = format!("{subject} {}", fault(kind, error));
                vec![Violation { place, message }]
            }
        }
    }

    /// A key that no `properties` beside it name.
    fn unknown_key(&self, error: &ValidationError<'_>, place: &str, key: &str) -> Violation {
        let path = error.schema_path().as_str();
        let table = path.rsplit_once('/').map_or("", |(table, _)| table);
        let known = self.schema.pointer(table).and_then(|table| table.get("properties")).and_then(Json::as_object);
        let known = || known.into_iter().flatten().map(|(name, _)| name.as_str());
        let expected = match nearest(key, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known().next().is_some() => format!("expected {}", list(known())),
            None => "it takes no keys".to_owned(),
        };
        let place = format!("{place}.{key}");
        Violation { message: format!("unknown key `{}`: {expected}", place.trim_start_matches('.')), place }
    }
}

/// What is wrong with a value, after its name.
fn fault(kind: &ValidationErrorKind, error: &ValidationError<'_>) -> String {
    let found = value_text(error.instance());
    match kind {
        ValidationErrorKind::Type { kind: TypeKind::Single(wanted) } => {
            format!("must be {}, not {found}", type_text(*wanted))
        }
        ValidationErrorKind::Type { kind: TypeKind::Multiple(wanted) } => {
            let wanted: Vec<_> = wanted.iter().map(type_text).collect();
            format!("must be {}, not {found}", wanted.join(" or "))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}, not {found}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}, not {found}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}, not {found}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}, not {found}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("must be a multiple of {multiple_of}, not {found}")
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<_> =
                options.as_array().into_iter().flatten().map(|option| format!("`{option}`")).collect();
            format!("must be one of {}, not {found}", options.join(", "))
        }
        ValidationErrorKind::Constant { expected_value } => format!("must be `{expected_value}`, not {found}"),
        ValidationErrorKind::Pattern { pattern } => {
            format!("must match the pattern `{pattern}`, which {found} does not")
        }
        ValidationErrorKind::Format { format } => format!("must be of the format `{format}`, which {found} is not"),
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        ValidationErrorKind::MinLength { limit } => format!("must have at least {limit} characters: {found}"),
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters: {found}"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {}", entries(*limit)),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {}", entries(*limit)),
        ValidationErrorKind::AdditionalItems { limit } => format!("must have at most {}", entries(*limit as u64)),
        ValidationErrorKind::UniqueItems => "must not have the same entry twice".to_owned(),
        ValidationErrorKind::MinProperties { limit } => format!("must have at least {limit} keys"),
        ValidationErrorKind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let forms: Vec<_> = context.iter().take(FORMS_MAX).filter_map(|errors| errors.first()).map(form).collect();
            format!("has none of the forms that it can have: it {}", forms.join("; or it "))
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            "has several of the forms of which it can have one".to_owned()
        }
        ValidationErrorKind::FalseSchema => "is not allowed here".to_owned(),
        // The rest is rare; the library's sentence says what there is to say.
        _ => format!("does not fit its schema: {error}"),
    }
}

/// What keeps a value from having one of several forms.
fn form(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Required { property } => format!("lacks `{}`", property.as_str().unwrap_or_default()),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("has the unknown key {}", list(unexpected.iter().map(String::as_str)))
        }
        kind => fault(kind, error),
    }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn type_text(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "a table",
        JsonType::String => "text",
    }
}

/// A value as a message names it.
pub(crate) fn value_text(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => format!("`{value}`"),
        Json::Number(number) => number.to_string(),
        Json::String(text) => {
            let cut: String = text.chars().take(QUOTE_CHARS_MAX).collect();
            let more = if cut.len() < text.len() { "..." } else { "" };
            format!("the text {:?}", cut + more)
        }
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "a table".to_owned(),
    }
}

/// A place as the graph's options name it: `.cut_at[1]`.
fn place(location: &Location) -> String {
    let segment = |segment: LocationSegment<'_>| match segment {
        LocationSegment::Property(name) => format!(".{name}"),
        LocationSegment::Index(index) => format!("[{index}]"),
    };
    location.iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ConfigSchema {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["field"],
            "properties": {
                "field": { "type": "string", "minLength": 1 },
                "max": { "type": "integer", "minimum": 1, "default": 5 },
                "share": { "type": ["number", "null"], "exclusiveMaximum": 1 },
                "mode": { "enum": ["any", "all"] },
                "cut_at": { "type": "array", "maxItems": 3, "items": { "$ref": "#/$defs/cut" } },
                "either": { "oneOf": [{ "type": "string" }, { "type": "object", "required": ["word"] }] },
            },
            "$defs": {
                "cut": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "word": { "type": "string", "pattern": "^[a-z]+$" } },
                },
            },
        });
        ConfigSchema::parse(&schema.to_string()).expect("a schema")
    }

    #[test]
    fn every_violation_is_placed_and_explained() {
        let cases = [
            (json!({ "field": "x" }), vec![]),
            (json!([]), vec![("", "the config must be a table, not a list")]),
            (json!({}), vec![("", "`field` is missing")]),
            (json!({ "field": "" }), vec![(".field", "`field` must not be empty")]),
            (json!({ "field": "x", "maxx": 3 }), vec![(".maxx", "unknown key `maxx`: did you mean `max`?")]),
            (
                json!({ "field": "x", "nothing_like_it": 3 }),
                vec![(
                    ".nothing_like_it",
                    "unknown key `nothing_like_it`: expected `field`, `max`, `share`, `mode`, `cut_at`, `either`",
                )],
            ),
            (
                json!({ "field": 3, "max": 0, "mode": "some" }),
                vec![
                    (".field", "`field` must be text, not 3"),
                    (".max", "`max` must be at least 1, not 0"),
                    (".mode", "`mode` must be one of `\"any\"`, `\"all\"`, not the text \"some\""),
                ],
            ),
            (
                json!({ "field": "x", "share": "half" }),
                vec![(".share", "`share` must be null or a number, not the text \"half\"")],
            ),
            (json!({ "field": "x", "share": 1.5 }), vec![(".share", "`share` must be less than 1, not 1.5")]),
            (
                json!({ "field": "x", "cut_at": [{ "word": "a" }, { "word": "A" }, { "wort": "a" }] }),
                vec![
                    (
                        ".cut_at[1].word",
                        "`cut_at[1].word` must match the pattern `^[a-z]+$`, which the text \"A\" does not",
                    ),
                    (".cut_at[2].wort", "unknown key `cut_at[2].wort`: did you mean `word`?"),
                ],
            ),
            (
                json!({ "field": "x", "cut_at": [{}, {}, {}, {}] }),
                vec![(".cut_at", "`cut_at` must have at most 3 entries")],
            ),
            (
                json!({ "field": "x", "either": {} }),
                vec![(
                    ".either",
                    "`either` has none of the forms that it can have: it must be text, not a table; or it lacks `word`",
                )],
            ),
        ];
        let schema = schema();
        for (config, expected) in cases {
            let mut found = schema.violations(&config);
            found.sort_by(|a, b| a.place.cmp(&b.place));
            let found: Vec<_> = found.iter().map(|found| (found.place.as_str(), found.message.as_str())).collect();
            assert_eq!(found, expected, "{config}");
        }
    }

    #[test]
    fn what_is_no_schema_is_named() {
        let error = |text: &str| ConfigSchema::parse(text).err().unwrap_or_default();
        assert_eq!(error(""), "is not JSON: EOF while parsing a value at line 1 column 0");
        assert_eq!(error("[]"), "is a list: expected a JSON Schema, a table");
        assert!(error(r#"{"type": "strnig"}"#).starts_with("is not valid JSON Schema: `/type`: "));
        assert!(error(r#"{"properties": {"a": {"pattern": "("}}}"#).starts_with("is not valid JSON Schema: "));
        for outside in ["https://example.com/a.json", "file:///etc/passwd", "other.json", "#/$defs/gone"] {
            let message = error(&json!({ "$ref": outside }).to_string());
            assert!(message.starts_with("refers to what is not in it, or to something outside: "), "{message}");
        }
        assert!(error(&" ".repeat(300_000)).contains("at most 262144 are read"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for text in [
            r##"{"$ref": "#"}"##,
            r##"{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
            r##"{"properties": {"a": {"$ref": "#"}}}"##,
        ] {
            if let Ok(schema) = ConfigSchema::parse(text) {
                drop(schema.violations(&json!({ "a": { "a": { "a": 1 } } })));
            }
        }
    }
}
