//! Prompts to prefixes: many prompts in one pass without padding, those of one length side by side in attention.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::super::kernels::Host;
use super::super::kernels::attention::Visibility;
use super::super::layers::{Rotary, project};
use super::super::{Batch, ImageFeatures, Model, Padding, Sequence, row_indices};
use super::columns::DevicePrefix;
use super::pages::{Geometry, Tape};
use super::{Memory, Prefix, read_logits};
use crate::Result;
use crate::device::is_cpu;
use crate::types::ImagePatches;

/// The features of one image. A copy shares them.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// `[features, width]`.
    rows: Tensor<2>,
    grid: [usize; 3],
}

/// A prompt with its images encoded.
pub(crate) struct Shown<'a> {
    /// Token ids.
    pub(crate) tokens: &'a [u32],
    /// The images in order of appearance.
    pub(crate) images: Vec<Encoded>,
}

/// Prompts of one length.
struct Group {
    /// Where they stand among the prompts of the pass.
    prompts: Vec<usize>,
    batch: Batch,
    features: ImageFeatures,
    rotary: Rotary,
    visibility: Visibility,
}

impl Group {
    fn tokens(&self) -> usize {
        self.batch.rows * self.batch.width
    }
}

impl Model {
    /// The features of each image.
    ///
    /// # Errors
    /// As [`Model::encode_images`].
    pub(crate) fn encode_each(&self, images: &[&ImagePatches]) -> Result<Vec<Encoded>> {
        let ImageFeatures { rows, grids, ranges } = self.encode_images(images)?;
        let Some(rows) = rows else { return Ok(Vec::new()) };
        let one = |(grid, range): ([usize; 3], std::ops::Range<usize>)| Encoded {
            rows: rows.clone().narrow(0, range.start, range.len()),
            grid,
        };
        Ok(grids.into_iter().zip(ranges).map(one).collect())
    }

    /// Computes prompts, all in one pass.
    ///
    /// # Errors
    /// When a prompt does not fit the model, or the device cannot be read.
    pub(crate) fn prefill(&self, prompts: &[Shown<'_>]) -> Result<Vec<Prefix>> {
        let groups = self.groups(prompts)?;
        let embedded = groups.iter().map(|group| self.embedded(&group.batch, &group.features));
        let embedded = Tensor::cat(embedded.collect::<Result<Vec<_>>>()?, 0);
        let mut recorder = Recorder::new(self, &groups);
        let hidden = self.text.forward_with(embedded, &mut |layer, fused| {
            let mut start = 0;
            let mut mixed = Vec::with_capacity(groups.len());
            for (index, group) in groups.iter().enumerate() {
                let fused = fused.clone().narrow(0, start, group.tokens());
                start += group.tokens();
                let projected = project(fused, group.batch.rows, &group.rotary);
                recorder.record(layer, index, &projected.keys, &projected.values);
                mixed.push(projected.attend(Some(&group.visibility)));
            }
            if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(mixed, 0) }
        });
        let mut ends = Vec::new();
        let mut start = 0;
        for group in &groups {
            ends.extend((1..=group.batch.rows).map(|row| start + row * group.batch.width - 1));
            start += group.tokens();
        }
        let logits = read_logits(self.text.logits(hidden.select(0, row_indices(&ends, &self.device))))?;
        let mut prefixes: Vec<Option<Prefix>> = prompts.iter().map(|_| None).collect();
        let places = groups.iter().flat_map(|group| group.prompts.iter().zip(group.batch.next_positions()));
        let logits = logits.chunks_exact(self.config.text.vocab_size);
        for (((place, position), memory), logits) in places.zip(recorder.memories()).zip(logits) {
            prefixes[*place] = Some(Prefix { memory, position: *position, logits: logits.into() });
        }
        Ok(prefixes.into_iter().flatten().collect())
    }

    fn groups(&self, prompts: &[Shown<'_>]) -> Result<Vec<Group>> {
        let length = |prompt: &usize| prompts[*prompt].tokens.len();
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(length);
        order.chunk_by(|left, right| length(left) == length(right)).map(|same| self.group(prompts, same)).collect()
    }

    fn group(&self, prompts: &[Shown<'_>], places: &[usize]) -> Result<Group> {
        let images: Vec<&Encoded> = places.iter().flat_map(|place| &prompts[*place].images).collect();
        let features = joined(&images, self);
        let mut first = 0;
        let numbers: Vec<Vec<usize>> = places
            .iter()
            .map(|place| {
                let start = first;
                first += prompts[*place].images.len();
                (start..first).collect()
            })
            .collect();
        let mut sequences = Vec::with_capacity(places.len());
        for (place, images) in places.iter().zip(&numbers) {
            sequences.push(Sequence { tokens: prompts[*place].tokens, images });
        }
        let batch = self.batch(&sequences, &features, Padding::Right)?;
        let rotary = self.rotary(&batch.positions);
        let visibility = Visibility::new(batch.starts.clone(), batch.width);
        Ok(Group { prompts: places.to_vec(), batch, features, rotary, visibility })
    }
}

/// Images one after the other.
fn joined(images: &[&Encoded], model: &Model) -> ImageFeatures {
    if images.is_empty() {
        return model.no_images();
    }
    let mut end = 0;
    let mut range = |image: &&Encoded| {
        let start = end;
        end += image.rows.dims()[0];
        start..end
    };
    ImageFeatures {
        ranges: images.iter().map(&mut range).collect(),
        grids: images.iter().map(|image| image.grid).collect(),
        rows: Some(Tensor::cat(images.iter().map(|image| image.rows.clone()).collect(), 0)),
    }
}

/// Keeps the keys and values of a pass, prompt by prompt in the order of the groups.
enum Recorder {
    Paged { geometry: Geometry, tapes: Vec<Tape>, firsts: Vec<usize> },
    Tensors { prefixes: Vec<DevicePrefix>, firsts: Vec<usize> },
}

impl Recorder {
    fn new(model: &Model, groups: &[Group]) -> Self {
        let mut count = 0;
        let first = |group: &Group| {
            let first = count;
            count += group.batch.rows;
            first
        };
        let firsts = groups.iter().map(first).collect();
        if is_cpu(&model.device) {
            let geometry = Geometry::new(&model.config.text);
            let lengths = groups.iter().flat_map(|group| std::iter::repeat_n(group.batch.width, group.batch.rows));
            Recorder::Paged {
                geometry,
                tapes: lengths.map(|length| Tape::with_length(&geometry, length)).collect(),
                firsts,
            }
        } else {
            Recorder::Tensors { prefixes: vec![DevicePrefix { layers: Vec::new() }; count], firsts }
        }
    }

    /// `keys` and `values`: `[prompts of the group, heads, length, width]`.
    fn record(&mut self, layer: usize, group: usize, keys: &Tensor<4>, values: &Tensor<4>) {
        let [rows, heads, length, width] = keys.dims();
        match self {
            Recorder::Paged { geometry, tapes, firsts } => {
                let (keys, values) = (Host::new(keys.clone()), Host::new(values.clone()));
                let pairs = keys.chunks_exact(width).zip(values.chunks_exact(width));
                for (index, (key, value)) in pairs.enumerate() {
                    let (row, head, place) = (index / length / heads, index / length % heads, index % length);
                    tapes[firsts[group] + row].put(geometry, (layer, head), place, [key, value]);
                }
            }
            Recorder::Tensors { prefixes, firsts } => {
                for row in 0..rows {
                    let pair = (keys.clone().narrow(0, row, 1), values.clone().narrow(0, row, 1));
                    prefixes[firsts[group] + row].layers.push(pair);
                }
            }
        }
    }

    fn memories(self) -> Vec<Memory> {
        match self {
            Recorder::Paged { tapes, .. } => tapes.into_iter().map(|tape| Memory::Paged(Arc::new(tape))).collect(),
            Recorder::Tensors { prefixes, .. } => prefixes.into_iter().map(Memory::Tensors).collect(),
        }
    }
}
