//! From byte offsets to lines and columns.

/// Bytes between two counts of characters.
const STEP: usize = 1 << 10;

/// Where the lines of a text begin: turns byte offsets into lines and columns.
pub struct Lines {
    starts: Vec<usize>,
    /// The characters before every [`STEP`]th byte: a column far out in a line of megabytes is found at once.
    characters: Vec<usize>,
}

impl Lines {
    /// Finds the lines of `source`.
    pub fn new(source: &str) -> Self {
        let after_newlines = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| index + 1);
        let mut before = 0;
        let characters = source.as_bytes().chunks(STEP).map(|chunk| {
            let characters = before;
            before += starts_in(chunk);
            characters
        });
        Self { characters: characters.collect(), starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line and column of a byte offset into the same `source`; both count from 1, columns in characters.
    pub fn locate(&self, source: &str, offset: usize) -> (usize, usize) {
        let offset = floor_boundary(source, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let characters = if offset - start <= STEP {
            starts_in(&source.as_bytes()[start..offset])
        } else {
            self.before(source, offset) - self.before(source, start)
        };
        (line, characters + 1)
    }

    /// The characters before `offset`, which is a character's boundary.
    fn before(&self, source: &str, offset: usize) -> usize {
        let step = (offset / STEP).min(self.characters.len().saturating_sub(1));
        let counted = self.characters.get(step).copied().unwrap_or(0);
        counted + starts_in(&source.as_bytes()[step * STEP..offset])
    }

    /// The text of line `line`, without its end.
    pub(super) fn text<'s>(&self, source: &'s str, line: usize) -> &'s str {
        let start = self.starts.get(line - 1).copied().unwrap_or(source.len());
        let end = self.starts.get(line).map_or(source.len(), |next| next - 1);
        source[start..end].trim_end_matches('\r')
    }
}

/// How many characters begin in these bytes.
fn starts_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

/// The nearest character boundary at or before `offset`.
pub(super) fn floor_boundary(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_however_long_the_line_is() {
        let source = format!("a\n{}b\r\né", "ü".repeat(3000));
        let lines = Lines::new(&source);
        for offset in (0..source.len() + 2).filter(|offset| source.is_char_boundary(*offset)) {
            let before = &source[..offset.min(source.len())];
            let start = before.rfind('\n').map_or(0, |end| end + 1);
            let wanted = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
            assert_eq!(lines.locate(&source, offset), wanted, "{offset}");
        }
        assert_eq!(Lines::new("").locate("", 3), (1, 1));
    }
}
