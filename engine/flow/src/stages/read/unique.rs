//! Whether ids repeat, in a few bytes for each: runs of whole numbers, else 64-bit hashes. It knows no file.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::table::Mark;

/// Sets that share the hashes between them: only a small part is copied at a time when they grow.
const PARTS: usize = 64;

/// The ids of a stream so far.
#[derive(Default)]
pub(super) struct Ids {
    /// Whole numbers that came in rising order, as runs of neighbours: first and last of each.
    runs: Vec<(i64, i64)>,
    /// The other marks.
    parts: Vec<Marks>,
    /// Contents that came more than once, and how often they repeated.
    repeated: HashMap<u64, u64>,
}

/// Whether an id came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It did not.
    New,
    /// The content did: this many times.
    Content(u64),
    /// Its mark did. Ids of equal marks are mostly, not always, equal.
    Maybe,
}

impl Ids {
    /// Takes the next id.
    pub(super) fn take(&mut self, mark: Mark) -> Repeat {
        match mark {
            Mark::Int(number) => self.take_number(number),
            Mark::Hash(hash) if self.insert(hash) => Repeat::New,
            Mark::Hash(_) => Repeat::Maybe,
            Mark::Content(content) if self.insert(content) => Repeat::New,
            Mark::Content(content) => {
                let count = self.repeated.entry(content).or_default();
                *count += 1;
                Repeat::Content(*count)
            }
        }
    }

    fn take_number(&mut self, number: i64) -> Repeat {
        match self.runs.last_mut() {
            Some((_, last)) if number <= *last => {}
            Some((_, last)) if number == *last + 1 => {
                *last = number;
                return Repeat::New;
            }
            _ => {
                self.runs.push((number, number));
                return Repeat::New;
            }
        }
        let after = self.runs.partition_point(|(first, _)| *first <= number);
        let in_a_run =
            after.checked_sub(1).and_then(|index| self.runs.get(index)).is_some_and(|(_, last)| number <= *last);
        if in_a_run || !self.insert(spread(number as u64)) { Repeat::Maybe } else { Repeat::New }
    }

    /// False if it was there.
    fn insert(&mut self, mark: u64) -> bool {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Marks::default);
        }
        let part = (mark >> 5) as usize % PARTS;
        self.parts.get_mut(part).is_none_or(|part| part.insert(mark))
    }
}

type Marks = HashSet<u64, BuildHasherDefault<Spread>>;

/// Mixes the bits of a mark. Different marks stay different.
fn spread(mark: u64) -> u64 {
    let mark = (mark ^ (mark >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mark ^ (mark >> 29)
}

/// Marks are hashes already.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, mark: u64) {
        self.0 = spread(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::mark_of;

    #[test]
    fn every_repeat_is_found_and_nothing_else() {
        let cases: [(&[&str], &[usize]); 6] = [
            (&["1", "2", "3", "2"], &[3]),
            (&["1", "2", "10", "11", "5", "5", "10"], &[5, 6]),
            (&["3", "1", "2", "1", "3"], &[3, 4]),
            (&["7", "07", "+7", "7.0", "a", "a"], &[5]),
            (&["-9223372036854775808", "9223372036854775807", "0", "0", "-9223372036854775808"], &[3, 4]),
            (&["a", "", "A", "a/0", "a/0"], &[4]),
        ];
        for (ids, repeats) in cases {
            let mut seen = Ids::default();
            let found: Vec<usize> =
                (0..ids.len()).filter(|index| seen.take(mark_of(ids[*index])) == Repeat::Maybe).collect();
            assert_eq!(found, repeats, "{ids:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn numbers_in_any_order(numbers in proptest::collection::vec(-20i64..60, 0..80)) {
            let mut seen = Ids::default();
            let mut known = HashSet::new();
            for number in numbers {
                let expected = if known.insert(number) { Repeat::New } else { Repeat::Maybe };
                proptest::prop_assert_eq!(seen.take(Mark::Int(number)), expected);
            }
        }
    }
}
