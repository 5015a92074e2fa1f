//! What holds a plugin in: fuel, a deadline, threads with a stack. What caps memory and tables is in `caps`; the engines that
//! count and look at the clock are in `engines`. Knows nothing of records or worlds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use ruminate_flow::event::Cancel;

use crate::error::PluginError;

/// The limits of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Fuel that one call may burn: about one unit per instruction.
    pub(crate) fuel: u64,
    /// Bytes of linear memory in all.
    pub(crate) memory_bytes: usize,
    /// Elements of tables in all.
    pub(crate) table_elements: usize,
    /// Bytes of the stack of wasm frames.
    pub(crate) stack_bytes: usize,
    /// The deadline of one call.
    pub(crate) timeout: Duration,
    /// The deadline of starting and configuring an instance; it does not count as a record's.
    pub(crate) setup_timeout: Duration,
}

/// The length of an epoch.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// The default of [`Limits::stack_bytes`].
pub(crate) const STACK_BYTES: usize = 512 << 10;
/// What the host's own frames may need on top of the plugin's.
pub(crate) const HOST_STACK_BYTES: usize = 2 << 20;
/// The most fuel that is burned within seconds whatever it is burned on. The default of the option `fuel`.
const FUEL_SOON_BURNED: u64 = 100_000_000;
/// Fuel for starting an instance and configuring it; it does not count as a record's.
pub(crate) const SETUP_FUEL: u64 = 1_000_000_000;
/// The deadline of the same.
pub(crate) const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

impl Limits {
    /// Whether a call must be looked at while it runs. With the defaults fuel ends every call within seconds: what one unit
    /// buys takes no longer than a load from memory, and what fuel does not count is capped (`caps`). To look at the clock at
    /// every turn of a loop as well costs a tight loop a tenth of its time.
    pub(crate) fn need_clock(&self) -> bool {
        let hasty = self.timeout.min(self.setup_timeout) < SETUP_TIMEOUT;
        self.fuel > FUEL_SOON_BURNED || hasty
    }

    /// The limits of the calls that are made before any node's options are known.
    pub(crate) fn for_check() -> Self {
        Self {
            fuel: FUEL_SOON_BURNED,
            memory_bytes: 1 << 30,
            table_elements: 200_000,
            stack_bytes: STACK_BYTES,
            timeout: SETUP_TIMEOUT,
            setup_timeout: SETUP_TIMEOUT,
        }
    }
}

/// So many threads whose stacks hold the plugin's frames and the host's, kept for the next records: to start threads for every hand-out costs the fast plugins a tenth.
///
/// # Errors
/// The system's, if it has no more threads.
pub(crate) fn pool(limits: &Limits, threads: usize) -> Result<Arc<ThreadPool>, PluginError> {
    type Pools = Mutex<BTreeMap<(usize, usize), Arc<ThreadPool>>>;
    static POOLS: Pools = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (threads, limits.stack_bytes);
    if let Some(pool) = pools.get(&key) {
        return Ok(Arc::clone(pool));
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(thread_stack_bytes(limits));
    let pool = builder.thread_name(|_| "plugin".to_owned()).build();
    let pool = Arc::new(pool.map_err(|error| PluginError::Engine(format!("no threads for plugins: {error}")))?);
    pools.insert(key, Arc::clone(&pool));
    Ok(pool)
}

/// What a thread's stack needs to hold the plugin's frames and the host's.
fn thread_stack_bytes(limits: &Limits) -> usize {
    HOST_STACK_BYTES + limits.stack_bytes
}

/// Does `work` on a thread like these: how much is left of the caller's stack is not known.
///
/// # Errors
/// The system's, if it has no more threads; a panic in `work`, a defect of the host.
pub(crate) fn on_thread<T: Send>(limits: &Limits, work: impl FnOnce() -> T + Send) -> Result<T, PluginError> {
    let thread = std::thread::Builder::new().name("plugin".to_owned()).stack_size(thread_stack_bytes(limits));
    std::thread::scope(|scope| match thread.spawn_scoped(scope, work) {
        Ok(thread) => thread.join().map_err(|_| PluginError::Engine("a thread of the plugin host panicked".to_owned())),
        Err(error) => Err(PluginError::Engine(format!("no thread for a plugin: {error}"))),
    })
}

/// How long a call may go on, counted at the end of every epoch.
pub(crate) struct Patience {
    epochs_left: u64,
    cancel: Cancel,
    /// When the call first saw that a stop was asked for.
    asked: Option<Instant>,
}

/// How long a call may go on after an interrupt: most are done by then, and the run still leaves within its 10 s.
const GRACE: Duration = Duration::from_secs(4);

impl Patience {
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { epochs_left: 0, cancel, asked: None }
    }

    /// A new call begins, with so much time; one epoch more, since the current one may end at once.
    pub(crate) fn renew(&mut self, timeout: Duration) {
        let epochs = timeout.as_millis().div_ceil(TICK.as_millis());
        self.epochs_left = u64::try_from(epochs).unwrap_or(u64::MAX / 2) + 1;
    }

    /// An epoch has ended. False if the call must end too.
    pub(crate) fn tick(&mut self) -> bool {
        self.epochs_left = self.epochs_left.saturating_sub(1);
        if self.asked.is_none() && self.cancel.requested() {
            self.asked = Some(Instant::now());
        }
        let out_of_grace = self.asked.is_some_and(|asked| asked.elapsed() > GRACE);
        self.epochs_left > 0 && !self.cancel.overdue() && !out_of_grace
    }
}
