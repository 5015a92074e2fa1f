//! The disk: what a killed process leaves, and a disk that is full at any write.

use std::fs;
use std::process::Command;

use crate::digest::Digest;
use crate::record::Value;
use crate::stage::{Blobs, Checkpoint, FileContent};
use crate::store::Store;

use super::{content, files, image, plain, put_action, put_units, records, store, written};

#[test]
fn reading_makes_no_store_and_leftovers_go_when_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    assert!(opened.action(&content(1)).unwrap().is_none());
    assert!(!opened.units(&content(1), false).unwrap().contains(&content(1)).unwrap());
    assert!(!opened.verified("segments/x").unwrap());
    opened.flush().unwrap();
    assert!(!opened.root().exists());
    put_action(&opened, &content(1), &records(5), 1.0);
    let half = opened.scratch().unwrap().join("half");
    fs::create_dir_all(half.join("inner")).unwrap();
    drop(store(folder.path()));
    assert!(half.exists(), "a process that writes may need it");
    drop(opened);
    drop(store(folder.path()));
    assert!(!half.exists());
    assert!(files(&folder.path().join("store").join("tmp")).is_empty());
}

#[test]
fn a_file_of_the_scratch_folder_is_taken_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    let scratch = opened.scratch().unwrap();
    let digests = ["first", "second"].map(|name| {
        let path = scratch.join(name);
        fs::write(&path, vec![3; 1000]).unwrap();
        let digest = opened.put_file(&FileContent::Move(path)).unwrap();
        assert!(!scratch.join(name).exists());
        digest
    });
    assert_eq!(digests, [Digest::of(&[3; 1000]); 2]);
    let path = opened.file(&digests[0]).unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), [3; 1000]);
    assert!(opened.put_file(&FileContent::Move(scratch.join("none"))).is_err());
}

/// In a process of its own: everything that writes, under a limit for files' sizes that the parent set.
#[test]
fn write_under_a_limit() {
    let Some(folder) = std::env::var_os("RUMINATE_TEST_LIMITED") else { return };
    let opened = store(folder.as_ref());
    let mut failures = 0;
    let mut check = |result: Result<(), crate::error::StageError>| {
        if let Err(error) = result {
            let text = error.to_string();
            assert!(text.starts_with("cannot write `") && text.contains("; free space and run again"), "{text}");
            failures += 1;
        }
    };
    let large = "x".repeat(300 << 10);
    check(opened.put(large.as_bytes(), "text/plain").map(|_| ()));
    check(opened.put(&large.as_bytes()[..200 << 10], "text/plain").map(|_| ()));
    check(opened.flush());
    check(opened.checkpoint(&content(1)).save(&[("part".to_owned(), large.as_bytes().to_vec())].into()));
    check(opened.segment_writer().and_then(|mut writer| {
        writer.write(&[super::record(1, Value::text(&large))])?;
        writer.finish(super::schema()).map(|_| ())
    }));
    let mut units = opened.units(&content(2), false).unwrap();
    units.add(&written(1, Value::text(&large))).unwrap();
    check(units.flush());
    assert!(units.contains(&content(1)).unwrap(), "what could not be written is still known");
    assert_eq!(failures, 5);
    assert!(files(&opened.root().join("tmp")).is_empty());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_a_later_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    put_action(&opened, &content(1), &records(50), 1.0);
    put_units(&opened, &content(2), &[plain(7)]);
    drop(opened);
    // Without the signal a write over the limit is an error, as on a full disk. 128 blocks of 512 bytes or 1 KiB.
    let script =
        r#"trap '' XFSZ; ulimit -f 128; exec "$0" --exact store::tests::disk::write_under_a_limit --nocapture"#;
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .env("RUMINATE_TEST_LIMITED", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    let opened: Store = store(folder.path());
    let report = opened.verify(&mut |_| {}).unwrap();
    assert!(report.damaged.is_empty() && report.missing.is_empty(), "{report:?}");
    assert!(opened.action(&content(1)).unwrap().is_some());
    let mut units = opened.units(&content(2), false).unwrap();
    assert!(units.contains(&content(7)).unwrap() && !units.contains(&content(1)).unwrap());
    units.add(&written(1, Value::text("x".repeat(300 << 10)))).unwrap();
    units.finish().unwrap();
    let blob = image(&opened, 1, 300 << 10);
    opened.flush().unwrap();
    assert_eq!(Digest::of(&opened.get(&blob).unwrap()), blob.digest);
}
