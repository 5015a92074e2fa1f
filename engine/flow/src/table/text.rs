//! Text files, compressed or not: what they are packed with, and their lines in large blocks. It knows no format.

use std::fs::File;
use std::io::{Chain, Cursor, Read};
use std::path::Path;

use crate::error::StageError;

/// A line longer than this is taken for a file of another format.
pub const LINE_BYTES: usize = 1 << 30;
/// The first block is small, so that a reader of a few rows is served at once; each is twice as large as the one before.
const FIRST_BLOCK_BYTES: usize = 16 << 10;
/// A block for rows whose images are read with them: images are large.
pub(super) const SMALL_BLOCK_BYTES: usize = 32 << 10;
/// A block for plain rows. Short rows take some fifty times as much memory as records.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// The first bytes of a file, which tell what it is.
pub(super) const MAGIC_BYTES: usize = 6;

/// A file's text, unpacked.
pub(super) type Text = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// Opens a file and unpacks it by what its first bytes say: gzip, Zstandard, bzip2, or plain. Also gives the first bytes
/// of the text.
pub(super) fn open(path: &Path) -> Result<(Text, Vec<u8>), StageError> {
    let mut file = File::open(path).map_err(StageError::io("read", path))?;
    let mut magic = first_bytes(path, &mut file)?;
    let plain = Cursor::new(magic.clone()).chain(file);
    let broken = |error| unpack_error(path, error);
    let mut text: Box<dyn Read + Send> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(plain)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::new(plain).map_err(broken)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(plain)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            return Err(refused(path, "is packed with xz", "pack it with gzip or zstd"));
        }
        [b'P', b'K', 3, 4, ..] => return Err(refused(path, "is a zip archive", "unpack it first")),
        _ => Box::new(plain),
    };
    magic = first_bytes(path, &mut text)?;
    match magic.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(refused(path, "is UTF-16 text", "save it as UTF-8")),
        _ => {}
    }
    Ok((Cursor::new(magic.clone()).chain(text), magic))
}

fn refused(path: &Path, what: &str, help: &str) -> StageError {
    StageError::failed(format!("cannot read `{}`: it {what}, which is not supported; {help}", path.display()))
}

fn first_bytes(path: &Path, reader: &mut dyn Read) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::with_capacity(MAGIC_BYTES);
    reader.take(MAGIC_BYTES as u64).read_to_end(&mut bytes).map_err(|error| unpack_error(path, error))?;
    Ok(bytes)
}

/// An error from a file that may be packed: one that is cut off says so.
pub(super) fn unpack_error(path: &Path, error: std::io::Error) -> StageError {
    use std::io::ErrorKind;
    let help = match error.kind() {
        ErrorKind::UnexpectedEof => "; the file seems to be cut off",
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "; the file seems to be damaged",
        _ => "",
    };
    StageError::failed(format!("cannot read `{}`: {error}{help}", path.display()))
}

/// Whole lines of a file.
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// The number of its first line, from 1.
    pub(super) line: u64,
}

/// A file in blocks of whole lines.
pub(super) struct Blocks<'a> {
    path: &'a Path,
    text: Text,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
    line: u64,
    size: usize,
    largest: usize,
    ended: bool,
}

impl<'a> Blocks<'a> {
    /// Blocks of up to about `largest` bytes, longer where a line is.
    pub(super) fn open(path: &'a Path, largest: usize) -> Result<Self, StageError> {
        let (text, _) = open(path)?;
        let size = FIRST_BLOCK_BYTES.min(largest);
        Ok(Self { path, text, rest: Vec::new(), line: 1, size, largest, ended: false })
    }

    /// The next block; `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>, StageError> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.reserve(self.size);
        let mut searched = 0;
        let end = loop {
            let wanted = self.size.max(bytes.len()) as u64;
            let read = self.text.by_ref().take(wanted).read_to_end(&mut bytes);
            if read.map_err(|error| self.error(&bytes, error))? == 0 {
                self.ended = true;
                break bytes.len();
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes[searched..]) {
                break searched + end + 1;
            }
            if bytes.len() > LINE_BYTES {
                return Err(StageError::failed(format!(
                    "{}:{}: the line is longer than {} MiB; expected one row on each line",
                    self.path.display(),
                    self.line,
                    LINE_BYTES >> 20
                )));
            }
            searched = bytes.len();
        };
        self.rest = bytes.split_off(end);
        let block = Block { line: self.line, bytes };
        self.line += memchr::memchr_iter(b'\n', &block.bytes).count() as u64;
        self.size = (self.size * 2).min(self.largest);
        Ok((!block.bytes.is_empty()).then_some(block))
    }

    fn error(&self, bytes: &[u8], error: std::io::Error) -> StageError {
        let line = self.line + memchr::memchr_iter(b'\n', bytes).count() as u64;
        match unpack_error(self.path, error) {
            StageError::Failed(message) => StageError::Failed(format!("{message} (at line {line})")),
            other => other,
        }
    }
}

impl Block {
    /// The lines that hold anything: number, the bytes cut off in front of it, and the line without space around it.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, usize, &[u8])> {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', &self.bytes).chain([self.bytes.len()]);
        ends.zip(self.line..).filter_map(move |(end, number)| {
            let line = self.bytes.get(start..end).unwrap_or_default();
            start = end + 1;
            let mut text = line.trim_ascii_start();
            if number == 1 {
                text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii_start();
            }
            let cut = line.len() - text.len();
            let text = text.trim_ascii_end();
            (!text.is_empty()).then_some((number, cut, text))
        })
    }
}
