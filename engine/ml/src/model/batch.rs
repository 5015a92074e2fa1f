//! Sequences of tokens and images as one rectangular batch: padding, positions, and which row of which table each
//! embedding comes from.

use super::positions::token_positions;
use crate::config::ModelConfig;
use crate::{Error, Result};

/// Tokens, and the images that their image tokens stand for.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Indices into the [`super::ImageFeatures`] of the batch, in order of appearance.
    pub images: &'a [usize],
}

/// The side on which shorter sequences are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// After the last token.
    Right,
    /// Before the first token.
    Left,
}

/// Sequences ready for a forward pass.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Sequences.
    pub rows: usize,
    /// Tokens per row, padding included.
    pub width: usize,
    /// Per row, the tokens of padding before the first token.
    pub(super) starts: Vec<usize>,
    /// Per place, the position on three axes; zero at padding.
    pub(super) positions: Vec<[u32; 3]>,
    /// Per row, the position of the token that would follow.
    pub(super) next: Vec<u32>,
    /// Text tokens in order of appearance, a zero for padding.
    pub(super) text: Vec<i64>,
    /// Per place, a row of the text embeddings followed by the image features; none when all is text.
    pub(super) sources: Option<Vec<i64>>,
}

impl Batch {
    /// Lays sequences out. `grids` are those of the features' images, `ranges` the features that belong to each.
    pub(super) fn new(
        config: &ModelConfig,
        sequences: &[Sequence<'_>],
        grids: &[[usize; 3]],
        ranges: &[std::ops::Range<usize>],
        padding: Padding,
    ) -> Result<Self> {
        let merge = config.vision.as_ref().map_or(1, |vision| vision.spatial_merge_size);
        let width = sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0);
        if width == 0 {
            return Err(Error::input("the batch holds no token"));
        }
        let mut batch = Batch {
            rows: sequences.len(),
            width,
            starts: Vec::with_capacity(sequences.len()),
            positions: vec![[0; 3]; sequences.len() * width],
            next: Vec::with_capacity(sequences.len()),
            text: Vec::new(),
            sources: None,
        };
        // The rows of text come first in the table of sources; how many there are is known at the end only.
        let mut sources: Vec<Source> = vec![Source::Text(0); sequences.len() * width];
        batch.text.push(0);
        for (row, sequence) in sequences.iter().enumerate() {
            check_tokens(row, sequence.tokens, config.text.vocab_size)?;
            let unknown = sequence.images.iter().find(|image| **image >= grids.len());
            if let Some(image) = unknown {
                let message = format!("sequence {row} names image {image}, but only {} were encoded", grids.len());
                return Err(Error::input(message));
            }
            let own: Vec<[usize; 3]> = sequence.images.iter().map(|image| grids[*image]).collect();
            let (positions, next) = token_positions(sequence.tokens, config.image_token, &own, merge)
                .map_err(|error| Error::input(format!("sequence {row}: {error}")))?;
            let start = if padding == Padding::Left { width - sequence.tokens.len() } else { 0 };
            let first = row * width + start;
            batch.positions[first..first + positions.len()].copy_from_slice(&positions);
            batch.starts.push(start);
            batch.next.push(next);
            let mut features = sequence.images.iter().flat_map(|image| ranges[*image].clone());
            for (offset, token) in sequence.tokens.iter().enumerate() {
                sources[first + offset] = match features_or_text(config.image_token, *token, &mut features) {
                    Some(feature) => Source::Feature(feature),
                    None => {
                        batch.text.push(i64::from(*token));
                        Source::Text(batch.text.len() - 1)
                    }
                };
            }
        }
        batch.place(sources);
        Ok(batch)
    }

    /// Turns sources into row numbers; a batch of text needs none beyond its tokens.
    fn place(&mut self, sources: Vec<Source>) {
        if sources.iter().all(|source| matches!(source, Source::Text(_))) {
            let text = |source: Source| match source {
                Source::Text(row) => self.text[row],
                Source::Feature(_) => 0,
            };
            self.text = sources.into_iter().map(text).collect();
            return;
        }
        let texts = self.text.len();
        let row = |source: Source| match source {
            Source::Text(row) => row as i64,
            Source::Feature(feature) => (texts + feature) as i64,
        };
        self.sources = Some(sources.into_iter().map(row).collect());
    }

    /// The place of token `token` of sequence `row` among the `rows * width` places.
    pub fn index(&self, row: usize, token: usize) -> usize {
        row * self.width + self.starts[row] + token
    }

    /// The positions of all places on three axes.
    pub fn positions(&self) -> &[[u32; 3]] {
        &self.positions
    }
}

#[derive(Clone, Copy)]
enum Source {
    Text(usize),
    Feature(usize),
}

fn features_or_text(image_token: Option<u32>, token: u32, features: &mut impl Iterator<Item = usize>) -> Option<usize> {
    if image_token == Some(token) { features.next() } else { None }
}

fn check_tokens(row: usize, tokens: &[u32], vocab_size: usize) -> Result<()> {
    match tokens.iter().find(|token| **token as usize >= vocab_size) {
        None if tokens.is_empty() => Err(Error::input(format!("sequence {row} holds no token"))),
        None => Ok(()),
        Some(token) => {
            let message = format!("sequence {row} holds the token {token}, but the vocabulary has {vocab_size}");
            Err(Error::input(message))
        }
    }
}
