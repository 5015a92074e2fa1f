//! Making plugins: the tool's messages, every language from nothing to a component that runs, and the plugins that ship. A
//! language whose compiler is not installed is left out, and the test says so.
//!
//! `UPDATE_CASES=1 cargo test --release` writes the messages anew; read the difference before it is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::support::{Ran, Workplace, files, root};

const KINDS: [&str; 3] = ["filter", "mapper", "reward"];

/// The program, in `folder`. Plugins in Rust are built in a target folder of the repository, so that the standard library is
/// built once; those that ship in another, since their flags name the crates that they take from the engine.
fn tool(workplace: &Workplace, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = workplace.command(arguments);
    let target = if folder == root() { "target/guests-shipped" } else { "target/guests" };
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", root().join(target))
        .env("RUMINATE_CACHE", root().join("target/plugin-cache"));
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn every_command_says_what_it_should() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let cases = files(&root().join("tests/cases/plugin-tool"), "command.txt");
    assert!(cases.len() >= 30, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let folder = case.parent().expect("a case is in a folder");
        let place = Workplace::new();
        let here = place.path("case");
        copy(folder, &here);
        let plugins = root().join("plugins").display().to_string();
        let command = std::fs::read_to_string(&case).expect("the case can be read").replace("$PLUGINS", &plugins);
        let ran = tool(&place, &here, &command.split_whitespace().collect::<Vec<_>>());
        let plain = |text: &str| {
            without_times(text).replace(&plugins, "$PLUGINS").replace(&here.display().to_string(), "$HERE")
        };
        let given = format!("exit {:?}\n-- stdout\n{}-- stderr\n{}", ran.code, plain(&ran.stdout), plain(&ran.stderr));
        let given = given.replace("exit Some(", "exit ").replacen(")\n", "\n", 1);
        let expected_path = folder.join("output.txt");
        if update {
            std::fs::write(&expected_path, &given).expect("the case can be written");
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != given {
            wrong.push(format!("{}: expected\n{expected}\nbut got\n{given}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// The text with `N us each` for measured times.
fn without_times(text: &str) -> String {
    let line = |line: &str| match (line.rfind(" us each"), line.rfind(", ")) {
        (Some(end), Some(start)) if start < end => format!("{}, N us each", &line[..start]),
        _ => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            let skipped = ["target", "node_modules", "__pycache__"].iter().any(|name| entry.file_name() == *name);
            if !skipped {
                copy(&entry.path(), &target);
            }
        } else {
            std::fs::copy(entry.path(), &target).expect("the file can be copied");
        }
    }
}

/// Whether a build failed for want of a compiler: says so.
fn lacks_compiler(ran: &Ran, what: &str) -> bool {
    let lacks = ran.code == Some(1) && ran.stderr.contains("cannot be built here");
    if lacks {
        eprintln!("NOT TESTED: {what}: {}", ran.stderr.trim());
    }
    lacks
}

/// From nothing to a plugin that runs, in one language.
fn try_language(language: &str) {
    let place = Workplace::new();
    for kind in KINDS {
        let name = format!("my-{language}-{kind}");
        let new =
            tool(&place, place.folder.path(), &["plugin", "new", &name, "--lang", language, "--kind", kind]).expect(0);
        assert!(new.stdout.contains(&format!("ruminate plugin build {name}")), "{}", new.stdout);
        let built = tool(&place, place.folder.path(), &["plugin", "build", &name]);
        if lacks_compiler(&built, &name) {
            return;
        }
        built.expect(0);
        let tested = tool(&place, place.folder.path(), &["plugin", "test", &name]).expect(0);
        assert!(tested.stderr.contains("all pass") && !tested.stderr.contains("is newer"), "{}", tested.stderr);
        let component = format!("{name}/{name}.wasm");
        let rows = files(&place.path(&name).join("cases"), "input.jsonl");
        let rows = rows.first().expect("a case has rows");
        let (config, rows) = (rows.with_file_name("config.json"), rows.display().to_string());
        let mut run = vec!["plugin", "run", &component, "--input", &rows];
        let config = config.exists().then(|| config.display().to_string());
        run.extend(config.iter().flat_map(|config| ["--config-file", config]));
        let ran = tool(&place, place.folder.path(), &run).expect(0);
        assert!(!ran.json_lines().is_empty() && ran.stderr.contains(" us each"), "{}{}", ran.stdout, ran.stderr);
        let facts = tool(&place, place.folder.path(), &["plugin", "inspect", &component, "--json"]).expect(0).json();
        assert_eq!((facts["world"].as_str(), facts["name"].as_str()), (Some(kind), Some(name.as_str())), "{facts}");
        let ours = |import: &Json| import.as_str().is_some_and(|import| import.starts_with("ruminate:plugin/"));
        assert!(facts["imports"].as_array().is_some_and(|imports| imports.iter().all(ours)), "{facts}");
        // Elsewhere, the same source gives the same bytes.
        if ["rust", "c"].contains(&language) && kind == "filter" {
            let other = place.path("other/place/of/it");
            copy(&place.path(&name), &other);
            std::fs::remove_file(other.join(format!("{name}.wasm"))).expect("the copy has a component");
            tool(&place, &other, &["plugin", "build", "."]).expect(0);
            let bytes = |path: PathBuf| std::fs::read(path).expect("the component is there");
            assert!(bytes(place.path(&component)) == bytes(other.join(format!("{name}.wasm"))), "{name} differs");
        }
    }
}

#[test]
fn a_new_plugin_in_rust_builds_passes_and_runs() {
    try_language("rust");
}

#[test]
fn a_new_plugin_in_c_builds_passes_and_runs() {
    try_language("c");
}

#[test]
fn a_new_plugin_in_javascript_builds_passes_and_runs() {
    try_language("js");
}

#[test]
fn a_new_plugin_in_python_builds_passes_and_runs() {
    try_language("python");
}

/// The folders of the plugins that ship: name -> language.
fn shipped() -> BTreeMap<String, String> {
    let folders = std::fs::read_dir(root().join("plugins")).expect("the folder can be read").flatten();
    let manifest = |path: PathBuf| std::fs::read_to_string(path.join("plugin.toml")).ok();
    let table = folders.filter_map(|folder| manifest(folder.path())?.parse::<toml::Table>().ok());
    table.map(|table| (text(&table, "name"), text(&table, "language"))).collect()
}

fn text(table: &toml::Table, key: &str) -> String {
    table[key].as_str().unwrap_or_else(|| panic!("`{key}` is a text")).to_owned()
}

#[test]
fn the_plugins_that_ship_pass_their_cases() {
    let place = Workplace::new();
    let plugins = shipped();
    for (name, language) in &plugins {
        let folder = root().join("plugins").join(name).display().to_string();
        let committed = root().join(format!("plugins/{name}.wasm"));
        if committed.is_file() {
            tool(&place, root(), &["plugin", "test", &folder, "--plugin", &committed.display().to_string()]).expect(0);
            continue;
        }
        assert!(["js", "python"].contains(&language.as_str()), "`{name}` is not committed: run plugins/build.sh");
        let component = place.path(&format!("{name}.wasm")).display().to_string();
        let built = tool(&place, root(), &["plugin", "build", &folder, "-o", &component]);
        if !lacks_compiler(&built, name) {
            built.expect(0);
            tool(&place, root(), &["plugin", "test", &folder, "--plugin", &component]).expect(0);
        }
    }
}

/// The committed components are what this machine builds of the committed sources, if its compilers are those of the lock.
#[test]
fn the_plugins_that_ship_can_be_built_again() {
    let place = Workplace::new();
    let lock = std::fs::read_to_string(root().join("plugins/plugins.lock.json")).expect("the lock is there");
    let lock: Json = serde_json::from_str(&lock).expect("the lock is JSON");
    for (name, language) in shipped().iter().filter(|(_, language)| ["rust", "c"].contains(&language.as_str())) {
        let tool_name = if language == "rust" { "rustc" } else { "clang" };
        let locked = lock["tools"][tool_name].as_str().unwrap_or_default();
        let folder = root().join("plugins").join(name).display().to_string();
        let component = place.path(&format!("{name}.wasm"));
        let built = tool(&place, root(), &["plugin", "build", &folder, "-o", &component.display().to_string()]);
        if lacks_compiler(&built, name) {
            continue;
        }
        let built = built.expect(0);
        if locked.is_empty() || !built.stderr.contains(locked) {
            eprintln!("NOT COMPARED: `{name}`: the lock has `{locked}`, this machine: {}", built.stderr.trim());
            continue;
        }
        if name == "accuracy" && !make_small(&component, lock["tools"]["wasm-opt"].as_str().unwrap_or_default()) {
            continue;
        }
        let committed = std::fs::read(root().join(format!("plugins/{name}.wasm"))).expect("the component is committed");
        let bytes = std::fs::read(&component).expect("the component was built");
        assert!(committed == bytes, "`{name}` builds to other bytes than those committed: run plugins/build.sh");
    }
}

/// Writes `accuracy` to `component` as it ships: made for size by plugins/build.sh. False where this machine has another `wasm-opt` than
/// `locked`, or none.
fn make_small(component: &Path, locked: &str) -> bool {
    let version = Command::new("wasm-opt").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if locked.is_empty() || version != locked {
        eprintln!("NOT COMPARED: `accuracy`: the lock has `{locked}`, this machine: `{version}`");
        return false;
    }
    let script = root().join("plugins/build.sh");
    let made = Command::new("bash").arg(script).arg("accuracy").arg(component).output().expect("bash runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    true
}

#[test]
fn a_source_that_does_not_compile_shows_the_compilers_words() {
    let broken = [
        ("rust", "src/lib.rs", "fn broken( {", "src/lib.rs:1"),
        ("c", "plugin.c", "#include <stdlib.h>\nint broken(void) { return nowhere; }", "plugin.c:2"),
        ("js", "plugin.js", "export default {{;", "plugin.js"),
        ("python", "plugin.py", "def broken(:\n", "plugin.py"),
    ];
    let place = Workplace::new();
    for (language, source, text, wanted) in broken {
        let name = format!("broken-{language}");
        tool(&place, place.folder.path(), &["plugin", "new", &name, "--lang", language, "--kind", "filter"]).expect(0);
        place.write(&format!("{name}/{source}"), text);
        let component = place.write(&format!("{name}/{name}.wasm"), "the last that was built");
        let built = tool(&place, place.folder.path(), &["plugin", "build", &name]);
        if !lacks_compiler(&built, &name) {
            let built = built.expect(1);
            assert!(built.stderr.contains(&format!("`{name}` does not build")), "{}", built.stderr);
            assert!(built.stderr.contains(wanted), "{wanted}:\n{}", built.stderr);
        }
        assert_eq!(std::fs::read_to_string(component).ok().as_deref(), Some("the last that was built"));
    }
}

#[test]
fn a_source_of_another_kind_than_its_manifest_is_refused() {
    let place = Workplace::new();
    // Python tells at the first record only.
    for language in ["rust", "c", "js"] {
        let name = format!("other-{language}");
        tool(&place, place.folder.path(), &["plugin", "new", &name, "--lang", language, "--kind", "filter"]).expect(0);
        let manifest = place.path(&format!("{name}/plugin.toml"));
        let text = std::fs::read_to_string(&manifest).expect("the manifest is there");
        std::fs::write(&manifest, text.replace("\"filter\"", "\"mapper\"")).expect("the folder can be written");
        let built = tool(&place, place.folder.path(), &["plugin", "build", &name]);
        if !lacks_compiler(&built, &name) {
            let built = built.expect(1);
            assert!(language != "rust" || built.stderr.contains("the source is a filter"), "{}", built.stderr);
            assert!(!place.path(&format!("{name}/{name}.wasm")).exists());
        }
    }
}

#[test]
fn a_missing_compiler_is_told_with_the_command_that_installs_it() {
    let place = Workplace::new();
    let cases = [("rust", "rustup"), ("c", "wasi"), ("js", "npm install"), ("python", "pip install componentize-py")];
    for (language, wanted) in cases {
        let name = format!("far-{language}");
        tool(&place, place.folder.path(), &["plugin", "new", &name, "--lang", language, "--kind", "filter"]).expect(0);
        let mut command = place.command(&["plugin", "build", &name]);
        command.current_dir(place.folder.path()).env("PATH", place.path("nothing"));
        for variable in ["GUEST_RUSTC", "RUMINATE_CLANG", "WASI_SDK_PATH", "RUMINATE_COMPONENTIZE_PY", "VIRTUAL_ENV"] {
            command.env_remove(variable);
        }
        let ran = Ran::of(command.output().expect("the program starts")).expect(1);
        let one_line = ran.stderr.trim_end().lines().count() == 1;
        assert!(one_line && ran.stderr.contains("to install it: ") && ran.stderr.contains(wanted), "{}", ran.stderr);
    }
}

/// Rows are handed on while they are read: the reader of the answers may stop when it likes.
#[test]
fn answers_stream() {
    let place = Workplace::new();
    let row = format!("{{\"reasoning\": \"{}\"}}\n", "word ".repeat(40));
    let rows = place.write("rows.jsonl", &row.repeat(50_000));
    let plugin = root().join("plugins/max-words.wasm").display().to_string();
    let ran = tool(&place, root(), &["plugin", "run", &plugin, "--input", &rows.display().to_string()]).expect(0);
    assert_eq!(ran.stdout.lines().count(), 50_000);
    assert!(ran.stdout.lines().last().is_some_and(|line| line == r#"{"id":"r49999","keep":true}"#));
    assert!(ran.stderr.starts_with("50,000 rows: 50,000 kept"), "{}", ran.stderr);
    let mut command: Command = place.command(&["plugin", "run", &plugin, "--input", &rows.display().to_string()]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().expect("it ends")).expect(0);
    assert_eq!(ran.stderr, "", "a reader that has seen enough is no failure");
}
