//! The same bytes at any number of threads and any batch size, and memory that does not grow with the data.

use std::io::{BufWriter, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::engine::{Project, expect_same, row};

#[test]
fn threads_and_batches_change_no_byte() {
    let project = Project::new("cheap", 1500);
    project.run(&[]);
    let expected = project.outputs(&[]);
    for threads in ["1", "2", "8"] {
        for batch in [1, 7, 256] {
            let sets = ["brief", "cut"].map(|node| format!("nodes.{node}.batch={batch}"));
            let store = project.path(&format!("store-{threads}-{batch}"));
            let more = ["--set", &sets[0], "--set", &sets[1], "--store", store.to_str().unwrap()];
            project.run(&[&more[..], &["--threads", threads]].concat());
            expect_same(&project.outputs(&more), &expected, &format!("{threads} threads, batches of {batch}"));
        }
    }
}

#[test]
fn memory_does_not_grow_with_the_data() {
    const MEBIBYTE: u64 = 1 << 20;
    let [small, large] = [100_000, 400_000].map(|count| {
        let project = Project::new("records", 0);
        write_many(&project, count);
        let first = peak_memory(&project);
        // Again, from the store: what is looked up must not be held either.
        (first, peak_memory(&project))
    });
    println!("most memory held, cold and cached: {small:?} bytes for 100,000 records, {large:?} for 400,000");
    for (small, large) in [(small.0, large.0), (small.1, large.1)] {
        assert!(large < 500 * MEBIBYTE, "{} MiB for 400,000 records", large / MEBIBYTE);
        let bound = small + small * 3 / 10 + 16 * MEBIBYTE;
        assert!(large < bound, "{} MiB became {} MiB at four times the records", small / MEBIBYTE, large / MEBIBYTE);
    }
}

fn write_many(project: &Project, count: usize) {
    let mut file = BufWriter::new(std::fs::File::create(project.path("rows.jsonl")).unwrap());
    for number in 0..count {
        writeln!(file, "{}", row(number).to_json()).unwrap();
    }
    file.flush().unwrap();
}

/// The most memory, in bytes, that a run of the graph held.
fn peak_memory(project: &Project) -> u64 {
    let mut child = project.command("run", &["--quiet"]).stderr(Stdio::inherit()).spawn().expect("the program starts");
    let mut most = 0;
    while child.try_wait().expect("it can be waited for").is_none() {
        most = high_water(&child).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    most
}

/// The system's own high-water mark of a process, which forgets nothing between two looks.
fn high_water(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
