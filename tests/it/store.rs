//! A store that can be trusted: every file of it damaged or taken away, a full disk, several processes, and its commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::engine::{Project, Run};
use crate::support::Ran;

/// What is done to a file of the store.
/// What is done to a file.
type Damage = fn(&Path);

const DAMAGES: &[(&str, Damage)] = &[
    ("a flipped bit at the beginning", |path| flip(path, 0.0)),
    ("a flipped bit in the middle", |path| flip(path, 0.5)),
    ("a flipped bit at the end", |path| flip(path, 1.0)),
    ("nothing left in it", |path| truncate(path, |_| 0)),
    ("half of it", |path| truncate(path, |length| length / 2)),
    ("all but the last byte", |path| truncate(path, |length| length.saturating_sub(1))),
    ("deleted", |path| std::fs::remove_file(path).unwrap()),
];

fn flip(path: &Path, place: f64) {
    let mut bytes = std::fs::read(path).unwrap();
    if let Some(last) = bytes.len().checked_sub(1) {
        let place = (last as f64 * place) as usize;
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(path, bytes).unwrap();
    }
}

fn truncate(path: &Path, length: fn(u64) -> u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(length(file.metadata().unwrap().len())).unwrap();
}

#[test]
fn whatever_happens_to_a_file_the_results_are_right() {
    let project = Project::new("plain", 300);
    project.run(&[]);
    let expected = (project.digests(&[]), project.written());
    let files = project.store_files();
    println!("{} files: {files:#?}", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        for (damage, act) in DAMAGES {
            let path = project.path("store").join(file);
            // A repair may have given the same records another file.
            if !path.exists() {
                continue;
            }
            act(&path);
            let run = project.try_run(&[]);
            let mut complain = |what: &str| wrong.push(format!("{file}, {damage}: {what}\n{}", run.ran.stderr));
            if run.ran.code != Some(0) {
                complain(&format!("exit {:?}", run.ran.code));
                continue;
            }
            if (project.digests(&[]), project.written()) != expected {
                complain("other results");
            }
            let mattered = run.nodes.values().any(|did| did.computed > 0);
            let said = run.ran.stderr.contains("damaged") || run.ran.stderr.contains("missing");
            if mattered && !said && *damage != "deleted" {
                complain("computed again without a word");
            }
            if said && file == "lock" {
                complain("a lock file holds nothing");
            }
            let again = project.run(&[]);
            if again.nodes.values().any(|did| did.computed > 0) || again.ran.stderr.contains("damaged") {
                wrong.push(format!("{file}, {damage}: the run after is not clean\n{}", again.ran.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A bit that rots changes no modification time: what is read is checked all the same.
#[test]
fn rot_is_found_by_whoever_reads() {
    let project = Project::new("plain", 300);
    project.run(&[]);
    let expected = project.outputs(&[]);
    for file in
        project.store_files().into_iter().filter(|file| ["segments", "units"].iter().any(|kind| file.starts_with(kind)))
    {
        rot(&project, &file);
        let verify = project.store(&["verify"]);
        assert_eq!(verify.code, Some(1), "{file}: {}{}", verify.stdout, verify.stderr);
        let name = Path::new(&file).file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            format!("{}{}", verify.stdout, verify.stderr).contains(&name),
            "{file}: {}{}",
            verify.stdout,
            verify.stderr
        );
        project.run(&[]);
        assert!(project.outputs(&[]) == expected, "{file}");
        project.store(&["verify"]).expect(0);
    }
}

fn rot(project: &Project, file: &str) {
    let path = project.path("store").join(file);
    let modified = path.metadata().unwrap().modified().unwrap();
    flip(&path, 0.4);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

impl Project {
    /// `ruminate store ...` on this project's store.
    fn store(&self, arguments: &[&str]) -> Ran {
        self.workplace.ruminate(&[&["store"], arguments].concat())
    }
}

/// A file can grow to so many KiB only: an error at whatever write it comes, and all is well once there is room.
#[test]
fn a_full_disk_is_an_error_and_no_loss() {
    let mut failed = 0;
    for limit in [0, 1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let project = Project::new("plain", 1000);
        let run = limited(&project, limit);
        assert!(matches!(run.code, Some(0 | 1)), "{limit} KiB: exit {:?}\n{}", run.code, run.stderr);
        if run.code == Some(1) {
            failed += 1;
            let named = run.stderr.contains(project.workplace.folder.path().to_str().unwrap());
            assert!(named && run.stderr.contains("cannot write"), "{limit} KiB: which file?\n{}", run.stderr);
        }
        expect_recovery(&project, &format!("after {limit} KiB"));
    }
    assert!(failed >= 3, "only {failed} limits were too small");
}

fn limited(project: &Project, kibibytes: u64) -> Ran {
    let run = project.command("run", &["--quiet"]);
    let mut command = Command::new("bash");
    // Without the trap the system would end the program at the first write beyond the limit.
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$@\"")).arg("bash");
    command.arg(run.get_program()).args(run.get_args());
    command.current_dir(run.get_current_dir().unwrap());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ran::of(command.output().expect("`bash` starts"))
}

/// The next run goes on, and gives what a run that was never disturbed gives.
#[track_caller]
fn expect_recovery(project: &Project, when: &str) {
    let run = project.run(&[]);
    assert!(!run.ran.stderr.contains("damaged"), "{when}: half a file was left:\n{}", run.ran.stderr);
    let found = (project.digests(&[]), project.written());
    let store = project.path("undisturbed");
    let fresh = ["--store", store.to_str().unwrap()];
    project.run(&fresh);
    assert!(found == (project.digests(&fresh), project.written()), "{when}: other results");
}

/// The same on a file system that is really full; needs the right to mount one.
#[test]
fn a_full_file_system_is_an_error_and_no_loss() {
    let mut failed = 0;
    for kibibytes in [64, 256, 512, 1024, 4096] {
        let project = Project::new("plain", 2000);
        let Some(_mounted) = Mounted::new(&project.path("store"), kibibytes) else {
            println!("skipped: this user cannot mount a file system");
            return;
        };
        let run = project.try_run(&[]).ran;
        assert!(matches!(run.code, Some(0 | 1)), "{kibibytes} KiB: exit {:?}\n{}", run.code, run.stderr);
        if run.code == Some(1) {
            failed += 1;
            assert!(
                run.stderr.contains("No space left") && run.stderr.contains("/store"),
                "{kibibytes} KiB\n{}",
                run.stderr
            );
        }
        let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(project.path("store")).status().unwrap();
        assert!(grown.success());
        expect_recovery(&project, &format!("after {kibibytes} KiB"));
    }
    assert!(failed >= 1, "every size was enough");
}

/// A small file system in memory, taken away with the value.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(folder: &Path, kibibytes: u64) -> Option<Self> {
        std::fs::create_dir(folder).unwrap();
        let size = format!("size={kibibytes}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn processes_share_a_store() {
    let project = Project::new("plain", 1000);
    let logs = ["1", "2", "3"].map(|number| project.path(&format!("events-{number}.jsonl")));
    let start = |log: &std::path::PathBuf| {
        let mut command = project.command("run", &["--events", log.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let children: Vec<_> = logs.iter().map(start).collect();
    for child in children {
        let ran = Ran::of(child.wait_with_output().unwrap()).expect(0);
        assert!(!ran.stderr.contains("damaged"), "{}", ran.stderr);
    }
    let ends = logs.map(|log| crate::engine::did(&std::fs::read_to_string(log).unwrap()));
    let out =
        |did: &BTreeMap<String, crate::engine::Did>| -> Vec<u64> { did.values().map(|did| did.records_out).collect() };
    assert!(ends.iter().all(|did| out(did) == out(&ends[0])), "{ends:#?}");
    expect_recovery(&project, "three at once");
    expect_cached(&project.run(&[]), "the fourth");
}

#[track_caller]
fn expect_cached(run: &Run, when: &str) {
    let again: Vec<_> = run.nodes.iter().filter(|(_, did)| did.computed > 0).collect();
    assert!(again.is_empty(), "{when} computed again: {again:#?}");
}

#[test]
fn the_store_can_be_measured_and_cleared() {
    let project = Project::new("plain", 1000);
    project.run(&[]);
    let pinned = project.digests(&[]);
    // A variant that no graph keeps, without the nodes that would write over the graph's files.
    let variant = ["--set", "nodes.good.condition=score < 0.5", "--to", "some"];
    project.run(&variant);
    let (graph, size) = (project.path("graph.toml"), || -> u64 {
        project.store_files().iter().map(|file| project.path("store").join(file).metadata().unwrap().len()).sum()
    });
    let graph = graph.to_str().unwrap();
    let usage = project.store(&["du", "--json"]).expect(0).json();
    assert!(usage.is_array() || usage.is_object(), "{usage}");
    project.store(&["verify"]).expect(0);
    let before = (project.store_files(), size());
    project.store(&["gc", "--keep", graph, "--dry-run"]).expect(0);
    assert_eq!((project.store_files(), size()), before, "a dry run removes nothing");
    assert_ne!(project.store(&["gc"]).code, Some(0), "nothing is kept, by mistake");
    project.store(&["gc", "--keep", graph]).expect(0);
    assert!(size() < before.1, "nothing was freed");
    project.expect_all_hit(&[]);
    expect_cached(&project.run(&[]), "a pinned graph");
    assert_eq!(project.digests(&[]), pinned);
    project.store(&["verify"]).expect(0);
    project.run(&variant);
    project.store(&["gc", "--keep", graph, "--max-size", "1GB"]).expect(0);
    expect_cached(&project.run(&variant), "what fits");
    project.store(&["gc", "--keep", graph, "--max-size", "1"]).expect(0);
    expect_cached(&project.run(&[]), "a pinned graph that does not fit");
}
