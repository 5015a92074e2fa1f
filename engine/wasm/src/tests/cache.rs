//! Compiled code that is kept: found without the component's bytes, trusted only while it is what was kept, made anew
//! whenever it is not.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ruminate_flow::digest::Digest;
use tempfile::TempDir;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Store};

use super::wat::Guest;
use crate::compiled::{Cache, Fault};
use crate::engines::{self, Storage};
use crate::error::PluginError;
use crate::limits::Limits;

/// A plugin of this name, small enough to compile often.
fn plugin(name: &str) -> Vec<u8> {
    let body =
        r#"(func (export "filter") (param i32 i32) (result i32) (i32.const 65536)) (data (i32.const 65536) "\01")"#;
    Guest { name, body, ..Guest::default() }.component("filter")
}

struct Place {
    folder: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().join("plugins")).expect("a cache");
        Self { folder, cache }
    }

    /// Loads a plugin; whether it was compiled, and the name that the loaded code gives itself.
    fn load(&self, bytes: &[u8]) -> (bool, String) {
        load(&self.cache, bytes)
    }

    /// Loads a plugin that is kept until its code is trusted unread: then the file system's clock has moved on.
    fn load_until_trusted(&self, bytes: &[u8]) {
        let start = Instant::now();
        loop {
            assert!(!self.load(bytes).0, "it is kept");
            let record = fs::read_to_string(self.file("record")).expect("the record");
            if !record.contains(r#""verified":null"#) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "never trusted: {record}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The files whose names end so.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("plugins")).expect("the folder is there").flatten();
        let mut files: Vec<_> = files.map(|file| file.path()).collect();
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        files
    }

    fn file(&self, extension: &str) -> PathBuf {
        let files = self.files(extension);
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

fn engine() -> Engine {
    engines::engine(&Limits::for_check(), Storage::Scanned).expect("an engine").engine
}

fn load(cache: &Cache, bytes: &[u8]) -> (bool, String) {
    let compiled = Cell::new(false);
    let read = || {
        compiled.set(true);
        Ok(bytes.to_vec())
    };
    let engine = &engine();
    let component = cache.component(engine, Digest::of(bytes), &read).expect("a component");
    (compiled.get(), name_of(&component))
}

/// What `describe` says when the code runs.
fn name_of(component: &Component) -> String {
    let engine = &engine();
    let mut store = Store::new(engine, ());
    store.set_fuel(1_000_000).expect("fuel is on");
    store.set_epoch_deadline(1_000_000);
    let mut linker = Linker::new(engine);
    linker.define_unknown_imports_as_traps(component).expect("imports");
    let instance = linker.instantiate(&mut store, component).expect("an instance");
    let lifecycle = instance.get_export_index(&mut store, None, "ruminate:plugin/lifecycle@0.1.0").expect("an export");
    let describe = instance.get_export_index(&mut store, Some(&lifecycle), "describe").expect("an export");
    let describe = instance.get_func(&mut store, describe).expect("a function");
    let mut results = [Val::Bool(false)];
    describe.call(&mut store, &[], &mut results).expect("it runs");
    match &results[0] {
        Val::Record(fields) => match &fields[0].1 {
            Val::String(name) => name.clone(),
            other => panic!("a name, not {other:?}"),
        },
        other => panic!("a record, not {other:?}"),
    }
}

/// A cache that has loaded `plugin("one")` from its file.
fn filled() -> (Place, Vec<u8>) {
    let (place, bytes) = (Place::new(), plugin("one"));
    assert_eq!(place.load(&bytes), (true, "one".to_owned()));
    assert_eq!(place.load(&bytes), (false, "one".to_owned()));
    (place, bytes)
}

/// Whatever was done to the files, the plugin is right, and the entry is whole again.
fn healed(place: &Place, bytes: &[u8], what: &str) {
    let (compiled, name) = place.load(bytes);
    assert_eq!((compiled, name.as_str()), (true, "one"), "{what}");
    assert_eq!(place.load(bytes), (false, "one".to_owned()), "{what}, and then once more");
}

#[test]
fn a_kept_plugin_is_loaded_without_its_bytes() {
    let (place, bytes) = filled();
    let again = Cache::open(place.folder.path().join("plugins")).expect("the same folder");
    let unreadable = || Err(PluginError::NotAComponent("must not be read".to_owned()));
    for cache in [&place.cache, &again] {
        let component = cache.component(&engine(), Digest::of(&bytes), &unreadable);
        assert_eq!(name_of(&component.expect("it is kept")), "one");
    }
    assert_eq!(place.load(&plugin("two")), (true, "two".to_owned()));
    assert_eq!(place.load(&bytes), (false, "one".to_owned()));
    let left: Vec<_> = fs::read_dir(place.folder.path().join("plugins")).expect("the folder").flatten().collect();
    assert_eq!(left.len(), 6, "two entries of code, record and lock: {left:?}");
}

/// Prints what loading costs, for the component in the environment variable `RUMINATE_TIME_OF` if there is one.
#[test]
fn time_of_a_load() {
    let bytes =
        std::env::var_os("RUMINATE_TIME_OF").map_or_else(|| plugin("one"), |path| fs::read(path).expect("a file"));
    let limits = Limits::for_check();
    let home = engines::engine(&limits, Storage::of(bytes.len() as u64, &limits)).expect("an engine");
    let (place, engine) = (Place::new(), home.engine);
    let digest = Digest::of(&bytes);
    let load = |what: &str| {
        let start = Instant::now();
        let component = place.cache.component(&engine, digest, &|| Ok(bytes.clone())).expect("a component");
        let loaded = start.elapsed();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("imports");
        let linked = linker.instantiate_pre(&component).expect("linked");
        let mut store = Store::new(&engine, ());
        store.set_fuel(1_000_000_000).expect("fuel is on");
        store.set_epoch_deadline(1_000_000);
        linked.instantiate(&mut store).expect("an instance");
        println!("{what}: loaded after {loaded:?}, an instance after {:?}", start.elapsed());
    };
    load("compiled");
    load("read in full");
    place.load_until_trusted(&bytes);
    (0..5).for_each(|_| load("trusted"));
    let code = fs::metadata(place.file("code")).expect("the code").len();
    println!("{} bytes of component, {code} of code", bytes.len());
}

#[test]
fn damaged_code_is_made_anew() {
    let (place, bytes) = filled();
    let path = place.file("code");
    let whole = fs::read(&path).expect("the code");
    for part in 0..24 {
        let mut damaged = whole.clone();
        let start = whole.len() * part / 24;
        damaged[start..(start + 16).min(whole.len())].iter_mut().for_each(|byte| *byte ^= 0x41);
        if part % 8 == 0 {
            // Also where its state was already trusted, and where someone sets the time of modification back.
            place.load_until_trusted(&bytes);
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
            fs::write(&path, &damaged).expect("written");
            fs::File::open(&path).and_then(|file| file.set_modified(modified)).expect("set back");
        } else {
            fs::write(&path, &damaged).expect("written");
        }
        healed(&place, &bytes, &format!("damage at byte {start}"));
    }
}

#[test]
fn code_of_another_length_is_made_anew() {
    let (place, bytes) = filled();
    let path = place.file("code");
    let whole = fs::read(&path).expect("the code");
    for length in [0, 1, 63, 64, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).expect("written");
        healed(&place, &bytes, &format!("cut to {length} bytes"));
    }
    fs::write(&path, [whole.as_slice(), b"more"].concat()).expect("written");
    healed(&place, &bytes, "longer");
}

#[test]
fn code_that_is_no_file_is_replaced() {
    let (place, bytes) = filled();
    let path = place.file("code");
    fs::remove_file(&path).expect("removed");
    healed(&place, &bytes, "gone");
    fs::remove_file(&path).expect("removed");
    fs::create_dir_all(path.join("inside")).expect("a folder in its place");
    healed(&place, &bytes, "a folder");
    #[cfg(unix)]
    {
        let elsewhere = place.folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        healed(&place, &bytes, "a link");
    }
}

#[test]
fn a_damaged_record_costs_no_more_than_a_compilation() {
    let (place, bytes) = filled();
    let path = place.file("record");
    let whole = fs::read(&path).expect("the record");
    for text in [&b""[..], b"{}", b"null", b"hello", &whole[..whole.len() / 2]] {
        fs::write(&path, text).expect("written");
        healed(&place, &bytes, &String::from_utf8_lossy(text));
    }
    for place_of_byte in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place_of_byte] ^= 0x11;
        fs::write(&path, &damaged).expect("written");
        assert_eq!(place.load(&bytes).1, "one", "record damaged at byte {place_of_byte}");
    }
}

#[test]
fn an_entry_under_the_name_of_another_is_not_taken() {
    let (place, bytes) = filled();
    let (code, record) = (place.file("code"), place.file("record"));
    let other = Place::new();
    other.load(&plugin("two"));
    fs::copy(other.file("code"), &code).expect("copied");
    healed(&place, &bytes, "another's code");
    fs::copy(other.file("code"), &code).expect("copied");
    fs::copy(other.file("record"), &record).expect("copied");
    healed(&place, &bytes, "another's code and record");
    // Code that was not made by this engine, and a record that vouches for it.
    let text = fs::read_to_string(&record).expect("the record");
    let whole = fs::read(&code).expect("the code");
    let foreign = b"\x7fELF of another engine";
    fs::write(&code, foreign).expect("written");
    let text = text.replace(&Digest::of(&whole).to_string(), &Digest::of(foreign).to_string());
    fs::write(&record, text).expect("written");
    healed(&place, &bytes, "code of another engine");
}

#[test]
fn bytes_of_another_digest_are_never_kept() {
    let place = Place::new();
    let read = || Ok(plugin("two"));
    let loaded = place.cache.component(&engine(), Digest::of(&plugin("one")), &read);
    let Err(Fault::Plugin(error)) = loaded else { panic!("it is not refused") };
    assert_eq!(error.to_string(), "the plugin file changed while it was read: run the command again");
    assert!(place.files("code").is_empty());
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |path: &Path| Cache::open(path.to_owned()).err().unwrap_or_default();
    let made = folder.path().join("a/b/plugins");
    assert_eq!(refused(&made), "");
    assert_eq!(fs::metadata(&made).expect("made").permissions().mode() & 0o7777, 0o700);
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        fs::set_permissions(&made, fs::Permissions::from_mode(mode)).expect("set");
        let message = refused(&made);
        assert!(message.contains(&format!("can be written by others (mode {mode:04o})")), "{message}");
        assert!(message.contains("RUMINATE_CACHE"), "{message}");
    }
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).expect("set");
    assert_eq!(refused(&made), "");
    // Only root can give a folder away.
    if chown(&made, Some(12_345), None).is_ok() {
        assert!(refused(&made).contains("belongs to the user 12345"), "{}", refused(&made));
    }
    fs::write(folder.path().join("file"), "").expect("written");
    let message = refused(&folder.path().join("file/plugins"));
    assert!(message.contains("cannot be made: "), "{message}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_keeps_no_plugin_from_working() {
    use std::os::unix::fs::PermissionsExt;
    let (place, bytes) = filled();
    let folder = place.folder.path().join("plugins");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).expect("set");
    assert_eq!(place.load(&bytes), (false, "one".to_owned()));
    assert_eq!(place.load(&plugin("two")).1, "two");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("set");
    fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(place.load(&bytes), (true, "one".to_owned()));
    fs::write(&folder, "a file in its place").expect("written");
    assert_eq!(place.load(&bytes), (true, "one".to_owned()));
}

#[test]
fn of_several_at_once_one_compiles() {
    let (place, bytes) = (Place::new(), plugin("one"));
    let loaded: Vec<_> = std::thread::scope(|scope| {
        let load = || {
            // A cache each, as in processes of their own.
            let cache = Cache::open(place.folder.path().join("plugins")).expect("a cache");
            load(&cache, &bytes)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(loaded.iter().all(|(_, name)| name == "one"));
    assert_eq!(loaded.iter().filter(|(compiled, _)| *compiled).count(), 1);
}

#[test]
fn a_lock_that_is_not_given_back_hangs_nobody() {
    let mut place = Place::new();
    let bytes = plugin("one");
    place.load(&bytes);
    fs::remove_file(place.file("code")).expect("removed");
    let lock = fs::File::open(place.file("lock")).expect("the lock");
    lock.lock().expect("locked");
    place.cache.patience = Duration::from_millis(50);
    healed(&place, &bytes, "locked by another");
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let mut place = Place::new();
    let plugins = ["one", "two", "six"].map(plugin);
    plugins.iter().for_each(|bytes| drop(place.load(bytes)));
    let record = |bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&digest));
        place.files("record").into_iter().find(name).expect("a record")
    };
    let days_ago = |path: &Path, days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        fs::File::open(path).and_then(|file| file.set_modified(time)).expect("set");
    };
    for (bytes, days) in plugins.iter().zip([9, 8, 7]) {
        days_ago(&record(bytes), days);
    }
    let (abandoned, fresh) = (place.folder.path().join("plugins/new-old"), place.folder.path().join("plugins/new-new"));
    for path in [&abandoned, &fresh] {
        fs::write(path, "").expect("written");
    }
    days_ago(&abandoned, 2);
    // The oldest is used again, and a fourth comes where three have room.
    assert!(!place.load(&plugins[0]).0);
    let size = fs::metadata(place.files("code")[0].clone()).expect("code").len();
    place.cache.bytes_max = 3 * size + size / 2;
    place.load(&plugin("ten"));
    let kept: Vec<bool> = plugins.iter().map(|bytes| !place.load(bytes).0).collect();
    assert_eq!(kept[..2], [true, false]);
    assert!(!abandoned.exists() && fresh.exists());
    // However little room there is, the newest stays.
    place.cache.bytes_max = 1;
    place.load(&plugin("new"));
    assert_eq!((place.load(&plugin("new")).0, place.files("code").len()), (false, 1));
}
