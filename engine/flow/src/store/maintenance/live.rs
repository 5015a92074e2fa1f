//! Which entries a store holds, and to which segments and blobs each refers. Reads everything, changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::{FieldKind, Schema, Value};

use super::super::units::{self, About};
use super::super::{Action, Store, packs, segments};
use super::{Found, Pins, is_leftover, peek};

/// Something that is kept or goes as a whole.
pub(super) struct Entry {
    /// `action`, `units`, `checkpoint`.
    pub(super) what: &'static str,
    pub(super) key: Digest,
    /// The kind of node, if it is known.
    pub(super) kind: String,
    /// What it took to compute; `None`: not known.
    pub(super) seconds: Option<f64>,
    /// Its own files, what makes the rest count first.
    pub(super) files: Vec<PathBuf>,
    pub(super) bytes: u64,
    /// The objects it refers to, each once.
    pub(super) objects: Vec<usize>,
    pub(super) pinned: bool,
}

/// Something to which entries refer.
pub(super) struct Object {
    pub(super) place: Place,
    pub(super) bytes: u64,
}

/// Where an object lies.
pub(super) enum Place {
    /// In a file of its own.
    File(PathBuf),
    /// In a pack.
    Pack(Digest),
}

/// What a store holds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    pub(super) objects: Vec<Object>,
    pub(super) packs: Vec<(PathBuf, Vec<packs::Entry>)>,
    /// Files that belong to nothing: what was set aside, temporary files, those of earlier versions.
    pub(super) leftovers: Vec<(PathBuf, u64)>,
    pub(super) bytes: u64,
    segments: HashMap<Digest, usize>,
    blobs: HashMap<Digest, usize>,
}

impl Contents {
    /// Looks through a whole store.
    pub(super) fn of(store: &Store, pins: &Pins) -> Result<Contents, StageError> {
        let mut contents = Contents::default();
        let files = store.all_files()?;
        contents.bytes = files.iter().map(|file| file.bytes).sum();
        contents.place_objects(&files)?;
        contents.add_actions(store, &files, pins)?;
        contents.add_units(&files, pins)?;
        contents.add_checkpoints(&files, pins);
        contents.entries.sort_by(|one, two| (one.what, one.key).cmp(&(two.what, two.key)));
        Ok(contents)
    }

    fn place_objects(&mut self, files: &[Found]) -> Result<(), StageError> {
        for found in files {
            let (folder, _) = found.relative.split_once('/').unwrap_or_default();
            let stem = found.path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let extension = found.path.extension().and_then(|extension| extension.to_str());
            match (folder, extension, stem) {
                _ if is_leftover(&found.relative) => self.leftovers.push((found.path.clone(), found.bytes)),
                ("segments", Some("segment"), Some(digest)) => {
                    let object = self.object(Place::File(found.path.clone()), found.bytes);
                    self.segments.insert(digest, object);
                }
                ("blobs", None, Some(digest)) => {
                    let object = self.object(Place::File(found.path.clone()), found.bytes);
                    self.blobs.insert(digest, object);
                }
                ("packs", Some("pack"), _) => {
                    let index = File::open(&found.path).and_then(|file| packs::read_index(&file));
                    let index = index.map_err(StageError::io("read", &found.path))?;
                    self.packs.push((found.path.clone(), index.map(|(_, entries)| entries).unwrap_or_default()));
                }
                ("segments" | "blobs" | "packs", _, _) => self.leftovers.push((found.path.clone(), found.bytes)),
                _ => {}
            }
        }
        let packed: Vec<_> = self.packs.iter().flat_map(|(_, entries)| entries).copied().collect();
        for entry in packed {
            if !self.blobs.contains_key(&entry.digest) {
                let object = self.object(Place::Pack(entry.digest), entry.length + packs::ENTRY_BYTES as u64);
                self.blobs.insert(entry.digest, object);
            }
        }
        Ok(())
    }

    fn object(&mut self, place: Place, bytes: u64) -> usize {
        self.objects.push(Object { place, bytes });
        self.objects.len() - 1
    }

    fn add_actions(&mut self, store: &Store, files: &[Found], pins: &Pins) -> Result<(), StageError> {
        let mut known = HashSet::new();
        for (key, bytes, action) in store.actions()? {
            let path = store.action_path(&key);
            known.insert(path.clone());
            let objects = self.objects_of(&action)?;
            let kind = action.key.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
            let pinned = pins.actions.contains(&key);
            let (what, seconds, files) = ("action", Some(action.seconds), vec![path]);
            self.entries.push(Entry { what, key, kind, seconds, files, bytes, objects, pinned });
        }
        let actions = files.iter().filter(|file| file.relative.starts_with("actions/"));
        for found in actions.filter(|file| !known.contains(&file.path) && !is_leftover(&file.relative)) {
            self.leftovers.push((found.path.clone(), found.bytes));
        }
        Ok(())
    }

    fn objects_of(&self, action: &Action) -> Result<Vec<usize>, StageError> {
        let mut objects: HashSet<usize> = HashSet::new();
        let models = action.models.values().flat_map(|files| files.values());
        objects.extend(models.filter_map(|digest| self.blobs.get(digest)));
        for segment in action.records.values() {
            let Some(&object) = self.segments.get(&segment.digest) else { continue };
            objects.insert(object);
            if let Place::File(path) = &self.objects[object].place
                && may_hold_blobs(&segment.schema)
            {
                let mut add = |record: crate::record::Record| self.blobs_in(record.fields.values(), &mut objects);
                segments::read_records(path, &mut add).map_err(StageError::io("read", path))?;
            }
        }
        Ok(objects.into_iter().collect())
    }

    fn blobs_in<'a>(&self, values: impl IntoIterator<Item = &'a Value>, objects: &mut HashSet<usize>) {
        let mut values: Vec<&Value> = values.into_iter().collect();
        while let Some(value) = values.pop() {
            match value {
                Value::Blob(blob) => objects.extend(self.blobs.get(&blob.digest)),
                Value::List(inner) => values.extend(inner),
                Value::Map(inner) => values.extend(inner.values()),
                _ => {}
            }
        }
    }

    fn add_units(&mut self, files: &[Found], pins: &Pins) -> Result<(), StageError> {
        for (key, files) in by_key(files, "units") {
            let mut objects = HashSet::new();
            let (mut kind, mut seconds) = (String::new(), 0.0);
            for found in &files {
                let extension = found.path.extension().and_then(|extension| extension.to_str());
                if extension == Some("units") {
                    let mut add = |unit: units::StoredUnit| {
                        unit.rows.iter().for_each(|row| self.blobs_in(row.fields.values(), &mut objects));
                    };
                    let read = units::read_entries(&found.path, &mut add);
                    seconds += read.map_err(StageError::io("read", &found.path))?.unwrap_or_default();
                } else if extension == Some("json")
                    && let Some(about) = peek::<About>(&found.path)?
                {
                    kind = about.kind;
                }
            }
            let pinned = pins.units.contains(&key);
            self.entries.push(Entry {
                what: "units",
                key,
                kind,
                seconds: Some(seconds),
                bytes: files.iter().map(|file| file.bytes).sum(),
                files: files.iter().map(|file| file.path.clone()).collect(),
                objects: objects.into_iter().collect(),
                pinned,
            });
        }
        Ok(())
    }

    fn add_checkpoints(&mut self, files: &[Found], pins: &Pins) {
        for (key, mut files) in by_key(files, "checkpoints") {
            // The manifest first: without it the rest is not a checkpoint.
            files.sort_by_key(|file| !file.relative.ends_with("manifest.json"));
            self.entries.push(Entry {
                what: "checkpoint",
                key,
                kind: String::new(),
                seconds: None,
                bytes: files.iter().map(|file| file.bytes).sum(),
                files: files.iter().map(|file| file.path.clone()).collect(),
                objects: Vec::new(),
                pinned: pins.checkpoints.contains(&key),
            });
        }
    }
}

/// The files of each key's folder.
fn by_key<'a>(files: &'a [Found], folder: &str) -> BTreeMap<Digest, Vec<&'a Found>> {
    let mut keys: BTreeMap<Digest, Vec<&Found>> = BTreeMap::new();
    for found in files.iter().filter(|file| !is_leftover(&file.relative)) {
        let mut parts = found.relative.split('/');
        if parts.next() == Some(folder)
            && let Some(key) = parts.next().and_then(|key| key.parse().ok())
        {
            keys.entry(key).or_default().push(found);
        }
    }
    keys
}

fn may_hold_blobs(schema: &Schema) -> bool {
    fn may(kind: &FieldKind) -> bool {
        match kind {
            FieldKind::Image | FieldKind::Json => true,
            FieldKind::List(inner) => may(inner),
            _ => false,
        }
    }
    schema.values().any(may)
}

/// Removes a file; one that is gone already is removed.
pub(super) fn remove(store: &Store, path: &PathBuf) -> Result<(), StageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StageError::io("remove", path)(error)),
        _ => {
            store.forget(path);
            Ok(())
        }
    }
}
