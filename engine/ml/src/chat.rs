//! Chats to token ids: the model's chat template, its tokenizer, and its image processor together. One `<|image_pad|>`
//! of the template becomes as many as the image has features; one that a message's text writes out stays text.

mod json;
mod messages;
mod python;
mod rewrite;
mod template;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use self::template::Template;
use crate::config::{CONFIG_FILE, ModelConfig};
use crate::image::ImageProcessor;
use crate::tokenizer::Tokenizer;
use crate::types::{Content, Example, ImagePatches, Message, ModelFiles, Part, Prompt};
use crate::{Error, Result};

/// Everything that turns a chat into a model's input.
#[derive(Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    images: Option<Images>,
    template: Template,
    max_positions: usize,
}

#[derive(Clone, Debug)]
struct Images {
    processor: ImageProcessor,
    token: u32,
    /// The text that the tokenizer makes `token` of.
    token_text: String,
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
            (Some(vision), Some(token)) => Some(Images {
                processor: ImageProcessor::load(files, vision)?,
                token,
                token_text: tokenizer.token_text(token).ok_or_else(|| {
                    let message = format!("`image_token_id` is {token}, expected a token of the tokenizer");
                    Error::model_file(CONFIG_FILE, message)
                })?,
                merge_unit: vision.merge_unit(),
            }),
            _ => None,
        };
        let template = Template::load(files)?;
        Ok(Processor { tokenizer, images, template, max_positions: config.text.max_positions })
    }

    /// The same processor with at most this many pixels of an image; the checkpoint's own bound is never raised.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: usize) -> Self {
        if let Some(images) = &mut self.images {
            images.processor = images.processor.clone().with_max_pixels(max_pixels);
        }
        self
    }

    /// A chat as the model's input. With `add_generation_prompt` it ends where the assistant's answer begins.
    ///
    /// The ids are those of the whole text tokenised at once, as transformers does it. Special tokens that a message's text
    /// writes out become those tokens, as there; only an image token does not, where the model sees images: it is spelled
    /// with ordinary tokens, and places of images are the template's alone.
    ///
    /// # Errors
    /// When the template refuses the messages or an image cannot be used.
    pub fn encode(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Prompt> {
        let images = self.process_images(messages)?;
        let rendered = self.template.render(messages, add_generation_prompt, self.guarded())?;
        let tokens = self.tokenize(&rendered.text, rendered.mark.encode_utf8(&mut [0; 4]))?;
        let copies = self.copies(&tokens, &images)?;
        let repeat = |(token, copies): (u32, usize)| std::iter::repeat_n(token, copies);
        Ok(Prompt { tokens: tokens.into_iter().zip(copies).flat_map(repeat).collect(), images })
    }

    /// A prompt and the answer to be learned: the completion's tokens and the end of the turn are the targets.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode_completion(&self, prompt: &Prompt, completion: &str) -> Result<Example> {
        let mut tokens = self.tokenize(completion, self.guarded().unwrap_or_default())?;
        tokens.push(self.tokenizer.end_of_turn());
        Ok(Example::from_completion(prompt, &tokens))
    }

    /// A whole chat to be learned: the ids of [`Processor::encode`], and as targets each assistant turn from after its
    /// header to its end (for ChatML the content, `<|im_end|>` and the newline), as TRL sets labels. Where the template has
    /// `{% generation %}` blocks, they say what is learned.
    ///
    /// # Errors
    /// As [`Processor::encode`]; also when no turn is the assistant's, or the template rewrites earlier turns.
    pub fn encode_conversation(&self, messages: &[Message]) -> Result<Example> {
        let images = self.process_images(messages)?;
        let rendered = self.template.render(messages, false, self.guarded())?;
        let learned = match rendered.learned {
            Some(learned) => learned,
            None => self.assistant_spans(messages, &rendered.text)?,
        };
        if learned.is_empty() {
            return Err(Error::chat("no message has the role `assistant`, so there is nothing to learn"));
        }
        let places = self.tokenize_with_places(&rendered.text, rendered.mark.encode_utf8(&mut [0; 4]))?;
        let tokens: Vec<u32> = places.iter().map(|(token, _)| *token).collect();
        let mut example = Example::default();
        for ((token, place), copies) in places.into_iter().zip(self.copies(&tokens, &images)?) {
            // A token that reaches into a turn is learned, as in transformers.
            let learned = learned.iter().any(|turn| place.start < turn.end && turn.start < place.end);
            example.tokens.extend(std::iter::repeat_n(token, copies));
            example.loss_mask.resize(example.tokens.len(), learned);
        }
        example.images = images;
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
        Ok(self.template.render(messages, add_generation_prompt, None)?.text)
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
        let files = messages.iter().flat_map(Message::images);
        files.map(|file| self.process_image(file).map(Arc::new)).collect()
    }

    /// An image file as the vision tower takes it.
    ///
    /// # Errors
    /// When the image cannot be used, or the model has no vision tower.
    pub fn process_image(&self, file: &[u8]) -> Result<ImagePatches> {
        match &self.images {
            Some(images) => images.processor.process(file),
            None => Err(Error::chat("the messages hold an image, but the model has no vision tower")),
        }
    }

    /// The text that messages may hold without meaning the token.
    fn guarded(&self) -> Option<&str> {
        self.images.as_ref().map(|images| images.token_text.as_str())
    }

    /// The ids of a text in which `mark` stands for an image token that is only text.
    fn tokenize(&self, text: &str, mark: &str) -> Result<Vec<u32>> {
        if mark.is_empty() || !text.contains(mark) {
            return self.tokenizer.encode(text);
        }
        Ok(self.tokenize_with_places(text, mark)?.into_iter().map(|(token, _)| token).collect())
    }

    /// As [`Processor::tokenize`], with the bytes of the text that each token stands for.
    fn tokenize_with_places(&self, text: &str, mark: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let mut places = Vec::new();
        let mut start = 0;
        for (index, piece) in text.split(mark).enumerate() {
            if index > 0 {
                places.extend(self.spelled()?.into_iter().map(|token| (token, start..start + mark.len())));
                start += mark.len();
            }
            let tokens = self.tokenizer.encode_with_places(piece)?.into_iter();
            places.extend(tokens.map(|(token, place)| (token, start + place.start..start + place.end)));
            start += piece.len();
        }
        Ok(places)
    }

    /// The image token's text in ordinary tokens: cut in two, it is not recognised.
    fn spelled(&self) -> Result<Vec<u32>> {
        let text = self.guarded().unwrap_or_default();
        let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
        Ok([self.tokenizer.encode(first)?, self.tokenizer.encode(rest)?].concat())
    }

    /// How often each token stands in the model's input: an image's token as often as the image has features.
    fn copies(&self, tokens: &[u32], images: &[Arc<ImagePatches>]) -> Result<Vec<usize>> {
        let Some(settings) = &self.images else { return Ok(vec![1; tokens.len()]) };
        let written = tokens.iter().filter(|token| **token == settings.token).count();
        if written != images.len() {
            return Err(Error::chat(format!(
                "`{}` wrote the image token `{}` {written} times for {} images: expected one for each; `{CONFIG_FILE}` says \
                 which token that is (`image_token_id` {})",
                self.template.place(),
                settings.token_text,
                images.len(),
                settings.token
            )));
        }
        let mut images = images.iter().map(|image| image.patches() / settings.merge_unit);
        Ok(tokens.iter().map(|token| if *token == settings.token { images.next().unwrap_or(1) } else { 1 }).collect())
    }

    /// Where in the rendered chat the assistant's turns lie, in bytes: after the header that a generation prompt writes, to
    /// the end.
    fn assistant_spans(&self, messages: &[Message], full: &str) -> Result<Vec<Range<usize>>> {
        let mut spans = Vec::new();
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let render = |count: usize, prompt: bool| self.template.render(&messages[..count], prompt, self.guarded());
            let (before, prompt, through) = (render(index, false)?, render(index, true)?, render(index + 1, false)?);
            let (before, through) = (before.text, through.text);
            // A generation prompt may write more than the header, such as an opened `<think>`, with which the content may
            // begin, too: what both write before any content is the header.
            let mut other = messages[..=index].to_vec();
            let text = '\u{FDEF}'.to_string();
            other[index].content = match other[index].content {
                Content::Parts(_) => Content::Parts(vec![Part::Text(text)]),
                _ => Content::Text(text),
            };
            let other = self.template.render(&other, false, self.guarded())?;
            let start = common_prefix(&prompt.text, &other.text);
            if !full.starts_with(&through) || start < before.len() || through.get(..start) != other.text.get(..start) {
                let message = format!(
                    "message {index}: the chat template writes the turns before it otherwise when more follow, so what is \
                     to be learned cannot be told: expected a template with `{{% generation %}}` blocks"
                );
                return Err(Error::chat(message));
            }
            spans.push(start..through.len());
        }
        Ok(spans)
    }
}

/// The bytes with which both texts begin, whole characters.
fn common_prefix(left: &str, right: &str) -> usize {
    left.chars().zip(right.chars()).take_while(|(left, right)| left == right).map(|(left, _)| left.len_utf8()).sum()
}
