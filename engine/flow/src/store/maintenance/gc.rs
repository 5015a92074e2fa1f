//! Garbage collection: what graphs pin stays whole, the rest goes, the cheapest to compute again per byte first. Decides and
//! removes; what refers to what is found by [`super::live`].

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::StageError;

use super::super::{Store, lock, packs, read_if_there};
use super::Pins;
use super::live::{Contents, Entry, Place, remove};

/// Another process may hold the store for a moment, to clear temporary files.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What a garbage collection is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// What stays, with all that it refers to.
    pub keep: Pins,
    /// Bytes that the store may have: so much goes that it fits, if what is pinned lets it. `None`: all that is not pinned goes.
    pub max_size: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What a garbage collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GcReport {
    /// What went, in this order.
    pub removed: Vec<Removed>,
    /// Bytes that are left.
    pub kept_bytes: u64,
    /// Bytes that went.
    pub freed_bytes: u64,
}

/// Something that went.
#[derive(Clone, Debug, PartialEq)]
pub struct Removed {
    /// `action`, `units`, `checkpoint`; `unreferenced` for what nothing refers to, `leftovers` for temporary and damaged files.
    pub what: &'static str,
    /// The key's digest; empty for the last two.
    pub key: String,
    /// The kind of node, if it is known.
    pub kind: String,
    /// Bytes that it freed, with what nothing else refers to.
    pub bytes: u64,
    /// What it took to compute; 0 if that is not known.
    pub seconds: f64,
}

impl Store {
    /// Removes what is not pinned. Nobody may use the store meanwhile.
    ///
    /// # Errors
    /// Another process uses the store; the disk's.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StageError> {
        if !self.root.exists() {
            return Ok(GcReport::default());
        }
        if options.dry_run {
            let contents = Contents::of(self, &options.keep)?;
            return Ok(Plan::of(&contents, options.max_size).report);
        }
        self.flush()?;
        let file = self.lock_alone()?;
        let result = self.collect(options);
        // Back to what every process that writes holds.
        let _ = file.lock_shared();
        let report = result?;
        self.flush()?;
        Ok(report)
    }

    fn collect(&self, options: &GcOptions) -> Result<GcReport, StageError> {
        let contents = Contents::of(self, &options.keep)?;
        let plan = Plan::of(&contents, options.max_size);
        // What refers first: killed in between, the rest is unreferenced and goes next time.
        for entry in &plan.entries {
            let entry = &contents.entries[*entry];
            for path in &entry.files {
                remove(self, path)?;
            }
            if let Some(folder) = entry.files.first().and_then(|path| path.parent()) {
                // Only where nothing else is in it.
                let _ = fs::remove_dir(folder);
            }
        }
        let mut dead = HashSet::new();
        for object in &plan.objects {
            match &contents.objects[*object].place {
                Place::File(path) => remove(self, path)?,
                Place::Pack(digest) => _ = dead.insert(*digest),
            }
        }
        for (path, entries) in &contents.packs {
            self.shrink_pack(path, entries, &dead)?;
        }
        for (path, _) in &contents.leftovers {
            remove(self, path)?;
        }
        *lock(&self.blobs) = packs::Packs::default();
        Ok(plan.report)
    }

    /// Writes what is live of a pack into a new one and removes it.
    fn shrink_pack(&self, path: &Path, entries: &[packs::Entry], dead: &HashSet<Digest>) -> Result<(), StageError> {
        if !entries.is_empty() && !entries.iter().any(|entry| dead.contains(&entry.digest)) {
            return Ok(());
        }
        let old = read_if_there(path)?.unwrap_or_default();
        let (mut bytes, mut kept) = (Vec::new(), Vec::new());
        for entry in entries.iter().filter(|entry| !dead.contains(&entry.digest)) {
            if let Some(blob) = entry.slice(&old).filter(|blob| Digest::of(blob) == entry.digest) {
                kept.push(packs::Entry { offset: bytes.len() as u64, ..*entry });
                bytes.extend_from_slice(blob);
            }
        }
        if !kept.is_empty() {
            let (name, index) = packs::encode_index(&kept);
            let new = path.with_file_name(format!("{name}.pack"));
            self.write_atomic(&new, |file| {
                file.write_all(&bytes)?;
                file.write_all(&index)
            })?;
        }
        remove(self, &path.to_owned())
    }

    /// Waits a moment for the store to be used by nobody else.
    fn lock_alone(&self) -> Result<File, StageError> {
        self.begin_writing()?;
        let path = self.root.join("lock");
        let file = match lock(&self.writing).as_ref() {
            Some(file) => file.try_clone().map_err(StageError::io("lock", &path))?,
            None => self.lock_file(true)?,
        };
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(StageError::io("lock", path)(error)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
        // The attempt may have given the shared lock up.
        let _ = file.lock_shared();
        Err(StageError::failed(format!(
            "the store `{}` is in use by another run: nothing was removed; wait until it has ended, then try again",
            self.root.display()
        )))
    }
}

/// What is to go.
struct Plan {
    /// Indices of entries, in order.
    entries: Vec<usize>,
    /// Indices of objects.
    objects: Vec<usize>,
    report: GcReport,
}

impl Plan {
    fn of(contents: &Contents, max_size: Option<u64>) -> Plan {
        let mut references = vec![0u32; contents.objects.len()];
        for object in contents.entries.iter().flat_map(|entry| &entry.objects) {
            references[*object] += 1;
        }
        let mut plan = Plan { entries: Vec::new(), objects: Vec::new(), report: GcReport::default() };
        let leftovers = contents.leftovers.iter().map(|(_, bytes)| bytes).sum();
        plan.note("leftovers", leftovers);
        let unreferenced: Vec<usize> = (0..references.len()).filter(|object| references[*object] == 0).collect();
        plan.note("unreferenced", unreferenced.iter().map(|object| contents.objects[*object].bytes).sum());
        plan.objects = unreferenced;
        let mut left = contents.bytes.saturating_sub(plan.report.freed_bytes);
        for index in by_cost(contents) {
            if max_size.is_some_and(|most| left <= most) {
                break;
            }
            let entry = &contents.entries[index];
            let mut bytes = entry.bytes;
            for object in &entry.objects {
                references[*object] -= 1;
                if references[*object] == 0 {
                    bytes += contents.objects[*object].bytes;
                    plan.objects.push(*object);
                }
            }
            left = left.saturating_sub(bytes);
            plan.report.freed_bytes += bytes;
            plan.entries.push(index);
            plan.report.removed.push(Removed {
                what: entry.what,
                key: entry.key.to_string(),
                kind: entry.kind.clone(),
                bytes,
                seconds: entry.seconds.unwrap_or_default(),
            });
        }
        plan.report.kept_bytes = contents.bytes.saturating_sub(plan.report.freed_bytes);
        plan
    }

    fn note(&mut self, what: &'static str, bytes: u64) {
        if bytes > 0 {
            self.report.freed_bytes += bytes;
            let (key, kind) = (String::new(), String::new());
            self.report.removed.push(Removed { what, key, kind, bytes, seconds: 0.0 });
        }
    }
}

/// The entries that may go, the cheapest to compute again per byte first. What it takes is not known of a checkpoint, so
/// checkpoints go last.
fn by_cost(contents: &Contents) -> Vec<usize> {
    let cost = |entry: &Entry| {
        let objects = entry.objects.iter().map(|object| contents.objects[*object].bytes).sum::<u64>();
        entry.seconds.map_or(f64::INFINITY, |seconds| seconds / (entry.bytes + objects).max(1) as f64)
    };
    let mut costs: Vec<(f64, usize)> = contents
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.pinned)
        .map(|(index, entry)| (cost(entry), index))
        .collect();
    costs.sort_by(|one, two| one.0.partial_cmp(&two.0).unwrap_or(Ordering::Equal).then(one.1.cmp(&two.1)));
    costs.into_iter().map(|(_, index)| index).collect()
}
