//! What waits on the disk: [`SpillQueue`] gives back batches of records in order, [`Spill`] byte strings by their place,
//! [`Buckets`] all bytes under a number. Each holds a bounded part in memory; its file has no name, so that it vanishes
//! with the process. Knows no stage.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::codec::{Reader, put_record, put_varint};
use crate::error::StageError;
use crate::record::{Record, Value};

/// Bytes in memory, about, from which [`SpillQueue`] and [`Spill`] turn to the disk.
const MEMORY: usize = 16 << 20;
/// Bytes that are written at once.
const BLOCK: usize = 256 << 10;
/// Bytes that are read for one record before its length is known.
const GUESS: usize = 4 << 10;

/// A file of blocks of bytes, made at the first write.
struct Blocks {
    folder: PathBuf,
    file: Option<File>,
    end: u64,
}

/// Where a block lies.
#[derive(Clone, Copy)]
struct Block {
    offset: u64,
    length: usize,
}

impl Blocks {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, end: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Block, StageError> {
        let block = Block { offset: self.end, length: bytes.len() };
        let mut write = || -> std::io::Result<()> {
            let file = match &mut self.file {
                Some(file) => file,
                None => {
                    std::fs::create_dir_all(&self.folder)?;
                    self.file.insert(tempfile::tempfile_in(&self.folder)?)
                }
            };
            file.seek(SeekFrom::Start(block.offset))?;
            file.write_all(bytes)
        };
        write().map_err(StageError::io("write temporary data in", &self.folder))?;
        self.end += bytes.len() as u64;
        Ok(block)
    }

    /// Fills `buffer` from `offset` on, as far as there is something; gives how much that is.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StageError> {
        let mut read = || -> std::io::Result<usize> {
            let Some(mut file) = self.file.as_ref() else { return Ok(0) };
            file.seek(SeekFrom::Start(offset))?;
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read(rest) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        };
        read().map_err(StageError::io("read temporary data in", &self.folder))
    }

    /// Appends a whole block to `buffer`.
    fn append(&self, block: Block, buffer: &mut Vec<u8>) -> Result<(), StageError> {
        let start = buffer.len();
        buffer.resize(start + block.length, 0);
        let filled = self.read(block.offset, &mut buffer[start..])?;
        if filled == block.length { Ok(()) } else { Err(damaged(&self.folder)) }
    }

    /// Forgets all blocks and gives their space back.
    fn clear(&mut self) -> Result<(), StageError> {
        self.end = 0;
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0)).map_err(StageError::io("write", &self.folder))
    }
}

fn damaged(folder: &Path) -> StageError {
    StageError::failed(format!(
        "temporary data in `{}` does not read back as it was written: the disk or its file system is damaged",
        folder.display()
    ))
}

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

/// About the bytes of memory that a record takes.
pub fn weight(record: &Record) -> usize {
    const ENTRY: usize = 64;
    fn of(value: &Value) -> usize {
        match value {
            Value::Text(text) => text.len() + 16,
            Value::Blob(blob) => blob.media_type.len() + 16,
            Value::List(values) => values.iter().map(|value| ENTRY + of(value)).sum(),
            Value::Map(values) => values.iter().map(|(name, value)| 2 * ENTRY + name.len() + of(value)).sum(),
            _ => 0,
        }
    }
    ENTRY + record.id.len() + record.fields.values().map(|value| ENTRY + of(value)).sum::<usize>()
}

/// Byte strings by their place: what does not fit into memory is on the disk.
pub struct Spill {
    blocks: Blocks,
    /// What follows the bytes on the disk.
    tail: Vec<u8>,
    /// What was read last.
    buffer: Vec<u8>,
    limit: usize,
}

/// The bytes of a length in front of a byte string.
const LENGTH: usize = 4;

impl Spill {
    /// Byte strings whose file, if it needs one, lies in `folder`, which is made if it is not there. Holds 16 MiB in memory.
    pub fn new(folder: &Path) -> Self {
        Self::with_memory(folder, MEMORY)
    }

    /// Byte strings of which up to `bytes` are held in memory.
    pub fn with_memory(folder: &Path, bytes: usize) -> Self {
        Self { blocks: Blocks::new(folder), tail: Vec::new(), buffer: Vec::new(), limit: bytes }
    }

    /// Adds a byte string of less than 4 GiB; gives its place. Places rise.
    ///
    /// # Errors
    /// The disk's, or a byte string that is too long.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, StageError> {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return Err(StageError::failed(format!(
                "a record of {} bytes is too long: the limit is 4 GiB",
                bytes.len()
            )));
        };
        if self.tail.len() + LENGTH + bytes.len() > self.limit && !self.tail.is_empty() {
            self.blocks.write(&self.tail)?;
            self.tail.clear();
        }
        let place = self.end();
        self.tail.extend_from_slice(&length.to_le_bytes());
        self.tail.extend_from_slice(bytes);
        Ok(place)
    }

    /// The place that comes next.
    pub fn end(&self) -> u64 {
        self.blocks.end + self.tail.len() as u64
    }

    /// The byte string at a place that [`Spill::append`] gave.
    ///
    /// # Errors
    /// The disk's.
    pub fn get(&mut self, place: u64) -> Result<&[u8], StageError> {
        if let Some(start) = place.checked_sub(self.blocks.end) {
            let found = usize::try_from(start).ok().and_then(|start| framed(self.tail.get(start..)?));
            return found.ok_or_else(|| damaged(&self.blocks.folder));
        }
        self.buffer.resize(GUESS, 0);
        let filled = self.blocks.read(place, &mut self.buffer)?;
        let length = length_of(&self.buffer[..filled]).ok_or_else(|| damaged(&self.blocks.folder))?;
        let wanted = LENGTH + length;
        if wanted > filled {
            self.buffer.resize(wanted, 0);
            if self.blocks.read(place + filled as u64, &mut self.buffer[filled..])? < wanted - filled {
                return Err(damaged(&self.blocks.folder));
            }
        }
        Ok(&self.buffer[LENGTH..wanted])
    }

    /// The place of the first byte string that equals `wanted`: reads all that come before it.
    ///
    /// # Errors
    /// The disk's.
    pub fn find(&self, wanted: &[u8]) -> Result<Option<u64>, StageError> {
        let mut buffer: Vec<u8> = Vec::new();
        let mut place = 0;
        loop {
            let mut at = 0;
            while let Some(found) = buffer.get(at..).and_then(framed) {
                if found == wanted {
                    return Ok(Some(place));
                }
                at += LENGTH + found.len();
                place += (LENGTH + found.len()) as u64;
            }
            buffer.drain(..at);
            // What is left is the beginning of a byte string: the rest of it, and more, comes next.
            let next = place + buffer.len() as u64;
            let start = buffer.len();
            if let Some(offset) = next.checked_sub(self.blocks.end) {
                let rest = usize::try_from(offset).ok().and_then(|offset| self.tail.get(offset..));
                buffer.extend_from_slice(rest.unwrap_or_default());
            } else {
                let left = usize::try_from(self.blocks.end - next).unwrap_or(BLOCK).min(BLOCK);
                self.blocks.append(Block { offset: next, length: left }, &mut buffer)?;
            }
            if buffer.len() == start {
                return Ok(None);
            }
        }
    }
}

/// The length in front of a byte string.
fn length_of(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()
}

/// The byte string at the beginning of `bytes`, if it is there whole.
fn framed(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(LENGTH..)?.get(..length_of(bytes)?)
}

/// Byte strings in numbered buckets; each is read back as a whole, in the order in which it was filled.
pub struct Buckets {
    blocks: Blocks,
    buckets: Vec<Bucket>,
    /// Bytes that are not written yet.
    held: usize,
    limit: usize,
}

#[derive(Default)]
struct Bucket {
    written: Vec<Block>,
    tail: Vec<u8>,
}

impl Buckets {
    /// `count` empty buckets. The file, if one is needed, lies in `folder`, which is made if it is not there. Holds 16 MiB in
    /// memory, and what is read.
    pub fn new(folder: &Path, count: usize) -> Self {
        Self::with_memory(folder, count, MEMORY)
    }

    /// `count` empty buckets that hold up to `bytes` in memory.
    pub fn with_memory(folder: &Path, count: usize, bytes: usize) -> Self {
        let buckets = (0..count).map(|_| Bucket::default()).collect();
        Self { blocks: Blocks::new(folder), buckets, held: 0, limit: bytes }
    }

    /// Adds bytes to a bucket; one that there is not gets nothing.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, bucket: usize, bytes: &[u8]) -> Result<(), StageError> {
        let Some(bucket) = self.buckets.get_mut(bucket) else { return Ok(()) };
        bucket.tail.extend_from_slice(bytes);
        self.held += bytes.len();
        if self.held > self.limit {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StageError> {
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.tail.is_empty()) {
            bucket.written.push(self.blocks.write(&bucket.tail)?);
            bucket.tail = Vec::new();
        }
        self.held = 0;
        Ok(())
    }

    /// Takes all bytes of a bucket.
    ///
    /// # Errors
    /// The disk's.
    pub fn take(&mut self, bucket: usize) -> Result<Vec<u8>, StageError> {
        let Some(bucket) = self.buckets.get_mut(bucket).map(std::mem::take) else { return Ok(Vec::new()) };
        self.held -= bucket.tail.len();
        if bucket.written.is_empty() {
            return Ok(bucket.tail);
        }
        let length = bucket.written.iter().map(|block| block.length).sum::<usize>() + bucket.tail.len();
        let mut bytes = Vec::with_capacity(length);
        for block in bucket.written {
            self.blocks.append(block, &mut bytes)?;
        }
        bytes.extend_from_slice(&bucket.tail);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(number: usize, length: usize) -> Record {
        let fields = [("text".into(), Value::text("x".repeat(length))), ("number".into(), Value::Int(number as i64))];
        Record { id: format!("r{number}").into(), fields: fields.into() }
    }

    proptest! {
        #[test]
        fn a_queue_gives_back_what_it_took_in_order(
            steps in proptest::collection::vec((any::<bool>(), 0..4usize, 0..300usize), 0..80),
            memory in 0..2000usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut queue = SpillQueue::with_memory(&folder.path().join("made"), memory);
            let mut model = VecDeque::new();
            for (index, (push, records, length)) in steps.into_iter().enumerate() {
                if push {
                    let batch: Vec<Record> = (0..records).map(|number| record(index * 10 + number, length * 40)).collect();
                    let port = if index % 3 == 0 { "left" } else { "right" };
                    queue.push(port, batch.clone()).unwrap();
                    model.push_back((port, batch));
                } else {
                    prop_assert_eq!(queue.pop().unwrap(), model.pop_front());
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
            while let Some(batch) = model.pop_front() {
                prop_assert_eq!(queue.pop().unwrap(), Some(batch));
            }
            prop_assert_eq!(queue.pop().unwrap(), None);
        }

        #[test]
        fn a_spill_gives_what_lies_at_a_place(
            lengths in proptest::collection::vec(prop_oneof![0..50usize, 4000..9000usize], 1..30),
            memory in prop_oneof![0..200usize, Just(1 << 20)],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut spill = Spill::with_memory(folder.path(), memory);
            let strings: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(index, length)| [vec![index as u8], vec![7; *length]].concat()).collect();
            let places: Vec<u64> = strings.iter().map(|bytes| spill.append(bytes).unwrap()).collect();
            prop_assert!(places.is_sorted_by(|one, next| one < next));
            for (place, bytes) in places.iter().zip(&strings).rev() {
                prop_assert_eq!(spill.get(*place).unwrap(), bytes);
                prop_assert_eq!(spill.find(bytes).unwrap(), Some(*place));
            }
            prop_assert_eq!(spill.find(b"not there").unwrap(), None);
        }

        #[test]
        fn buckets_keep_their_order(
            pushes in proptest::collection::vec((0..5usize, 0..40usize), 0..60),
            memory in 0..200usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut buckets = Buckets::with_memory(folder.path(), 5, memory);
            let mut model = vec![Vec::new(); 5];
            for (index, (bucket, length)) in pushes.into_iter().enumerate() {
                buckets.push(bucket, &vec![index as u8; length]).unwrap();
                model[bucket].extend(vec![index as u8; length]);
            }
            for (bucket, bytes) in model.into_iter().enumerate() {
                prop_assert_eq!(buckets.take(bucket).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn what_spills_leaves_no_file_and_names_its_folder_when_it_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = SpillQueue::with_memory(folder.path(), 0);
        for number in 0..200 {
            queue.push("input", vec![record(number, 5000)]).unwrap();
        }
        assert!(queue.blocks.end > 0, "it is on the disk");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "without a name");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut spill = Spill::with_memory(&file, 0);
        spill.append(b"one").unwrap();
        let error = spill.append(b"two").unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write temporary data in `{}`", file.display())), "{error}");
    }
}
