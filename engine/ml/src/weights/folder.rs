//! Folders that are there in full or not at all: filled beside their place, then renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Lets `fill` write into a folder that becomes `folder` once all of it is on the disk. What a failure leaves is removed; a
/// process that is killed leaves a folder beside it whose name begins with `.partial-`.
///
/// # Errors
/// A folder that holds something already, a disk that cannot be written, and what `fill` gives.
pub(super) fn in_new_folder<T>(folder: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    check_target(folder)?;
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(|error| Error::write(&parent, error))?;
    let place = tempfile::Builder::new()
        .prefix(".partial-")
        .tempdir_in(&parent)
        .map_err(|error| Error::write(&parent, error))?;
    let new = place.path().join("new");
    fs::create_dir(&new).map_err(|error| Error::write(&new, error))?;
    let value = fill(&new)?;
    sync_folder(&new)?;
    // A rename replaces no folder on some systems, not even an empty one.
    if folder.exists() {
        fs::remove_dir(folder).map_err(|error| Error::write(folder, error))?;
    }
    fs::rename(&new, folder).map_err(|error| Error::write(folder, error))?;
    sync_folder(&parent)?;
    Ok(value)
}

/// Copies the bytes of a file, not its permissions, and waits until they are on the disk.
pub(super) fn copy(source: &Path, target: &Path) -> Result<()> {
    let mut from = File::open(source).map_err(|error| Error::read(source, error))?;
    let failed = |error| Error::write(target, error);
    let mut to = File::create(target).map_err(failed)?;
    std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed)
}

fn check_target(folder: &Path) -> Result<()> {
    let refused = |message: &str| {
        Err(Error::write(folder, std::io::Error::other(format!("{message}: name a folder that does not exist yet"))))
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => refused("the folder is not empty"),
            None => Ok(()),
        },
        Err(_) if folder.exists() => refused("it is no folder that can be listed"),
        Err(_) => Ok(()),
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::write(folder, error))
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<()> {
    Ok(())
}
