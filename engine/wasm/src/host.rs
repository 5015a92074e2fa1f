//! A compiled plugin: started afresh for every call, within limits. Knows WIT rows, not the engine's records.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ruminate_flow::digest::Digest;
use ruminate_flow::event::Cancel;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Store, Trap, UpdateDeadline};

use self::bindings::filter::{Filter, FilterPre};
use self::bindings::mapper::ruminate::plugin::{logging, types};
use self::bindings::mapper::{Mapper, MapperPre};
use crate::call::{self, CallError};
use crate::compiled;
use crate::contract::{self, World};
use crate::error::PluginError;
use crate::limits::{self, Limits, MemoryCap, Patience, SETUP_FUEL};

pub(crate) use self::bindings::mapper::ruminate::plugin::types::{Column, Field, Info, Row, Setup, Value, Verdict};

/// The host's side of the WIT package.
#[allow(missing_docs, unreachable_pub)]
mod bindings {
    pub mod mapper {
        wasmtime::component::bindgen!({ path: "../../plugins/wit", world: "mapper" });
    }
    pub mod filter {
        wasmtime::component::bindgen!({
            path: "../../plugins/wit",
            world: "filter",
            with: {
                "ruminate:plugin/types": super::mapper::ruminate::plugin::types,
                "ruminate:plugin/logging": super::mapper::ruminate::plugin::logging,
            },
        });
    }
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
}

/// A plugin ready to be started.
pub(crate) struct Plugin {
    pub(crate) description: Description,
    start: Start,
}

enum Start {
    Filter(FilterPre<HostState>),
    Mapper(MapperPre<HostState>),
}

enum Instance {
    Filter(Filter),
    Mapper(Mapper),
}

/// What a call gave for its rows, in order.
pub(crate) enum Answers {
    Verdicts(Vec<Verdict>),
    Rows(Vec<Vec<Row>>),
}

/// The lines that a call logged: how many, and the first few.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    pub(crate) more: u64,
    panic: Option<String>,
}

/// The most lines that are kept of one call, and the most characters of a line.
const LOG_LINES_MAX: usize = 10;
const LOG_CHARS_MAX: usize = 500;

/// The state of a store.
struct HostState {
    memory: MemoryCap,
    log: Log,
    patience: Patience,
}

// An interface of types only has nothing to call.
impl types::Host for HostState {}

impl logging::Host for HostState {
    fn log(&mut self, level: logging::Level, message: String) {
        let message = match message.char_indices().nth(LOG_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &message[..end]),
            None => message,
        };
        match level {
            logging::Level::Trace | logging::Level::Debug => return tracing::debug!("{message}"),
            logging::Level::Error => self.log.panic = Some(message.clone()),
            logging::Level::Info | logging::Level::Warn => {}
        }
        if self.log.lines.len() < LOG_LINES_MAX {
            self.log.lines.push(message);
        } else {
            self.log.more += 1;
        }
    }
}

/// What a plugin file is and says about itself.
///
/// # Errors
/// A file that cannot be read, or is no plugin.
pub fn inspect(path: &Path) -> Result<Description, PluginError> {
    let bytes = std::fs::read(path).map_err(|source| PluginError::Read { path: path.to_owned(), source })?;
    Plugin::load(Digest::of(&bytes), &|| Ok(bytes.clone())).map(|plugin| plugin.description.clone())
}

impl Plugin {
    /// The plugin in the file at `path`, whose bytes have this `digest`. Compiled once per digest and process.
    pub(crate) fn open(path: &Path, digest: Digest) -> Result<Arc<Plugin>, PluginError> {
        static COMPILED: OnceLock<Mutex<HashMap<Digest, Arc<Plugin>>>> = OnceLock::new();
        let mut compiled = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = compiled.get(&digest) {
            return Ok(Arc::clone(plugin));
        }
        let read = || std::fs::read(path).map_err(|source| PluginError::Read { path: path.to_owned(), source });
        let plugin = Arc::new(Plugin::load(digest, &read)?);
        compiled.insert(digest, Arc::clone(&plugin));
        Ok(plugin)
    }

    /// Checks and compiles a component and asks what it is. `read` gives the bytes, of which `digest` is the digest.
    pub(crate) fn load(digest: Digest, read: &dyn Fn() -> Result<Vec<u8>, PluginError>) -> Result<Plugin, PluginError> {
        let engine = limits::engine()?;
        let component = compiled::component(engine, digest, read)?;
        let world = contract::check_names(engine, &component)?;
        let mut linker = Linker::new(engine);
        Mapper::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state).map_err(link_error)?;
        let linked = linker.instantiate_pre(&component).map_err(link_error)?;
        let start = match world {
            World::Filter => Start::Filter(FilterPre::new(linked).map_err(link_error)?),
            World::Mapper => Start::Mapper(MapperPre::new(linked).map_err(link_error)?),
            World::Reward => {
                let fault = "is of the world `reward`: it scores samples, and a graph's `wasm` nodes are of the worlds `filter` and `mapper`";
                return Err(PluginError::Contract(vec![fault.to_owned()]));
            }
        };
        let description = start.describe(world)?;
        Ok(Plugin { description, start })
    }

    /// Asks what the plugin reads and writes with this configuration.
    pub(crate) fn configure(&self, config: &str, limits: &Limits) -> Result<Setup, PluginError> {
        match self.start.configured(config, limits, &mut new_store(limits, &Cancel::default())?) {
            Ok((_, setup)) => Ok(setup),
            Err(CallError::Refused(message)) => Err(PluginError::Configure(message)),
            Err(CallError::Fuel(_)) => {
                Err(PluginError::Configure("`configure` failed: plugin ran out of fuel".to_owned()))
            }
            Err(error) => Err(PluginError::Configure(format!("`configure` failed: {}", error.reason()))),
        }
    }

    /// Starts the plugin afresh, configures it and calls it once on all `rows`.
    ///
    /// Only the call itself burns the fuel of `limits`. The log comes back whatever the outcome. A call that goes on for
    /// long after a stop was asked for is cut off, as if it had run past its deadline.
    pub(crate) fn call(
        &self,
        config: &str,
        rows: &[Row],
        limits: &Limits,
        cancel: &Cancel,
    ) -> (Result<Answers, CallError>, Log) {
        let mut store = match new_store(limits, cancel) {
            Ok(store) => store,
            Err(error) => return (Err(CallError::Host(error.to_string())), Log::default()),
        };
        // The same start went well when the graph was checked: whatever breaks it now is the machine's doing.
        let started =
            self.start.configured(config, limits, &mut store).map_err(|error| CallError::Host(error.reason()));
        let answers = started.and_then(|(instance, _)| {
            attempt(&mut store, limits, limits.fuel, |store| match &instance {
                Instance::Filter(instance) => Ok(instance.call_filter(store, rows)?.map(Answers::Verdicts)),
                Instance::Mapper(instance) => Ok(instance.call_transform(store, rows)?.map(Answers::Rows)),
            })
        });
        let answers = answers.and_then(|answers| answers.map_err(CallError::Refused));
        (answers, store.into_data().log)
    }
}

impl Start {
    fn instantiate(&self, store: &mut Store<HostState>) -> wasmtime::Result<Instance> {
        match self {
            Start::Filter(start) => start.instantiate(store).map(Instance::Filter),
            Start::Mapper(start) => start.instantiate(store).map(Instance::Mapper),
        }
    }

    /// A fresh instance, configured.
    fn configured(
        &self,
        config: &str,
        limits: &Limits,
        store: &mut Store<HostState>,
    ) -> Result<(Instance, Setup), CallError> {
        let (instance, setup) = attempt(store, limits, SETUP_FUEL, |store| {
            let instance = self.instantiate(store)?;
            let setup = match &instance {
                Instance::Filter(instance) => instance.ruminate_plugin_lifecycle().call_configure(store, config)?,
                Instance::Mapper(instance) => instance.ruminate_plugin_lifecycle().call_configure(store, config)?,
            };
            Ok((instance, setup))
        })?;
        setup.map(|setup| (instance, setup)).map_err(CallError::Refused)
    }

    /// Starts the plugin once and asks what it is.
    fn describe(&self, world: World) -> Result<Description, PluginError> {
        let limits = Limits::for_check();
        let mut store = new_store(&limits, &Cancel::default())?;
        let start_error = |error: CallError| PluginError::Start(error.reason());
        let instance = attempt(&mut store, &limits, SETUP_FUEL, |store| self.instantiate(store));
        let instance = instance.map_err(|error| match error {
            CallError::Answer(cause) => PluginError::Start(cause),
            other => start_error(other),
        })?;
        let info = attempt(&mut store, &limits, SETUP_FUEL, |store| match &instance {
            Instance::Filter(instance) => instance.ruminate_plugin_lifecycle().call_describe(store),
            Instance::Mapper(instance) => instance.ruminate_plugin_lifecycle().call_describe(store),
        });
        let info = info.map_err(start_error)?;
        let Info { name, version, summary, config_schema } = info;
        Ok(Description { world, name, version, summary, config_schema })
    }
}

fn new_store(limits: &Limits, cancel: &Cancel) -> Result<Store<HostState>, PluginError> {
    let patience = Patience::new(cancel.clone());
    let state = HostState { memory: MemoryCap::new(limits.memory_bytes), log: Log::default(), patience };
    let mut store = Store::new(limits::engine()?, state);
    store.limiter(|state| &mut state.memory);
    store.epoch_deadline_callback(|mut context| {
        let patience = &mut context.data_mut().patience;
        if patience.tick() { Ok(UpdateDeadline::Continue(1)) } else { Err(Trap::Interrupt.into()) }
    });
    // What a call hands back is copied out of the plugin's memory; no answer needs to be larger than that memory.
    store.set_hostcall_fuel(limits.memory_bytes);
    Ok(store)
}

/// Runs `work` with this much fuel and a new deadline.
fn attempt<T>(
    store: &mut Store<HostState>,
    limits: &Limits,
    fuel: u64,
    work: impl FnOnce(&mut Store<HostState>) -> wasmtime::Result<T>,
) -> Result<T, CallError> {
    store.set_fuel(fuel).map_err(|error| CallError::Host(error.to_string()))?;
    store.data_mut().patience.renew(limits);
    store.set_epoch_deadline(1);
    work(store).map_err(|error| {
        let state = store.data();
        if state.memory.refused {
            CallError::Memory(limits.memory_bytes >> 20)
        } else if state.memory.host_failed {
            CallError::Host("the machine is out of memory".to_owned())
        } else {
            CallError::of(&error, state.log.panic.as_deref(), limits)
        }
    })
}

fn link_error(error: wasmtime::Error) -> PluginError {
    type_error(&call::causes(&error))
}

fn type_error(cause: &str) -> PluginError {
    let package = format!("`{}@{}`", contract::PACKAGE, contract::VERSION);
    PluginError::Contract(vec![format!("has a function of another type than {package}: {cause}")])
}
