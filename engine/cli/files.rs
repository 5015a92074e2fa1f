//! Files and folders that are there in full or not at all: written beside their place, then moved.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Writes `bytes` to `path`.
///
/// # Errors
/// A disk that cannot be written.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let parent = make_parent(path)?;
    let place = tempfile::Builder::new().prefix(".export-").tempdir_in(&parent).map_err(cannot_write(&parent))?;
    let file = place.path().join("new");
    fs::write(&file, bytes).map_err(cannot_write(path))?;
    fs::rename(&file, path).map_err(cannot_write(path))
}

/// Copies `files` (name -> where the bytes are) into a folder beside `path`, and moves it there at the end, in place of what
/// was there. Gives the bytes written.
///
/// # Errors
/// A file that cannot be read; a disk that cannot be written.
pub(crate) fn write_folder(path: &Path, files: &BTreeMap<String, PathBuf>) -> Result<u64, Failure> {
    let parent = make_parent(path)?;
    let place = tempfile::Builder::new().prefix(".export-").tempdir_in(&parent).map_err(cannot_write(&parent))?;
    let folder = place.path().join("new");
    let mut total = 0;
    fs::create_dir(&folder).map_err(cannot_write(&folder))?;
    for (name, source) in files {
        let target = folder.join(name);
        if let Some(inner) = target.parent() {
            fs::create_dir_all(inner).map_err(cannot_write(inner))?;
        }
        total += copy(source, &target)?;
    }
    // An old folder steps aside first, because a rename replaces only an empty one; it goes with the temporary folder.
    let old = place.path().join("old");
    if path.exists() {
        fs::rename(path, &old).map_err(cannot_write(path))?;
    }
    if let Err(error) = fs::rename(&folder, path) {
        let back = if old.exists() { fs::rename(&old, path) } else { Ok(()) };
        return Err(cannot_write(path)(back.err().unwrap_or(error)));
    }
    Ok(total)
}

/// Copies bytes, not permissions: files of the store may be read-only.
fn copy(source: &Path, target: &Path) -> Result<u64, Failure> {
    let mut from = fs::File::open(source)
        .map_err(|error| Failure::Failed(format!("cannot read `{}`: {error}", source.display())))?;
    let mut to = fs::File::create(target).map_err(cannot_write(target))?;
    let size = io::copy(&mut from, &mut to).map_err(cannot_write(target))?;
    to.sync_all().map_err(cannot_write(target))?;
    Ok(size)
}

/// The folder in which `path` lies, made if it is not there.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_parent(path: &Path) -> Result<PathBuf, Failure> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(cannot_write(&parent))?;
    Ok(parent)
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::Failed(format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_replaced_whole_and_leave_nothing_beside() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let source = place.path().join("source");
        fs::write(&source, "weights").expect("the folder is writable");
        let target = place.path().join("out/model");
        fs::create_dir_all(&target).expect("the folder is writable");
        fs::write(target.join("old"), "").expect("the folder is writable");
        let files = BTreeMap::from([("model.safetensors".to_owned(), source)]);
        assert_eq!(write_folder(&target, &files).ok(), Some(7));
        let names = |folder: &Path| -> Vec<_> {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
        };
        assert_eq!(names(&target), ["model.safetensors"]);
        assert_eq!(names(&place.path().join("out")), ["model"]);
    }

    #[test]
    fn files_are_replaced_in_folders_made_for_them() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let target = place.path().join("new/a.safetensors");
        assert!(write_file(&target, b"one").is_ok());
        assert!(write_file(&target, b"two").is_ok());
        assert_eq!(fs::read_to_string(&target).ok().as_deref(), Some("two"));
        assert!(write_file(&target.join("below-a-file"), b"").is_err());
    }
}
