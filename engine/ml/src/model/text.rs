//! Qwen2's decoder: embeddings to final hidden states, with or without a cache of keys and values.

use burn::tensor::{Device, Int, Tensor};

use super::Visitor;
use super::kernels::attention::Visibility;
use super::layers::{GatedMlp, Linear, RmsNorm, Rotary, project};
use super::weight::Weight;
use crate::config::TextConfig;

/// The language model.
#[derive(Clone, Debug)]
pub(super) struct TextModel {
    pub(super) embed_tokens: Weight,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: RmsNorm,
    /// None when the head is the embedding table.
    pub(super) head: Option<Weight>,
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
            embed_tokens: Weight::empty(device),
            layers: (0..config.layers).map(|_| layer()).collect(),
            norm: RmsNorm::empty(config.rms_norm_eps, device),
            head: (!config.tied).then(|| Weight::empty(device)),
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
        self.embed_tokens.select(tokens)
    }

    /// Final hidden states `[rows * length, width]` of embeddings of the same shape.
    pub(super) fn forward(
        &self,
        hidden: Tensor<2>,
        rows: usize,
        rotary: &Rotary,
        visibility: &Visibility,
    ) -> Tensor<2> {
        self.forward_with(hidden, &mut |_, fused| project(fused, rows, rotary).attend(Some(visibility)))
    }

    /// Final hidden states `[tokens, width]` of embeddings of the same shape. `attend` is attention: from the number of the layer and
    /// the fused queries, keys and values `[tokens, heads * width]`, without positions, to `[tokens, query heads * width]`.
    pub(super) fn forward_with(
        &self,
        mut hidden: Tensor<2>,
        attend: &mut dyn FnMut(usize, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        for (index, layer) in self.layers.iter().enumerate() {
            let mixed = attend(index, layer.qkv.forward(layer.input_norm.forward(hidden.clone())));
            // The product comes first: a sum is made in place in what nobody else holds.
            hidden = layer.output.forward(mixed) + hidden;
            let normed = layer.post_attention_norm.forward(hidden.clone());
            hidden = layer.mlp.forward(normed) + hidden;
        }
        self.norm.forward(hidden)
    }

    /// Logits `[n, vocabulary]` of hidden states `[n, width]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embed_tokens).product(hidden)
    }

    /// Gives a head that is the embedding table a matrix of its own, which may then be laid out in another way.
    pub(super) fn separate_head(&mut self) {
        self.head.get_or_insert_with(|| self.embed_tokens.clone());
    }
}
