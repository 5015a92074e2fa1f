//! Bytes that are put away under numbers and read back number by number. Knows not what the bytes mean.

use std::path::Path;

use super::{Block, Blocks, MEMORY};
use crate::error::StageError;

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
            bucket.tail.clear();
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
