//! The steps between matrix products that cost most on a CPU, forward and back, each in one vectorised pass: norms, rotary
//! positions, the softmax of attention, SwiGLU, cross-entropy. On other devices, the same from burn's operations.
//!
//! A kernel sees values, not an autodiff graph: where one is tracked, burn's operations are used. Each row of a result has
//! the same bits whatever the other rows are.

pub(super) mod attention;
pub(crate) mod cross_entropy;
pub(super) mod gated;
pub(super) mod norm;
pub(super) mod rotary;
pub(crate) mod update;

use std::ops::{Deref, DerefMut};

use burn::tensor::{Device, Tensor, TensorData};
use pulp::{Simd, WithSimd};

use crate::device::is_cpu;

/// Work that is compiled for the widest vectors of the machine. Its closure must be `#[inline(always)]`, and is called as
/// `FnMut`: a closure that is passed on as `FnOnce` is compiled apart from the vector code, and then runs 40 times slower.
pub(crate) struct Vectorised<F>(pub(crate) F);

impl<F: FnMut()> WithSimd for Vectorised<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _simd: S) {
        (self.0)();
    }
}

/// Whether a kernel can take the tensor: f32 on the CPU, outside of any autodiff graph.
pub(super) fn is_plain<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_cpu(&tensor.device()) && !tensor.is_tracked() && tensor.dtype() == burn::tensor::DType::F32
}

/// The values of a CPU tensor, to be read and written in place; without a copy where the tensor was their only owner.
pub(crate) struct Host(TensorData);

impl Host {
    /// The values in row-major order.
    pub(crate) fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        Self::of(tensor.into_data())
    }

    /// The values of data that was read from a device.
    pub(crate) fn of(mut data: TensorData) -> Self {
        if data.as_mut_slice::<f32>().is_err() {
            // Of another type, or not aligned.
            let count = data.num_elements();
            data = TensorData::new(data.iter::<f32>().collect::<Vec<f32>>(), [count]);
        }
        Self(data)
    }

    /// Zeros, to be written.
    pub(crate) fn zeros(count: usize) -> Self {
        Self(TensorData::new(vec![0.0f32; count], [count]))
    }

    /// The values as a tensor, without a copy.
    pub(crate) fn tensor<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let (bytes, _, dtype) = self.0.into_parts();
        Tensor::from_data(TensorData::from_bytes(bytes, shape, dtype), device)
    }
}

impl Deref for Host {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().unwrap_or_else(|error| unreachable!("made as f32: {error}"))
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.as_mut_slice().unwrap_or_else(|error| unreachable!("made as f32: {error}"))
    }
}

/// Adds `bias` to every row of `[rows, width]`.
pub(super) fn add_bias(input: Tensor<2>, bias: &Tensor<1>) -> Tensor<2> {
    if !is_plain(&input) || !is_plain(bias) {
        return input + bias.clone().unsqueeze();
    }
    let (shape, device) = (input.dims(), input.device());
    let mut values = Host::new(input);
    let bias = Host::new(bias.clone());
    pulp::Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for row in values.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias.iter()) {
                    *value += bias;
                }
            }
        },
    ));
    values.tensor(shape, &device)
}

/// The sum of the rows of `[rows, width]`: the gradient of a bias. Sums of 64 rows are added up, so that long ones lose little.
pub(super) fn sum_rows(input: Tensor<2>) -> Tensor<1> {
    let [_, width] = input.dims();
    if !is_plain(&input) {
        return input.sum_dim(0).reshape([width]);
    }
    let device = input.device();
    let values = Host::new(input);
    let mut sum = Host::zeros(width);
    let mut part = vec![0.0f32; width];
    pulp::Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for block in values.chunks(64 * width) {
                part.fill(0.0);
                for row in block.chunks_exact(width) {
                    for (part, value) in part.iter_mut().zip(row) {
                        *part += value;
                    }
                }
                for (sum, part) in sum.iter_mut().zip(&part) {
                    *sum += part;
                }
            }
        },
    ));
    sum.tensor([width], &device)
}

/// Sums are taken in this many lanes, whatever the machine's vectors, so that their bits are the same everywhere.
const LANES: usize = 16;

/// The sum of what `term` makes of each index below `count`.
#[inline(always)]
pub(crate) fn sum_of(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = count - count % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let mut rest = 0.0;
    for index in whole..count {
        rest += term(index);
    }
    lanes.iter().sum::<f32>() + rest
}

/// The largest of `values`; minus infinity for none.
#[inline(always)]
pub(crate) fn highest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (highest, value) in lanes.iter_mut().zip(chunk) {
            // Not `f32::max`, whose care for NaN costs the vectors. A NaN is found by the sum that follows.
            *highest = if *value > *highest { *value } else { *highest };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x` to two units in the last place: `x = n ln 2 + r`, a polynomial in `r`, and `n` put into the exponent. Plain
/// arithmetic without a branch, so that the compiler makes vectors of it.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding this rounds to a whole number, which then lies in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    // Written out: a loop over the coefficients copies them for every number where the compiler does not unroll it.
    let polynomial = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let polynomial = r.mul_add(polynomial, 1.0 / 120.0);
    let polynomial = r.mul_add(polynomial, 1.0 / 24.0);
    let polynomial = r.mul_add(polynomial, 1.0 / 6.0);
    let polynomial = r.mul_add(polynomial, 0.5);
    let polynomial = r.mul_add(polynomial, 1.0);
    let polynomial = r.mul_add(polynomial, 1.0);
    polynomial * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests;
