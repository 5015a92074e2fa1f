//! What waits on the disk: [`SpillQueue`] gives back batches of records in order, [`Spill`] byte strings by their place,
//! [`Buckets`] all bytes under a number. Each holds a bounded part in memory; its file has no name, so that it vanishes
//! with the process. Knows no stage.

mod buckets;
mod places;
mod queue;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::StageError;
use crate::record::{Record, Value};

pub use buckets::Buckets;
pub use places::Spill;
pub use queue::SpillQueue;

/// Bytes in memory, about, from which [`SpillQueue`] and [`Spill`] turn to the disk.
const MEMORY: usize = 16 << 20;
/// Bytes that are written at once.
const BLOCK: usize = 256 << 10;

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

#[cfg(test)]
mod tests;
