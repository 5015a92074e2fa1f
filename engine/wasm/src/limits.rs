//! What holds a plugin in: one engine with deterministic settings, fuel, an epoch deadline and a cap on memory.
//! Knows nothing of records or worlds.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ruminate_flow::event::Cancel;
use wasmtime::{Config, Engine, ResourceLimiter};

use crate::error::PluginError;

/// The limits of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Fuel that one call may burn: about one unit per instruction.
    pub(crate) fuel: u64,
    /// Bytes of linear memory in all.
    pub(crate) memory_bytes: usize,
    /// The deadline of one call.
    pub(crate) timeout: Duration,
}

/// The length of an epoch.
const TICK: Duration = Duration::from_millis(10);
/// Wasm frames: well below the 2 MiB of a thread's stack.
const STACK_BYTES: usize = 512 << 10;
const TABLE_ELEMENTS_MAX: usize = 200_000;

impl Limits {
    /// The limits of the calls that are made before any node's options are known.
    pub(crate) fn for_check() -> Self {
        Self { fuel: SETUP_FUEL, memory_bytes: 256 << 20, timeout: Duration::from_secs(10) }
    }

    /// The deadline in epochs from now; one more, since the current epoch may end at once.
    fn epochs(&self) -> u64 {
        u64::try_from(self.timeout.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX / 2) + 1
    }
}

/// Fuel for starting an instance and configuring it; it does not count as a record's.
pub(crate) const SETUP_FUEL: u64 = 1_000_000_000;

/// The engine of this process. Its clock starts with it and ticks until the process ends.
///
/// # Errors
/// A machine that wasmtime does not support.
pub(crate) fn engine() -> Result<&'static Engine, PluginError> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let engine = Engine::new(&config()).map_err(|error| format!("{error:#}"))?;
        let clock = engine.clone();
        std::thread::Builder::new()
            .name("plugin-clock".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(TICK);
                    clock.increment_epoch();
                }
            })
            .map_err(|error| format!("no thread for the clock: {error}"))?;
        Ok(engine)
    });
    engine.as_ref().map_err(|error| PluginError::Engine(error.clone()))
}

/// Everything that could make two machines differ is off or pinned. wasmtime is built without threads, and concurrency
/// is switched off here.
fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_component_model(true)
        .concurrency_support(false)
        .max_wasm_stack(STACK_BYTES);
    config
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

    /// A new call begins, with all the time that `limits` gives.
    pub(crate) fn renew(&mut self, limits: &Limits) {
        self.epochs_left = limits.epochs();
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

/// Caps the linear memory of a store, over all its memories.
pub(crate) struct MemoryCap {
    cap: usize,
    used: usize,
    /// The plugin asked for more than the cap.
    pub(crate) refused: bool,
    /// The machine had no memory left below the cap.
    pub(crate) host_failed: bool,
}

impl MemoryCap {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, used: 0, refused: false, host_failed: false }
    }
}

// Growth that fails traps instead of returning -1: a guest's allocator would abort without a word about memory.
impl ResourceLimiter for MemoryCap {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.cap {
            self.refused = true;
            wasmtime::bail!("more memory than the cap");
        }
        self.used = used;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.host_failed = true;
        Err(error)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
