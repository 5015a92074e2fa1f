//! What is known of files by path, size, inode and modification time, as git's index does: the digests of files outside the
//! store, and which of the store's own files were verified. A hint only: without it files are read again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::codec::{Reader, put_bytes, put_varint};
use crate::digest::Digest;
use crate::error::StageError;
use crate::stamp::Stamp;

use super::{Store, lock, read_if_there};

pub(super) const FILE: &str = "stamps";
const MARK: &[u8] = b"rumstmp1";
/// A file changed so shortly before it was read may change again without a new modification time: its digest is not kept.
const SETTLED: Duration = Duration::from_secs(2);
/// Having read this many bytes is worth making the store's folder for.
const WORTH_KEEPING: u64 = 64 << 20;
/// So many files outside may be remembered more than at the last look before those that are gone are left out.
const UNCHECKED: u64 = 4096;

/// What is remembered.
#[derive(Default)]
pub(super) struct Stamps {
    loaded: bool,
    known: Known,
    /// What this process learned and has not written; `None`: forgotten.
    new_outside: BTreeMap<PathBuf, (Stamp, Digest)>,
    new_own: BTreeMap<String, Option<Stamp>>,
    bytes_read: u64,
}

#[derive(Default)]
struct Known {
    outside: BTreeMap<PathBuf, (Stamp, Digest)>,
    own: BTreeMap<String, Stamp>,
    /// How many files outside there were when it was last looked whether they are still there.
    checked: u64,
}

impl Store {
    /// The digest of a file's bytes, remembered by path, size, inode and modification time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn file_digest(&self, path: &Path) -> Result<Digest, StageError> {
        let absolute = std::path::absolute(path).map_err(StageError::io("find", path))?;
        // What changes while it is read was written after this, however long that takes.
        let started = SystemTime::now();
        let metadata = fs::metadata(&absolute).map_err(StageError::io("read", path))?;
        let stamp = Stamp::of(&metadata);
        if let Some((known, digest)) = self.stamps(|stamps| stamps.outside(&absolute))
            && known == stamp
        {
            return Ok(digest);
        }
        let file = File::open(&absolute).map_err(StageError::io("read", path))?;
        let digest = Digest::of_reader(file).map_err(StageError::io("read", path))?;
        let settled = metadata
            .modified()
            .ok()
            .and_then(|modified| started.duration_since(modified).ok())
            .is_some_and(|age| age > SETTLED);
        self.stamps(|stamps| {
            stamps.bytes_read += stamp.bytes;
            if settled {
                stamps.new_outside.insert(absolute, (stamp, digest));
            }
        });
        Ok(digest)
    }

    /// Remembers one of the store's files as whole.
    pub(super) fn remember(&self, path: &Path, file: &File) {
        // The list does not list itself.
        if let (Some(relative), Ok(metadata)) = (self.relative(path), file.metadata())
            && relative != FILE
        {
            self.stamps(|stamps| stamps.new_own.insert(relative, Some(Stamp::of(&metadata))));
        }
    }

    /// Forgets one of the store's files. Whether it was known.
    pub(super) fn forget(&self, path: &Path) -> bool {
        let Some(relative) = self.relative(path) else { return false };
        self.stamps(|stamps| {
            let known = stamps.own(&relative).is_some();
            if known {
                stamps.new_own.insert(relative, None);
            }
            known
        })
    }

    /// Whether one of the store's files is as it was when it was written or last verified.
    pub(super) fn is_remembered(&self, relative: &str) -> bool {
        let Ok(metadata) = fs::metadata(self.root.join(relative)) else { return false };
        self.stamps(|stamps| stamps.own(relative)) == Some(Stamp::of(&metadata))
    }

    /// The store's files below `folder` that were whole once, as paths from the root on.
    pub(super) fn remembered_below(&self, folder: &str) -> Vec<String> {
        let start = format!("{folder}/");
        self.stamps(|stamps| {
            let known = stamps.known.own.range(start.clone()..).map(|(path, _)| path);
            let new = stamps.new_own.range(start.clone()..).map(|(path, _)| path);
            let below = |path: &&String| path.starts_with(&start);
            let mut paths: Vec<_> = known.take_while(below).chain(new.take_while(below)).cloned().collect();
            paths.sort_unstable();
            paths.dedup();
            paths.retain(|path| stamps.own(path).is_some());
            paths
        })
    }

    /// Adds what this process learned to the list on the disk, which another process may have extended meanwhile.
    pub(super) fn save_stamps(&self) -> Result<(), StageError> {
        let (outside, own) = self.stamps(|stamps| {
            if !self.root.exists() && stamps.bytes_read < WORTH_KEEPING {
                return Default::default();
            }
            let new = (std::mem::take(&mut stamps.new_outside), std::mem::take(&mut stamps.new_own));
            stamps.known.learn(&new.0, &new.1);
            new
        });
        if outside.is_empty() && own.is_empty() {
            return Ok(());
        }
        let mut known = self.read_stamps().unwrap_or_default();
        known.learn(&outside, &own);
        if known.outside.len() as u64 > 2 * known.checked + UNCHECKED {
            known.outside.retain(|path, _| path.exists());
            known.checked = known.outside.len() as u64;
        }
        let bytes = known.encode();
        self.write_atomic(&self.stamps_path(), |file| file.write_all(&bytes))
    }

    fn stamps<T>(&self, with: impl FnOnce(&mut Stamps) -> T) -> T {
        let mut stamps = lock(&self.stamps);
        if !stamps.loaded {
            stamps.loaded = true;
            if let Some(known) = self.read_stamps() {
                stamps.known = known;
            }
        }
        with(&mut stamps)
    }

    /// What cannot be read is only not remembered. Calls nothing that asks for a stamp.
    fn read_stamps(&self) -> Option<Known> {
        let path = self.stamps_path();
        let bytes = read_if_there(&path).ok()??;
        let known = Known::decode(&bytes);
        if known.is_none() {
            self.move_aside(&path, "list of verified files");
        }
        known
    }

    pub(super) fn stamps_are_whole(bytes: &[u8]) -> bool {
        Known::decode(bytes).is_some()
    }

    fn stamps_path(&self) -> PathBuf {
        self.root.join(FILE)
    }

    /// The path from the root on, with `/`.
    pub(super) fn relative(&self, path: &Path) -> Option<String> {
        let parts = path.strip_prefix(&self.root).ok()?.iter().map(|part| part.to_str());
        Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
    }
}

impl Stamps {
    fn outside(&self, path: &Path) -> Option<(Stamp, Digest)> {
        self.new_outside.get(path).or_else(|| self.known.outside.get(path)).copied()
    }

    fn own(&self, relative: &str) -> Option<Stamp> {
        match self.new_own.get(relative) {
            Some(new) => *new,
            None => self.known.own.get(relative).copied(),
        }
    }
}

impl Known {
    fn learn(&mut self, outside: &BTreeMap<PathBuf, (Stamp, Digest)>, own: &BTreeMap<String, Option<Stamp>>) {
        self.outside.extend(outside.iter().map(|(path, known)| (path.clone(), *known)));
        for (path, stamp) in own {
            match stamp {
                Some(stamp) => _ = self.own.insert(path.clone(), *stamp),
                None => _ = self.own.remove(path),
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MARK.to_vec();
        put_varint(self.checked, &mut out);
        // A path that is not Unicode is remembered as long as the process lives.
        let outside = || self.outside.iter().filter_map(|(path, known)| Some((path.to_str()?, known)));
        put_varint(outside().count() as u64, &mut out);
        for (path, (stamp, digest)) in outside() {
            put_bytes(path.as_bytes(), &mut out);
            put_stamp(stamp, &mut out);
            out.extend_from_slice(digest.bytes());
        }
        put_varint(self.own.len() as u64, &mut out);
        for (path, stamp) in &self.own {
            put_bytes(path.as_bytes(), &mut out);
            put_stamp(stamp, &mut out);
        }
        let seal = Digest::of(&out);
        out.extend_from_slice(seal.bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Known> {
        let (body, seal) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).bytes() != seal {
            return None;
        }
        let mut reader = Reader::new(body);
        if reader.take(MARK.len())? != MARK {
            return None;
        }
        let mut known = Known { checked: reader.varint()?, ..Known::default() };
        for _ in 0..reader.varint()? {
            let path = PathBuf::from(reader.text()?);
            known.outside.insert(path, (read_stamp(&mut reader)?, reader.digest()?));
        }
        for _ in 0..reader.varint()? {
            known.own.insert(reader.text()?.to_owned(), read_stamp(&mut reader)?);
        }
        reader.rest().is_empty().then_some(known)
    }
}

fn put_stamp(stamp: &Stamp, out: &mut Vec<u8>) {
    for number in [stamp.bytes, stamp.inode, stamp.modified_ns] {
        put_varint(number, out);
    }
}

fn read_stamp(reader: &mut Reader<'_>) -> Option<Stamp> {
    Some(Stamp { bytes: reader.varint()?, inode: reader.varint()?, modified_ns: reader.varint()? })
}
