//! Matrices kept in the 16 bits in which they were saved, and computed with in f32: a few rows at a time are widened when
//! they are needed, which is exact, so results have the bits that an f32 copy of the matrix gives. Knows nothing of files.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

use super::layers::product;

/// The values that are widened together: 4 MiB of f32, which caches hold while a product reads them.
const BLOCK_ELEMENTS: usize = 1 << 20;
/// The fewest rows of a block of a matrix that has more. Narrower products are summed in another order, see
/// [`super::layers::product`].
const BLOCK_ROWS_MIN: usize = 128;

/// A format of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfFormat {
    /// bfloat16.
    Bf16,
    /// IEEE 754 binary16.
    F16,
}

impl HalfFormat {
    /// Writes the values that little-endian `bytes` hold to `output`, as many as fit in both. Exact.
    pub fn widen(self, bytes: &[u8], output: &mut [f32]) {
        let pairs = bytes.as_chunks::<2>().0;
        match self {
            HalfFormat::Bf16 => {
                for (value, pair) in output.iter_mut().zip(pairs) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
                }
            }
            HalfFormat::F16 => {
                // Aligned bits, as the conversion by vectors takes them.
                let bits: Vec<u16> = pairs.iter().take(output.len()).map(|pair| u16::from_le_bytes(*pair)).collect();
                let length = bits.len();
                bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut output[..length]);
            }
        }
    }
}

/// Rows of a matrix as they were saved: little-endian, row by row.
#[derive(Clone)]
pub struct HalfRows {
    /// At least `rows * columns * 2` bytes, in memory or mapped; no alignment is asked.
    pub bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// What they hold.
    pub format: HalfFormat,
    /// How many rows.
    pub rows: usize,
}

/// A matrix in 16 bits, `[rows, columns]`, of one or more runs of rows. A copy shares the bytes. It has no gradient.
#[derive(Clone)]
pub struct HalfMatrix {
    runs: Arc<[HalfRows]>,
    rows: usize,
    columns: usize,
    device: Device,
}

impl std::fmt::Debug for HalfMatrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "HalfMatrix[{}, {}]", self.rows, self.columns)
    }
}

impl HalfMatrix {
    /// A matrix of `runs`, one below the other; products with it are computed on `device`.
    ///
    /// # Panics
    /// When a run has fewer bytes than its rows need.
    pub fn new(runs: Vec<HalfRows>, columns: usize, device: &Device) -> Self {
        for run in &runs {
            let (found, needed) = ((*run.bytes).as_ref().len(), run.rows * columns * 2);
            assert!(found >= needed, "{} rows of {columns} need {needed} bytes, not {found}", run.rows);
        }
        let rows = runs.iter().map(|run| run.rows).sum();
        HalfMatrix { runs: runs.into(), rows, columns, device: device.clone() }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The values of places `range` in row-major order.
    ///
    /// # Panics
    /// When the matrix has fewer values.
    pub fn values(&self, range: Range<usize>) -> Vec<f32> {
        let mut values = vec![0.0; range.len()];
        let mut rest = values.as_mut_slice();
        let (mut first, mut next) = (0, range.start);
        for run in self.runs.iter() {
            let end = first + run.rows * self.columns;
            if next < end && !rest.is_empty() {
                let take = (end - next).min(rest.len());
                let (part, others) = rest.split_at_mut(take);
                let bytes = (*run.bytes).as_ref();
                run.format.widen(&bytes[(next - first) * 2..(next - first + take) * 2], part);
                rest = others;
                next += take;
            }
            first = end;
        }
        assert!(rest.is_empty(), "{range:?} reaches beyond {self:?}");
        values
    }

    /// The matrix in f32.
    pub fn widened(&self) -> Tensor<2> {
        self.block(0..self.rows)
    }

    fn block(&self, rows: Range<usize>) -> Tensor<2> {
        let values = self.values(rows.start * self.columns..rows.end * self.columns);
        Tensor::from_data(TensorData::new(values, [rows.len(), self.columns]), &self.device)
    }

    /// The rows of the given numbers in f32, `[numbers, columns]`.
    pub(super) fn select(&self, numbers: Tensor<1, Int>) -> Tensor<2> {
        let numbers: Vec<usize> = numbers.into_data().iter::<i64>().map(|number| number as usize).collect();
        let mut values = Vec::with_capacity(numbers.len() * self.columns);
        for number in &numbers {
            values.extend(self.values(number * self.columns..(number + 1) * self.columns));
        }
        Tensor::from_data(TensorData::new(values, [numbers.len(), self.columns]), &self.device)
    }

    /// `input matrix^T`, `[n, rows]`, with the bits of [`product`] with the widened matrix. Never more of it than a block per
    /// thread is in f32.
    pub(super) fn product(&self, input: Tensor<2>) -> Tensor<2> {
        self.product_in_blocks(input, (BLOCK_ELEMENTS / self.columns.max(1)).max(BLOCK_ROWS_MIN))
    }

    /// Blocks of `block_rows` or somewhat more.
    fn product_in_blocks(&self, input: Tensor<2>, block_rows: usize) -> Tensor<2> {
        let count = (self.rows / block_rows).max(1);
        if count == 1 {
            return product(input, &self.widened());
        }
        let compute = |index: usize| {
            let rows = index * self.rows / count..(index + 1) * self.rows / count;
            product(input.clone(), &self.block(rows))
        };
        Tensor::cat((0..count).into_par_iter().map(compute).collect(), 1)
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Values without a pattern, `rows` of `columns`, as saved in two runs of both formats.
    fn matrix(rows: usize, columns: usize) -> HalfMatrix {
        let value = |index: usize| ((index * 37 + 11) as f32).sin();
        let first = rows / 3;
        let cut = first * columns;
        let upper: Vec<u8> = (0..cut).flat_map(|index| bf16::from_f32(value(index)).to_le_bytes()).collect();
        let lower: Vec<u8> =
            (cut..rows * columns).flat_map(|index| f16::from_f32(value(index)).to_le_bytes()).collect();
        let run = |bytes: Vec<u8>, format, rows| HalfRows { bytes: Arc::new(bytes), format, rows };
        let runs = vec![run(upper, HalfFormat::Bf16, first), run(lower, HalfFormat::F16, rows - first)];
        HalfMatrix::new(runs, columns, &Device::flex())
    }

    #[test]
    fn products_in_blocks_have_the_bits_of_the_whole() {
        let device = Device::flex();
        for (rows, columns) in [(1200, 700), (257, 1176), (640, 96), (40, 64)] {
            let matrix = matrix(rows, columns);
            for length in [1, 2, 3, 33, 150] {
                let values = (0..length * columns).map(|index| ((index * 5 + 3) as f32).cos()).collect::<Vec<_>>();
                let input = Tensor::<2>::from_data(TensorData::new(values, [length, columns]), &device);
                let bits = |output: Tensor<2>| output.into_data().iter::<f32>().map(f32::to_bits).collect::<Vec<_>>();
                let expected = bits(product(input.clone(), &matrix.widened()));
                for block_rows in [128, 200, 500] {
                    let found = bits(matrix.product_in_blocks(input.clone(), block_rows));
                    assert!(found == expected, "{length} rows times {matrix:?} in blocks of {block_rows}");
                }
            }
        }
    }

    #[test]
    fn parts_are_parts_of_the_whole() {
        let matrix = matrix(9, 5);
        let all = matrix.values(0..45);
        assert_eq!(all[7], bf16::from_f32((7.0f32 * 37.0 + 11.0).sin()).to_f32());
        assert_eq!(all[40], f16::from_f32((40.0f32 * 37.0 + 11.0).sin()).to_f32());
        for range in [0..0, 0..1, 13..17, 14..45, 44..45] {
            assert_eq!(matrix.values(range.clone()), all[range]);
        }
        let numbers = Tensor::<1, Int>::from_data(TensorData::new(vec![8i64, 0, 3, 3], [4]), &Device::flex());
        let rows: Vec<f32> = matrix.select(numbers).into_data().iter::<f32>().collect();
        assert_eq!(rows, [&all[40..], &all[..5], &all[15..20], &all[15..20]].concat());
    }

    #[test]
    fn every_16_bits_widen_exactly() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0; 1 << 16];
        for (format, exact) in [
            (HalfFormat::Bf16, (|bits| bf16::from_bits(bits).to_f32()) as fn(u16) -> f32),
            (HalfFormat::F16, |bits| f16::from_bits(bits).to_f32()),
        ] {
            format.widen(&bytes, &mut values);
            for (bits, value) in (0..=u16::MAX).zip(&values) {
                let expected = exact(bits);
                assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{bits:#06x}");
            }
        }
    }
}
