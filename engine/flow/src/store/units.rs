//! Results of record stages, one per unit of work: segments of JSON lines under the digest of the node's key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io::Write};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::StageError;
use crate::stage::{Dropped, Row};

use super::{Store, read_if_there, write_atomic};

/// What is computed is at most so long in memory only, if calls are shorter than that.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// How every line begins: the key stands first, so that an index needs no JSON parser.
const LINE_START: &[u8] = br#"{"k":""#;

/// What became of a unit, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredUnit {
    /// The digest of the unit's content.
    #[serde(rename = "k")]
    pub content: Digest,
    /// The rows that go on.
    pub rows: Vec<Row>,
    /// The records that were dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<Dropped>,
    /// Seconds that it took.
    #[serde(rename = "s")]
    pub seconds: f64,
    /// It failed: kept for the ledger only, `drops` has the reason.
    #[serde(default)]
    pub failed: bool,
}

/// The stored units of one node key. Lines are parsed when they are asked for.
pub struct Units<'a> {
    store: &'a Store,
    folder: PathBuf,
    segments: Vec<(PathBuf, Vec<u8>)>,
    index: HashMap<Digest, Place>,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    written: Instant,
    added: bool,
}

/// Where a line is: in a segment, or among the lines that are not written yet.
#[derive(Clone, Copy)]
struct Place {
    segment: usize,
    start: usize,
    end: usize,
}

const PENDING: usize = usize::MAX;

impl Store {
    /// The stored units of the node key with this digest.
    ///
    /// # Errors
    /// The disk's.
    pub fn units(&self, key: &Digest, fresh: bool) -> Result<Units<'_>, StageError> {
        let mut units = Units {
            store: self,
            folder: self.root.join("units").join(key.to_string()),
            segments: Vec::new(),
            index: HashMap::new(),
            pending: Vec::new(),
            written: Instant::now(),
            added: false,
        };
        if !fresh {
            units.load()?;
        }
        Ok(units)
    }
}

impl Units<'_> {
    /// The result of the unit with this content.
    pub fn get(&mut self, content: &Digest) -> Result<Option<StoredUnit>, StageError> {
        let Some(place) = self.index.get(content) else { return Ok(None) };
        let bytes = if place.segment == PENDING { &self.pending } else { &self.segments[place.segment].1 };
        Ok(serde_json::from_slice(&bytes[place.start..place.end]).ok())
    }

    /// The store files it rests on.
    pub fn files(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether there is a result for this content.
    pub fn contains(&self, content: &Digest) -> bool {
        self.index.contains_key(content)
    }

    /// Forgets a result, because a blob that it names is gone: it counts as missing and may be added again.
    pub fn forget(&mut self, content: &Digest) {
        self.index.remove(content);
    }

    /// Adds a result. It is on the disk after the next [`Units::flush`].
    ///
    /// # Errors
    /// A result that is no JSON: a defect of the stage.
    pub fn add(&mut self, unit: &StoredUnit) -> Result<(), StageError> {
        let start = self.pending.len();
        serde_json::to_writer(&mut self.pending, unit).map_err(StageError::failed)?;
        let end = self.pending.len();
        self.pending.push(b'\n');
        self.index.insert(unit.content, Place { segment: PENDING, start, end });
        Ok(())
    }

    /// Writes what was added, if a second has passed since it was last done.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush_if_due(&mut self) -> Result<(), StageError> {
        if self.written.elapsed() >= FLUSH_AFTER { self.flush() } else { Ok(()) }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&mut self) -> Result<(), StageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.store.flush_blobs()?;
        let path = self.write_segment(&self.pending)?;
        let position = self.segments.len();
        self.segments.push((path, std::mem::take(&mut self.pending)));
        for place in self.index.values_mut().filter(|place| place.segment == PENDING) {
            place.segment = position;
        }
        self.written = Instant::now();
        self.added = true;
        Ok(())
    }

    /// Writes what was added, and makes one segment of several if anything was.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&mut self) -> Result<(), StageError> {
        self.flush()?;
        if !self.added || self.segments.len() < 2 {
            return Ok(());
        }
        let mut places: Vec<_> = self.index.values().copied().collect();
        places.sort_unstable_by_key(|place| (place.segment, place.start));
        let mut lines = Vec::with_capacity(self.segments.iter().map(|(_, bytes)| bytes.len()).sum());
        for place in places {
            lines.extend_from_slice(&self.segments[place.segment].1[place.start..place.end]);
            lines.push(b'\n');
        }
        let path = self.write_segment(&lines)?;
        // Only what went into the new one: another process may have added more meanwhile.
        for (old, _) in self.segments.drain(..).filter(|(old, _)| *old != path) {
            let _ = fs::remove_file(old);
        }
        self.index.clear();
        self.index_segment(path, lines);
        self.added = false;
        Ok(())
    }

    fn load(&mut self) -> Result<(), StageError> {
        // A segment that vanishes between the listing and the reading was merged into another by another process.
        for _ in 0..8 {
            let mut complete = true;
            for path in self.list()? {
                if self.segments.iter().any(|(known, _)| *known == path) {
                    continue;
                }
                match read_if_there(&path)? {
                    None => complete = false,
                    Some(bytes) if named_by(&path, &bytes) => self.index_segment(path, bytes),
                    Some(_) => self.store.set_aside(&path, "unit segment"),
                }
            }
            if complete {
                break;
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<PathBuf>, StageError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StageError::io("read", &self.folder)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(StageError::io("read", &self.folder))?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|extension| extension == "jsonl") {
                paths.push(path);
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// Adds a segment's lines to the index;
    /// the first of several results for one content stays.
    fn index_segment(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let segment = self.segments.len();
        let mut start = 0;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let end = start + line.len();
            if let Some(content) = content_of(line) {
                self.index.entry(content).or_insert(Place { segment, start, end });
            }
            start = end + 1;
        }
        self.segments.push((path, bytes));
    }

    fn write_segment(&self, lines: &[u8]) -> Result<PathBuf, StageError> {
        let path = self.folder.join(format!("{}.jsonl", Digest::of(lines)));
        write_atomic(&path, |file| file.write_all(lines))?;
        Ok(path)
    }
}

fn content_of(line: &[u8]) -> Option<Digest> {
    let digits = line.strip_prefix(LINE_START)?.get(..64)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn named_by(path: &Path, bytes: &[u8]) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse::<Digest>().ok()) == Some(Digest::of(bytes))
}
