//! The two nonlinear steps that cost most on a CPU, SwiGLU and the softmax of attention, in one vectorised pass each.
//! On other devices, the same from burn's operations.
//!
//! A kernel sees values, not the autodiff graph. Where gradients are wanted, its result enters the graph as
//! `value + slope * (x - constant x)`: the last factor is zero, so the value stays to the bit, and the gradient is
//! `slope`.

use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData, activation};
use pulp::{Arch, Simd, WithSimd};

use crate::device::is_cpu;

/// Which keys a query sees: those at or before its own place, from the first that is no padding.
#[derive(Clone, Debug)]
pub(super) struct Visibility {
    /// The first key of each row of the batch that is no padding.
    pub(super) starts: Vec<usize>,
    /// Queries per row; the keys are these and any before them.
    pub(super) queries: usize,
    /// The same as numbers to add to scores, made when first needed and then shared by the layers.
    mask: OnceLock<Tensor<5>>,
}

impl Visibility {
    /// For rows whose first keys of no padding are `starts`, with `queries` queries each.
    pub(super) fn new(starts: Vec<usize>, queries: usize) -> Self {
        Visibility { starts, queries, mask: OnceLock::new() }
    }

    /// The keys that query `query` of row `row` sees, of `keys` in all. Padding sees itself, to stay finite.
    fn range(&self, row: usize, query: usize, keys: usize) -> std::ops::Range<usize> {
        let own = keys - self.queries + query;
        self.starts[row].min(own)..own + 1
    }

    /// Zero where a key is seen and a large negative number elsewhere, `[rows, 1, 1, queries, keys]`.
    fn additive(&self, keys: usize, device: &Device) -> Tensor<5> {
        let make = || {
            let mut values = vec![-1e9f32; self.starts.len() * self.queries * keys];
            for (index, line) in values.chunks_exact_mut(keys).enumerate() {
                line[self.range(index / self.queries, index % self.queries, keys)].fill(0.0);
            }
            let shape = [self.starts.len(), 1, 1, self.queries, keys];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let mask = self.mask.get_or_init(make);
        if mask.dims()[4] == keys { mask.clone() } else { make() }
    }
}

/// Work that is compiled for the widest vectors of the machine. Its closure must be `#[inline(always)]`, and is called as
/// `FnMut`: a closure that is passed on as `FnOnce` is compiled apart from the vector code, and then runs 40 times slower.
pub(super) struct Vectorised<F>(pub(super) F);

impl<F: FnMut()> WithSimd for Vectorised<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _simd: S) {
        (self.0)();
    }
}

/// `silu(gate) * up` of `[n, gate | up]`, giving `[n, width]`.
pub(super) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    let [rows, double] = gate_up.dims();
    let width = double / 2;
    let device = gate_up.device();
    if !is_cpu(&device) {
        return swiglu_by_burn(gate_up);
    }
    let tracked = gate_up.is_tracked();
    let constant = gate_up.clone().without_autodiff();
    if !tracked {
        drop(gate_up);
        let values = host_values(constant);
        let mut output = vec![0.0; rows * width];
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                for (pair, output) in values.chunks_exact(double).zip(output.chunks_exact_mut(width)) {
                    let (gate, up) = pair.split_at(width);
                    for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                        *output = gate * sigmoid(*gate) * up;
                    }
                }
            },
        ));
        return Tensor::from_data(TensorData::new(output, [rows, width]), &device.inner());
    }
    let mut slopes = host_values(constant.clone());
    let mut output = vec![0.0; rows * width];
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (pair, output) in slopes.chunks_exact_mut(double).zip(output.chunks_exact_mut(width)) {
                let (gate, up) = pair.split_at_mut(width);
                for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                    let share = sigmoid(*gate);
                    let silu = *gate * share;
                    *output = silu * *up;
                    *gate = (share + silu * (1.0 - share)) * *up;
                    *up = silu;
                }
            }
        },
    ));
    let inner = device.inner();
    let slopes = Tensor::<2>::from_data(TensorData::new(slopes, [rows, double]), &inner);
    let output = Tensor::<2>::from_data(TensorData::new(output, [rows, width]), &inner);
    let zero = (gate_up - constant) * slopes;
    zero.reshape([rows, 2, width]).sum_dim(1).reshape([rows, width]) + output
}

/// Attention's weighted mean of `values` `[rows, heads, keys, width]` by the softmax of `scores`
/// `[rows, heads, repeats * queries, keys]`. Without a visibility, every key is seen.
pub(super) fn attend(scores: Tensor<4>, values: Tensor<4>, visibility: Option<&Visibility>) -> Tensor<4> {
    let [rows, heads, lines, keys] = scores.dims();
    let device = scores.device();
    if !is_cpu(&device) {
        return attend_by_burn(scores, values, visibility);
    }
    let tracked = scores.is_tracked();
    let constant = scores.clone().without_autodiff();
    let (scores, mut weights) = if tracked {
        (Some(scores), host_values(constant.clone()))
    } else {
        drop(scores);
        (None, host_values(constant.clone()))
    };
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (index, line) in weights.chunks_exact_mut(keys).enumerate() {
                let seen = match visibility {
                    Some(visibility) => {
                        visibility.range(index / (heads * lines), index % lines % visibility.queries, keys)
                    }
                    None => 0..keys,
                };
                line[..seen.start].fill(0.0);
                line[seen.end..].fill(0.0);
                let line = &mut line[seen];
                let highest = line.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for value in line {
                    *value = exp(*value - highest);
                }
            }
        },
    ));
    let weights = Tensor::<4>::from_data(TensorData::new(weights, [rows, heads, lines, keys]), &device.inner());
    let weights = match scores {
        Some(scores) => (scores - constant) * weights.clone() + weights,
        None => weights,
    };
    let sums = weights.clone().sum_dim(3);
    weights.matmul(values) / sums
}

/// [`swiglu`] from burn's operations.
fn swiglu_by_burn(gate_up: Tensor<2>) -> Tensor<2> {
    let width = gate_up.dims()[1] / 2;
    activation::silu(gate_up.clone().narrow(1, 0, width)) * gate_up.narrow(1, width, width)
}

/// [`attend`] from burn's operations.
fn attend_by_burn(scores: Tensor<4>, values: Tensor<4>, visibility: Option<&Visibility>) -> Tensor<4> {
    let [rows, heads, lines, keys] = scores.dims();
    let scores = match visibility {
        Some(visibility) => {
            let mask = visibility.additive(keys, &scores.device().inner());
            let repeats = lines / visibility.queries;
            let scores = scores.reshape([rows, heads, repeats, visibility.queries, keys]) + mask;
            scores.reshape([rows, heads, lines, keys])
        }
        None => scores,
    };
    activation::softmax(scores, 3).matmul(values)
}

/// The values of a tensor in row-major order, without a copy where it is the only owner.
pub(super) fn host_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    match data.try_into_vec::<f32>() {
        Ok(values) => values,
        Err(error) => unreachable!("tensors on the CPU are made as f32: {error}"),
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x` to two units in the last place: `x = n ln 2 + r`, a polynomial in `r`, and `n` put into the exponent. Plain
/// arithmetic without a branch, so that the compiler makes vectors of it.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding this rounds to a whole number, which then lies in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut polynomial = 1.0 / 5040.0;
    for inverse in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        polynomial = r.mul_add(polynomial, inverse);
    }
    polynomial * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_accurate() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    /// Values and gradients against burn's own operations.
    #[test]
    fn kernels_equal_burn() {
        let device = Device::flex();
        let random = |shape: [usize; 4], seed: u64| {
            let count: usize = shape.iter().product();
            let values = (0..count).map(|index| ((index as f32 + seed as f32) * 1.7).sin() * 3.0).collect();
            Tensor::<4>::from_data(TensorData::new::<f32, _>(values, shape), &device).autodiff().require_grad()
        };
        let close = |left: Tensor<1>, right: Tensor<1>| {
            let difference: f32 = (left - right).abs().max().into_scalar();
            assert!(difference < 2e-5, "{difference}");
        };
        let gate_up = random([1, 1, 6, 10], 1);
        let weight = random([1, 1, 6, 5], 2).without_autodiff().reshape([6, 5]);
        let compare = |function: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let output = function(gate_up.clone().reshape([6, 10]));
            let gradients = (output.clone() * weight.clone()).sum().backward();
            Tensor::cat(vec![output.inner().reshape([30]), gate_up.grad(&gradients).unwrap().reshape([60])], 0)
        };
        close(compare(&swiglu), compare(&swiglu_by_burn));

        let visibility = Visibility::new(vec![0, 2], 3);
        let (scores, values) = (random([2, 2, 6, 4], 3), random([2, 2, 4, 5], 4));
        let weight = random([2, 2, 6, 5], 5).without_autodiff();
        let burn = |scores: Tensor<4>, values: Tensor<4>| attend_by_burn(scores, values, Some(&visibility));
        let ours = |scores: Tensor<4>, values: Tensor<4>| attend(scores, values, Some(&visibility));
        let compare = |function: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            let output = function(scores.clone(), values.clone());
            let gradients = (output.clone() * weight.clone()).sum().backward();
            let scores = scores.grad(&gradients).unwrap().reshape([96]);
            let values = values.grad(&gradients).unwrap().reshape([80]);
            Tensor::cat(vec![output.inner().reshape([120]), scores, values], 0)
        };
        close(compare(&ours), compare(&burn));
    }
}
