//! Folders that are there in full or not at all: filled beside their place, then renamed.

use std::fs::File;
use std::path::Path;

use ruminate_flow::target::{NewFolder, only_empty};

use crate::{Error, Result};

/// Lets `fill` write into a folder that becomes `folder` once all of it is on the disk. What keeps `folder` from being made is
/// found before. What a failure leaves is removed; what a process leaves that is killed, the next one removes.
///
/// # Errors
/// A folder that holds something already, a disk that cannot be written, and what `fill` gives.
pub(super) fn in_new_folder<T>(folder: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let failed = |error| Error::write(folder, error);
    let new = NewFolder::create(folder, only_empty).map_err(failed)?;
    let value = fill(&new.path())?;
    new.finish().map_err(failed)?;
    Ok(value)
}

/// Copies the bytes of a file, not its permissions, and waits until they are on the disk.
pub(super) fn copy(source: &Path, target: &Path) -> Result<()> {
    let mut from = File::open(source).map_err(|error| Error::read(source, error))?;
    let failed = |error| Error::write(target, error);
    let mut to = File::create(target).map_err(failed)?;
    std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed)
}
