//! Making room: what is pinned stays whole, the rest goes in the order of what it costs to compute again.

use std::fs;

use crate::record::Value;
use crate::stage::Blobs;
use crate::store::{GcOptions, Pins, Store};

use super::{content, files, image, plain, put_action, put_units, record, records, store, written};

fn total(opened: &Store) -> u64 {
    opened.usage().unwrap().iter().map(|usage| usage.bytes).sum()
}

/// An action and results for each number, each with an image of its own and one that all share.
fn fill(opened: &Store, numbers: std::ops::Range<u64>) {
    let shared = image(opened, 1000, 200);
    for number in numbers {
        let own = image(opened, number, 5000);
        let values = [own.clone(), shared.clone()].map(Value::Blob);
        let mut all = records(100);
        all.extend(values.into_iter().map(|value| record(number, value)));
        put_action(opened, &content(number), &all, number as f64);
        let large = image(opened, number + 50, 300 << 10);
        put_units(opened, &content(number + 100), &[plain(number + 500), written(number, Value::Blob(large))]);
    }
    opened.flush().unwrap();
}

fn pins(actions: &[u64], units: &[u64]) -> Pins {
    let keys = |numbers: &[u64]| numbers.iter().map(|number| content(*number)).collect();
    Pins { actions: keys(actions), units: keys(units), checkpoints: Default::default() }
}

#[test]
fn what_is_pinned_stays_whole_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    fill(&opened, 0..4);
    let options = GcOptions { keep: pins(&[2], &[103]), max_size: None, dry_run: true };
    let names = |opened: &Store| {
        let read = |path| (fs::read(&path).unwrap(), path);
        files(opened.root()).into_iter().map(read).collect::<Vec<_>>()
    };
    let before = names(&opened);
    let planned = opened.gc(&options).unwrap();
    assert_eq!(names(&opened), before, "a dry run changes nothing");
    let report = opened.gc(&GcOptions { dry_run: false, ..options }).unwrap();
    assert_eq!(report.removed, planned.removed);
    let removed: Vec<_> = report.removed.iter().map(|removed| (removed.what, removed.kind.as_str())).collect();
    assert_eq!(removed.iter().filter(|removed| **removed == ("action", "read")).count(), 3, "{removed:?}");
    assert_eq!(removed.iter().filter(|removed| **removed == ("units", "caption")).count(), 3);
    for opened in [&opened, &store(folder.path())] {
        let action = opened.action(&content(2)).unwrap().unwrap();
        let stored = opened.records(&action.records["records"]).unwrap().unwrap();
        assert_eq!(stored.len(), 102);
        for record in &stored[100..] {
            assert!(opened.get(record.blob("value").unwrap()).is_ok());
        }
        let mut units = opened.units(&content(103), false).unwrap();
        let unit = units.get(&content(3)).unwrap().unwrap();
        let Value::Blob(blob) = &unit.rows[0].fields["answer"] else { panic!() };
        assert!(opened.get(blob).is_ok());
        assert!(opened.action(&content(1)).unwrap().is_none());
        assert!(!opened.units(&content(101), false).unwrap().contains(&content(1)).unwrap());
        assert!(opened.take_notes().is_empty(), "what was removed with intent is not missed");
    }
    assert_eq!(files(&opened.root().join("segments")).len(), 1);
    assert_eq!(files(&opened.root().join("blobs")).len(), 1);
    assert_eq!(opened.verify(&mut |_| {}).unwrap().damaged, Vec::<String>::new());
    let again = opened.gc(&GcOptions { keep: pins(&[2], &[103]), ..GcOptions::default() }).unwrap();
    assert_eq!(again.removed, []);
}

#[test]
fn the_cheapest_per_byte_goes_first_until_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    for number in 0..6u64 {
        let all: Vec<_> = (0..500).map(|at| record(number * 1000 + at, Value::Null)).collect();
        put_action(&opened, &content(number), &all, [5.0, 1.0, 4.0, 0.0, 3.0, 2.0][number as usize]);
    }
    let all = total(&opened);
    let options = GcOptions { keep: pins(&[3], &[]), max_size: Some(all / 2), dry_run: false };
    let report = opened.gc(&options).unwrap();
    let order: Vec<_> = report.removed.iter().map(|removed| removed.key.clone()).collect();
    let expected: Vec<_> = [1, 5, 4, 2].into_iter().map(|number| content(number).to_string()).collect();
    assert_eq!(order, expected[..order.len()], "{report:?}");
    assert!((3..=4).contains(&order.len()));
    assert!(report.kept_bytes <= all / 2);
    assert!(opened.action(&content(3)).unwrap().is_some(), "the cheapest is pinned");
    assert_eq!(opened.gc(&GcOptions { max_size: Some(u64::MAX), ..options }).unwrap().removed, []);
}

#[test]
fn leftovers_go_and_freed_bytes_are_what_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    fill(&opened, 0..2);
    let orphan = image(&opened, 77, 400 << 10);
    fs::write(opened.root().join("segments").join("x.damaged"), b"damaged").unwrap();
    fs::create_dir_all(opened.root().join("tmp")).unwrap();
    fs::write(opened.root().join("tmp").join("half"), b"half").unwrap();
    opened.flush().unwrap();
    let before = total(&opened);
    let report = opened.gc(&GcOptions { keep: pins(&[0, 1], &[100, 101]), ..GcOptions::default() }).unwrap();
    let what: Vec<_> = report.removed.iter().map(|removed| (removed.what, removed.bytes)).collect();
    assert_eq!(what, [("leftovers", 11), ("unreferenced", orphan.bytes)]);
    let stamps = 200;
    assert!((before - total(&opened)).abs_diff(report.freed_bytes) < stamps);
    assert!(opened.get(&orphan).is_err());
}

#[test]
fn a_store_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, other) = (store(folder.path()), store(folder.path()));
    put_action(&opened, &content(1), &records(5), 1.0);
    put_units(&other, &content(2), &[plain(1)]);
    let error = opened.gc(&GcOptions::default()).unwrap_err().to_string();
    assert!(error.contains("in use by another run"), "{error}");
    assert!(opened.action(&content(1)).unwrap().is_some());
    drop(other);
    opened.gc(&GcOptions::default()).unwrap();
    assert!(opened.action(&content(1)).unwrap().is_none());
    let nowhere = Store::open(&folder.path().join("nowhere")).unwrap();
    assert_eq!(nowhere.gc(&GcOptions::default()).unwrap().removed, []);
    assert!(!nowhere.root().exists(), "looking makes no store");
}
