//! A compiled plugin: started afresh for every call, within limits. Knows WIT rows, not the engine's records.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ruminate_flow::digest::Digest;
use ruminate_flow::event::Cancel;
use wasmtime::component::{ComponentExportIndex, HasSelf, Instance, InstancePre, Linker, TypedFunc};
use wasmtime::{Store, Trap, UpdateDeadline};

use self::bindings::Guest;
use self::bindings::exports::ruminate::plugin::lifecycle::GuestIndices as Lifecycle;
use self::bindings::ruminate::plugin::{logging, types};
use crate::call::{self, CallError};
use crate::caps::{Caps, Exceeded};
use crate::compiled::{self, Fault};
use crate::contract::{self, World};
use crate::engines::{self, Home, Storage};
use crate::error::PluginError;
use crate::limits::{self, Limits, Patience, SETUP_FUEL};
use crate::schema::ConfigSchema;
use crate::wire;

pub(crate) use self::bindings::ruminate::plugin::types::{Column, Field, Info, Row, Score, Setup, Value, Verdict};

/// The host's side of the WIT package: what the three worlds have in common. The functions in which they differ are called
/// by their types, with rows that borrow.
#[allow(missing_docs, unreachable_pub)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../plugins/wit",
        inline: "
            package ruminate:host;
            world guest {
                import ruminate:plugin/logging@0.1.0;
                export ruminate:plugin/lifecycle@0.1.0;
            }
        ",
        world: "ruminate:host/guest",
        imports: { default: trappable },
    });
}

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its world.
    pub world: World,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line: what it does.
    pub summary: String,
    /// A JSON Schema of its config.
    pub config_schema: Option<String>,
    /// The interfaces and functions that it imports.
    pub imports: Vec<String>,
    /// The functions that it exports: `transform`, and those of an interface as `INTERFACE#describe`.
    pub exports: Vec<String>,
}

/// A plugin ready to be started.
pub(crate) struct Plugin {
    pub(crate) description: Description,
    /// What its config must be.
    pub(crate) schema: Option<ConfigSchema>,
    start: Start,
}

/// A linked component and where its functions are.
struct Start {
    home: Home,
    linked: InstancePre<HostState>,
    lifecycle: Lifecycle,
    world: World,
    function: ComponentExportIndex,
}

/// The type of a world's function: rows in, one answer for each out.
type Function<'a, A> = TypedFunc<(&'a [wire::Row<'a>],), (Result<Vec<A>, String>,)>;

/// What a call gave for its rows, in order.
pub(crate) enum Answers {
    Verdicts(Vec<Verdict>),
    Rows(Vec<Vec<Row>>),
    Scores(Vec<Score>),
}

/// The lines that a call logged: how many, and the first few.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    pub(crate) more: u64,
    panic: Option<String>,
}

/// The most lines that are kept of one call.
const LOG_LINES_MAX: usize = 10;
/// The most bytes that `describe` and `configure` may return, and a call may log at once.
const SETUP_BYTES_MAX: usize = 4 << 20;
/// The most characters of a plugin's name and version, and of its summary.
const NAME_CHARS_MAX: usize = 64;
const SUMMARY_CHARS_MAX: usize = 500;

/// The state of a store.
struct HostState {
    caps: Caps,
    log: Log,
    patience: Patience,
}

// An interface of types only has nothing to call.
impl types::Host for HostState {}

impl logging::Host for HostState {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        self.caps.log(message.len())?;
        let message = call::one_line(&message);
        match level {
            logging::Level::Trace | logging::Level::Debug => {
                tracing::debug!("{message}");
                return Ok(());
            }
            logging::Level::Error => self.log.panic = Some(message.clone()),
            logging::Level::Info | logging::Level::Warn => {}
        }
        if self.log.lines.len() < LOG_LINES_MAX {
            self.log.lines.push(message);
        } else {
            self.log.more += 1;
        }
        Ok(())
    }
}

impl Plugin {
    /// The plugin in the file at `path`, whose bytes have this `digest`. Compiled once per digest, kind of engine and process.
    pub(crate) fn open(path: &Path, digest: Digest, limits: &Limits) -> Result<Arc<Plugin>, PluginError> {
        type Opened = Mutex<HashMap<(Digest, usize, bool, Storage), Arc<Plugin>>>;
        static OPENED: OnceLock<Opened> = OnceLock::new();
        let mut opened = OPENED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        // Only the speed depends on the size.
        let storage = Storage::of(std::fs::metadata(path).map_or(0, |file| file.len()), limits);
        let key = (digest, limits.stack_bytes, limits.need_clock(), storage);
        if let Some(plugin) = opened.get(&key) {
            return Ok(Arc::clone(plugin));
        }
        let read = || std::fs::read(path).map_err(|source| PluginError::Read { path: path.to_owned(), source });
        let plugin = Arc::new(Plugin::load_with(limits, storage, digest, &read)?);
        opened.insert(key, Arc::clone(&plugin));
        Ok(plugin)
    }

    /// Checks and compiles a component and asks what it is. `read` gives the bytes, of which `digest` is the digest.
    pub(crate) fn load(digest: Digest, read: &dyn Fn() -> Result<Vec<u8>, PluginError>) -> Result<Plugin, PluginError> {
        Plugin::load_with(&Limits::for_check(), Storage::System, digest, read)
    }

    /// The same for an engine that these limits need, with this storage or, if it is too small, the system's.
    pub(crate) fn load_with(
        limits: &Limits,
        storage: Storage,
        digest: Digest,
        read: &dyn Fn() -> Result<Vec<u8>, PluginError>,
    ) -> Result<Plugin, PluginError> {
        let home = engines::engine(limits, storage)?;
        let engine = &home.engine;
        let component = match compiled::component(engine, digest, read) {
            Ok(component) => component,
            Err(Fault::NoRoom) if storage != Storage::System => {
                return Plugin::load_with(limits, Storage::System, digest, read);
            }
            Err(Fault::NoRoom) => return Err(PluginError::Engine("no room for the plugin".to_owned())),
            Err(Fault::Plugin(error)) => return Err(error),
        };
        let world = contract::check_names(engine, &component)?;
        let names = contract::names(engine, &component);
        let mut linker = Linker::new(engine);
        Guest::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(link_error)?;
        let linked = linker.instantiate_pre(&component).map_err(link_error)?;
        let lifecycle = Lifecycle::new(&linked).map_err(link_error)?;
        let function = component.get_export_index(None, world.function());
        let function = function.ok_or_else(|| type_error(&format!("no export `{}`", world.function())))?;
        let start = Start { home, linked, lifecycle, world, function };
        let limits = Limits { stack_bytes: limits.stack_bytes, ..Limits::for_check() };
        let info = limits::on_thread(&limits, || start.describe(&limits))??;
        let schema = info.config_schema.as_deref().map(ConfigSchema::parse).transpose();
        let schema =
            schema.map_err(|fault| PluginError::Contract(vec![format!("has a config schema that {fault}")]))?;
        Ok(Plugin { description: described(info, world, names)?, schema, start })
    }

    /// Asks what the plugin reads and writes with this configuration.
    ///
    /// # Errors
    /// [`CallError::Refused`] if the plugin does not take it; else why it could not be asked.
    pub(crate) fn configure(&self, config: &str, limits: &Limits) -> Result<Setup, CallError> {
        let ask = || {
            let _place = self.start.home.place();
            let mut store = self.start.store(limits, &Cancel::default());
            self.start.configured(config, limits, &mut store).map(|(_, setup)| setup)
        };
        limits::on_thread(limits, ask).map_err(|error| CallError::Host(error.to_string()))?
    }

    /// Starts the plugin afresh, configures it and calls it once on all `rows`, on a thread of [`limits::pool`].
    ///
    /// Only the call itself burns the fuel of `limits`. The log comes back whatever the outcome. A call that goes on for
    /// long after a stop was asked for is cut off, as if it had run past its deadline.
    pub(crate) fn call(
        &self,
        config: &str,
        rows: &[wire::Row<'_>],
        limits: &Limits,
        cancel: &Cancel,
    ) -> (Result<Answers, CallError>, Log) {
        let _place = self.start.home.place();
        let mut store = self.start.store(limits, cancel);
        // The same start went well when the graph was checked: whatever breaks it now is the machine's doing.
        let started =
            self.start.configured(config, limits, &mut store).map_err(|error| CallError::Host(error.reason()));
        let answers = started.and_then(|(instance, _)| {
            // No answer needs to be larger than the plugin's memory.
            store.set_hostcall_fuel(limits.memory_bytes);
            let budget = Budget { fuel: limits.fuel, timeout: limits.timeout };
            attempt(&mut store, limits, budget, |store| self.start.answers(store, &instance, rows))
        });
        (answers.and_then(|answers| answers.map_err(CallError::Refused)), store.into_data().log)
    }
}

impl Start {
    /// Calls the function of the plugin's world.
    fn answers(
        &self,
        store: &mut Store<HostState>,
        instance: &Instance,
        rows: &[wire::Row<'_>],
    ) -> wasmtime::Result<Result<Answers, String>> {
        fn of<A>(
            store: &mut Store<HostState>,
            instance: &Instance,
            function: &ComponentExportIndex,
            rows: &[wire::Row<'_>],
        ) -> wasmtime::Result<Result<Vec<A>, String>>
        where
            A: wasmtime::component::Lift + wasmtime::component::ComponentType + 'static,
        {
            let function: Function<'_, A> = instance.get_typed_func(&mut *store, function)?;
            Ok(function.call(store, (rows,))?.0)
        }
        Ok(match self.world {
            World::Filter => of(store, instance, &self.function, rows)?.map(Answers::Verdicts),
            World::Mapper => of(store, instance, &self.function, rows)?.map(Answers::Rows),
            World::Reward => of(store, instance, &self.function, rows)?.map(Answers::Scores),
        })
    }

    /// Whether the function of the world has the type that it should have.
    fn check_type(&self, store: &mut Store<HostState>, instance: &Instance) -> wasmtime::Result<()> {
        match self.world {
            World::Filter => instance.get_typed_func(store, self.function).map(|_: Function<'_, Verdict>| ()),
            World::Mapper => instance.get_typed_func(store, self.function).map(|_: Function<'_, Vec<Row>>| ()),
            World::Reward => instance.get_typed_func(store, self.function).map(|_: Function<'_, Score>| ()),
        }
    }

    /// A fresh instance, configured.
    fn configured(
        &self,
        config: &str,
        limits: &Limits,
        store: &mut Store<HostState>,
    ) -> Result<(Instance, Setup), CallError> {
        let (instance, setup) = attempt(store, limits, Budget::setup(limits), |store| {
            let instance = self.linked.instantiate(&mut *store)?;
            let lifecycle = self.lifecycle.load(&mut *store, &instance)?;
            Ok((instance, lifecycle.call_configure(store, config)?))
        })?;
        setup.map(|setup| (instance, setup)).map_err(CallError::Refused)
    }

    /// Starts the plugin once, checks the types of its functions and asks what it is.
    fn describe(&self, limits: &Limits) -> Result<Info, PluginError> {
        let _place = self.home.place();
        let mut store = self.store(limits, &Cancel::default());
        let start_error = |error: CallError| PluginError::Start(setup_reason(&error));
        let instance = attempt(&mut store, limits, Budget::setup(limits), |store| self.linked.instantiate(store))
            .map_err(start_error)?;
        let lifecycle = self.lifecycle.load(&mut store, &instance).map_err(link_error)?;
        self.check_type(&mut store, &instance).map_err(|error| {
            type_error(&format!("type-checking export func `{}`: {}", self.world.function(), call::causes(&error)))
        })?;
        attempt(&mut store, limits, Budget::setup(limits), |store| lifecycle.call_describe(store)).map_err(start_error)
    }

    /// What an instance lives in, on a place of [`Home::place`].
    fn store(&self, limits: &Limits, cancel: &Cancel) -> Store<HostState> {
        let patience = Patience::new(cancel.clone());
        let state = HostState { caps: Caps::new(limits), log: Log::default(), patience };
        let mut store = Store::new(&self.home.engine, state);
        store.limiter(|state| &mut state.caps);
        store.epoch_deadline_callback(|mut context| {
            let patience = &mut context.data_mut().patience;
            if patience.tick() { Ok(UpdateDeadline::Continue(1)) } else { Err(Trap::Interrupt.into()) }
        });
        // What a call hands over is copied out of the plugin's memory.
        store.set_hostcall_fuel(SETUP_BYTES_MAX);
        store
    }
}

/// What one call into a plugin may use up.
struct Budget {
    fuel: u64,
    timeout: std::time::Duration,
}

impl Budget {
    /// For what comes before the rows.
    fn setup(limits: &Limits) -> Self {
        Budget { fuel: SETUP_FUEL, timeout: limits.setup_timeout }
    }
}

/// Runs `work` with this much fuel and a new deadline.
fn attempt<T>(
    store: &mut Store<HostState>,
    limits: &Limits,
    budget: Budget,
    work: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<T>,
) -> Result<T, CallError> {
    store.set_fuel(budget.fuel).map_err(|error| CallError::Host(error.to_string()))?;
    store.data_mut().patience.renew(budget.timeout);
    store.set_epoch_deadline(1);
    work(store).map_err(|error| {
        let state = store.data();
        match state.caps.exceeded {
            Some(Exceeded::Memory) => CallError::Memory(limits.memory_bytes >> 20),
            Some(Exceeded::Table) => trapped(&format!(
                "it asked for more than {} table elements (option `table-elements`)",
                limits.table_elements
            )),
            Some(Exceeded::Growths) => trapped("it made its memory or its tables grow too often"),
            Some(Exceeded::Log) => trapped("it logged too much in one call"),
            Some(Exceeded::Machine) => CallError::Host("the machine is out of memory".to_owned()),
            None => {
                let limits = Limits { fuel: budget.fuel, timeout: budget.timeout, ..*limits };
                CallError::of(&error, state.log.panic.as_deref(), &limits)
            }
        }
    })
}

fn trapped(message: &str) -> CallError {
    CallError::Trap { message: message.to_owned(), frames: Vec::new() }
}

/// Why starting, `describe` or `configure` failed: their limits are no options.
pub(crate) fn setup_reason(error: &CallError) -> String {
    match error {
        CallError::Fuel(_) => "plugin ran out of fuel".to_owned(),
        CallError::Timeout(limit) => format!("plugin ran longer than {} s", *limit as f64 / 1000.0),
        CallError::Memory(limit) => format!("plugin asked for more than {limit} MB of memory"),
        CallError::TooMuch => format!("plugin handed over more than {} MB", SETUP_BYTES_MAX >> 20),
        other => other.told(),
    }
}

/// What a plugin says about itself, if it can be shown.
fn described(
    info: Info,
    world: World,
    (imports, exports): (Vec<String>, Vec<String>),
) -> Result<Description, PluginError> {
    let Info { name, version, summary, config_schema } = info;
    let parts = [
        ("name", &name, NAME_CHARS_MAX),
        ("version", &version, NAME_CHARS_MAX),
        ("summary", &summary, SUMMARY_CHARS_MAX),
    ];
    let faults: Vec<_> = parts
        .iter()
        .filter(|(part, text, most)| {
            let empty = *part == "name" && text.trim().is_empty();
            empty || text.chars().count() > *most || text.chars().any(char::is_control)
        })
        .map(|(part, _, most)| format!("describes itself with a {part} that is not one line of 1 to {most} characters"))
        .collect();
    if !faults.is_empty() {
        return Err(PluginError::Contract(faults));
    }
    Ok(Description { world, name, version, summary, config_schema, imports, exports })
}

fn link_error(error: wasmtime::Error) -> PluginError {
    type_error(&call::causes(&error))
}

fn type_error(cause: &str) -> PluginError {
    let package = format!("`{}@{}`", contract::PACKAGE, contract::VERSION);
    PluginError::Contract(vec![format!("has a function of another type than {package}: {cause}")])
}
