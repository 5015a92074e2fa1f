//! The content-addressed store: blobs, record segments, actions, units, checkpoints. It knows neither graphs nor stages'
//! meaning, only digests and bytes.
//!
//! | where | what | named by | verified by |
//! |---|---|---|---|
//! | `packs/*.pack` | many small blobs, written in one go | the digest of its index | each blob's digest |
//! | `blobs/ab/*` | a large blob or a model's file | its digest | its name |
//! | `segments/ab/*.segment` | the records of an output, in blocks | the digest of its table of blocks | each block's digest |
//! | `actions/ab/*.json` | the outputs of a source or set stage | its key's digest | a digest line |
//! | `units/KEY/*.units` | results of a record stage's units, in blocks | its number and the digest of its table | each block's digest |
//! | `units/KEY/about.json` | the kind and key of these results, for people | | a digest line |
//! | `checkpoints/KEY/` | progress of a set stage | its key's digest | a digest line, parts by name |
//! | `graphs/*.json` | the keys that a graph's nodes had last | the graph's path | a digest line |
//! | `stamps` | digests of files outside and the store's files that were verified, by size, inode, modification time | | a digest |
//! | `tmp/` | what is being written | | never read |
//! | `lock` | held shared by every process that writes, exclusively by `gc` | | |
//!
//! No file is ever edited: it is written to a temporary name, synced and renamed; what refers to others goes last. So
//! processes may share a store. What is damaged is set aside (`*.damaged`), noted, and counts as missing.

mod actions;
mod blobs;
mod blocks;
mod checkpoint;
mod history;
mod maintenance;
mod packs;
mod segments;
mod stamps;
#[cfg(test)]
mod tests;
mod trust;
mod units;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::StageError;

pub use actions::Action;
pub use checkpoint::StoreCheckpoint;
pub use history::{History, Memo, Past, StreamId};
pub use maintenance::{GcOptions, GcReport, Pins, Removed, Usage, VerifyReport};
pub use segments::{Segment, SegmentReader, SegmentWriter};
pub use units::{StoredUnit, Units};

/// A store in a folder. Several processes may use one folder at once.
pub struct Store {
    root: PathBuf,
    blobs: Mutex<packs::Packs>,
    stamps: Mutex<stamps::Stamps>,
    notes: Mutex<Notes>,
    losses: AtomicU64,
    /// The lock file, held shared from the first write on.
    writing: Mutex<Option<File>>,
}

/// What the person who watches is to know.
#[derive(Default)]
struct Notes {
    new: Vec<String>,
    /// The files that are out of order and were noted, until they are written anew.
    noted: BTreeSet<PathBuf>,
}

impl Store {
    /// Opens the store at `folder`; the folder is made when something is first written. What a killed process left behind
    /// in the middle of writing is removed, unless another process is writing now.
    ///
    /// # Errors
    /// `folder` is there but is no folder that can be read.
    pub fn open(folder: &Path) -> Result<Store, StageError> {
        let root = std::path::absolute(folder).map_err(StageError::io("find", folder))?;
        if root.exists() {
            fs::read_dir(&root).map_err(StageError::io("read the store", &root))?;
        }
        let store = Store {
            root,
            blobs: Mutex::default(),
            stamps: Mutex::default(),
            notes: Mutex::default(),
            losses: AtomicU64::new(0),
            writing: Mutex::default(),
        };
        store.clear_leftovers();
        Ok(store)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder on the store's disk for temporary files; what is left in it is removed when no process writes any more.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, StageError> {
        self.begin_writing()?;
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder).map_err(failed_write(&folder))?;
        Ok(folder)
    }

    /// The notes about damaged and missing entries since the last call, for the person who watches.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.notes).new)
    }

    /// How many entries that were being read turned out missing or damaged since the store was opened: blobs, blocks of
    /// segments. What refers to them is a miss from then on.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Writes what is still in memory: small blobs and what is known of files.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&self) -> Result<(), StageError> {
        self.flush_blobs()?;
        self.save_stamps()
    }

    fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes the shared lock, once: while it is held nobody collects garbage or clears temporary files.
    fn begin_writing(&self) -> Result<(), StageError> {
        let mut writing = lock(&self.writing);
        if writing.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.root).map_err(failed_write(&self.root))?;
        let file = self.lock_file(true)?;
        // A file system without locks: the store works, only garbage collection cannot know of this process.
        let _ = file.lock_shared();
        *writing = Some(file);
        Ok(())
    }

    fn lock_file(&self, create: bool) -> Result<File, StageError> {
        let path = self.root.join("lock");
        let open = File::options().read(true).write(true).create(create).truncate(false).open(&path);
        open.map_err(failed_write(&path))
    }

    fn clear_leftovers(&self) {
        let folder = self.root.join("tmp");
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some())
            && let Ok(file) = self.lock_file(false)
            && file.try_lock().is_ok()
        {
            remove_leftovers(&folder);
        }
    }

    /// `FOLDER/ab/abcdef...SUFFIX`, from the root on.
    fn relative_place(folder: &str, digest: &Digest, suffix: &str) -> String {
        let name = digest.to_string();
        format!("{folder}/{}/{name}{suffix}", &name[..2])
    }

    fn place(&self, folder: &str, digest: &Digest, suffix: &str) -> PathBuf {
        self.root.join(Store::relative_place(folder, digest, suffix))
    }

    /// A new temporary file that becomes `path`.
    fn temporary(&self, path: &Path) -> Result<tempfile::NamedTempFile, StageError> {
        let folder = self.scratch()?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder.tempfile_in(folder).map_err(failed_write(path))
    }

    /// Gives a written temporary file its name once its bytes are on the disk, and remembers it as whole.
    fn persist(&self, temporary: tempfile::NamedTempFile, path: &Path) -> Result<(), StageError> {
        temporary.as_file().sync_all().map_err(failed_write(path))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed_write(folder))?;
        }
        let file = temporary.persist(path).map_err(|error| failed_write(path)(error.error))?;
        lock(&self.notes).noted.remove(path);
        self.remember(path, &file);
        Ok(())
    }

    /// Gives a written file of the scratch folder, open as `file`, the name `path` once its bytes are on the disk, and remembers
    /// it as whole.
    fn adopt(&self, source: &Path, file: &File, path: &Path) -> Result<(), StageError> {
        file.sync_all().map_err(failed_write(path))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed_write(folder))?;
        }
        fs::rename(source, path).map_err(failed_write(path))?;
        lock(&self.notes).noted.remove(path);
        self.remember(path, file);
        Ok(())
    }

    /// Writes a file whole or not at all.
    fn write_atomic(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
    ) -> Result<(), StageError> {
        let temporary = self.temporary(path)?;
        let mut writer = BufWriter::new(temporary.as_file());
        fill(&mut writer).and_then(|()| writer.flush()).map_err(failed_write(path))?;
        drop(writer);
        self.persist(temporary, path)
    }

    /// Writes a value as one line of JSON and a line with its digest, so that it survives a power cut once this returns.
    fn write_sealed(&self, path: &Path, value: &impl Serialize) -> Result<(), StageError> {
        let mut text = serde_json::to_string(value).map_err(StageError::failed)?;
        let seal = Digest::of(text.as_bytes());
        text.push_str(&format!("\n{seal}\n"));
        self.write_atomic(path, |file| file.write_all(text.as_bytes()))?;
        sync_folder(path)
    }

    /// Reads what [`Store::write_sealed`] wrote. `None`: missing, or damaged and set aside.
    fn read_sealed<T: DeserializeOwned>(&self, path: &Path, what: &str) -> Result<Option<T>, StageError> {
        let Some(bytes) = read_if_there(path)? else {
            self.note_if_lost(path);
            return Ok(None);
        };
        let value = unseal(&bytes).and_then(|text| serde_json::from_str(text).ok());
        if value.is_none() {
            self.set_aside(path, what);
        }
        Ok(value)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("{error}");
        }
    }
}

fn unseal(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, seal) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    // Compared as text: an upper-case digit is a damaged one.
    (seal == Digest::of(body.as_bytes()).to_string()).then_some(body)
}

/// A thread that panicked while it held a lock leaves data that is still whole: each change is a single insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wraps an error of writing; a full disk says what to do.
pub(crate) fn failed_write(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> StageError {
    let path = path.into();
    move |error| {
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        let source = if full {
            let text = error.to_string();
            let reason = text.split(" (os error").next().unwrap_or(&text);
            std::io::Error::new(error.kind(), format!("{reason}; free space and run again: what is finished is kept"))
        } else {
            error
        };
        StageError::Io { action: "write", path, source }
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StageError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StageError::io("read", path)(error)),
    }
}

/// Makes a rename in the folder of `path` survive a power cut.
fn sync_folder(path: &Path) -> Result<(), StageError> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Another process has finished this computation and removed its folder.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result.map_err(failed_write(folder))?,
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Removes what is in the folder for temporary files. The caller holds the exclusive lock.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // What cannot be removed is in nobody's way.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}
