//! Finding a result: by a cursor that follows the order of the stream, else by the files' indexes. Writes nothing.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::StageError;

use super::block::Block;
use super::file::{UnitFile, entries_in, new_filter, prefixes_in};
use super::merge::salvage;
use super::{ATTEMPTS, Units};

/// So many entries behind the cursor are looked at before the index is asked: a record that was edited or left out leaves
/// a gap.
const LOOK_AHEAD: usize = 32;
/// After so many look-ups in the indexes a filter for each file pays.
const MANY_SEARCHES: u32 = 256;
/// So many files of a handle are open at once.
const MOST_OPEN: usize = 16;

/// An entry of a verified block.
type Found = (Arc<Block>, usize);

/// The place behind the entry that was found last.
pub(super) struct Cursor {
    pub(super) file: u32,
    generation: u32,
    block: usize,
    at: usize,
    loaded: Arc<Block>,
}

/// A part of a file, or the news that the file is not in the list any more.
pub(super) enum Part<T> {
    Here(T),
    Gone,
}

impl Units<'_> {
    /// The entry that counts for this content.
    pub(super) fn find(&mut self, content: &Digest) -> Result<Option<Found>, StageError> {
        self.load()?;
        let oldest = self.oldest(content);
        let mut found = self.at_cursor(content, oldest)?;
        if found.is_none() && self.other.is_some() {
            std::mem::swap(&mut self.cursor, &mut self.other);
            found = self.at_cursor(content, oldest)?;
            if found.is_none() {
                std::mem::swap(&mut self.cursor, &mut self.other);
            }
        }
        match found {
            Some((block, at)) if !block.failed(at) => Ok(Some((block, at))),
            _ => self.search(content, oldest),
        }
    }

    /// Entries of earlier generations do not count.
    fn oldest(&self, content: &Digest) -> u32 {
        let oldest = u32::from(self.fresh);
        if self.forgotten.is_empty() { oldest } else { self.forgotten.get(content).map_or(oldest, |known| *known) }
    }

    fn at_cursor(&mut self, content: &Digest, oldest: u32) -> Result<Option<Found>, StageError> {
        if self.cursor.is_none() && !self.start_cursor()? {
            return Ok(None);
        }
        loop {
            let Some(cursor) = &mut self.cursor else { return Ok(None) };
            let len = cursor.loaded.len();
            if cursor.at < len {
                if cursor.generation < oldest {
                    return Ok(None);
                }
                let ahead = cursor.at..len.min(cursor.at + LOOK_AHEAD);
                for at in ahead {
                    if cursor.loaded.content(at) == content.bytes() {
                        cursor.at = at + 1;
                        self.found_own = cursor.generation > 0;
                        return Ok(Some((cursor.loaded.clone(), at)));
                    }
                }
                return Ok(None);
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    fn start_cursor(&mut self) -> Result<bool, StageError> {
        let oldest = u32::from(self.fresh);
        match self.files.iter().position(|file| file.generation >= oldest && file.count > 0) {
            Some(file) => self.place_cursor(file, 0),
            None => Ok(false),
        }
    }

    /// Puts the cursor on the next block. False: there is none.
    fn advance(&mut self) -> Result<bool, StageError> {
        let Some(cursor) = &self.cursor else { return Ok(false) };
        let Some(file) = self.files.iter().position(|file| file.id == cursor.file) else {
            self.cursor = None;
            return Ok(false);
        };
        let block = cursor.block + 1;
        if block < self.files[file].blocks() {
            return self.place_cursor(file, block);
        }
        if file + 1 < self.files.len() { self.place_cursor(file + 1, 0) } else { Ok(false) }
    }

    fn place_cursor(&mut self, file: usize, block: usize) -> Result<bool, StageError> {
        let (id, generation) = (self.files[file].id, self.files[file].generation);
        // Not through the cache: what is read in order is not read again.
        self.cursor = match self.read_part(file, |file| file.read(block))? {
            Part::Here(loaded) => Some(Cursor { file: id, generation, block, at: 0, loaded: Arc::new(loaded) }),
            Part::Gone => None,
        };
        Ok(self.cursor.is_some())
    }

    fn search(&mut self, content: &Digest, oldest: u32) -> Result<Option<Found>, StageError> {
        let mut failed = None;
        if let Some((block, at)) = self.in_pending(content, oldest) {
            self.found_own = true;
            if !block.failed(at) {
                return Ok(Some((block, at)));
            }
            failed = Some((block, at));
        }
        if !self.files.is_empty() {
            self.searches = self.searches.saturating_add(1);
            if self.searches >= MANY_SEARCHES && !self.filtering {
                self.filtering = true;
                self.build_filters()?;
            }
        }
        'again: for _ in 0..ATTEMPTS {
            for index in (0..self.files.len()).rev() {
                let file = &self.files[index];
                let absent = file.filter.as_ref().is_some_and(|filter| !filter.contains_hash(content.seed()));
                if absent || file.generation < oldest {
                    continue;
                }
                match self.in_file(index, content)? {
                    Part::Gone => continue 'again,
                    Part::Here(Some((block, at))) if block.failed(at) => failed = failed.or(Some((block, at))),
                    Part::Here(Some(found)) => return Ok(Some(found)),
                    Part::Here(None) => {}
                }
            }
            break;
        }
        Ok(failed)
    }

    fn in_pending(&mut self, content: &Digest, oldest: u32) -> Option<Found> {
        let number = *self.pending.by_prefix.get(&content.seed()).filter(|_| oldest <= self.generation)?;
        let found = self.pending.builder.entry(number)?;
        (found.0.content(found.1) == content.bytes()).then_some(found)
    }

    /// The entry of a file for this content, one that is not failed before one that is. Leads the cursor behind it.
    fn in_file(&mut self, index: usize, content: &Digest) -> Result<Part<Option<Found>>, StageError> {
        let numbers = match self.numbers_in(index, content)? {
            Part::Here(numbers) => numbers,
            Part::Gone => return Ok(Part::Gone),
        };
        let mut failed = None;
        for number in numbers.into_iter().rev() {
            let file = &self.files[index];
            let (id, generation, (block, at)) = (file.id, file.generation, file.block_of(number));
            let Part::Here(loaded) = self.cached(index, block)? else { return Ok(Part::Gone) };
            if at >= loaded.len() || loaded.content(at) != content.bytes() {
                continue;
            }
            if loaded.failed(at) {
                failed = failed.or(Some((loaded, at)));
                continue;
            }
            self.found_own = generation > 0;
            let cursor = Cursor { file: id, generation, block, at: at + 1, loaded: loaded.clone() };
            self.other = self.cursor.replace(cursor);
            return Ok(Part::Here(Some((loaded, at))));
        }
        Ok(Part::Here(failed))
    }

    /// The numbers of the entries of a file whose content begins as this one.
    pub(super) fn numbers_in(&mut self, index: usize, content: &Digest) -> Result<Part<Vec<u32>>, StageError> {
        let mut numbers = Vec::new();
        for block in self.files[index].index_blocks(content.seed()) {
            let key = (self.files[index].id, block as u32);
            let bytes = match self.indexes.get(key, |bytes| bytes.len()) {
                Some(bytes) => bytes,
                None => {
                    let Part::Here(bytes) = self.read_part(index, |file| file.read_index(block))? else {
                        return Ok(Part::Gone);
                    };
                    let bytes = Arc::new(bytes);
                    self.indexes.put(key, bytes.clone(), bytes.len() + 64);
                    bytes
                }
            };
            numbers.extend(entries_in(&bytes, content.seed()));
        }
        Ok(Part::Here(numbers))
    }

    fn cached(&mut self, index: usize, block: usize) -> Result<Part<Arc<Block>>, StageError> {
        let key = (self.files[index].id, block as u32);
        if let Some(found) = self.blocks.get(key, |block| block.memory()) {
            return Ok(Part::Here(found));
        }
        let Part::Here(loaded) = self.read_part(index, |file| file.read(block))? else { return Ok(Part::Gone) };
        let loaded = Arc::new(loaded);
        self.blocks.put(key, loaded.clone(), loaded.memory());
        Ok(Part::Here(loaded))
    }

    /// Reads a part of a file. A file that vanished was merged by another process: the list is made anew. Of a damaged one
    /// what is whole is saved, and the list is made anew too.
    pub(super) fn read_part<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut UnitFile) -> std::io::Result<Option<T>>,
    ) -> Result<Part<T>, StageError> {
        if !self.files[index].is_open() && self.files.iter().filter(|file| file.is_open()).count() >= MOST_OPEN {
            self.files.iter_mut().for_each(UnitFile::close);
        }
        match read(&mut self.files[index]) {
            Ok(Some(part)) => return Ok(Part::Here(part)),
            Ok(None) => {
                let path = self.files.remove(index).path;
                salvage(self.store, &path);
                self.put_aside(path);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => _ = self.files.remove(index),
            Err(error) => return Err(StageError::io("read", &self.files[index].path)(error)),
        }
        self.reload()?;
        Ok(Part::Gone)
    }

    /// Makes the filters that are not there yet, from the indexes.
    pub(super) fn build_filters(&mut self) -> Result<(), StageError> {
        let mut index = 0;
        while index < self.files.len() {
            if self.files[index].filter.is_some() {
                index += 1;
                continue;
            }
            let mut filter = new_filter(self.files[index].count as usize);
            let blocks = self.files[index].index_len();
            let mut whole = true;
            for block in 0..blocks {
                let Part::Here(bytes) = self.read_part(index, |file| file.read_index(block))? else {
                    whole = false;
                    break;
                };
                prefixes_in(&bytes).for_each(|(prefix, _)| _ = filter.insert_hash(prefix));
            }
            if whole {
                self.files[index].filter = Some(filter);
            }
        }
        Ok(())
    }
}
