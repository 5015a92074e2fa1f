//! Blobs: small ones in packs, large ones and models' files in files of their own. Knows nothing of what is in them.
//!
//! A pack is its blobs' bytes, then an index of 48 bytes a blob (digest, offset, length), then the index's length and
//! digest. It is named by that digest.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::Blob;
use crate::stage::{Blobs, FileContent};

use super::{Store, lock, persist, read_if_there, temporary_beside, write_atomic};

/// Below this many bytes a blob goes into a pack.
const PACKED_BELOW: usize = 256 << 10;
/// A pack is written once it holds this many bytes, or earlier when something that refers to its blobs is written.
const PACK_BYTES: usize = 32 << 20;
const ENTRY_BYTES: usize = 48;
const TRAILER_BYTES: u64 = 40;

/// The packs as this process knows them, and the small blobs that it has not written yet.
#[derive(Default)]
pub(super) struct Packs {
    seen: HashSet<PathBuf>,
    index: HashMap<Digest, Place>,
    pending: Vec<u8>,
    pending_index: Vec<Entry>,
    pending_by_digest: HashMap<Digest, usize>,
}

#[derive(Clone)]
struct Place {
    pack: Arc<Path>,
    entry: Entry,
}

#[derive(Clone, Copy)]
struct Entry {
    digest: Digest,
    offset: u64,
    length: u64,
}

impl Blobs for Store {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        if let Some(bytes) = self.packed(&blob.digest)? {
            return Ok(bytes);
        }
        let path = self.blob_path(&blob.digest);
        if let Some(bytes) = self.read_named(&path, &blob.digest, "blob")? {
            return Ok(bytes);
        }
        self.losses.fetch_add(1, Ordering::SeqCst);
        Err(StageError::failed(format!(
            "blob `{}` ({}, {} bytes) is missing or damaged in the store `{}`; run the graph again to make it anew",
            blob.digest,
            blob.media_type,
            blob.bytes,
            self.root.display()
        )))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        let digest = Digest::of(bytes);
        let blob = Blob { digest, bytes: bytes.len() as u64, media_type: media_type.into() };
        if bytes.len() >= PACKED_BELOW {
            self.put_own_file(bytes, &digest)?;
            return Ok(blob);
        }
        let mut packs = lock(&self.blobs);
        if packs.seen.is_empty() {
            self.scan_packs(&mut packs)?;
        }
        if !packs.index.contains_key(&digest) && !packs.pending_by_digest.contains_key(&digest) {
            packs.push(digest, bytes);
            if packs.pending.len() >= PACK_BYTES {
                self.write_pending(&mut packs)?;
            }
        }
        Ok(blob)
    }
}

impl Store {
    /// Whether the store has `blob`, without reading its bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn holds(&self, blob: &Blob) -> Result<bool, StageError> {
        let mut packs = lock(&self.blobs);
        if packs.seen.is_empty() || (blob.bytes < PACKED_BELOW as u64 && !packs.knows(&blob.digest)) {
            self.scan_packs(&mut packs)?;
        }
        if packs.knows(&blob.digest) {
            return Ok(true);
        }
        Ok(fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|metadata| metadata.len() == blob.bytes))
    }

    /// Stores a model's file in a file of its own and gives the digest of its bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_file(&self, content: &FileContent) -> Result<Digest, StageError> {
        match content {
            FileContent::Bytes(bytes) => {
                let digest = Digest::of(bytes);
                self.put_own_file(bytes, &digest)?;
                Ok(digest)
            }
            FileContent::Copy(source) => {
                let digest = self.file_digest(source)?;
                let path = self.blob_path(&digest);
                if *source != path && !self.own_file_is_whole(&digest)? {
                    self.copy_in(source, &path, &digest)?;
                }
                Ok(digest)
            }
        }
    }

    /// Where the bytes of a model's file lie; `None` if they are missing or damaged. Verified once for each state of the file.
    ///
    /// # Errors
    /// The disk's.
    pub fn file(&self, digest: &Digest) -> Result<Option<PathBuf>, StageError> {
        Ok(self.own_file_is_whole(digest)?.then(|| self.blob_path(digest)))
    }

    /// Writes the small blobs that are still in memory.
    pub(super) fn flush_blobs(&self) -> Result<(), StageError> {
        self.write_pending(&mut lock(&self.blobs))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.place("blobs", digest, "")
    }

    fn own_file_is_whole(&self, digest: &Digest) -> Result<bool, StageError> {
        let path = self.blob_path(digest);
        if !path.exists() {
            return Ok(false);
        }
        let whole = self.own_digest(&path)? == *digest;
        if !whole {
            self.set_aside(&path, "blob");
        }
        Ok(whole)
    }

    fn put_own_file(&self, bytes: &[u8], digest: &Digest) -> Result<(), StageError> {
        if self.own_file_is_whole(digest)? {
            return Ok(());
        }
        let path = self.blob_path(digest);
        write_atomic(&path, |file| file.write_all(bytes))?;
        self.remember(&path, *digest);
        Ok(())
    }

    fn copy_in(&self, source: &Path, path: &Path, digest: &Digest) -> Result<(), StageError> {
        let mut temporary = temporary_beside(path)?;
        let mut reader = File::open(source).map_err(StageError::io("read", source))?;
        std::io::copy(&mut reader, temporary.as_file_mut()).map_err(StageError::io("write", path))?;
        let mut written = temporary.reopen().map_err(StageError::io("read", path))?;
        let copied = Digest::of_reader(&mut written).map_err(StageError::io("read", path))?;
        if copied != *digest {
            return Err(StageError::failed(format!(
                "`{}` changed while it was copied into the store",
                source.display()
            )));
        }
        persist(temporary, path)?;
        self.remember(path, *digest);
        Ok(())
    }

    /// The verified bytes of a small blob. A pack with a damaged blob is replaced by one without it.
    fn packed(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StageError> {
        let mut packs = lock(&self.blobs);
        if let Some(&position) = packs.pending_by_digest.get(digest) {
            return Ok(Some(packs.pending_bytes(&packs.pending_index[position]).to_vec()));
        }
        if !packs.index.contains_key(digest) {
            self.scan_packs(&mut packs)?;
        }
        let Some(place) = packs.index.get(digest).cloned() else { return Ok(None) };
        // Another process may have replaced the pack: then it is missing, and its blobs are in a newer one.
        for place in [Some(place), None] {
            let place = match place {
                Some(place) => place,
                None => {
                    self.scan_packs(&mut packs)?;
                    let Some(place) = packs.index.get(digest).cloned() else { return Ok(None) };
                    place
                }
            };
            match read_range(&place) {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => packs.forget(&place.pack),
                _ => {
                    self.replace_pack(&mut packs, &place.pack)?;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn scan_packs(&self, packs: &mut Packs) -> Result<(), StageError> {
        let folder = self.root.join("packs");
        // Marks the scan as made even where there is no pack.
        packs.seen.insert(PathBuf::new());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StageError::io("read", folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(StageError::io("read", &folder))?.path();
            if path.extension().is_none_or(|extension| extension != "pack") || !packs.seen.insert(path.clone()) {
                continue;
            }
            match read_index(&path) {
                Ok(Some(entries)) => {
                    let pack: Arc<Path> = path.into();
                    packs
                        .index
                        .extend(entries.into_iter().map(|entry| (entry.digest, Place { pack: pack.clone(), entry })));
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StageError::io("read", &path)(error));
                }
                Err(_) => {}
                Ok(None) => self.set_aside(&path, "pack"),
            }
        }
        Ok(())
    }

    /// Keeps the whole blobs of a damaged pack and sets the pack aside.
    fn replace_pack(&self, packs: &mut Packs, path: &Path) -> Result<(), StageError> {
        let entries: Vec<_> =
            packs.index.values().filter(|place| *place.pack == *path).map(|place| place.entry).collect();
        let bytes = read_if_there(path)?.unwrap_or_default();
        packs.forget(path);
        self.set_aside(path, "pack");
        for entry in entries {
            let range = entry.offset as usize..entry.offset.saturating_add(entry.length) as usize;
            if let Some(bytes) = bytes.get(range)
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
        let mut index = Vec::with_capacity(packs.pending_index.len() * ENTRY_BYTES);
        for entry in &packs.pending_index {
            index.extend_from_slice(entry.digest.bytes());
            index.extend_from_slice(&entry.offset.to_le_bytes());
            index.extend_from_slice(&entry.length.to_le_bytes());
        }
        let name = Digest::of(&index);
        let path = self.root.join("packs").join(format!("{name}.pack"));
        write_atomic(&path, |file| {
            file.write_all(&packs.pending)?;
            file.write_all(&index)?;
            file.write_all(&(index.len() as u64).to_le_bytes())?;
            file.write_all(name.bytes())
        })?;
        let pack: Arc<Path> = path.clone().into();
        packs.seen.insert(path);
        for entry in std::mem::take(&mut packs.pending_index) {
            packs.index.insert(entry.digest, Place { pack: pack.clone(), entry });
        }
        packs.pending.clear();
        packs.pending_by_digest.clear();
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
        self.pending_by_digest.insert(digest, self.pending_index.len());
        self.pending_index.push(entry);
    }

    fn pending_bytes(&self, entry: &Entry) -> &[u8] {
        &self.pending[entry.offset as usize..(entry.offset + entry.length) as usize]
    }

    fn forget(&mut self, pack: &Path) {
        self.index.retain(|_, place| *place.pack != *pack);
        self.seen.remove(pack);
    }
}

fn read_range(place: &Place) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(&place.pack)?;
    file.seek(SeekFrom::Start(place.entry.offset))?;
    let mut bytes = Vec::new();
    file.take(place.entry.length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The index of a pack; `None` if it is damaged.
fn read_index(path: &Path) -> std::io::Result<Option<Vec<Entry>>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size < TRAILER_BYTES {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-(TRAILER_BYTES as i64)))?;
    let mut length = [0; 8];
    let mut name = [0; 32];
    file.read_exact(&mut length)?;
    file.read_exact(&mut name)?;
    let length = u64::from_le_bytes(length);
    if length > size - TRAILER_BYTES || !length.is_multiple_of(ENTRY_BYTES as u64) {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - TRAILER_BYTES - length))?;
    let mut index = vec![0; length as usize];
    file.read_exact(&mut index)?;
    if *Digest::of(&index).bytes() != name {
        return Ok(None);
    }
    Ok(Some(index.chunks_exact(ENTRY_BYTES).filter_map(Entry::read).collect()))
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<Entry> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (length, _) = rest.split_first_chunk::<8>()?;
        let (offset, length) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*length));
        Some(Entry { digest: Digest::from_bytes(*digest), offset, length })
    }
}
