//! Text to token ids and back, by a model's `tokenizer.json`. Knows nothing of chats and images.

mod checks;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::Value;
use tokenizers::ModelWrapper;

use self::checks::Declared;
use crate::panics::caught;
use crate::types::ModelFiles;
use crate::{Error, Result};

const TOKENIZER_FILE: &str = "tokenizer.json";
/// The file beside it that names the special tokens and may hold the chat template.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// A model's tokenizer with the ids that end a sequence.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// How errors name `tokenizer.json`.
    file: String,
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
        let file = files.place(TOKENIZER_FILE);
        let inner = read(&bytes).map_err(|message| Error::model_file(&*file, message))?;
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
        Ok(Tokenizer { inner, file, end_of_turn, stop_tokens })
    }

    /// The ids of a text; special tokens written out in it become their ids, and none are added.
    ///
    /// # Errors
    /// When the tokenizer's model fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.guarded(|inner| inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with the bytes of the text that each token stands for. A character of several tokens is
    /// named by each of them.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_places(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self.guarded(|inner| inner.encode(text, false))?;
        let places = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(places).collect())
    }

    /// The text of token ids. Bytes that form no character become the replacement character.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.guarded(|inner| inner.decode(tokens, skip_special_tokens))
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

    /// Calls the library, whose failures and panics become errors: it trusts `tokenizer.json`.
    fn guarded<T>(&self, work: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<T>) -> Result<T> {
        let failed = |reason: String| {
            Error::tokenizer(format!(
                "`{}` cannot be used on this text: {reason}; expected a fast tokenizer",
                self.file
            ))
        };
        match caught(|| work(&self.inner)) {
            Ok(outcome) => outcome.map_err(|error| failed(error.to_string())),
            Err(panic) => Err(failed(panic)),
        }
    }
}

/// The library's tokenizer, set up so that the ids of a text are its own alone.
fn read(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    let declared = Declared::read(bytes)?;
    let unusable = |reason: String| format!("expected a fast tokenizer: {reason}");
    let mut inner = caught(|| tokenizers::Tokenizer::from_bytes(bytes))
        .map_err(unusable)?
        .map_err(|error| unusable(error.to_string()))?;
    // Cutting and filling up are for batches; chats get neither, as in transformers.
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|error| unusable(error.to_string()))?;
    // Dropout is for the training of tokenizers.
    if let ModelWrapper::BPE(model) = inner.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        inner.with_model(model);
    }
    for (content, id) in declared.added_tokens() {
        match inner.token_to_id(content) {
            Some(got) if u64::from(got) == id => {}
            got => {
                let got = got.map_or("none".to_owned(), |got| got.to_string());
                return Err(format!(
                    "`added_tokens` gives `{content}` the id {id}, but loaded it has {got}: expected the ids of the \
                     vocabulary, and after those ids that go on without a gap in the order of the list"
                ));
            }
        }
    }
    Ok(inner)
}
