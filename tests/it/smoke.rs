//! One run over every kind of node, and then what is cached: the promise that nothing is computed twice.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value as Json;

use crate::support::{Workplace, root};

const GRAPH: &str = "graphs/smoke.toml";

/// What each node did: hits and units computed.
fn run(workplace: &Workplace, graph: &str, more: &[&str]) -> BTreeMap<String, (u64, u64)> {
    let events = workplace.path("events.jsonl");
    let mut arguments = vec!["run", graph, "--quiet", "--events", events.to_str().unwrap()];
    arguments.extend(more);
    workplace.ruminate(&arguments).expect(0);
    let text = std::fs::read_to_string(&events).expect("the events were written");
    let mut done = BTreeMap::new();
    for line in text.lines() {
        let event: Json = serde_json::from_str(line).expect("an event is JSON");
        if event["event"] == "done" {
            let count = |name: &str| event[name].as_u64().unwrap();
            done.insert(event["node"].as_str().unwrap().to_owned(), (count("hits"), count("computed")));
        }
    }
    done
}

fn computed(done: &BTreeMap<String, (u64, u64)>) -> Vec<&str> {
    done.iter().filter(|(_, (_, computed))| *computed > 0).map(|(node, _)| node.as_str()).collect()
}

#[test]
fn every_kind_runs_and_nothing_is_computed_twice() {
    let workplace = Workplace::new();
    let nodes = workplace.ruminate(&["plan", GRAPH, "--json"]).expect(0).json()["nodes"].as_array().unwrap().len();
    let first = run(&workplace, GRAPH, &[]);
    assert_eq!(first.len(), nodes, "every node ends with `done`");
    assert_eq!(computed(&first).len(), nodes, "an empty store has nothing");

    let before = Instant::now();
    let second = run(&workplace, GRAPH, &[]);
    println!("a cached run took {:.3} s", before.elapsed().as_secs_f64());
    assert_eq!(computed(&second), Vec::<&str>::new());
    let plan = workplace.ruminate(&["plan", GRAPH, "--json"]).expect(0).json();
    for node in plan["nodes"].as_array().unwrap() {
        assert_eq!(node["state"], "hit", "{node}");
    }

    let changed = run(&workplace, GRAPH, &["--set", "nodes.grpo.steps=3"]);
    assert_eq!(computed(&changed), ["eval-grpo", "eval-grpo-sampled", "grpo", "own-traces"]);

    let more = run(&workplace, GRAPH, &["--to", "captions", "--set", "nodes.problems.limit=34"]);
    assert_eq!(more["captions"], (24, 10), "ten more problems are ten more captions");

    results(&workplace);
    records(&workplace);
}

fn results(workplace: &Workplace) {
    let results = workplace.ruminate(&["results", GRAPH, "--json"]).expect(0).json();
    let names: Vec<&str> = results.as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["eval-base", "eval-grpo", "eval-grpo-sampled"]);
    for row in results.as_array().unwrap() {
        assert_eq!(row["n"], 20);
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("ci_low") <= number("accuracy") && number("accuracy") <= number("ci_high"), "{row}");
    }
    assert!(results[0]["difference"].is_null() && results[1]["difference"].is_number());
}

fn records(workplace: &Workplace) {
    let traces = workplace.ruminate(&["show", GRAPH, "traces", "--json", "--limit", "5"]).expect(0).json_lines();
    assert_eq!(traces.len(), 5);
    assert_eq!(traces[0]["id"], format!("{}/0", traces[0]["parent"].as_str().unwrap()));
    assert!(traces[0]["image"]["blob"].is_string() && traces[0]["reasoning"].is_string());
    let metrics = workplace.ruminate(&["show", GRAPH, "grpo.metrics", "--json"]).expect(0).json_lines();
    assert_eq!(metrics.len(), 2, "one record a step");
    for figure in
        ["loss", "reward_mean", "reward_std", "reward_accuracy", "kl", "clip_fraction", "entropy", "completion_length"]
    {
        assert!(metrics[0][figure].is_number(), "{figure}: {}", metrics[0]);
    }
    let timings = workplace.ruminate(&["show", GRAPH, "grpo.timings", "--json"]).expect(0).json_lines();
    assert!(timings.len() == 2 && timings[0]["seconds"].is_number() && metrics[0]["seconds"].is_null());
    // A step names the records that it was trained on.
    let problems = workplace.ruminate(&["show", GRAPH, "problems", "--json"]).expect(0).json_lines();
    let ids: Vec<&Json> = problems.iter().map(|problem| &problem["id"]).collect();
    let trained: Vec<&Json> = metrics.iter().flat_map(|step| step["records"].as_array().unwrap()).collect();
    assert_eq!(trained.len(), 8, "four problems a step");
    assert!(trained.iter().all(|id| ids.contains(id)), "{trained:?}");
    assert!(metrics[0]["batch"].is_string() && metrics[0]["batch"] != metrics[1]["batch"]);
    assert!(metrics[0]["completions"].is_string());
    let dropped = workplace.ruminate(&["show", GRAPH, "best", "--dropped", "--json"]).expect(0).json_lines();
    assert!(!dropped.is_empty());

    let table = workplace.path("traces.parquet");
    workplace.ruminate(&["export", GRAPH, "traces", table.to_str().unwrap()]).expect(0);
    assert_eq!(&std::fs::read(&table).unwrap()[..4], b"PAR1");
    let folder = workplace.path("model");
    workplace.ruminate(&["export", GRAPH, "grpo", folder.to_str().unwrap()]).expect(0);
    for file in
        ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja", "preprocessor_config.json"]
    {
        assert!(folder.join(file).is_file(), "{file} is missing in the exported model");
    }
    a_folder_is_replaced_only_by_its_like(workplace, &folder);
    // What was exported is a model like any other.
    let graph = workplace.write("again.toml", &again(&folder));
    workplace.ruminate(&["run", graph.to_str().unwrap(), "--quiet"]).expect(0);
    let again = workplace.ruminate(&["results", graph.to_str().unwrap(), "--json"]).expect(0).json();
    let before = workplace.ruminate(&["results", GRAPH, "--json"]).expect(0).json();
    assert_eq!(again[0]["accuracy"], before[1]["accuracy"]);
}

fn a_folder_is_replaced_only_by_its_like(workplace: &Workplace, folder: &std::path::Path) {
    let export =
        |more: &[&str]| workplace.ruminate(&[&["export", GRAPH, "grpo", folder.to_str().unwrap()], more].concat());
    let names = || std::fs::read_dir(folder).expect("the folder is there").count();
    let whole = names();
    assert!(export(&[]).expect(2).stderr.contains("--force"));
    export(&["--force"]).expect(0);
    assert_eq!(names(), whole);
    // A folder that holds anything else stays, with all of it.
    std::fs::create_dir(folder.join("notes")).expect("the folder can be written");
    for more in [&[][..], &["--force"]] {
        let ran = export(more).expect(2);
        assert!(ran.stderr.contains("`notes`") && ran.stderr.contains("name another folder"), "{}", ran.stderr);
    }
    assert_eq!(names(), whole + 1);
    std::fs::remove_dir(folder.join("notes")).expect("the folder can be written");
}

fn again(model: &std::path::Path) -> String {
    let data = root().join("examples/data/visual-math/val-00000-of-00001.parquet");
    format!(
        "[models.mine]\npath = {model:?}\n[nodes.test]\nkind = \"read\"\npath = {data:?}\nlimit = 20\n\
         [nodes.eval]\nkind = \"eval\"\ninput = \"test\"\nmodel = \"mine\"\nmax-new-tokens = 48\n"
    )
}

#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_bytes() {
    let whole = Workplace::new();
    let arguments = ["run", GRAPH, "--quiet", "--to", "grpo", "--set", "nodes.grpo.checkpoint-seconds=0.1"];
    whole.ruminate(&arguments).expect(0);
    let killed = Workplace::new();
    for milliseconds in [300, 900, 1800] {
        let mut child = killed.command(&arguments).spawn().expect("the program starts");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        // Unix sends SIGKILL: no handler of ours runs.
        child.kill().expect("the program can be killed");
        child.wait().expect("it ends");
    }
    killed.ruminate(&arguments).expect(0);
    for node in ["traces", "best", "sft.metrics", "grpo.metrics"] {
        let show = ["show", GRAPH, node, "--json"];
        assert_eq!(whole.ruminate(&show).expect(0).stdout, killed.ruminate(&show).expect(0).stdout, "{node}");
    }
    let weights = |workplace: &Workplace, name: &str| {
        let folder = workplace.path(name);
        workplace.ruminate(&["export", GRAPH, "grpo", folder.to_str().unwrap()]).expect(0);
        std::fs::read(folder.join("model.safetensors")).expect("the model has weights")
    };
    assert!(weights(&whole, "model") == weights(&killed, "model"), "the weights differ");
}
