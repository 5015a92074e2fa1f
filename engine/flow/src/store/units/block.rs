//! A block of unit results. Knows how results are laid out in bytes; nothing of files.
//!
//! | part | bytes |
//! |---|---|
//! | number of entries; reasons of drops, each once | varint; varint, texts |
//! | contents, side by side | 32 an entry |
//! | seconds, side by side | 4 an entry |
//! | forms, side by side ([`PLAIN`], [`DROPPED`], [`FULL`]; the highest bit: failed) | 1 an entry |
//! | what a form needs: nothing, the number of a reason, an encoded outcome | as needed |

use std::sync::Arc;

use crate::codec::{Reader, put_bytes, put_outcome, put_varint};
use crate::digest::Digest;
use crate::stage::{Dropped, Row};

use super::StoredUnit;

/// A block ends with this many entries, or with the one that makes it this many bytes: a single look-up reads a whole one.
pub(super) const BLOCK_ENTRIES: usize = 256;
const BLOCK_BYTES: usize = 64 << 10;

/// One record goes on as it came.
const PLAIN: u8 = 0;
/// One record is dropped.
const DROPPED: u8 = 1;
/// Anything else.
const FULL: u8 = 2;
const FAILED: u8 = 0x80;
/// Bytes of an entry beside what its form needs.
const FIXED_BYTES: usize = 37;

/// Collects the entries of a block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    contents: Vec<u8>,
    seconds: Vec<u8>,
    forms: Vec<u8>,
    payload: Vec<u8>,
    reasons: Vec<Arc<str>>,
    scratch: Vec<u8>,
}

impl BlockBuilder {
    pub(super) fn len(&self) -> usize {
        self.forms.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= BLOCK_ENTRIES || self.payload.len() >= BLOCK_BYTES
    }

    pub(super) fn push(&mut self, unit: &StoredUnit) {
        self.contents.extend_from_slice(unit.content.bytes());
        self.seconds.extend_from_slice(&(unit.seconds as f32).to_le_bytes());
        let form = match (unit.rows.as_slice(), unit.drops.as_slice()) {
            ([Row { source: 0, child: None, fields }], []) if fields.is_empty() => PLAIN,
            ([], [Dropped { source: 0, reason }]) => {
                self.reason(reason);
                DROPPED
            }
            (rows, drops) => {
                self.scratch.clear();
                put_outcome(rows, drops, &mut self.scratch);
                put_bytes(&self.scratch, &mut self.payload);
                FULL
            }
        };
        self.forms.push(form | if unit.failed { FAILED } else { 0 });
    }

    /// Adds an entry of another block.
    pub(super) fn push_from(&mut self, block: &Block, at: usize) {
        self.contents.extend_from_slice(block.content(at));
        self.seconds.extend_from_slice(&block.seconds(at).to_le_bytes());
        let form = block.form(at);
        match form & !FAILED {
            DROPPED => {
                let reason = block.reason(at).unwrap_or_else(|| Arc::from(""));
                self.reason(&reason);
            }
            FULL => put_bytes(block.outcome(at).unwrap_or_default(), &mut self.payload),
            _ => {}
        }
        self.forms.push(form);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        put_varint(self.reasons.len() as u64, out);
        for reason in &self.reasons {
            put_bytes(reason.as_bytes(), out);
        }
        for part in [&self.contents, &self.seconds, &self.forms, &self.payload] {
            out.extend_from_slice(part);
        }
    }

    pub(super) fn clear(&mut self) {
        for part in [&mut self.contents, &mut self.seconds, &mut self.forms, &mut self.payload] {
            part.clear();
        }
        self.reasons.clear();
    }

    fn reason(&mut self, reason: &str) {
        let known = self.reasons.iter().position(|known| **known == *reason);
        let number = known.unwrap_or_else(|| {
            self.reasons.push(reason.into());
            self.reasons.len() - 1
        });
        put_varint(number as u64, &mut self.payload);
    }
}

/// A block that was read and verified.
pub(super) struct Block {
    bytes: Vec<u8>,
    len: usize,
    /// Where the contents begin in `bytes`.
    start: usize,
    /// Where each entry's payload begins; empty if none has any.
    payloads: Vec<u32>,
    reasons: Vec<Arc<str>>,
}

impl Block {
    /// `None`: the bytes are no block.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Block> {
        let mut reader = Reader::new(&bytes);
        let len = usize::try_from(reader.varint()?).ok()?;
        let mut reasons = Vec::new();
        for _ in 0..reader.varint()? {
            reasons.push(reader.text()?.into());
        }
        let start = bytes.len() - reader.rest().len();
        reader.take(len.checked_mul(FIXED_BYTES - 1)?)?;
        let forms = reader.take(len)?;
        let mut payloads = Vec::new();
        if !reader.rest().is_empty() {
            payloads.reserve_exact(len);
            for form in forms {
                payloads.push(u32::try_from(bytes.len() - reader.rest().len()).ok()?);
                match form & !FAILED {
                    PLAIN => {}
                    DROPPED => _ = reader.varint().filter(|number| (*number as usize) < reasons.len())?,
                    FULL => _ = reader.bytes()?,
                    _ => return None,
                }
            }
        }
        reader.rest().is_empty().then_some(())?;
        (!payloads.is_empty() || forms.iter().all(|form| form & !FAILED == PLAIN)).then_some(())?;
        Some(Block { len, start, payloads, reasons, bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.payloads.len() * 4 + 128
    }

    pub(super) fn content(&self, at: usize) -> &[u8] {
        &self.bytes[self.start + 32 * at..][..32]
    }

    pub(super) fn failed(&self, at: usize) -> bool {
        self.form(at) & FAILED != 0
    }

    pub(super) fn seconds(&self, at: usize) -> f32 {
        let start = self.start + 32 * self.len + 4 * at;
        self.bytes[start..start + 4].try_into().map_or(0.0, f32::from_le_bytes)
    }

    /// The whole entry. `names` are those of fields, kept from one entry to the next. `None`: its outcome is not encoded as
    /// this version encodes it.
    pub(super) fn unit(&self, at: usize, names: &mut Vec<Arc<str>>) -> Option<StoredUnit> {
        let (rows, drops) = match self.form(at) & !FAILED {
            PLAIN => (vec![Row { source: 0, child: None, fields: Default::default() }], Vec::new()),
            DROPPED => (Vec::new(), vec![Dropped { source: 0, reason: self.reason(at)?.to_string() }]),
            _ => {
                let mut reader = Reader::with_names(self.outcome(at)?, std::mem::take(names));
                let outcome = reader.outcome();
                *names = reader.into_names();
                outcome?
            }
        };
        let content = Digest::from_bytes(self.content(at).try_into().ok()?);
        Some(StoredUnit { content, rows, drops, seconds: self.seconds(at).into(), failed: self.failed(at) })
    }

    fn form(&self, at: usize) -> u8 {
        self.bytes[self.start + (FIXED_BYTES - 1) * self.len + at]
    }

    fn payload(&self, at: usize) -> Option<Reader<'_>> {
        Some(Reader::new(self.bytes.get(*self.payloads.get(at)? as usize..)?))
    }

    fn reason(&self, at: usize) -> Option<Arc<str>> {
        self.reasons.get(self.payload(at)?.varint()? as usize).cloned()
    }

    fn outcome(&self, at: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(*self.payloads.get(at)? as usize..)?;
        Reader::new(bytes).bytes()
    }
}
