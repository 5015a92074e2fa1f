//! A file of unit results: blocks of entries in stream order, then an index of them by content. Knows one file; which of
//! several files counts is not its business.
//!
//! The index is blocks of (8 bytes of a content, 4 bytes of the entry's number), sorted; the footer's extra part says how
//! many blocks hold entries, the sum of their seconds, and the first content of each index block.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastbloom::BloomFilter;

use crate::codec::{Reader, put_varint};

use super::super::blocks::{BlockEntry, BlockWriter, Footer, Mark, read_block};
use super::StoredUnit;
use super::block::{BLOCK_ENTRIES, Block, BlockBuilder};

pub(in crate::store) const MARK: Mark = *b"rumunit1";
const INDEX_ENTRY_BYTES: usize = 12;
/// One look-up of a thousand that should find nothing goes on to the index.
const FILTER_BITS: usize = 14;

/// Builds a file, in memory or on the disk.
pub(super) struct FileBuilder<W> {
    writer: BlockWriter<W>,
    block: BlockBuilder,
    /// The beginning of each entry's content, and its number.
    prefixes: Vec<(u64, u32)>,
    seconds: f64,
    buffer: Vec<u8>,
    /// Blocks that were asked for, by the number of their first entry; the open one as it was then.
    parsed: BTreeMap<u32, Arc<Block>>,
}

/// What stands behind the blocks of a file.
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
    pub(super) footer: Footer,
    pub(super) filter: Option<BloomFilter>,
}

impl<W: Write> FileBuilder<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            writer: BlockWriter::new(out),
            block: BlockBuilder::default(),
            prefixes: Vec::new(),
            seconds: 0.0,
            buffer: Vec::new(),
            parsed: BTreeMap::new(),
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Bytes of the blocks that are complete.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.offset()
    }

    pub(super) fn push(&mut self, unit: &StoredUnit) -> io::Result<()> {
        self.prefixes.push((unit.content.seed(), self.prefixes.len() as u32));
        self.seconds += unit.seconds;
        self.block.push(unit);
        if self.block.is_full() { self.end_block() } else { Ok(()) }
    }

    pub(super) fn push_from(&mut self, block: &Block, at: usize) -> io::Result<()> {
        self.prefixes.push((prefix_of(block.content(at)), self.prefixes.len() as u32));
        self.seconds += f64::from(block.seconds(at));
        self.block.push_from(block, at);
        if self.block.is_full() { self.end_block() } else { Ok(()) }
    }

    /// What stands behind the blocks once no entry follows: index, footer, trailer. Goes on when more entries are added.
    /// The filter is of the contents, for [`UnitFile::filter`].
    pub(super) fn tail(&mut self, filtering: bool) -> io::Result<Tail> {
        if self.block.len() > 0 {
            self.end_block()?;
        }
        self.prefixes.sort_unstable();
        let filter = filtering.then(|| {
            let mut filter = new_filter(self.prefixes.len());
            self.prefixes.iter().for_each(|(prefix, _)| _ = filter.insert_hash(*prefix));
            filter
        });
        let mut extra = Vec::new();
        put_varint(self.writer.blocks.len() as u64, &mut extra);
        extra.extend_from_slice(&self.seconds.to_le_bytes());
        let mut writer = self.writer.behind();
        for chunk in self.prefixes.chunks(BLOCK_ENTRIES) {
            self.buffer.clear();
            for (prefix, entry) in chunk {
                self.buffer.extend_from_slice(&prefix.to_le_bytes());
                self.buffer.extend_from_slice(&entry.to_le_bytes());
            }
            extra.extend_from_slice(&self.buffer[..8]);
            writer.block(&self.buffer, chunk.len() as u32)?;
        }
        let (bytes, footer) = writer.finish(MARK, extra)?;
        Ok(Tail { bytes, footer, filter })
    }

    /// Where the blocks were written.
    pub(super) fn into_out(self) -> W {
        self.writer.out
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.block.encode(&mut self.buffer);
        self.writer.block(&self.buffer, self.block.len() as u32)?;
        self.block.clear();
        Ok(())
    }
}

impl FileBuilder<Vec<u8>> {
    /// The entry with this number, and the block that it is in.
    pub(super) fn entry(&mut self, number: u32) -> Option<(Arc<Block>, usize)> {
        if let Some((first, block)) = self.parsed.range(..=number).next_back()
            && ((number - first) as usize) < block.len()
        {
            return Some((block.clone(), (number - first) as usize));
        }
        let mut first = 0;
        let mut complete = None;
        for block in &self.writer.blocks {
            if number < first + block.count {
                complete = Some(block);
                break;
            }
            first += block.count;
        }
        let bytes = match complete {
            Some(block) => {
                let start = block.offset as usize;
                self.writer.out.get(start..start + block.length as usize)?.to_vec()
            }
            None => {
                let mut bytes = Vec::new();
                self.block.encode(&mut bytes);
                bytes
            }
        };
        let block = Arc::new(Block::parse(bytes)?);
        self.parsed.insert(first, block.clone());
        let at = (number - first) as usize;
        (at < block.len()).then_some((block, at))
    }

    /// The same without the entries for which `dead` holds.
    pub(super) fn without(&mut self, dead: impl Fn(u32) -> bool) -> io::Result<Self> {
        let mut kept = FileBuilder::new(Vec::new());
        for number in (0..self.len() as u32).filter(|number| !dead(*number)) {
            if let Some((block, at)) = self.entry(number) {
                kept.push_from(&block, at)?;
            }
        }
        Ok(kept)
    }

    /// Bytes of memory, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.writer.out.capacity() + self.prefixes.capacity() * size_of::<(u64, u32)>()
    }

    /// The complete blocks.
    pub(super) fn written(&self) -> &[u8] {
        &self.writer.out
    }

    /// The content's beginning and the number of every entry.
    pub(super) fn prefixes(&self) -> &[(u64, u32)] {
        &self.prefixes
    }
}

/// A file that was written.
pub(super) struct UnitFile {
    pub(super) path: PathBuf,
    /// Unique in the process's view of the folder.
    pub(super) id: u32,
    /// Its place among the files of the folder.
    pub(super) sequence: u64,
    /// When this handle wrote it; 0: it was there before.
    pub(super) generation: u32,
    pub(super) size: u64,
    /// How many entries it has.
    pub(super) count: u32,
    /// What its entries took to compute.
    pub(super) seconds: f64,
    /// Says surely that a content is not in it.
    pub(super) filter: Option<BloomFilter>,
    /// The blocks of entries, each with the number of its first entry.
    blocks: Vec<(u32, BlockEntry)>,
    /// The blocks of the index, each with its first content.
    index: Vec<(u64, BlockEntry)>,
    file: Option<Arc<File>>,
}

impl UnitFile {
    /// `None`: the footer is not that of a unit file.
    pub(super) fn new(path: PathBuf, id: u32, sequence: u64, footer: Footer) -> Option<UnitFile> {
        let mut reader = Reader::new(&footer.extra);
        let entries = usize::try_from(reader.varint()?).ok().filter(|count| *count <= footer.blocks.len())?;
        let seconds = f64::from_le_bytes(reader.take(8)?.try_into().ok()?);
        let (blocks, index) = footer.blocks.split_at(entries);
        let mut count = 0u32;
        let blocks = blocks.iter().map(|block| {
            let first = count;
            count = count.checked_add(block.count)?;
            Some((first, *block))
        });
        let blocks = blocks.collect::<Option<Vec<_>>>()?;
        let index = index.iter().map(|block| Some((prefix_of(reader.take(8)?), *block)));
        let index = index.collect::<Option<Vec<_>>>()?;
        let (size, file, filter) = (footer.size, None, None);
        Some(UnitFile { path, id, sequence, generation: 0, size, count, seconds, filter, blocks, index, file })
    }

    /// How many blocks of entries there are.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The block that holds the entry with this number.
    pub(super) fn block_of(&self, entry: u32) -> (usize, usize) {
        let block = self.blocks.partition_point(|(first, _)| *first <= entry).saturating_sub(1);
        (block, self.blocks.get(block).map_or(0, |(first, _)| (entry - first) as usize))
    }

    /// The number of the first entry of a block.
    pub(super) fn first_of(&self, block: usize) -> u32 {
        self.blocks.get(block).map_or(0, |(first, _)| *first)
    }

    /// The index blocks that may hold contents beginning so.
    pub(super) fn index_blocks(&self, prefix: u64) -> std::ops::Range<usize> {
        let start = self.index.partition_point(|(first, _)| *first < prefix).saturating_sub(1);
        let end = self.index.partition_point(|(first, _)| *first <= prefix);
        start..end.max(start)
    }

    /// How many index blocks there are.
    pub(super) fn index_len(&self) -> usize {
        self.index.len()
    }

    /// A verified block of entries. `None`: it is damaged.
    pub(super) fn read(&mut self, block: usize) -> io::Result<Option<Block>> {
        let Some((_, entry)) = self.blocks.get(block).copied() else { return Ok(None) };
        let bytes = read_block(&*self.open()?, &entry)?;
        Ok(bytes.and_then(Block::parse).filter(|block| block.len() == entry.count as usize))
    }

    /// The verified bytes of an index block. `None`: they are damaged.
    pub(super) fn read_index(&mut self, block: usize) -> io::Result<Option<Vec<u8>>> {
        let Some((_, entry)) = self.index.get(block).copied() else { return Ok(None) };
        read_block(&*self.open()?, &entry)
    }

    /// Bytes of memory, about.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let filter = self.filter.as_ref().map_or(0, |filter| filter.num_bits() / 8);
        filter + (self.blocks.capacity() + self.index.capacity()) * size_of::<(u64, BlockEntry)>()
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Opens it again if need be; fails with [`io::ErrorKind::NotFound`] if it was merged into another meanwhile.
    fn open(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(&self.path)?);
        self.file = Some(file.clone());
        Ok(file)
    }
}

/// An empty filter for so many contents.
pub(super) fn new_filter(count: usize) -> BloomFilter {
    // The contents are digests: nobody can choose them so that they collide, and no secret seed is needed.
    BloomFilter::with_num_bits((count * FILTER_BITS).max(64)).seed(&0).hashes(8)
}

/// The numbers of the entries with this content's beginning, from an index block.
pub(super) fn entries_in(index: &[u8], prefix: u64) -> impl Iterator<Item = u32> {
    let (entries, _) = index.as_chunks::<INDEX_ENTRY_BYTES>();
    let start = entries.partition_point(|entry| prefix_of(entry) < prefix);
    entries[start..]
        .iter()
        .take_while(move |entry| prefix_of(&entry[..]) == prefix)
        .map(|entry| u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]))
}

/// The contents' beginnings in an index block.
pub(super) fn prefixes_in(index: &[u8]) -> impl Iterator<Item = (u64, u32)> {
    let (entries, _) = index.as_chunks::<INDEX_ENTRY_BYTES>();
    entries.iter().map(|entry| (prefix_of(&entry[..]), u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]])))
}

/// The first eight bytes of a content, as in [`crate::digest::Digest::seed`].
pub(super) fn prefix_of(content: &[u8]) -> u64 {
    content.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The number with which the name of a unit file begins.
pub(super) fn sequence_of(path: &Path) -> Option<u64> {
    let name = path.file_stem()?.to_str()?;
    name.split_once('-')?.0.parse().ok()
}
