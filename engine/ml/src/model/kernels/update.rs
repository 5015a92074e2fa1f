//! One update of AdamW in one pass over a parameter, its moments and its gradient.

use burn::tensor::Tensor;
use pulp::Arch;

use super::{Host, Vectorised, is_plain};

/// The numbers of one update of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamWStep {
    /// Decay of the first and second moment.
    pub(crate) betas: [f64; 2],
    /// Epsilon times the root of the second bias correction.
    pub(crate) epsilon: f64,
    /// Learning rate * root of the second bias correction / first bias correction.
    pub(crate) rate: f64,
    /// What decay leaves of the value.
    pub(crate) keep: f64,
    /// The gradient is multiplied by this.
    pub(crate) scale: f64,
}

/// The value and its moments after one gradient, all flat f32. No moments count as zero.
pub(crate) fn adamw(
    step: &AdamWStep,
    value: Tensor<1>,
    moments: Option<(Tensor<1>, Tensor<1>)>,
    gradient: Tensor<1>,
) -> (Tensor<1>, (Tensor<1>, Tensor<1>)) {
    if !is_plain(&value) || !is_plain(&gradient) {
        return by_burn(step, value, moments, gradient);
    }
    let (shape, device) = (value.dims(), value.device());
    let (mut values, gradients) = (Host::new(value), Host::new(gradient));
    let (mut first, mut second) = match moments {
        Some((first, second)) => (Host::new(first), Host::new(second)),
        None => (Host::zeros(values.len()), Host::zeros(values.len())),
    };
    let [beta1, beta2] = step.betas.map(|beta| beta as f32);
    let [rest1, rest2] = step.betas.map(|beta| (1.0 - beta) as f32);
    let (epsilon, rate, keep, scale) = (step.epsilon as f32, step.rate as f32, step.keep as f32, step.scale as f32);
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            let state = first.iter_mut().zip(second.iter_mut());
            for ((value, gradient), (first, second)) in values.iter_mut().zip(gradients.iter()).zip(state) {
                let gradient = *gradient * scale;
                *first = *first * beta1 + gradient * rest1;
                *second = *second * beta2 + gradient * gradient * rest2;
                *value = *value * keep - *first * rate / (second.sqrt() + epsilon);
            }
        },
    ));
    let tensor = |values: Host| values.tensor(shape, &device);
    (tensor(values), (tensor(first), tensor(second)))
}

/// [`adamw`] from burn's operations.
pub(super) fn by_burn(
    step: &AdamWStep,
    value: Tensor<1>,
    moments: Option<(Tensor<1>, Tensor<1>)>,
    gradient: Tensor<1>,
) -> (Tensor<1>, (Tensor<1>, Tensor<1>)) {
    let gradient = if step.scale == 1.0 { gradient } else { gradient.mul_scalar(step.scale) };
    let square = gradient.clone().square().mul_scalar(1.0 - step.betas[1]);
    let part = gradient.mul_scalar(1.0 - step.betas[0]);
    let (first, second) = match moments {
        Some((first, second)) => (first.mul_scalar(step.betas[0]) + part, second.mul_scalar(step.betas[1]) + square),
        None => (part, square),
    };
    let change = first.clone().mul_scalar(step.rate) / second.clone().sqrt().add_scalar(step.epsilon);
    let value = if step.keep == 1.0 { value } else { value.mul_scalar(step.keep) };
    (value - change, (first, second))
}
