//! Byte strings that are read back one by one, by their place. Knows not what the bytes mean.

use std::path::Path;

use super::{BLOCK, Block, Blocks, MEMORY, damaged};
use crate::error::StageError;

/// Bytes that are read for one byte string before its length is known.
const GUESS: usize = 4 << 10;
/// The bytes of a length in front of a byte string.
const LENGTH: usize = 4;

/// Byte strings by their place: what does not fit into memory is on the disk.
pub struct Spill {
    blocks: Blocks,
    /// What follows the bytes on the disk.
    tail: Vec<u8>,
    /// What was read last.
    buffer: Vec<u8>,
    limit: usize,
}

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
