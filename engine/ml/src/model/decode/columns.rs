//! Keys and values on devices other than the CPU: one tensor per layer for all rows, which end at the same column and begin
//! where their prompts do. What lies before a row is padding, hidden from it.

use burn::tensor::{Device, Tensor};

use super::super::kernels::attention::Visibility;
use super::super::layers::{Rotary, project};
use super::super::row_indices;
use crate::config::TextConfig;

/// Columns that the tensors grow by at least.
const GROWTH: usize = 64;

/// Per layer, the keys and the values of a prompt, `[1, heads, length, width]`.
#[derive(Clone, Debug)]
pub(super) struct DevicePrefix {
    pub(super) layers: Vec<(Tensor<4>, Tensor<4>)>,
}

impl DevicePrefix {
    fn length(&self) -> usize {
        self.layers.first().map_or(0, |(keys, _)| keys.dims()[2])
    }
}

/// Rows as tensors.
pub(crate) struct Columns {
    device: Device,
    heads: usize,
    width: usize,
    /// Per layer, `[rows, heads, capacity, width]`.
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    /// The first column of each row.
    starts: Vec<usize>,
    /// The column after the last token of every row.
    end: usize,
    capacity: usize,
    /// What the rows see in the step that is under way.
    visibility: Visibility,
}

impl Columns {
    pub(super) fn new(config: &TextConfig, device: &Device) -> Self {
        let empty = || Tensor::zeros([1, config.kv_heads, 1, config.head_dim], device);
        Columns {
            device: device.clone(),
            heads: config.kv_heads,
            width: config.head_dim,
            layers: (0..config.layers).map(|_| (empty(), empty())).collect(),
            starts: Vec::new(),
            end: 0,
            capacity: 0,
            visibility: Visibility::new(Vec::new(), 1),
        }
    }

    pub(super) fn admit(&mut self, prefixes: &[&DevicePrefix]) {
        let longest = prefixes.iter().map(|prefix| prefix.length()).max().unwrap_or(0);
        let used = self.end - self.starts.iter().copied().min().unwrap_or(self.end);
        let end = used.max(longest);
        self.resize(end, end + GROWTH.max(end / 2));
        let place = |prefix: &Tensor<4>| {
            let empty = Tensor::zeros([1, self.heads, self.capacity, self.width], &self.device);
            let first = self.end - prefix.dims()[2];
            empty.slice_assign([0..1, 0..self.heads, first..self.end, 0..self.width], prefix.clone())
        };
        let rows = self.starts.len();
        for (layer, (keys, values)) in self.layers.iter_mut().enumerate() {
            let with = |old: &Tensor<4>, pick: &dyn Fn(&DevicePrefix) -> Tensor<4>| {
                let old = (rows > 0).then(|| old.clone());
                Tensor::cat(old.into_iter().chain(prefixes.iter().map(|prefix| pick(prefix))).collect(), 0)
            };
            *keys = with(keys, &|prefix| place(&prefix.layers[layer].0));
            *values = with(values, &|prefix| place(&prefix.layers[layer].1));
        }
        self.starts.extend(prefixes.iter().map(|prefix| end - prefix.length()));
    }

    pub(super) fn retain(&mut self, kept: &[bool]) {
        let numbers: Vec<usize> = (0..kept.len()).filter(|row| kept[*row]).collect();
        self.starts = numbers.iter().map(|row| self.starts[*row]).collect();
        if numbers.is_empty() || numbers.len() == kept.len() {
            return;
        }
        let numbers = row_indices(&numbers, &self.device);
        for (keys, values) in &mut self.layers {
            keys.inplace(|keys| keys.select(0, numbers.clone()));
            values.inplace(|values| values.select(0, numbers.clone()));
        }
    }

    /// Makes room for one more token in each row.
    pub(super) fn begin(&mut self) {
        if self.end == self.capacity {
            let first = self.starts.iter().copied().min().unwrap_or(0);
            let used = self.end - first;
            self.resize(used, used + GROWTH.max(used / 2));
        }
        self.visibility = Visibility::new(self.starts.clone(), 1);
    }

    /// As `PagedRows::attend`, with positions given by `rotary`.
    pub(super) fn attend(&mut self, layer: usize, fused: Tensor<2>, rotary: &Rotary) -> Tensor<2> {
        let rows = self.starts.len();
        let projected = project(fused, rows, rotary);
        let place = [0..rows, 0..self.heads, self.end..self.end + 1, 0..self.width];
        let (keys, values) = &mut self.layers[layer];
        keys.inplace(|keys| keys.slice_assign(place.clone(), projected.keys.clone()));
        values.inplace(|values| values.slice_assign(place, projected.values.clone()));
        let keys = keys.clone().narrow(2, 0, self.end + 1);
        let values = values.clone().narrow(2, 0, self.end + 1);
        projected.attend_to(keys, values, Some(&self.visibility))
    }

    /// Ends the step that [`Columns::begin`] began.
    pub(super) fn end(&mut self) {
        self.end += 1;
    }

    /// Moves what the rows hold so that it ends at column `end`, in tensors of `capacity` columns.
    fn resize(&mut self, end: usize, capacity: usize) {
        let first = self.starts.iter().copied().min().unwrap_or(self.end);
        let used = self.end - first;
        if end == self.end && capacity <= self.capacity {
            return;
        }
        let rows = self.starts.len();
        if rows > 0 {
            let moved = |old: &Tensor<4>| {
                let empty = Tensor::zeros([rows, self.heads, capacity, self.width], &self.device);
                let place = [0..rows, 0..self.heads, end - used..end, 0..self.width];
                empty.slice_assign(place, old.clone().narrow(2, first, used))
            };
            for (keys, values) in &mut self.layers {
                (*keys, *values) = (moved(keys), moved(values));
            }
        }
        for start in &mut self.starts {
            *start = *start - first + end - used;
        }
        (self.end, self.capacity) = (end, capacity);
    }
}
