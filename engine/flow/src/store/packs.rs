//! Packs: many small blobs in one file. Knows how packs are laid out and where each blob is; nothing of who asks.
//!
//! A pack is its blobs' bytes, then an index of 48 bytes a blob (digest, offset, length), then the index's length and
//! digest. It is named by that digest.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::StageError;

use super::blocks::read_at;
use super::{Store, lock, read_if_there};

/// A pack is written once it holds this many bytes, or earlier when something that refers to its blobs is written.
pub(super) const PACK_BYTES: usize = 32 << 20;
pub(super) const ENTRY_BYTES: usize = 48;
const TRAILER_BYTES: u64 = 40;
/// A folder that changed so shortly before it was listed may have changed again without a new time.
const SETTLED: Duration = Duration::from_secs(1);

/// The packs as this process knows them, and the small blobs that it has not written yet.
#[derive(Default)]
pub(super) struct Packs {
    scanned: bool,
    /// The folder's modification time at the last listing, if that can be trusted.
    listed: Option<SystemTime>,
    seen: HashSet<PathBuf>,
    packs: Vec<PathBuf>,
    index: HashMap<Digest, Place>,
    pending: Vec<u8>,
    pending_index: Vec<Entry>,
    pending_by_digest: HashMap<Digest, u32>,
}

/// Where a blob is: packs are far smaller than 4 GiB.
#[derive(Clone, Copy)]
struct Place {
    pack: u32,
    offset: u32,
    length: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Store {
    /// Adds a small blob, unless it is there.
    pub(super) fn pack(&self, digest: Digest, bytes: &[u8]) -> Result<(), StageError> {
        let mut packs = lock(&self.blobs);
        if !packs.scanned {
            self.scan_packs(&mut packs)?;
        }
        if !packs.knows(&digest) {
            packs.push(digest, bytes);
            if packs.pending.len() >= PACK_BYTES {
                self.write_pending(&mut packs)?;
            }
        }
        Ok(())
    }

    /// Writes the small blobs that are still in memory.
    pub(super) fn flush_blobs(&self) -> Result<(), StageError> {
        self.write_pending(&mut lock(&self.blobs))
    }

    /// The pack in which a blob lies, as far as this process knows: `Some(None)` if it waits in memory.
    pub(super) fn pack_of(&self, digest: &Digest) -> Result<Option<Option<PathBuf>>, StageError> {
        let mut packs = lock(&self.blobs);
        if !packs.scanned || (!packs.knows(digest) && self.packs_changed(&packs)) {
            self.scan_packs(&mut packs)?;
        }
        if packs.pending_by_digest.contains_key(digest) {
            return Ok(Some(None));
        }
        Ok(packs.index.get(digest).and_then(|place| packs.packs.get(place.pack as usize)).cloned().map(Some))
    }

    /// The verified bytes of a small blob. A pack with a damaged blob is replaced by one without it.
    pub(super) fn packed(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StageError> {
        let mut packs = lock(&self.blobs);
        if let Some(&position) = packs.pending_by_digest.get(digest) {
            let entry = packs.pending_index[position as usize];
            return Ok(Some(packs.pending_bytes(&entry).to_vec()));
        }
        if !packs.index.contains_key(digest) {
            self.scan_packs(&mut packs)?;
        }
        // Another process may have replaced the pack: then it is missing, and its blobs are in a newer one.
        for _ in 0..2 {
            let Some(place) = packs.index.get(digest).copied() else { return Ok(None) };
            let path = packs.packs[place.pack as usize].clone();
            match read_place(&path, place) {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    packs.forget(&path);
                    self.scan_packs(&mut packs)?;
                }
                Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                    return Err(StageError::io("read", path)(error));
                }
                _ => {
                    self.replace_pack(&mut packs, &path)?;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn packs_folder(&self) -> PathBuf {
        self.root.join("packs")
    }

    /// Whether another process may have added packs since they were listed.
    fn packs_changed(&self, packs: &Packs) -> bool {
        packs.listed.is_none() || modified(&self.packs_folder()) != packs.listed
    }

    fn scan_packs(&self, packs: &mut Packs) -> Result<(), StageError> {
        let folder = self.packs_folder();
        if !packs.scanned {
            self.note_lost_in("packs");
        }
        packs.scanned = true;
        packs.listed =
            modified(&folder).filter(|time| SystemTime::now().duration_since(*time).is_ok_and(|age| age > SETTLED));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StageError::io("read", folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(StageError::io("read", &folder))?.path();
            if path.extension().is_none_or(|extension| extension != "pack") || packs.seen.contains(&path) {
                continue;
            }
            let index = match File::open(&path).and_then(|file| read_index(&file)) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                index => index.map_err(StageError::io("read", &path))?,
            };
            match index {
                Some((name, entries)) if path.file_stem().is_some_and(|stem| *stem == *name.to_string()) => {
                    packs.add(path, entries);
                }
                _ => self.set_aside(&path, "pack"),
            }
        }
        Ok(())
    }

    /// Keeps the whole blobs of a damaged pack and sets the pack aside.
    fn replace_pack(&self, packs: &mut Packs, path: &Path) -> Result<(), StageError> {
        let bytes = read_if_there(path)?.unwrap_or_default();
        let entries = packs.forget(path);
        self.set_aside(path, "pack");
        for entry in entries {
            if let Some(bytes) = entry.slice(&bytes)
                && Digest::of(bytes) == entry.digest
                && !packs.knows(&entry.digest)
            {
                packs.push(entry.digest, bytes);
            }
        }
        self.write_pending(packs)
    }

    fn write_pending(&self, packs: &mut Packs) -> Result<(), StageError> {
        if packs.pending_index.is_empty() {
            return Ok(());
        }
        let (name, index) = encode_index(&packs.pending_index);
        let path = self.packs_folder().join(format!("{name}.pack"));
        self.write_atomic(&path, |file| {
            file.write_all(&packs.pending)?;
            file.write_all(&index)
        })?;
        let entries = std::mem::take(&mut packs.pending_index);
        packs.pending.clear();
        packs.pending_by_digest.clear();
        packs.add(path, entries);
        Ok(())
    }
}

impl Packs {
    fn knows(&self, digest: &Digest) -> bool {
        self.index.contains_key(digest) || self.pending_by_digest.contains_key(digest)
    }

    fn push(&mut self, digest: Digest, bytes: &[u8]) {
        let entry = Entry { digest, offset: self.pending.len() as u64, length: bytes.len() as u64 };
        self.pending.extend_from_slice(bytes);
        self.pending_by_digest.insert(digest, self.pending_index.len() as u32);
        self.pending_index.push(entry);
    }

    fn pending_bytes(&self, entry: &Entry) -> &[u8] {
        entry.slice(&self.pending).unwrap_or_default()
    }

    fn add(&mut self, path: PathBuf, entries: Vec<Entry>) {
        let pack = self.packs.len() as u32;
        self.seen.insert(path.clone());
        self.packs.push(path);
        for entry in entries {
            // A pack with such numbers is not one of ours; its blobs are not found, so they are made anew.
            if let (Ok(offset), Ok(length)) = (u32::try_from(entry.offset), u32::try_from(entry.length)) {
                self.index.insert(entry.digest, Place { pack, offset, length });
            }
        }
    }

    /// Forgets a pack and gives what was in it.
    fn forget(&mut self, path: &Path) -> Vec<Entry> {
        let Self { packs, index, seen, .. } = self;
        let mut entries = Vec::new();
        index.retain(|digest, place| {
            let stays = packs[place.pack as usize] != *path;
            if !stays {
                let (offset, length) = (place.offset.into(), place.length.into());
                entries.push(Entry { digest: *digest, offset, length });
            }
            stays
        });
        seen.remove(path);
        entries
    }
}

impl Entry {
    /// Its bytes in those of the pack; `None` if they are not all there.
    pub(super) fn slice<'a>(&self, pack: &'a [u8]) -> Option<&'a [u8]> {
        let start = usize::try_from(self.offset).ok()?;
        pack.get(start..start.checked_add(usize::try_from(self.length).ok()?)?)
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, _) = rest.split_first_chunk::<8>()?;
        let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
        Some(Entry { digest: Digest::from_bytes(*digest), offset, length })
    }
}

fn modified(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder).ok()?.modified().ok()
}

fn read_place(path: &Path, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; place.length as usize];
    read_at(&File::open(path)?, place.offset.into(), &mut bytes)?;
    Ok(bytes)
}

/// The name of a pack with these blobs, and what stands behind their bytes.
pub(super) fn encode_index(entries: &[Entry]) -> (Digest, Vec<u8>) {
    let mut index = Vec::with_capacity(entries.len() * ENTRY_BYTES + TRAILER_BYTES as usize);
    for entry in entries {
        index.extend_from_slice(entry.digest.bytes());
        index.extend_from_slice(&entry.offset.to_le_bytes());
        index.extend_from_slice(&entry.length.to_le_bytes());
    }
    let name = Digest::of(&index);
    let length = index.len() as u64;
    index.extend_from_slice(&length.to_le_bytes());
    index.extend_from_slice(name.bytes());
    (name, index)
}

/// The name and index of a pack; `None` if they are damaged, or do not cover the file.
pub(super) fn read_index(file: &File) -> io::Result<Option<(Digest, Vec<Entry>)>> {
    let size = file.metadata()?.len();
    let Some(end) = size.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES as usize];
    read_at(file, end, &mut trailer)?;
    let Some((length, name)) = trailer.split_first_chunk::<8>() else { return Ok(None) };
    let length = u64::from_le_bytes(*length);
    let Some(start) = end.checked_sub(length) else { return Ok(None) };
    let mut index = vec![0; length as usize];
    read_at(file, start, &mut index)?;
    let digest = Digest::of(&index);
    if *digest.bytes() != *name {
        return Ok(None);
    }
    let entries: Vec<_> = index.chunks_exact(ENTRY_BYTES).filter_map(Entry::read).collect();
    let covered = entries.iter().try_fold(
        0u64,
        |end, entry| {
            if entry.offset == end { end.checked_add(entry.length) } else { None }
        },
    );
    Ok((covered == Some(start)).then_some((digest, entries)))
}

/// Whether the index and every blob of the pack with this name are whole.
pub(super) fn is_whole(file: &File, name: &str) -> io::Result<bool> {
    let Some((digest, entries)) = read_index(file)? else { return Ok(false) };
    if digest.to_string() != name {
        return Ok(false);
    }
    for entry in entries {
        let mut bytes = vec![0; entry.length as usize];
        read_at(file, entry.offset, &mut bytes)?;
        if Digest::of(&bytes) != entry.digest {
            return Ok(false);
        }
    }
    Ok(true)
}
