//! Data parallelism over operating-system threads whose result does not depend on timing or on the number of threads.
//! Knows nothing of losses: it runs jobs and adds gradients up in the order of the jobs.
//!
//! A step is cut into `shards` (part of the result's identity, since sums round differently). Each shard runs on one thread
//! with a rayon pool of that one thread, because the CPU backend parallelises few of its operations itself.

use burn::tensor::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Threads that live as long as a training run, each with its own rayon pool of one.
pub struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Starts `count` worker threads (at least one).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(count: usize) -> Result<Self> {
        let pools = (0..count.max(1))
            .map(|_| ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "train".to_owned()).build())
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| Error::training(format!("cannot start a worker thread: {error}")))?;
        Ok(Self { pools })
    }

    /// The number of worker threads.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// Runs `work` on every job and returns the results in the order of the jobs. Worker `w` of `n` takes the jobs
    /// `w, w + n, ...`.
    ///
    /// # Errors
    /// The first failing job's error; a panic in a job (a device that is out of memory, say) is an error too.
    pub fn run<T: Send, R: Send>(&self, jobs: Vec<T>, work: impl Fn(T) -> Result<R> + Sync) -> Result<Vec<R>> {
        let total = jobs.len();
        let mut queues: Vec<Vec<(usize, T)>> = self.pools.iter().map(|_| Vec::new()).collect();
        for (index, job) in jobs.into_iter().enumerate() {
            queues[index % self.pools.len()].push((index, job));
        }
        let work = &work;
        let finished = std::thread::scope(|scope| {
            let running: Vec<_> = self
                .pools
                .iter()
                .zip(queues)
                .filter(|(_, queue)| !queue.is_empty())
                .map(|(pool, queue)| {
                    let drain = move || queue.into_iter().map(|(index, job)| (index, work(job))).collect::<Vec<_>>();
                    scope.spawn(move || pool.install(drain))
                })
                .collect();
            running.into_iter().map(|thread| thread.join().map_err(panic_message)).collect::<Vec<_>>()
        });
        let mut results: Vec<Option<Result<R>>> = (0..total).map(|_| None).collect();
        for worker in finished {
            for (index, result) in worker? {
                results[index] = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }
}

/// What a worker's panic said, as an error.
fn panic_message(payload: Box<dyn std::any::Any + Send>) -> Error {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::training(format!("a worker stopped: {text}; if the device is out of memory, lower the micro-batch size"))
}

/// The gradients of all parameters, flat, in the order of the model's parameters; `None` where the loss did not reach.
#[derive(Clone, Default)]
pub struct GradientSum {
    /// One flat f32 gradient per parameter.
    pub values: Vec<Option<Tensor<1>>>,
}

impl GradientSum {
    /// Adds the gradients of another part of the batch. The order of calls decides the rounding.
    pub fn add(&mut self, other: GradientSum) {
        if self.values.is_empty() {
            *self = other;
            return;
        }
        for (sum, part) in self.values.iter_mut().zip(other.values) {
            *sum = match (sum.take(), part) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
}

/// Cuts `costs.len()` items into `shards` lists of indices of about equal cost: the dearest first, each to the cheapest list,
/// ties to the first. Within a list the items stay in descending order of cost, so that neighbours pad little.
pub fn balance(costs: &[usize], shards: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(costs[*index]), *index));
    let mut lists = vec![Vec::new(); shards.max(1)];
    let mut sums = vec![0; lists.len()];
    for index in order {
        let cheapest = (0..sums.len()).min_by_key(|list| (sums[*list], *list)).unwrap_or(0);
        sums[cheapest] += costs[index];
        lists[cheapest].push(index);
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_a_panic_is_an_error() {
        let workers = Workers::new(2).unwrap();
        let doubled = workers.run((0..5).collect(), |job: usize| Ok(2 * job)).unwrap();
        assert_eq!(doubled, [0, 2, 4, 6, 8]);
        let failed = workers.run(vec![0, 1], |job: usize| if job == 1 { panic!("no memory") } else { Ok(()) });
        assert!(failed.unwrap_err().to_string().contains("no memory"));
    }

    #[test]
    fn balanced_lists_have_close_costs() {
        assert_eq!(balance(&[5, 1, 4, 2], 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(balance(&[1], 2), [vec![0], vec![]]);
    }
}
