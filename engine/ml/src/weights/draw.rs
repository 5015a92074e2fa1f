//! Random weights from a seed.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::model::parameters::{Draw, SavedTensor};

/// Values that one thread draws at a time.
const PIECE: usize = 1 << 16;
/// The words of the generator that a pair of values takes: two numbers of 64 bits.
const WORDS_PER_PAIR: u128 = 4;

/// The values of places `range`, from an even one on, of a saved tensor. They depend on the seed, the tensor's name and the
/// place only, so a model with a layer more shares the others, and pieces can be drawn apart.
pub(super) fn draw_values(saved: &SavedTensor, draw: Draw, seed: u64, range: Range<usize>) -> Vec<f32> {
    let deviation = match draw {
        Draw::One => return vec![1.0; range.len()],
        Draw::Zero => return vec![0.0; range.len()],
        Draw::Normal(deviation) => deviation,
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(saved.name.as_bytes());
    let key = *hasher.finalize().as_bytes();
    let mut values = vec![0.0; range.len()];
    values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, values)| {
        let mut random = ChaCha8Rng::from_seed(key);
        random.set_word_pos(((range.start + piece * PIECE) / 2) as u128 * WORDS_PER_PAIR);
        for pair in values.chunks_mut(2) {
            // Box and Muller's method: two uniform numbers give two normal ones.
            let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt() * deviation;
            let angle = std::f64::consts::TAU * random.random::<f64>();
            let normal = [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32];
            pair.copy_from_slice(&normal[..pair.len()]);
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_of_the_whole_in_the_order_of_one_generator() {
        let saved = SavedTensor { name: "a".to_owned(), shape: vec![PIECE * 2 + 101] };
        let all = draw_values(&saved, Draw::Normal(0.5), 7, 0..saved.elements());
        for range in [0..1, 0..7, 2..9, PIECE - 2..PIECE + 3, PIECE + 6..saved.elements()] {
            assert_eq!(draw_values(&saved, Draw::Normal(0.5), 7, range.clone()), all[range]);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&7u64.to_le_bytes()).update(b"a");
        let mut random = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        for pair in all.chunks(2) {
            let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt() * 0.5;
            let angle = std::f64::consts::TAU * random.random::<f64>();
            let expected = [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32];
            assert_eq!(pair, &expected[..pair.len()]);
        }
    }
}
