//! What both towers are made of: linear layers, RMS norms, gated MLPs, rotary positions, and attention over fused
//! queries, keys and values. Activations are `[tokens, width]`, so that every product is one large matrix product.

use burn::tensor::{Device, Tensor};

use super::Visitor;
use super::kernels::add_bias;
use super::kernels::attention::{Visibility, attention_weights};
use super::kernels::gated::swiglu;
use super::kernels::norm::rms_norm;
pub(super) use super::kernels::rotary::{Heads, Projected, Rotary};
use super::weight::Weight;
use crate::device::is_cpu;

/// `x W^T + b`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Tensor<1>>,
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
            Some(bias) => add_bias(output, bias),
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
    pub(super) weight: Tensor<1>,
    pub(super) epsilon: f64,
}

impl RmsNorm {
    pub(super) fn empty(epsilon: f64, device: &Device) -> Self {
        RmsNorm { weight: Tensor::zeros([1], device), epsilon }
    }

    pub(super) fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.vector(&format!("{path}.weight"), &mut self.weight);
    }

    pub(super) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        rms_norm(input, &self.weight, self.epsilon)
    }
}

/// SwiGLU: `down(silu(gate(x)) * up(x))`, the two inner layers as one product.
#[derive(Clone, Debug)]
pub(super) struct GatedMlp {
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
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

/// Takes fused heads `[rows * length, all * width]` apart, positions applied.
pub(super) fn project(fused: Tensor<2>, rows: usize, rotary: &Rotary) -> Projected {
    rotary.split(fused, rows)
}

impl Projected {
    /// Attention over the given keys and values, which may be more than these; `[rows * length, queries * width]`.
    pub(super) fn attend_to(self, keys: Tensor<4>, values: Tensor<4>, visibility: Option<&Visibility>) -> Tensor<2> {
        let length = self.queries.dims()[2];
        attention_weights(grouped(self.queries, &keys).matmul(keys.transpose()), visibility).mix(values, length)
    }

    /// Attention over these keys and values themselves.
    pub(super) fn attend(self, visibility: Option<&Visibility>) -> Tensor<2> {
        let (keys, values) = (self.keys.clone(), self.values.clone());
        self.attend_to(keys, values, visibility)
    }
}

/// Query heads that share keys, below each other as one longer matrix, so that keys need no repeating.
pub(super) fn grouped(queries: Tensor<4>, keys: &Tensor<4>) -> Tensor<4> {
    let [rows, heads, length, width] = queries.dims();
    let groups = keys.dims()[1];
    queries.reshape([rows, groups, heads / groups * length, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

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
