//! The softmax of attention, which keys a query sees, and the way back.
//!
//! Weights stay as `exp(score - highest)` with their sums beside them; the division by the sums comes after the product with
//! the values, where there is less to divide.

use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData, activation};
use pulp::Arch;

use super::{Host, Vectorised, exp, highest, is_plain, sum_of};

/// Which keys a query sees: those at or before its own place, from the first that is no padding.
#[derive(Clone, Debug)]
pub(in crate::model) struct Visibility {
    /// The first key of each row of the batch that is no padding.
    pub(in crate::model) starts: Vec<usize>,
    /// Queries per row; the keys are these and any before them.
    pub(in crate::model) queries: usize,
    /// The same as numbers to add to scores, made when first needed and then shared by the layers.
    mask: OnceLock<Tensor<5>>,
}

impl Visibility {
    /// For rows whose first keys of no padding are `starts`, with `queries` queries each.
    pub(in crate::model) fn new(starts: Vec<usize>, queries: usize) -> Self {
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

/// The weights of attention `[rows, heads, lines, keys]`, and the sum of each line where they are not divided by it yet.
#[derive(Clone, Debug)]
pub(in crate::model) struct Weights {
    pub(in crate::model) weights: Tensor<4>,
    pub(super) sums: Option<Vec<f32>>,
}

/// The softmax of `scores` `[rows, heads, repeats * queries, keys]`. Without a visibility, every key is seen.
pub(in crate::model) fn attention_weights(scores: Tensor<4>, visibility: Option<&Visibility>) -> Weights {
    if !is_plain(&scores) {
        return Weights { weights: weights_by_burn(scores, visibility), sums: None };
    }
    let (shape, device) = (scores.dims(), scores.device());
    let [_, heads, lines, keys] = shape;
    let mut weights = Host::new(scores);
    let mut sums = vec![0.0f32; weights.len() / keys.max(1)];
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (index, (line, sum)) in weights.chunks_exact_mut(keys).zip(&mut sums).enumerate() {
                let seen = match visibility {
                    Some(visibility) => {
                        visibility.range(index / (heads * lines), index % lines % visibility.queries, keys)
                    }
                    None => 0..keys,
                };
                line[..seen.start].fill(0.0);
                line[seen.end..].fill(0.0);
                let line = &mut line[seen];
                let highest = highest(line);
                for value in line.iter_mut() {
                    *value = exp(*value - highest);
                }
                *sum = sum_of(line.len(), |key| line[key]);
            }
        },
    ));
    Weights { weights: weights.tensor(shape, &device), sums: Some(sums) }
}

impl Weights {
    /// The weighted means of `values` `[rows, heads, keys, width]` for every token: `[rows * queries, heads * repeats * width]`.
    pub(in crate::model) fn mix(&self, values: Tensor<4>, queries: usize) -> Tensor<2> {
        let [rows, heads, lines, _] = self.weights.dims();
        let width = values.dims()[3];
        let mixed = self.weights.clone().matmul(values);
        let all = heads * (lines / queries);
        let Some(sums) = &self.sums else {
            let mixed = mixed.reshape([rows, all, queries, width]).swap_dims(1, 2);
            return mixed.reshape([rows * queries, all * width]);
        };
        let device = mixed.device();
        let apart = Host::new(mixed);
        let mut output = Host::zeros(apart.len());
        let apart = &apart[..];
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                for (token, line) in output.chunks_exact_mut(all * width).enumerate() {
                    let (row, query) = (token / queries, token % queries);
                    for (head, output) in line.chunks_exact_mut(width).enumerate() {
                        let place = (row * all + head) * queries + query;
                        let sum = sums[place];
                        for (output, value) in output.iter_mut().zip(&apart[place * width..(place + 1) * width]) {
                            *output = value / sum;
                        }
                    }
                }
            },
        ));
        output.tensor([rows * queries, all * width], &device)
    }

    /// The way back through [`Weights::mix`] and the softmax: the gradients with respect to scores and values, of means
    /// `mixed` whose gradient is `upstream`.
    pub(in crate::model) fn backward(
        self,
        values: Tensor<4>,
        mixed: Tensor<2>,
        upstream: Tensor<2>,
        queries: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        let Some(sums) = self.sums else { return backward_by_burn(self.weights, values, mixed, upstream, queries) };
        let shape = self.weights.dims();
        let ([rows, heads, lines, keys], width) = (shape, values.dims()[3]);
        let (all, device) = (heads * (lines / queries), upstream.device());
        let (mixed, upstream) = (Host::new(mixed), Host::new(upstream));
        let mut apart = Host::zeros(upstream.len());
        // Per line, what its weights' gradients have in common: the mean that the softmax takes off.
        let mut common = vec![0.0f32; sums.len()];
        let spread = &mut apart[..];
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                let lines = mixed.chunks_exact(all * width).zip(upstream.chunks_exact(all * width)).enumerate();
                for (token, (mixed, upstream)) in lines {
                    let (row, query) = (token / queries, token % queries);
                    for (head, up) in upstream.chunks_exact(width).enumerate() {
                        let place = (row * all + head) * queries + query;
                        let (own, sum) = (&mixed[head * width..(head + 1) * width], sums[place]);
                        let apart = &mut spread[place * width..(place + 1) * width];
                        for (apart, up) in apart.iter_mut().zip(up) {
                            *apart = up / sum;
                        }
                        common[place] = sum_of(width, |index| own[index] * apart[index]);
                    }
                }
            },
        ));
        let apart: Tensor<4> = apart.tensor([rows, heads, lines, width], &device);
        let value_gradient = self.weights.clone().transpose().matmul(apart.clone());
        let mut scores = Host::new(apart.matmul(values.transpose()));
        let weights = Host::new(self.weights);
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                let lines = scores.chunks_exact_mut(keys).zip(weights.chunks_exact(keys)).zip(&common);
                for ((scores, weights), common) in lines {
                    for (score, weight) in scores.iter_mut().zip(weights) {
                        *score = weight * (*score - common);
                    }
                }
            },
        ));
        (scores.tensor(shape, &device), value_gradient)
    }
}

/// The softmax of scores from burn's operations.
pub(super) fn weights_by_burn(scores: Tensor<4>, visibility: Option<&Visibility>) -> Tensor<4> {
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
    activation::softmax(scores, 3)
}

/// [`Weights::backward`] from burn's operations.
pub(super) fn backward_by_burn(
    weights: Tensor<4>,
    values: Tensor<4>,
    mixed: Tensor<2>,
    upstream: Tensor<2>,
    queries: usize,
) -> (Tensor<4>, Tensor<4>) {
    let [rows, heads, lines, _] = weights.dims();
    let width = values.dims()[3];
    let apart = |tokens: Tensor<2>| {
        let tokens = tokens.reshape([rows, queries, heads * (lines / queries), width]).swap_dims(1, 2);
        tokens.reshape([rows, heads, lines, width])
    };
    let (mixed, upstream) = (apart(mixed), apart(upstream));
    let common = (mixed * upstream.clone()).sum_dim(3);
    let value_gradient = weights.clone().transpose().matmul(upstream.clone());
    (weights * (upstream.matmul(values.transpose()) - common), value_gradient)
}
