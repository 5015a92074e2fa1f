//! Whether the store's files are there and whole, and what happens with those that are not. Each kind of file says how it
//! is checked; nothing here knows what the bytes are for.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::digest::Digest;
use crate::error::StageError;

use super::blocks::{Footer, Mark, blocks_are_whole};
use super::{Store, lock, packs, segments, stamps, units, unseal};

impl Store {
    /// Whether the file at this path from the root on is there and whole: known from its size, inode and modification time if
    /// it was written or verified in that state, else read and checked. A damaged one is set aside and noted; one that is
    /// missing although it was there is noted.
    ///
    /// # Errors
    /// The disk's.
    pub fn verified(&self, relative: &str) -> Result<bool, StageError> {
        let inside = Path::new(relative).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if inside && self.is_remembered(relative) {
            return Ok(true);
        }
        let path = self.root.join(relative);
        if !inside || path.is_dir() {
            return Ok(false);
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.note_if_lost(&path);
                return Ok(false);
            }
            Err(error) => return Err(StageError::io("read", path)(error)),
        };
        let whole = is_whole(relative, &file).map_err(StageError::io("read", &path))?;
        if whole {
            self.remember(&path, &file);
        } else {
            self.put_aside(relative);
        }
        Ok(whole)
    }

    /// Sets a damaged file aside; of results what is whole is saved.
    pub(super) fn put_aside(&self, relative: &str) {
        let path = self.root.join(relative);
        if relative.starts_with("units/") && relative.ends_with(".units") {
            units::salvage(self, &path);
        }
        self.set_aside(&path, what_is(relative));
    }

    /// Notes that `path` is damaged and moves it out of the way, so that it is made anew.
    pub(super) fn set_aside(&self, path: &Path, what: &str) {
        self.move_aside(path, what);
        self.forget(path);
    }

    /// As [`Store::set_aside`], for the list of what is known of files itself.
    pub(super) fn move_aside(&self, path: &Path, what: &str) {
        self.note(path, format!("{what} `{}` is damaged: it is set aside and made anew", path.display()));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".damaged");
        // A store that cannot be written keeps the entry; it stays a miss all the same.
        let _ = fs::rename(path, path.with_file_name(name));
    }

    /// Notes that `path`, to which something refers, is not there.
    pub(super) fn note_missing(&self, path: &Path, what: &str) {
        self.note(path, format!("{what} `{}` is missing: it is made anew", path.display()));
        self.forget(path);
    }

    /// Notes that `path` is not there, if it was there and nobody removed it with intent.
    pub(super) fn note_if_lost(&self, path: &Path) {
        if self.forget(path) {
            let relative = self.relative(path).unwrap_or_default();
            self.note_missing(path, what_is(&relative));
        }
    }

    /// Notes the store's files in `folder` that were whole once and are not there any more.
    pub(super) fn note_lost_in(&self, folder: &str) {
        for relative in self.remembered_below(folder) {
            let path = self.root.join(&relative);
            if !path.exists() {
                self.note_if_lost(&path);
            }
        }
    }

    /// One note for each file until it is written anew.
    fn note(&self, path: &Path, note: String) {
        let mut notes = lock(&self.notes);
        if notes.noted.insert(path.to_owned()) {
            notes.new.push(note);
        }
    }
}

/// What the file at this path from the root on is called in a note.
pub(super) fn what_is(relative: &str) -> &'static str {
    let folder = relative.split('/').next().unwrap_or_default();
    match folder {
        "packs" => "pack",
        "blobs" => "blob",
        "segments" => "segment",
        "actions" => "action",
        "units" => "unit segment",
        "checkpoints" => "checkpoint",
        "graphs" => "list of last keys",
        stamps::FILE => "list of verified files",
        _ => "file",
    }
}

/// Reads a file and says whether it is what its name says. A file of no known kind is.
pub(super) fn is_whole(relative: &str, file: &File) -> io::Result<bool> {
    let (folder, name) = relative.split_once('/').unwrap_or(("", relative));
    let name = name.rsplit('/').next().unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match (folder, extension) {
        (_, "json") => Ok(unseal(&read_all(file)?).is_some()),
        ("segments", "segment") => blocks_named(file, segments::MARK, stem),
        ("units", "units") => blocks_named(file, units::MARK, stem.rsplit('-').next().unwrap_or_default()),
        ("packs", "pack") => packs::is_whole(file, stem),
        ("blobs" | "checkpoints", "") => Ok(Digest::of_reader(file)?.to_string() == name),
        ("", "") if name == stamps::FILE => Ok(Store::stamps_are_whole(&read_all(file)?)),
        _ => Ok(true),
    }
}

fn blocks_named(file: &File, mark: Mark, name: &str) -> io::Result<bool> {
    match Footer::read(file, mark)? {
        Some(footer) if footer.digest.to_string() == name => blocks_are_whole(file, &footer),
        _ => Ok(false),
    }
}

fn read_all(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(bytes)
}
