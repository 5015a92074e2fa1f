//! Files and folders outside the store that are there in full or not at all: written beside their place, then moved into it.
//! Links are followed. It knows nothing of what is written.
//!
//! What is being written is called after its target (`.NAME.ruminate-partial-XXXXXX`) and locked. A process that is killed
//! leaves it without the lock; whoever writes next in the same folder removes it.

mod leftovers;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use self::leftovers::{LOCK, NEW, OLD, clear, is_at, lock, prefix};

/// As many links may lead on to each other, as in Linux.
const LINKS_MAX: usize = 40;

/// A file that is being written.
pub struct NewFile {
    target: PathBuf,
    written: Written,
}

enum Written {
    /// Beside the target.
    Beside(NamedTempFile),
    /// Straight into a pipe or a device: there is nothing that could be replaced.
    Into(File),
}

impl NewFile {
    /// Begins to write `path`, or what it links to. What is no regular file (a pipe, a device, standard output) is written as
    /// the bytes come.
    ///
    /// # Errors
    /// A folder, a link that leads nowhere, the disk's.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(stream) = standard_stream(path) {
            return Ok(Self { target: path.to_owned(), written: Written::Into(stream?) });
        }
        let there = existing(path)?;
        if let Some(there) = &there
            && !there.is_file()
        {
            if there.is_dir() {
                return Err(io::Error::other("it is a folder: name a file"));
            }
            let into = File::options().write(true).open(path)?;
            return Ok(Self { target: path.to_owned(), written: Written::Into(into) });
        }
        let target = follow(path)?;
        let folder = folder_of(&target);
        clear(folder);
        let prefix = prefix(&target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = loop {
            let file = builder.tempfile_in(folder)?;
            lock(file.as_file());
            // Another process may have taken it for a leftover before it was locked.
            if is_at(file.as_file(), file.path()) {
                break file;
            }
        };
        if let Some(there) = there {
            file.as_file().set_permissions(there.permissions())?;
        }
        Ok(Self { target, written: Written::Beside(file) })
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        match &self.written {
            Written::Beside(file) => file.as_file(),
            Written::Into(file) => file,
        }
    }

    /// Gives the file its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> io::Result<()> {
        let Written::Beside(file) = self.written else { return Ok(()) };
        file.as_file().sync_all()?;
        file.persist(&self.target).map_err(|error| error.error)?;
        sync(folder_of(&self.target));
        Ok(())
    }
}

/// Says whether a folder that is there may be replaced.
pub type MayReplace = fn(&Path) -> io::Result<()>;

/// Lets only an empty folder be replaced.
///
/// # Errors
/// The folder holds something.
pub fn only_empty(folder: &Path) -> io::Result<()> {
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("the folder is not empty: name a folder that does not exist yet")),
    }
}

/// A folder that is being written.
pub struct NewFolder {
    target: PathBuf,
    may_replace: MayReplace,
    place: TempDir,
    /// Held until the place is gone.
    _lock: File,
}

impl NewFolder {
    /// Begins to write `path`, or what it links to. Whatever would keep it from getting its name in the end is found now: one
    /// that is there must be a folder that `may_replace` agrees to.
    ///
    /// # Errors
    /// Something is there that cannot be replaced; the disk's.
    pub fn create(path: &Path, may_replace: MayReplace) -> io::Result<Self> {
        let target = match existing(path)? {
            Some(there) if !there.is_dir() => return Err(io::Error::other("it is a file: name a folder")),
            // A name for `.` and `..`, too.
            Some(_) => fs::canonicalize(path)?,
            None => follow(path)?,
        };
        if target.file_name().is_none() {
            return Err(io::Error::other("it cannot be replaced: name a folder that does not exist yet"));
        }
        if target.is_dir() {
            replaceable(&target)?;
            may_replace(&target)?;
        }
        let folder = folder_of(&target);
        fs::create_dir_all(folder)?;
        clear(folder);
        let prefix = prefix(&target);
        loop {
            let place = tempfile::Builder::new().prefix(&prefix).tempdir_in(folder)?;
            let path = place.path().join(LOCK);
            let file = File::create_new(&path)?;
            lock(&file);
            if is_at(&file, &path) {
                fs::create_dir(place.path().join(NEW))?;
                return Ok(Self { target, may_replace, place, _lock: file });
            }
        }
    }

    /// The folder to fill.
    pub fn path(&self) -> PathBuf {
        self.place.path().join(NEW)
    }

    /// Gives the folder its name. What had it goes only once the new one is in its place.
    ///
    /// # Errors
    /// As [`NewFolder::create`]; the old folder is where it was then.
    pub fn finish(self) -> io::Result<()> {
        sync(&self.path());
        let old = self.place.path().join(OLD);
        let replaces = self.target.exists();
        if replaces {
            (self.may_replace)(&self.target)?;
            // A rename replaces only an empty folder, and on some systems none.
            fs::rename(&self.target, &old)?;
        }
        if let Err(error) = fs::rename(self.path(), &self.target) {
            if replaces && fs::rename(&old, &self.target).is_err() {
                let place = self.place.keep().join(OLD);
                return Err(io::Error::other(format!("{error}; what was there lies in `{}`", place.display())));
            }
            return Err(error);
        }
        sync(folder_of(&self.target));
        Ok(())
    }
}

/// A folder that can be moved aside.
fn replaceable(folder: &Path) -> io::Result<()> {
    let here = std::env::current_dir().and_then(fs::canonicalize);
    if here.is_ok_and(|here| here.starts_with(folder)) {
        return Err(io::Error::other("the program runs in it, so it cannot be replaced: name another folder"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if fs::metadata(folder)?.dev() != fs::metadata(folder_of(folder))?.dev() {
            return Err(io::Error::other("a disk is mounted there, so it cannot be replaced: name a folder in it"));
        }
    }
    Ok(())
}

/// What lies at `path`, links followed; `None`: nothing yet.
fn existing(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the links at the end of `path` lead.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// The folder in which `path` lies.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Standard output or error by the name that systems give it: the same place in the same file, if it is one.
#[cfg(unix)]
fn standard_stream(path: &Path) -> Option<io::Result<File>> {
    use std::os::fd::AsFd;
    let is = |names: [&str; 3]| names.iter().any(|name| path == Path::new(name));
    let stream = if is(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]) {
        io::stdout().as_fd().try_clone_to_owned()
    } else if is(["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"]) {
        io::stderr().as_fd().try_clone_to_owned()
    } else {
        return None;
    };
    Some(stream.map(File::from))
}

#[cfg(not(unix))]
fn standard_stream(_path: &Path) -> Option<io::Result<File>> {
    None
}

/// Makes the names in a folder survive a power cut. Not every system syncs folders: what has a name is whole either way.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
