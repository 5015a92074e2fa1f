//! How much of a text lies in n-grams of words that stood before in it: the share of characters in duplicate n-grams of
//! Gopher's rules (Rae et al. 2021, table A1). Knows nothing of plugins.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Odd, and large in each bit's reach.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The share of the characters of words that lie in an n-gram of which an equal one began before. A character in several
/// such n-grams counts once; white space does not count. 0 for a text of fewer than `n` words, or if `n` is 0.
///
/// N-grams are compared by 64-bit fingerprints. Linear in the text, whatever `n` is.
pub fn repeated_share(text: &str, n: usize) -> f64 {
    let words: Vec<Word> = text.split_whitespace().map(Word::new).collect();
    if n == 0 || words.len() < n {
        return 0.0;
    }
    let mut seen: HashSet<u64, BuildHasherDefault<AsIs>> = HashSet::default();
    let highest = (1..n).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut sum = 0_u64;
    let mut repeated = 0;
    // The first word that no repeated n-gram has covered yet.
    let mut covered = 0;
    for (at, word) in words.iter().enumerate() {
        sum = sum.wrapping_mul(BASE).wrapping_add(word.hash);
        let Some(first) = (at + 1).checked_sub(n) else { continue };
        if !seen.insert(mix(sum)) {
            repeated += words[covered.max(first)..=at].iter().map(|word| word.characters).sum::<usize>();
            covered = at + 1;
        }
        sum = sum.wrapping_sub(words[first].hash.wrapping_mul(highest));
    }
    let all: usize = words.iter().map(|word| word.characters).sum();
    repeated as f64 / all as f64
}

struct Word {
    hash: u64,
    characters: usize,
}

impl Word {
    fn new(word: &str) -> Self {
        // FNV-1a.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self { hash: mix(word.bytes().fold(0xcbf2_9ce4_8422_2325, step)), characters: word.chars().count() }
    }
}

/// Spreads each bit over all: the end of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Takes a fingerprint for its own hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| mix(sum ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::repeated_share;

    /// The definition, word by word.
    fn slow(text: &str, n: usize) -> f64 {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut covered = vec![false; words.len()];
        let mut seen = HashSet::new();
        for (first, gram) in words.windows(n).enumerate() {
            if !seen.insert(gram) {
                covered[first..first + n].fill(true);
            }
        }
        let count = |all: bool| -> usize {
            let counted = words.iter().zip(&covered).filter(|(_, covered)| all || **covered);
            counted.map(|(word, _)| word.chars().count()).sum()
        };
        count(false) as f64 / count(true).max(1) as f64
    }

    #[test]
    fn the_share_is_that_of_the_definition() {
        assert_eq!(repeated_share("a b a b", 2), 0.5);
        assert_eq!(repeated_share("a b c d", 1), 0.0);
        let mut text = String::new();
        let mut state = 1_u32;
        for _ in 0..400 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(["if", "so", "then", "größer", "x"][(state >> 29) as usize % 5]);
            text.push(' ');
            for n in [1, 2, 3, 7] {
                assert_eq!(repeated_share(&text, n), slow(&text, n), "n is {n}, the text {text:?}");
            }
        }
    }

    #[test]
    fn the_order_of_words_counts() {
        assert_eq!(repeated_share("a b c c b a b a c", 3), 0.0);
        assert_eq!(repeated_share("", 1), 0.0);
        assert_eq!(repeated_share("a a", 3), 0.0);
        assert_eq!(repeated_share("a a", 0), 0.0);
    }
}
