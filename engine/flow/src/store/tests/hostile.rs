//! Damage, one file at a time: bits flipped, files cut and removed. Always a note, a miss and a way back; never wrong data.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::record::{Blob, Record, Value};
use crate::stage::{Blobs, Checkpoint, FileContent};
use crate::store::{Action, History, Past, Store, StoredUnit};

use super::{dropped, files, image, plain, put_units, record, schema, store, written};

fn key() -> Digest {
    Digest::of(b"key")
}

/// Everything that a store can hold, and how to make it anew.
struct Everything {
    records: Vec<Record>,
    units: Vec<StoredUnit>,
    parts: BTreeMap<String, Vec<u8>>,
    blobs: Vec<Blob>,
}

impl Everything {
    fn put(opened: &Store) -> Everything {
        let blobs = vec![image(opened, 1, 50), image(opened, 2, 60), image(opened, 3, 300 << 10)];
        let records: Vec<_> = (0..20).map(|number| record(number, Value::Blob(blobs[0].clone()))).collect();
        let units = vec![plain(1), dropped(2, "why"), written(3, Value::Blob(blobs[1].clone())), plain(4)];
        let parts: BTreeMap<_, _> = [("weights".to_owned(), vec![7; 40]), ("cursor".to_owned(), vec![9; 8])].into();
        let mut writer = opened.segment_writer().unwrap();
        writer.write(&records).unwrap();
        let segment = writer.finish(schema()).unwrap();
        let model = opened.put_file(&FileContent::Bytes(vec![5; 100])).unwrap();
        let action = Action {
            key: serde_json::json!({"kind": "sft"}),
            records: [("records".to_owned(), segment)].into(),
            models: [("model".to_owned(), [("model.safetensors".to_owned(), model)].into())].into(),
            drops: Default::default(),
            seconds: 3.0,
            finished: 1,
        };
        opened.put_action(&key(), &action).unwrap();
        put_units(opened, &key(), &units);
        opened.checkpoint(&key()).save(&parts).unwrap();
        let past = Past { key: action.key, seconds: Some(3.0) };
        let history = History { nodes: [("sft".to_owned(), past)].into() };
        opened.save_history(Path::new("/graph.toml"), &history).unwrap();
        opened.flush().unwrap();
        Everything { records, units, parts, blobs }
    }

    /// Reads everything; whatever comes back is what was stored. How much was missing.
    fn read(&self, opened: &Store) -> usize {
        let mut missing = 0;
        let mut read = |there: bool| missing += usize::from(!there);
        match opened.action(&key()).unwrap() {
            Some(action) => {
                assert_eq!(action.seconds, 3.0);
                let records = opened.records(&action.records["records"]).unwrap();
                read(records.inspect(|records| assert_eq!(*records, self.records)).is_some());
                let model = opened.file(&action.models["model"]["model.safetensors"]).unwrap();
                read(model.inspect(|path| assert_eq!(fs::read(path).unwrap(), vec![5; 100])).is_some());
            }
            None => read(false),
        }
        let mut units = opened.units(&key(), false).unwrap();
        for unit in &self.units {
            let found = units.get(&unit.content).unwrap();
            read(found.inspect(|found| assert_eq!(found, unit)).is_some());
        }
        let parts = opened.checkpoint(&key()).load().unwrap();
        read(parts.inspect(|parts| assert_eq!(*parts, self.parts)).is_some());
        let history = opened.history(Path::new("/graph.toml")).unwrap();
        read(history.nodes.get("sft").inspect(|past| assert_eq!(past.seconds, Some(3.0))).is_some());
        for blob in &self.blobs {
            let bytes = opened.get(blob);
            read(bytes.inspect(|bytes| assert_eq!(Digest::of(bytes), blob.digest)).is_ok());
        }
        missing
    }
}

/// The files of a store that were not set aside.
fn live(root: &Path) -> Vec<PathBuf> {
    files(root).into_iter().filter(|path| !path.to_string_lossy().ends_with(".damaged")).collect()
}

/// Makes a store, harms one file, and looks: every way to read says the truth, and afterwards all can be made anew.
fn harm(name: &str, harm: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let everything = Everything::put(&store(folder.path()));
    let root = folder.path().join("store");
    let path = live(&root).into_iter().find(|path| path.to_string_lossy().contains(name));
    let path = path.unwrap_or_else(|| panic!("{name}"));
    harm(&path);
    let removed = !path.exists();
    let opened = store(folder.path());
    let missing = everything.read(&opened);
    let notes = opened.take_notes();
    let hint = name == "lock" || (name == "stamps" && removed);
    assert_eq!(notes.len(), usize::from(!hint), "{name}: {notes:?}");
    if let [note] = notes.as_slice() {
        assert!(note.contains(name) && (note.contains("is damaged") || note.contains("is missing")), "{note}");
    }
    assert!(
        missing > 0 || ["stamps", "lock", "about.json", "units"].iter().any(|known| name.contains(known)),
        "{name}"
    );
    drop(opened);
    let opened = store(folder.path());
    let everything = Everything::put(&opened);
    opened.take_notes();
    assert_eq!(everything.read(&opened), 0, "{name}");
    assert!(opened.take_notes().is_empty());
    let report = opened.verify(&mut |_| {}).unwrap();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{name}: {report:?}");
}

/// One file of each kind, by a part of its path.
const KINDS: [&str; 9] =
    ["/actions/", "/segments/", ".units", "/blobs/", ".pack", "manifest.json", "/checkpoints/", "/graphs/", "stamps"];

#[test]
fn every_kind_of_file_may_be_missing_cut_or_flipped() {
    for kind in KINDS {
        harm(kind, |path| fs::remove_file(path).unwrap());
        for part in [0, 1, 2] {
            harm(kind, |path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() * part / 3]).unwrap();
            });
        }
        harm(kind, |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes.extend_from_slice(b"more");
            fs::write(path, bytes).unwrap();
        });
        harm(kind, |path| flip(path, 3));
        harm(kind, |path| flip(path, fs::metadata(path).unwrap().len() as usize - 9));
    }
    harm("lock", |path| fs::remove_file(path).unwrap());
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let everything = Everything::put(&store(folder.path()));
    let root = folder.path().join("store");
    for path in live(&root) {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if relative == "lock" {
            continue;
        }
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 200).max(1);
        let flips = (0..whole.len()).step_by(step).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        let cuts = (0..whole.len()).step_by(step * 7).map(|end| whole[..end].to_vec());
        for bytes in flips.chain(cuts) {
            fs::write(&path, &bytes).unwrap();
            let file = fs::File::open(&path).unwrap();
            assert!(!crate::store::trust::is_whole(&relative, &file).unwrap(), "{relative}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(crate::store::trust::is_whole(&relative, &fs::File::open(&path).unwrap()).unwrap(), "{relative}");
    }
    assert_eq!(everything.read(&store(folder.path())), 0);
}

#[test]
fn verified_says_whether_a_file_is_there_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    Everything::put(&store(folder.path()));
    let root = folder.path().join("store");
    let paths: Vec<_> =
        live(&root).into_iter().filter(|path| !path.ends_with("lock") && !path.ends_with("stamps")).collect();
    for path in paths {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let opened = store(folder.path());
        assert!(opened.verified(relative).unwrap(), "{relative}");
        let whole = fs::read(&path).unwrap();
        flip(&path, 2);
        assert!(!opened.verified(relative).unwrap(), "{relative}");
        assert!(opened.take_notes()[0].contains("is damaged"));
        assert!(!opened.verified(relative).unwrap());
        assert!(opened.take_notes().is_empty());
        fs::write(&path, whole).unwrap();
        assert!(opened.verified(relative).unwrap(), "{relative}");
        fs::remove_file(&path).unwrap();
        assert!(!opened.verified(relative).unwrap());
        assert!(opened.take_notes().len() <= 1);
    }
    let opened = store(folder.path());
    for outside in ["../outside", "/etc/passwd", "", "segments/no"] {
        assert!(!opened.verified(outside).unwrap(), "{outside}");
    }
    assert!(opened.take_notes().is_empty());
}

#[test]
fn verify_finds_what_stamps_hide() {
    let folder = tempfile::tempdir().unwrap();
    Everything::put(&store(folder.path()));
    let root = folder.path().join("store");
    let path = files(&root.join("segments")).remove(0);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    flip(&path, 4);
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let opened = store(folder.path());
    assert!(opened.verified(&relative).unwrap(), "the stamp is the same");
    let mut seen = 0;
    let report = opened.verify(&mut |_| seen += 1).unwrap();
    assert_eq!((report.damaged, report.missing), (vec![relative.clone()], vec![relative]));
    assert_eq!(report.files, seen);
    assert_eq!(opened.take_notes().len(), 1);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
