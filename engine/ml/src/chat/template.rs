//! A model's chat template: messages to the text that the tokenizer takes, set up as transformers does it. Knows nothing of
//! token ids and image files.

use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, State};
use serde_json::{Value, json};

use crate::tokenizer::TOKENIZER_CONFIG_FILE;
use crate::types::{Message, ModelFiles, Part};
use crate::{Error, Result};

const NAME: &str = "chat";
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The variable that holds the marks of learned text during a rendering.
const MARKS: &str = "ruminate_marks";
/// Unicode's noncharacters: no text has a use for them.
const NONCHARACTERS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// A parsed chat template.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    /// `bos_token` and its like, which templates may write.
    special_tokens: BTreeMap<String, String>,
    /// Whether the template itself says what is learned, by `{% generation %}`.
    marks_learned: bool,
}

/// A chat as the template writes it.
#[derive(Debug, PartialEq)]
pub(super) struct Rendered {
    /// The text. What a message itself holds of `guarded` stands in it as `mark`.
    pub(super) text: String,
    /// Stands for the guarded text where it comes from a message; no message holds it.
    pub(super) mark: char,
    /// The bytes that `{% generation %}` marks; none where the template has no such block.
    pub(super) learned: Option<Vec<Range<usize>>>,
}

impl Template {
    /// Finds the template (`chat_template.jinja`, `chat_template.json`, `tokenizer_config.json`, in this order) and parses it.
    ///
    /// # Errors
    /// When there is none, or it cannot be parsed.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let (file, source) = template_source(files)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| Error::chat(error.to_string()))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<String, minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.add_filter("ruminate_learned", mark_learned);
        let (source, marks_learned) = replace_generation(&source);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| Error::model_file(file, format!("the chat template cannot be parsed: {error:#}")))?;
        Ok(Template { environment, special_tokens: special_tokens(files)?, marks_learned })
    }

    /// The chat as text. `guarded` is a text that means more to the tokenizer than its characters; see [`Rendered`].
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub(super) fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        guarded: Option<&str>,
    ) -> Result<Rendered> {
        let [mark, start, end] = marks(messages)?;
        let messages: Vec<Value> = messages.iter().map(|message| template_form(message, guarded, mark)).collect();
        let mut variables: BTreeMap<&str, minijinja::Value> =
            self.special_tokens.iter().map(|(name, text)| (name.as_str(), text.as_str().into())).collect();
        variables.insert("messages", minijinja::Value::from(Serde(messages)));
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        variables.insert("tools", ().into());
        variables.insert("documents", ().into());
        variables.insert(MARKS, String::from_iter([start, end]).into());
        let failed = |error: minijinja::Error| Error::chat(format!("the chat template failed: {error:#}"));
        let marked = self.environment.get_template(NAME).and_then(|template| template.render(variables));
        let marked = marked.map_err(failed)?;
        if !self.marks_learned {
            return Ok(Rendered { text: marked, mark, learned: None });
        }
        let (text, learned) = take_marks(&marked, start, end);
        Ok(Rendered { text, mark, learned: Some(learned) })
    }
}

/// Three characters that occur in no message.
fn marks(messages: &[Message]) -> Result<[char; 3]> {
    let used = |mark: &char| {
        let mut parts = messages.iter().flat_map(|message| &message.content);
        parts.any(|part| matches!(part, Part::Text(text) if text.contains(*mark)))
    };
    let free: Vec<char> = NONCHARACTERS.filter(|mark| !used(mark)).take(3).collect();
    <[char; 3]>::try_from(free)
        .map_err(|_| Error::chat("the messages hold nearly every character from U+FDD0 to U+FDEF: expected text"))
}

/// A message as templates expect it: plain text where there are no images, a list of parts where there are.
fn template_form(message: &Message, guarded: Option<&str>, mark: char) -> Value {
    // Neighbouring texts are joined first, so that guarded text cannot be put together from two.
    let mut parts: Vec<Option<String>> = Vec::new();
    for part in &message.content {
        match (part, parts.last_mut()) {
            (Part::Text(text), Some(Some(before))) => before.push_str(text),
            (Part::Text(text), _) => parts.push(Some(text.clone())),
            (Part::Image(_), _) => parts.push(None),
        }
    }
    let guard = |text: String| match guarded {
        Some(guarded) if text.contains(guarded) => text.replace(guarded, mark.encode_utf8(&mut [0; 4])),
        _ => text,
    };
    let content = if parts.iter().all(Option::is_some) {
        Value::String(guard(parts.into_iter().flatten().collect()))
    } else {
        let part = |part| match part {
            Some(text) => json!({"type": "text", "text": guard(text)}),
            None => json!({"type": "image"}),
        };
        Value::Array(parts.into_iter().map(part).collect())
    };
    json!({"role": message.role, "content": content})
}

/// Makes `{% generation %}` a filter block, which encloses what it marks between two characters.
fn replace_generation(source: &str) -> (String, bool) {
    let mut replaced = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start..start + length + 2];
        let inner = tag[2..tag.len() - 2].trim_matches(['-', '+']).trim();
        replaced.push_str(&rest[..start]);
        match inner {
            "generation" => replaced.push_str(&tag.replace("generation", "filter ruminate_learned")),
            "endgeneration" => replaced.push_str(&tag.replace("endgeneration", "endfilter")),
            _ => replaced.push_str(tag),
        }
        found |= inner == "generation";
        rest = &rest[start + length + 2..];
    }
    replaced.push_str(rest);
    (replaced, found)
}

fn mark_learned(state: &State<'_, '_>, text: String) -> String {
    let marks = state.lookup(MARKS).map(|marks| marks.to_string()).unwrap_or_default();
    let mut marks = marks.chars();
    marks.next().into_iter().chain(text.chars()).chain(marks.next()).collect()
}

/// Takes the marks out of a text; the bytes that lay between them.
fn take_marks(marked: &str, start: char, end: char) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let (mut learned, mut opened) = (Vec::new(), 0);
    for character in marked.chars() {
        if character == start {
            opened = text.len();
        } else if character == end {
            learned.push(opened..text.len());
        } else {
            text.push(character);
        }
    }
    (text, learned)
}

fn template_source(files: &ModelFiles) -> Result<(&'static str, String)> {
    if let Some(bytes) = files.read(TEMPLATE_FILE)? {
        let source = String::from_utf8(bytes)
            .map_err(|error| Error::model_file(TEMPLATE_FILE, format!("expected UTF-8 text: {error}")))?;
        return Ok((TEMPLATE_FILE, source));
    }
    for file in ["chat_template.json", TOKENIZER_CONFIG_FILE] {
        let Some(settings) = files.read_json(file)? else { continue };
        match settings.get("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::String(source)) => return Ok((file, source.clone())),
            Some(Value::Array(list)) => {
                let named = list.iter().find(|entry| entry["name"] == "default");
                let source = named.and_then(|entry| entry["template"].as_str());
                let missing =
                    "`chat_template` is a list, expected one entry with the `name` `default` and a `template`";
                return source.map(|source| (file, source.to_owned())).ok_or_else(|| Error::model_file(file, missing));
            }
            Some(_) => return Err(Error::model_file(file, "`chat_template` is no text, expected a Jinja template")),
        }
    }
    Err(Error::MissingFile { file: TEMPLATE_FILE.to_owned(), purpose: "encoding chats".to_owned() })
}

/// The texts of the special tokens that have a name of their own, as templates may use them.
fn special_tokens(files: &ModelFiles) -> Result<BTreeMap<String, String>> {
    const NAMES: [&str; 7] =
        ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let settings = files.read_json(TOKENIZER_CONFIG_FILE)?.unwrap_or(Value::Null);
    let text = |name: &str| {
        let token = settings.get(name)?;
        token.as_str().or_else(|| token.get("content").and_then(Value::as_str)).map(str::to_owned)
    };
    Ok(NAMES.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect())
}
