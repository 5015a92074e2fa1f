//! Digests of files, remembered by path, size, inode and modification time, as git's index does.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::StageError;

use super::{Store, lock};

/// A file changed so shortly before it was read may change again without a new modification time: its digest is not kept.
const SETTLED: Duration = Duration::from_secs(2);
/// Having read this many bytes is worth making the store's folder for.
const WORTH_KEEPING: u64 = 64 << 20;

/// What is remembered.
#[derive(Default)]
pub(super) struct Memo {
    loaded: bool,
    entries: BTreeMap<PathBuf, Remembered>,
    new: BTreeMap<PathBuf, Remembered>,
    bytes_read: u64,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    stamp: Stamp,
    digest: Digest,
}

/// What changes when a file changes.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    inode: u64,
    modified_ns: u64,
}

impl Store {
    /// The digest of a file's bytes, remembered by path, size, inode and modification time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file_digest(&self, path: &Path) -> Result<Digest, StageError> {
        let absolute = std::path::absolute(path).map_err(StageError::io("find", path))?;
        let metadata = fs::metadata(&absolute).map_err(StageError::io("read", path))?;
        let settled = metadata
            .modified()
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .is_some_and(|age| age > SETTLED);
        self.digest_by_stamp(&absolute, Stamp::of(&metadata), settled)
    }

    /// The digest of one of the store's own files, which nobody edits.
    pub(super) fn own_digest(&self, path: &Path) -> Result<Digest, StageError> {
        let metadata = fs::metadata(path).map_err(StageError::io("read", path))?;
        self.digest_by_stamp(path, Stamp::of(&metadata), true)
    }

    /// Keeps the digest of a file that was just written.
    pub(super) fn remember(&self, path: &Path, digest: Digest) {
        if let Ok(metadata) = fs::metadata(path) {
            let stamp = Stamp::of(&metadata);
            lock(&self.files).new.insert(path.to_owned(), Remembered { stamp, digest });
        }
    }

    fn digest_by_stamp(&self, path: &Path, stamp: Stamp, keep: bool) -> Result<Digest, StageError> {
        if let Some(remembered) = self.remembered(path)
            && remembered.stamp == stamp
        {
            return Ok(remembered.digest);
        }
        let file = File::open(path).map_err(StageError::io("read", path))?;
        let digest = Digest::of_reader(file).map_err(StageError::io("read", path))?;
        let mut memo = lock(&self.files);
        memo.bytes_read += stamp.size;
        if keep {
            memo.new.insert(path.to_owned(), Remembered { stamp, digest });
        }
        Ok(digest)
    }

    fn remembered(&self, path: &Path) -> Option<Remembered> {
        let mut memo = lock(&self.files);
        if !memo.loaded {
            memo.loaded = true;
            // What cannot be read is only not remembered.
            memo.entries =
                self.read_sealed(&self.memo_path(), "list of file digests").ok().flatten().unwrap_or_default();
        }
        memo.new.get(path).or_else(|| memo.entries.get(path)).copied()
    }

    /// Adds what this process learned to the list on the disk, which another process may have extended meanwhile.
    pub(super) fn save_file_digests(&self) -> Result<(), StageError> {
        let mut memo = lock(&self.files);
        if memo.new.is_empty() || (!self.root.exists() && memo.bytes_read < WORTH_KEEPING) {
            return Ok(());
        }
        let path = self.memo_path();
        let mut entries: BTreeMap<PathBuf, Remembered> =
            self.read_sealed(&path, "list of file digests")?.unwrap_or_default();
        entries.append(&mut memo.new);
        entries.retain(|path, _| path.exists());
        self.write_sealed(&path, &entries)?;
        memo.entries = entries;
        Ok(())
    }

    fn memo_path(&self) -> PathBuf {
        self.root.join("files.json")
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Stamp { size: metadata.len(), inode, modified_ns: modified.as_nanos() as u64 }
    }
}
