//! Reasons counted as they come, so that a stream of any length can be summed up.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Reasons counted one by one; further ones are counted together.
const COUNTED_MAX: usize = 1000;
/// Reasons told to people.
const TOLD: usize = 20;

/// How often each reason came.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    counted: BTreeMap<String, u64>,
    others: u64,
}

impl Reasons {
    pub(crate) fn add(&mut self, reason: &str) {
        if let Some(number) = self.counted.get_mut(reason) {
            *number += 1;
        } else if self.counted.len() < COUNTED_MAX {
            self.counted.insert(reason.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// The commonest reasons with their numbers, the commonest first, and how often others came.
    pub(crate) fn commonest(&self) -> (Vec<(&str, u64)>, u64) {
        let mut told: Vec<(&str, u64)> =
            self.counted.iter().map(|(reason, number)| (reason.as_str(), *number)).collect();
        told.sort_by_key(|(_, number)| Reverse(*number));
        let rest = told.split_off(told.len().min(TOLD));
        (told, rest.iter().map(|(_, number)| number).sum::<u64>() + self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_come_first_and_the_rest_together() {
        let mut reasons = Reasons::default();
        (0..COUNTED_MAX + 5).for_each(|index| reasons.add(&format!("reason {index:04}")));
        (0..3).for_each(|_| reasons.add("reason 0500"));
        let (told, others) = reasons.commonest();
        assert_eq!(told[..2], [("reason 0500", 4), ("reason 0000", 1)]);
        assert_eq!((told.len(), others), (TOLD, (COUNTED_MAX + 5 - TOLD) as u64));
    }
}
