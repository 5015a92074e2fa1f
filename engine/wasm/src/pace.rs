//! How many records a call into a plugin gets. A batch has the fuel and the memory of one record, so one that is too large
//! is tried in vain; this remembers which size goes through. What comes of a record does not depend on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Calls of the present size that go well before a larger one is tried; doubled each time that one fails.
const CALM_MIN: u32 = 16;
const CALM_MAX: u32 = 4096;
/// How long the engine should wait for the outcome of a hand-out: what is under way is lost when a run is stopped.
const HAND_OUT: Duration = Duration::from_millis(500);
/// The most calls' worth of records in one hand-out.
const HAND_OUT_CALLS_MAX: usize = 16;

/// The pace of one plugin with one config.
pub(crate) struct Pace {
    most: usize,
    state: Mutex<State>,
    /// Nanoseconds of wall-clock time that a record took in the last hand-out; 0 before the first.
    record_ns: AtomicU64,
}

struct State {
    size: usize,
    calm: u32,
    wait: u32,
}

/// What became of a batch that was taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The most records that went through in one call.
    pub(crate) largest: usize,
    /// A record failed by itself, so the size was not to blame.
    pub(crate) alone: bool,
}

impl Pace {
    /// `most` records per call at most.
    pub(crate) fn new(most: usize) -> Self {
        let state = State { size: most, calm: 0, wait: CALM_MIN };
        Self { most, state: Mutex::new(state), record_ns: AtomicU64::new(0) }
    }

    /// How many records the next call should get.
    pub(crate) fn size(&self) -> usize {
        self.lock().size
    }

    /// A call with `count` records was tried, in parts if need be.
    pub(crate) fn tried(&self, count: usize, tally: Tally) {
        let mut state = self.lock();
        if tally.largest == count {
            if count == state.size && count < self.most {
                state.calm += 1;
            }
            if state.calm >= state.wait {
                *state = State { size: (state.size * 2).min(self.most), calm: 0, wait: state.wait };
            }
        } else if tally.largest * 2 < count || !tally.alone {
            let size = tally.largest.max(1);
            if size < state.size {
                let wait = (state.wait * 2).min(CALM_MAX);
                *state = State { size, calm: 0, wait };
            }
        }
    }

    /// A hand-out of `count` records took so long.
    pub(crate) fn took(&self, count: usize, time: Duration) {
        let record_ns = time.as_nanos() / count.max(1) as u128;
        self.record_ns.store(u64::try_from(record_ns).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// How many records to ask the engine for: enough for threads to share evenly, not more than are soon done.
    pub(crate) fn hand_out(&self) -> usize {
        match self.record_ns.load(Ordering::Relaxed) {
            0 => self.most,
            record_ns => {
                let soon = HAND_OUT.as_nanos() / u128::from(record_ns);
                let most = self.most * HAND_OUT_CALLS_MAX;
                usize::try_from(soon).unwrap_or(usize::MAX).clamp(self.most.min(64), most)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_is_too_large_is_left_and_tried_again_later() {
        let pace = Pace::new(256);
        let went = |count| pace.tried(count, Tally { largest: count, alone: false });
        went(256);
        assert_eq!(pace.size(), 256);
        pace.tried(256, Tally { largest: 32, alone: false });
        assert_eq!(pace.size(), 32);
        (0..31).for_each(|_| went(32));
        went(7);
        assert_eq!(pace.size(), 32, "smaller calls prove nothing");
        went(32);
        assert_eq!(pace.size(), 64);
        pace.tried(64, Tally { largest: 32, alone: false });
        (0..63).for_each(|_| went(32));
        assert_eq!(pace.size(), 32, "the next try waits twice as long");
        went(32);
        assert_eq!(pace.size(), 64);
    }

    #[test]
    fn a_record_that_fails_alone_is_not_the_size() {
        let pace = Pace::new(256);
        pace.tried(256, Tally { largest: 128, alone: true });
        assert_eq!(pace.size(), 256);
        pace.tried(1, Tally { largest: 0, alone: true });
        assert_eq!(pace.size(), 1, "nothing went through");
    }

    #[test]
    fn hand_outs_are_soon_done() {
        let pace = Pace::new(256);
        assert_eq!(pace.hand_out(), 256);
        pace.took(256, Duration::from_millis(1));
        assert_eq!(pace.hand_out(), 4096);
        pace.took(256, Duration::from_secs(1));
        assert_eq!(pace.hand_out(), 128);
        pace.took(1, Duration::from_secs(1000));
        assert_eq!(pace.hand_out(), 64);
        pace.took(0, Duration::ZERO);
        assert_eq!(pace.hand_out(), 4096);
    }
}
