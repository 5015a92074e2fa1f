//! Nothing is computed twice: edits of the data, the graph and the plugins, and how much each may compute again.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::{Did, Planned, Project, Row, Run, expect_same, pick, row, rows};

/// Enough for several batches and blocks.
const ROWS: usize = 2000;
/// One in eight is too long for `brief`.
const BRIEF: u64 = 1750;

/// An edit, and what it may cost.
struct Case {
    name: &'static str,
    edit: fn(&Project),
    /// More arguments of `run`.
    more: &'static [&'static str],
    /// Units computed by the three record stages `brief`, `cut` and `good`.
    computed: [u64; 3],
    /// Whether `mixed` and `written`, which consume whole streams, stay as they are.
    cutoff: bool,
    /// A node, and texts that the plan's reason for it must hold.
    why: Option<(&'static str, &'static [&'static str])>,
}

const SAME: Case = Case { name: "", edit: |_| (), more: &[], computed: [0; 3], cutoff: true, why: None };

fn change_rows(project: &Project, change: impl FnOnce(&mut Vec<Row>)) {
    let mut rows = rows(ROWS);
    change(&mut rows);
    project.write_rows("rows.jsonl", &rows);
}

/// Adds a custom section of WebAssembly to a plugin: other bytes, the same behaviour.
fn pad_plugin(project: &Project, name: &str, note: u8) {
    let path = project.path("plugins").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0, 3, 1, b'x', note]);
    std::fs::write(path, bytes).unwrap();
}

const CASES: &[Case] = &[
    Case { name: "nothing", ..SAME },
    Case {
        name: "a text that two stages read",
        edit: |project| change_rows(project, |rows| rows[1200].text = "a new text".to_owned()),
        computed: [1, 1, 0],
        cutoff: false,
        why: Some(("brief", &["1"])),
        ..SAME
    },
    Case {
        name: "a score that one stage reads",
        edit: |project| change_rows(project, |rows| rows[1201].score = 0.777),
        computed: [0, 0, 1],
        cutoff: false,
        ..SAME
    },
    Case {
        name: "a column that none reads, in every row",
        edit: |project| change_rows(project, |rows| rows.iter_mut().for_each(|row| row.note.push('!'))),
        cutoff: false,
        ..SAME
    },
    Case {
        name: "a column more",
        edit: |project| {
            let more = |row: &Row| {
                let mut row = row.to_json();
                row["more"] = true.into();
                row
            };
            project.write_json("rows.jsonl", rows(ROWS).iter().map(more));
        },
        cutoff: false,
        ..SAME
    },
    Case {
        name: "another name for a column that none reads",
        edit: |project| project.edit("path = \"rows.jsonl\"", "path = \"rows.jsonl\"\nfields = { remark = \"note\" }"),
        cutoff: false,
        ..SAME
    },
    Case {
        name: "the data file in another place",
        edit: |project| {
            std::fs::create_dir(project.path("moved")).unwrap();
            std::fs::rename(project.path("rows.jsonl"), project.path("moved/other.jsonl")).unwrap();
            project.edit("rows.jsonl", "moved/other.jsonl");
        },
        ..SAME
    },
    Case {
        name: "another name for a node",
        edit: |project| {
            project.edit("[nodes.cut]", "[nodes.snipped]");
            project.edit("\"cut\"", "\"snipped\"");
        },
        ..SAME
    },
    Case {
        name: "the rows in another order",
        edit: |project| change_rows(project, |rows| rows.reverse()),
        cutoff: false,
        ..SAME
    },
    Case { name: "one thread", more: &["--threads", "1"], ..SAME },
    Case { name: "another batch size", more: &["--set", "nodes.brief.batch=7", "--set", "nodes.cut.batch=1"], ..SAME },
    Case {
        name: "fewer rows",
        edit: |project| change_rows(project, |rows| rows.truncate(1500)),
        cutoff: false,
        ..SAME
    },
    Case {
        name: "forty more rows",
        edit: |project| change_rows(project, |rows| rows.extend((ROWS..ROWS + 40).map(row))),
        computed: [40, 35, 35],
        cutoff: false,
        why: Some(("brief", &["40"])),
        ..SAME
    },
    Case {
        name: "a row once more under another id",
        edit: |project| change_rows(project, |rows| rows.push(Row { id: "again".to_owned(), ..row(3) })),
        cutoff: false,
        ..SAME
    },
    Case {
        name: "an option that gives the same records",
        edit: |project| project.edit("max = 20 }", "max = 20 }\nfuel = 200000000"),
        computed: [ROWS as u64, 0, 0],
        ..SAME
    },
    Case {
        name: "an option that gives the same records and another reason for drops",
        edit: |project| project.edit("max = 20", "max = 21"),
        computed: [ROWS as u64, 0, 0],
        cutoff: false,
        why: Some(("brief", &["graph.toml:13:", "20", "21"])),
        ..SAME
    },
    Case {
        name: "an option that gives other records",
        edit: |project| project.edit("max = 20", "max = 19"),
        computed: [ROWS as u64, 0, 0],
        cutoff: false,
        ..SAME
    },
    Case {
        name: "other bytes of a plugin that do the same",
        edit: |project| pad_plugin(project, "max-words.wasm", 1),
        computed: [ROWS as u64, 0, 0],
        why: Some(("brief", &["plugin"])),
        ..SAME
    },
    Case {
        name: "other bytes of the second plugin that do the same",
        edit: |project| pad_plugin(project, "cut-reflection.wasm", 1),
        computed: [0, BRIEF, 0],
        ..SAME
    },
    Case {
        name: "the same bytes written again",
        edit: |project| {
            change_rows(project, |_| ());
            let path = project.path("plugins/max-words.wasm");
            std::fs::write(&path, std::fs::read(&path).unwrap()).unwrap();
        },
        ..SAME
    },
];

#[test]
fn an_edit_computes_only_what_it_touches() {
    let project = Project::new("records", ROWS);
    project.run(&[]);
    let kept = tempfile::tempdir().unwrap();
    copy_folder(project.workplace.folder.path(), kept.path());
    let mut wrong = Vec::new();
    for case in CASES {
        // All as the first run left it: a case must not profit from the one before.
        std::fs::remove_dir_all(project.workplace.folder.path()).unwrap();
        copy_folder(kept.path(), project.workplace.folder.path());
        (case.edit)(&project);
        // `--threads` is an argument of `run` alone.
        let overrides = if case.more.first() == Some(&"--set") { case.more } else { &[] };
        let plan = project.plan(overrides);
        let run = project.run(case.more);
        if let Err(difference) = as_expected(case, &plan, &run) {
            wrong.push(format!("{}: {difference}", case.name));
        }
        project.expect_all_hit(overrides);
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn as_expected(case: &Case, plan: &BTreeMap<String, Planned>, run: &Run) -> Result<(), String> {
    let computed = |name: &str| run.nodes.get(name).map_or(0, |did| did.computed);
    let cut = if run.nodes.contains_key("cut") { "cut" } else { "snipped" };
    let found = ["brief", cut, "good"].map(computed);
    if found != case.computed {
        return Err(format!("brief, cut and good computed {found:?} where {:?} was expected", case.computed));
    }
    let again = ["mixed", "written"].map(|name| computed(name) > 0);
    if case.cutoff && again != [false, false] {
        return Err(format!("`mixed` and `written` ran again: {again:?}"));
    }
    if let Some((node, parts)) = case.why {
        let why = &plan[node].why;
        if !parts.iter().all(|part| why.contains(part)) {
            return Err(format!("the reason for `{node}` is `{why}` where {parts:?} were expected"));
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A branch of its own beside the graph's chain.
const BRANCH: &str = "[nodes.other]\nkind = \"wasm\"\ninput = \"rows\"\nplugin = \"plugins/max-words.wasm\"\n\
                      config = { field = \"note\", max = 2 }\n\n[nodes.good]";

/// Random edits, one upon the other: a plan says what the run then does, and the run gives what an empty store would give.
#[test]
fn a_plan_says_what_a_run_does() {
    const STEPS: usize = 12;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let project = Project::new("records", 300);
    project.edit("[nodes.good]", BRANCH);
    let mut state = (rows(300), 300);
    for step in 0..STEPS {
        let edits = random.random_range(0..3);
        let edits: Vec<&str> = (0..edits).map(|_| edit(&mut random, &project, &mut state)).collect();
        let when = format!("step {step}, edits {edits:?}");
        let plan = project.plan(&[]);
        let run = project.run(&[]);
        for (node, planned) in &plan {
            expect_as_planned(planned, run.nodes[node], &plan, &format!("{when}: `{node}`"));
        }
        project.expect_all_hit(&[]);
        let found = (project.digests(&[]), project.written());
        let all = (step + 1 == STEPS).then(|| project.outputs(&[]));
        let store = project.path(&format!("fresh-{step}"));
        let fresh = ["--store", store.to_str().unwrap()];
        project.run(&fresh);
        assert!(found == (project.digests(&fresh), project.written()), "{when}: a fresh store gives something else");
        if let Some(found) = all {
            expect_same(&found, &project.outputs(&fresh), &when);
        }
    }
}

#[track_caller]
fn expect_as_planned(planned: &Planned, did: Did, plan: &BTreeMap<String, Planned>, when: &str) {
    let as_planned = match planned.state.as_str() {
        "hit" => did.computed == 0,
        "run" => did.computed > 0 && did.hits == 0,
        "partial" => {
            did.hits == planned.cached && Some(did.computed) == planned.records.map(|all| all - planned.cached)
        }
        // What it waits for is above it, and is not a hit.
        "waits" => plan.values().any(|other| matches!(other.state.as_str(), "run" | "partial")),
        _ => false,
    };
    assert!(as_planned, "{when} was planned as {planned:?} and did {did:?}");
}

/// Makes one random edit of the rows or the graph, and says which. Contents never come twice: a plan does not look for those
/// that a run would compute once for several records.
fn edit(random: &mut ChaCha8Rng, project: &Project, (rows, next): &mut (Vec<Row>, usize)) -> &'static str {
    let place = pick(random, rows.len());
    *next += 1;
    let name = match pick(random, 9) {
        0 => {
            rows[place].text = row(*next).text;
            "text"
        }
        1 => {
            rows[place].score = row(*next).score;
            "score"
        }
        2 => {
            rows[place].note.push_str(" more words");
            "note"
        }
        3 => {
            rows.remove(place);
            "remove"
        }
        4 => {
            rows.insert(place, row(*next));
            "insert"
        }
        5 => {
            let other = pick(random, rows.len());
            rows.swap(place, other);
            "swap"
        }
        6 => {
            // An earlier value comes back now and then: what it gave is still there.
            set(project, "max = ", &format!("{} }}\n", 17 + pick(random, 5)), "field = \"text\"");
            "option of brief"
        }
        7 => {
            set(project, "condition = ", &format!("\"score >= 0.{}\"\n", 1 + pick(random, 4)), "");
            "option of good"
        }
        _ => {
            pad_plugin(project, "cut-reflection.wasm", random.random_range(0..250));
            "plugin"
        }
    };
    project.write_rows("rows.jsonl", rows);
    name
}

/// Replaces what follows `key` in the first line of the graph that holds it and `also`.
fn set(project: &Project, key: &str, value: &str, also: &str) {
    let path = project.path("graph.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut changed = String::new();
    let mut done = false;
    for line in text.lines() {
        match line.find(key) {
            Some(place) if !done && line.contains(also) => {
                changed.push_str(&format!("{}{value}", &line[..place + key.len()]));
                done = true;
            }
            _ => changed.push_str(&format!("{line}\n")),
        }
    }
    assert!(done, "the graph has no `{key}`");
    std::fs::write(path, changed).unwrap();
}

/// A trained model stays although what fed it was computed again: what it learned from is the same.
#[test]
fn training_is_not_repeated_on_the_same_records() {
    let project = Project::at("tests/cases/kill/graph.toml");
    project.run(&["--to", "sft"]);
    let run = project.run(&["--to", "sft", "--set", "nodes.brief.config.max=41"]);
    let computed = |node: &str| run.nodes[node].computed;
    assert!(computed("brief") > 0, "{:?}", run.nodes);
    assert_eq!(["traces", "best", "sft"].map(computed), [0; 3], "{:?}", run.nodes);
}
