//! The root-mean-square norm `x / sqrt(mean(x^2) + epsilon) * weight` and its gradients. Rows are normalised in f32 whatever
//! their type, and are multiplied by the weight in their own, as transformers does it.

use burn::tensor::{FloatDType, Tensor};
use pulp::Arch;

use super::{Host, Vectorised, is_plain, sum_of};

/// The norm of each row of `[rows, width]`.
pub(in crate::model) fn rms_norm(input: Tensor<2>, weight: &Tensor<1>, epsilon: f64) -> Tensor<2> {
    if !is_plain(&input) || !is_plain(weight) {
        return by_burn(input, weight, epsilon);
    }
    let ([rows, width], device) = (input.dims(), input.device());
    let mut values = Host::new(input);
    let weight = Host::new(weight.clone());
    let weight = &weight[..];
    let epsilon = epsilon as f32;
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for row in values.chunks_exact_mut(width) {
                let scale = scale_of(row, epsilon);
                for (value, weight) in row.iter_mut().zip(weight) {
                    *value = *value * scale * weight;
                }
            }
        },
    ));
    values.tensor([rows, width], &device)
}

/// What the way back through a norm gives.
pub(in crate::model) struct NormGradients {
    /// With respect to the input, the gradient that reached it by another way included.
    pub(in crate::model) input: Tensor<2>,
    /// With respect to the weight.
    pub(in crate::model) weight: Tensor<1>,
}

/// The gradients of a norm of `input` whose output has the gradient `upstream`. `bypass` is what reached the input already.
pub(in crate::model) fn rms_norm_backward(
    input: Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f64,
    upstream: Tensor<2>,
    bypass: Option<Tensor<2>>,
) -> NormGradients {
    if !is_plain(&upstream) {
        return backward_by_burn(input, weight, epsilon, upstream, bypass);
    }
    let ([rows, width], device) = (input.dims(), input.device());
    let weight = Host::new(weight.clone());
    let weight = &weight[..];
    let (mut normed, mut upstream) = (Host::new(input), Host::new(upstream));
    let epsilon = epsilon as f32;
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (x, up) in normed.chunks_exact_mut(width).zip(upstream.chunks_exact_mut(width)) {
                let scale = scale_of(x, epsilon);
                let dot = sum_of(width, |index| up[index] * weight[index] * x[index]);
                let pull = dot * scale * scale / width as f32;
                for ((x, up), weight) in x.iter_mut().zip(up.iter_mut()).zip(weight) {
                    let own = *up * *x * scale;
                    *up = scale * (*up * weight - *x * pull);
                    *x = own;
                }
            }
        },
    ));
    let mut input = upstream.tensor([rows, width], &device);
    if let Some(bypass) = bypass {
        input = input + bypass;
    }
    NormGradients { input, weight: super::sum_rows(normed.tensor([rows, width], &device)) }
}

#[inline(always)]
fn scale_of(row: &[f32], epsilon: f32) -> f32 {
    let square = sum_of(row.len(), |index| row[index] * row[index]);
    1.0 / (square / row.len() as f32 + epsilon).sqrt()
}

/// [`scale_of`] each row from burn's operations, `[rows, 1]`.
fn scale_by_burn(input: &Tensor<2>, epsilon: f64) -> Tensor<2> {
    let mean_square = (input.clone() * input.clone()).mean_dim(1);
    (mean_square + epsilon).sqrt().recip()
}

/// [`rms_norm`] from burn's operations.
pub(super) fn by_burn(input: Tensor<2>, weight: &Tensor<1>, epsilon: f64) -> Tensor<2> {
    let narrow = input.dtype();
    let input = input.cast(FloatDType::F32);
    let scale = scale_by_burn(&input, epsilon);
    (input * scale).cast(narrow) * weight.clone().unsqueeze()
}

/// [`rms_norm_backward`] from burn's operations.
pub(super) fn backward_by_burn(
    input: Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f64,
    upstream: Tensor<2>,
    bypass: Option<Tensor<2>>,
) -> NormGradients {
    let narrow = upstream.dtype();
    let [_, width] = input.dims();
    let (input, upstream) = (input.cast(FloatDType::F32), upstream.cast(FloatDType::F32));
    let scale = scale_by_burn(&input, epsilon);
    let normed = input * scale.clone();
    let own = (upstream.clone() * normed.clone()).sum_dim(0).reshape([width]);
    let weighted = upstream * weight.clone().cast(FloatDType::F32).unsqueeze();
    let pull = (weighted.clone() * normed.clone()).mean_dim(1);
    let mut input = ((weighted - normed * pull) * scale).cast(narrow);
    if let Some(bypass) = bypass {
        input = input + bypass;
    }
    NormGradients { input, weight: own }
}
