//! Components turned into machine code, which is kept for the next process: compiling takes seconds for the plugins that
//! carry an interpreter, loading milliseconds. It does not know what a component is for.

mod entry;
mod folder;
mod load;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use ruminate_flow::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use self::entry::Entry;
use self::folder::Folder;
use crate::call;
use crate::contract;
use crate::engines;
use crate::error::PluginError;

/// The environment variable that names the folder for what can be made anew.
pub(crate) const CACHE_VARIABLE: &str = "RUMINATE_CACHE";

/// Gives the bytes of a component.
pub(crate) type Read<'a> = &'a dyn Fn() -> Result<Vec<u8>, PluginError>;

/// Why there is no machine code.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The engine's pool cannot hold what the component needs. An engine without one can.
    NoRoom,
    /// Anything else.
    Plugin(PluginError),
}

impl From<PluginError> for Fault {
    fn from(error: PluginError) -> Self {
        Fault::Plugin(error)
    }
}

/// The machine code of the component whose bytes have this `digest`; `read` gives them, and is called only if this machine
/// keeps no code for them. It is the same code whether the engine has a pool or not.
///
/// # Errors
/// What `read` says, bytes that are no component or not those of `digest`; a pool that is too small.
pub(crate) fn component(engine: &Engine, digest: Digest, read: Read<'_>) -> Result<Component, Fault> {
    static CACHE: OnceLock<Option<Cache>> = OnceLock::new();
    let open = || match Cache::open(default_folder()?) {
        Ok(cache) => Some(cache),
        Err(fault) => {
            tracing::warn!("{fault}; compiled plugins are not kept, so each run compiles them again");
            None
        }
    };
    match CACHE.get_or_init(open) {
        Some(cache) => cache.component(engine, digest, read),
        None => compile(engine, digest, read),
    }
}

/// Where compiled plugins are kept: below the folder in `RUMINATE_CACHE`, else in the user's cache folder.
fn default_folder() -> Option<PathBuf> {
    // The tests of this crate compile what nobody should keep; those of the cache bring folders of their own.
    if cfg!(test) {
        return None;
    }
    let named = std::env::var_os(CACHE_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    Some(named.or_else(|| Some(dirs::cache_dir()?.join("ruminate")))?.join("plugins"))
}

/// A folder of compiled components. Nothing that happens to it keeps a plugin from being compiled.
pub(crate) struct Cache {
    folder: Folder,
    /// The most bytes that it may hold; what was not used for longest goes first.
    pub(crate) bytes_max: u64,
    /// How long to wait for another process that compiles the same component.
    pub(crate) patience: Duration,
}

impl Cache {
    const BYTES_MAX: u64 = 2 << 30;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The cache in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be made, or in which others could put code for this user to run.
    pub(crate) fn open(folder: PathBuf) -> Result<Cache, String> {
        Ok(Cache { folder: Folder::open(folder)?, bytes_max: Self::BYTES_MAX, patience: Self::PATIENCE })
    }

    /// See [`component`].
    pub(crate) fn component(&self, engine: &Engine, digest: Digest, read: Read<'_>) -> Result<Component, Fault> {
        let entry = Entry::new(&self.folder, engine, digest);
        if let Some(component) = entry.load(engine)? {
            return Ok(component);
        }
        // Held until the code is kept, so that of several processes one compiles. Without it two may: each writes a whole
        // file and renames it, so that costs time only.
        let _lock = entry.lock(self.patience);
        if let Some(component) = entry.load(engine)? {
            return Ok(component);
        }
        let component = compile(engine, digest, read)?;
        let kept = component.serialize().map_err(std::io::Error::other).and_then(|code| entry.keep(&code));
        match kept {
            Ok(()) => self.folder.shrink(self.bytes_max, entry.name()),
            Err(error) => {
                let folder = self.folder.path().display();
                tracing::warn!(
                    "the compiled plugin cannot be kept in `{folder}`, so the next run compiles it again: {error}"
                );
            }
        }
        Ok(component)
    }
}

fn compile(engine: &Engine, digest: Digest, read: Read<'_>) -> Result<Component, Fault> {
    let bytes = read()?;
    contract::check_header(&bytes)?;
    // Code kept under the digest of other bytes would be run in their place.
    if Digest::of(&bytes) != digest {
        let changed = "file changed while it was read: run the command again".to_owned();
        return Err(PluginError::NotAComponent(changed).into());
    }
    tracing::info!("compiling a plugin of {} bytes for this machine", bytes.len());
    Component::new(engine, &bytes).map_err(|error| match engines::is_no_room(&error) {
        true => Fault::NoRoom,
        false => {
            let causes = call::causes(&error);
            PluginError::NotAComponent(format!("file is damaged or not valid: {causes}")).into()
        }
    })
}
