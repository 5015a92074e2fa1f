//! Keeps the number of unit files small, and what they hold current: neighbours are written into one, entries that were
//! replaced are left out, and of a damaged file the whole blocks are saved. Knows nothing of look-ups beyond files.
//!
//! Files of about the same size are merged eight at a time, so an entry is written again once for each eightfold of size,
//! and never once its file is large.

use std::collections::HashSet;
use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::StageError;

use super::super::blocks::Footer;
use super::super::{Store, failed_write};
use super::block::Block;
use super::file::{FileBuilder, MARK, Tail, UnitFile, prefixes_in, sequence_of};
use super::search::{Cursor, Part};
use super::{Units, file_name};

/// So many files of a size become one.
const FAN: usize = 8;
/// Files up to this size are alike.
const SMALLEST: u64 = 64 << 10;
/// A file is large from this size on, or from this part of all on: then it stays as it is.
const LARGE: u64 = 4 << 20;
const LARGE_PART: u64 = 64;

impl Units<'_> {
    /// Merges the last files as long as there are many of a size. `old`: those too that were there before this handle. Not
    /// in the middle of its work: what it added is told from what was stored by the files.
    pub(super) fn merge_small(&mut self, old: bool) -> Result<(), StageError> {
        loop {
            let total: u64 = self.files.iter().map(|file| file.size).sum();
            let large = LARGE.max(total / LARGE_PART);
            let Some(last) = self.files.last() else { return Ok(()) };
            let class = size_class(last.size);
            let alike = |file: &&UnitFile| {
                file.size <= large && size_class(file.size) <= class && (file.generation > 0 || (old && !self.fresh))
            };
            let count = self.files.iter().rev().take_while(alike).count();
            if count < FAN || !self.merge(self.files.len() - count..self.files.len())? {
                return Ok(());
            }
        }
    }

    /// Makes one file of the small ones that this handle wrote.
    pub(super) fn merge_own(&mut self) -> Result<(), StageError> {
        let own = |file: &&UnitFile| file.size <= LARGE && file.generation > 0;
        let count = self.files.iter().rev().take_while(own).count();
        if count > 1 {
            self.merge(self.files.len() - count..self.files.len())?;
        }
        Ok(())
    }

    /// Removes entries that were stored before this handle and that it has replaced: all contents that it added if it
    /// is fresh, else those that were forgotten and added again.
    pub(super) fn drop_replaced(&mut self) -> Result<(), StageError> {
        if !self.fresh && self.forgotten.is_empty() {
            return Ok(());
        }
        (self.cursor, self.other) = (None, None);
        let mut old: Vec<u32> = self.files.iter().filter(|file| file.generation == 0).map(|file| file.id).collect();
        while let Some(id) = old.pop() {
            let dead = if self.fresh { self.replaced_in(id)? } else { self.forgotten_in(id)? };
            let Some(index) = self.files.iter().position(|file| file.id == id) else { continue };
            if dead.is_empty() {
                continue;
            }
            self.rewrite(index..index + 1, &dead.into_iter().map(|number| (0, number)).collect())?;
        }
        Ok(())
    }

    /// The entries of an old file whose contents a fresh handle has added.
    fn replaced_in(&mut self, id: u32) -> Result<HashSet<u32>, StageError> {
        let mut dead = HashSet::new();
        let mut block = 0;
        while let Some(index) = self.files.iter().position(|file| file.id == id) {
            if block >= self.files[index].blocks() {
                break;
            }
            let first = self.files[index].first_of(block);
            let Part::Here(loaded) = self.read_part(index, |file| file.read(block))? else { break };
            for at in 0..loaded.len() {
                let content = loaded.content(at).try_into().map(Digest::from_bytes);
                if let Ok(content) = content
                    && self.contains(&content)?
                {
                    dead.insert(first + at as u32);
                }
            }
            block += 1;
        }
        Ok(dead)
    }

    /// The entries of an old file that were forgotten and added again.
    fn forgotten_in(&mut self, id: u32) -> Result<HashSet<u32>, StageError> {
        let contents: Vec<Digest> = self.forgotten.keys().copied().collect();
        let mut dead = HashSet::new();
        for content in contents {
            if !self.contains(&content)? {
                continue;
            }
            let Some(index) = self.files.iter().position(|file| file.id == id) else { break };
            let Part::Here(numbers) = self.numbers_in(index, &content)? else { break };
            for number in numbers {
                let (block, at) = self.files[index].block_of(number);
                let Part::Here(loaded) = self.read_part(index, |file| file.read(block))? else { return Ok(dead) };
                if at < loaded.len() && loaded.content(at) == content.bytes() {
                    dead.insert(number);
                }
            }
        }
        Ok(dead)
    }

    /// Makes one file of neighbours; of several entries for one content the best stays. False: one of them vanished or is
    /// damaged, so the list is another one now.
    fn merge(&mut self, range: Range<usize>) -> Result<bool, StageError> {
        let mut entries: Vec<(u64, u32, u32)> = Vec::new();
        for index in range.clone() {
            for block in 0..self.files[index].index_len() {
                let Part::Here(bytes) = self.read_part(index, |file| file.read_index(block))? else {
                    return Ok(false);
                };
                let source = (index - range.start) as u32;
                entries.extend(prefixes_in(&bytes).map(|(prefix, number)| (prefix, source, number)));
            }
        }
        entries.sort_unstable();
        let mut dead = HashSet::new();
        for alike in entries.chunk_by(|one, two| one.0 == two.0).filter(|alike| alike.len() > 1) {
            if !self.choose(range.start, alike, &mut dead)? {
                return Ok(false);
            }
        }
        drop(entries);
        self.rewrite(range, &dead)
    }

    /// Of entries whose contents begin alike, adds all but the best of each content to `dead`: the newest that is not failed,
    /// else the newest.
    fn choose(
        &mut self,
        start: usize,
        alike: &[(u64, u32, u32)],
        dead: &mut HashSet<(u32, u32)>,
    ) -> Result<bool, StageError> {
        let mut best: Vec<(Vec<u8>, bool, (u32, u32))> = Vec::new();
        for &(_, source, number) in alike {
            let index = start + source as usize;
            let (block, at) = self.files[index].block_of(number);
            let Part::Here(loaded) = self.read_part(index, |file| file.read(block))? else { return Ok(false) };
            if at >= loaded.len() {
                continue;
            }
            let (content, failed) = (loaded.content(at), loaded.failed(at));
            match best.iter_mut().find(|(known, _, _)| known == content) {
                Some((_, known_failed, _)) if failed && !*known_failed => _ = dead.insert((source, number)),
                Some((_, known_failed, place)) => {
                    dead.insert(*place);
                    (*known_failed, *place) = (failed, (source, number));
                }
                None => best.push((content.to_vec(), failed, (source, number))),
            }
        }
        Ok(true)
    }

    /// Writes files into one without the entries in `dead` (file in the range, number), which takes their place.
    fn rewrite(&mut self, range: Range<usize>, dead: &HashSet<(u32, u32)>) -> Result<bool, StageError> {
        let folder = self.folder.clone();
        let mut out = Output::new(self.store, &folder)?;
        for index in range.clone() {
            let source = (index - range.start) as u32;
            for block in 0..self.files[index].blocks() {
                let first = self.files[index].first_of(block);
                let Part::Here(loaded) = self.read_part(index, |file| file.read(block))? else { return Ok(false) };
                out.push(&loaded, |at| !dead.contains(&(source, first + at as u32)))?;
            }
        }
        let sequence = self.files[range.end - 1].sequence;
        let generation = self.files[range.clone()].iter().map(|file| file.generation).max().unwrap_or_default();
        let written = out.finish(sequence, self.filtering)?;
        let old: Vec<UnitFile> = self.files.drain(range.clone()).collect();
        let mut kept = None;
        if let Some((path, tail)) = written
            && let Some(mut file) = UnitFile::new(path.clone(), self.next_id, sequence, tail.footer)
        {
            file.generation = generation;
            file.filter = tail.filter;
            self.next_id += 1;
            self.files.insert(range.start, file);
            kept = Some(path);
        }
        for file in old.iter().filter(|file| Some(&file.path) != kept.as_ref()) {
            // A file that stays although it was merged holds the same entries once more.
            let _ = fs::remove_file(&file.path);
            self.store.forget(&file.path);
        }
        let gone = |cursor: &Cursor| old.iter().any(|file| file.id == cursor.file);
        self.cursor = self.cursor.take().filter(|cursor| !gone(cursor));
        self.other = self.other.take().filter(|cursor| !gone(cursor));
        Ok(true)
    }
}

/// Saves the whole blocks of a damaged unit file in a new one. What cannot be saved is computed again.
pub(in crate::store) fn salvage(store: &Store, path: &Path) {
    if let Err(error) = save_whole_blocks(store, path) {
        tracing::warn!("{error}");
    }
}

fn save_whole_blocks(store: &Store, path: &Path) -> Result<(), StageError> {
    let footer = fs::File::open(path).and_then(|file| Footer::read(&file, MARK));
    let Some(footer) = footer.map_err(StageError::io("read", path))? else { return Ok(()) };
    let sequence = sequence_of(path).unwrap_or_default();
    // The name says which footer is the right one.
    let named = path.file_name().is_some_and(|name| *name == *file_name(sequence, &footer));
    let (true, Some(folder)) = (named, path.parent()) else { return Ok(()) };
    let Some(mut file) = UnitFile::new(path.to_owned(), 0, sequence, footer) else { return Ok(()) };
    let mut out = Output::new(store, folder)?;
    for block in 0..file.blocks() {
        match file.read(block) {
            Ok(Some(block)) => out.push(&block, |_| true)?,
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StageError::io("read", path)(error)),
        }
    }
    // A file whose index alone is damaged comes out under its own name: the new one must not be set aside in its place.
    out.save_beside(sequence, path)
}

/// A unit file that is written to the disk as it is made.
struct Output<'a> {
    store: &'a Store,
    folder: &'a Path,
    builder: FileBuilder<BufWriter<tempfile::NamedTempFile>>,
}

impl<'a> Output<'a> {
    fn new(store: &'a Store, folder: &'a Path) -> Result<Self, StageError> {
        let temporary = store.temporary(folder)?;
        Ok(Self { store, folder, builder: FileBuilder::new(BufWriter::new(temporary)) })
    }

    fn push(&mut self, block: &Block, keep: impl Fn(usize) -> bool) -> Result<(), StageError> {
        for at in (0..block.len()).filter(|at| keep(*at)) {
            self.builder.push_from(block, at).map_err(failed_write(self.folder))?;
        }
        Ok(())
    }

    /// Gives the file its name; `None` if it has no entry.
    fn finish(mut self, sequence: u64, filtering: bool) -> Result<Option<(PathBuf, Tail)>, StageError> {
        if self.builder.len() == 0 {
            return Ok(None);
        }
        let tail = self.builder.tail(filtering).map_err(failed_write(self.folder))?;
        let path = self.folder.join(file_name(sequence, &tail.footer));
        let mut out = self.builder.into_out();
        out.write_all(&tail.bytes).map_err(failed_write(&path))?;
        let file = out.into_inner().map_err(|error| failed_write(&path)(error.into_error()))?;
        self.store.persist(file, &path)?;
        Ok(Some((path, tail)))
    }

    /// As [`Output::finish`], but under another number if that would be the name `taken`.
    fn save_beside(mut self, sequence: u64, taken: &Path) -> Result<(), StageError> {
        if self.builder.len() == 0 {
            return Ok(());
        }
        let tail = self.builder.tail(false).map_err(failed_write(self.folder))?;
        let same = taken.file_name().is_some_and(|name| *name == *file_name(sequence, &tail.footer));
        self.finish(if same { sequence + 1 } else { sequence }, false).map(|_| ())
    }
}

/// Eightfold sizes are a class.
fn size_class(size: u64) -> u32 {
    (size / SMALLEST).checked_ilog(FAN as u64).map_or(0, |class| class + 1)
}
