//! The guests of tests/plugins/hostile: each does one thing that no plugin should, and says in its head what becomes of
//! it. Whatever they do, the next plugin works.
//!
//! A head is comments: what the guest does, then `KEY: VALUE` for options of the node (`fuel: 1000`), for the test and for
//! what is expected, where `*` stands for anything:
//!
//! - `world:` of the guest; default `filter`
//! - `rows:` how many; default 16. `bad:` which is bad; default 0. `all: yes`: whatever is in them breaks it
//! - `refused OPTION:` the complaint of the check
//! - `dropped:` the reason of the bad row's drop; `failed:` the same of a failure that is no verdict; `passes: yes`
//! - `note:` a line that is shown
//!
//! `part: NAME` begins a part of the module; see [`Guest`]. `call` is what the guest does with a batch that has the bad row,
//! before it keeps all (`$rows`, `$count`; two spare locals, `$a` and `$b`); `realloc` what it does before it makes room.

use std::collections::BTreeMap;
use std::path::Path;

use ruminate_flow::record::{FieldKind, Record};
use ruminate_flow::stage::Outcome;
use serde_json::{Value as Json, json};

use super::wat::{self, Guest};
use super::{build, file, reason, record, run};
use crate::caps::TABLE_ELEMENTS_POOLED;

const INPUT: &[(&str, FieldKind)] = &[("text", FieldKind::Text)];
/// A file of the folder.
#[derive(Default)]
struct Case {
    name: String,
    head: Vec<(String, String)>,
    parts: BTreeMap<String, String>,
}

impl Case {
    fn read(path: &Path) -> Case {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut case = Case { name, ..Case::default() };
        let mut part = None;
        for line in std::fs::read_to_string(path).expect("the guest can be read").lines() {
            match line.strip_prefix(";; ").and_then(|line| line.split_once(": ")) {
                Some(("part", name)) => part = Some(case.parts.entry(name.to_owned()).or_default()),
                Some((key, value)) => case.head.push((key.to_owned(), value.to_owned())),
                None => {
                    if let Some(part) = &mut part {
                        part.push_str(line);
                        part.push('\n');
                    }
                }
            }
        }
        case
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.head.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn part(&self, name: &str) -> &str {
        self.parts.get(name).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).map(|value| value.parse().expect("a number"))
    }

    fn component(&self) -> Vec<u8> {
        let world = self.get("world").unwrap_or("filter");
        let guest = Guest {
            reads: &[("text", "text")],
            imports: self.part("imports"),
            describe: self.part("describe"),
            configure: self.part("configure"),
            body: &format!("{}\n{}", function(world, self.part("call")), self.part("body")),
            ..Guest::default()
        };
        let realloc = format!("(local $at i32)\n{}", self.part("realloc"));
        wat::component(world, &guest.module().replacen("(local $at i32)", &realloc, 1))
    }

    /// The options of the node, with memories of the system's or as they come.
    fn options(&self, system: bool) -> Json {
        let known = ["fuel", "memory-mb", "timeout-ms", "batch", "stack-kb"];
        let given = known.iter().filter_map(|key| Some(((*key).to_owned(), json!(self.number(key)?))));
        let system = system.then(|| ("table-elements".to_owned(), json!(TABLE_ELEMENTS_POOLED)));
        Json::Object(given.chain(system).collect())
    }

    fn rows(&self) -> usize {
        self.number("rows").map_or(16, |rows| rows as usize)
    }
}

/// The function of a world that keeps all rows, and does `call` with a batch in which a text begins with `b`.
fn function(world: &str, call: &str) -> String {
    let (export, answer_bytes) = match world {
        "filter" => ("filter", 12),
        "mapper" => ("transform", 8),
        "reward" => ("score", 24),
        other => panic!("no world `{other}`"),
    };
    format!(
        r#"(func $bad (param $rows i32) (param $count i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $rows) (i32.mul (local.get $count) (i32.const 16))))
    (loop $next
      (if (i32.eq (i32.load8_u (i32.load offset=16 (i32.load offset=8 (local.get $rows)))) (i32.const 98))
        (then (return (i32.const 1))))
      (local.set $rows (i32.add (local.get $rows) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $rows) (local.get $end))))
    (i32.const 0))
  (func $good (param $count i32) (result i32)
    (local $result i32)
    (local.set $result (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 12)))
    (i32.store offset=4 (local.get $result)
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.mul (local.get $count) (i32.const {answer_bytes}))))
    (i32.store offset=8 (local.get $result) (local.get $count))
    (local.get $result))
  (func $call (export "{export}") (param $rows i32) (param $count i32) (result i32)
    (local $a i32) (local $b i32)
    (if (call $bad (local.get $rows) (local.get $count)) (then {call}))
    (call $good (local.get $count)))"#
    )
}

fn records(count: usize, bad: Option<usize>) -> Vec<Record> {
    let text = |i| if Some(i) == bad { "bad".to_owned() } else { format!("good {i}") };
    (0..count).map(|i| record(&format!("r{i}"), &[("text", &text(i))])).collect()
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
fn fits(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let parts: Vec<_> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        match rest.find(part) {
            _ if index + 1 == parts.len() => return rest.ends_with(part),
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// What is wrong with what became of the guest at `path`, with memories of the system's or as they come.
fn faults(path: &Path, folder: &Path, system: bool) -> Vec<String> {
    let case = Case::read(path);
    // Their node has the default of the option that would give it the system's.
    if system && case.head.iter().any(|(_, text)| text.contains("table-elements")) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut expect = |what: &str, found: &str, expected: &str| {
        if !fits(found, expected) {
            faults.push(format!("{}: {what}\n  expected {expected}\n  found    {found}", case.name));
        }
        if found.len() > 1000 || found.contains('\n') {
            faults.push(format!("{}: {what} has {} bytes or several lines", case.name, found.len()));
        }
    };
    let component = folder.join(format!("{}.wasm", case.name));
    std::fs::write(&component, case.component()).expect("the component can be written");
    let stage = match build(&component, case.options(system), INPUT) {
        Ok(stage) => stage,
        Err(complaints) => {
            let key = format!("refused {}", complaints[0].option.as_deref().unwrap_or("nothing"));
            expect(&key, &complaints[0].message, case.get(&key).unwrap_or("a plugin that is taken"));
            return faults;
        }
    };
    if let Some((key, expected)) = case.head.iter().find(|(key, _)| key.starts_with("refused")) {
        expect(key, "a plugin that is taken", expected);
        return faults;
    }
    let all = case.get("all").is_some();
    let bad = case.number("bad").unwrap_or(0) as usize;
    let (outcomes, notes) = run(&stage, &records(case.rows(), Some(bad)), 1);
    let unharmed = if all { outcomes.clone() } else { run(&stage, &records(case.rows(), None), 1).0 };
    for (index, outcome) in outcomes.iter().enumerate() {
        if index != bad && !all {
            let same = if *outcome == unharmed[index] { "as alone" } else { "another" };
            expect(&format!("row {index}"), same, "as alone");
            continue;
        }
        match outcome {
            Outcome::Failed { reason } => expect("failed", reason, case.get("failed").unwrap_or("no failure")),
            done if reason(done) == "passed" => expect("passes", "yes", case.get("passes").unwrap_or("no")),
            done => expect("dropped", reason(done), case.get("dropped").unwrap_or("no drop")),
        }
    }
    for (_, wanted) in case.head.iter().filter(|(key, _)| key == "note") {
        if !notes.iter().any(|note| fits(note, wanted)) {
            expect("note", &format!("{notes:?}"), wanted);
        }
    }
    notes.iter().for_each(|note| expect("note", note, "*"));
    faults
}

#[test]
fn no_guest_harms_the_engine_or_another_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files: Vec<_> = std::fs::read_dir(file("tests/plugins/hostile"))
        .expect("the guests")
        .flatten()
        .map(|file| file.path())
        .collect();
    files.sort();
    assert!(files.len() > 50);
    let words = build(&file("plugins/max-words.wasm"), json!({ "config": { "field": "text", "max": 1 } }), INPUT);
    let words = words.expect("a good plugin");
    let expected = run(&words, &records(3, Some(1)), 2);
    let mut wrong = Vec::new();
    for path in &files {
        wrong.extend(faults(path, folder.path(), false));
        wrong.extend(faults(path, folder.path(), true));
        assert_eq!(run(&words, &records(3, Some(1)), 2), expected, "after `{}`", path.display());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn many_failures_are_noted_few_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let case = Case::read(&file("tests/plugins/hostile/panic-in-call.wat"));
    let component = folder.path().join("guest.wasm");
    std::fs::write(&component, case.component()).expect("the component can be written");
    let stage = build(&component, json!({}), INPUT).expect("the node is right");
    let records: Vec<_> = (0..40).map(|i| record(&format!("r{i}"), &[("text", &format!("bad {i}"))])).collect();
    let (outcomes, notes) = run(&stage, &records, 2);
    assert!(outcomes.iter().all(|outcome| reason(outcome) == "plugin panicked: the sky fell"));
    assert_eq!(notes.len(), 11, "{notes:?}");
    let last = "plugin `guest` fails on more records: `ruminate show GRAPH NODE --dropped` lists them";
    assert!(notes.iter().any(|note| note == last), "{notes:?}");
    // So it stays for the life of the node.
    assert!(run(&stage, &records, 2).1.is_empty());
}

#[test]
fn patterns_stand_for_what_they_should() {
    for (text, pattern, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "ab*", true),
        ("abc", "*c", true),
        ("abc", "a*c", true),
        ("abc", "a*b", false),
        ("abcbd", "*b*d", true),
        ("abc", "*x*", false),
        ("abc", "*b*", true),
    ] {
        assert_eq!(fits(text, pattern), expected, "{text} {pattern}");
    }
}
