//! The folder of compiled components: who may write it, how files are replaced in it, and what goes when it is full. Does
//! not know what its files hold.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

/// What the names of an entry's files end with.
pub(super) const CODE: &str = "code";
pub(super) const RECORD: &str = "record";
pub(super) const LOCK: &str = "lock";

/// What the names of files that are being written begin with.
const NEW: &str = "new-";
/// Nobody writes a file for so long: its process was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A folder that none but this user can write.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`; one that is not there is made, for this user alone.
    ///
    /// # Errors
    /// A folder that cannot be made, belongs to someone else or can be written by others.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let shown = path.display();
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&path)
            .map_err(|error| format!("the folder `{shown}` for compiled plugins cannot be made: {error}"))?;
        let metadata = fs::metadata(&path).map_err(|error| format!("cannot read the folder `{shown}`: {error}"))?;
        match stranger(&metadata) {
            None => Ok(Self { path }),
            Some(who) => Err(format!(
                "the folder `{shown}` for compiled plugins {who}, who could put code there for you to run: it is not used \
                 (make it yours with mode 0700, or name another folder in `{}`)",
                super::CACHE_VARIABLE
            )),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of the entry `name`.
    pub(super) fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{name}.{extension}"))
    }

    /// A file made just now: its times are what the file system's clock says.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn clock(&self) -> io::Result<Metadata> {
        tempfile::Builder::new().prefix(NEW).tempfile_in(&self.path)?.as_file().metadata()
    }

    /// Writes a file anew and puts it at `path` in one step, so that no reader sees a part of it.
    ///
    /// # Errors
    /// The disk's; then `path` is as it was.
    pub(super) fn replace(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let mut new = tempfile::Builder::new().prefix(NEW).tempfile_in(&self.path)?;
        write(new.as_file_mut())?;
        new.as_file().sync_all()?;
        match new.persist(path) {
            Ok(_) => Ok(()),
            // Something that is no file is in the way.
            Err(error) if path.is_dir() => {
                fs::remove_dir_all(path)?;
                NamedTempFile::persist(error.file, path).map(drop).map_err(|error| error.error)
            }
            Err(error) => Err(error.error),
        }
    }

    /// Removes the entries that were not used for longest until the rest has at most `bytes_max` bytes, but never the one
    /// called `keep`; and files whose writers died. A process that has an entry mapped keeps its own view of it.
    pub(super) fn shrink(&self, bytes_max: u64, keep: &str) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        let mut entries = Vec::new();
        for file in files.flatten() {
            let Ok(metadata) = file.metadata() else { continue };
            let path = file.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(CODE) => {
                    let record = fs::metadata(path.with_extension(RECORD));
                    let used = record.unwrap_or_else(|_| metadata.clone()).modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    entries.push((used, metadata.len(), path));
                }
                _ if file.file_name().to_string_lossy().starts_with(NEW) && abandoned(&metadata) => {
                    let _ = fs::remove_file(path);
                }
                _ => {}
            }
        }
        entries.sort();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, code) in entries {
            if bytes <= bytes_max {
                break;
            }
            if code.file_stem().is_some_and(|name| name == keep) {
                continue;
            }
            // The code first: a record or a lock alone is nothing.
            if fs::remove_file(&code).is_ok() {
                bytes -= size;
            }
            let _ = fs::remove_file(code.with_extension(RECORD));
            let _ = fs::remove_file(code.with_extension(LOCK));
        }
    }
}

/// Opens a file to read it; anything else, such as a pipe that would never end, is refused.
///
/// # Errors
/// No file, or the disk's.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.is_file() { File::open(path) } else { Err(ErrorKind::InvalidInput.into()) }
}

fn abandoned(metadata: &Metadata) -> bool {
    metadata.modified().is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > ABANDONED))
}

/// Who else can write the folder.
#[cfg(unix)]
fn stranger(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // The owner of a new file is the user as whom this process writes.
    let me = tempfile::tempfile().and_then(|file| file.metadata()).map(|metadata| metadata.uid());
    match me {
        Err(error) => {
            Some(format!("may belong to someone else (no file can be made to compare its owner with: {error})"))
        }
        Ok(me) if me != metadata.uid() => Some(format!("belongs to the user {}", metadata.uid())),
        Ok(_) if metadata.mode() & 0o022 != 0 => {
            Some(format!("can be written by others (mode {:04o})", metadata.mode() & 0o7777))
        }
        Ok(_) => None,
    }
}

/// Elsewhere the user's cache folder is the user's alone.
#[cfg(not(unix))]
fn stranger(_metadata: &Metadata) -> Option<String> {
    None
}
