//! Values that several workers need and one of them computes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Numbered values, each made once by the first worker that asks for it.
pub(super) struct Shared<T> {
    slots: Mutex<Vec<Slot<T>>>,
    changed: Condvar,
}

/// The state of a value.
enum Slot<T> {
    /// Not made yet, or let go.
    Empty,
    /// Being made by a worker.
    Claimed,
    /// Made.
    Ready(T),
}

/// What a worker has promised to make. What it has not made when it gives up, by an error or a panic, is free again.
struct Claim<'a, T> {
    shared: &'a Shared<T>,
    numbers: Vec<usize>,
}

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        let mut slots = self.shared.lock();
        for number in &self.numbers {
            if matches!(slots[*number], Slot::Claimed) {
                slots[*number] = Slot::Empty;
            }
        }
        self.shared.changed.notify_all();
    }
}

impl<T: Clone> Shared<T> {
    /// `count` values that are still to be made.
    pub(super) fn new(count: usize) -> Self {
        Shared { slots: Mutex::new((0..count).map(|_| Slot::Empty).collect()), changed: Condvar::new() }
    }

    /// The values of the given numbers. Those that no worker has made or is making are made here, all by one call of `make`,
    /// which is given their numbers.
    ///
    /// # Errors
    /// The error of `make`.
    pub(super) fn get(&self, wanted: &[usize], make: impl Fn(&[usize]) -> Result<Vec<T>>) -> Result<Vec<T>> {
        loop {
            let claim = self.claim(wanted);
            if !claim.numbers.is_empty() {
                let made = make(&claim.numbers)?;
                if made.len() != claim.numbers.len() {
                    return Err(Error::input("a prompt or an image gave no result"));
                }
                let mut slots = self.lock();
                for (number, value) in claim.numbers.iter().zip(made) {
                    slots[*number] = Slot::Ready(value);
                }
            }
            drop(claim);
            if let Some(values) = self.wait(wanted) {
                return Ok(values);
            }
        }
    }

    /// Lets a value go that nobody will ask for again.
    pub(super) fn forget(&self, number: usize) {
        self.lock()[number] = Slot::Empty;
    }

    fn claim(&self, wanted: &[usize]) -> Claim<'_, T> {
        let mut slots = self.lock();
        let mut numbers = Vec::new();
        for number in wanted {
            if matches!(slots[*number], Slot::Empty) {
                slots[*number] = Slot::Claimed;
                numbers.push(*number);
            }
        }
        Claim { shared: self, numbers }
    }

    /// The values, once nobody is making any of them; none if the one who was has given up.
    fn wait(&self, wanted: &[usize]) -> Option<Vec<T>> {
        let mut slots = self.lock();
        while wanted.iter().any(|number| matches!(slots[*number], Slot::Claimed)) {
            slots = self.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
        let value = |number: &usize| match &slots[*number] {
            Slot::Ready(value) => Some(value.clone()),
            Slot::Empty | Slot::Claimed => None,
        };
        wanted.iter().map(value).collect()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Slot<T>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_value_is_made_once_and_a_failure_frees_it() {
        let shared = Shared::new(4);
        assert!(shared.get(&[1, 2], |_| Err::<Vec<usize>, _>(Error::Stopped)).is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = shared.get(&[1], |_| -> Result<Vec<usize>> { panic!("no memory") });
        }));
        assert!(panicked.is_err());
        let made = AtomicUsize::new(0);
        let make = |numbers: &[usize]| {
            made.fetch_add(numbers.len(), Ordering::Relaxed);
            std::thread::yield_now();
            Ok(numbers.iter().map(|number| number * 10).collect())
        };
        std::thread::scope(|scope| {
            for wanted in [[1, 2], [2, 3], [3, 1], [2, 2]] {
                let (shared, make) = (&shared, &make);
                scope.spawn(move || assert_eq!(shared.get(&wanted, make).unwrap(), wanted.map(|number| number * 10)));
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }
}
