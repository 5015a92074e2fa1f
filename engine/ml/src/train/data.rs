//! The order in which training sees its data: a function of the seed and the step alone, so that a resumed run needs no
//! generator state. Knows neither tokens nor models.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// The batches of a run over `count` items.
#[derive(Clone, Debug, PartialEq)]
pub struct DataOrder {
    /// Items.
    pub count: usize,
    /// Items per batch.
    pub batch: usize,
    /// Whether an epoch's last, smaller batch is left out.
    pub drop_last: bool,
    /// Decides every epoch's order.
    pub seed: u64,
}

impl DataOrder {
    /// Batches in one epoch; at least one when there are items.
    pub fn steps_per_epoch(&self) -> usize {
        let batch = self.batch.max(1);
        if self.drop_last { (self.count / batch).max(1) } else { self.count.div_ceil(batch) }
    }

    /// Steps of a run: `steps` if given, else as many as `epochs` take, rounded up.
    ///
    /// # Errors
    /// When `epochs` is no positive number.
    pub fn total_steps(&self, steps: Option<usize>, epochs: f64) -> Result<usize> {
        if let Some(steps) = steps {
            return Ok(steps);
        }
        if !epochs.is_finite() || epochs <= 0.0 {
            return Err(Error::option("epochs", format!("it is {epochs}: expected a number above 0")));
        }
        Ok((epochs * self.steps_per_epoch() as f64).ceil() as usize)
    }

    /// The epoch of a step (from 0), and its batch's place in the epoch.
    pub fn place(&self, step: usize) -> (usize, usize) {
        let per_epoch = self.steps_per_epoch().max(1);
        (step / per_epoch, step % per_epoch)
    }

    /// The items in the order of an epoch.
    pub fn epoch(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.count).collect();
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(epoch as u64);
        order.shuffle(&mut generator);
        order
    }

    /// A batch of an epoch's order.
    pub fn batch<'a>(&self, order: &'a [usize], place: usize) -> &'a [usize] {
        let start = (place * self.batch).min(order.len());
        &order[start..(start + self.batch).min(order.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation_and_the_rest_can_be_dropped() {
        let mut order = DataOrder { count: 7, batch: 3, drop_last: false, seed: 1 };
        assert_eq!((order.steps_per_epoch(), order.place(4)), (3, (1, 1)));
        let (first, second) = (order.epoch(0), order.epoch(1));
        assert_ne!(first, second);
        assert_eq!(first, order.epoch(0));
        let mut sorted = second.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        assert_eq!(order.batch(&second, 2).len(), 1);
        assert_eq!(order.total_steps(None, 1.5).unwrap(), 5);
        order.drop_last = true;
        assert_eq!(order.total_steps(None, 1.0).unwrap(), 2);
        assert!(order.total_steps(None, f64::NAN).is_err());
    }
}
