//! The matrix of a layer as it lies in memory: a tensor, or the saved 16 bits.

use burn::tensor::{Device, Int, Tensor};

use super::half::HalfMatrix;
use super::layers::product;

/// A matrix `[out, in]`, or a table `[rows, width]`.
#[derive(Clone, Debug)]
pub(crate) enum Weight {
    /// In f32, and possibly a leaf of an autodiff graph.
    Full(Tensor<2>),
    /// In 16 bits, a constant.
    Half(HalfMatrix),
}

impl Weight {
    /// A matrix whose values are still to be put in by a visitor.
    pub(super) fn empty(device: &Device) -> Self {
        Weight::Full(Tensor::zeros([1, 1], device))
    }

    /// `input matrix^T`, with the same bits in each row whatever the other rows are; see [`product`].
    pub(super) fn product(&self, input: Tensor<2>) -> Tensor<2> {
        match self {
            Weight::Full(matrix) => product(input, matrix),
            Weight::Half(matrix) => matrix.product(input),
        }
    }

    /// `upstream matrix`: the gradient with respect to the input of a product whose gradient is `upstream`.
    pub(super) fn back(&self, upstream: Tensor<2>) -> Tensor<2> {
        match self {
            Weight::Full(matrix) => upstream.matmul(matrix.clone()),
            Weight::Half(matrix) => upstream.matmul(matrix.widened()),
        }
    }

    /// The rows of the given numbers, in f32.
    pub(super) fn select(&self, numbers: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Weight::Full(table) => table.clone().select(0, numbers),
            Weight::Half(table) => table.select(numbers),
        }
    }
}
