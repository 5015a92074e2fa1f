//! Segments: lists of records in blocks, written while the records are made and read block by block. Knows no stages.
//!
//! The bounds of blocks depend on the records alone, so the same records give the same digest however they came in.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{Reader, put_record};
use crate::digest::Digest;
use crate::error::StageError;
use crate::record::{Record, Schema};

use super::blocks::{BlockEntry, BlockWriter, Footer, Mark, read_block};
use super::{Store, failed_write};

pub(super) const MARK: Mark = *b"rumseg 1";
/// A block ends with this many records, or with the record that makes it this many bytes.
const BLOCK_RECORDS: u32 = 1024;
const BLOCK_BYTES: usize = 4 << 20;

/// A stored list of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The digest of the table of its blocks' digests: the identity of its records.
    pub digest: Digest,
    /// How many records it holds.
    pub count: u64,
    /// Their schema.
    pub schema: Schema,
}

/// Writes a segment while its records are made.
pub struct SegmentWriter<'a> {
    store: &'a Store,
    out: BlockWriter<BufWriter<tempfile::NamedTempFile>>,
    block: Vec<u8>,
    in_block: u32,
    count: u64,
    path: PathBuf,
}

/// Reads a segment block by block; each is verified before its records are given.
pub struct SegmentReader<'a> {
    store: &'a Store,
    path: PathBuf,
    file: File,
    blocks: std::vec::IntoIter<BlockEntry>,
    names: Vec<Arc<str>>,
}

impl Segment {
    /// Where it lies, relative to the store's root: for [`Store::verified`].
    pub fn file(&self) -> String {
        Store::relative_place("segments", &self.digest, ".segment")
    }
}

impl Store {
    /// Begins a segment.
    ///
    /// # Errors
    /// The disk's.
    pub fn segment_writer(&self) -> Result<SegmentWriter<'_>, StageError> {
        let path = self.root.join("segments");
        let out = BlockWriter::new(BufWriter::with_capacity(256 << 10, self.temporary(&path)?));
        Ok(SegmentWriter { store: self, out, block: Vec::new(), in_block: 0, count: 0, path })
    }

    /// Begins to read a segment. `None`: it is missing or its table is damaged; that is noted.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_segment(&self, segment: &Segment) -> Result<Option<SegmentReader<'_>>, StageError> {
        let path = self.root.join(segment.file());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.note_missing(&path, "segment");
                return Ok(None);
            }
            Err(error) => return Err(StageError::io("read", path)(error)),
        };
        let footer = Footer::read(&file, MARK).map_err(StageError::io("read", &path))?;
        let Some(footer) = footer.filter(|footer| footer.digest == segment.digest) else {
            self.set_aside(&path, "segment");
            return Ok(None);
        };
        let blocks = footer.blocks.into_iter();
        Ok(Some(SegmentReader { store: self, path, file, blocks, names: Vec::new() }))
    }

    /// All records of a small segment, in order. `None`: it is missing or damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn records(&self, segment: &Segment) -> Result<Option<Vec<Record>>, StageError> {
        let Some(mut reader) = self.open_segment(segment)? else { return Ok(None) };
        let mut records = Vec::new();
        loop {
            match reader.block()? {
                Block::Records(block) => records.extend(block),
                Block::Damaged => return Ok(None),
                Block::End => return Ok(Some(records)),
            }
        }
    }
}

/// Gives the whole records of a segment's file to `each`; sets nothing aside.
pub(super) fn read_records(path: &Path, each: &mut dyn FnMut(Record)) -> std::io::Result<()> {
    let file = File::open(path)?;
    let Some(footer) = Footer::read(&file, MARK)? else { return Ok(()) };
    for entry in &footer.blocks {
        if let Some(bytes) = read_block(&file, entry)? {
            let mut reader = Reader::new(&bytes);
            std::iter::from_fn(|| reader.record()).for_each(&mut *each);
        }
    }
    Ok(())
}

/// What [`SegmentReader::block`] found.
enum Block {
    Records(Vec<Record>),
    Damaged,
    End,
}

impl SegmentReader<'_> {
    /// The records of the next block; `None` after the last one.
    ///
    /// # Errors
    /// The block is damaged: the segment is set aside, noted and counted in [`Store::losses`]; or the disk's.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Vec<Record>>, StageError> {
        match self.block()? {
            Block::Records(records) => Ok(Some(records)),
            Block::End => Ok(None),
            Block::Damaged => {
                self.store.count_loss();
                Err(StageError::failed(format!(
                    "the stored records `{}` are damaged; run the graph again to make them anew",
                    self.path.display()
                )))
            }
        }
    }

    fn block(&mut self) -> Result<Block, StageError> {
        let Some(entry) = self.blocks.next() else { return Ok(Block::End) };
        let bytes = read_block(&self.file, &entry).map_err(StageError::io("read", &self.path))?;
        let Some(records) = bytes.and_then(|bytes| self.parse(&bytes, &entry)) else {
            self.store.set_aside(&self.path, "segment");
            self.blocks = Vec::new().into_iter();
            return Ok(Block::Damaged);
        };
        Ok(Block::Records(records))
    }

    fn parse(&mut self, bytes: &[u8], entry: &BlockEntry) -> Option<Vec<Record>> {
        let mut reader = Reader::with_names(bytes, std::mem::take(&mut self.names));
        let mut records = Vec::with_capacity((entry.count as usize).min(bytes.len()));
        for _ in 0..entry.count {
            records.push(reader.record()?);
        }
        let whole = reader.rest().is_empty();
        self.names = reader.into_names();
        whole.then_some(records)
    }
}

impl SegmentWriter<'_> {
    /// Adds records.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, records: &[Record]) -> Result<(), StageError> {
        for record in records {
            put_record(record, &mut self.block);
            self.in_block += 1;
            if self.in_block == BLOCK_RECORDS || self.block.len() >= BLOCK_BYTES {
                self.end_block()?;
            }
        }
        self.count += records.len() as u64;
        Ok(())
    }

    /// Ends the segment.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self, schema: Schema) -> Result<Segment, StageError> {
        if self.in_block > 0 {
            self.end_block()?;
        }
        let (out, footer) = self.out.finish(MARK, Vec::new()).map_err(failed_write(&self.path))?;
        let file = out.into_inner().map_err(|error| failed_write(&self.path)(error.into_error()))?;
        let segment = Segment { digest: footer.digest, count: self.count, schema };
        let relative = segment.file();
        // What is there and whole stays as it is: others may remember its state.
        if !self.store.is_remembered(&relative) {
            self.store.persist(file, &self.store.root.join(&relative))?;
        }
        Ok(segment)
    }

    fn end_block(&mut self) -> Result<(), StageError> {
        self.out.block(&self.block, self.in_block).map_err(failed_write(&self.path))?;
        self.block.clear();
        self.in_block = 0;
        Ok(())
    }
}
