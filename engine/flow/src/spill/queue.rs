//! A queue of batches of records, in memory up to a bound and beyond it on the disk. Knows no stage.

use std::collections::VecDeque;
use std::path::Path;

use super::{BLOCK, Block, Blocks, MEMORY, damaged, weight};
use crate::codec::{Reader, put_record, put_varint};
use crate::error::StageError;
use crate::record::Record;

/// Batches of records that wait, first in, first out: in memory up to a bound, beyond it on the disk.
pub struct SpillQueue {
    blocks: Blocks,
    /// What comes out first, while nothing of it was written.
    memory: VecDeque<(&'static str, Vec<Record>)>,
    /// About the bytes of `memory`.
    weight: usize,
    /// What is on the disk, after `memory`.
    written: VecDeque<Block>,
    /// The block that is being read, before `written`.
    reading: Vec<u8>,
    position: usize,
    /// What is not written yet, after `written`.
    tail: Vec<u8>,
    /// The ports seen, which bytes name by their index.
    ports: Vec<&'static str>,
    batches: usize,
    limit: usize,
}

impl SpillQueue {
    /// A queue whose file, if it needs one, lies in `folder`, which is made if it is not there. Holds some 16 MiB in memory.
    pub fn new(folder: &Path) -> Self {
        Self::with_memory(folder, MEMORY)
    }

    /// A queue that holds about `bytes` in memory.
    pub fn with_memory(folder: &Path, bytes: usize) -> Self {
        Self {
            blocks: Blocks::new(folder),
            memory: VecDeque::new(),
            weight: 0,
            written: VecDeque::new(),
            reading: Vec::new(),
            position: 0,
            tail: Vec::new(),
            ports: Vec::new(),
            batches: 0,
            limit: bytes,
        }
    }

    /// The number of batches that wait.
    pub fn len(&self) -> usize {
        self.batches
    }

    /// Whether no batch waits.
    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, port: &'static str, batch: Vec<Record>) -> Result<(), StageError> {
        self.batches += 1;
        let weight = batch.iter().map(weight).sum::<usize>();
        if self.batches - 1 == self.memory.len() && (self.memory.is_empty() || self.weight + weight <= self.limit) {
            self.weight += weight;
            self.memory.push_back((port, batch));
            return Ok(());
        }
        let index = self.ports.iter().position(|known| *known == port).unwrap_or_else(|| {
            self.ports.push(port);
            self.ports.len() - 1
        });
        put_varint(index as u64, &mut self.tail);
        put_varint(batch.len() as u64, &mut self.tail);
        batch.iter().for_each(|record| put_record(record, &mut self.tail));
        if self.tail.len() >= BLOCK {
            self.written.push_back(self.blocks.write(&self.tail)?);
            self.tail.clear();
        }
        Ok(())
    }

    /// Takes the batch that has waited longest.
    ///
    /// # Errors
    /// The disk's.
    pub fn pop(&mut self) -> Result<Option<(&'static str, Vec<Record>)>, StageError> {
        if let Some((port, batch)) = self.memory.pop_front() {
            self.weight = self.weight.saturating_sub(batch.iter().map(weight).sum());
            self.batches -= 1;
            return Ok(Some((port, batch)));
        }
        if self.position == self.reading.len() && !self.next_block()? {
            return Ok(None);
        }
        let mut reader = Reader::new(&self.reading[self.position..]);
        let batch = read_batch(&mut reader, &self.ports).ok_or_else(|| damaged(&self.blocks.folder))?;
        self.position = self.reading.len() - reader.rest().len();
        self.batches -= 1;
        Ok(Some(batch))
    }

    /// Makes the next bytes the ones that are read; false if there are none.
    fn next_block(&mut self) -> Result<bool, StageError> {
        self.reading.clear();
        self.position = 0;
        match self.written.pop_front() {
            Some(block) => self.blocks.append(block, &mut self.reading)?,
            None => std::mem::swap(&mut self.reading, &mut self.tail),
        }
        if self.written.is_empty() && self.blocks.end > 0 {
            self.blocks.clear()?;
        }
        Ok(!self.reading.is_empty())
    }
}

fn read_batch(reader: &mut Reader<'_>, ports: &[&'static str]) -> Option<(&'static str, Vec<Record>)> {
    let port = ports.get(usize::try_from(reader.varint()?).ok()?)?;
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= reader.rest().len())?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(reader.record()?);
    }
    Some((port, records))
}
