//! The folder of a plugin: its manifest, its cases, what the program carries for new ones. Compilers are not run here.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::contract::World;

fn plugins() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

/// The error about a manifest of this text.
fn manifest_error(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("plugin.toml"), text).expect("the folder can be written");
    let error = Project::open(folder.path()).expect_err("the manifest is wrong");
    assert!(error.is_input());
    error.to_string().replace(&folder.path().display().to_string(), "F")
}

#[test]
fn a_manifest_says_what_is_wrong_with_it_and_where() {
    let cases = [
        ("", vec!["`name` is missing", "`language` is missing", "`kind` is missing"]),
        (
            "name = \"a\"\nlanguage = \"rust\"\nkind = \"fliter\"\n",
            vec!["`fliter` is no kind", "F/plugin.toml:3:8", "did you mean `filter`?"],
        ),
        (
            "name = \"a\"\nlanguage = \"go\"\nkind = \"filter\"\n",
            vec!["`go` is no language", "`rust`, `c`, `js`, `python`"],
        ),
        ("name = 3\nlanguage = \"c\"\nkind = \"filter\"\n", vec!["`name` must be text", "found a whole number"]),
        (
            "name = \"A b\"\nlanguage = \"c\"\nkind = \"filter\"\n",
            vec!["`A b` is no name for a plugin", "`a-b` would do"],
        ),
        (
            "nmae = \"a\"\nlanguage = \"c\"\nkind = \"filter\"\n",
            vec!["unknown key `nmae`", "did you mean `name`?", "`name` is missing"],
        ),
        (
            "name = \"a\"\nlanguage = \"rust\"\nkind = \"filter\"\nsources = [\"a.c\"]\n",
            vec!["in C only", "plugin.toml:4:1"],
        ),
        ("name = \"a\"\nlanguage = \"c\"\nkind = \"filter\"\nsources = []\n", vec!["`sources` is empty"]),
        ("name = \"a\"\nlanguage = \"c\"\nkind = \"filter\"\nsources = \"x\"\n", vec!["`sources` must be a list"]),
        ("name = \n", vec!["plugin.toml:1:"]),
    ];
    for (text, wanted) in cases {
        let error = manifest_error(text);
        for wanted in wanted {
            assert!(error.contains(wanted), "{text}\n--\n{error}\n-- lacks {wanted}");
        }
    }
}

#[test]
fn a_folder_without_a_manifest_is_no_plugin() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = |path: &Path| Project::open(path).expect_err("no plugin").to_string();
    assert!(error(folder.path()).contains("it has no `plugin.toml`"));
    assert!(error(&folder.path().join("x")).contains("does not exist"));
    std::fs::write(folder.path().join("x"), "").expect("the folder can be written");
    assert!(error(&folder.path().join("x")).contains("is a file"));
}

#[test]
fn the_program_carries_every_template_and_sdk() {
    let mut there = BTreeSet::new();
    for part in ["templates", "sdk"] {
        collect(&plugins().join(part), part, &mut there);
    }
    let carried: BTreeSet<String> = templates::carried().into_iter().map(str::to_owned).collect();
    let missing: Vec<_> = there.difference(&carried).collect();
    assert!(missing.is_empty(), "add to author/templates.rs: {missing:#?}");
}

/// The files below `folder` that a new plugin may need.
fn collect(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let skipped = ["target", "node_modules", "__pycache__", "Cargo.lock", "package-lock.json", "BUILD.md"];
        if skipped.contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}/{name}");
        if path.is_dir() {
            collect(&path, &name, found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn a_new_plugin_has_a_folder_of_its_own() {
    let place = tempfile::tempdir().expect("a temporary folder");
    for language in Language::ALL {
        for kind in [World::Filter, World::Mapper, World::Reward] {
            let name = format!("my-{}-{}", language.name(), kind.name());
            let new = New { name: &name, language, kind, parent: &place.path().join("new/er") };
            let folder = create(&new).expect("the folder is made");
            let project = Project::open(&folder).expect("its manifest is right");
            assert_eq!((project.name.as_str(), project.language, project.kind), (name.as_str(), language, kind));
            assert!(!find_cases(&folder).expect("it has a case").is_empty());
            let mut files = BTreeSet::new();
            collect(&folder, "", &mut files);
            for file in &files {
                let text = std::fs::read_to_string(format!("{}{file}", folder.display())).expect("text");
                assert!(!text.contains("{{name}}") && !text.contains("{{snake_name}}"), "{file}");
                assert!(!file.ends_with(".in"), "{file}");
            }
            assert!(create(&new).expect_err("it is there").to_string().contains("is there already"));
        }
    }
    let left: Vec<_> = std::fs::read_dir(place.path().join("new/er")).expect("the folder").flatten().collect();
    assert_eq!(left.len(), 12, "nothing but the plugins is left");
}

/// A plugin's folder with one case, for the committed filter `max-words`.
struct Max {
    folder: tempfile::TempDir,
}

impl Max {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(folder.path().join("cases/a")).expect("the folder can be written");
        for (name, text) in files {
            std::fs::write(folder.path().join("cases/a").join(name), text).expect("the folder can be written");
        }
        Self { folder }
    }

    fn check(&self, update: bool) -> Result<Outcome, AuthorError> {
        let cases = find_cases(self.folder.path()).expect("there is a case");
        check(&cases[0], &plugins().join("max-words.wasm"), update, &|_| {})
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("cases/a").join(name)).ok()
    }
}

const ROWS: &str = "{\"reasoning\": \"one two\"}\n{\"reasoning\": \"one two three\"}\n";

#[test]
fn a_case_passes_or_shows_what_differs() {
    let config = ("config.json", "{\"max\": 2}");
    let right = "{\"keep\": true, \"id\": \"r0\"}\n\n{\"id\": \"r1\", \"drop\": \"more than 2 words\"}\n";
    let case = Max::new(&[("input.jsonl", ROWS), config, ("expected.jsonl", right)]);
    let outcome = case.check(false).expect("the case runs");
    assert_eq!((outcome.compared, outcome.differences), (2, Vec::new()));

    let wrong = "{\"id\": \"r1\", \"keep\": true}\n{\"id\": \"r7\", \"keep\": true}\n";
    let case = Max::new(&[("input.jsonl", ROWS), config, ("expected.jsonl", wrong)]);
    let outcome = case.check(false).expect("the case runs");
    let about: Vec<_> = outcome.differences.iter().map(|difference| difference.about.as_str()).collect();
    assert_eq!(about, ["record `r0`, which is not expected", "record `r1`", "record `r7`, which is not there"]);
    let lines = &outcome.differences[1].lines;
    assert!(lines.contains(&Line::Expected("  \"keep\": true".to_owned())), "{lines:?}");
    assert!(lines.contains(&Line::Given("  \"drop\": \"more than 2 words\"".to_owned())), "{lines:?}");
    outcome.accept().expect("the file is written");
    assert!(case.check(false).expect("the case runs").differences.is_empty());
}

#[test]
fn what_is_expected_can_be_written_first() {
    let case = Max::new(&[("input.jsonl", ROWS)]);
    let error = case.check(false).expect_err("nothing is expected").to_string();
    assert!(error.contains("`--update` writes it"), "{error}");
    let outcome = case.check(true).expect("the case runs");
    assert_eq!(outcome.differences.len(), 1);
    outcome.accept().expect("the file is written");
    assert_eq!(
        case.read("expected.jsonl").as_deref(),
        Some("{\"id\":\"r0\",\"keep\":true}\n{\"id\":\"r1\",\"keep\":true}\n")
    );
    assert!(case.check(false).expect("the case runs").differences.is_empty());
}

#[test]
fn a_config_that_must_be_refused_is_a_case() {
    let config = ("config.json", "{\"maximum\": 2}");
    let own = "unknown key `maximum`: expected `field`, `max`\n";
    let case = Max::new(&[config, ("error.txt", own)]);
    assert!(case.check(false).expect("the case runs").differences.is_empty());

    let case = Max::new(&[config, ("error.txt", "another\n")]);
    assert_eq!(case.check(false).expect("the case runs").differences[0].about, "the refusal of the config");

    let case = Max::new(&[("input.jsonl", ROWS), config, ("expected.jsonl", "")]);
    assert!(case.check(false).expect_err("refused").to_string().contains("refuses the config of"));
    case.check(true).expect("the case runs").accept().expect("the file is written");
    assert!(case.read("error.txt").is_some() && case.read("expected.jsonl").is_none(), "one of the two is left");

    let case = Max::new(&[("input.jsonl", ROWS), ("error.txt", "no\n")]);
    let outcome = case.check(false).expect("the case runs");
    assert!(outcome.differences[0].about.contains("should refuse"));
}

#[test]
fn broken_cases_are_told() {
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[], "lacks its rows"),
        (&[("input.jsonl", "{"), ("expected.jsonl", "")], "input.jsonl"),
        (&[("input.jsonl", "{\"reasonning\": \"x\"}\n")], "did you mean `reasonning`?"),
        (&[("input.jsonl", ROWS), ("config.json", "{")], "is not JSON"),
        (&[("input.jsonl", ROWS), ("expected.jsonl", "{}")], "expected.jsonl:1`: expected an object"),
        (&[("input.jsonl", ROWS), ("expected.jsonl", "{\"id\":\"a\"}\n{\"id\":\"a\"}")], "for the second time"),
        (&[("expected.jsonl", ""), ("error.txt", "")], "has both"),
    ];
    for (files, wanted) in cases {
        let error = Max::new(files).check(false).expect_err(wanted);
        assert!(error.is_input() && error.to_string().contains(wanted), "{error}\n-- lacks {wanted}");
    }
    let empty = tempfile::tempdir().expect("a temporary folder");
    assert!(find_cases(empty.path()).expect_err("no case").to_string().contains("there is no case"));
}

#[test]
fn a_trial_answers_row_by_row() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = folder.path().join("rows.csv");
    std::fs::write(&table, "id,reasoning\na,1\nb,2 3 4\n7,\n").expect("the folder can be written");
    let path = plugins().join("max-words.wasm");
    let trial = Trial::open(&path, json!({ "max": 2 }), Limits::default()).expect("the config is right");
    let answers = |limit| {
        let mut lines = Vec::new();
        let tally = trial.run(&table, limit, &|_| {}, &mut |answer| {
            lines.push(answer.to_json().to_string());
            Ok(())
        });
        (tally.expect("the file is right").rows, lines.join(" "))
    };
    let all = r#"{"id":"a","keep":true} {"id":"b","drop":"more than 2 words"} {"id":"7","keep":true}"#;
    assert_eq!(answers(None), (3, all.to_owned()));
    assert_eq!(answers(Some(1)), (1, r#"{"id":"a","keep":true}"#.to_owned()));
    assert_eq!(answers(Some(0)).0, 0);
    // Ids may be left out, of some rows too.
    std::fs::write(&table, "id,reasoning\n,1\n007,2\n").expect("the folder can be written");
    assert_eq!(answers(None).1, r#"{"id":"r0","keep":true} {"id":"007","keep":true}"#);
    let limits = Limits { fuel: Some(3), ..Limits::default() };
    assert!(matches!(Trial::open(&path, json!({}), limits), Err(TrialError::Author(error)) if error.is_input()));
}
