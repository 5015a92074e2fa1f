//! Measurements for people: `RUMINATE_MEASURE=1 cargo test --release measure -- --nocapture --test-threads 1`.

use std::time::Instant;

use crate::digest::Digest;
use crate::record::Value;

use super::{content, files, plain, put_action, record, records, schema, store};

fn wanted() -> Option<u64> {
    std::env::var("RUMINATE_MEASURE").ok().map(|count| count.parse().unwrap_or(1_000_000))
}

fn say(what: &str, count: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {seconds:.3} s, {:.2} M/s", count as f64 / seconds / 1e6);
}

#[test]
fn measure_units() {
    let Some(count) = wanted() else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let key = Digest::of(b"key");
    let all: Vec<_> = (0..count).map(plain).collect();
    let opened = store(folder.path());
    let mut units = opened.units(&key, false).unwrap();
    let started = Instant::now();
    for unit in &all {
        units.add(unit).unwrap();
        units.flush_if_due().unwrap();
    }
    units.finish().unwrap();
    say("add", count, started);
    println!("{} files", units.files().len());
    let opened = store(folder.path());
    let mut units = opened.units(&key, false).unwrap();
    let started = Instant::now();
    assert!(all.iter().all(|unit| units.get(&unit.content).unwrap().is_some()));
    say("get in order", count, started);
    let mut units = opened.units(&key, false).unwrap();
    let started = Instant::now();
    for number in 0..count {
        assert!(units.get(&all[((number * 7_368_787) % count) as usize].content).unwrap().is_some());
    }
    say("get out of order", count, started);
    let misses: Vec<_> = (count..2 * count).map(content).collect();
    let mut units = opened.units(&key, false).unwrap();
    let started = Instant::now();
    assert!(!misses.iter().any(|content| units.contains(content).unwrap()));
    say("get what is not there", count, started);
    let other = Digest::of(b"other");
    let mut units = opened.units(&other, false).unwrap();
    let started = Instant::now();
    for unit in &all {
        assert!(units.get(&unit.content).unwrap().is_none());
        units.add(unit).unwrap();
        units.flush_if_due().unwrap();
    }
    units.finish().unwrap();
    say("get and add", count, started);
}

#[test]
fn measure_segments() {
    let Some(count) = wanted() else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let opened = store(folder.path());
    let batch: Vec<_> = (0..1024).map(|number| record(number, Value::text("word ".repeat(20)))).collect();
    let started = Instant::now();
    let mut writer = opened.segment_writer().unwrap();
    for _ in 0..count / 1024 {
        writer.write(&batch).unwrap();
    }
    let segment = writer.finish(schema()).unwrap();
    say("write records", count, started);
    let bytes = files(&opened.root().join("segments")).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    println!("{:.1} MB", bytes as f64 / 1e6);
    let started = Instant::now();
    let mut reader = opened.open_segment(&segment).unwrap().unwrap();
    while reader.next().unwrap().is_some() {}
    say("read records", count, started);
}

#[test]
fn measure_verified() {
    if wanted().is_none() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let opened = store(folder.path());
    let names: Vec<_> = (0..1000u64)
        .map(|number| put_action(&opened, &content(number), &records(number % 50 + 1)[number as usize % 50..], 1.0))
        .map(|action| action.records["records"].file())
        .collect();
    drop(opened);
    let opened = store(folder.path());
    let started = Instant::now();
    assert!(names.iter().all(|name| opened.verified(name).unwrap()));
    say("verified", 1000, started);
    let started = Instant::now();
    opened.flush().unwrap();
    say("flush", 1, started);
}
