//! Files for a plugin that is tried without a store: a temporary folder for the bytes of images, and the digests of files.

use std::path::Path;

use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::record::Blob;
use ruminate_flow::stage::Blobs;

/// A temporary folder for the bytes of images.
pub(super) struct Place<'a>(pub(super) &'a Path);

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
        let path = self.0.join(blob.digest.to_string());
        std::fs::read(&path).map_err(StageError::io("read", path))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> StageResult<Blob> {
        let blob = Blob::of(bytes, media_type);
        let path = self.0.join(blob.digest.to_string());
        if !path.exists() {
            std::fs::write(&path, bytes).map_err(StageError::io("write", path))?;
        }
        Ok(blob)
    }
}
