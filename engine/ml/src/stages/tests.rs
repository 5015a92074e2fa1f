//! Stages over a model of random weights: what a bad record does, and what a stop leaves behind.

mod rewards;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::event::Cancel;
use ruminate_flow::key::unit_content;
use ruminate_flow::model::Model as ModelAtRest;
use ruminate_flow::options::Options;
use ruminate_flow::record::{Blob, FieldKind, Fields, Record, Schema, Value};
use ruminate_flow::stage::{
    Blobs, Checkpoint, Complaint, FileContent, NodeInput, Outcome, PortKind, Progress, SetInput, SetOutput, Stage,
    StageContext, Unit, Work,
};
use serde_json::{Value as Json, json};

use self::rewards::TestScorers;
use super::images::RecordImages;
use super::loaded::Loaded;
use super::prompting::Prompting;
use super::{inspector, kinds};
use crate::types::{ImageSource as _, ModelFiles};

type Parts = BTreeMap<String, Vec<u8>>;

/// All that a stage works with, in memory. `stop_at`: so many reports of progress, then a stop is asked for.
struct Bench {
    model: Arc<ModelAtRest>,
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    checkpoint: Mutex<Option<Parts>>,
    reports: Mutex<usize>,
    notes: Mutex<Vec<String>>,
    stop_at: usize,
    cancel: Cancel,
    scratch: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/kill/model");
        let files = ModelFiles::from_folder(&folder).unwrap().files;
        let traits = inspector().inspect(&files, true).unwrap();
        let digest = Digest::of(b"the model of the tests");
        Self {
            model: Arc::new(ModelAtRest { digest, files, init_seed: Some(1), traits }),
            blobs: Mutex::default(),
            checkpoint: Mutex::default(),
            reports: Mutex::default(),
            notes: Mutex::default(),
            stop_at: usize::MAX,
            cancel: Cancel::default(),
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    /// The stage of a node of `kind` with these options, the others as by default.
    fn stage(&self, kind: &str, options: Json) -> Stage {
        self.try_stage(kind, options).unwrap_or_else(|complaints| panic!("{complaints:?}"))
    }

    fn try_stage(&self, kind: &str, options: Json) -> Result<Stage, Vec<Complaint>> {
        let kinds = kinds(Arc::new(TestScorers));
        let kind = kinds.iter().find(|other| other.name() == kind).unwrap();
        let mut values = IndexMap::new();
        for spec in kind.options() {
            let default = serde_json::from_str(spec.default.unwrap()).unwrap();
            values.insert(spec.name.to_owned(), options.get(spec.name).cloned().unwrap_or(default));
        }
        let unknown = options.as_object().unwrap().keys().find(|name| !values.contains_key(*name));
        assert_eq!(unknown, None);
        let fields = [("image", FieldKind::Image), ("question", FieldKind::Text), ("answer", FieldKind::Text)];
        let schema: Schema = fields.map(|(name, kind)| (name.to_owned(), kind)).into();
        let models = kind.inputs().iter().filter(|port| port.kind == PortKind::Model);
        let node = NodeInput {
            options: &Options { values, files: rewards::plugin_files(&options) },
            schemas: &BTreeMap::from([("input", schema)]),
            models: &models.map(|port| (port.name, self.model.traits.clone())).collect(),
            digest_file: &|_| Ok(Digest::of(b"")),
        };
        kind.build(&node)
    }

    fn context(&self) -> StageContext<'_> {
        StageContext {
            seed: 1,
            device: "cpu",
            threads: 1,
            blobs: self,
            checkpoint: self,
            progress: self,
            scratch: self.scratch.path(),
            cancel: &self.cancel,
        }
    }

    fn records(&self, kind: &str, options: Json, records: &[Record]) -> Result<Vec<Outcome>, StageError> {
        let stage = self.stage(kind, options);
        let reads = &stage.reads["input"];
        let unit = |record: &Record| Unit {
            records: vec![record.clone()],
            content: unit_content(std::slice::from_ref(record), reads),
        };
        let Work::Record(work) = &stage.work else { panic!("`{kind}` is no record stage") };
        let units: Vec<Unit> = records.iter().map(unit).collect();
        work.process(&units, &BTreeMap::from([("model", self.model.clone())]), &self.context())
    }

    fn set(&self, kind: &str, options: Json, records: &[Record]) -> Result<SetOutput, StageError> {
        let stage = self.stage(kind, options);
        let Work::Set(work) = &stage.work else { panic!("`{kind}` is no set stage") };
        let input = SetInput {
            records: BTreeMap::from([("input", records.to_vec())]),
            models: BTreeMap::from([("model", self.model.clone())]),
        };
        work.run(input, &self.context())
    }

    /// A problem with an image of its own.
    fn problem(&self, index: usize) -> Record {
        let shade = image::Rgb([40 * index as u8, 90, 200 - 9 * index as u8]);
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(56, 56, shade).write_to(&mut png, image::ImageFormat::Png).unwrap();
        self.problem_with(index, self.put(png.get_ref(), "image/png").unwrap())
    }

    fn problem_with(&self, index: usize, image: Blob) -> Record {
        let fields = Fields::from([
            ("image".into(), Value::Blob(image)),
            ("question".into(), Value::text(format!("How many? {}", "So? ".repeat(index % 3)))),
            ("answer".into(), Value::text(index.to_string())),
        ]);
        Record { id: format!("p{index}").into(), fields }
    }

    /// Problems of which the first and the last are good, with what is said of the others.
    fn some_bad(&self) -> (Vec<Record>, [(usize, &'static str); 6]) {
        let mut records: Vec<Record> = (0..8).map(|index| self.problem(index)).collect();
        let set = |record: &mut Record, field: &str, value: Value| _ = record.fields.insert(field.into(), value);
        set(&mut records[1], "image", Value::Blob(self.put(b"no image at all", "image/png").unwrap()));
        let blob = Blob::of(b"lost", "image/png");
        set(&mut records[2], "image", Value::Blob(blob));
        set(&mut records[3], "image", Value::Int(3));
        records[4].fields.remove("image");
        set(&mut records[5], "image", Value::Blob(self.put(b"", "image/png").unwrap()));
        set(&mut records[6], "question", Value::text("very many words ".repeat(300)));
        let reasons = [
            (1, "field `image`: "),
            (2, "field `image`: "),
            (3, "field `image` holds `int`, expected an image"),
            (4, "field `image` is missing, expected an image"),
            (5, "field `image`: the file is empty, expected PNG, JPEG, WebP, GIF or BMP"),
            (6, "the prompt leaves no room for an answer in the model's 512 tokens"),
        ];
        (records, reasons)
    }
}

impl Blobs for Bench {
    fn get(&self, blob: &Blob) -> Result<Vec<u8>, StageError> {
        let found = self.blobs.lock().unwrap().get(&blob.digest).cloned();
        found.ok_or_else(|| StageError::failed(format!("the store has no blob {}", blob.digest.short())))
    }

    fn put(&self, bytes: &[u8], media_type: &str) -> Result<Blob, StageError> {
        let blob = Blob::of(bytes, media_type);
        self.blobs.lock().unwrap().insert(blob.digest, bytes.to_vec());
        Ok(blob)
    }
}

impl Checkpoint for Bench {
    fn load(&self) -> Result<Option<Parts>, StageError> {
        Ok(self.checkpoint.lock().unwrap().clone())
    }

    fn save(&self, parts: &Parts) -> Result<(), StageError> {
        *self.checkpoint.lock().unwrap() = Some(parts.clone());
        Ok(())
    }
}

impl Progress for Bench {
    fn report(&self, _done: u64, _total: Option<u64>, _unit: &'static str, _message: &str) {
        let mut reports = self.reports.lock().unwrap();
        *reports += 1;
        if *reports == self.stop_at {
            self.cancel.request();
        }
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }
}

/// The kinds that consume a whole stream, with options that make them brief.
fn set_kinds() -> [(&'static str, Json); 3] {
    [
        ("eval", json!({ "max-new-tokens": 4, "batch": 2 })),
        (
            "sft",
            json!({
                "response": "answer", "steps": 4, "batch-size": 2, "learning-rate": 1e-3, "freeze": [],
            }),
        ),
        (
            "grpo",
            json!({
                "steps": 3, "prompts-per-step": 2, "samples": 2, "max-new-tokens": 3, "learning-rate": 1e-3,
                "freeze": ["visual."],
            }),
        ),
    ]
}

#[test]
fn a_bad_record_fails_alone_and_its_neighbours_are_as_without_it() {
    let bench = Bench::new();
    let (records, bad) = bench.some_bad();
    for (kind, options) in [
        ("caption", json!({ "prompt": "{{ question }}", "max-new-tokens": 4 })),
        ("reasoning-sample", json!({ "samples": 2, "max-new-tokens": 4 })),
    ] {
        let outcomes = bench.records(kind, options.clone(), &records).unwrap();
        for (index, reason) in bad {
            let Outcome::Failed { reason: found } = &outcomes[index] else { panic!("{kind} {index}: {outcomes:?}") };
            assert!(found.contains(reason) && !found.contains("record `"), "{kind}: {found}");
        }
        for index in [0, 7] {
            let alone = bench.records(kind, options.clone(), &records[index..=index]).unwrap();
            assert_eq!(outcomes[index], alone[0], "{kind}");
        }
    }
}

#[test]
fn a_bad_record_of_a_whole_stream_is_named_with_what_to_do() {
    let bench = Bench::new();
    let (records, bad) = bench.some_bad();
    for (kind, options) in set_kinds() {
        let check = |record: &Record, reason: &str| {
            let records = [records[0].clone(), record.clone()];
            let error = bench.set(kind, options.clone(), &records).err().unwrap().to_string();
            assert!(error.starts_with(&format!("record `{}`: ", record.id)), "{kind}: {error}");
            assert!(error.contains(reason) && error.contains("leave it out"), "{kind}: {error}");
        };
        for (index, reason) in bad {
            check(&records[index], reason);
        }
        let mut unanswered = records[7].clone();
        unanswered.fields.insert("answer".into(), Value::Null);
        check(&unanswered, "field `answer` holds nothing, expected text");
    }
}

#[test]
fn what_is_stopped_goes_on_to_the_same_end() {
    for (kind, options) in set_kinds() {
        let whole = Bench::new();
        let records: Vec<Record> = (0..7).map(|index| whole.problem(index)).collect();
        let expected = whole.set(kind, options.clone(), &records).unwrap();
        for stop_at in 1..4 {
            let mut bench = Bench { stop_at, ..Bench::new() };
            let records: Vec<Record> = (0..7).map(|index| bench.problem(index)).collect();
            let stopped = bench.set(kind, options.clone(), &records);
            assert!(matches!(stopped, Err(StageError::Interrupted)) || stop_at >= 3, "{kind} at {stop_at}");
            bench.cancel = Cancel::default();
            bench.stop_at = usize::MAX;
            let output = bench.set(kind, options.clone(), &records).unwrap();
            let reproducible = |output: &SetOutput| {
                let mut records = output.records.clone();
                records.remove("timings");
                let bytes = |content: &FileContent| match content {
                    FileContent::Bytes(bytes) => bytes.clone(),
                    FileContent::Copy(path) | FileContent::Move(path) => std::fs::read(path).unwrap(),
                };
                let model = output.models.get("model").into_iter().flatten();
                let model = model.map(|(name, content)| (name.clone(), bytes(content)));
                (records, model.collect::<BTreeMap<_, _>>())
            };
            assert!(reproducible(&output) == reproducible(&expected), "{kind} at {stop_at}");
        }
    }
}

#[test]
fn a_stop_before_anything_gives_nothing_and_breaks_nothing() {
    let mut bench = Bench::new();
    let records: Vec<Record> = (0..3).map(|index| bench.problem(index)).collect();
    bench.cancel.request();
    for (kind, options) in set_kinds() {
        assert!(matches!(bench.set(kind, options, &records), Err(StageError::Interrupted)), "{kind}");
    }
    for kind in ["caption", "reasoning-sample"] {
        let stopped = bench.records(kind, json!({}), &records);
        assert!(matches!(stopped, Err(StageError::Interrupted)), "{kind}");
    }
    assert_eq!(*bench.checkpoint.lock().unwrap(), None);
    // A deadline that has passed is a stop as well.
    bench.cancel = Cancel::default().until(Some(std::time::Instant::now()));
    assert!(matches!(bench.records("caption", json!({}), &records), Err(StageError::Interrupted)));
}

#[test]
fn images_are_the_same_whether_they_were_kept_or_are_prepared_again() {
    let bench = Bench::new();
    let records: Vec<Record> = (0..2).map(|index| bench.problem(index)).collect();
    let options = json!({ "prompt": null, "system": null, "image": "image", "max-pixels": 3136 });
    let prompts = ("{{ question }}", "");
    let prompting = Prompting::new(&serde_json::from_value(options).unwrap(), &bench.model.traits, prompts).unwrap();
    let loaded = Loaded::load(&bench.model, &prompting, &bench.context()).unwrap();
    let images = RecordImages::new(&records, &prompting, &loaded.processor, &bench);
    let prepared = |index: usize| prompting.encode(&records[index], &loaded.processor, &bench).unwrap().images;
    images.keep(0, prepared(0));
    for index in 0..2 {
        assert_eq!(images.images(index).unwrap(), prepared(index));
    }
    bench.blobs.lock().unwrap().clear();
    assert_eq!(images.images(0).unwrap().len(), 1);
    let error = images.images(1).unwrap_err().to_string();
    assert!(error.contains("record `p1`: field `image`: the store has no blob"), "{error}");
}

#[test]
fn a_step_names_its_records_and_their_contents() {
    let bench = Bench::new();
    let mut records: Vec<Record> = (0..4).map(|index| bench.problem(index)).collect();
    let (kind, options) = set_kinds()[1].clone();
    let metrics = |records: &[Record]| bench.set(kind, options.clone(), records).unwrap().records["metrics"].clone();
    let first = metrics(&records);
    let ids = |step: &Record| match &step.fields["records"] {
        Value::List(ids) => ids.clone(),
        other => panic!("{other:?}"),
    };
    // Two steps of two are an epoch: each record once.
    let mut epoch: Vec<String> = first[..2].iter().flat_map(ids).map(|id| id.to_json().to_string()).collect();
    epoch.sort();
    assert_eq!(epoch, ["\"p0\"", "\"p1\"", "\"p2\"", "\"p3\""]);
    assert_eq!(metrics(&records), first);
    // A field that is read changes the digest of the steps with that record only, one that is not read changes none.
    records[1].fields.insert("family".into(), Value::text("counting"));
    assert_eq!(metrics(&records), first);
    records[1].fields.insert("answer".into(), Value::text("9"));
    for (old, new) in first.iter().zip(metrics(&records)) {
        let changed = ids(old).contains(&Value::text("p1"));
        assert_eq!(old.fields["batch"] != new.fields["batch"], changed);
        assert_eq!(ids(old), ids(&new));
    }
}
