//! Files that a graph names: where they are looked for, globs, digests. Knows nothing of options and models.

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place};
use crate::digest::Digest;
use crate::document::Text;
use crate::error::StageError;
use crate::options::InputFile;

/// Finds and digests the files that a graph names.
pub(super) struct Files<'a> {
    /// The folder of the graph file: looked in first, then the current folder.
    pub(super) folder: PathBuf,
    /// Gives the digest of a file's bytes.
    pub(super) digest: &'a dyn Fn(&Path) -> Result<Digest, StageError>,
}

impl Files<'_> {
    /// Where `written` is: beside the graph file, else in the current folder.
    ///
    /// # Errors
    /// Nothing is there.
    pub(super) fn find(&self, text: &Text, place: &Place, what: &str) -> Result<PathBuf, Diagnostic> {
        if text.value.is_empty() {
            return Err(Diagnostic::new(place, format!("the path of the {what} is empty")));
        }
        let candidates = [self.folder.join(&text.value), PathBuf::from(&text.value)];
        let found = candidates.into_iter().find(|path| path.exists());
        found.ok_or_else(|| self.missing(text, place, format!("there is no {what} `{}`", text.written)))
    }

    /// An error about a path at which nothing is, with where it was looked for.
    fn missing(&self, text: &Text, place: &Place, message: String) -> Diagnostic {
        let error = Diagnostic::new(place, message);
        if text.value.starts_with('~') {
            return error.help("`~` is not expanded: write `${HOME}`");
        }
        if Path::new(&text.value).is_absolute() {
            return error;
        }
        let here = Path::new(".");
        let folder = if self.folder.as_os_str().is_empty() { here } else { &self.folder };
        if folder == here {
            error.help("looked in the current folder")
        } else {
            error.help(format!("looked beside the graph file, in `{}`, and in the current folder", folder.display()))
        }
    }

    /// The one file that `text` names.
    ///
    /// # Errors
    /// It is missing, a folder, or cannot be read.
    pub(super) fn one(&self, text: &Text, place: &Place) -> Result<InputFile, Diagnostic> {
        let path = self.find(text, place, "file")?;
        if path.is_dir() {
            return Err(Diagnostic::new(place, format!("expected a file, `{}` is a folder", text.written)));
        }
        self.digested(path, place)
    }

    /// The files that a path or glob names, sorted by path.
    ///
    /// # Errors
    /// There is none, the pattern is malformed, or a file cannot be read.
    pub(super) fn matching(&self, text: &Text, place: &Place) -> Result<Vec<InputFile>, Diagnostic> {
        let is_glob = text.value.contains(['*', '?', '[']);
        // A name with `[` in it may be a file's own name.
        if !is_glob || self.folder.join(&text.value).is_file() || Path::new(&text.value).is_file() {
            return match self.find(text, place, "file")? {
                folder if folder.is_dir() => {
                    let message = format!("expected files, `{}` is a folder", text.written);
                    Err(Diagnostic::new(place, message).help("name its files with a glob such as `FOLDER/*.jsonl`"))
                }
                file => Ok(vec![self.digested(file, place)?]),
            };
        }
        for folder in [self.folder.as_path(), Path::new("")] {
            let paths = expand(folder, text, place)?;
            if !paths.is_empty() {
                return paths.into_iter().map(|path| self.digested(path, place)).collect();
            }
        }
        Err(self.missing(text, place, format!("no file matches `{}`", text.written)))
    }

    /// Where the file that `text` names is to be written: beside the graph file.
    ///
    /// # Errors
    /// No file can have this path.
    pub(super) fn output(&self, text: &Text, place: &Place) -> Result<String, Diagnostic> {
        let path = self.folder.join(&text.value);
        if text.value.is_empty() || path.file_name().is_none() || text.value.ends_with(['/', '\\']) {
            return Err(Diagnostic::new(
                place,
                format!("expected the path of a file to write, found `{}`", text.written),
            ));
        }
        if text.value.starts_with("~/") {
            return Err(Diagnostic::new(place, "`~` is not expanded").help("write `${HOME}`"));
        }
        if path.is_dir() {
            return Err(Diagnostic::new(place, format!("expected a file to write, `{}` is a folder", text.written)));
        }
        path.into_os_string()
            .into_string()
            .map_err(|_| Diagnostic::new(place, "the graph's folder has a name that is not UTF-8"))
    }

    /// The file with its digest. What can be read once only, such as a pipe, or without end, such as a device, is refused.
    fn digested(&self, path: PathBuf, place: &Place) -> Result<InputFile, Diagnostic> {
        if !path.is_file() {
            let message = format!("expected a file, `{}` is a pipe or a device", path.display());
            return Err(
                Diagnostic::new(place, message).help("a file is read more than once: write the data to one first")
            );
        }
        let digest = (self.digest)(&path).map_err(|error| Diagnostic::new(place, error.to_string()))?;
        Ok(InputFile { path, digest })
    }
}

/// The files in `folder` that match the pattern, sorted.
fn expand(folder: &Path, text: &Text, place: &Place) -> Result<Vec<PathBuf>, Diagnostic> {
    let Some(folder) = folder.to_str() else { return Ok(Vec::new()) };
    let is_plain = folder.is_empty() || Path::new(&text.value).is_absolute();
    let pattern =
        if is_plain { text.value.clone() } else { format!("{}/{}", glob::Pattern::escape(folder), text.value) };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(&pattern, options).map_err(|error| {
        let message = format!("`{}` is not a glob: {}", text.written, error.msg);
        Diagnostic::new(place, message)
            .help("`*` stands for any characters, `?` for one, `[ab]` for one of these, `**` for any folders")
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| {
            Diagnostic::new(place, format!("cannot read a folder that `{}` names: {error}", text.written))
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
