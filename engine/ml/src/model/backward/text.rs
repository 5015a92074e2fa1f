//! The decoder: from embeddings to final hidden states, and back to the embeddings and the images' features.

use burn::tensor::{Device, IndexingUpdateOp, Tensor};

use super::block::{Attention, Block, Kept};
use super::{Keep, ParameterGradients};
use crate::Result;
use crate::device::is_cpu;
use crate::model::kernels::Host;
use crate::model::kernels::attention::Visibility;
use crate::model::text::Layer;
use crate::model::vision::{Group, Segments};
use crate::model::{Batch, ImageFeatures, Model, integers};

/// What a pass through the decoder keeps for the way back.
pub struct TextKept {
    segments: Segments,
    visibility: Visibility,
    blocks: Vec<Kept>,
    /// Before the last norm.
    last: Tensor<2>,
    /// Per place, the token whose embedding is there, or a row of the features.
    places: Vec<Place>,
    features: usize,
}

/// What stands at a place of a batch.
#[derive(Clone, Copy)]
enum Place {
    Token(i64),
    Feature(i64),
}

impl Layer {
    fn block(&self) -> Block<'_> {
        Block {
            norm1: ("input_layernorm", &self.input_norm),
            qkv: ("self_attn.qkv_proj", &self.qkv),
            output: ("self_attn.o_proj", &self.output),
            norm2: ("post_attention_layernorm", &self.post_attention_norm),
            mlp: &self.mlp,
        }
    }
}

const EMBEDDINGS: &str = "model.embed_tokens.weight";

impl Model {
    /// As [`Model::forward`], `[rows * width, hidden]` and to the same bits, with what the way back needs.
    ///
    /// # Errors
    /// When the batch was laid out for other features.
    pub fn forward_kept(&self, batch: &Batch, features: &ImageFeatures, keep: Keep) -> Result<(Tensor<2>, TextKept)> {
        let group = Group { count: batch.rows, patches: None, rotary: self.rotary(&batch.positions) };
        let segments = Segments { groups: vec![group], back: None };
        let visibility = Visibility::new(batch.starts.clone(), batch.width);
        let attention = Attention { segments: &segments, visibility: Some(&visibility) };
        let mut hidden = self.embedded(batch, features)?;
        let mut blocks = Vec::with_capacity(self.text.layers.len());
        for layer in &self.text.layers {
            let (output, kept) = layer.block().forward(hidden, attention, keep);
            hidden = output;
            blocks.push(kept);
        }
        let texts = batch.text.len() as i64;
        let places = match &batch.sources {
            None => batch.text.iter().map(|token| Place::Token(*token)).collect(),
            Some(sources) => sources
                .iter()
                .map(|source| match batch.text.get(*source as usize) {
                    Some(token) => Place::Token(*token),
                    None => Place::Feature(source - texts),
                })
                .collect(),
        };
        let features = features.rows.as_ref().map_or(0, |rows| rows.dims()[0]);
        let kept = TextKept { segments, visibility, blocks, last: hidden.clone(), places, features };
        Ok((self.text.norm.forward(hidden), kept))
    }

    /// Adds the gradients of the decoder's parameters and gives that with respect to the rows of the image features; nothing
    /// when there are none, or no gradient before the decoder is wanted. `upstream` is that of the final hidden states.
    pub fn backward_text(
        &self,
        kept: TextKept,
        upstream: Tensor<2>,
        gradients: &mut ParameterGradients,
    ) -> Option<Tensor<2>> {
        let TextKept { segments, visibility, mut blocks, last, places, features } = kept;
        let attention = Attention { segments: &segments, visibility: Some(&visibility) };
        let path = |layer: usize| format!("model.layers.{layer}");
        let images = features > 0 && gradients.wants_any("visual.");
        let before = images || gradients.wants(EMBEDDINGS);
        // The first layer that is to have a gradient; below it nothing is wanted.
        let layers = self.text.layers.len();
        let first = (0..layers).find(|layer| before || gradients.wants_any(&format!("{}.", path(*layer))));
        let mut upstream = self.text.norm.back("model.norm", last, upstream, None, gradients);
        for index in (first.unwrap_or(layers)..layers).rev() {
            let (Some(kept), Some(layer)) = (blocks.pop(), self.text.layers.get(index)) else { break };
            let below = before || first.is_some_and(|first| first < index);
            upstream = layer.block().backward(&path(index), kept, attention, upstream, below, gradients)?;
        }
        if !before {
            return None;
        }
        let device = self.device();
        if gradients.wants(EMBEDDINGS) {
            let tokens = places.iter().map(|place| if let Place::Token(token) = place { *token } else { -1 });
            let vocabulary = self.config.text.vocab_size;
            gradients.add(EMBEDDINGS, gather_rows(upstream.clone(), tokens, vocabulary, device));
        }
        let rows = places.iter().map(|place| if let Place::Feature(row) = place { *row } else { -1 });
        images.then(|| gather_rows(upstream, rows, features, device))
    }

    /// Row `i` of `rows` at place `places[i]` among `count` rows, zeros elsewhere.
    pub(crate) fn spread_rows(&self, rows: Tensor<2>, places: &[i64], count: usize) -> Tensor<2> {
        gather_rows(rows, places.iter().copied(), count, self.device())
    }

    /// Adds the gradient of the head from that of logits, whose hidden states were `hidden` `[n, width]`, and gives that of
    /// these.
    pub(crate) fn backward_logits(
        &self,
        hidden: Tensor<2>,
        upstream: Tensor<2>,
        gradients: &mut ParameterGradients,
    ) -> Tensor<2> {
        let (name, matrix) = match &self.text.head {
            Some(head) => ("lm_head.weight", head),
            None => (EMBEDDINGS, &self.text.embed_tokens),
        };
        gradients.add_product(name, hidden, &upstream);
        matrix.back(upstream)
    }
}

/// Adds row `i` of `rows` to row `numbers[i]` of `count` rows of zeros; a negative number leaves it out.
fn gather_rows(rows: Tensor<2>, numbers: impl Iterator<Item = i64>, count: usize, device: &Device) -> Tensor<2> {
    let width = rows.dims()[1];
    if !is_cpu(device) {
        let (places, numbers): (Vec<i64>, Vec<i64>) = numbers
            .enumerate()
            .filter(|(_, number)| *number >= 0)
            .map(|(place, number)| (place as i64, number))
            .unzip();
        let rows = rows.select(0, integers(&places, device));
        let zeros = Tensor::zeros([count, width], (device, rows.dtype()));
        return zeros.select_assign(0, integers(&numbers, device), rows, IndexingUpdateOp::Add);
    }
    let rows = Host::new(rows);
    let mut sums = Host::zeros(count * width);
    let all = &mut sums[..];
    for (row, number) in rows.chunks_exact(width).zip(numbers) {
        if let Ok(number) = usize::try_from(number) {
            for (sum, value) in all[number * width..(number + 1) * width].iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
    sums.tensor([count, width], device)
}
