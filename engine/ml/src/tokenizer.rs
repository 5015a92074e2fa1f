//! Text to token ids and back, by a model's `tokenizer.json`. Knows nothing of chats and images.

use std::ops::Range;

use serde_json::Value;

use crate::types::ModelFiles;
use crate::{Error, Result};

const TOKENIZER_FILE: &str = "tokenizer.json";
/// The file beside it that names the special tokens and may hold the chat template.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// A model's tokenizer with the ids that end a sequence.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    end_of_turn: u32,
    stop_tokens: Vec<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, for the special tokens, `tokenizer_config.json`. `eos_tokens` are the ids that the
    /// model's configuration adds to those.
    ///
    /// # Errors
    /// When a file is missing or unusable, or no token ends a sequence.
    pub fn load(files: &ModelFiles, eos_tokens: &[u32]) -> Result<Self> {
        let bytes = files.require(TOKENIZER_FILE, "the tokenizer")?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| Error::model_file(TOKENIZER_FILE, format!("expected a fast tokenizer: {error}")))?;
        let settings = files.read_json(TOKENIZER_CONFIG_FILE)?.unwrap_or(Value::Null);
        let named = |name: &str| {
            let token = settings.get(name)?;
            let text = token.as_str().or_else(|| token.get("content").and_then(Value::as_str))?;
            inner.token_to_id(text)
        };
        let eos = named("eos_token");
        let turn = inner.token_to_id("<|im_end|>");
        let end_of_turn = turn.or(eos).or_else(|| eos_tokens.first().copied()).ok_or_else(|| {
            Error::model_file(
                TOKENIZER_CONFIG_FILE,
                "no token ends a sequence: expected `eos_token`, or an `<|im_end|>`",
            )
        })?;
        let mut stop_tokens = vec![end_of_turn];
        for token in eos.into_iter().chain(eos_tokens.iter().copied()).chain(inner.token_to_id("<|endoftext|>")) {
            if !stop_tokens.contains(&token) {
                stop_tokens.push(token);
            }
        }
        Ok(Tokenizer { inner, end_of_turn, stop_tokens })
    }

    /// The ids of a text; special tokens written out in it become their ids, and none are added.
    ///
    /// # Errors
    /// When the tokenizer's model fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| Error::tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with the bytes of the text that each token stands for. A character of several tokens is
    /// named by each of them.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_places(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.inner.encode(text, false).map_err(|error| Error::tokenizer(error.to_string()))?;
        let places = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(places).collect())
    }

    /// The text of token ids. Bytes that form no character become the replacement character.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner.decode(tokens, skip_special_tokens).map_err(|error| Error::tokenizer(error.to_string()))
    }

    /// The id of a token's exact text.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// The text of one token id as it stands in the vocabulary.
    pub fn token_text(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// The token that ends an assistant's turn.
    pub fn end_of_turn(&self) -> u32 {
        self.end_of_turn
    }

    /// Every token at which sampling stops, the end of a turn first.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop_tokens
    }
}
