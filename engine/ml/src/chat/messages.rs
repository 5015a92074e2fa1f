//! Messages as chat templates see them. Knows nothing of templates and tokens.

use serde_json::{Map, Value, json};

use crate::types::{Content, Message, Part};
use crate::{Error, Result};

/// Unicode's noncharacters: no text has a use for them.
const NONCHARACTERS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';
/// What a message's reasoning is called; templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A chat for a template.
pub(super) struct Chat {
    pub(super) messages: Vec<Value>,
    /// How many bytes the messages have as JSON.
    pub(super) bytes: usize,
    /// Stands for the guarded text where it comes from a message.
    pub(super) mark: char,
    /// What encloses learned text during a rendering.
    pub(super) learned: [char; 2],
}

impl Chat {
    /// The messages, in which `mark` takes the place of each `guarded` text. The marks stand neither in a message nor in
    /// `source`, the template.
    ///
    /// # Errors
    /// When no marks are left.
    pub(super) fn new(messages: &[Message], guarded: Option<&str>, source: &str) -> Result<Self> {
        let messages: Vec<Value> = messages.iter().map(|message| form(message, guarded)).collect();
        let texts: String = messages.iter().map(Value::to_string).collect();
        let mut free = NONCHARACTERS.filter(|mark| !texts.contains(*mark) && !source.contains(*mark));
        let (Some(mark), Some(start), Some(end)) = (free.next(), free.next(), free.next()) else {
            return Err(Error::chat("the messages hold nearly every character from U+FDD0 to U+FDEF: expected text"));
        };
        let guard = |message| match guarded {
            Some(guarded) => guard(message, guarded, mark.encode_utf8(&mut [0; 4])),
            None => message,
        };
        let messages = messages.into_iter().map(guard).collect();
        Ok(Chat { messages, bytes: texts.len(), mark, learned: [start, end] })
    }
}

/// A message with the fields in the order in which they were given.
fn form(message: &Message, guarded: Option<&str>) -> Value {
    let mut form = message.fields.clone();
    form.insert("role".to_owned(), Value::String(message.role.clone()));
    match &message.content {
        Content::Absent => None,
        Content::Null => form.insert("content".to_owned(), Value::Null),
        Content::Text(text) => form.insert("content".to_owned(), Value::String(text.clone())),
        Content::Parts(parts) => form.insert("content".to_owned(), parts_form(parts, guarded)),
    };
    Value::Object(with_reasoning(form))
}

fn parts_form(parts: &[Part], guarded: Option<&str>) -> Value {
    let is_text = |part: &Part| matches!(part, Part::Text(_));
    let mut list = Vec::new();
    for run in parts.chunk_by(|left, right| is_text(left) && is_text(right)) {
        let texts: Vec<&str> =
            run.iter().filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None }).collect();
        // Texts that put together hold one more guarded text than alone are joined, so that it can be marked.
        let whole = texts.concat();
        let split = guarded.is_some_and(|guarded| {
            whole.matches(guarded).count() != texts.iter().map(|text| text.matches(guarded).count()).sum::<usize>()
        });
        match (texts.is_empty(), split) {
            (true, _) => list.push(json!({"type": "image"})),
            (false, true) => list.push(json!({"type": "text", "text": whole})),
            (false, false) => list.extend(texts.iter().map(|text| json!({"type": "text", "text": text}))),
        }
    }
    Value::Array(list)
}

/// Reasoning under the names that templates know, as transformers gives it.
fn with_reasoning(message: Map<String, Value>) -> Map<String, Value> {
    let given = REASONING.iter().find_map(|name| message.get(*name).filter(|value| !value.is_null()));
    let Some(reasoning) = given.cloned() else { return message };
    let mut all = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
    all.extend(message);
    all.insert("reasoning_content".to_owned(), reasoning);
    all
}

fn guard(value: Value, guarded: &str, mark: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(guarded, mark)),
        Value::Array(list) => list.into_iter().map(|value| guard(value, guarded, mark)).collect(),
        Value::Object(fields) => {
            let guarded = |(name, value): (String, Value)| (name.replace(guarded, mark), guard(value, guarded, mark));
            Value::Object(fields.into_iter().map(guarded).collect())
        }
        other => other,
    }
}
