//! Nothing is lost: the program is killed at random moments and interrupted, and always goes on to the same bytes.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::engine::{Planned, Project, expect_same};
use crate::support::Ran;

/// Over all lanes; `RUMINATE_KILLS` asks for more or fewer.
const KILLS: usize = 200;
/// Of so many lives one has all its outputs printed and compared; of the others the identities are.
const EVERY: usize = 8;
/// Lanes at the same time, each with a store of its own.
const LANES: usize = 2;

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_been() {
    let kills = std::env::var("RUMINATE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let totals: Vec<Totals> = std::thread::scope(|scope| {
        let lane = |number| scope.spawn(move || lane(number, kills / LANES));
        let lanes: Vec<_> = (0..LANES as u64).map(lane).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for totals in totals {
        println!("{totals:?}");
        assert_eq!(totals.kills, kills / LANES);
    }
}

/// What a lane saw.
#[derive(Debug, Default)]
struct Totals {
    kills: usize,
    /// Fresh stores.
    lives: usize,
    /// Kills after which something more was in the store than before.
    advanced: usize,
}

/// Kills runs until `kills` are done. A life begins with an empty store and ends when a run comes to its end by itself.
fn lane(number: u64, kills: usize) -> Totals {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    let project = Project::at("tests/cases/kill/graph.toml");
    let whole_store = project.path("whole");
    let whole_store = ["--store", whole_store.to_str().unwrap()];
    let begin = Instant::now();
    let whole = project.run(&whole_store);
    // The lanes run at the same time, so this is how long a run takes beside the other lane.
    let needed = begin.elapsed();
    let (identities, expected) = (project.digests(&whole_store), project.outputs(&whole_store));
    let mut totals = Totals::default();
    while totals.kills < kills {
        totals.lives += 1;
        let when = format!("lane {number}, life {}", totals.lives);
        let store = project.path(&format!("life-{}", totals.lives));
        let more = ["--store", store.to_str().unwrap()];
        let mut before = BTreeMap::new();
        // What is left after a kill takes less time than the whole, and nearly every run should be killed.
        while totals.kills < kills && killed(&project, &more, random.random_range(Duration::ZERO..needed * 2 / 3)) {
            totals.kills += 1;
            let now = project.plan(&more);
            expect_nothing_lost(&before, &now, &when);
            totals.advanced += usize::from(now != before);
            before = now;
        }
        let last = project.run(&more);
        assert!(!last.ran.stderr.contains("damaged"), "{when}: a kill has left a damaged file:\n{}", last.ran.stderr);
        for (node, planned) in &before {
            let did = last.nodes[node];
            let kept = if planned.state == "hit" { did.computed == 0 } else { did.hits >= planned.cached };
            assert!(kept, "{when}: `{node}` had {planned:?}, and then {did:?}");
        }
        for (node, did) in &last.nodes {
            assert_eq!(did.records_out, whole.nodes[node].records_out, "{when}: `{node}`");
        }
        project.expect_all_hit(&more);
        assert_eq!(project.digests(&more), identities, "{when}");
        // To print everything takes longer than the run.
        if totals.lives % EVERY == 1 {
            expect_same(&project.outputs(&more), &expected, &when);
        }
        std::fs::remove_dir_all(&store).unwrap();
    }
    totals
}

/// Starts a run and kills it after `moment`; false if it came to its end before that.
fn killed(project: &Project, more: &[&str], moment: Duration) -> bool {
    let mut child = start(project, &[&["--quiet"], more].concat());
    std::thread::sleep(moment);
    // Unix sends SIGKILL: no handler of ours runs.
    child.kill().expect("the program can be killed");
    let output = child.wait_with_output().expect("it ends");
    assert!(matches!(output.status.code(), None | Some(0)), "{}", String::from_utf8_lossy(&output.stderr));
    output.status.code().is_none()
}

fn start(project: &Project, more: &[&str]) -> Child {
    let mut command = project.command("run", more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// What was in the store before a kill is there after it: every node has at least as much.
#[track_caller]
fn expect_nothing_lost(before: &BTreeMap<String, Planned>, now: &BTreeMap<String, Planned>, when: &str) {
    for (node, before) in before {
        let now = &now[node];
        let kept = now.cached >= before.cached && (before.state != "hit" || now.state == "hit");
        assert!(kept, "{when}: `{node}` had {before:?}, and after the next kill {now:?}");
    }
}

/// `count` rows of which each keeps a plugin busy for some `seconds`.
fn slow(count: usize, seconds: u64) -> Project {
    let project = Project::new("slow", 0);
    // Machines differ; the tests count records, not time.
    project.edit("fuel = 1000000000", &format!("fuel = {}", seconds * 15_000_000_000));
    project.write_json("rows.jsonl", (0..count).map(|row| json!({ "id": row, "command": "loop", "numbers": [row] })));
    project
}

/// Waits until `done` holds while the child runs.
#[track_caller]
fn wait_until(child: &mut Child, what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before {what}");
        assert!(begin.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("`kill` starts");
    assert!(status.success());
}

/// The end of a child that has been told to stop, which must come within `seconds`.
#[track_caller]
fn expect_end(mut child: Child, seconds: u64) -> Ran {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(seconds) {
            child.kill().unwrap();
            panic!("the program still ran {seconds} s after it was told to stop");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ran::of(child.wait_with_output().unwrap())
}

/// Records that take a good while each are kept as soon as they are done, whatever ends the run.
#[test]
fn a_finished_record_is_kept_at_once() {
    for interrupted in [false, true] {
        let project = slow(400, 1);
        project.edit("fuel = 15000000000", "fuel = 2000000000");
        let cached = || project.plan(&[])["busy"].cached;
        let mut child = start(&project, &[]);
        let mut kept = 0;
        wait_until(&mut child, "three records were kept", || {
            kept = cached();
            kept >= 3
        });
        if interrupted {
            interrupt(&child);
            let ran = expect_end(child, 10).expect(130);
            for part in ["interrupted", "go on", "ruminate run"] {
                assert!(ran.stderr.contains(part), "no `{part}` in\n{}", ran.stderr);
            }
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(cached() >= kept, "{kept} records had been kept");
        let run = project.run(&["--set", &format!("nodes.rows.limit={kept}")]);
        assert_eq!((run.nodes["busy"].hits, run.nodes["busy"].computed), (kept, 0));
    }
}

/// One interrupt ends a run within 10 s however long a record takes; a second ends it at once.
#[test]
fn an_interrupt_ends_the_run() {
    for (interrupts, seconds) in [(1, 10), (2, 3)] {
        let project = slow(2, 40);
        let events = project.path("events.jsonl");
        let mut child = start(&project, &["--events", events.to_str().unwrap()]);
        wait_until(&mut child, "`busy` ran", || {
            let text = std::fs::read_to_string(&events).unwrap_or_default();
            text.lines().any(|line| line.contains("\"busy\"") && line.contains("\"run\""))
        });
        for _ in 0..interrupts {
            interrupt(&child);
            std::thread::sleep(Duration::from_millis(300));
        }
        expect_end(child, seconds).expect(130);
    }
}

/// Interrupts of a run over every kind of node, at moments over its length: each goes on to the same bytes.
#[test]
fn an_interrupted_run_goes_on_and_ends_as_if_nothing_had_been() {
    let project = Project::at("tests/cases/kill/graph.toml");
    let begin = Instant::now();
    project.run(&[]);
    let needed = begin.elapsed();
    let expected = project.outputs(&[]);
    let store = project.path("interrupted");
    let more = ["--store", store.to_str().unwrap()];
    let mut before = BTreeMap::new();
    for part in 1..8 {
        let mut child = start(&project, &more);
        std::thread::sleep(needed * part / 8);
        if child.try_wait().unwrap().is_none() {
            interrupt(&child);
        }
        let ran = expect_end(child, 10);
        assert!(matches!(ran.code, Some(0 | 130)), "exit {:?}:\n{}", ran.code, ran.stderr);
        let now = project.plan(&more);
        expect_nothing_lost(&before, &now, &format!("interrupt {part}"));
        before = now;
    }
    project.run(&more);
    expect_same(&project.outputs(&more), &expected, "after interrupts");
}
