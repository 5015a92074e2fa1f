//! The graph reader on any bytes: a graph or errors that can be shown, never a panic, and nothing slow.
//! Beside the engine's own kinds it has small ones with every type of option and port, because those of the crate
//! `ruminate-ml` would bring its models along.
#![no_main]

mod kinds;

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use ruminate_flow::graph::Graph;
use ruminate_flow::stage::Registry;
use tempfile::TempDir;

struct Bench {
    registry: Registry,
    graph: PathBuf,
    _folder: TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a temporary folder");
    for (name, text) in [
        ("data.jsonl", "{\"question\": \"1 + 1\", \"answer\": \"2\", \"caption\": \"two dots\"}\n"),
        ("model/config.json", "{}"),
        ("model/model.safetensors", "weights"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a path with a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    // Names such as `data.jsonl` and nothing else of the machine are found from here.
    std::env::set_current_dir(folder.path()).expect("the folder");
    Bench { registry: kinds::registry(), graph: folder.path().join("graph.toml"), _folder: folder }
});

fuzz_target!(|input: &[u8]| -> Corpus {
    // Settings come first, one a line, each with `set ` before it.
    let mut settings = Vec::new();
    let mut source = input;
    while let Some(rest) = source.strip_prefix(b"#set ") {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        if let Some((key, value)) = std::str::from_utf8(&rest[..end]).ok().and_then(|line| line.split_once('=')) {
            settings.push((key.to_owned(), value.to_owned()));
        }
        source = rest.get(end + 1..).unwrap_or_default();
    }
    // Files of the machine are neither read nor walked through.
    let text = String::from_utf8_lossy(input);
    if ["\"/", "'/", "=/", "..", "**", "\\"].iter().any(|part| text.contains(part)) {
        return Corpus::Reject;
    }
    std::fs::write(&BENCH.graph, source).expect("the graph can be written");
    match Graph::load(&BENCH.graph, &settings, &BENCH.registry, None) {
        Ok(graph) => assert_eq!(graph.order.len(), graph.nodes.len()),
        Err(errors) => {
            assert!(!errors.items.is_empty());
            assert!(errors.to_string().starts_with("error: "));
        }
    }
    Corpus::Keep
});
