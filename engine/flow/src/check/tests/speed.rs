//! How long it takes to read a large graph. Prints with `RUMINATE_MEASURE` set; asserts no time.

use std::fmt::Write as _;
use std::time::Instant;

use super::kinds::registry;
use super::{HEAD, folder};
use crate::graph::Graph;

#[test]
fn a_graph_of_a_thousand_nodes_is_read() {
    let mut source = HEAD.to_owned();
    for node in 1..1000 {
        let input = if node == 1 { "r".to_owned() } else { format!("n{}", node - 1) };
        let _ =
            write!(source, "[nodes.n{node}]\nkind = 'reasoning-sample'\ninput = '{input}'\nmodel = 'm'\nsamples = 2\n");
    }
    let folder = folder(source.as_bytes());
    let registry = registry();
    let rounds = if std::env::var_os("RUMINATE_MEASURE").is_some() { 20 } else { 1 };
    for _ in 0..rounds {
        let begun = Instant::now();
        let graph = Graph::load(&folder.path().join("graph.toml"), &[], &registry, None).unwrap();
        if rounds > 1 {
            eprintln!("{} nodes in {:.1} ms", graph.nodes.len(), begun.elapsed().as_secs_f64() * 1000.0);
        }
        assert_eq!(graph.order.len(), 1000);
    }
}
