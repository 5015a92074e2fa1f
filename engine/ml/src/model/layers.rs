//! What both towers are made of: linear layers, RMS norms, gated MLPs, rotary positions, and attention over fused
//! queries, keys and values. Activations are `[tokens, width]`, so that every product is one large matrix product.

use burn::tensor::{Device, Tensor, TensorData};

use super::Visitor;
use super::kernels::{Visibility, attend, swiglu};
use super::weight::Weight;
use crate::device::is_cpu;

/// `x W^T + b`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// A layer whose values are still to be put in by a visitor.
    pub(super) fn empty(bias: bool, device: &Device) -> Self {
        Linear { weight: Weight::empty(device), bias: bias.then(|| Tensor::zeros([1], device)) }
    }

    pub(super) fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.matrix(&format!("{path}.weight"), &mut self.weight);
        if let Some(bias) = &mut self.bias {
            visitor.vector(&format!("{path}.bias"), bias);
        }
    }

    pub(super) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let output = self.weight.product(input);
        match &self.bias {
            Some(bias) => output + bias.clone().unsqueeze(),
            None => output,
        }
    }
}

/// `input weight^T`, with the same bits in each row whatever the other rows are and however many there are.
///
/// Burn's CPU backend sums small products in another order than large ones, so those are computed with rows of zeros
/// that make them large enough.
pub(super) fn product(input: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    let ([rows, inner], [width, _]) = (input.dims(), weight.dims());
    let weight = weight.clone().transpose();
    let device = input.device();
    let least = least_rows(inner, width);
    if rows >= least || !is_cpu(&device) {
        return input.matmul(weight);
    }
    let filler = Tensor::zeros([least - rows, inner], &device);
    Tensor::cat(vec![input, filler], 0).matmul(weight).narrow(0, 0, rows)
}

/// The rows from which on a product's sums no longer depend on the number of rows. After `gemm_basic_generic` of
/// `gemm-common` 0.19: one row is a product with a vector; up to 256 numbers of the result are dot products; where the result
/// is no wider and no higher than 64, sums of more than 512 terms are cut in other places.
fn least_rows(inner: usize, width: usize) -> usize {
    const DOT_PRODUCTS: usize = 256;
    const SMALL_SIDE: usize = 64;
    const SMALL_DEPTH: usize = 512;
    let past_dot_products = (DOT_PRODUCTS / width.max(1) + 1).max(2);
    if width <= SMALL_SIDE && inner > SMALL_DEPTH { past_dot_products.max(SMALL_SIDE + 1) } else { past_dot_products }
}

/// The root-mean-square norm, computed in f32.
#[derive(Clone, Debug)]
pub(super) struct RmsNorm {
    weight: Tensor<1>,
    epsilon: f64,
}

impl RmsNorm {
    pub(super) fn empty(epsilon: f64, device: &Device) -> Self {
        RmsNorm { weight: Tensor::zeros([1], device), epsilon }
    }

    pub(super) fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.vector(&format!("{path}.weight"), &mut self.weight);
    }

    pub(super) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let mean_square = (input.clone() * input.clone()).mean_dim(1);
        let scale = (mean_square + self.epsilon).sqrt().recip();
        input * scale * self.weight.clone().unsqueeze()
    }
}

/// SwiGLU: `down(silu(gate(x)) * up(x))`, the two inner layers as one product.
#[derive(Clone, Debug)]
pub(super) struct GatedMlp {
    gate_up: Linear,
    down: Linear,
}

impl GatedMlp {
    pub(super) fn empty(bias: bool, device: &Device) -> Self {
        GatedMlp { gate_up: Linear::empty(bias, device), down: Linear::empty(bias, device) }
    }

    pub(super) fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        self.gate_up.visit(&format!("{path}.gate_up_proj"), visitor);
        self.down.visit(&format!("{path}.down_proj"), visitor);
    }

    pub(super) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.down.forward(swiglu(self.gate_up.forward(input)))
    }
}

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// Query heads.
    pub(super) queries: usize,
    /// Key heads, and as many value heads.
    pub(super) keys: usize,
    /// The width of one.
    pub(super) width: usize,
}

impl Heads {
    /// Query, key and value heads.
    pub(super) fn all(self) -> usize {
        self.queries + 2 * self.keys
    }
}

/// Rotary positions for fused queries, keys and values: one table for all heads, which also carries the scale of the
/// scores (in the queries) and leaves the values as they are. Shared by the layers of a tower.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    cosine: Tensor<2>,
    sine: Tensor<2>,
    /// Turns a head `(a, b)` of two halves into `(-b, a)`.
    quarter_turn: Tensor<2>,
    heads: Heads,
}

impl Rotary {
    /// Tables for tokens whose angles are given by `angles`: half a head of them per token.
    pub(super) fn new(angles: &[f32], heads: Heads, device: &Device) -> Self {
        let half = heads.width / 2;
        let width = heads.all() * heads.width;
        let tokens = angles.len() / half;
        let scale = 1.0 / (heads.width as f64).sqrt();
        let mut cosine = Vec::with_capacity(tokens * width);
        let mut sine = Vec::with_capacity(tokens * width);
        for angles in angles.chunks_exact(half) {
            let turns: Vec<(f64, f64)> = angles.iter().map(|angle| f64::from(*angle).sin_cos()).collect();
            for (count, scale) in [(heads.queries, scale), (heads.keys, 1.0)] {
                for _ in 0..2 * count {
                    cosine.extend(turns.iter().map(|(_, cosine)| (cosine * scale) as f32));
                    sine.extend(turns.iter().map(|(sine, _)| (sine * scale) as f32));
                }
            }
            cosine.resize(cosine.len() + heads.keys * heads.width, 1.0);
            sine.resize(sine.len() + heads.keys * heads.width, 0.0);
        }
        let mut quarter_turn = vec![0.0f32; heads.width * heads.width];
        for index in 0..half {
            quarter_turn[(index + half) * heads.width + index] = -1.0;
            quarter_turn[index * heads.width + index + half] = 1.0;
        }
        let table = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [tokens, width]), device);
        let quarter_turn = TensorData::new(quarter_turn, [heads.width, heads.width]);
        Rotary {
            cosine: table(cosine),
            sine: table(sine),
            quarter_turn: Tensor::from_data(quarter_turn, device),
            heads,
        }
    }

    /// The rows of the tables in another order, or some of them.
    pub(super) fn select(&self, tokens: burn::tensor::Tensor<1, burn::tensor::Int>) -> Self {
        Rotary {
            cosine: self.cosine.clone().select(0, tokens.clone()),
            sine: self.sine.clone().select(0, tokens),
            quarter_turn: self.quarter_turn.clone(),
            heads: self.heads,
        }
    }

    /// Applies the positions to fused heads `[tokens, all * width]`.
    fn apply(&self, fused: Tensor<2>) -> Tensor<2> {
        let [tokens, width] = fused.dims();
        let turned = fused.clone().reshape([tokens * self.heads.all(), self.heads.width]);
        let turned = turned.matmul(self.quarter_turn.clone()).reshape([tokens, width]);
        fused * self.cosine.clone() + turned * self.sine.clone()
    }
}

/// Queries, keys and values with their positions, `[rows, heads, length, width]` each.
pub(super) struct Projected {
    queries: Tensor<4>,
    pub(super) keys: Tensor<4>,
    pub(super) values: Tensor<4>,
    heads: Heads,
}

/// Takes fused heads `[rows * length, all * width]` apart, positions applied.
pub(super) fn project(fused: Tensor<2>, rows: usize, rotary: &Rotary) -> Projected {
    let heads = rotary.heads;
    let [tokens, _] = fused.dims();
    let fused = rotary.apply(fused).reshape([rows, tokens / rows, heads.all(), heads.width]).swap_dims(1, 2);
    Projected {
        queries: fused.clone().narrow(1, 0, heads.queries),
        keys: fused.clone().narrow(1, heads.queries, heads.keys),
        values: fused.narrow(1, heads.queries + heads.keys, heads.keys),
        heads,
    }
}

impl Projected {
    /// Attention over the given keys and values, which may be more than these; `[rows * length, queries * width]`.
    pub(super) fn attend_to(self, keys: Tensor<4>, values: Tensor<4>, visibility: Option<&Visibility>) -> Tensor<2> {
        let [rows, _, length, width] = self.queries.dims();
        let heads = self.heads;
        // Query heads that share keys lie below each other as one longer matrix, so keys need no repeating.
        let repeats = heads.queries / heads.keys;
        let queries = self.queries.reshape([rows, heads.keys, repeats * length, width]);
        let scores = queries.matmul(keys.transpose());
        let mixed = attend(scores, values, visibility);
        mixed
            .reshape([rows, heads.queries, length, width])
            .swap_dims(1, 2)
            .reshape([rows * length, heads.queries * width])
    }

    /// Attention over these keys and values themselves.
    pub(super) fn attend(self, visibility: Option<&Visibility>) -> Tensor<2> {
        let (keys, values) = (self.keys.clone(), self.values.clone());
        self.attend_to(keys, values, visibility)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_product_does_not_depend_on_the_other_rows() {
        let device = Device::flex();
        let tensor = |rows: usize, columns: usize, shift: usize| {
            let values = (0..rows * columns).map(|index| ((index * 37 + shift) as f32).sin()).collect::<Vec<_>>();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        for (inner, width) in [(24, 8), (16, 1), (3, 17), (700, 16), (1176, 64), (96, 300), (48, 128)] {
            let (input, weight) = (tensor(150, inner, 1), tensor(width, inner, 2));
            let bits = |rows: usize| -> Vec<u32> {
                let output = product(input.clone().narrow(0, 0, rows), &weight).into_data();
                output.iter::<f32>().map(f32::to_bits).collect()
            };
            let all = bits(150);
            for rows in [1, 2, 3, 4, 7, 8, 16, 31, 33, 64, 65, 149] {
                assert!(bits(rows) == all[..rows * width], "{rows} rows of [{inner}] x [{inner}, {width}]");
            }
        }
    }
}
