//! Checkpoints of set stages: parts named by their digests, and a manifest that is renamed last.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::StageError;
use crate::stage::Checkpoint;

use super::{Store, lock, read_if_there};

/// The checkpoint of one key.
pub struct StoreCheckpoint<'a> {
    store: &'a Store,
    folder: PathBuf,
    /// The parts of the manifest that this process last wrote or read: the only ones that it may remove.
    current: Mutex<Manifest>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Manifest {
    parts: BTreeMap<String, Digest>,
}

impl Store {
    /// The checkpoint of the computation with this key.
    pub fn checkpoint(&self, key: &Digest) -> StoreCheckpoint<'_> {
        let folder = self.root.join("checkpoints").join(key.to_string());
        StoreCheckpoint { store: self, folder, current: Mutex::default() }
    }
}

impl StoreCheckpoint<'_> {
    /// Removes the checkpoint: its computation has finished and is stored.
    pub fn remove(&self) {
        // The manifest first: without it the rest is not a checkpoint.
        let _ = fs::remove_file(self.manifest_path());
        self.store.forget(&self.manifest_path());
        for part in lock(&self.current).parts.values() {
            self.store.forget(&self.part_path(part));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    fn part_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

impl Checkpoint for StoreCheckpoint<'_> {
    fn load(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StageError> {
        let Some(manifest) = self.store.read_sealed::<Manifest>(&self.manifest_path(), "checkpoint")? else {
            return Ok(None);
        };
        let mut parts = BTreeMap::new();
        for (name, digest) in &manifest.parts {
            let path = self.part_path(digest);
            match read_if_there(&path)? {
                Some(bytes) if Digest::of(&bytes) == *digest => _ = parts.insert(name.clone(), bytes),
                _ => {
                    self.store.set_aside(&self.manifest_path(), &format!("part `{name}` of the checkpoint"));
                    return Ok(None);
                }
            }
        }
        *lock(&self.current) = manifest;
        Ok(Some(parts))
    }

    fn save(&self, parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        let mut current = lock(&self.current);
        for _ in 0..ATTEMPTS {
            match self.replace(&mut current, parts) {
                // Another process has finished this computation and removed the folder meanwhile: nothing is known any more.
                Err(StageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    *current = Manifest::default();
                }
                outcome => return outcome,
            }
        }
        self.replace(&mut current, parts)
    }
}

/// How often a checkpoint is written anew when its folder vanishes under it.
const ATTEMPTS: usize = 8;

impl StoreCheckpoint<'_> {
    fn replace(&self, current: &mut Manifest, parts: &BTreeMap<String, Vec<u8>>) -> Result<(), StageError> {
        let mut manifest = Manifest::default();
        for (name, bytes) in parts {
            let digest = Digest::of(bytes);
            let known = current.parts.values().chain(manifest.parts.values()).any(|known| *known == digest);
            if !known {
                self.store.write_atomic(&self.part_path(&digest), |file| file.write_all(bytes))?;
            }
            manifest.parts.insert(name.clone(), digest);
        }
        self.store.write_sealed(&self.manifest_path(), &manifest)?;
        for old in current.parts.values().filter(|old| !manifest.parts.values().any(|new| new == *old)) {
            let _ = fs::remove_file(self.part_path(old));
            self.store.forget(&self.part_path(old));
        }
        *current = manifest;
        Ok(())
    }
}
