//! What is looked at to tell, without reading it, whether a file is still as it was when it was read.

use std::fs::Metadata;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// What changes when a file's bytes change, unless someone sets the time back. The time at which its name or rights last changed is not in
/// it: a file that is linked, or given to a group, need not be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The size.
    pub bytes: u64,
    /// The file's number in its file system; 0 where files have none.
    pub inode: u64,
    /// When its bytes were last written, in nanoseconds since 1970.
    pub modified_ns: u64,
}

impl Stamp {
    /// The stamp of the file that this was read of.
    pub fn of(metadata: &Metadata) -> Stamp {
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Stamp { bytes: metadata.len(), inode, modified_ns: modified.as_nanos() as u64 }
    }
}
