//! Where computation happens: the names of devices, and worker threads that share the CPU without getting in each
//! other's way.

use burn::tensor::Device;

use crate::{Error, Result};

/// Reads a device's name: `cpu`, or `cuda:N` in a build with the feature `cuda`.
///
/// # Errors
/// When the name is unknown or this build has no such device.
pub fn parse(text: &str) -> Result<Device> {
    if text == "cpu" {
        return Ok(Device::flex());
    }
    let Some(index) = text.strip_prefix("cuda:").and_then(|index| index.parse::<usize>().ok()) else {
        return Err(Error::device(format!("`{text}` is unknown, expected `cpu` or `cuda:N`")));
    };
    cuda(index)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<Device> {
    Err(Error::device(format!(
        "`cuda:{index}` was asked for, but this program was built without CUDA: build it with `--features cuda`, or use `cpu`"
    )))
}

/// Whether tensors on the device lie in this process's memory.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// The number of CPU cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` on every job on up to `workers` threads and returns the results in the order of the jobs.
///
/// Each thread has a rayon pool of its own with one thread: inside one forward pass only matrix products run in
/// parallel, so whole batches side by side use the cores far better. Job `i` runs on worker `i mod workers`, so what
/// is computed does not depend on timing.
///
/// # Errors
/// When a thread pool cannot be started.
///
/// # Panics
/// When `work` panics.
pub fn in_workers<T: Send, R: Send>(
    jobs: Vec<T>,
    workers: usize,
    work: impl Fn(usize, T) -> R + Sync,
) -> Result<Vec<R>> {
    let workers = workers.clamp(1, jobs.len().max(1));
    let count = jobs.len();
    let mut queues: Vec<Vec<(usize, T)>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, job) in jobs.into_iter().enumerate() {
        queues[index % workers].push((index, job));
    }
    let work = &work;
    let run = |queue: Vec<(usize, T)>| -> Result<Vec<(usize, R)>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| Error::device(format!("cannot start a thread pool: {error}")))?;
        Ok(pool.install(|| queue.into_iter().map(|(index, job)| (index, work(index, job))).collect()))
    };
    let finished: Vec<Result<Vec<(usize, R)>>> = std::thread::scope(|scope| {
        let handles: Vec<_> = queues.into_iter().map(|queue| scope.spawn(move || run(queue))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for queue in finished {
        for (index, result) in queue? {
            results[index] = Some(result);
        }
    }
    Ok(results.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert!(is_cpu(&parse("cpu").unwrap()));
        assert!(parse("gpu").unwrap_err().to_string().contains("expected `cpu` or `cuda:N`"));
        #[cfg(not(feature = "cuda"))]
        assert!(parse("cuda:0").unwrap_err().to_string().contains("built without CUDA"));
    }

    #[test]
    fn results_keep_the_order_of_jobs() {
        let doubled = in_workers((0..7).collect(), 3, |index, job: usize| (index, job * 2)).unwrap();
        assert_eq!(doubled, (0..7).map(|job| (job, job * 2)).collect::<Vec<_>>());
    }
}
