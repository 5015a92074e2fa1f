//! Files and folders that the program writes where the person says: in full or not at all, and in place of nothing but their
//! like.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ruminate_flow::target::{MayReplace, NewFile, NewFolder};
use ruminate_ml::weights::BESIDE_WEIGHTS;

use crate::failure::Failure;

/// Writes `bytes` to `path`.
///
/// # Errors
/// A disk that cannot be written.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    make_parent(path)?;
    let new = NewFile::create(path).map_err(cannot_write(path))?;
    new.file().write_all(bytes).and_then(|()| new.finish()).map_err(cannot_write(path))
}

/// Copies `files` (name -> where the bytes are) into a folder beside `path`, and moves it there at the end, in place of a
/// folder that `may_replace` agrees to. Gives the bytes written.
///
/// # Errors
/// A file that cannot be read; a folder that stays; a disk that cannot be written.
pub(crate) fn write_folder(
    path: &Path,
    files: &BTreeMap<String, PathBuf>,
    may_replace: MayReplace,
) -> Result<u64, Failure> {
    let new = NewFolder::create(path, may_replace).map_err(cannot_write(path))?;
    let mut total = 0;
    for (name, source) in files {
        let target = new.path().join(name);
        if let Some(inner) = target.parent() {
            fs::create_dir_all(inner).map_err(cannot_write(inner))?;
        }
        total += copy(source, &target)?;
    }
    new.finish().map_err(cannot_write(path))?;
    Ok(total)
}

/// Files that published model folders have beside those that the program writes.
const ALSO_PUBLISHED: [&str; 6] =
    ["tokenizer.model", "README.md", "LICENSE.txt", "LICENSE.md", "NOTICE", ".gitattributes"];
/// How the names of weights begin and end.
const WEIGHTS: [(&str, &[&str]); 2] =
    [("model", &[".safetensors", ".safetensors.index.json"]), ("pytorch_model", &[".bin", ".bin.index.json"])];

/// Lets a folder be replaced that is empty or holds a model and nothing else.
///
/// # Errors
/// Names what else it holds.
pub(crate) fn only_model(folder: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push((is_of_model(&name) && !entry.path().is_dir(), name));
    }
    names.sort();
    match names.iter().find(|(of_model, _)| !of_model) {
        Some((_, other)) => Err(io::Error::other(format!(
            "it holds `{other}`, which is no file of a model; only a model folder is replaced: name another folder, or \
             remove this one yourself"
        ))),
        None if names.is_empty() || names.iter().any(|(_, name)| name == "config.json") => Ok(()),
        None => Err(io::Error::other(
            "it is no model folder, since it has no `config.json`; only a model folder is replaced: name another folder, \
             or remove this one yourself",
        )),
    }
}

fn is_of_model(name: &str) -> bool {
    let is_weights =
        |(begin, ends): &(&str, &[&str])| name.starts_with(begin) && ends.iter().any(|end| name.ends_with(end));
    let mut beside = BESIDE_WEIGHTS.iter().chain(&ALSO_PUBLISHED);
    beside.any(|known| known.eq_ignore_ascii_case(name)) || WEIGHTS.iter().any(is_weights)
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

/// Makes the folder in which `path` lies, if it is not there.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_parent(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::create_dir_all(parent).map_err(cannot_write(parent)),
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::Failed(format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_model_and_nothing_else_is_replaced() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let source = place.path().join("source");
        fs::write(&source, "weights").expect("the folder is writable");
        let target = place.path().join("out/model");
        let files = BTreeMap::from([("model.safetensors".to_owned(), source)]);
        let old = ["config.json", "model-00001-of-00002.safetensors", "LICENSE", "tokenizer.json"];
        for (other, replaced) in [
            (None, true),
            (Some("notes.txt"), false),
            (Some("optimizer.pt"), false),
            (Some("model.txt"), false),
            (Some("checkpoint/config.json"), false),
        ] {
            fs::remove_dir_all(&target).or_else(|_| fs::create_dir_all(place.path().join("out"))).expect("writable");
            for name in old.into_iter().chain(other) {
                let file = target.join(name);
                fs::create_dir_all(file.parent().expect("a folder")).expect("the folder is writable");
                fs::write(&file, "mine").expect("the folder is writable");
            }
            let written = write_folder(&target, &files, only_model);
            let names = fs::read_dir(&target).into_iter().flatten().count();
            assert_eq!((written.is_ok(), names), (replaced, if replaced { 1 } else { old.len() + 1 }), "{other:?}");
            let beside = fs::read_dir(place.path().join("out")).into_iter().flatten().count();
            assert_eq!(beside, 1, "{other:?}");
        }
        fs::remove_file(target.join("config.json")).expect("the folder is writable");
        fs::remove_dir_all(target.join("checkpoint")).expect("the folder is writable");
        assert!(only_model(&target).is_err_and(|error| error.to_string().contains("no `config.json`")));
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
