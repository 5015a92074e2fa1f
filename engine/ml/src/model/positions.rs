//! Where tokens and patches stand: three-axis positions of text and images, two-axis positions of patches, and the
//! angles that rotary embedding makes of them. Plain numbers, no tensors.

use crate::config::{TextConfig, VisionConfig};
use crate::image::merge_order;
use crate::{Error, Result};

/// The positions of a sequence's tokens on the temporal, height and width axes, and the position of the token that
/// would follow. Text advances all axes by one. An image starts where the text before it ended and spreads over height
/// and width of its merged grid; the text after it goes on after the larger of the two.
///
/// `grids` are the images in order, in patches.
///
/// # Errors
/// When the image tokens are not those of the images.
pub fn token_positions(
    tokens: &[u32],
    image_token: Option<u32>,
    grids: &[[usize; 3]],
    merge: usize,
) -> Result<(Vec<[u32; 3]>, u32)> {
    let mut positions = Vec::with_capacity(tokens.len());
    let mut current = 0u32;
    let mut grids = grids.iter().enumerate();
    while positions.len() < tokens.len() {
        if image_token != Some(tokens[positions.len()]) {
            positions.push([current; 3]);
            current += 1;
            continue;
        }
        let start = positions.len();
        let Some((index, [frames, rows, columns])) = grids.next() else {
            let message = format!("token {start} is an image token, but the sequence has no further image");
            return Err(Error::input(message));
        };
        let (rows, columns) = (rows / merge, columns / merge);
        let count = frames * rows * columns;
        let run = tokens[start..].iter().take(count).take_while(|token| image_token == Some(**token)).count();
        if run != count {
            let message = format!("image {index} has {count} features, but {run} image tokens stand at token {start}");
            return Err(Error::input(message));
        }
        for frame in 0..*frames {
            for cell in 0..rows * columns {
                let offsets = [frame, cell / columns, cell % columns];
                positions.push(offsets.map(|offset| current + offset as u32));
            }
        }
        current += rows.max(columns) as u32;
    }
    match grids.next() {
        None => Ok((positions, current)),
        Some((index, _)) => Err(Error::input(format!("no image tokens stand for image {index}"))),
    }
}

/// The rotary angles of positions, half a head of them per token. With M-RoPE each frequency follows one axis.
pub(super) fn text_angles(positions: &[[u32; 3]], config: &TextConfig) -> Vec<f32> {
    let half = config.head_dim / 2;
    let axes: Vec<usize> = match config.mrope_section {
        Some(sections) => (0..3).flat_map(|axis| std::iter::repeat_n(axis, sections[axis])).collect(),
        None => vec![0; half],
    };
    let frequencies = frequencies(half, config.rope_theta);
    let angles = |position: &[u32; 3]| -> Vec<f32> {
        axes.iter().zip(&frequencies).map(|(axis, frequency)| position[*axis] as f32 * frequency).collect()
    };
    positions.iter().flat_map(angles).collect()
}

/// The rotary angles of an image's patches, half a head of them per patch: a quarter by row, a quarter by column.
pub(super) fn patch_angles(grid: [usize; 3], config: &VisionConfig) -> Vec<f32> {
    let frequencies = frequencies(config.hidden_size / config.heads / 4, 10_000.0);
    let [frames, rows, columns] = grid;
    let patches = (0..frames).flat_map(|_| merge_order(rows, columns, config.spatial_merge_size));
    let angles = |(row, column): (usize, usize)| -> Vec<f32> {
        [row, column].iter().flat_map(|place| frequencies.iter().map(|frequency| *place as f32 * frequency)).collect()
    };
    patches.flat_map(angles).collect()
}

/// Rotary frequencies, rounded where transformers rounds them: a frequency off by its last bit turns a token at place 10,000
/// by a thousandth.
fn frequencies(count: usize, base: f64) -> Vec<f32> {
    let exponent = |index: usize| (2 * index) as f32 / (2 * count) as f32;
    (0..count).map(|index| 1.0 / base.powf(f64::from(exponent(index))) as f32).collect()
}

/// The order in which an image's merged cells are laid out for window attention, and the number of cells of each
/// window. Windows at the lower and right edges may be smaller.
pub fn window_order(grid: [usize; 3], config: &VisionConfig) -> (Vec<usize>, Vec<usize>) {
    let merge = config.spatial_merge_size;
    let side = config.window_size / merge / config.patch_size;
    let [frames, rows, columns] = [grid[0], grid[1] / merge, grid[2] / merge];
    let mut order = Vec::with_capacity(frames * rows * columns);
    let mut sizes = Vec::new();
    for frame in 0..frames {
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let before = order.len();
                for row in top..rows.min(top + side) {
                    let start = (frame * rows + row) * columns;
                    order.extend(start + left..start + columns.min(left + side));
                }
                sizes.push(order.len() - before);
            }
        }
    }
    (order, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_spreads_over_two_axes() {
        let (positions, next) = token_positions(&[1, 9, 9, 9, 9, 9, 9, 2], Some(9), &[[1, 4, 6]], 2).unwrap();
        let image = [[1, 1, 1], [1, 1, 2], [1, 1, 3], [1, 2, 1], [1, 2, 2], [1, 2, 3]];
        assert_eq!(positions[1..7], image);
        assert_eq!((positions[0], positions[7], next), ([0; 3], [4; 3], 5));
    }

    #[test]
    fn a_wrong_number_of_image_tokens_is_refused() {
        let message =
            |tokens: &[u32], grids: &[[usize; 3]]| token_positions(tokens, Some(9), grids, 2).unwrap_err().to_string();
        assert!(message(&[1, 9, 9, 2], &[[1, 4, 4]]).contains("has 4 features, but 2 image tokens"));
        assert!(message(&[1, 9], &[]).contains("no further image"));
        assert!(message(&[1], &[[1, 2, 2]]).contains("no image tokens stand for image 0"));
    }
}
