//! From token sequences to the log-probabilities of their targets: images encoded once, rows padded, logits only where a
//! target is predicted. Knows neither losses nor gradients' use. Shapes: B rows, S width, H hidden, N targets.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};

use super::logprob::TokenLogProbs;
use crate::error::{Error, Result};
use crate::model::{Batch, ImageFeatures, ImagesKept, Keep, Model, Padding, ParameterGradients, Sequence, TextKept};
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
        model.encode_images(&self.distinct)
    }

    /// The same, with what the way back needs when `trained`, that is, when the vision tower has gradients.
    ///
    /// # Errors
    /// When the model cannot take an image.
    pub fn encode_kept(&self, model: &Model, trained: bool, keep: Keep) -> Result<(ImageFeatures, Option<ImagesKept>)> {
        if trained { model.encode_images_kept(&self.distinct, keep) } else { Ok((self.encode(model)?, None)) }
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
) -> Result<Vec<f32>> {
    let laid = Laid::new(model, rows, images, features)?;
    let hidden = model.forward(&laid.batch, features)?;
    let [rows, width, size] = hidden.dims();
    let chosen = laid.choose(hidden.reshape([rows * width, size]), model);
    Ok(TokenLogProbs::new(model, chosen, laid.tokens, temperature, false)?.values)
}

/// A forward pass of `rows` that can be gone back.
pub struct Pass {
    log_probs: TokenLogProbs,
    text: TextKept,
    images: Option<ImagesKept>,
    places: Vec<i64>,
    width: usize,
}

impl Pass {
    /// The pass of `rows`, whose images' features were made with `kept`.
    ///
    /// # Errors
    /// When the model cannot take the rows.
    pub fn new(
        model: &Model,
        rows: &[Row<'_>],
        images: &RowImages<'_>,
        (features, kept): (&ImageFeatures, Option<ImagesKept>),
        temperature: f64,
        keep: Keep,
        with_entropy: bool,
    ) -> Result<Self> {
        let laid = Laid::new(model, rows, images, features)?;
        let (hidden, text) = model.forward_kept(&laid.batch, features, keep)?;
        let width = hidden.dims()[0];
        let chosen = laid.choose(hidden, model);
        let log_probs = TokenLogProbs::new(model, chosen, laid.tokens, temperature, with_entropy)?;
        Ok(Self { log_probs, text, images: kept, places: laid.places, width })
    }

    /// log p of every target.
    pub fn values(&self) -> &[f32] {
        &self.log_probs.values
    }

    /// The entropy in nats where each target was predicted; empty unless asked for.
    pub fn entropies(&self) -> &[f32] {
        &self.log_probs.entropies
    }

    /// Adds the gradients of `sum(gradient[i] * values[i])`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn backward(self, model: &Model, gradient: &[f64], gradients: &mut ParameterGradients) -> Result<()> {
        let gradient: Vec<f32> = gradient.iter().map(|value| *value as f32).collect();
        let chosen = self.log_probs.backward(model, &gradient, gradients)?;
        let hidden = model.spread_rows(chosen, &self.places, self.width);
        let features = model.backward_text(self.text, hidden, gradients);
        if let (Some(images), Some(features)) = (self.images, features) {
            model.backward_images(images, features, gradients);
        }
        Ok(())
    }
}

/// Rows laid out as a batch, and the places before their targets.
struct Laid {
    batch: Batch,
    places: Vec<i64>,
    tokens: Vec<u32>,
}

impl Laid {
    fn new(model: &Model, rows: &[Row<'_>], images: &RowImages<'_>, features: &ImageFeatures) -> Result<Self> {
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
        let mut places = Vec::new();
        let mut tokens = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            for target in row.targets {
                places.push(batch.index(index, target - 1) as i64);
                tokens.push(row.tokens[*target]);
            }
        }
        Ok(Self { batch, places, tokens })
    }

    /// The hidden states that predict the targets.
    fn choose(&self, hidden: Tensor<2>, model: &Model) -> Tensor<2> {
        let places = TensorData::new(self.places.clone(), [self.places.len()]);
        hidden.select(0, Tensor::<1, Int>::from_data(places, model.device()))
    }
}

/// A row's targets from its loss mask; a token at place 0 has nothing to be predicted from.
pub fn targets_of(loss_mask: &[bool]) -> Vec<usize> {
    (1..loss_mask.len()).filter(|place| loss_mask[*place]).collect()
}

/// Fails with the step, its items and the quantity when a figure of training is not a number.
pub(crate) fn require_finite(value: f64, what: &str, step: usize, items: impl FnOnce() -> String) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::training(format!(
        "step {step}: the {what} is {value} on {}; the weights before this step are unharmed; try a lower learning rate, a \
         longer warm-up or a smaller `max-gradient-norm`",
        items()
    )))
}
