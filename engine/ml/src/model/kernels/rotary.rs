//! Rotary positions in the half-split form, `(a, b) -> (a cos - b sin, b cos + a sin)`, applied while fused heads are taken
//! apart, and turned back while gradients are put together. Queries are scaled by `1 / sqrt(width)` on the way.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Tensor, TensorData};
use pulp::Arch;

use super::{Host, Vectorised, is_plain};

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Heads {
    /// Query heads.
    pub(in crate::model) queries: usize,
    /// Key heads, and as many value heads.
    pub(in crate::model) keys: usize,
    /// The width of one.
    pub(in crate::model) width: usize,
}

impl Heads {
    /// Query, key and value heads.
    pub(in crate::model) fn all(self) -> usize {
        self.queries + 2 * self.keys
    }
}

/// The positions of tokens, shared by the layers of a tower.
#[derive(Clone, Debug)]
pub(in crate::model) struct Rotary {
    pub(in crate::model) heads: Heads,
    tables: Arc<Tables>,
}

/// Cosines and sines, half a head of them per token; for the queries with the scale of the scores.
#[derive(Debug)]
struct Tables {
    half: usize,
    query: [Vec<f32>; 2],
    key: [Vec<f32>; 2],
    /// The same as tensors over all heads, made when burn's operations need them.
    wide: OnceLock<Wide>,
}

/// Tables `[tokens, all heads]` that leave values as they are, and the matrix that turns a head `(a, b)` into `(-b, a)`.
#[derive(Debug)]
struct Wide {
    cosine: Tensor<2>,
    sine: Tensor<2>,
    quarter_turn: Tensor<2>,
}

/// Queries, keys and values `[rows, heads, length, width]`.
pub(in crate::model) struct Projected {
    pub(in crate::model) queries: Tensor<4>,
    pub(in crate::model) keys: Tensor<4>,
    pub(in crate::model) values: Tensor<4>,
}

impl Rotary {
    /// Tables for tokens whose angles are given by `angles`: half a head of them per token.
    pub(in crate::model) fn new(angles: &[f32], heads: Heads) -> Self {
        let scale = 1.0 / (heads.width as f64).sqrt();
        let turns: Vec<(f64, f64)> = angles.iter().map(|angle| f64::from(*angle).sin_cos()).collect();
        let table = |scale: f64| {
            [
                turns.iter().map(|(_, cosine)| (cosine * scale) as f32).collect(),
                turns.iter().map(|(sine, _)| (sine * scale) as f32).collect(),
            ]
        };
        let tables = Tables { half: heads.width / 2, query: table(scale), key: table(1.0), wide: OnceLock::new() };
        Rotary { heads, tables: Arc::new(tables) }
    }

    /// The rows of the tables in another order, or some of them.
    pub(in crate::model) fn select(&self, tokens: &[usize]) -> Self {
        let half = self.tables.half;
        let pick = |table: &Vec<f32>| {
            tokens.iter().flat_map(|token| &table[token * half..(token + 1) * half]).copied().collect::<Vec<f32>>()
        };
        let both = |[cosine, sine]: &[Vec<f32>; 2]| [pick(cosine), pick(sine)];
        let (query, key) = (both(&self.tables.query), both(&self.tables.key));
        Rotary { heads: self.heads, tables: Arc::new(Tables { half, query, key, wide: OnceLock::new() }) }
    }

    /// Takes fused heads `[rows * length, all * width]` apart, positions applied.
    pub(in crate::model) fn split(&self, fused: Tensor<2>, rows: usize) -> Projected {
        if !is_plain(&fused) || self.heads.width % 2 == 1 {
            return self.split_by_burn(fused, rows);
        }
        let (heads, device) = (self.heads, fused.device());
        let length = fused.dims()[0] / rows;
        let fused = Host::new(fused);
        let mut outputs =
            [heads.queries, heads.keys, heads.keys].map(|count| Host::zeros(fused.len() / heads.all() * count));
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                let [queries, keys, values] = outputs.each_mut().map(|output| &mut output[..]);
                for (token, line) in fused.chunks_exact(heads.all() * heads.width).enumerate() {
                    let (query, rest) = line.split_at(heads.queries * heads.width);
                    let (key, value) = rest.split_at(heads.keys * heads.width);
                    let place = Place { row: token / length, position: token % length, length, width: heads.width };
                    let [cosine, sine] = self.tables.of(&self.tables.query, token);
                    place.spread(query, queries, |head, output| turn(head, output, cosine, sine));
                    let [cosine, sine] = self.tables.of(&self.tables.key, token);
                    place.spread(key, keys, |head, output| turn(head, output, cosine, sine));
                    place.spread(value, values, |head, output| output.copy_from_slice(head));
                }
            },
        ));
        let [queries, keys, values] = outputs;
        let tensor = |values: Host, count| values.tensor([rows, count, length, heads.width], &device);
        Projected {
            queries: tensor(queries, heads.queries),
            keys: tensor(keys, heads.keys),
            values: tensor(values, heads.keys),
        }
    }

    /// The gradient with respect to fused heads from those with respect to queries, keys and values.
    pub(in crate::model) fn split_backward(&self, gradients: Projected) -> Tensor<2> {
        let [rows, _, length, _] = gradients.queries.dims();
        if !is_plain(&gradients.queries) || self.heads.width % 2 == 1 {
            return self.split_backward_by_burn(gradients);
        }
        let (heads, device) = (self.heads, gradients.queries.device());
        let width = heads.all() * heads.width;
        let [queries, keys, values] = [gradients.queries, gradients.keys, gradients.values].map(Host::new);
        let mut fused = Host::zeros(rows * length * width);
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                for (token, line) in fused.chunks_exact_mut(width).enumerate() {
                    let (query, rest) = line.split_at_mut(heads.queries * heads.width);
                    let (key, value) = rest.split_at_mut(heads.keys * heads.width);
                    let place = Place { row: token / length, position: token % length, length, width: heads.width };
                    let [cosine, sine] = self.tables.of(&self.tables.query, token);
                    place.gather(&queries, query, |head, output| turn_back(head, output, cosine, sine));
                    let [cosine, sine] = self.tables.of(&self.tables.key, token);
                    place.gather(&keys, key, |head, output| turn_back(head, output, cosine, sine));
                    place.gather(&values, value, |head, output| output.copy_from_slice(head));
                }
            },
        ));
        fused.tensor([rows * length, width], &device)
    }

    /// [`Rotary::split`] from burn's operations.
    pub(super) fn split_by_burn(&self, fused: Tensor<2>, rows: usize) -> Projected {
        let heads = self.heads;
        let [tokens, width] = fused.dims();
        let wide = self.wide(&fused.device().inner());
        let turned = fused.clone().reshape([tokens * heads.all(), heads.width]);
        let turned = turned.matmul(wide.quarter_turn.clone()).reshape([tokens, width]);
        let fused = fused * wide.cosine.clone() + turned * wide.sine.clone();
        let fused = fused.reshape([rows, tokens / rows, heads.all(), heads.width]).swap_dims(1, 2);
        Projected {
            queries: fused.clone().narrow(1, 0, heads.queries),
            keys: fused.clone().narrow(1, heads.queries, heads.keys),
            values: fused.narrow(1, heads.queries + heads.keys, heads.keys),
        }
    }

    /// [`Rotary::split_backward`] from burn's operations.
    pub(super) fn split_backward_by_burn(&self, gradients: Projected) -> Tensor<2> {
        let heads = self.heads;
        let [rows, _, length, _] = gradients.queries.dims();
        let (tokens, width) = (rows * length, heads.all() * heads.width);
        let fused = Tensor::cat(vec![gradients.queries, gradients.keys, gradients.values], 1);
        let fused = fused.swap_dims(1, 2).reshape([tokens, width]);
        let wide = self.wide(&fused.device());
        let turned = (fused.clone() * wide.sine.clone()).reshape([tokens * heads.all(), heads.width]);
        let turned = turned.matmul(wide.quarter_turn.clone().transpose()).reshape([tokens, width]);
        fused * wide.cosine.clone() + turned
    }

    fn wide(&self, device: &Device) -> &Wide {
        self.tables.wide.get_or_init(|| {
            let (heads, half) = (self.heads, self.tables.half);
            let tokens = self.tables.key[0].len() / half;
            let width = heads.all() * heads.width;
            let table = |which: usize, rest: f32| {
                let mut values = Vec::with_capacity(tokens * width);
                for token in 0..tokens {
                    for (table, count) in [(&self.tables.query, heads.queries), (&self.tables.key, heads.keys)] {
                        let half = &table[which][token * half..(token + 1) * half];
                        (0..2 * count).for_each(|_| values.extend_from_slice(half));
                    }
                    values.resize(values.len() + heads.keys * heads.width, rest);
                }
                Tensor::from_data(TensorData::new(values, [tokens, width]), device)
            };
            let mut quarter_turn = vec![0.0f32; heads.width * heads.width];
            for index in 0..half {
                quarter_turn[(index + half) * heads.width + index] = -1.0;
                quarter_turn[index * heads.width + index + half] = 1.0;
            }
            let quarter_turn = TensorData::new(quarter_turn, [heads.width, heads.width]);
            Wide { cosine: table(0, 1.0), sine: table(1, 0.0), quarter_turn: Tensor::from_data(quarter_turn, device) }
        })
    }
}

impl Tables {
    #[inline(always)]
    fn of<'a>(&'a self, [cosine, sine]: &'a [Vec<f32>; 2], token: usize) -> [&'a [f32]; 2] {
        let range = token * self.half..(token + 1) * self.half;
        [&cosine[range.clone()], &sine[range]]
    }
}

/// A token's place among heads that lie apart.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    position: usize,
    length: usize,
    width: usize,
}

impl Place {
    #[inline(always)]
    fn start(self, head: usize, heads: usize) -> usize {
        ((self.row * heads + head) * self.length + self.position) * self.width
    }

    /// Brings the heads of a token to where they lie apart.
    #[inline(always)]
    fn spread(self, line: &[f32], apart: &mut [f32], bring: impl Fn(&[f32], &mut [f32])) {
        let heads = line.len() / self.width;
        for (head, values) in line.chunks_exact(self.width).enumerate() {
            let start = self.start(head, heads);
            bring(values, &mut apart[start..start + self.width]);
        }
    }

    /// Brings them back.
    #[inline(always)]
    fn gather(self, apart: &[f32], line: &mut [f32], bring: impl Fn(&[f32], &mut [f32])) {
        let heads = line.len() / self.width;
        for (head, values) in line.chunks_exact_mut(self.width).enumerate() {
            let start = self.start(head, heads);
            bring(&apart[start..start + self.width], values);
        }
    }
}

#[inline(always)]
fn turn(head: &[f32], output: &mut [f32], cosine: &[f32], sine: &[f32]) {
    let half = cosine.len();
    let (a, b) = head.split_at(half);
    let (first, second) = output.split_at_mut(half);
    for index in 0..half {
        first[index] = a[index] * cosine[index] - b[index] * sine[index];
        second[index] = b[index] * cosine[index] + a[index] * sine[index];
    }
}

/// The transpose of [`turn`].
#[inline(always)]
fn turn_back(head: &[f32], output: &mut [f32], cosine: &[f32], sine: &[f32]) {
    let half = cosine.len();
    let (a, b) = head.split_at(half);
    let (first, second) = output.split_at_mut(half);
    for index in 0..half {
        first[index] = a[index] * cosine[index] + b[index] * sine[index];
        second[index] = b[index] * cosine[index] - a[index] * sine[index];
    }
}
