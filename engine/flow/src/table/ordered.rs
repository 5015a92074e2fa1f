//! Work on several threads whose results come in the order of their inputs. It knows nothing of tables.

use std::ops::ControlFlow;

use crossbeam_channel::bounded;

/// Does `work` on everything that `next` gives, on up to `threads` threads, and hands the results in order to `take`, on
/// the calling thread. Hardly more inputs than threads are under way at a time. `Break` from `take` ends it early.
pub(super) fn ordered<T: Send, U: Send, B>(
    threads: usize,
    mut next: impl FnMut() -> Option<T> + Send,
    work: impl Fn(T) -> U + Sync,
    mut take: impl FnMut(U) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if threads <= 1 {
        while let Some(input) = next() {
            take(work(input))?;
        }
        return ControlFlow::Continue(());
    }
    let (to_work, inputs) = bounded(threads);
    let (to_take, results) = bounded(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (inputs, work) = (inputs.clone(), &work);
            scope.spawn(move || {
                for (input, result) in inputs {
                    // Nobody waits for it after an early end.
                    let _: Result<(), _> = crossbeam_channel::Sender::<U>::send(&result, work(input));
                }
            });
        }
        drop(inputs);
        scope.spawn(move || {
            while let Some(input) = next() {
                let (result, waiting) = bounded(1);
                if to_work.send((input, result)).is_err() || to_take.send(waiting).is_err() {
                    return;
                }
            }
        });
        // Dropping `results` at an early end stops the reader, and that stops the workers.
        for waiting in results {
            match waiting.recv() {
                Ok(result) => take(result)?,
                // The worker panicked: leaving the scope hands the panic on.
                Err(_) => break,
            }
        }
        ControlFlow::Continue(())
    })
}
