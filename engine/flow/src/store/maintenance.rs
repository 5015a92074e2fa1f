//! Placeholder until the store's own maintenance is merged: sizes by folder, damaged names, what no graph pins.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::StageError;

use super::Store;

/// What graphs pin: the digests of keys.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// Of sources and set stages.
    pub actions: BTreeSet<Digest>,
    /// Of record stages.
    pub units: BTreeSet<Digest>,
    /// Of training progress.
    pub checkpoints: BTreeSet<Digest>,
}

/// What one part of a store takes.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The part.
    pub what: &'static str,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a check of a store found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The damaged files.
    pub damaged: Vec<String>,
}

/// What to keep.
#[derive(Clone, Debug, Default)]
pub struct GcOptions {
    /// Pinned: stays whole.
    pub keep: Pins,
    /// What else may stay, in bytes of the whole store.
    pub max_size: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// An entry that goes.
#[derive(Clone, Debug)]
pub struct Removed {
    /// What it is.
    pub what: &'static str,
    /// Its key.
    pub key: Digest,
    /// The kind of node.
    pub kind: String,
    /// Its size.
    pub bytes: u64,
    /// What it cost.
    pub seconds: f64,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct GcReport {
    /// The entries.
    pub removed: Vec<Removed>,
    /// Bytes left.
    pub kept_bytes: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
}

impl Store {
    /// What the parts of the store take.
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<Vec<Usage>, StageError> {
        let parts = ["blobs", "packs", "segments", "actions", "units", "checkpoints", "graphs"];
        let usage = parts.map(|what| {
            let files = walk(&self.root().join(what));
            Usage { what, files: files.len() as u64, bytes: files.iter().map(|(_, bytes)| bytes).sum() }
        });
        Ok(usage.into())
    }

    /// Reads and checks every file.
    ///
    /// # Errors
    /// The disk's.
    pub fn verify(&self, on: &mut dyn FnMut(&str)) -> Result<VerifyReport, StageError> {
        let mut report = VerifyReport::default();
        for (path, bytes) in walk(self.root()) {
            let name = path.strip_prefix(self.root()).unwrap_or(&path).display().to_string();
            on(&name);
            report.files += 1;
            report.bytes += bytes;
            if name.starts_with("segments") {
                let digest = Digest::of(&fs::read(&path).map_err(StageError::io("read", &path))?);
                if !name.contains(&digest.to_string()) {
                    report.damaged.push(name);
                }
            }
        }
        Ok(report)
    }

    /// Removes what is not pinned.
    ///
    /// # Errors
    /// The disk's.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StageError> {
        let mut report = GcReport::default();
        for (path, bytes) in walk(&self.root().join("actions")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(key) = name.parse::<Digest>() else { continue };
            let Some(action) = self.action(&key)? else { continue };
            if options.keep.actions.contains(&key) {
                report.kept_bytes += bytes;
                continue;
            }
            report.freed_bytes += bytes;
            let kind = action.key["kind"].as_str().unwrap_or_default().to_owned();
            report.removed.push(Removed { what: "action", key, kind, bytes, seconds: action.seconds });
        }
        Ok(report)
    }
}

fn walk(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(walk(&entry.path())),
            Ok(metadata) => found.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    found
}
