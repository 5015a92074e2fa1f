//! Decoding token by token: prompts become prefixes, computed once each; rows of a batch go on from prefixes, come and go, and
//! differ in length. Knows nothing of drawing tokens.
//!
//! On the CPU a row attends to exactly its own keys, page by page, in a kernel of ours ([`pages`]): no padding is
//! computed, samples of one prompt share its pages, and a row's results have the same bits whatever the other rows are.
//! On other devices the rows are one tensor ([`columns`]), padded on the left, and burn computes.

mod columns;
mod pages;
mod prefill;
mod softmax;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::tensor::Tensor;

use self::columns::{Columns, DevicePrefix};
use self::pages::{PagedRows, Tape};
pub(crate) use self::prefill::{Encoded, Shown};
pub(crate) use self::softmax::exponentials;
use super::kernels::Host;
use super::{Model, Parameter, integers};
use crate::device::is_cpu;
use crate::{Error, Result};

/// What is kept of a computed prompt: its keys and values, and what follows it. A copy shares them.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    memory: Memory,
    /// The position of the token that follows.
    pub(crate) position: u32,
    /// The logits of the token that follows, `[vocabulary]`.
    pub(crate) logits: Arc<[f32]>,
}

#[derive(Clone, Debug)]
enum Memory {
    Paged(Arc<Tape>),
    Tensors(DevicePrefix),
}

/// Sequences that are decoded together, one row each.
pub(crate) enum Rows {
    /// On the CPU.
    Paged(PagedRows),
    /// On other devices.
    Tensors(Box<Columns>),
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(model: &Model) -> Self {
        if is_cpu(&model.device) {
            Rows::Paged(PagedRows::new(&model.config.text))
        } else {
            Rows::Tensors(Box::new(Columns::new(&model.config.text, &model.device)))
        }
    }

    /// Adds a row at the end for each prefix, which may occur several times.
    pub(crate) fn admit(&mut self, prefixes: &[Prefix]) {
        let memories = prefixes.iter().map(|prefix| &prefix.memory);
        match self {
            Rows::Paged(rows) => memories.for_each(|memory| match memory {
                Memory::Paged(tape) => rows.admit(tape.clone()),
                Memory::Tensors(_) => unreachable!("a prefix and the rows that go on from it lie on one device"),
            }),
            Rows::Tensors(columns) => {
                let tensors = memories.map(|memory| match memory {
                    Memory::Tensors(prefix) => prefix,
                    Memory::Paged(_) => unreachable!("a prefix and the rows that go on from it lie on one device"),
                });
                columns.admit(&tensors.collect::<Vec<_>>());
            }
        }
    }

    /// Drops the rows whose entry is false; the others keep their order.
    pub(crate) fn retain(&mut self, kept: &[bool]) {
        match self {
            Rows::Paged(rows) => rows.retain(kept),
            Rows::Tensors(columns) => columns.retain(kept),
        }
    }

    /// The bytes that keys and values of `tokens` tokens take.
    pub(crate) fn bytes(model: &Model, tokens: usize) -> u64 {
        let text = &model.config.text;
        let values = text.layers * text.kv_heads * 2 * text.head_dim;
        tokens as u64 * (values * size_of::<f32>()) as u64
    }
}

impl Model {
    /// The logits `[rows, vocabulary]` after one more token for each row, at the given positions.
    ///
    /// # Errors
    /// When the device cannot be read.
    pub(crate) fn decode(&self, rows: &mut Rows, tokens: &[u32], positions: &[u32]) -> Result<Host> {
        let ids: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let positions: Vec<[u32; 3]> = positions.iter().map(|position| [*position; 3]).collect();
        let embedded = self.text.embed(integers(&ids, &self.device));
        let hidden = match rows {
            Rows::Paged(rows) => {
                rows.begin(&super::text_angles(&positions, &self.config.text));
                let hidden = self.text.forward_with(embedded, &mut |layer, fused| rows.attend(layer, fused));
                rows.end();
                hidden
            }
            Rows::Tensors(columns) => {
                let rotary = self.rotary(&positions);
                columns.begin();
                let hidden =
                    self.text.forward_with(embedded, &mut |layer, fused| columns.attend(layer, fused, &rotary));
                columns.end();
                hidden
            }
        };
        read_logits(self.text.logits(hidden))
    }

    /// This model for sampling on the CPU: each matrix is laid out by columns, which spares products of few rows to repack
    /// it each time and leaves every result as it is, to the bit. Matrix by matrix, so that no two models lie in memory where
    /// this is the only one.
    #[must_use]
    pub fn laid_out_for_sampling(mut self) -> Self {
        if self.for_sampling || !is_cpu(&self.device) {
            return self;
        }
        self.text.separate_head();
        self.map_parameters(&mut |name, parameter| match parameter {
            // A table is read by rows.
            Parameter::Matrix(matrix) if name != "model.embed_tokens.weight" => Parameter::Matrix(by_columns(matrix)),
            other => other,
        });
        self.for_sampling = true;
        self
    }
}

/// The same matrix with the numbers of a column side by side.
fn by_columns(matrix: Tensor<2>) -> Tensor<2> {
    let ([rows, columns], device) = (matrix.dims(), matrix.device());
    Host::new(matrix.transpose()).tensor::<2>([columns, rows], &device).transpose()
}

/// Logits on the host.
fn read_logits(logits: Tensor<2>) -> Result<Host> {
    let data = logits.try_into_data().map_err(|error| Error::device(format!("cannot read the logits: {error:?}")))?;
    Ok(Host::of(data))
}
