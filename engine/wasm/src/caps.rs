//! What a store may hold, and what fuel does not count: memory, table elements, instances, growths, lines of the log. Growth beyond a cap traps instead of returning -1: a guest's
//! allocator would abort without a word about memory.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;

/// Instances, tables and memories of a store. A component of several libraries, such as Python's, has some dozen.
pub(crate) const INSTANCES_MAX: usize = 64;
const TABLES_MAX: usize = 64;
const MEMORIES_MAX: usize = 8;
/// The elements that a table has room for in an engine's pool: one more than the default of the option `table-elements`.
/// Nodes that allow as many or more have no pool.
pub(crate) const TABLE_ELEMENTS_POOLED: usize = 200_001;
/// Times that memories and tables may grow.
const GROWTHS_MAX: usize = 1_000_000;
/// Lines that may be logged, and their bytes.
const LOG_LINES_MAX: usize = 100_000;
const LOG_BYTES_MAX: usize = 256 << 20;

/// Which cap a plugin ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It asked for more memory than [`Limits::memory_bytes`].
    Memory,
    /// It asked for more than [`Limits::table_elements`].
    Table,
    /// It grew, or tried to, more than [`GROWTHS_MAX`] times.
    Growths,
    /// It logged more than [`LOG_LINES_MAX`] or [`LOG_BYTES_MAX`].
    Log,
    /// The machine had no memory left below the cap.
    Machine,
}

/// Caps a store, over all its memories and all its tables.
pub(crate) struct Caps {
    memory: Share,
    table: Share,
    growths: Share,
    log_lines: Share,
    log_bytes: Share,
    /// The first cap that was exceeded.
    pub(crate) exceeded: Option<Exceeded>,
}

/// How much of something is used.
struct Share {
    cap: usize,
    used: usize,
}

impl Share {
    /// False if growing from `current` to `desired` would take more than there is.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.cap;
        if fits {
            self.used = used;
        }
        fits
    }
}

impl Caps {
    pub(crate) fn new(limits: &Limits) -> Self {
        let share = |cap| Share { cap, used: 0 };
        Self {
            memory: share(limits.memory_bytes),
            table: share(limits.table_elements),
            growths: share(GROWTHS_MAX),
            log_lines: share(LOG_LINES_MAX),
            log_bytes: share(LOG_BYTES_MAX),
            exceeded: None,
        }
    }

    /// A line of so many bytes is logged.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn log(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if self.log_lines.grow(0, 1) && self.log_bytes.grow(0, bytes) {
            return Ok(());
        }
        self.exceeded = Some(Exceeded::Log);
        wasmtime::bail!("more lines than the cap")
    }

    fn count_growth(&mut self) -> wasmtime::Result<()> {
        if self.growths.grow(0, 1) {
            return Ok(());
        }
        self.exceeded = Some(Exceeded::Growths);
        wasmtime::bail!("more growths than the cap")
    }
}

impl ResourceLimiter for Caps {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.count_growth()?;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if !self.memory.grow(current, desired) {
            self.exceeded = Some(Exceeded::Memory);
            wasmtime::bail!("more memory than the cap");
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.exceeded = Some(Exceeded::Machine);
        Err(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.count_growth()?;
        // A table in a pool seems to declare the pool's size. What is beyond that is beyond the cap too, wherever the table is.
        let pooled = self.table.cap < TABLE_ELEMENTS_POOLED;
        let declared = maximum.filter(|maximum| !pooled || *maximum < TABLE_ELEMENTS_POOLED);
        if declared.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if !self.table.grow(current, desired) {
            self.exceeded = Some(Exceeded::Table);
            wasmtime::bail!("more table elements than the cap");
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
