//! From token sequences to the log-probabilities of their targets: images encoded once, rows padded, logits only where a
//! target is predicted. Knows neither losses nor gradients' use. Shapes: B rows, S width, H hidden, N targets.

use std::sync::Arc;

use burn::tensor::{Gradients, Int, Tensor, TensorData};

use super::logprob::TokenLogProbs;
use super::parallel::GradientSum;
use crate::error::{Error, Result};
use crate::model::{ImageFeatures, Model, Padding, Sequence};
use crate::types::ImagePatches;

/// A sequence and the places in it whose tokens are predicted.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// All token ids.
    pub tokens: &'a [u32],
    /// The images in order of appearance.
    pub images: &'a [Arc<ImagePatches>],
    /// Places of the targets, ascending, each at least 1.
    pub targets: &'a [usize],
}

impl Row<'_> {
    /// The tokens that any target depends on: those before the last target.
    pub fn length(&self) -> usize {
        self.targets.last().copied().unwrap_or(0)
    }
}

/// The distinct images of some rows, and which of them each row shows.
pub struct RowImages<'a> {
    distinct: Vec<&'a ImagePatches>,
    rows: Vec<Vec<usize>>,
}

impl<'a> RowImages<'a> {
    /// Finds images that rows share (the same allocation), so that each is encoded once.
    pub fn new(rows: &[Row<'a>]) -> Self {
        let mut distinct: Vec<&'a ImagePatches> = Vec::new();
        let rows = rows
            .iter()
            .map(|row| {
                row.images
                    .iter()
                    .map(|image| {
                        let image: &'a ImagePatches = image;
                        let known = distinct.iter().position(|other| std::ptr::eq(*other, image));
                        known.unwrap_or_else(|| {
                            distinct.push(image);
                            distinct.len() - 1
                        })
                    })
                    .collect()
            })
            .collect();
        Self { distinct, rows }
    }

    /// The features of the distinct images.
    ///
    /// # Errors
    /// When the model cannot take an image.
    pub fn encode(&self, model: &Model) -> Result<ImageFeatures> {
        if self.distinct.is_empty() { Ok(model.no_images()) } else { model.encode_images(&self.distinct) }
    }
}

/// The log-probabilities of all targets of `rows`, in order, under `softmax(logits / temperature)`.
///
/// # Errors
/// When the model cannot take the rows.
pub fn target_log_probs(
    model: &Model,
    rows: &[Row<'_>],
    images: &RowImages<'_>,
    features: &ImageFeatures,
    temperature: f64,
    with_entropy: bool,
) -> Result<TokenLogProbs> {
    let image_token = model.config().image_token;
    let sequences: Vec<Sequence<'_>> = rows
        .iter()
        .zip(&images.rows)
        .map(|(row, images)| {
            let (needed, rest) = row.tokens.split_at(row.length());
            let all = rest.iter().any(|token| Some(*token) == image_token);
            Sequence { tokens: if all { row.tokens } else { needed }, images }
        })
        .collect();
    let batch = model.batch(&sequences, features, Padding::Right)?;
    let hidden = model.forward(&batch, features)?;
    let [b, s, h] = hidden.dims();
    let mut places = Vec::new();
    let mut tokens = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for target in row.targets {
            places.push(batch.index(index, target - 1) as i64);
            tokens.push(row.tokens[*target]);
        }
    }
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), model.device());
    let logits = model.logits(hidden.reshape([b * s, h]).select(0, places));
    TokenLogProbs::new(logits, &tokens, temperature, with_entropy)
}

/// The gradients of a model made by [`Model::with_gradients`], flat and aligned with its parameters.
pub fn gradient_sum(model: &Model, gradients: &mut Gradients) -> GradientSum {
    let mut taken = model.take_gradients(gradients).into_iter().peekable();
    let values = model
        .parameters()
        .into_iter()
        .map(|(name, _)| taken.next_if(|(reached, _)| *reached == name).map(|(_, gradient)| gradient.flat()))
        .collect();
    GradientSum { values }
}

/// A row's targets from its loss mask; a token at place 0 has nothing to be predicted from.
pub fn targets_of(loss_mask: &[bool]) -> Vec<usize> {
    (1..loss_mask.len()).filter(|place| loss_mask[*place]).collect()
}

/// Fails with the step and the quantity when a figure of training is not a number.
pub(crate) fn require_finite(value: f64, what: &str, step: usize) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::training(format!(
        "step {step}: the {what} is {value}; the weights before this step are unharmed; try a lower learning rate, a longer \
         warm-up or a smaller `max-gradient-norm`"
    )))
}
