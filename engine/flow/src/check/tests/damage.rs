//! Damaged graph files: an error or a graph, never a panic.

use std::fs;

use super::kinds::registry;
use super::{HEAD, folder};
use crate::graph::Graph;

/// Graphs with bytes cut out, doubled or replaced: an error or a graph, and an error can be shown.
#[test]
fn damaged_graphs_never_panic() {
    let source = format!(
        "name = 'é'\nseed = 0x1F\n{HEAD}columns = {{ question = \"text\", 'ü' = 'json' }}
[nodes.s]\nkind = 'reasoning-sample'\ninput = 'r.records'\nmodel = 't'\nprompt = \"\"\"\n{{{{ question }}}}\"\"\"
temperature = 1e-1\nconfig = {{ a = [1979-05-27, {{ b.c = true }}] }}\n[nodes.t]\nkind = 'sft'\ninput = 's'\nmodel = 'm'\n"
    );
    let bytes = source.as_bytes();
    let folder = folder(bytes);
    let path = folder.path().join("graph.toml");
    let registry = registry();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..1000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..=next(3) {
            let (from, length) = (next(damaged.len()), next(12));
            let part = damaged[from..(from + length).min(damaged.len())].to_vec();
            let to = next(damaged.len() + 1);
            match next(4) {
                0 => _ = damaged.splice(to..to, part),
                1 => _ = damaged.splice(from..from + part.len(), []),
                2 => damaged[from] = b"\"'[]{}=.,#\n\0\xff"[next(13)],
                _ => damaged.truncate(to.max(1)),
            }
        }
        fs::write(&path, damaged).unwrap();
        if let Err(errors) = Graph::load(&path, &[], &registry, None) {
            assert!(!errors.items.is_empty());
            assert!(errors.to_string().starts_with("error: "));
        }
    }
}
