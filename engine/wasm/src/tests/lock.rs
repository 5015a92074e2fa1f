//! The committed components are those that the committed sources made.

use std::collections::BTreeMap;
use std::path::Path;

use ruminate_flow::digest::Digest;
use serde_json::Value as Json;

use super::file;

/// As in `plugins/pack`, which writes the lock.
const SOURCES: &[&str] =
    &["c", "h", "in", "js", "json", "jsonl", "lock", "mjs", "py", "rs", "sh", "toml", "txt", "wit"];
const MADE: &[&str] = &["target", "node_modules", "__pycache__", "build"];
const LOCK: &str = "plugins.lock.json";

/// The folders of which the lock tells: as it names them, and the folder itself.
const ROOTS: [(&str, &str); 3] =
    [("", "plugins"), ("../tests/plugins/", "tests/plugins"), ("../engine/grade/", "engine/grade")];

#[test]
fn components_and_sources_match_the_lock() {
    let lock = std::fs::read_to_string(file("plugins").join(LOCK)).expect("the lock is there");
    let lock: Json = serde_json::from_str(&lock).expect("the lock is JSON");
    let locked = |part: &str| -> BTreeMap<String, String> {
        serde_json::from_value(lock[part].clone()).expect("paths and digests")
    };
    let mut locked: BTreeMap<_, _> = locked("sources").into_iter().chain(locked("components")).collect();
    let mut found = BTreeMap::new();
    for (prefix, folder) in ROOTS {
        collect(&file(folder), prefix, &mut found);
    }
    for (path, digest) in &found {
        assert_eq!(locked.remove(path).as_ref(), Some(digest), "`{path}` changed: run plugins/build.sh");
    }
    assert!(locked.is_empty(), "gone, but in the lock: {locked:?}; run plugins/build.sh");
}

#[test]
fn plugins_are_small_and_know_no_machine() {
    let entries = std::fs::read_dir(file("plugins")).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let plugins: Vec<_> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "wasm")).collect();
    assert!(plugins.len() >= 6, "{plugins:?}");
    for path in plugins {
        let (name, bytes) = (path.display(), std::fs::read(&path).expect("the plugin can be read"));
        assert!(bytes.len() < 100_000, "`{name}` has {} bytes", bytes.len());
        let text = String::from_utf8_lossy(&bytes);
        for machine in ["/home/", "/root/", "/tmp/", env!("CARGO_MANIFEST_DIR")] {
            assert!(!text.contains(machine), "`{name}` holds a path of the machine that built it");
        }
    }
}

#[test]
fn the_sdk_for_rust_has_the_interfaces_of_the_package() {
    let read = |path: &str| std::fs::read_to_string(file(path)).expect("the file is there");
    let (package, sdk) = (read("plugins/wit/plugin.wit"), read("plugins/sdk/rust/src/world.rs"));
    assert!(sdk.contains(&package), "plugins/sdk/rust/src/world.rs holds another text than plugins/wit/plugin.wit");
}

/// The digests of the sources and components below `folder`, by path. Components in a plugin's own folder were built to try
/// them.
fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let own = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{own}");
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        let committed = kind == "wasm" && ROOTS.iter().any(|(root, _)| *root == prefix);
        if path.is_dir() && !own.starts_with('.') && !MADE.contains(&&*own) {
            collect(&path, &format!("{name}/"), found);
        } else if path.is_file() && (committed || SOURCES.contains(&kind) && name != LOCK) {
            let bytes = std::fs::read(&path).expect("the file can be read");
            found.insert(name, Digest::of(&bytes).to_string());
        }
    }
}
