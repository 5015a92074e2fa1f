//! Chats to token ids: the model's chat template, its tokenizer, and its image processor together. One `<|image_pad|>`
//! of the template becomes as many as the image has features.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde_json::{Value, json};

use crate::config::ModelConfig;
use crate::image::ImageProcessor;
use crate::tokenizer::{TOKENIZER_CONFIG_FILE, Tokenizer};
use crate::types::{Example, ImagePatches, Message, ModelFiles, Part, Prompt};
use crate::{Error, Result};

/// Everything that turns a chat into a model's input.
#[derive(Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    images: Option<Images>,
    template: Environment<'static>,
    max_positions: usize,
}

#[derive(Clone, Debug)]
struct Images {
    processor: ImageProcessor,
    token: u32,
    merge_unit: usize,
}

impl Processor {
    /// Reads the tokenizer, the chat template and, for a model with a vision tower, the image settings.
    ///
    /// # Errors
    /// Names the file that is missing or unusable.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let config = ModelConfig::load(files)?;
        let tokenizer = Tokenizer::load(files, &config.eos_tokens)?;
        let images = match (&config.vision, config.image_token) {
            (Some(vision), Some(token)) => {
                Some(Images { processor: ImageProcessor::load(files, vision)?, token, merge_unit: vision.merge_unit() })
            }
            _ => None,
        };
        Ok(Processor { tokenizer, images, template: load_template(files)?, max_positions: config.text.max_positions })
    }

    /// The same processor with another upper bound on the pixels of an image.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: usize) -> Self {
        if let Some(images) = &mut self.images {
            images.processor = images.processor.clone().with_max_pixels(max_pixels);
        }
        self
    }

    /// A chat as the model's input. With `add_generation_prompt` it ends where the assistant's answer begins.
    ///
    /// # Errors
    /// When the template refuses the messages, an image cannot be used, or the text itself holds image tokens.
    pub fn encode(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Prompt> {
        let images = self.process_images(messages)?;
        let text = self.render(messages, add_generation_prompt)?;
        let mut rest = images.iter();
        let tokens = self.expand(self.tokenizer.encode(&text)?, &mut rest)?;
        self.expect_all_used(rest.len())?;
        Ok(Prompt { tokens, images })
    }

    /// A prompt and the answer to be learned: the completion's tokens and the end of the turn are the targets.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode_completion(&self, prompt: &Prompt, completion: &str) -> Result<Example> {
        let mut tokens = self.tokenizer.encode(completion)?;
        tokens.push(self.tokenizer.end_of_turn());
        Ok(Example::from_completion(prompt, &tokens))
    }

    /// A whole chat to be learned: the targets are each assistant turn's content and the end of the turn. Turns are
    /// tokenised apart from what surrounds them, as they are when the model writes them.
    ///
    /// # Errors
    /// As [`Processor::encode`]; also when no turn is the assistant's, or the template rewrites earlier turns.
    pub fn encode_conversation(&self, messages: &[Message]) -> Result<Example> {
        let images = self.process_images(messages)?;
        let full = self.render(messages, false)?;
        let mut example = Example { images: images.clone(), ..Example::default() };
        let mut rest = images.iter();
        let mut append = |text: &str, learned: bool| -> Result<()> {
            let tokens = self.expand(self.tokenizer.encode(text)?, &mut rest)?;
            example.loss_mask.resize(example.tokens.len() + tokens.len(), learned);
            example.tokens.extend(tokens);
            Ok(())
        };
        let mut written = 0;
        for (start, end) in self.assistant_spans(messages, &full)? {
            append(&full[written..start], false)?;
            append(&full[start..end], true)?;
            written = end;
        }
        append(&full[written..], false)?;
        self.expect_all_used(rest.len())?;
        Ok(example)
    }

    /// The text of token ids without special tokens.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, true)
    }

    /// The chat as the template writes it, one image token per image.
    ///
    /// # Errors
    /// When the template refuses the messages.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let failed = |error: minijinja::Error| Error::chat(format!("the chat template failed: {error:#}"));
        let messages: Vec<Value> = messages.iter().map(template_form).collect();
        let template = self.template.get_template("chat").map_err(failed)?;
        let messages = minijinja::Value::from(Serde(messages));
        template.render(context! { messages, add_generation_prompt }).map_err(failed)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Every token at which sampling stops, the end of a turn first.
    pub fn stop_tokens(&self) -> &[u32] {
        self.tokenizer.stop_tokens()
    }

    /// Tokens of the longest sequence that the model was made for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// The token that ends an assistant's turn.
    pub fn end_of_turn(&self) -> u32 {
        self.tokenizer.end_of_turn()
    }

    fn process_images(&self, messages: &[Message]) -> Result<Vec<Arc<ImagePatches>>> {
        let parts = messages.iter().flat_map(|message| &message.content);
        let files = parts.filter_map(|part| match part {
            Part::Image(file) => Some(file),
            Part::Text(_) => None,
        });
        files.map(|file| self.process_image(file).map(Arc::new)).collect()
    }

    /// An encoded PNG or JPEG file as the vision tower takes it.
    ///
    /// # Errors
    /// When the image cannot be used, or the model has no vision tower.
    pub fn process_image(&self, file: &[u8]) -> Result<ImagePatches> {
        match &self.images {
            Some(images) => images.processor.process(file),
            None => Err(Error::chat("the messages hold an image, but the model has no vision tower")),
        }
    }

    /// Puts one image token per feature where the template wrote one per image.
    fn expand<'a>(
        &self,
        tokens: Vec<u32>,
        images: &mut impl ExactSizeIterator<Item = &'a Arc<ImagePatches>>,
    ) -> Result<Vec<u32>> {
        let Some(settings) = &self.images else { return Ok(tokens) };
        let mut expanded = Vec::with_capacity(tokens.len());
        for token in tokens {
            let copies = if token == settings.token {
                let image = images.next().ok_or_else(|| {
                    Error::chat("there are more image tokens than images: the text itself may hold none")
                })?;
                image.patches() / settings.merge_unit
            } else {
                1
            };
            expanded.extend(std::iter::repeat_n(token, copies));
        }
        Ok(expanded)
    }

    fn expect_all_used(&self, left: usize) -> Result<()> {
        if left == 0 { Ok(()) } else { Err(Error::chat(format!("the chat template left out {left} image(s)"))) }
    }

    /// Where in the rendered chat each assistant turn's content and end mark lie, in bytes.
    fn assistant_spans(&self, messages: &[Message], full: &str) -> Result<Vec<(usize, usize)>> {
        let end_mark = self.tokenizer.token_text(self.tokenizer.end_of_turn()).unwrap_or_default();
        let mut spans = Vec::new();
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let before = self.render(&messages[..index], true)?;
            let through = self.render(&messages[..=index], false)?;
            let fits = full.starts_with(&through) && through.starts_with(&before);
            let end = through.get(before.len()..).and_then(|turn| turn.rfind(&end_mark)).filter(|_| fits);
            let Some(end) = end else {
                let message = format!(
                    "message {index}: the chat template does not write an assistant turn as its generation prompt, \
                     the content and `{end_mark}`, so what is to be learned cannot be told"
                );
                return Err(Error::chat(message));
            };
            spans.push((before.len(), before.len() + end + end_mark.len()));
        }
        if spans.is_empty() {
            return Err(Error::chat("no message has the role `assistant`, so there is nothing to learn"));
        }
        Ok(spans)
    }
}

/// A message as templates expect it: plain text where there are no images, a list of parts where there are.
fn template_form(message: &Message) -> Value {
    let text_only = message.content.iter().all(|part| matches!(part, Part::Text(_)));
    let content = if text_only {
        let texts = message.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) => None,
        });
        Value::String(texts.collect())
    } else {
        let parts = message.content.iter().map(|part| match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::Image(_) => json!({"type": "image"}),
        });
        Value::Array(parts.collect())
    };
    json!({"role": message.role, "content": content})
}

/// Finds the template and sets the engine up as transformers does.
fn load_template(files: &ModelFiles) -> Result<Environment<'static>> {
    let (file, source) = template_source(files)?;
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| Error::chat(error.to_string()))?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> std::result::Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment
        .add_template_owned("chat", source)
        .map_err(|error| Error::model_file(file, format!("the chat template cannot be parsed: {error:#}")))?;
    Ok(environment)
}

fn template_source(files: &ModelFiles) -> Result<(&'static str, String)> {
    const TEMPLATE_FILE: &str = "chat_template.jinja";
    if let Some(bytes) = files.read(TEMPLATE_FILE)? {
        let source = String::from_utf8(bytes)
            .map_err(|error| Error::model_file(TEMPLATE_FILE, format!("expected UTF-8 text: {error}")))?;
        return Ok((TEMPLATE_FILE, source));
    }
    for file in ["chat_template.json", TOKENIZER_CONFIG_FILE] {
        let Some(settings) = files.read_json(file)? else { continue };
        match settings.get("chat_template") {
            Some(Value::String(source)) => return Ok((file, source.clone())),
            Some(Value::Array(list)) => {
                let named = |name: &str| list.iter().find(|entry| entry["name"] == name);
                if let Some(source) = named("default").and_then(|entry| entry["template"].as_str()) {
                    return Ok((file, source.to_owned()));
                }
            }
            _ => {}
        }
    }
    Err(Error::MissingFile { file: TEMPLATE_FILE.to_owned(), purpose: "encoding chats".to_owned() })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use safetensors::SafeTensors;

    use super::*;

    fn reference(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference").join(name)
    }

    fn processor() -> Processor {
        Processor::load(&ModelFiles::from_folder(&reference("model/tiny")).unwrap()).unwrap()
    }

    fn expected() -> Value {
        let path = reference("model/expected/tiny/expected.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The messages of a reference case, whose images are named by file.
    fn messages(value: &Value) -> Vec<Message> {
        Message::from_json(value, &mut |name| {
            let path = reference("images/png").join(format!("{name}.png"));
            std::fs::read(&path).map_err(|error| Error::read(path, error))
        })
        .unwrap()
    }

    #[test]
    fn texts_become_the_tokens_of_transformers() {
        let processor = processor();
        for case in expected()["tokenizer_cases"].as_array().unwrap() {
            let ids = processor.tokenizer().encode(case["text"].as_str().unwrap()).unwrap();
            let theirs: Vec<u32> =
                case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(ids, theirs, "{case}");
            assert_eq!(processor.tokenizer().decode(&ids, false).unwrap(), case["decoded"].as_str().unwrap());
        }
    }

    #[test]
    fn chats_become_the_tokens_of_transformers() {
        let processor = processor();
        for (name, case) in expected()["cases"].as_object().unwrap() {
            let path = reference("model/expected/tiny").join(format!("{name}.safetensors"));
            // Not every case's tensors are kept.
            let Ok(bytes) = std::fs::read(path) else { continue };
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let integers = |name: &str| -> Vec<i64> {
                let data = tensors.tensor(name).unwrap().data();
                data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
            };
            let (ids, mask, labels) = (integers("input_ids"), integers("attention_mask"), integers("labels"));
            let width = tensors.tensor("input_ids").unwrap().shape()[1];
            for (row, chat) in case["messages"].as_array().unwrap().iter().enumerate() {
                let chat = messages(chat);
                assert_eq!(processor.render(&chat, false).unwrap(), case["rendered"][row].as_str().unwrap());
                let example = processor.encode_conversation(&chat).unwrap();
                let places = row * width..(row + 1) * width;
                let kept: Vec<usize> = places.filter(|place| mask[*place] == 1).collect();
                let theirs: Vec<u32> = kept.iter().map(|place| ids[*place] as u32).collect();
                assert_eq!(example.tokens, theirs, "{name}");
                assert_eq!(processor.encode(&chat, false).unwrap().tokens, theirs, "{name}");
                // There the newline after the end of a turn is learned too.
                let newline = processor.tokenizer().encode("\n").unwrap()[0];
                for (index, place) in kept.iter().enumerate() {
                    let learned = labels[*place] >= 0 && theirs[index] != newline;
                    assert_eq!(example.loss_mask[index], learned, "{name}: token {index}");
                }
            }
        }
    }

    #[test]
    fn a_prompt_and_its_completion_are_the_whole_chat() {
        let processor = processor();
        let chat = [Message::text("user", "How many?"), Message::text("assistant", "Two: \\boxed{2}.")];
        let prompt = processor.encode(&chat[..1], true).unwrap();
        let example = processor.encode_completion(&prompt, "Two: \\boxed{2}.").unwrap();
        let whole = processor.encode_conversation(&chat).unwrap();
        assert_eq!(whole.tokens[..example.tokens.len()], example.tokens);
        assert_eq!(whole.loss_mask[..example.tokens.len()], example.loss_mask);
        assert_eq!(example.tokens.last(), Some(&processor.end_of_turn()));
        let target = &example.tokens[prompt.tokens.len()..];
        assert_eq!(processor.decode(target).unwrap(), "Two: \\boxed{2}.");
    }

    #[test]
    fn image_tokens_in_the_text_are_refused() {
        let chat = [Message::text("user", "a<|image_pad|>b")];
        assert!(processor().encode(&chat, true).unwrap_err().to_string().contains("more image tokens than images"));
    }
}
