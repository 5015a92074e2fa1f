//! Qwen2's decoder: embeddings to final hidden states, with or without a cache of keys and values.

use burn::tensor::{Device, Int, Tensor};

use super::Visitor;
use super::kernels::attention::Visibility;
use super::layers::{GatedMlp, Linear, RmsNorm, Rotary, product, project};
use crate::config::TextConfig;

/// The language model.
#[derive(Clone, Debug)]
pub(super) struct TextModel {
    pub(super) embed_tokens: Tensor<2>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: RmsNorm,
    /// None when the head is the embedding table.
    pub(super) head: Option<Tensor<2>>,
}

#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) input_norm: RmsNorm,
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) post_attention_norm: RmsNorm,
    pub(super) mlp: GatedMlp,
}

impl TextModel {
    pub(super) fn empty(config: &TextConfig, device: &Device) -> Self {
        let layer = || Layer {
            input_norm: RmsNorm::empty(config.rms_norm_eps, device),
            qkv: Linear::empty(true, device),
            output: Linear::empty(false, device),
            post_attention_norm: RmsNorm::empty(config.rms_norm_eps, device),
            mlp: GatedMlp::empty(false, device),
        };
        TextModel {
            embed_tokens: Tensor::zeros([1, 1], device),
            layers: (0..config.layers).map(|_| layer()).collect(),
            norm: RmsNorm::empty(config.rms_norm_eps, device),
            head: (!config.tied).then(|| Tensor::zeros([1, 1], device)),
        }
    }

    pub(super) fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.matrix("model.embed_tokens.weight", &mut self.embed_tokens);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let path = format!("model.layers.{index}");
            layer.input_norm.visit(&format!("{path}.input_layernorm"), visitor);
            layer.qkv.visit(&format!("{path}.self_attn.qkv_proj"), visitor);
            layer.output.visit(&format!("{path}.self_attn.o_proj"), visitor);
            layer.post_attention_norm.visit(&format!("{path}.post_attention_layernorm"), visitor);
            layer.mlp.visit(&format!("{path}.mlp"), visitor);
        }
        self.norm.visit("model.norm", visitor);
        if let Some(head) = &mut self.head {
            visitor.matrix("lm_head.weight", head);
        }
    }

    /// The embeddings of tokens, `[tokens, width]`.
    pub(super) fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        self.embed_tokens.clone().select(0, tokens)
    }

    /// Final hidden states `[rows * length, width]` of embeddings of the same shape.
    pub(super) fn forward(
        &self,
        mut hidden: Tensor<2>,
        rows: usize,
        rotary: &Rotary,
        visibility: &Visibility,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        for (index, layer) in self.layers.iter().enumerate() {
            let projected = project(layer.qkv.forward(layer.input_norm.forward(hidden.clone())), rows, rotary);
            let mixed = match &mut cache {
                None => projected.attend(Some(visibility)),
                Some(cache) => {
                    let (keys, values) = cache.append(index, projected.keys.clone(), projected.values.clone());
                    // A single query is the last token, which sees everything that is no padding.
                    let all = visibility.queries == 1 && visibility.starts.iter().all(|start| *start == 0);
                    projected.attend_to(keys, values, (!all).then_some(visibility))
                }
            };
            // The product comes first: a sum is made in place in what nobody else holds.
            hidden = layer.output.forward(mixed) + hidden;
            let normed = layer.post_attention_norm.forward(hidden.clone());
            hidden = layer.mlp.forward(normed) + hidden;
        }
        if let Some(cache) = cache {
            cache.length += visibility.queries;
        }
        self.norm.forward(hidden)
    }

    /// Logits `[n, vocabulary]` of hidden states `[n, width]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        product(hidden, self.head.as_ref().unwrap_or(&self.embed_tokens))
    }
}

/// Keys and values of the tokens so far, for decoding token by token. All rows have the same number of tokens.
#[derive(Clone, Debug)]
pub(crate) struct KvCache {
    /// Per layer, `[rows, heads, capacity, width]`.
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    length: usize,
}

impl KvCache {
    /// An empty cache for `rows` sequences of at most `capacity` tokens.
    pub(crate) fn new(config: &TextConfig, rows: usize, capacity: usize, device: &Device) -> Self {
        let empty = || Tensor::zeros([rows, config.kv_heads, capacity, config.head_dim], device);
        KvCache { layers: (0..config.layers).map(|_| (empty(), empty())).collect(), length: 0 }
    }

    /// Stores the keys and values of new tokens and gives those of all tokens.
    fn append(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let end = self.length + keys.dims()[2];
        let range = self.length..end;
        let (stored_keys, stored_values) = &mut self.layers[layer];
        stored_keys.inplace(|stored| {
            stored.slice_assign([0..keys.dims()[0], 0..keys.dims()[1], range.clone(), 0..keys.dims()[3]], keys)
        });
        stored_values.inplace(|stored| {
            stored.slice_assign([0..values.dims()[0], 0..values.dims()[1], range, 0..values.dims()[3]], values)
        });
        (stored_keys.clone().narrow(2, 0, end), stored_values.clone().narrow(2, 0, end))
    }

    /// Keeps the given rows, in the given order; a row may be taken several times.
    pub(crate) fn select_rows(&mut self, rows: Tensor<1, Int>) {
        for (keys, values) in &mut self.layers {
            keys.inplace(|keys| keys.select(0, rows.clone()));
            values.inplace(|values| values.select(0, rows.clone()));
        }
    }
}
