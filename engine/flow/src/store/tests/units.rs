//! Unit results: found in order and out of it, newest and whole ones first, by one handle or several, in few files.

use std::fs;

use crate::digest::Digest;
use crate::record::Value;
use crate::stage::{Dropped, Row};
use crate::store::{StoredUnit, Units};

use super::{content, dropped, files, plain, put_units, store, written};

fn key() -> Digest {
    Digest::of(b"key")
}

/// Results of every form.
fn mixed(number: u64) -> StoredUnit {
    match number % 5 {
        0 => plain(number),
        1 => dropped(number, ["too long", "not an answer"][number as usize / 5 % 2]),
        2 => written(number, Value::text(format!("answer {number}"))),
        3 => StoredUnit { failed: true, ..dropped(number, &format!("failed {number}")) },
        _ => {
            let row = |source| Row { source, child: None, fields: [("x".into(), Value::Int(source as i64))].into() };
            let drops = vec![Dropped { source: 2, reason: "third".into() }];
            StoredUnit { rows: vec![row(1), row(0)], drops, ..plain(number) }
        }
    }
}

fn check(units: &mut Units<'_>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        assert_eq!(units.get(&content(number)).unwrap(), Some(mixed(number)), "{number}");
    }
}

#[test]
fn what_was_added_is_found_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let count = 3000;
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    for number in 0..count {
        units.add(&mixed(number)).unwrap();
        // Files of every size, and results that wait in memory.
        if number % 997 == 0 {
            units.flush().unwrap();
        }
    }
    check(&mut units, 0..count);
    assert!(!units.contains(&content(count)).unwrap());
    units.finish().unwrap();
    for opened in [&opened, &store(folder.path())] {
        let mut units = opened.units(&key(), false).unwrap();
        check(&mut units, 0..count);
        check(&mut units, (0..count).rev());
        check(&mut units, (0..count).map(|number| number * 7919 % count));
        check(&mut units, (0..count).flat_map(|number| [number, number % 10, number]).filter(|number| number % 3 > 0));
        assert!((count..2 * count).all(|number| !units.contains(&content(number)).unwrap()));
        check(&mut units, 0..count);
        assert_eq!(units.files().len(), 1);
    }
    assert!(opened.take_notes().is_empty());
}

#[test]
fn many_flushes_leave_few_files_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    for number in 0..300 {
        units.add(&mixed(number)).unwrap();
        units.flush().unwrap();
        assert!(units.files().len() <= 16, "{}", units.files().len());
    }
    assert_eq!(files(&opened.root().join("units")).len(), units.files().len());
    check(&mut store(folder.path()).units(&key(), false).unwrap(), 0..300);
    units.finish().unwrap();
    assert_eq!(units.files().len(), 1);
    check(&mut units, 0..300);
    for file in units.files() {
        assert!(opened.verified(&file).unwrap());
    }
}

#[test]
fn expensive_results_are_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    units.add(&StoredUnit { seconds: 0.6, ..plain(1) }).unwrap();
    units.flush_if_due().unwrap();
    assert!(units.files().is_empty());
    units.add(&StoredUnit { seconds: 0.6, ..plain(2) }).unwrap();
    units.flush_if_due().unwrap();
    assert_eq!(units.files().len(), 1);
    assert!(store(folder.path()).units(&key(), false).unwrap().contains(&content(2)).unwrap());
}

#[test]
fn a_result_goes_before_a_failure_and_the_newer_before_the_older() {
    let failure = StoredUnit { failed: true, ..dropped(1, "timeout") };
    let (old, new) = (written(1, Value::Int(1)), written(1, Value::Int(2)));
    for flushed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let opened = store(folder.path());
        let mut expected = failure.clone();
        put_units(&opened, &key(), &[plain(0), failure.clone(), plain(2)]);
        for (unit, counts) in [(&old, &old), (&failure, &old), (&plain(3), &old)] {
            let mut units = opened.units(&key(), false).unwrap();
            assert_eq!(units.get(&content(1)).unwrap().as_ref(), Some(&expected));
            units.add(unit).unwrap();
            if flushed {
                units.flush().unwrap();
            }
            expected = counts.clone();
            assert_eq!(units.get(&content(1)).unwrap().as_ref(), Some(&expected));
            units.finish().unwrap();
        }
        let mut units = opened.units(&key(), false).unwrap();
        units.forget(&content(1));
        assert_eq!(units.get(&content(1)).unwrap(), None);
        units.add(&new).unwrap();
        assert_eq!(units.get(&content(1)).unwrap().as_ref(), Some(&new));
        units.finish().unwrap();
        for opened in [&opened, &store(folder.path())] {
            let mut units = opened.units(&key(), false).unwrap();
            for unit in [&new, &plain(0), &plain(2), &plain(3)] {
                assert_eq!(units.get(&unit.content).unwrap().as_ref(), Some(unit));
            }
        }
    }
}

#[test]
fn a_forgotten_result_that_was_not_written_yet_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    units.add(&plain(1)).unwrap();
    units.add(&plain(2)).unwrap();
    units.forget(&content(1));
    assert!(!units.contains(&content(1)).unwrap() && units.contains(&content(2)).unwrap());
    units.flush().unwrap();
    let mut other = store(folder.path());
    assert!(!other.units(&key(), false).unwrap().contains(&content(1)).unwrap());
    units.forget(&content(2));
    units.add(&dropped(2, "again")).unwrap();
    units.finish().unwrap();
    other = store(folder.path());
    assert_eq!(other.units(&key(), false).unwrap().get(&content(2)).unwrap(), Some(dropped(2, "again")));
}

#[test]
fn a_fresh_handle_sees_and_replaces_only_what_it_adds() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    put_units(&opened, &key(), &(0..2000).map(mixed).collect::<Vec<_>>());
    let mut units = opened.units(&key(), true).unwrap();
    for number in 500..1500 {
        assert!(!units.contains(&content(number)).unwrap());
        units.add(&dropped(number, "fresh")).unwrap();
        if number % 300 == 0 {
            units.flush().unwrap();
        }
        assert!(units.contains(&content(number)).unwrap());
    }
    units.finish().unwrap();
    assert!(!units.contains(&content(0)).unwrap());
    let mut units = opened.units(&key(), false).unwrap();
    check(&mut units, (0..500).chain(1500..2000));
    for number in 500..1500 {
        assert_eq!(units.get(&content(number)).unwrap(), Some(dropped(number, "fresh")));
    }
    let bytes: u64 = files(&opened.root().join("units")).iter().map(|path| path.metadata().unwrap().len()).sum();
    let mut all = opened.units(&key(), true).unwrap();
    (0..2000).for_each(|number| all.add(&plain(number)).unwrap());
    all.finish().unwrap();
    let after: u64 = files(&opened.root().join("units")).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(after < bytes && all.files().len() == 1, "nothing of the old results is left");
}

#[test]
fn two_handles_add_and_merge_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (store(folder.path()), store(folder.path()));
    std::thread::scope(|scope| {
        for (opened, numbers) in [(&one, 0..200), (&two, 100..300)] {
            scope.spawn(move || {
                let mut units = opened.units(&key(), false).unwrap();
                for number in numbers {
                    if !units.contains(&content(number)).unwrap() {
                        units.add(&mixed(number)).unwrap();
                    }
                    units.flush().unwrap();
                    assert!(units.contains(&content(number)).unwrap(), "{number}");
                }
                units.finish().unwrap();
            });
        }
    });
    check(&mut store(folder.path()).units(&key(), false).unwrap(), 0..300);
    assert!(one.take_notes().is_empty() && two.take_notes().is_empty());
}

#[test]
fn a_reader_goes_on_while_another_handle_merges() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    for first in (0..700).step_by(100) {
        let mut units = opened.units(&key(), false).unwrap();
        (first..first + 100).for_each(|number| units.add(&mixed(number)).unwrap());
        units.flush().unwrap();
    }
    let mut reader = opened.units(&key(), false).unwrap();
    check(&mut reader, 0..50);
    let before = reader.files();
    let other = store(folder.path());
    put_units(&other, &key(), &[mixed(700)]);
    assert!(files(&opened.root().join("units")).len() < before.len());
    check(&mut reader, 50..700);
    check(&mut reader, (0..700).rev());
    assert!(opened.take_notes().is_empty() && other.take_notes().is_empty());
}

#[test]
fn memory_does_not_grow_with_the_entries() {
    // Files are listed with a few bytes for each block of 256 entries: counted by what the structures hold.
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    let count = 1_000_000;
    for number in 0..count {
        units.add(&plain(number)).unwrap();
        assert!(number % 50_000 > 0 || units.memory() < 40 << 20, "{number}: {}", units.memory());
    }
    units.finish().unwrap();
    let mut units = opened.units(&key(), false).unwrap();
    for number in (0..count).step_by(97).chain(count..count + 1000) {
        assert_eq!(units.contains(&content(number)).unwrap(), number < count);
    }
    let cache = 16 << 20;
    assert!(units.memory() < cache + 3 * count as usize, "{}", units.memory());
}

#[test]
fn a_damaged_block_costs_its_own_entries_only() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let file = put_units(&opened, &key(), &(0..3000).map(mixed).collect::<Vec<_>>()).remove(0);
    let path = opened.root().join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let opened = store(folder.path());
    let mut units = opened.units(&key(), false).unwrap();
    let mut lost = Vec::new();
    for number in 0..3000 {
        match units.get(&content(number)).unwrap() {
            Some(unit) => assert_eq!(unit, mixed(number)),
            None => {
                units.add(&mixed(number)).unwrap();
                lost.push(number);
            }
        }
    }
    assert!((1..=256).contains(&lost.len()), "{}", lost.len());
    units.finish().unwrap();
    assert_eq!(opened.take_notes().len(), 1);
    check(&mut opened.units(&key(), false).unwrap(), 0..3000);
}
