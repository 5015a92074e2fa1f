//! What the stage of a plugin may use when it is tried: a temporary folder for the bytes of images, and a way to say
//! something. There is no store.

use std::collections::BTreeMap;
use std::path::Path;

use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::record::Blob;
use ruminate_flow::stage::{Blobs, Checkpoint, Progress};

/// What the stage may use: a temporary folder for the bytes of images, and a way to say something.
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) note: &'a (dyn Fn(&str) + Sync),
}

type StageResult<T> = Result<T, StageError>;

/// The digest of a file's bytes.
///
/// # Errors
/// It cannot be read.
pub(super) fn digest_file(path: &Path) -> StageResult<Digest> {
    let file = std::fs::File::open(path).map_err(StageError::io("read", path))?;
    Digest::of_reader(file).map_err(StageError::io("read", path))
}

impl Blobs for Place<'_> {
    fn get(&self, blob: &Blob) -> StageResult<Vec<u8>> {
        let path = self.folder.join(blob.digest.to_string());
        std::fs::read(&path).map_err(StageError::io("read", path))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> StageResult<Blob> {
        let digest = Digest::of(bytes);
        let path = self.folder.join(digest.to_string());
        if !path.exists() {
            std::fs::write(&path, bytes).map_err(StageError::io("write", path))?;
        }
        Ok(Blob { digest, bytes: bytes.len() as u64, media_type: media_type.into() })
    }
}

impl Checkpoint for Place<'_> {
    fn load(&self) -> StageResult<Option<BTreeMap<String, Vec<u8>>>> {
        Ok(None)
    }

    fn save(&self, _parts: &BTreeMap<String, Vec<u8>>) -> StageResult<()> {
        Ok(())
    }
}

impl Progress for Place<'_> {
    fn report(&self, _done: u64, _total: Option<u64>, _unit: &'static str, _message: &str) {}

    fn note(&self, message: &str) {
        (self.note)(message);
    }
}
