//! The committed components are those that the committed sources made.

use std::collections::BTreeMap;
use std::path::Path;

use ruminate_flow::digest::Digest;
use serde_json::Value as Json;

use super::file;

#[test]
fn components_and_sources_match_the_lock() {
    let lock = std::fs::read_to_string(file("plugins/plugins.lock.json")).expect("the lock is there");
    let lock: Json = serde_json::from_str(&lock).expect("the lock is JSON");
    let locked = |part: &str| -> BTreeMap<String, String> {
        serde_json::from_value(lock[part].clone()).expect("paths and digests")
    };
    let mut locked: BTreeMap<_, _> = locked("sources").into_iter().chain(locked("components")).collect();
    let mut found = BTreeMap::new();
    collect(&file("plugins"), "", &mut found);
    collect(&file("tests/plugins"), "../tests/plugins/", &mut found);
    for (path, digest) in &found {
        assert_eq!(locked.remove(path).as_ref(), Some(digest), "`{path}` changed: run plugins/build.sh");
    }
    assert!(locked.is_empty(), "gone, but in the lock: {locked:?}; run plugins/build.sh");
}

#[test]
fn plugins_are_small_and_know_no_machine() {
    for name in ["cut-reflection", "max-words"] {
        let bytes = std::fs::read(file(&format!("plugins/{name}.wasm"))).expect("the plugin is there");
        assert!(bytes.len() < 100_000, "`{name}` has {} bytes", bytes.len());
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains("/home/") && !text.contains("/root/"),
            "`{name}` holds a path of the machine that built it"
        );
    }
}

/// The digests of the sources and components below `folder`, by path.
fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" {
            collect(&path, &format!("{name}/"), found);
        } else if ["rs", "wit", "toml", "lock", "sh", "wasm"].contains(&extension) && path.is_file() {
            let bytes = std::fs::read(&path).expect("the file can be read");
            found.insert(name, Digest::of(&bytes).to_string());
        }
    }
}
