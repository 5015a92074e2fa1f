//! Measurements for people: `RUMINATE_MEASURE=PLUGIN.wasm,... cargo test --release time_of -- --nocapture`. Without the
//! variable, nothing is done.

use std::path::Path;
use std::time::{Duration, Instant};

use ruminate_flow::event::Cancel;
use ruminate_flow::record::{FieldKind, Record};
use ruminate_flow::stage::Outcome;
use serde_json::json;

use super::{build, process, record, run, units};

/// Records per call of a stage, calls per round (the clock of CPU time is coarse), and rounds.
const RECORDS: usize = 4096;
const CALLS: usize = 6;
const ROUNDS: usize = 3;

#[test]
fn time_of_a_record() {
    let Ok(plugins) = std::env::var("RUMINATE_MEASURE") else { return };
    let text = "The sides are equal, so x = 3 and we go on. ".repeat(46);
    let records: Vec<_> = (0..RECORDS).map(|i| record(&i.to_string(), &[("reasoning", &text)])).collect();
    let (wall, cpu) = median(|| {
        std::hint::black_box(&records).iter().filter(|record| words(record) > 500).count();
    });
    println!(
        "{} bytes a text; words counted natively: {:.2} us a record, {:.2} us of CPU",
        text.len(),
        micros(wall, RECORDS),
        micros(cpu, RECORDS)
    );
    for plugin in plugins.split(',').filter(|plugin| !plugin.is_empty()) {
        measure(Path::new(plugin), &records);
    }
}

fn words(record: &Record) -> usize {
    record.text("reasoning").unwrap_or_default().split_whitespace().zip(0..=500).count()
}

fn measure(plugin: &Path, records: &[Record]) {
    let input = [("reasoning", FieldKind::Text)];
    let start = Instant::now();
    let start_mb = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512].into_iter().find(|mb| {
        let options = json!({ "memory-mb": mb });
        build(plugin, options, &input).is_ok_and(|stage| {
            run(&stage, &records[..1], 1).0.iter().all(|outcome| matches!(outcome, Outcome::Done { .. }))
        })
    });
    println!("{}: starts within {start_mb:?} MB; first use {:?}", plugin.display(), start.elapsed());
    let (all, cancel) = (units(records), Cancel::default());
    let slow = {
        let stage = build(plugin, json!({}), &input).expect("the node is right");
        drop(process(&stage, &all[..64], 1, &cancel));
        let start = Instant::now();
        drop(process(&stage, &all[..64], 1, &cancel));
        start.elapsed() > Duration::from_millis(8)
    };
    let units = if slow { &all[..512] } else { &all };
    for (batch, threads) in [(1, 1), (16, 1), (256, 1), (1024, 1), (256, 2)] {
        let stage = build(plugin, json!({ "batch": batch }), &input).expect("the node is right");
        drop(process(&stage, units, threads, &cancel));
        let (wall, cpu) = median(|| drop(process(&stage, units, threads, &cancel)));
        println!(
            "  batch {batch:4}, {threads} threads: {:7.2} us a record, {:7.2} us of CPU",
            micros(wall, units.len()),
            micros(cpu, units.len())
        );
    }
}

/// The medians of wall-clock and CPU time.
fn median(mut work: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let (start, cpu) = (Instant::now(), cpu_time());
            (0..CALLS).for_each(|_| work());
            (start.elapsed() / CALLS as u32, cpu_time().saturating_sub(cpu) / CALLS as u32)
        })
        .collect();
    times.sort();
    let wall = times[ROUNDS / 2].0;
    times.sort_by_key(|time| time.1);
    (wall, times[ROUNDS / 2].1)
}

/// The CPU time of this process: of all its threads, those that have ended left out.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // User and system time are the 14th and 15th figure, in hundredths of a second.
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn micros(time: Duration, records: usize) -> f64 {
    time.as_secs_f64() * 1e6 / records as f64
}
