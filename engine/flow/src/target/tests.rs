use super::*;

use std::io::Write;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = NewFile::create(path)?;
    new.file().write_all(text.as_bytes())?;
    new.finish()
}

fn write_folder(path: &Path, may_replace: MayReplace) -> io::Result<()> {
    let new = NewFolder::create(path, may_replace)?;
    fs::write(new.path().join("inside"), "new")?;
    new.finish()
}

fn any(_: &Path) -> io::Result<()> {
    Ok(())
}

#[test]
fn files_are_replaced_whole_and_keep_their_permissions() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    write(&path, "one").unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap().permissions();
    let new = NewFile::create(&path).unwrap();
    new.file().write_all(b"half").unwrap();
    assert_eq!(names(place.path()).len(), 2);
    drop(new);
    assert_eq!((names(place.path()), fs::read_to_string(&path).unwrap()), (vec!["a".to_owned()], "one".to_owned()));
    write(&path, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::metadata(&path).unwrap().permissions(), before);
    assert!(write(place.path(), "").is_err_and(|error| error.to_string().contains("it is a folder")));
}

#[test]
#[cfg(unix)]
fn links_stay_and_what_they_lead_to_is_written() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("far")).unwrap();
    symlink("second", at("first")).unwrap();
    symlink("far/file", at("second")).unwrap();
    for text in ["new", "again"] {
        write(&at("first"), text).unwrap();
        assert_eq!(fs::read_to_string(at("far/file")).unwrap(), text);
    }
    symlink("far/model", at("model")).unwrap();
    write_folder(&at("model"), only_empty).unwrap();
    assert_eq!(fs::read_to_string(at("far/model/inside")).unwrap(), "new");
    assert!(["first", "second", "model"].iter().all(|name| at(name).is_symlink()));
    assert_eq!(names(&at("far")), ["file", "model"]);
    symlink("circle", at("circle")).unwrap();
    assert!(write(&at("circle"), "").is_err());
}

#[test]
#[cfg(unix)]
fn pipes_and_devices_are_written_into() {
    use std::os::unix::fs::FileTypeExt;
    write(Path::new("/dev/null"), "gone").unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let place = tempfile::tempdir().unwrap();
    let pipe = place.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    write(&pipe, "through").unwrap();
    assert_eq!(reader.join().unwrap(), "through");
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn folders_are_replaced_whole_where_they_may() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out/model");
    write_folder(&target, only_empty).unwrap();
    fs::write(target.join("mine"), "").unwrap();
    assert!(write_folder(&target, only_empty).is_err_and(|error| error.to_string().contains("is not empty")));
    assert_eq!(names(&target), ["inside", "mine"]);
    write_folder(&target, any).unwrap();
    assert_eq!(names(&target), ["inside"]);
    assert_eq!(names(&place.path().join("out")), ["model"]);
    // What comes while the new one is being written counts, too.
    let new = NewFolder::create(&place.path().join("late"), only_empty).unwrap();
    fs::create_dir(place.path().join("late")).unwrap();
    fs::write(place.path().join("late/mine"), "").unwrap();
    assert!(new.finish().is_err());
    assert_eq!(names(&place.path().join("late")), ["mine"]);
    for path in [Path::new("."), Path::new(".."), Path::new("/")] {
        assert!(NewFolder::create(path, any).is_err(), "{}", path.display());
    }
    assert!(NewFolder::create(&target.join("inside"), any).is_err());
    assert_eq!(names(place.path()), ["late", "out"]);
}

#[test]
fn leftovers_go_and_what_is_being_written_stays() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at(".a.ruminate-partial-000000"), "half").unwrap();
    fs::create_dir_all(at(".b.ruminate-partial-000000/new")).unwrap();
    fs::write(at(".b.ruminate-partial-000000/lock"), "").unwrap();
    fs::write(at(".c.partial"), "mine").unwrap();
    let (file, folder) = (NewFile::create(&at("f")).unwrap(), NewFolder::create(&at("g"), any).unwrap());
    write(&at("h"), "").unwrap();
    assert_eq!(names(place.path()).len(), 4, "{:?}", names(place.path()));
    file.finish().unwrap();
    folder.finish().unwrap();
    assert_eq!(names(place.path()), [".c.partial", "f", "g", "h"]);
}

#[test]
fn a_folder_that_was_being_replaced_gets_its_name_again() {
    let place = tempfile::tempdir().unwrap();
    let left = place.path().join(".model.ruminate-partial-000000");
    for folder in ["new", "old"] {
        fs::create_dir_all(left.join(folder)).unwrap();
        fs::write(left.join(folder).join("which"), folder).unwrap();
    }
    fs::write(left.join("lock"), "").unwrap();
    write(&place.path().join("other"), "").unwrap();
    assert_eq!(names(place.path()), ["model", "other"]);
    assert_eq!(fs::read_to_string(place.path().join("model/which")).unwrap(), "old");
}
