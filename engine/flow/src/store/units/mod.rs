//! Results of record stages, one per unit of work, in files under the digest of the node's key. Knows contents by digest
//! only, and no stages.
//!
//! Nothing is kept in memory for each entry but the bits of a filter, and those only once look-ups find nothing. A stream
//! that comes in the order in which it was stored is followed by a cursor; what stands elsewhere is found by the files'
//! indexes.

mod block;
mod cache;
mod file;
mod merge;
mod search;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::BuildHasherDefault;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::digest::{Digest, DigestHasher};
use crate::error::StageError;
use crate::stage::{Dropped, Row};

use super::Store;
use super::blocks::Footer;

use block::Block;
use cache::Cache;
use file::{FileBuilder, UnitFile, sequence_of};
use search::Cursor;

pub(in crate::store) use file::MARK;
pub(in crate::store) use merge::salvage;

/// What is computed is at most so long in memory only, if calls are shorter than that.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// What cost so many seconds is written at once.
const FLUSH_COST: f64 = 1.0;
/// At most about so many bytes are in memory only.
const PENDING_BYTES: u64 = 8 << 20;
/// Verified blocks that are kept for look-ups out of order.
const CACHE_BYTES: usize = 16 << 20;
/// How often the folder is listed anew when files vanish because another process merges them.
const ATTEMPTS: usize = 8;

/// What became of a unit, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredUnit {
    /// The digest of the unit's content.
    pub content: Digest,
    /// The rows that go on.
    pub rows: Vec<Row>,
    /// The records that were dropped.
    pub drops: Vec<Dropped>,
    /// Seconds that it took; kept with seven digits.
    pub seconds: f64,
    /// It failed and is kept for the ledger only: `drops` has the reasons. A result that is not failed goes before it.
    pub failed: bool,
}

/// The stored units of one node key.
pub struct Units<'a> {
    store: &'a Store,
    folder: PathBuf,
    /// What was stored before is not seen.
    fresh: bool,
    loaded: bool,
    /// In the order of the stream, as far as they were written in it.
    files: Vec<UnitFile>,
    /// Files that are damaged and could not be moved out of the way.
    damaged: HashSet<PathBuf>,
    next_id: u32,
    /// The next file that this handle writes is of this generation; what was there before is of generation 0.
    generation: u32,
    /// Contents whose entries of earlier generations do not count.
    forgotten: HashMap<Digest, u32>,
    pending: Pending,
    cursor: Option<Cursor>,
    /// Where the cursor was before it jumped: a content that comes twice leads back and forth.
    other: Option<Cursor>,
    blocks: Cache<Arc<Block>>,
    indexes: Cache<Arc<Vec<u8>>>,
    /// The entry that was found last was added by this handle.
    found_own: bool,
    /// Look-ups that went to the indexes.
    searches: u32,
    filtering: bool,
    /// Names of fields, each once.
    names: Vec<Arc<str>>,
    about: Option<About>,
}

/// What was added and is not written yet.
struct Pending {
    builder: FileBuilder<Vec<u8>>,
    by_prefix: HashMap<u64, u32, BuildHasherDefault<DigestHasher>>,
    /// Entries that were forgotten again.
    dead: HashSet<u32>,
    cost: f64,
    since: Instant,
}

/// What a folder of units is for, for people.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) kind: String,
    pub(super) key: Json,
}

impl Store {
    /// The stored units of the node key with this digest. `fresh`: what was stored before is not seen, only what this handle
    /// adds, and at [`Units::finish`] the new results replace the old ones of the same content.
    ///
    /// # Errors
    /// The disk's.
    pub fn units(&self, key: &Digest, fresh: bool) -> Result<Units<'_>, StageError> {
        Ok(Units {
            store: self,
            folder: self.root.join("units").join(key.to_string()),
            fresh,
            loaded: false,
            files: Vec::new(),
            damaged: HashSet::new(),
            next_id: 0,
            generation: 1,
            forgotten: HashMap::new(),
            pending: Pending::new(),
            cursor: None,
            other: None,
            blocks: Cache::new(CACHE_BYTES / 4 * 3),
            indexes: Cache::new(CACHE_BYTES / 4),
            found_own: false,
            searches: 0,
            filtering: false,
            names: Vec::new(),
            about: None,
        })
    }
}

impl Units<'_> {
    /// The result of the unit with this content.
    ///
    /// # Errors
    /// The disk's. A damaged file is set aside and noted; what cannot be saved of it counts as missing.
    pub fn get(&mut self, content: &Digest) -> Result<Option<StoredUnit>, StageError> {
        let Some((block, at)) = self.find(content)? else { return Ok(None) };
        Ok(block.unit(at, &mut self.names))
    }

    /// Whether the result that was found last was added by this handle: it was not stored before.
    pub fn found_own(&self) -> bool {
        self.found_own
    }

    /// Whether there is a result for this content.
    ///
    /// # Errors
    /// As [`Units::get`].
    pub fn contains(&mut self, content: &Digest) -> Result<bool, StageError> {
        Ok(self.find(content)?.is_some())
    }

    /// Forgets a result, because a blob that it names is gone: it counts as missing and may be added again.
    pub fn forget(&mut self, content: &Digest) {
        if let Some(number) = self.pending.by_prefix.remove(&content.seed()) {
            self.pending.dead.insert(number);
        }
        self.forgotten.insert(*content, self.generation);
    }

    /// Adds a result. It is on the disk after the next [`Units::flush`].
    ///
    /// # Errors
    /// The disk's, where so much was added that it is written at once.
    pub fn add(&mut self, unit: &StoredUnit) -> Result<(), StageError> {
        let number = self.pending.builder.len() as u32;
        self.pending.builder.push(unit).map_err(StageError::failed)?;
        self.pending.by_prefix.insert(unit.content.seed(), number);
        self.pending.cost += unit.seconds;
        if self.pending.builder.bytes() >= PENDING_BYTES { self.flush() } else { Ok(()) }
    }

    /// Says what the results are of; written once beside them, for the person who looks what the store holds.
    pub fn describe(&mut self, kind: &str, key: &Json) {
        self.about = Some(About { kind: kind.to_owned(), key: key.clone() });
    }

    /// Writes what was added if that was a second ago, or if it cost a second to compute.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush_if_due(&mut self) -> Result<(), StageError> {
        let due = self.pending.since.elapsed() >= FLUSH_AFTER || self.pending.cost >= FLUSH_COST;
        if due { self.flush() } else { Ok(()) }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// The disk's; what was added stays in memory.
    pub fn flush(&mut self) -> Result<(), StageError> {
        self.write_pending()?;
        self.merge_small(false)
    }

    /// Writes what was added and tidies up: few files are left of many, and what was replaced is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&mut self) -> Result<(), StageError> {
        let added = self.generation > 1 || self.pending.builder.len() > 0;
        self.write_pending()?;
        if added {
            self.drop_replaced()?;
            self.merge_own()?;
            self.merge_small(true)?;
        }
        Ok(())
    }

    /// The files that hold these results, as paths from the root on, for [`Store::verified`]. What was added must have been
    /// written.
    pub fn files(&self) -> Vec<String> {
        let oldest = u32::from(self.fresh);
        let files = self.files.iter().filter(|file| file.generation >= oldest);
        files.filter_map(|file| self.store.relative(&file.path)).collect()
    }

    fn write_pending(&mut self) -> Result<(), StageError> {
        self.pending.since = Instant::now();
        if !self.pending.dead.is_empty() {
            let dead = std::mem::take(&mut self.pending.dead);
            let kept = self.pending.builder.without(|number| dead.contains(&number)).map_err(StageError::failed)?;
            self.pending.replace(kept);
        }
        if self.pending.builder.len() == 0 {
            return Ok(());
        }
        self.load()?;
        self.store.flush_blobs()?;
        self.write_about()?;
        let tail = self.pending.builder.tail(self.filtering).map_err(StageError::failed)?;
        let sequence = self.files.last().map_or(1, |file| file.sequence + 1);
        let path = self.folder.join(file_name(sequence, &tail.footer));
        self.store.write_atomic(&path, |file| {
            file.write_all(self.pending.builder.written())?;
            file.write_all(&tail.bytes)
        })?;
        self.pending = Pending::new();
        if let Some(mut file) = UnitFile::new(path, self.next_id, sequence, tail.footer) {
            file.generation = self.generation;
            file.filter = tail.filter;
            self.next_id += 1;
            self.files.push(file);
        }
        self.generation += 1;
        Ok(())
    }

    fn write_about(&mut self) -> Result<(), StageError> {
        let Some(about) = self.about.take() else { return Ok(()) };
        let path = self.folder.join("about.json");
        if path.exists() { Ok(()) } else { self.store.write_sealed(&path, &about) }
    }

    /// Lists the files, once. Nothing is read of them but their footers.
    fn load(&mut self) -> Result<(), StageError> {
        if self.loaded {
            return Ok(());
        }
        self.loaded = true;
        if let Some(folder) = self.store.relative(&self.folder) {
            self.store.note_lost_in(&folder);
        }
        self.reload()
    }

    /// Lists the files anew. One that vanishes between the listing and the reading was merged by another process.
    fn reload(&mut self) -> Result<(), StageError> {
        for _ in 0..ATTEMPTS {
            let listed = list(&self.folder)?;
            self.files.retain(|file| listed.contains(&file.path));
            let known: HashSet<&PathBuf> = self.files.iter().map(|file| &file.path).chain(&self.damaged).collect();
            let new: Vec<_> = listed.into_iter().filter(|path| !known.contains(path)).collect();
            let mut complete = true;
            for path in new {
                complete &= self.open_file(path)?;
            }
            if complete {
                break;
            }
        }
        self.files.sort_by(|one, two| (one.sequence, &one.path).cmp(&(two.sequence, &two.path)));
        let ids: HashSet<u32> = self.files.iter().map(|file| file.id).collect();
        self.cursor = self.cursor.take().filter(|cursor| ids.contains(&cursor.file));
        self.other = self.other.take().filter(|cursor| ids.contains(&cursor.file));
        if self.filtering { self.build_filters() } else { Ok(()) }
    }

    /// Adds a file that was there before, or that another process wrote. False: it vanished.
    fn open_file(&mut self, path: PathBuf) -> Result<bool, StageError> {
        let footer = match fs::File::open(&path).and_then(|file| Footer::read(&file, MARK)) {
            Ok(footer) => footer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StageError::io("read", path)(error)),
        };
        let sequence = sequence_of(&path).unwrap_or_default();
        let named = footer.filter(|footer| path.file_name().is_some_and(|name| *name == *file_name(sequence, footer)));
        match named.and_then(|footer| UnitFile::new(path.clone(), self.next_id, sequence, footer)) {
            Some(file) => {
                self.files.push(file);
                self.next_id += 1;
            }
            None => self.put_aside(path),
        }
        Ok(true)
    }
}

impl Units<'_> {
    /// Sets a damaged file aside; this handle does not look at it again even if it cannot be moved.
    fn put_aside(&mut self, path: PathBuf) {
        self.store.set_aside(&path, "unit segment");
        self.damaged.insert(path);
    }
}

#[cfg(test)]
impl Units<'_> {
    /// Bytes of memory, about.
    pub(in crate::store) fn memory(&self) -> usize {
        let files: usize = self.files.iter().map(UnitFile::memory).sum();
        let pending = self.pending.builder.memory() + self.pending.by_prefix.capacity() * 17;
        files + pending + self.blocks.bytes() + self.indexes.bytes()
    }
}

impl Pending {
    fn new() -> Pending {
        let builder = FileBuilder::new(Vec::new());
        Pending { builder, by_prefix: HashMap::default(), dead: HashSet::new(), cost: 0.0, since: Instant::now() }
    }

    fn replace(&mut self, builder: FileBuilder<Vec<u8>>) {
        self.by_prefix = builder.prefixes().iter().copied().collect();
        self.builder = builder;
    }
}

fn file_name(sequence: u64, footer: &Footer) -> String {
    format!("{sequence:010}-{}.units", footer.digest)
}

/// Gives the whole entries of a unit file to `each`.
///
/// # Errors
/// The disk's.
pub(in crate::store) fn read_entries(path: &Path, each: &mut dyn FnMut(StoredUnit)) -> std::io::Result<Option<f64>> {
    let Some(footer) = Footer::read(&fs::File::open(path)?, MARK)? else { return Ok(None) };
    let Some(mut file) = UnitFile::new(path.to_owned(), 0, 0, footer) else { return Ok(None) };
    let mut names = Vec::new();
    for block in 0..file.blocks() {
        if let Some(block) = file.read(block)? {
            (0..block.len()).filter_map(|at| block.unit(at, &mut names)).for_each(&mut *each);
        }
    }
    Ok(Some(file.seconds))
}

/// The unit files of a folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, StageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StageError::io("read", folder)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(StageError::io("read", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "units") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
