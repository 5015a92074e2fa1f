//! The content-addressed store: blobs, record segments, actions, units, checkpoints. It knows neither graphs nor stages'
//! meaning, only digests and bytes.
//!
//! | where | what | named by | verified by |
//! |---|---|---|---|
//! | `packs/*.pack` | many small blobs, written in one go | the digest of its index | each blob's digest |
//! | `blobs/ab/*` | a large blob or a model's file | its digest | its name |
//! | `segments/ab/*.jsonl` | the records of an output | its digest | its name |
//! | `actions/ab/*.json` | the outputs of a source or set stage | its key's digest | a digest line |
//! | `units/KEY/*.jsonl` | results of a record stage's units | its digest | its name |
//! | `checkpoints/KEY/` | progress of a set stage | its key's digest | a digest line, parts by name |
//! | `graphs/*.json` | the keys that a graph's nodes had last | the graph's path | a digest line |
//! | `files.json` | digests of files outside, by path, size, inode, modification time | | a digest line |
//!
//! No file is ever edited: it is written to a temporary name, synced and renamed; what refers to others goes last. So
//! processes may share a store without a lock. What is damaged is set aside (`*.damaged`), noted, and counts as missing.

mod actions;
mod blobs;
mod checkpoint;
mod files;
mod history;
mod units;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::StageError;

pub use actions::{Action, Segment, SegmentReader, SegmentWriter};
pub use checkpoint::StoreCheckpoint;
pub use history::{History, Memo, Past, StreamId};
pub use units::{StoredUnit, Units};

/// A store in a folder. Several processes may use one folder at once.
pub struct Store {
    root: PathBuf,
    blobs: Mutex<blobs::Packs>,
    files: Mutex<files::Memo>,
    notes: Mutex<Vec<String>>,
    losses: AtomicU64,
}

impl Store {
    /// Opens the store at `folder`; the folder is made when something is first written.
    ///
    /// # Errors
    /// `folder` is there but is no folder that can be read.
    pub fn open(folder: &Path) -> Result<Store, StageError> {
        let root = std::path::absolute(folder).map_err(StageError::io("find", folder))?;
        if root.exists() {
            fs::read_dir(&root).map_err(StageError::io("read the store", &root))?;
        }
        Ok(Store {
            root,
            blobs: Mutex::default(),
            files: Mutex::default(),
            notes: Mutex::default(),
            losses: AtomicU64::new(0),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The notes about damaged entries since the last call, for the person who watches.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.notes))
    }

    /// How many blobs that were asked for were missing or damaged since the store was opened. What refers to them is a
    /// miss from then on.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Writes what is still in memory: small blobs and the digests of files.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&self) -> Result<(), StageError> {
        self.flush_blobs()?;
        self.save_file_digests()
    }

    /// Notes that `path` is damaged and moves it out of the way, so that it is made anew.
    fn set_aside(&self, path: &Path, what: &str) {
        lock(&self.notes).push(format!("{what} `{}` is damaged: it is set aside and made anew", path.display()));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".damaged");
        // A store that cannot be written keeps the entry; it stays a miss all the same.
        let _ = fs::rename(path, path.with_file_name(name));
    }

    /// `FOLDER/ab/abcdef...SUFFIX`.
    fn place(&self, folder: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let name = digest.to_string();
        self.root.join(folder).join(&name[..2]).join(format!("{name}{suffix}"))
    }

    /// Reads a content-named file and checks it against its name; a damaged one is set aside. `None`: missing or damaged.
    fn read_named(&self, path: &Path, digest: &Digest, what: &str) -> Result<Option<Vec<u8>>, StageError> {
        let Some(bytes) = read_if_there(path)? else { return Ok(None) };
        if Digest::of(&bytes) != *digest {
            self.set_aside(path, what);
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Writes a value as one line of JSON and a line with its digest.
    fn write_sealed(&self, path: &Path, value: &impl Serialize) -> Result<(), StageError> {
        let mut text = serde_json::to_string(value).map_err(StageError::failed)?;
        let seal = Digest::of(text.as_bytes());
        text.push_str(&format!("\n{seal}\n"));
        write_atomic(path, |file| file.write_all(text.as_bytes()))
    }

    /// Reads what [`Store::write_sealed`] wrote. `None`: missing, or damaged and set aside.
    fn read_sealed<T: DeserializeOwned>(&self, path: &Path, what: &str) -> Result<Option<T>, StageError> {
        let Some(bytes) = read_if_there(path)? else { return Ok(None) };
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
    (seal.parse::<Digest>().ok()? == Digest::of(body.as_bytes())).then_some(body)
}

/// A thread that panicked while it held a lock leaves data that is still whole: each change is a single insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StageError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StageError::io("read", path)(error)),
    }
}

/// The temporary file that becomes `path`: in the same folder, which is made if need be.
fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile, StageError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(StageError::io("create", folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(StageError::io("write", path))
}

/// Gives a written temporary file its name once its bytes are on the disk.
fn persist(temporary: tempfile::NamedTempFile, path: &Path) -> Result<(), StageError> {
    temporary.as_file().sync_all().map_err(StageError::io("write", path))?;
    temporary.persist(path).map_err(|error| StageError::io("write", path)(error.error))?;
    Ok(())
}

/// Writes a file whole or not at all.
fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<(), StageError> {
    let temporary = temporary_beside(path)?;
    let mut writer = BufWriter::new(temporary.as_file());
    fill(&mut writer).and_then(|()| writer.flush()).map_err(StageError::io("write", path))?;
    drop(writer);
    persist(temporary, path)
}
