//! Keys and values on the CPU, in pages of 16 tokens, and attention of one query per row over them. A row is the pages of its
//! prompt, which rows share, and pages of its own; it grows page by page, and nothing is ever copied.
//!
//! Within a page a key's numbers lie 16 apart, so that one vector holds a number of 16 keys, and a value's side by side. All
//! sums over keys go in an order that the row's own lengths decide.

use std::sync::Arc;

use burn::tensor::Tensor;
use pulp::Arch;

use super::super::kernels::{Host, Vectorised, exp};
use crate::config::TextConfig;

/// Tokens of a page, and numbers of a vector.
const LANES: usize = 16;
/// Sums that run side by side, since each addition waits for the one before it.
const CHAINS: usize = 4;

/// Numbers side by side.
type Lanes = [f32; LANES];

/// What a page holds of each layer and head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    layers: usize,
    /// Query heads.
    queries: usize,
    /// Key heads, and as many value heads.
    heads: usize,
    /// The width of a head.
    width: usize,
    /// The same up to the next whole vector.
    padded: usize,
}

impl Geometry {
    pub(super) fn new(config: &TextConfig) -> Self {
        Geometry {
            layers: config.layers,
            queries: config.heads,
            heads: config.kv_heads,
            width: config.head_dim,
            padded: config.head_dim.next_multiple_of(LANES),
        }
    }

    /// Numbers of one layer and head in a page: keys, then values.
    fn section(&self) -> usize {
        LANES * (self.width + self.padded)
    }

    fn section_start(&self, layer: usize, head: usize) -> usize {
        (layer * self.heads + head) * self.section()
    }

    /// The width of fused queries, keys and values.
    fn fused(&self) -> usize {
        (self.queries + 2 * self.heads) * self.width
    }
}

/// The keys and values of tokens one after the other, of all layers.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pages: Vec<Box<[f32]>>,
    length: usize,
}

impl Tape {
    /// Makes room for one more token and gives its place.
    fn grow(&mut self, geometry: &Geometry) -> usize {
        if self.length == self.pages.len() * LANES {
            let numbers = geometry.layers * geometry.heads * geometry.section();
            self.pages.push(vec![0.0; numbers].into_boxed_slice());
        }
        self.length += 1;
        self.length - 1
    }

    /// Makes room for `length` tokens in all.
    pub(super) fn with_length(geometry: &Geometry, length: usize) -> Self {
        let mut tape = Tape::default();
        (0..length).for_each(|_| {
            tape.grow(geometry);
        });
        tape
    }

    /// Writes the key and the value of a token.
    #[inline(always)]
    pub(super) fn put(&mut self, geometry: &Geometry, (layer, head): (usize, usize), place: usize, pair: [&[f32]; 2]) {
        let start = geometry.section_start(layer, head);
        let section = &mut self.pages[place / LANES][start..start + geometry.section()];
        let (keys, values) = section.split_at_mut(LANES * geometry.width);
        let lane = place % LANES;
        for (number, key) in keys.chunks_exact_mut(LANES).zip(pair[0]) {
            number[lane] = *key;
        }
        values[lane * geometry.padded..][..geometry.width].copy_from_slice(pair[1]);
    }
}

/// A sequence in the making.
struct Row {
    prompt: Arc<Tape>,
    own: Tape,
}

/// Rows on the CPU.
pub(crate) struct PagedRows {
    geometry: Geometry,
    rows: Vec<Row>,
    /// Half a head of cosines and sines for each row: for queries, which carry the scale of the scores, and for keys.
    turns: Vec<[f32; 4]>,
    /// Scores of one query, then weights.
    scores: Vec<Lanes>,
}

impl PagedRows {
    pub(super) fn new(config: &TextConfig) -> Self {
        PagedRows { geometry: Geometry::new(config), rows: Vec::new(), turns: Vec::new(), scores: Vec::new() }
    }

    pub(super) fn admit(&mut self, prompt: Arc<Tape>) {
        self.rows.push(Row { prompt, own: Tape::default() });
    }

    pub(super) fn retain(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        self.rows.retain(|_| kept.next().copied().unwrap_or(false));
    }

    /// Makes room for one more token in each row. `angles`: half a head of them for each.
    pub(super) fn begin(&mut self, angles: &[f32]) {
        let scale = 1.0 / (self.geometry.width as f64).sqrt();
        let turn = |angle: &f32| {
            let (sine, cosine) = f64::from(*angle).sin_cos();
            [(cosine * scale) as f32, (sine * scale) as f32, cosine as f32, sine as f32]
        };
        self.turns.clear();
        self.turns.extend(angles.iter().map(turn));
        for row in &mut self.rows {
            row.own.grow(&self.geometry);
        }
    }

    /// Attention of the new tokens in one layer. `fused` are their queries, keys and values without positions,
    /// `[rows, heads * width]`; gives `[rows, query heads * width]`.
    pub(super) fn attend(&mut self, layer: usize, fused: Tensor<2>) -> Tensor<2> {
        let device = fused.device();
        let mut fused = Host::new(fused);
        let (geometry, count) = (self.geometry, self.rows.len());
        let mixed_width = geometry.queries * geometry.width;
        let mut mixed = Host::zeros(count * mixed_width);
        let PagedRows { rows, turns, scores, .. } = self;
        Arch::new().dispatch(Vectorised(
            #[inline(always)]
            || {
                let turns = turns.chunks_exact(geometry.width / 2);
                for ((row, fused), turns) in rows.iter_mut().zip(fused.chunks_exact_mut(geometry.fused())).zip(turns) {
                    turn_and_store(&geometry, layer, row, fused, turns);
                }
                // Head by head, so that rows of one prompt find its pages in the cache of the processor.
                for head in 0..geometry.heads {
                    let lines = fused.chunks_exact(geometry.fused()).zip(mixed.chunks_exact_mut(mixed_width));
                    for (row, (fused, mixed)) in rows.iter().zip(lines) {
                        attend_head(&geometry, (layer, head), row, (fused, mixed), scores);
                    }
                }
            },
        ));
        mixed.tensor([count, mixed_width], &device)
    }

    /// Ends the step that [`PagedRows::begin`] began.
    pub(super) fn end(&mut self) {
        self.turns.clear();
    }
}

/// Gives queries and keys their positions and stores the key and the value.
#[inline(always)]
fn turn_and_store(geometry: &Geometry, layer: usize, row: &mut Row, fused: &mut [f32], turns: &[[f32; 4]]) {
    let (width, half) = (geometry.width, geometry.width / 2);
    let (queries, rest) = fused.split_at_mut(geometry.queries * width);
    let (keys, values) = rest.split_at_mut(geometry.heads * width);
    for (heads, first) in [(queries, 0), (&mut *keys, 2)] {
        for head in heads.chunks_exact_mut(width) {
            let (left, right) = head.split_at_mut(half);
            for ((a, b), turn) in left.iter_mut().zip(right).zip(turns) {
                let (cosine, sine) = (turn[first], turn[first + 1]);
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
    let place = row.own.length - 1;
    for (head, pair) in keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate() {
        row.own.put(geometry, (layer, head), place, [pair.0, pair.1]);
    }
}

/// Attention of the query heads that share one key head. Loops here are written out: a closure that an adapter of an iterator
/// calls would be compiled apart from the vector code.
#[inline(always)]
fn attend_head(
    geometry: &Geometry,
    (layer, head): (usize, usize),
    row: &Row,
    (fused, mixed): (&[f32], &mut [f32]),
    scores: &mut Vec<Lanes>,
) {
    let keys = geometry.section_start(layer, head);
    let values = keys + LANES * geometry.width;
    let tapes = [&*row.prompt, &row.own];
    scores.resize(tapes[0].pages.len() + tapes[1].pages.len(), [0.0; LANES]);
    let shared = geometry.queries / geometry.heads * geometry.width;
    let queries = fused[head * shared..(head + 1) * shared].chunks_exact(geometry.width);
    let outputs = mixed[head * shared..(head + 1) * shared].chunks_exact_mut(geometry.width);
    for (query, output) in queries.zip(outputs) {
        let mut index = 0;
        for tape in tapes {
            for page in &tape.pages {
                scores[index] = scores_of(query, &page[keys..values]);
                index += 1;
            }
        }
        let total = softmax_weights(scores, [tapes[0].length, tapes[1].length]);
        for (chunk, output) in output.chunks_mut(LANES).enumerate() {
            let sums = weighted_sum(scores, tapes, values + chunk * LANES, geometry.padded);
            for (output, sum) in output.iter_mut().zip(sums) {
                *output = sum / total;
            }
        }
    }
}

/// The scores of a page's keys.
#[inline(always)]
fn scores_of(query: &[f32], keys: &[f32]) -> Lanes {
    let (keys, _) = keys.as_chunks::<LANES>();
    let (quads_of_keys, rest_of_keys) = keys.as_chunks::<CHAINS>();
    let (quads, rest) = query.as_chunks::<CHAINS>();
    let [mut first, mut second, mut third, mut fourth] = [[0.0; LANES]; CHAINS];
    for (query, keys) in quads.iter().zip(quads_of_keys) {
        add(&mut first, query[0], &keys[0]);
        add(&mut second, query[1], &keys[1]);
        add(&mut third, query[2], &keys[2]);
        add(&mut fourth, query[3], &keys[3]);
    }
    for (query, key) in rest.iter().zip(rest_of_keys) {
        add(&mut first, *query, key);
    }
    joined(&[first, second, third, fourth])
}

#[inline(always)]
fn add(sums: &mut Lanes, factor: f32, values: &Lanes) {
    for lane in 0..LANES {
        sums[lane] = factor.mul_add(values[lane], sums[lane]);
    }
}

/// Turns scores into the weights of their softmax, not yet divided by their sum, which it gives. Each part of the sequence
/// ends within a page, whose further places get the weight zero.
#[inline(always)]
fn softmax_weights(scores: &mut [Lanes], parts: [usize; 2]) -> f32 {
    let mut rest = scores;
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut parts_of_scores: [&mut [Lanes]; 2] = [&mut [], &mut []];
    for (part, slot) in parts.into_iter().zip(&mut parts_of_scores) {
        let (own, left) = std::mem::take(&mut rest).split_at_mut(part.div_ceil(LANES));
        if let (Some(last), used @ 1..) = (own.last_mut(), part % LANES) {
            last[used..].fill(f32::NEG_INFINITY);
        }
        for page in own.iter() {
            for lane in 0..LANES {
                highest[lane] = highest[lane].max(page[lane]);
            }
        }
        *slot = own;
        rest = left;
    }
    let highest = highest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    for (part, own) in parts.into_iter().zip(parts_of_scores) {
        let last = own.len().saturating_sub(1);
        for (index, page) in own.iter_mut().enumerate() {
            for value in page.iter_mut() {
                *value = exp(*value - highest);
            }
            if index == last && part % LANES > 0 {
                page[part % LANES..].fill(0.0);
            }
            for lane in 0..LANES {
                sums[lane] += page[lane];
            }
        }
    }
    sums.iter().sum()
}

/// The sum of 16 numbers of each value by the values' weights. In a page the numbers begin at `start`, those of the next
/// value `padded` further on.
#[inline(always)]
fn weighted_sum(weights: &[Lanes], tapes: [&Tape; 2], start: usize, padded: usize) -> Lanes {
    let [mut first, mut second, mut third, mut fourth] = [[0.0; LANES]; CHAINS];
    let mut index = 0;
    for tape in tapes {
        for page in &tape.pages {
            // Rows of whole vectors: `start` and `padded` are multiples of their length.
            let (values, _) = page[start..start + (LANES - 1) * padded + LANES].as_chunks::<LANES>();
            let step = padded / LANES;
            let (quads, _) = weights[index].as_chunks::<CHAINS>();
            index += 1;
            for (quad, weights) in quads.iter().enumerate() {
                let token = quad * CHAINS * step;
                add(&mut first, weights[0], &values[token]);
                add(&mut second, weights[1], &values[token + step]);
                add(&mut third, weights[2], &values[token + 2 * step]);
                add(&mut fourth, weights[3], &values[token + 3 * step]);
            }
        }
    }
    joined(&[first, second, third, fourth])
}

/// The chains' sums added up.
#[inline(always)]
fn joined(sums: &[Lanes; CHAINS]) -> Lanes {
    let mut joined = [0.0; LANES];
    for lane in 0..LANES {
        joined[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
    }
    joined
}

#[cfg(test)]
impl Tape {
    /// Per layer, keys and values as tensors `[1, heads, length, width]`.
    pub(super) fn layers(&self, config: &TextConfig, device: &burn::tensor::Device) -> Vec<(Tensor<4>, Tensor<4>)> {
        let geometry = Geometry::new(config);
        let one = |layer: usize, values: bool| {
            let mut numbers = Vec::new();
            for (head, place) in (0..geometry.heads).flat_map(|head| (0..self.length).map(move |place| (head, place))) {
                let section = &self.pages[place / LANES][geometry.section_start(layer, head)..];
                let lane = place % LANES;
                numbers.extend((0..geometry.width).map(|number| match values {
                    false => section[number * LANES + lane],
                    true => section[LANES * geometry.width + lane * geometry.padded + number],
                }));
            }
            let shape = [1, geometry.heads, self.length, geometry.width];
            Tensor::from_data(burn::tensor::TensorData::new(numbers, shape), device)
        };
        (0..geometry.layers).map(|layer| (one(layer, false), one(layer, true))).collect()
    }
}
