//! Where computation happens: the names of devices, and worker threads that share the CPU without getting in each
//! other's way.

use std::sync::{Mutex, PoisonError};

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

/// The GPU, once it has computed something: without a driver or a compiler for kernels the runtime panics on first use, which
/// is turned into an error here, before a run begins.
#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    use burn::tensor::Tensor;
    let attempt = || -> std::result::Result<Device, String> {
        let device = Device::cuda(index);
        let sum = Tensor::<1>::ones([2], &device).sum().try_into_data().map_err(|error| format!("{error:?}"))?;
        if sum.try_to_vec::<f32>().is_ok_and(|sum| sum == [2.0]) {
            Ok(device)
        } else {
            Err("it computes 1 + 1 wrongly".into())
        }
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(attempt);
    std::panic::set_hook(hook);
    let reason = match outcome {
        Ok(Ok(device)) => return Ok(device),
        Ok(Err(reason)) => reason,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    let reason = reason.lines().next().unwrap_or_default().to_owned();
    Err(Error::device(format!(
        "`cuda:{index}` cannot be used ({reason}): expected an NVIDIA driver (`libcuda.so.1`), NVRTC (`libnvrtc.so.12` or \
         `.13`) in the loader's path and CUDA's headers under `CUDA_PATH`; `--device cpu` needs none of them"
    )))
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

/// Runs `work` on every job on up to `workers` threads and returns the results in the order of the jobs. Jobs start in
/// order, each on the next free thread.
///
/// Each thread has a rayon pool of its own with one thread: inside one forward pass only matrix products run in
/// parallel, so whole batches side by side use the cores far better.
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
    let mut results: Vec<Option<R>> = jobs.iter().map(|_| None).collect();
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || -> Result<Vec<(usize, R)>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .map_err(|error| Error::device(format!("cannot start a thread pool: {error}")))?;
        Ok(pool.install(|| std::iter::from_fn(next).map(|(index, job)| (index, work(index, job))).collect()))
    };
    let finished: Vec<Result<Vec<(usize, R)>>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for done in finished {
        for (index, result) in done? {
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
