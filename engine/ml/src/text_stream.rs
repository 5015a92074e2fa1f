//! Tokens to text as they come, without ever showing half a character.

use crate::Result;
use crate::chat::Processor;

/// Tokens that are held at most: as many as the bytes of two characters, and a token has one at least. What forms no character by
/// then will not become one.
const HELD: usize = 8;

/// A text in the making.
pub struct TextStream<'a> {
    processor: &'a Processor,
    /// Tokens whose text has not been given out yet.
    held: Vec<u32>,
}

impl<'a> TextStream<'a> {
    /// An empty text of the model's tokens.
    pub fn new(processor: &'a Processor) -> Self {
        TextStream { processor, held: Vec::new() }
    }

    /// The text that a token adds: none while it ends within a character. Special tokens have no text.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.held.push(token);
        let text = self.processor.decode(&self.held)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && self.held.len() < HELD {
            return Ok(String::new());
        }
        self.held.clear();
        Ok(text)
    }

    /// The text that is left; bytes that form no character become the replacement character.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<String> {
        self.processor.decode(&std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::types::ModelFiles;

    #[test]
    fn characters_come_whole_and_nothing_is_lost() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
        let processor = Processor::load(&ModelFiles::from_folder(&folder).unwrap()).unwrap();
        for text in
            ["the answer", "\u{4e09}\u{89d2}\u{5f62} \u{1f642}\u{1f642}!", "\u{e9}t\u{e9}", "a\u{fffd}b \u{1f9ee}"]
        {
            let tokens = processor.tokenizer().encode(text).unwrap();
            let mut stream = TextStream::new(&processor);
            let mut pieces: Vec<String> = tokens.iter().map(|token| stream.push(*token).unwrap()).collect();
            pieces.push(stream.finish().unwrap());
            assert_eq!(pieces.concat(), text);
            if !text.contains(char::REPLACEMENT_CHARACTER) {
                assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)), "{pieces:?}");
            }
        }
        // Half a character at the end is shown as such, not swallowed.
        let tokens = processor.tokenizer().encode("\u{1f642}").unwrap();
        assert!(tokens.len() > 1, "the tokenizer has no token for it");
        let mut stream = TextStream::new(&processor);
        assert_eq!(stream.push(tokens[0]).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    }
}
