//! Files of blocks, which segments and unit files have in common: blocks, then a footer with the length, count and digest
//! of each, then a trailer with the footer's length and digest. Knows nothing of what is in a block.
//!
//! The blocks follow one another without a gap and the footer's digest is the file's name, so every byte is verified.

use std::fs::File;
use std::io::{self, Write};

use crate::codec::{Reader, put_bytes, put_varint};
use crate::digest::Digest;

/// The footer's length (8 bytes), its digest (32), the mark of the kind of file (8).
const TRAILER_BYTES: u64 = 48;

/// What kind of file it is, and in which version of its format.
pub(super) type Mark = [u8; 8];

/// One block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// How many things are in it.
    pub(super) count: u32,
    pub(super) digest: Digest,
}

/// What a file says of itself.
#[derive(Debug)]
pub(super) struct Footer {
    /// The digest of the footer: the identity of the whole file.
    pub(super) digest: Digest,
    pub(super) blocks: Vec<BlockEntry>,
    /// What the kind of file adds.
    pub(super) extra: Vec<u8>,
    /// Bytes of the whole file.
    pub(super) size: u64,
}

/// Writes a file of blocks.
pub(super) struct BlockWriter<W> {
    pub(super) out: W,
    pub(super) blocks: Vec<BlockEntry>,
    offset: u64,
}

impl<W: Write> BlockWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, blocks: Vec::new(), offset: 0 }
    }

    /// Bytes written so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn block(&mut self, bytes: &[u8], count: u32) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let length = bytes.len() as u64;
        self.blocks.push(BlockEntry { offset: self.offset, length, count, digest: Digest::of(bytes) });
        self.offset += length;
        Ok(())
    }

    /// A writer into memory of what follows the blocks written so far.
    pub(super) fn behind(&self) -> BlockWriter<Vec<u8>> {
        BlockWriter { out: Vec::new(), blocks: self.blocks.clone(), offset: self.offset }
    }

    /// Writes footer and trailer.
    pub(super) fn finish(mut self, mark: Mark, extra: Vec<u8>) -> io::Result<(W, Footer)> {
        let mut bytes = mark.to_vec();
        put_varint(self.blocks.len() as u64, &mut bytes);
        for block in &self.blocks {
            put_varint(block.length, &mut bytes);
            put_varint(u64::from(block.count), &mut bytes);
            bytes.extend_from_slice(block.digest.bytes());
        }
        put_bytes(&extra, &mut bytes);
        let digest = Digest::of(&bytes);
        let size = self.offset + bytes.len() as u64 + TRAILER_BYTES;
        self.out.write_all(&bytes)?;
        self.out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.out.write_all(digest.bytes())?;
        self.out.write_all(&mark)?;
        Ok((self.out, Footer { digest, blocks: self.blocks, extra, size }))
    }
}

impl Footer {
    /// Reads and verifies the footer of a file. `None`: it is damaged, or a file of another kind.
    pub(super) fn read(file: &File, mark: Mark) -> io::Result<Option<Footer>> {
        let size = file.metadata()?.len();
        let Some(end) = size.checked_sub(TRAILER_BYTES) else { return Ok(None) };
        let Some(trailer) = read_exactly(file, end, TRAILER_BYTES)? else { return Ok(None) };
        let mut reader = Reader::new(&trailer);
        let length = reader.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        let (Some(length), Some(digest)) = (length, reader.digest()) else { return Ok(None) };
        let start = match end.checked_sub(length) {
            Some(start) if reader.rest() == mark => start,
            _ => return Ok(None),
        };
        let Some(bytes) = read_exactly(file, start, length)? else { return Ok(None) };
        if Digest::of(&bytes) != digest {
            return Ok(None);
        }
        Ok(parse(&bytes, mark, start).map(|(blocks, extra)| Footer { digest, blocks, extra, size }))
    }
}

/// The blocks and the extra part of a footer whose blocks end at `end`.
fn parse(bytes: &[u8], mark: Mark, end: u64) -> Option<(Vec<BlockEntry>, Vec<u8>)> {
    let mut reader = Reader::new(bytes);
    if reader.take(mark.len())? != mark {
        return None;
    }
    let count = reader.varint()?;
    let mut blocks = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len() / 34 + 1));
    let mut offset = 0u64;
    for _ in 0..count {
        let length = reader.varint()?;
        let count = u32::try_from(reader.varint()?).ok()?;
        blocks.push(BlockEntry { offset, length, count, digest: reader.digest()? });
        offset = offset.checked_add(length)?;
    }
    let extra = reader.bytes()?.to_vec();
    (offset == end && reader.rest().is_empty()).then_some((blocks, extra))
}

/// The verified bytes of a block. `None`: they are damaged.
pub(super) fn read_block(file: &File, block: &BlockEntry) -> io::Result<Option<Vec<u8>>> {
    Ok(read_exactly(file, block.offset, block.length)?.filter(|bytes| Digest::of(bytes) == block.digest))
}

/// Whether every block of a file is whole.
pub(super) fn blocks_are_whole(file: &File, footer: &Footer) -> io::Result<bool> {
    for block in &footer.blocks {
        if read_block(file, block)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `length` bytes from `offset` on; `None` if the file ends before.
fn read_exactly(file: &File, offset: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let mut bytes = vec![0; length];
    match read_at(file, offset, &mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Moves the file's position: whoever holds a file here is alone with it.
#[cfg(not(unix))]
pub(super) fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
