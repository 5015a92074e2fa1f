//! Traces over a small graph with every shape: rows, samples, a filter, a training, an evaluation.

use std::collections::BTreeMap;

use super::*;
use crate::digest::Digest;
use crate::error::StageError;
use crate::event::Cancel;
use crate::graph::Graph;
use crate::model::ModelTraits;
use crate::options::Options;
use crate::record::{FieldKind, Record};
use crate::run::{RunOptions, run};
use crate::stage::*;

/// Rows `p0`, `p1`, ...
struct Rows(i64);
/// Two samples of each row; drops the second sample of every odd row if it filters.
struct Samples;
struct Odd;
/// Gives a model, and says what each step was trained on.
struct Train;
/// An item with the same id for every record.
struct Judge;

fn text(value: &str) -> Value {
    Value::text(value)
}

impl Source for Rows {
    fn read(
        &self,
        _: &StageContext<'_>,
        emit: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let record =
            |index| Record { id: format!("p{index}").into(), fields: [("question".into(), Value::Int(index))].into() };
        emit((0..self.0).map(record).collect())
    }
}

impl RecordStage for Samples {
    fn process(
        &self,
        units: &[Unit],
        _: &BTreeMap<&'static str, Arc<Model>>,
        _: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let row = |child| Row { source: 0, child: Some(child), fields: [("answer".into(), text("x"))].into() };
        Ok(units.iter().map(|_| Outcome::Done { rows: vec![row(0), row(1)], drops: Vec::new() }).collect())
    }
}

impl RecordStage for Odd {
    fn process(
        &self,
        units: &[Unit],
        _: &BTreeMap<&'static str, Arc<Model>>,
        _: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let outcome = |unit: &Unit| match unit.records[0].fields.get("question") {
            Some(Value::Int(number)) if number % 2 == 1 => {
                Outcome::Done { rows: Vec::new(), drops: vec![Dropped { source: 0, reason: "odd".into() }] }
            }
            _ => Outcome::Done {
                rows: vec![Row { source: 0, child: None, fields: Default::default() }],
                drops: Vec::new(),
            },
        };
        Ok(units.iter().map(outcome).collect())
    }
}

impl SetStage for Train {
    fn run(&self, input: SetInput, _: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let steps = input.records["input"].chunks(4).enumerate().map(|(step, chunk)| {
            let ids: Vec<Value> = chunk.iter().map(|record| Value::Text(record.id.clone())).collect();
            let batch = text(&Digest::of_json(&ids).to_string());
            Record {
                id: format!("step-{:06}", step + 1).into(),
                fields: [("batch".into(), batch), ("records".into(), Value::List(ids))].into(),
            }
        });
        let files = BTreeMap::from([("weights".to_owned(), FileContent::Bytes(b"weights".to_vec()))]);
        Ok(SetOutput {
            records: BTreeMap::from([("metrics", steps.collect())]),
            models: BTreeMap::from([("model", files)]),
            ..SetOutput::default()
        })
    }
}

impl SetStage for Judge {
    fn run(&self, input: SetInput, _: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let mut items = input.records["input"].clone();
        items.iter_mut().for_each(|item| _ = item.fields.insert("correct".into(), Value::Bool(true)));
        Ok(SetOutput { records: BTreeMap::from([("items", items)]), ..SetOutput::default() })
    }
}

type Inputs<'a> = &'a [(&'static str, usize, &'static str)];

fn node(kind: &'static str, line: usize, inputs: Inputs<'_>, outputs: &'static [&'static str], work: Work) -> Node {
    let traits = ModelTraits { vision: false, summary: "tiny".into() };
    let (models, records): (Vec<&'static str>, Vec<&'static str>) =
        outputs.iter().copied().partition(|port| *port == "model");
    let reads = inputs.iter().filter(|(_, _, from)| *from != "model").map(|(port, ..)| {
        let reads = Reads::default().allow("question", FieldKind::Json, None);
        (*port, reads.allow("answer", FieldKind::Json, None))
    });
    let stage = Stage {
        version: 1,
        identity: Json::Null,
        reads: reads.collect(),
        schemas: records.into_iter().map(|port| (port, Default::default())).collect(),
        models: models.into_iter().map(|port| (port, traits.clone())).collect(),
        seeded: false,
        uses_device: false,
        work,
    };
    Node {
        name: kind.into(),
        kind,
        inputs: inputs.iter().map(|(port, from, out)| (*port, Edge::Node { node: NodeId(*from), port: out })).collect(),
        option_specs: &[],
        options: Options::default(),
        stage,
        policy: Default::default(),
        position: Position { line, column: 1 },
        option_positions: BTreeMap::new(),
        option_settings: BTreeMap::new(),
    }
}

/// rows -> samples -> odd -> train; the model samples again, and is judged on the rows.
fn graph(folder: &tempfile::TempDir) -> Graph {
    let nodes = vec![
        node("rows", 1, &[], &["records"], Work::Source(Box::new(Rows(12)))),
        node("samples", 2, &[("input", 0, "records")], &["records"], Work::Record(Box::new(Samples))),
        node("odd", 3, &[("input", 1, "records")], &["records"], Work::Record(Box::new(Odd))),
        node("train", 4, &[("input", 2, "records")], &["model", "metrics"], Work::Set(Box::new(Train))),
        node(
            "again",
            5,
            &[("input", 0, "records"), ("model", 3, "model")],
            &["records"],
            Work::Record(Box::new(Samples)),
        ),
        node("judge", 6, &[("input", 4, "records"), ("model", 3, "model")], &["items"], Work::Set(Box::new(Judge))),
    ];
    let order = (0..nodes.len()).map(NodeId).collect();
    let path = folder.path().join("graph.toml");
    Graph { name: "test".into(), seed: 1, path, nodes, order, models: Default::default() }
}

struct Bench {
    graph: Graph,
    store: Store,
    _folder: tempfile::TempDir,
}

fn bench(to: Vec<NodeId>) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let graph = graph(&folder);
    let store = Store::open(&folder.path().join("store")).unwrap();
    let options = RunOptions {
        to,
        from: Vec::new(),
        device: "cpu".into(),
        threads: 1,
        drop_events: false,
        cancel: Cancel::default(),
    };
    let report = run(&graph, &store, &options, &|_| {}).unwrap();
    assert!(report.nodes.iter().all(|node| node.error.is_none()), "{report:?}");
    Bench { graph, store, _folder: folder }
}

impl Bench {
    fn trace(&self, node: &str, id: Option<&str>, depth: usize, limit: usize) -> Result<Trace, TraceError> {
        let node = NodeId(self.graph.nodes.iter().position(|known| &*known.name == node).unwrap());
        let options = TraceOptions { node, port: None, id: id.map(str::to_owned), depth, limit };
        trace(&self.graph, &self.store, &options)
    }
}

/// A trace as one line: `node id <- (inputs) [models]`.
fn outline(trace: &Trace) -> String {
    let what = match &trace.subject {
        Subject::Record(record) => record.id.to_string(),
        Subject::Model(_) => "model".to_owned(),
    };
    let list = |traces: &[Trace]| traces.iter().map(outline).collect::<Vec<_>>().join(", ");
    let mut text = format!("{} {what}", trace.node);
    if trace.repeated {
        text.push('*');
    }
    if !trace.inputs.is_empty() || trace.more_inputs > 0 {
        let more = if trace.more_inputs > 0 { format!(" +{}", trace.more_inputs) } else { String::new() };
        text.push_str(&format!(" <- ({}{more})", list(&trace.inputs)));
    }
    if !trace.models.is_empty() {
        text.push_str(&format!(" [{}]", list(&trace.models)));
    }
    text
}

#[test]
fn records_lead_back_to_their_rows_and_to_what_trained_their_model() {
    let bench = bench(Vec::new());
    let cases = [
        ("rows", Some("p3"), "rows p3"),
        ("samples", Some("p3/1"), "samples p3/1 <- (rows p3)"),
        ("odd", Some("p2/1"), "odd p2/1 <- (samples p2/1 <- (rows p2))"),
        // Dropped: as it came in.
        ("odd", Some("p3/1"), "odd p3/1 <- (samples p3/1 <- (rows p3))"),
        (
            "train",
            Some("step-000002"),
            "train step-000002 <- (odd p4/0 <- (samples p4/0 <- (rows p4)), \
             odd p4/1 <- (samples p4/1 <- (rows p4*)) +2)",
        ),
        (
            "judge",
            Some("p5/0"),
            "judge p5/0 <- (again p5/0 <- (rows p5) \
             [train model <- (odd p0/0 <- (samples p0/0 <- (rows p0)), odd p0/1 <- (samples p0/1 <- (rows p0*)) +10)]) \
             [train model*]",
        ),
    ];
    for (node, id, expected) in cases {
        assert_eq!(outline(&bench.trace(node, id, usize::MAX, 2).unwrap()), expected);
    }
    let model = bench.trace("train", None, usize::MAX, 1).unwrap();
    assert_eq!(outline(&model), "train model <- (odd p0/0 <- (samples p0/0 <- (rows p0)) +11)");
}

#[test]
fn each_step_says_where_it_stands_and_what_it_wrote() {
    let bench = bench(Vec::new());
    let found = bench.trace("samples", Some("p3/1"), usize::MAX, 1).unwrap();
    let Subject::Record(record) = &found.subject else { panic!("a record was asked for") };
    assert_eq!(record.wrote.keys().map(|name| &**name).collect::<Vec<_>>(), ["answer", "parent"]);
    assert!(found.at.as_ref().is_some_and(|at| at.ends_with("graph.toml:2:1")), "{:?}", found.at);
    assert!(found.key.is_some());
    let Subject::Record(row) = &found.inputs[0].subject else { panic!("its input is a record") };
    assert_eq!(row.row, Some(4));

    let dropped = bench.trace("odd", Some("p3/1"), usize::MAX, 1).unwrap();
    let Subject::Record(record) = &dropped.subject else { panic!("a record was asked for") };
    assert_eq!((record.dropped.as_deref(), record.wrote.len()), (Some("odd"), 0));

    let model = bench.trace("train", None, usize::MAX, 2).unwrap();
    let Subject::Model(TracedModel { training: Some(training), .. }) = &model.subject else { panic!("it was trained") };
    assert_eq!((training.steps, training.records, training.records_in), (3, 12, Some(12)));
    assert_eq!(
        training.batches[1].records.iter().map(|id| &**id).collect::<Vec<_>>(),
        ["p4/0", "p4/1", "p6/0", "p6/1"]
    );
}

#[test]
fn traces_end_at_the_depth_asked_for() {
    let bench = bench(Vec::new());
    for (depth, expected, cut) in [
        (0, "judge p5/0", true),
        (1, "judge p5/0 <- (again p5/0) [train model]", false),
        (2, "judge p5/0 <- (again p5/0 <- (rows p5) [train model]) [train model*]", false),
    ] {
        let found = bench.trace("judge", Some("p5/0"), depth, 1).unwrap();
        assert_eq!((outline(&found).as_str(), found.cut), (expected, cut), "{depth}");
    }
}

#[test]
fn what_is_not_there_is_explained() {
    let bench = bench(vec![NodeId(2)]);
    let Err(TraceError::Unknown { nearest, dropped: None, complete: true }) = bench.trace("odd", Some("p2/7"), 9, 1)
    else {
        panic!("there is no such record");
    };
    assert!(nearest.contains(&Arc::from("p2/0")), "{nearest:?}");
    assert!(matches!(bench.trace("train", None, 9, 1), Err(TraceError::NoModel)));
    // The filter above dropped it: that is why the training has never seen it.
    let found = bench.trace("train", Some("p3/1"), 9, 1);
    let Err(TraceError::Unknown { dropped: Some((node, id, reason)), complete: false, .. }) = found else {
        panic!("{found:?}");
    };
    assert_eq!((node, &*id, reason.as_str()), (NodeId(2), "p3/1", "odd"));
}

#[test]
fn json_has_stable_names() {
    let bench = bench(Vec::new());
    let json = serde_json::to_value(bench.trace("judge", Some("p4/0"), usize::MAX, 1).unwrap()).unwrap();
    let model = &json["models"][0];
    for (name, value) in
        [("node", &json["node"]), ("kind", &json["kind"]), ("id", &json["id"]), ("port", &json["port"])]
    {
        assert!(value.is_string(), "{name}: {json}");
    }
    assert!(json["wrote"].is_object() && json["key"].is_string());
    let row = &json["inputs"][0]["inputs"][0];
    assert_eq!((&row["id"], &row["row"]), (&"p4".into(), &5.into()));
    let trained = &json["inputs"][0]["models"][0];
    assert!(trained["digest"].is_string() && model["repeated"] == true);
    assert_eq!(trained["training"]["batches"][0]["records"][0], "p0/0");
    assert_eq!(trained["more_inputs"], 11);
}
