//! Blobs: small ones in packs ([`super::packs`]), large ones and models' files in files of their own. Knows nothing of what
//! is in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::StageError;
use crate::record::Blob;
use crate::stage::{Blobs, FileContent};

use super::{Store, failed_write};

/// Below this many bytes a blob goes into a pack.
pub(super) const PACKED_BELOW: usize = 256 << 10;

impl Blobs for Store {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        if let Some(bytes) = self.packed(&blob.digest)? {
            return Ok(bytes);
        }
        if let Some(bytes) = self.own_bytes(&blob.digest)? {
            return Ok(bytes);
        }
        self.count_loss();
        Err(StageError::failed(format!(
            "blob `{}` ({}, {} bytes) is missing or damaged in the store `{}`; run the graph again to make it anew",
            blob.digest,
            blob.media_type,
            blob.bytes,
            self.root.display()
        )))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        let blob = Blob::of(bytes, media_type);
        if bytes.len() < PACKED_BELOW {
            self.pack(blob.digest, bytes)?;
        } else {
            self.put_own_file(bytes, &blob.digest)?;
        }
        Ok(blob)
    }
}

impl Store {
    /// Whether the store has `blob`, without reading its bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn holds(&self, blob: &Blob) -> Result<bool, StageError> {
        let own_file = || fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|file| file.len() == blob.bytes);
        if blob.bytes >= PACKED_BELOW as u64 && own_file() {
            return Ok(true);
        }
        Ok(self.pack_of(&blob.digest)?.is_some() || own_file())
    }

    /// The files, as paths from the root on, in which these blobs lie, for [`Store::verified`]. A blob that is not there is
    /// where it would lie in a file of its own.
    ///
    /// # Errors
    /// The disk's.
    pub fn blob_files<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) -> Result<Vec<String>, StageError> {
        self.flush_blobs()?;
        let mut files = BTreeSet::new();
        for digest in digests {
            let pack = self.pack_of(digest)?.flatten().and_then(|pack| self.relative(&pack));
            files.insert(pack.unwrap_or_else(|| Store::blob_file(digest)));
        }
        Ok(files.into_iter().collect())
    }

    /// Stores a model's file in a file of its own and gives the digest of its bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_file(&self, content: &FileContent) -> Result<Digest, StageError> {
        match content {
            FileContent::Bytes(bytes) => {
                let digest = Digest::of(bytes);
                self.put_own_file(bytes, &digest)?;
                Ok(digest)
            }
            FileContent::Copy(source) => {
                let digest = self.file_digest(source)?;
                let path = self.blob_path(&digest);
                if *source != path && !self.verified(&Store::blob_file(&digest))? {
                    self.copy_in(source, &path, &digest)?;
                }
                Ok(digest)
            }
            FileContent::Move(source) => {
                let unreadable = || StageError::io("read", source);
                let mut file = File::open(source).map_err(unreadable())?;
                let digest = Digest::of_reader(&mut file).map_err(unreadable())?;
                if self.verified(&Store::blob_file(&digest))? {
                    fs::remove_file(source).map_err(failed_write(source))?;
                } else {
                    self.adopt(source, &file, &self.blob_path(&digest))?;
                }
                Ok(digest)
            }
        }
    }

    /// Where the bytes of a model's file lie; `None` if they are missing or damaged. Verified once for each state of the file.
    ///
    /// # Errors
    /// The disk's.
    pub fn file(&self, digest: &Digest) -> Result<Option<PathBuf>, StageError> {
        let path = self.blob_path(digest);
        if self.verified(&Store::blob_file(digest))? {
            return Ok(Some(path));
        }
        // An action refers to it.
        if !path.exists() {
            self.note_missing(&path, "blob");
        }
        Ok(None)
    }

    /// Where a blob with a file of its own lies, from the root on.
    pub(super) fn blob_file(digest: &Digest) -> String {
        Store::relative_place("blobs", digest, "")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(Store::blob_file(digest))
    }

    /// The verified bytes of a blob with a file of its own; `None` if they are missing or damaged.
    fn own_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StageError> {
        let path = self.blob_path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.note_if_lost(&path);
                return Ok(None);
            }
            Err(error) => return Err(StageError::io("read", path)(error)),
        };
        if Digest::of(&bytes) != *digest {
            self.set_aside(&path, "blob");
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    fn put_own_file(&self, bytes: &[u8], digest: &Digest) -> Result<(), StageError> {
        if self.verified(&Store::blob_file(digest))? {
            return Ok(());
        }
        self.write_atomic(&self.blob_path(digest), |file| file.write_all(bytes))
    }

    fn copy_in(&self, source: &Path, path: &Path, digest: &Digest) -> Result<(), StageError> {
        let mut temporary = self.temporary(path)?;
        let mut reader = File::open(source).map_err(StageError::io("read", source))?;
        std::io::copy(&mut reader, temporary.as_file_mut()).map_err(failed_write(path))?;
        let mut written = temporary.reopen().map_err(StageError::io("read", path))?;
        let copied = Digest::of_reader(&mut written).map_err(StageError::io("read", path))?;
        if copied != *digest {
            return Err(StageError::failed(format!(
                "`{}` changed while it was copied into the store",
                source.display()
            )));
        }
        self.persist(temporary, path)
    }
}
