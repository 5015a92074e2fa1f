//! A model's chat template: messages to the text that the tokenizer takes, set up as transformers does it. A template is a
//! program of strangers: its size, its work, what it writes and how deep its values go are bounded. Knows nothing of token
//! ids and image files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, ErrorKind, State};
use serde_json::Value;

use super::messages::Chat;
use super::python::{self, Outcome, is_dictionary, refusal};
use super::rewrite::{LEARNED, STORED, rewrite};
use crate::panics::caught;
use crate::tokenizer::TOKENIZER_CONFIG_FILE;
use crate::types::{Message, ModelFiles};
use crate::{Error, Result};

const NAME: &str = "chat";
const TEMPLATE_FILE: &str = "chat_template.jinja";
/// The variable that holds the marks of learned text during a rendering.
const MARKS: &str = "ruminate_marks";
/// Levels of lists and dictionaries in a value that a namespace holds at most. Only namespaces outlive a turn of a loop, so
/// without them no value goes deeper than the template's text.
const MOST_STORED_LEVELS: usize = 64;
/// Stack for parsing and rendering, only what is used of it is memory: values, macros and expressions, whose depths are
/// bounded, need less.
const STACK_BYTES: usize = 128 << 20;
/// Bytes of text that a template may write beside four times what the messages have.
const MOST_WRITTEN: usize = 8 << 20;

/// A parsed chat template.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    /// How errors name the file that holds it.
    place: String,
    source: String,
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
        let place = files.place(file);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| Error::chat(error.to_string()))?;
        environment.set_syntax(syntax.clone());
        python::register(&mut environment);
        environment.add_filter(LEARNED, mark_learned);
        environment.add_filter(STORED, stored);
        let rewritten = rewrite(&source, &syntax).map_err(|message| Error::model_file(&*place, message))?;
        let parsed = on_a_deep_stack(|| {
            environment.add_template_owned(NAME, rewritten.source.clone()).map_err(|error| reason(&error))?;
            Ok(environment)
        });
        let environment = parsed.map_err(|reason| {
            let message =
                format!("the chat template cannot be parsed: {reason}; expected Jinja as transformers takes it");
            Error::model_file(&*place, message)
        })?;
        let special_tokens = special_tokens(files)?;
        Ok(Template {
            environment,
            place,
            source: rewritten.source,
            special_tokens,
            marks_learned: rewritten.marks_learned,
        })
    }

    /// How errors name the file that holds the template.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The chat as text. `guarded` is a text that means more to the tokenizer than its characters; see [`Rendered`].
    ///
    /// # Errors
    /// When the template refuses the messages, or does or writes more than any chat needs.
    pub(super) fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        guarded: Option<&str>,
    ) -> Result<Rendered> {
        let chat = Chat::new(messages, guarded, &self.source)?;
        let (mark, [start, end]) = (chat.mark, chat.learned);
        let text = on_a_deep_stack(|| self.write(chat, add_generation_prompt));
        let text =
            text.map_err(|reason| Error::chat(format!("`{}` cannot write the messages: {reason}", self.place)))?;
        if !self.marks_learned {
            return Ok(Rendered { text, mark, learned: None });
        }
        let (text, learned) = take_marks(&text, start, end);
        Ok(Rendered { text, mark, learned: Some(learned) })
    }

    /// The text, with marks around what is learned.
    fn write(&self, chat: Chat, add_generation_prompt: bool) -> std::result::Result<String, String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel(&chat)));
        let mut out = Bounded { bytes: Vec::new(), most: MOST_WRITTEN.saturating_add(chat.bytes.saturating_mul(4)) };
        let mut variables: BTreeMap<&str, minijinja::Value> =
            self.special_tokens.iter().map(|(name, text)| (name.as_str(), text.as_str().into())).collect();
        variables.insert(MARKS, String::from_iter(chat.learned).into());
        variables.insert("messages", minijinja::Value::from(Serde(chat.messages)));
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        variables.insert("tools", ().into());
        variables.insert("documents", ().into());
        let template = environment.get_template(NAME).map_err(|error| reason(&error))?;
        let rendered = template.render_captured_to(variables, &mut out).map(drop);
        rendered.map_err(|error| match error.kind() {
            ErrorKind::WriteFailure => format!("it writes more than {} MiB, expected a chat's text", out.most >> 20),
            ErrorKind::OutOfFuel => format!(
                "{}it does more work than any chat of this length needs: expected a template whose loops end",
                line(&error)
            ),
            _ => format!("{}; change the messages or the template", reason(&error)),
        })?;
        String::from_utf8(out.bytes).map_err(|error| error.to_string())
    }
}

/// What a template may do: far more than one that looks at each message for each other, and writes each several times.
fn fuel(chat: &Chat) -> u64 {
    let (messages, bytes) = (chat.messages.len() as u64, chat.bytes as u64);
    let pairs = messages.saturating_mul(messages).saturating_mul(200);
    2_000_000_u64.saturating_add(pairs).saturating_add(bytes.saturating_mul(20))
}

/// A text that grows to a bound.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does work whose depth a stranger's template decides, within bounds. A panic becomes an error.
fn on_a_deep_stack<T: Send>(
    work: impl FnOnce() -> std::result::Result<T, String> + Send,
) -> std::result::Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat-template".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || caught(work));
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
    })
}

/// What went wrong in a template and where, in one line of a bounded length.
fn reason(error: &minijinja::Error) -> String {
    const LONGEST: usize = 600;
    let mut text = line(error);
    let own = |error: &minijinja::Error| match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    text.push_str(&own(error));
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.downcast_ref::<minijinja::Error>().map_or_else(|| inner.to_string(), own);
        text.push_str(": ");
        text.push_str(&inner_text);
        source = inner.source();
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn line(error: &minijinja::Error) -> String {
    error.line().map_or_else(String::new, |line| format!("line {line}: "))
}

/// A value on its way into a namespace: as it is, or refused where it could grow deeper with each turn of a loop, or hold
/// itself. Printing, comparing and freeing such a value would overflow the stack.
fn stored(state: &State<'_, '_>, value: minijinja::Value) -> Outcome<minijinja::Value> {
    let mut visited = 0;
    let value = match value.kind() {
        // What is computed when it is looked at would hold on to what it is computed from.
        ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                state.consume_fuel(1)?;
                items.push(item);
            }
            minijinja::Value::from(items)
        }
        _ => value,
    };
    check_stored(&value, 0, &mut visited)?;
    state.consume_fuel(visited / 16)?;
    Ok(value)
}

fn check_stored(value: &minijinja::Value, level: usize, visited: &mut u64) -> Outcome<()> {
    *visited += 1;
    if level > MOST_STORED_LEVELS {
        let message = format!("a namespace is given a value of more than {MOST_STORED_LEVELS} levels of lists");
        return Err(refusal(message));
    }
    match value.kind() {
        ValueKind::Seq => value.try_iter()?.try_for_each(|item| check_stored(&item, level + 1, visited)),
        ValueKind::Map if is_dictionary(value) => value.try_iter()?.try_for_each(|key| {
            check_stored(&key, level + 1, visited)?;
            check_stored(&value.get_item(&key)?, level + 1, visited)
        }),
        ValueKind::Map | ValueKind::Plain | ValueKind::Iterable => Err(refusal(format!(
            "a namespace is given a value of type {} that is no text, number, list or dictionary",
            value.kind()
        ))),
        _ => Ok(()),
    }
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
            .map_err(|error| Error::model_file(files.place(TEMPLATE_FILE), format!("expected UTF-8 text: {error}")))?;
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
