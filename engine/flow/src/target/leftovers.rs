//! What killed processes left while they wrote: found by its name, told by the lock that nobody holds any more.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What the names of files and folders that are being written have behind the target's.
const MARK: &str = ".ruminate-partial-";
/// Bytes of the target's name that are shown in it: file systems bound names.
const SHOWN_BYTES: usize = 150;

/// In a folder's place: the file that is locked.
pub(super) const LOCK: &str = "lock";
/// In a folder's place: the folder that is filled.
pub(super) const NEW: &str = "new";
/// In a folder's place: what the new one replaces.
pub(super) const OLD: &str = "old";

/// How names of what is being written for `target` begin.
pub(super) fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}{MARK}", &name[..name.floor_char_boundary(SHOWN_BYTES)])
}

/// Locks what is being written. A file system without locks: then nobody takes anything for a leftover either.
pub(super) fn lock(file: &File) {
    let _ = file.lock();
}

/// Whether `path` still names the open `file`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (open, named) = (file.metadata().map(place), fs::metadata(path).map(place));
        open.is_ok_and(|open| named.is_ok_and(|named| open == named))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes from `folder` what was being written there by processes that are gone, and says so.
pub(super) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str()
            && name.starts_with('.')
            && name.contains(MARK)
        {
            clear_one(folder, &entry.path());
        }
    }
}

fn clear_one(folder: &Path, path: &Path) {
    let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else { return };
    let is_folder = kind.is_dir();
    if !is_folder && !kind.is_file() {
        return;
    }
    let locked = if is_folder { path.join(LOCK) } else { path.to_owned() };
    let Ok(file) = File::open(&locked) else { return };
    if file.try_lock().is_err() || !is_at(&file, &locked) {
        return;
    }
    if is_folder && put_back(folder, path) {
        return;
    }
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Ok(()) => tracing::warn!("removed `{}`, which a run that was stopped had left half written", path.display()),
        Err(error) => {
            tracing::warn!("cannot remove `{}`, which a run that was stopped had left: {error}", path.display());
        }
    }
}

/// Where a run was stopped between the two renames that replace a folder, the old one gets its name again. Says whether
/// something of worth is left at `path`.
fn put_back(folder: &Path, path: &Path) -> bool {
    let old = path.join(OLD);
    if !old.exists() {
        return false;
    }
    let Some(target) = target_of(folder, path) else { return true };
    if target.exists() {
        return false;
    }
    match fs::rename(&old, &target) {
        Ok(()) => {
            tracing::warn!("put `{}` back, which a run that was stopped was replacing", target.display());
            false
        }
        Err(_) => true,
    }
}

/// What was being replaced; `None` if the name does not tell all of it.
fn target_of(folder: &Path, path: &Path) -> Option<PathBuf> {
    let (shown, _) = path.file_name()?.to_str()?.strip_prefix('.')?.rsplit_once(MARK)?;
    (shown.len() < SHOWN_BYTES - 3 && !shown.contains(char::REPLACEMENT_CHARACTER)).then(|| folder.join(shown))
}
