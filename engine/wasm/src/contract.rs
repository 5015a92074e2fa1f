//! The contract of plugins: which worlds there are, and what a component must export and may import. Compares a compiled
//! component with it.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{self, ComponentItem};

use crate::error::PluginError;
use crate::signature;

/// The package of the plugin interfaces.
pub const PACKAGE: &str = "ruminate:plugin";
/// The version of [`PACKAGE`] that this engine speaks.
pub const VERSION: &str = "0.1.0";

/// What componentize-py leaves in every component: the function by which it started Python when the plugin was built.
/// Nothing calls it any more.
const PYTHON_LEFTOVER: &str = "exports";

const LIFECYCLE_FUNCTIONS: [&str; 2] = ["describe", "configure"];

/// What a plugin is, told by the function that it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Keeps or drops records.
    Filter,
    /// Turns a record into any number of rows.
    Mapper,
    /// Scores samples.
    Reward,
}

impl World {
    const ALL: [World; 3] = [World::Filter, World::Mapper, World::Reward];

    /// Its name in the WIT package.
    pub fn name(self) -> &'static str {
        match self {
            World::Filter => "filter",
            World::Mapper => "mapper",
            World::Reward => "reward",
        }
    }

    /// The function that it exports beside `lifecycle`.
    pub fn function(self) -> &'static str {
        match self {
            World::Filter => "filter",
            World::Mapper => "transform",
            World::Reward => "score",
        }
    }
}

/// Checks the first bytes of a file, before anything is compiled.
///
/// # Errors
/// What the file is instead of a component.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), PluginError> {
    let fault = match bytes {
        [] => "file is empty: expected a WebAssembly component".to_owned(),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "file is a core WebAssembly module, not a component: `ruminate plugin build` makes one from a plugin's folder".to_owned()
        }
        [0, b'a', b's', b'm', version @ ..] if version.len() >= 4 => {
            "file is a component of a binary version that this engine does not know".to_owned()
        }
        [0, b'a', b's', b'm', ..] => "file is damaged: it ends within its header".to_owned(),
        other => {
            let head = String::from_utf8_lossy(&other[..other.len().min(8)]).escape_debug().to_string();
            format!("file is not a WebAssembly component: it begins with `{head}`")
        }
    };
    Err(PluginError::NotAComponent(fault))
}

/// Checks what `component` imports and exports, and tells its world.
///
/// # Errors
/// Every deviation from the contract in one error: what is missing, what is extra, what is supported.
pub(crate) fn check_names(engine: &Engine, component: &Component) -> Result<World, PluginError> {
    let component = component.component_type();
    let imports: Vec<&str> = component.imports(engine).map(|(name, _)| name).collect();
    let exports: Vec<(&str, ComponentItem)> = component.exports(engine).map(|(name, item)| (name, item.ty)).collect();
    let names = imports.iter().copied().chain(exports.iter().map(|(name, _)| *name));
    let other = names.filter_map(other_version).collect::<std::collections::BTreeSet<_>>();
    if !other.is_empty() {
        let other = list(other.into_iter().map(|version| format!("{PACKAGE}@{version}")));
        return Err(PluginError::Contract(vec![format!(
            "is built for {other}: this engine supports `{PACKAGE}@{VERSION}`"
        )]));
    }
    let worlds: Vec<World> =
        World::ALL.into_iter().filter(|world| exports.iter().any(|(name, _)| *name == world.function())).collect();
    let mut faults = Vec::new();
    match worlds.as_slice() {
        [_] => {}
        [] => {
            let all = World::ALL.map(|world| format!("`{}` (world `{}`)", world.function(), world.name()));
            faults.push(format!("exports no function that makes it a plugin: expected one of {}", all.join(", ")));
        }
        several => {
            let functions = list(several.iter().map(|world| world.function().to_owned()));
            faults.push(format!("exports {functions}: a plugin is of one world only"));
        }
    }
    faults.extend(lifecycle_fault(engine, &exports));
    let lifecycle = interface("lifecycle");
    let known = |name: &str| {
        name == lifecycle || name == PYTHON_LEFTOVER || worlds.iter().any(|world| world.function() == name)
    };
    let is_type = |item: &ComponentItem| matches!(item, ComponentItem::Type(_));
    let extra: Vec<_> = exports
        .iter()
        .filter(|(name, item)| !known(name) && !is_type(item))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if !extra.is_empty() {
        faults.push(format!("exports {}, which no world of plugins has", list(extra)));
    }
    let allowed = [interface("logging"), interface("types")];
    let unknown: Vec<_> = imports
        .iter()
        .filter(|name| !allowed.iter().any(|allowed| allowed == *name))
        .map(|name| (*name).to_owned())
        .collect();
    if !unknown.is_empty() {
        let only = interface("logging");
        faults.push(format!("imports {}: a plugin may import nothing but `{only}`", list(unknown)));
    }
    faults.extend(type_faults(engine, &component));
    match worlds.first() {
        Some(world) if faults.is_empty() => Ok(*world),
        _ => Err(PluginError::Contract(faults)),
    }
}

/// What is missing of the interface `lifecycle`.
fn lifecycle_fault(engine: &Engine, exports: &[(&str, ComponentItem)]) -> Option<String> {
    let name = interface("lifecycle");
    match exports.iter().find(|(export, _)| *export == name) {
        Some((_, ComponentItem::ComponentInstance(instance))) => {
            let missing = LIFECYCLE_FUNCTIONS.iter().filter(|function| instance.get_export(engine, function).is_none());
            let missing: Vec<_> = missing.map(|function| (*function).to_owned()).collect();
            (!missing.is_empty()).then(|| format!("lacks {} in its export `{name}`", list(missing)))
        }
        _ => Some(format!("lacks the export `{name}` with {}", list(LIFECYCLE_FUNCTIONS.map(str::to_owned)))),
    }
}

/// The contract's functions that are of another type in `component`, or no functions; and what it wants of our interfaces
/// that they do not have.
fn type_faults(engine: &Engine, component: &types::Component) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, item) in component.exports(engine) {
        match &item.ty {
            ComponentItem::ComponentFunc(function) => faults.extend(signature::fault(name, function)),
            ComponentItem::ComponentInstance(instance) if name == interface("lifecycle") => {
                for (name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(function) = &item.ty {
                        faults.extend(signature::fault(name, function));
                    }
                }
            }
            ComponentItem::Type(_) | ComponentItem::ComponentInstance(_) => {}
            _ if World::ALL.iter().any(|world| world.function() == name) => {
                faults.push(format!("exports `{name}`, which is not a function"));
            }
            _ => {}
        }
    }
    for (name, item) in component.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = &item.ty else { continue };
        for (function, item) in instance.exports(engine) {
            match &item.ty {
                ComponentItem::ComponentFunc(found) if name == interface("logging") && function == "log" => {
                    faults.extend(signature::fault(function, found));
                }
                ComponentItem::Type(_) => {}
                _ if name.starts_with(PACKAGE) => {
                    faults.push(format!("imports `{function}` of `{name}`, which is not there"))
                }
                _ => {}
            }
        }
    }
    faults
}

/// The full name of an interface of the package.
fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

/// The version in a name of our package, if it is another than ours.
fn other_version(name: &str) -> Option<&str> {
    let (_, version) = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
    (version != VERSION).then_some(version)
}

/// Names in backticks, joined by commas.
pub(crate) fn list(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The names of what `component` imports, and of the functions that it exports.
pub(crate) fn names(engine: &Engine, component: &Component) -> (Vec<String>, Vec<String>) {
    let component = component.component_type();
    let imports = component.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let mut exports = Vec::new();
    for (name, item) in component.exports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                let functions =
                    instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
                exports.extend(functions.map(|(function, _)| format!("{name}#{function}")));
            }
            ComponentItem::ComponentFunc(_) => exports.push(name.to_owned()),
            _ => {}
        }
    }
    (imports, exports)
}
