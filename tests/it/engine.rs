//! What the tests of the engine's promises share: small rows to feed it, and what a plan, a run and the store say, as values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;
use serde_json::{Value as Json, json};

use crate::support::{Ran, Workplace, root};

/// A graph, and a folder of its own for what it writes and its store.
pub(crate) struct Project {
    pub(crate) workplace: Workplace,
    graph: PathBuf,
    /// `--set` for each file that the graph writes, so that it is written into the folder.
    overrides: Vec<String>,
}

/// A row of the tests' data.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) score: f64,
    pub(crate) lang: &'static str,
    /// A column that no node reads.
    pub(crate) note: String,
}

/// What a node did in a run: the last line that the event log has of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Did {
    pub(crate) failed: bool,
    pub(crate) records_in: u64,
    pub(crate) records_out: u64,
    pub(crate) hits: u64,
    pub(crate) computed: u64,
    pub(crate) dropped: u64,
}

/// A run with its event log.
pub(crate) struct Run {
    pub(crate) ran: Ran,
    pub(crate) nodes: BTreeMap<String, Did>,
    pub(crate) events: Vec<Json>,
}

/// What a plan says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) records: Option<u64>,
    pub(crate) cached: u64,
    pub(crate) why: String,
    /// The identities of its outputs, as printed; empty where the plan does not know them.
    pub(crate) digests: String,
}

const LANGUAGES: [&str; 5] = ["en", "de", "fr", "zh", "es"];
const WORDS: [&str; 9] = ["so", "the", "angle", "is", "Wait,", "twice", "as", "large", "therefore"];

/// `count` rows that differ in everything; a text has 5 to 20 words, one in eight 25.
pub(crate) fn rows(count: usize) -> Vec<Row> {
    (0..count).map(row).collect()
}

pub(crate) fn row(number: usize) -> Row {
    let words = if number % 8 == 7 { 24 } else { 4 + (number / 3) % 16 };
    let text = (0..words).map(|word| WORDS[(number / (word + 1) + word * word) % WORDS.len()]);
    let text = std::iter::once(format!("{number}")).chain(text.map(str::to_owned)).collect::<Vec<_>>().join(" ");
    // Spread over 0..1, and no two alike: equal contents share a result.
    let score = (number * 7919 % 1000) as f64 / 1000.0 + number as f64 / 1e8;
    Row { id: format!("row-{number}"), text, score, lang: LANGUAGES[number % 5], note: format!("note {number}") }
}

impl Row {
    pub(crate) fn to_json(&self) -> Json {
        json!({ "id": self.id, "text": self.text, "score": self.score, "lang": self.lang, "note": self.note })
    }
}

impl Project {
    /// The graph `tests/cases/promises/NAME.toml`, copied beside rows of its kind: `rows.jsonl` of `count`, what else it
    /// reads, and the plugins; all of it may be edited.
    pub(crate) fn new(name: &str, count: usize) -> Self {
        let workplace = Workplace::new();
        let text = std::fs::read_to_string(root().join(format!("tests/cases/promises/{name}.toml"))).unwrap();
        let graph = workplace.write("graph.toml", &text);
        let project = Self { workplace, graph, overrides: Vec::new() };
        std::fs::create_dir(project.path("plugins")).unwrap();
        for plugin in ["plugins/max-words.wasm", "plugins/cut-reflection.wasm", "tests/plugins/hostile.wasm"] {
            let from = root().join(plugin);
            std::fs::copy(&from, project.path("plugins").join(from.file_name().unwrap())).unwrap();
        }
        project.write_rows("rows.jsonl", &rows(count));
        project.write_rows("more.jsonl", &(count..count + count / 4).map(row).collect::<Vec<_>>());
        project.workplace.write("labels.csv", "lang,name,speakers\nen,English,380\nde,German,76\nfr,French,74\n");
        project
    }

    /// A graph of the repository, where it is.
    pub(crate) fn at(path: &str) -> Self {
        let mut project = Self { workplace: Workplace::new(), graph: root().join(path), overrides: Vec::new() };
        for (node, written) in project.sinks() {
            let name = Path::new(&written).file_name().unwrap().to_string_lossy().into_owned();
            project.overrides.push(format!("nodes.{node}.path={:?}", project.path(&name)));
        }
        project
    }

    /// The nodes that write files, with the option `path` of each.
    fn sinks(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(&self.graph).unwrap();
        let graph: toml::Table = text.parse().expect("the graph is TOML");
        let nodes = graph["nodes"].as_table().expect("`nodes` is a table").iter();
        let sinks = nodes.filter(|(_, node)| node["kind"].as_str() == Some("write"));
        sinks.map(|(name, node)| (name.clone(), node["path"].as_str().unwrap().to_owned())).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.workplace.path(name)
    }

    pub(crate) fn write_rows(&self, name: &str, rows: &[Row]) {
        self.write_json(name, rows.iter().map(Row::to_json));
    }

    pub(crate) fn write_json(&self, name: &str, rows: impl Iterator<Item = Json>) {
        let lines: String = rows.map(|row| format!("{row}\n")).collect();
        self.workplace.write(name, &lines);
    }

    /// Changes the graph's text, which must hold `from`.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.graph).unwrap();
        assert!(text.contains(from), "the graph has no `{from}`:\n{text}");
        std::fs::write(&self.graph, text.replace(from, to)).unwrap();
    }

    /// `ruminate COMMAND GRAPH MORE...`, not yet started.
    pub(crate) fn command(&self, command: &str, more: &[&str]) -> Command {
        let mut arguments = vec![command, self.graph.to_str().unwrap()];
        arguments.extend(self.overrides.iter().flat_map(|value| ["--set", value]));
        arguments.extend(more);
        self.workplace.command(&arguments)
    }

    pub(crate) fn ruminate(&self, command: &str, more: &[&str]) -> Ran {
        Ran::of(self.command(command, more).output().expect("the program starts"))
    }

    /// Runs the graph to its end, whatever that is.
    pub(crate) fn try_run(&self, more: &[&str]) -> Run {
        let path = self.path("events.jsonl");
        let mut arguments = vec!["--events", path.to_str().unwrap()];
        arguments.extend(more);
        let ran = self.ruminate("run", &arguments);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Run {
            ran,
            nodes: did(&text),
            events: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
        }
    }

    /// Runs the graph, which must succeed.
    #[track_caller]
    pub(crate) fn run(&self, more: &[&str]) -> Run {
        let mut run = self.try_run(more);
        run.ran = run.ran.expect(0);
        run
    }

    #[track_caller]
    pub(crate) fn plan(&self, more: &[&str]) -> BTreeMap<String, Planned> {
        let mut arguments = vec!["--json"];
        arguments.extend(more);
        let plan = self.ruminate("plan", &arguments).expect(0).json();
        plan["nodes"].as_array().expect("`nodes` is a list").iter().map(planned).collect()
    }

    /// Fails unless a plan says that nothing is left to do.
    #[track_caller]
    pub(crate) fn expect_all_hit(&self, more: &[&str]) {
        let plan = self.plan(more);
        let left: Vec<_> = plan.iter().filter(|(_, planned)| planned.state != "hit").collect();
        assert!(left.is_empty(), "the plan is not all hits: {left:#?}");
    }

    /// The identities of all outputs, in the order of the nodes' names. What measures time is left out.
    #[track_caller]
    pub(crate) fn digests(&self, more: &[&str]) -> Vec<String> {
        let lasting = |node: Planned| {
            let mut digests: BTreeMap<String, String> = serde_json::from_str(&node.digests).unwrap_or_default();
            digests.remove("timings");
            format!("{digests:?}")
        };
        self.plan(more).into_values().map(lasting).collect()
    }

    /// Everything that the nodes have given, by node and port: records and drops as printed, models as the digests of their
    /// exported files, written files as bytes. What measures time is left out.
    #[track_caller]
    pub(crate) fn outputs(&self, more: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let kinds = self.workplace.ruminate(&["kinds", "--json"]).expect(0).json();
        let mut outputs = BTreeMap::new();
        for (node, planned) in self.plan(more) {
            let kind = kinds.as_array().unwrap().iter().find(|kind| kind["kind"] == *planned.kind).unwrap();
            for port in kind["outputs"].as_array().unwrap().iter().filter(|port| port["name"] != "timings") {
                let name = format!("{node}.{}", port["name"].as_str().unwrap());
                let value = if port["kind"] == "model" { self.model(&name, more) } else { self.show(&name, more) };
                outputs.insert(name, value);
            }
            if planned.kind != "write" {
                outputs.insert(format!("{node} dropped"), self.show(&node, &[&["--dropped"], more].concat()));
            }
        }
        outputs.extend(self.written());
        outputs
    }

    /// The files that the graph has written, by name.
    pub(crate) fn written(&self) -> BTreeMap<String, Vec<u8>> {
        let read = |(_, path): (String, String)| {
            let name = Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(self.path(&name)).unwrap_or_else(|error| panic!("`{name}`: {error}"));
            (name, bytes)
        };
        self.sinks().into_iter().map(read).collect()
    }

    #[track_caller]
    fn show(&self, output: &str, more: &[&str]) -> Vec<u8> {
        self.ruminate("show", &[&[output, "--json"], more].concat()).expect(0).stdout.into_bytes()
    }

    /// The digests of the files of an exported model.
    #[track_caller]
    fn model(&self, output: &str, more: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir_in(self.workplace.folder.path()).unwrap();
        let path = folder.path().join("model");
        self.ruminate("export", &[&[output, path.to_str().unwrap()], more].concat()).expect(0);
        let digest = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap();
            format!("{} {}\n", path.file_name().unwrap().to_string_lossy(), blake3::hash(&bytes))
        };
        let mut files: Vec<String> =
            std::fs::read_dir(&path).unwrap().map(|entry| digest(entry.unwrap().path())).collect();
        files.sort();
        files.concat().into_bytes()
    }

    /// The files of the store, relative to it, in order.
    pub(crate) fn store_files(&self) -> Vec<String> {
        let store = self.path("store");
        let all = crate::support::files(&store, "");
        all.iter().map(|path| path.strip_prefix(&store).unwrap().to_string_lossy().into_owned()).collect()
    }
}

/// The last line that an event log has of each node.
pub(crate) fn did(log: &str) -> BTreeMap<String, Did> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let ends = events.filter(|event| event["event"] == "done" || event["event"] == "failed");
    let did = |event: Json| {
        let count = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {event}"));
        let did = Did {
            failed: event["event"] == "failed",
            records_in: count("records_in"),
            records_out: count("records_out"),
            hits: count("hits"),
            computed: count("computed"),
            dropped: count("dropped"),
        };
        (event["node"].as_str().expect("an event names its node").to_owned(), did)
    };
    ends.map(did).collect()
}

fn planned(node: &Json) -> (String, Planned) {
    let text = |name: &str| node[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {node}")).to_owned();
    let planned = Planned {
        kind: text("kind"),
        state: text("state"),
        records: node["records"].as_u64(),
        cached: node["cached"].as_u64().expect("`cached` is a number"),
        why: text("why"),
        digests: if node["digests"].is_null() { String::new() } else { node["digests"].to_string() },
    };
    (text("node"), planned)
}

/// Fails unless two sets of outputs are the same, and says where they are not.
#[track_caller]
pub(crate) fn expect_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>, when: &str) {
    let names = |outputs: &BTreeMap<String, Vec<u8>>| outputs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{when}");
    for (name, value) in expected {
        let found = &found[name];
        if found != value {
            let (found, value) = (String::from_utf8_lossy(found), String::from_utf8_lossy(value));
            let mut lines = found.lines().zip(value.lines()).filter(|(found, expected)| found != expected);
            let (lengths, first) = ((found.lines().count(), value.lines().count()), lines.next());
            panic!("{when}: `{name}` differs: {lengths:?} lines, first difference {first:#?}");
        }
    }
}

/// A random index below `count`.
pub(crate) fn pick(random: &mut impl Rng, count: usize) -> usize {
    random.random_range(0..count)
}
