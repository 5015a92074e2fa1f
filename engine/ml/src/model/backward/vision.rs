//! The vision tower: from pixels to features, and back.

use burn::tensor::{Tensor, activation};

use super::block::{Attention, Block, Kept};
use super::{Keep, ParameterGradients};
use crate::Result;
use crate::model::vision::{self, Layout, indices};
use crate::model::{ImageFeatures, Model};
use crate::types::ImagePatches;

/// What the encoding of images keeps for the way back.
pub struct ImagesKept {
    layout: Layout,
    /// Of the patches, in the layout's order.
    pixels: Tensor<2>,
    blocks: Vec<Kept>,
    /// Before the merger.
    last: Tensor<2>,
    /// The merger's inner layer, before the nonlinearity.
    inner: Tensor<2>,
}

impl vision::Block {
    fn block(&self) -> Block<'_> {
        Block {
            norm1: ("norm1", &self.norm1),
            qkv: ("attn.qkv", &self.qkv),
            output: ("attn.proj", &self.proj),
            norm2: ("norm2", &self.norm2),
            mlp: &self.mlp,
        }
    }
}

impl Model {
    /// As [`Model::encode_images`], to the same bits, with what the way back needs; nothing is kept of no images.
    ///
    /// # Errors
    /// As [`Model::encode_images`].
    pub fn encode_images_kept(
        &self,
        images: &[&ImagePatches],
        keep: Keep,
    ) -> Result<(ImageFeatures, Option<ImagesKept>)> {
        let Some(tower) = self.visual.as_ref().filter(|_| !images.is_empty()) else {
            return Ok((self.encode_images(images)?, None));
        };
        let (config, device) = (&tower.config, self.device());
        let layout = Layout::new(images, config, device)?;
        let pixels = layout.pixels(images, config, device);
        let mut hidden = tower.patch_embed.product(pixels.clone());
        let mut blocks = Vec::with_capacity(tower.blocks.len());
        for (index, block) in tower.blocks.iter().enumerate() {
            let attention = Attention { segments: layout.segments(index, config), visibility: None };
            let (output, kept) = block.block().forward(hidden, attention, keep);
            hidden = output;
            blocks.push(kept);
        }
        let merger = &tower.merger;
        let inner = merger.inner.forward(merger.squares(merger.norm.forward(hidden.clone()), config));
        let rows = merger.outer.forward(activation::gelu(inner.clone()));
        let rows = match &layout.cell_places {
            None => rows,
            Some(places) => rows.select(0, indices(places, device)),
        };
        let kept = ImagesKept { layout, pixels, blocks, last: hidden, inner };
        Ok((self.features_of(rows, images), Some(kept)))
    }

    /// Adds the gradients of the vision tower from that of the features' rows.
    pub fn backward_images(&self, kept: ImagesKept, upstream: Tensor<2>, gradients: &mut ParameterGradients) {
        let Some(tower) = &self.visual else { return };
        let ImagesKept { layout, pixels, mut blocks, last, inner } = kept;
        let (config, merger) = (&tower.config, &tower.merger);
        let upstream = match &layout.cell_places {
            None => upstream,
            Some(places) => {
                let mut cells = vec![0; places.len()];
                places.iter().enumerate().for_each(|(cell, place)| cells[*place] = cell);
                upstream.select(0, indices(&cells, self.device()))
            }
        };
        gradients.add_linear("visual.merger.mlp.2", &merger.outer, activation::gelu(inner.clone()), &upstream);
        if !["visual.merger.ln_q", "visual.merger.mlp.0", "visual.blocks.", "visual.patch_embed."]
            .iter()
            .any(|prefix| gradients.wants_any(prefix))
        {
            return;
        }
        let upstream = merger.outer.back(upstream) * gelu_slope(inner);
        let squares = merger.squares(merger.norm.forward(last.clone()), config);
        gradients.add_linear("visual.merger.mlp.0", &merger.inner, squares, &upstream);
        let normed = merger.inner.back(upstream).reshape(last.dims());
        let mut upstream = merger.norm.back("visual.merger.ln_q", last, normed, None, gradients);
        let path = |block: usize| format!("visual.blocks.{block}");
        let embedding = gradients.wants_any("visual.patch_embed.");
        let count = tower.blocks.len();
        let first = (0..count).find(|block| embedding || gradients.wants_any(&format!("{}.", path(*block))));
        for index in (first.unwrap_or(count)..count).rev() {
            let (Some(kept), Some(block)) = (blocks.pop(), tower.blocks.get(index)) else { break };
            let attention = Attention { segments: layout.segments(index, config), visibility: None };
            let below = embedding || first.is_some_and(|first| first < index);
            match block.block().backward(&path(index), kept, attention, upstream, below, gradients) {
                Some(input) => upstream = input,
                None => return,
            }
        }
        gradients.add_product("visual.patch_embed.proj.weight", pixels, &upstream);
    }
}

/// The derivative of `x Phi(x)`, Phi the normal distribution: `Phi(x) + x phi(x)`.
fn gelu_slope(x: Tensor<2>) -> Tensor<2> {
    let share = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
    let density = (x.clone() * x.clone() * -0.5).exp()
        * (0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    share + x * density
}
