//! One compiled component on the disk: its code, the record that says what the code is, and the lock of who makes it. Does
//! not know how code is made or when it goes.

use std::fs::{self, File, Metadata, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ruminate_flow::digest::Digest;
use ruminate_flow::stamp::Stamp;
use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::Fault;
use super::folder::{self, CODE, Folder, LOCK, RECORD};
use super::load;
use crate::engines;

/// The code of one component for one engine.
pub(super) struct Entry<'a> {
    folder: &'a Folder,
    name: String,
    component: Digest,
    engine: Digest,
}

/// What is recorded beside the code.
#[derive(Serialize, Deserialize)]
struct Record {
    /// The component that was compiled: an entry under another's name is none.
    component: Digest,
    /// The engine that compiled it.
    engine: Digest,
    /// The code's bytes.
    code: Digest,
    /// The state of the file in which all its bytes were last read and had that digest.
    verified: Option<State>,
}

/// What changes when the code's file changes, even if its time of modification is set back: nobody sets that of its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    #[serde(flatten)]
    file: Stamp,
    device: u64,
    changed_ns: i64,
}

/// A file of machine code whose bytes are those that the compiler gave.
pub(super) struct Verified {
    path: PathBuf,
}

/// The most bytes of a record.
const RECORD_MAX: u64 = 4096;
/// How often to look whether another process is done.
const POLL: Duration = Duration::from_millis(20);
/// That an entry is in use is noted at most so often.
const USE_NOTED: Duration = Duration::from_secs(3600);

impl<'a> Entry<'a> {
    pub(super) fn new(folder: &'a Folder, engine: &Engine, component: Digest) -> Self {
        let mut hasher = EngineHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = Digest::from_bytes(*hasher.0.finalize().as_bytes());
        Self { folder, name: format!("{component}-{}", engine.short()), component, engine }
    }

    /// The name that its files share.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.file(&self.name, extension)
    }

    /// The component, if its code is there, whole and of this engine.
    ///
    /// # Errors
    /// A pool that is too small for it.
    pub(super) fn load(&self, engine: &Engine) -> Result<Option<Component>, Fault> {
        let Some(code) = self.verified() else { return Ok(None) };
        match load::load(engine, &code) {
            Ok(component) => {
                self.note_use();
                Ok(Some(component))
            }
            Err(error) if engines::is_no_room(&error) => Err(Fault::NoRoom),
            Err(error) => {
                tracing::warn!(
                    "the compiled plugin `{}` cannot be used and is made anew: {error:#}",
                    code.path.display()
                );
                let _ = fs::remove_file(self.path(RECORD));
                Ok(None)
            }
        }
    }

    /// The code, if it is what the record says: known from the file's stamp if it was read in that state, else read in full.
    fn verified(&self) -> Option<Verified> {
        let path = self.path(CODE);
        let mut record = self.record()?;
        let file = folder::open_file(&path).ok()?;
        let state = State::of(&file.metadata().ok()?);
        if record.verified != Some(state) {
            let clock = self.folder.clock();
            if Digest::of_reader(&file).ok()? != record.code {
                tracing::warn!("the compiled plugin `{}` is damaged and made anew", path.display());
                // So that it is not read again before it is replaced.
                let _ = fs::remove_file(self.path(RECORD));
                return None;
            }
            // A change within one tick of the file system's clock would not show in the state. Only that clock says when the
            // tick is over: it lags behind the system's, the more the busier the machine is.
            if clock.is_ok_and(|clock| state.changed_ns < State::of(&clock).changed_ns) {
                record.verified = Some(state);
                // Where nothing can be written it is read in full the next time too.
                let _ = self.write_record(&record);
            }
        }
        // The file is loaded by its name, so the name must still lead to what was looked at.
        let now = State::of(&fs::symlink_metadata(&path).ok()?);
        (now == state).then_some(Verified { path })
    }

    /// The record, if it is one, and about this component and engine.
    fn record(&self) -> Option<Record> {
        let mut text = Vec::new();
        folder::open_file(&self.path(RECORD)).ok()?.take(RECORD_MAX).read_to_end(&mut text).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        (record.component == self.component && record.engine == self.engine).then_some(record)
    }

    /// Puts `code` in place of whatever there is.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn keep(&self, code: &[u8]) -> io::Result<()> {
        self.folder.replace(&self.path(CODE), |file| file.write_all(code))?;
        let (component, engine) = (self.component, self.engine);
        // Not verified yet: the first load reads what the disk really holds.
        self.write_record(&Record { component, engine, code: Digest::of(code), verified: None })
    }

    fn write_record(&self, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        self.folder.replace(&self.path(RECORD), |file| file.write_all(&text))
    }

    /// Waits until nobody else makes this entry, but no longer than `patience`. `None`: it took longer, or the folder knows
    /// no locks. The system gives a lock back when its process ends, however it ends.
    pub(super) fn lock(&self, patience: Duration) -> Option<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.path(LOCK)).ok()?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Some(file),
                Err(TryLockError::WouldBlock) if start.elapsed() < patience => std::thread::sleep(POLL),
                Err(_) => return None,
            }
        }
    }

    /// The age of the record is the time since the last use, give or take [`USE_NOTED`].
    fn note_use(&self) {
        let Ok(file) = File::open(self.path(RECORD)) else { return };
        let age = file.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
        if !matches!(age, Ok(Ok(age)) if age < USE_NOTED) {
            // Where that cannot be written nothing is removed either.
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

impl Verified {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        let file = Stamp::of(metadata);
        #[cfg(unix)]
        let (device, changed_ns) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (device, changed_ns) = (0, file.modified_ns as i64);
        Self { file, device, changed_ns }
    }
}

/// Hashes what decides whether an engine can use code, the same in every build of this program.
struct EngineHasher(blake3::Hasher);

impl Hasher for EngineHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}
