//! What people do with a store: see what it holds, check every byte, make room. Knows how files lie, not what they mean.

mod gc;
mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::StageError;

use super::{Action, Store, read_if_there, trust, unseal};

pub use gc::{GcOptions, GcReport, Removed};

/// How much of a kind of thing a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The folder, or the file's name.
    pub what: String,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a check of every file found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many files were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The damaged ones, as paths from the root on. They are set aside.
    pub damaged: Vec<String>,
    /// Files to which an action refers and which are not there, or not any more.
    pub missing: Vec<String>,
}

/// The keys that graphs pin: what lies under them is kept with everything that it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Of sources and set stages.
    pub actions: BTreeSet<Digest>,
    /// Of record stages.
    pub units: BTreeSet<Digest>,
    /// Of set stages that are not finished.
    pub checkpoints: BTreeSet<Digest>,
}

/// A file of the store.
struct Found {
    path: PathBuf,
    /// From the root on.
    relative: String,
    bytes: u64,
}

impl Store {
    /// What the store holds, by folder, in the order of names.
    ///
    /// # Errors
    /// The disk's.
    pub fn usage(&self) -> Result<Vec<Usage>, StageError> {
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for file in self.all_files()? {
            let what = file.relative.split('/').next().unwrap_or_default();
            let entry =
                usage.entry(what.to_owned()).or_insert_with(|| Usage { what: what.to_owned(), files: 0, bytes: 0 });
            entry.files += 1;
            entry.bytes += file.bytes;
        }
        Ok(usage.into_values().collect())
    }

    /// Reads every file and checks it against its digest, whatever is remembered of it. Damaged ones are set aside and
    /// noted. `on` is told each file's path before it is read.
    ///
    /// # Errors
    /// The disk's.
    pub fn verify(&self, on: &mut dyn FnMut(&str)) -> Result<VerifyReport, StageError> {
        self.flush()?;
        let mut report = VerifyReport::default();
        let files = self.all_files()?;
        for found in files.iter().filter(|file| !is_leftover(&file.relative) && file.relative != "lock") {
            on(&found.relative);
            let file = match File::open(&found.path) {
                Ok(file) => file,
                // Another process has merged or replaced it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(StageError::io("read", &found.path)(error)),
            };
            report.files += 1;
            report.bytes += found.bytes;
            if trust::is_whole(&found.relative, &file).map_err(StageError::io("read", &found.path))? {
                self.remember(&found.path, &file);
            } else {
                self.put_aside(&found.relative);
                report.damaged.push(found.relative.clone());
            }
        }
        report.missing = self.missing_parts()?;
        self.flush()?;
        Ok(report)
    }

    /// Files that are gone although an action refers to them, or although they were whole once.
    fn missing_parts(&self) -> Result<Vec<String>, StageError> {
        let mut missing = BTreeSet::new();
        for (_, _, action) in self.actions()? {
            let segments = action.records.values().map(|segment| segment.file());
            let models = action.models.values().flat_map(|files| files.values().map(Store::blob_file));
            missing.extend(segments.chain(models).filter(|file| !self.root.join(file).exists()));
        }
        for folder in ["actions", "blobs", "packs", "segments", "units"] {
            let known = self.remembered_below(folder);
            missing.extend(known.into_iter().filter(|file| !self.root.join(file).exists()));
        }
        for file in &missing {
            self.note_missing(&self.root.join(file), trust::what_is(file));
        }
        Ok(missing.into_iter().collect())
    }

    /// Every whole action with its key and the bytes of its file. Sets nothing aside.
    fn actions(&self) -> Result<Vec<(Digest, u64, Action)>, StageError> {
        let mut actions = Vec::new();
        for found in self.files_below("actions")? {
            let stem = found.path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(key), Some(action)) = (stem, peek(&found.path)?) {
                actions.push((key, found.bytes, action));
            }
        }
        Ok(actions)
    }

    fn all_files(&self) -> Result<Vec<Found>, StageError> {
        self.files_below("")
    }

    /// The files below a folder, in the order of their paths.
    fn files_below(&self, folder: &str) -> Result<Vec<Found>, StageError> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(StageError::io("read", &folder)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(StageError::io("read", &folder))?;
                let path = entry.path();
                // What vanishes meanwhile is not there.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(path);
                } else if let Some(relative) = self.relative(&path) {
                    found.push(Found { path, relative, bytes: metadata.len() });
                }
            }
        }
        found.sort_by(|one, two| one.relative.cmp(&two.relative));
        Ok(found)
    }
}

/// What nothing refers to and nobody reads: temporary files and what was set aside.
fn is_leftover(relative: &str) -> bool {
    relative.starts_with("tmp/") || relative.ends_with(".damaged")
}

/// A sealed value; `None` if it is missing or damaged. Sets nothing aside.
fn peek<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StageError> {
    let bytes = read_if_there(path)?;
    Ok(bytes.as_deref().and_then(unseal).and_then(|text| serde_json::from_str(text).ok()))
}
