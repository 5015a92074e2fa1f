//! Segments: the same records give the same digest, what is written reads back, what is damaged is not given.

use std::fs;

use crate::record::{Record, Value};

use super::{put_action, record, records, schema, store};
use crate::digest::Digest;

#[test]
fn the_digest_depends_on_the_records_alone() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let all = records(5000);
    let segments: Vec<_> = [1, 7, 1024, 5000]
        .into_iter()
        .map(|batch| {
            let mut writer = opened.segment_writer().unwrap();
            all.chunks(batch).for_each(|batch| writer.write(batch).unwrap());
            writer.finish(schema()).unwrap()
        })
        .collect();
    assert!(segments.iter().all(|segment| *segment == segments[0]));
    assert_eq!(segments[0].count, 5000);
    assert_eq!(opened.records(&segments[0]).unwrap().unwrap(), all);
    let mut other = all.clone();
    other.swap(0, 1);
    assert_ne!(put_action(&opened, &Digest::of(b"k"), &other, 1.0).records["records"].digest, segments[0].digest);
}

#[test]
fn blocks_are_bounded_and_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let large = Value::text("x".repeat(1 << 20));
    let all: Vec<Record> = (0..11).map(|number| record(number, large.clone())).collect();
    let segment = put_action(&opened, &Digest::of(b"k"), &all, 1.0).records["records"].clone();
    let mut reader = opened.open_segment(&segment).unwrap().unwrap();
    let mut lengths = Vec::new();
    while let Some(block) = reader.next().unwrap() {
        lengths.push(block.len());
    }
    assert_eq!(lengths, [4, 4, 3]);
    assert!(opened.verified(&segment.file()).unwrap());
}

#[test]
fn no_records_are_a_segment() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let segment = put_action(&opened, &Digest::of(b"k"), &[], 1.0).records["records"].clone();
    assert_eq!(opened.records(&segment).unwrap(), Some(vec![]));
}

#[test]
fn a_block_that_is_damaged_is_an_error_after_the_blocks_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let segment = put_action(&opened, &Digest::of(b"k"), &records(3000), 1.0).records["records"].clone();
    let path = opened.root().join(segment.file());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    let mut reader = opened.open_segment(&segment).unwrap().unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), records(1024));
    let error = reader.next().unwrap_err().to_string();
    assert!(error.contains("damaged; run the graph again"), "{error}");
    assert_eq!(opened.losses(), 1);
    let notes = opened.take_notes();
    assert!(notes.len() == 1 && notes[0].ends_with("is damaged: it is set aside and made anew"), "{notes:?}");
    assert!(opened.open_segment(&segment).unwrap().is_none());
    assert!(opened.take_notes().is_empty(), "one note is enough");
    put_action(&opened, &Digest::of(b"k"), &records(3000), 1.0);
    assert_eq!(opened.records(&segment).unwrap().unwrap(), records(3000));
    fs::remove_file(&path).unwrap();
    assert!(opened.open_segment(&segment).unwrap().is_none());
    assert!(opened.take_notes()[0].ends_with("is missing: it is made anew"));
}
