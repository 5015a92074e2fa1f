//! The repository's rules: which crate may name which, how long a file may be, how a file begins.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{files, root};

/// Crate -> the crates of ours that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine/flow", &[]),
    ("engine/grade", &[]),
    ("engine/wasm", &["ruminate-flow"]),
    ("engine/ml", &["ruminate-flow", "ruminate-grade"]),
    (".", &["ruminate-flow", "ruminate-grade", "ruminate-ml", "ruminate-wasm"]),
];

/// Heavy crate -> the one crate of ours that names it.
const OWNERS: &[(&str, &str)] = &[
    ("burn", "engine/ml"),
    ("tokenizers", "engine/ml"),
    ("wasmtime", "engine/wasm"),
    ("petgraph", "engine/flow"),
    ("parquet", "engine/flow"),
];

fn dependencies(folder: &str) -> BTreeMap<String, toml::Value> {
    let path = root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("the manifest can be read");
    let manifest: toml::Table = text.parse().expect("the manifest is TOML");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    table.into_iter().collect()
}

#[test]
fn imports_point_one_way() {
    for (folder, allowed) in ARROWS {
        for name in dependencies(folder).keys().filter(|name| name.starts_with("ruminate")) {
            assert!(allowed.contains(&name.as_str()), "{folder}/Cargo.toml names {name}, which is not below it");
        }
    }
    let crates = std::fs::read_dir(root().join("engine")).expect("engine can be listed").flatten();
    for entry in crates.filter(|entry| entry.path().join("Cargo.toml").exists()) {
        let folder = format!("engine/{}", entry.file_name().to_string_lossy());
        assert!(ARROWS.iter().any(|(known, _)| *known == folder), "{folder} has no line in this test");
    }
}

#[test]
fn a_heavy_crate_has_one_owner() {
    for (heavy, owner) in OWNERS {
        for (folder, _) in ARROWS {
            let named = dependencies(folder).contains_key(*heavy);
            assert_eq!(named, folder == owner, "{heavy} belongs to {owner} alone: look at {folder}/Cargo.toml");
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        let shown = path.strip_prefix(root()).unwrap_or(&path).display();
        let lines = text.lines().count();
        assert!(lines <= 600, "{shown} has {lines} lines; 600 is the limit, 450 the aim");
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        assert!(first.starts_with("//!"), "{shown} does not begin with a `//!` line that says what it is");
        let left = [concat!("to", "do!("), concat!("unimple", "mented!(")];
        assert!(!left.iter().any(|left| text.contains(left)), "{shown} has something left to do");
    }
}

/// Modules that may hold `unsafe`, each with its reason on every block.
const UNSAFE: &[&str] =
    &["engine/ml/src/weights/mapped.rs", "engine/wasm/src/compiled/load.rs", "plugins/accuracy/src/memory.rs"];

#[test]
fn unsafe_code_stays_where_it_is_named() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source can be read");
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        let found = text.lines().any(|line| line.contains(concat!("allow(", "unsafe_code)")));
        assert_eq!(found, UNSAFE.contains(&shown.as_str()), "{shown}");
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest can be read");
    assert!(manifest.contains("unsafe_code = \"deny\"") || manifest.contains("unsafe_code = \"forbid\""));
}

fn sources() -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for folder in ["engine", "examples", "tests", "plugins"] {
        all.extend(files(&root().join(folder), ".rs"));
    }
    // Reference makers of other projects' values, kept as they ran.
    all.retain(|path| !path.starts_with(root().join("tests/reference")));
    all
}

#[test]
fn the_top_level_holds_what_it_should() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "engine",
        "plugins",
        "graphs",
        "tests",
        "examples",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "rustfmt.toml",
        "target",
    ];
    for entry in std::fs::read_dir(root()).expect("the root can be listed").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} does not belong at the top");
    }
    let architecture = std::fs::read_to_string(Path::new(root()).join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(architecture.lines().count() <= 200, "ARCHITECTURE.md is longer than 200 lines");
}
