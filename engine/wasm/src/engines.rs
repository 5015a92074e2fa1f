//! The engines of this process: deterministic settings, a clock where limits need one, and where instances get their memory
//! from. Knows nothing of records and worlds.
//!
//! Every batch has a fresh instance. To map and unmap a memory for each costs a page fault per page that is written, and the
//! unmapping interrupts every other thread of the process: two threads with interpreters in them are then as fast as one.
//! So memories come from a pool that keeps its pages and puts back what was in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

use crate::caps::{INSTANCES_MAX, TABLE_ELEMENTS_POOLED};
use crate::error::PluginError;
use crate::limits::{HOST_STACK_BYTES, Limits, TICK};

/// Where instances get their memories and tables from. What a plugin does is the same with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Storage {
    /// From a pool: the system says which pages an instance wrote, and those are put back.
    Scanned,
    /// From a pool: the whole memory is put back. For plugins with an interpreter: what it writes is scattered over many
    /// megabytes, in more places than wasmtime takes from one scan (32), and unmaps the rest.
    Copied,
    /// From the system for each instance, and then back to it.
    System,
}

/// Larger components have an interpreter in them.
const INTERPRETER_BYTES: u64 = 4 << 20;

impl Storage {
    /// The fastest for a component of so many bytes that fits these limits.
    pub(crate) fn of(component_bytes: u64, limits: &Limits) -> Storage {
        match component_bytes {
            _ if limits.table_elements >= TABLE_ELEMENTS_POOLED || !can_reserve() => Storage::System,
            0..=INTERPRETER_BYTES => Storage::Scanned,
            _ => Storage::Copied,
        }
    }
}

/// Whether a pool may have all the addresses that it could ever need: where they are rationed, the first would leave none
/// for the rest of the process.
#[cfg(target_os = "linux")]
fn can_reserve() -> bool {
    rlimit::Resource::AS.get_soft().is_ok_and(|bytes| bytes == rlimit::INFINITY)
}

/// Elsewhere the pool of wasmtime maps anew what was written, and gains nothing.
#[cfg(not(target_os = "linux"))]
fn can_reserve() -> bool {
    false
}

/// An engine, and the places for instances in its pool.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) engine: Engine,
    /// `None` without a pool.
    places: Option<Arc<Places>>,
}

impl Home {
    /// A place for one instance: waits until one is free. To be held until the instance's store is gone.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        self.places.as_ref().map(|places| places.take())
    }
}

/// How many more instances the pool can hold.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place for an instance.
pub(crate) struct Place<'a>(&'a Places);

impl Places {
    /// Whoever holds a place waits for no other, and calls end: so does this.
    fn take(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// The engines, by the size of their stack, whether they look at the clock, and their storage.
static ENGINES: Mutex<BTreeMap<(usize, bool, Storage), Home>> = Mutex::new(BTreeMap::new());

/// The engine for these limits. One clock ticks for all engines until the process ends.
///
/// # Errors
/// A machine that wasmtime does not support.
pub(crate) fn engine(limits: &Limits, storage: Storage) -> Result<Home, PluginError> {
    static CLOCK: OnceLock<Result<(), String>> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| {
        let thread = std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(|| {
            loop {
                std::thread::sleep(TICK);
                let engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
                engines.values().for_each(|home| home.engine.increment_epoch());
            }
        });
        thread.map(drop).map_err(|error| format!("no thread for the clock: {error}"))
    });
    clock.clone().map_err(PluginError::Engine)?;
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (limits.stack_bytes, limits.need_clock(), storage);
    if let Some(home) = engines.get(&key) {
        return Ok(home.clone());
    }
    // Instances are made by threads at work, of which more than twice the cores would only wait for each other.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let home = build(limits, storage, (2 * cores).max(PLACES_MIN))?;
    engines.insert(key, home.clone());
    Ok(home)
}

/// The fewest instances that a pool holds.
const PLACES_MIN: usize = 32;
/// Memories and tables of one instance in a pool; plugins have one memory, and two tables.
const MEMORIES: usize = 2;
const TABLES: usize = 8;
/// What a free place keeps of a memory. Python has 13 MB before it does anything.
const KEPT_BYTES: usize = 32 << 20;
/// The same where the system cannot say which pages were written, so all of it is put back.
const KEPT_BLINDLY_BYTES: usize = 4 << 20;

/// An engine whose pool has so many places; without a pool if there can be none.
pub(crate) fn build(limits: &Limits, storage: Storage, places: usize) -> Result<Home, PluginError> {
    let mut config = config(limits);
    if let Some(pool) = pool(storage, places) {
        config.allocation_strategy(pool);
        match Engine::new(&config) {
            Ok(engine) => {
                let places = Places { free: Mutex::new(places), freed: Condvar::new() };
                return Ok(Home { engine, places: Some(Arc::new(places)) });
            }
            Err(error) => tracing::debug!("plugins go without a pool of memory: {error:#}"),
        }
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand);
    }
    let engine = Engine::new(&config).map_err(|error| PluginError::Engine(format!("{error:#}")))?;
    Ok(Home { engine, places: None })
}

/// The settings of the pool, if there should be one.
fn pool(storage: Storage, places: usize) -> Option<PoolingAllocationConfig> {
    let (scan, kept_bytes) = match storage {
        Storage::Scanned if PoolingAllocationConfig::is_pagemap_scan_available() => (Enabled::Yes, KEPT_BYTES),
        Storage::Scanned => (Enabled::No, KEPT_BLINDLY_BYTES),
        Storage::Copied => (Enabled::No, KEPT_BYTES),
        Storage::System => return None,
    };
    let total = |each: usize| u32::try_from(places.saturating_mul(each)).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    // One unused place stays as good as new only if it was never used: all that were may be used again.
    pool.max_unused_warm_slots(total(MEMORIES))
        .pagemap_scan(scan)
        .linear_memory_keep_resident(kept_bytes)
        .table_keep_resident(TABLE_ELEMENTS_POOLED * size_of::<usize>())
        .table_elements(TABLE_ELEMENTS_POOLED)
        .total_component_instances(total(1))
        .total_core_instances(total(INSTANCES_MAX))
        .total_memories(total(MEMORIES))
        .total_tables(total(TABLES))
        .max_core_instances_per_component(INSTANCES_MAX as u32)
        .max_memories_per_component(MEMORIES as u32)
        .max_memories_per_module(MEMORIES as u32)
        .max_tables_per_component(TABLES as u32)
        .max_tables_per_module(TABLES as u32);
    Some(pool)
}

/// Whether wasmtime refused a component because an engine's pool cannot hold it.
pub(crate) fn is_no_room(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("pooling allocator"))
}

/// Everything that could make two machines differ is off or pinned. wasmtime is built without threads, and concurrency
/// is switched off here.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(limits.need_clock())
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_component_model(true)
        .concurrency_support(false)
        .max_wasm_stack(limits.stack_bytes)
        // Not used, but not allowed to be smaller.
        .async_stack_size(limits.stack_bytes.max(HOST_STACK_BYTES));
    config
}
