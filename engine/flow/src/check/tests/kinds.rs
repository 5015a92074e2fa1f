//! Small kinds, one of each shape of work. They compute nothing: only the check is tested.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::error::StageError;
use crate::model::{Model, ModelInspector, ModelTraits};
use crate::options::{OptionKind, OptionSpec};
use crate::record::{FieldKind, Record, Schema};
use crate::stage::{
    Complaint, Kind, NodeInput, Outcome, Port, Reads, RecordStage, Registry, SetInput, SetOutput, SetStage, Sink,
    SinkPass, Source, Stage, StageContext, StreamPass, StreamStage, Unit, Work,
};
use crate::template::Template;

/// All kinds of this file.
pub(super) fn registry() -> Registry {
    let kinds: [Box<dyn Kind>; 5] =
        [Box::new(Read), Box::new(Sample), Box::new(Train), Box::new(Merge), Box::new(Write)];
    Registry::new(Box::new(Inspector), kinds)
}

pub(super) struct Inspector;

impl ModelInspector for Inspector {
    fn inspect(&self, files: &BTreeMap<String, PathBuf>, random_init: bool) -> Result<ModelTraits, String> {
        let config = fs::read_to_string(&files["config.json"]).map_err(|error| error.to_string())?;
        if config.contains("broken") {
            return Err("`config.json` names no architecture".to_owned());
        }
        Ok(ModelTraits { vision: config.contains("vision"), summary: format!("random: {random_init}") })
    }
}

/// A source whose schema is an option.
struct Read;
/// Reads the fields of a template and a field named by an option; needs a model that takes images.
struct Sample;
/// Gives a model and records.
struct Train;

/// Takes a list of inputs.
struct Merge;
/// Writes a file.
struct Write;

/// Every shape of work, none of which is done.
struct Nothing(PathBuf);

impl Source for Nothing {
    fn read(
        &self,
        _: &StageContext<'_>,
        _: &mut dyn FnMut(Vec<Record>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        Ok(())
    }
}

impl RecordStage for Nothing {
    fn process(
        &self,
        _: &[Unit],
        _: &BTreeMap<&'static str, Arc<Model>>,
        _: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        Ok(Vec::new())
    }
}

impl SetStage for Nothing {
    fn run(&self, _: SetInput, _: &StageContext<'_>) -> Result<SetOutput, StageError> {
        Ok(SetOutput::default())
    }
}

impl StreamStage for Nothing {
    fn begin<'a>(&'a self, _: &'a StageContext<'_>) -> Result<Box<dyn StreamPass + 'a>, StageError> {
        Err(StageError::Interrupted)
    }
}

impl Sink for Nothing {
    fn path(&self) -> &Path {
        &self.0
    }
    fn begin<'a>(&'a self, _: &'a StageContext<'_>) -> Result<Box<dyn SinkPass + 'a>, StageError> {
        Err(StageError::Interrupted)
    }
}

fn nothing() -> Box<Nothing> {
    Box::new(Nothing(PathBuf::new()))
}

fn stage(reads: BTreeMap<&'static str, Reads>, schemas: BTreeMap<&'static str, Schema>) -> Stage {
    Stage {
        version: 1,
        identity: json!(null),
        reads,
        schemas,
        models: BTreeMap::new(),
        seeded: false,
        uses_device: false,
        work: Work::Source(nothing()),
    }
}

impl Kind for Read {
    fn name(&self) -> &'static str {
        "read"
    }
    fn summary(&self) -> &'static str {
        "reads"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::required("path", OptionKind::Files, "The files to read."),
            OptionSpec::new("columns", OptionKind::TextMap, r#"{"question": "text"}"#, "The fields."),
        ];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        &[]
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("records", "what was read")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let columns = node.options.values["columns"].as_object().unwrap();
        let schema = columns
            .iter()
            .map(|(name, kind)| (name.clone(), FieldKind::parse(kind.as_str().unwrap()).unwrap_or(FieldKind::Json)));
        Ok(stage(BTreeMap::new(), BTreeMap::from([("records", schema.collect())])))
    }
}

impl Kind for Sample {
    fn name(&self) -> &'static str {
        "reasoning-sample"
    }
    fn summary(&self) -> &'static str {
        "samples"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new(
                "temperature",
                OptionKind::Float { min: 0.0, max: 2.0 },
                "1",
                "How random the samples are.",
            ),
            OptionSpec::new("samples", OptionKind::Int { min: 1, max: i64::MAX }, "4", "Samples per record."),
            OptionSpec::new("prompt", OptionKind::Template, "\"{{ question }}\"", "What is asked."),
            OptionSpec::new("image", OptionKind::Text, "null", "The field with the image."),
            OptionSpec::new("style", OptionKind::Choice(&["plain", "boxed"]), "\"plain\"", "How answers are marked."),
            OptionSpec::new("stop", OptionKind::TextList, "[]", "Where to stop."),
            OptionSpec::new("weights", OptionKind::Weights, "{}", "Weights."),
            OptionSpec::new("config", OptionKind::Any, "null", "Anything."),
            OptionSpec::new("system", OptionKind::File, "null", "A file.").not_identity(),
        ];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("input", "the problems"), Port::model("model", "who answers")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("samples", "the samples")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut reads = Reads::default();
        for field in Template::parse(node.options.values["prompt"].as_str().unwrap()).unwrap().fields() {
            reads = reads.require(field, FieldKind::Text, Some("prompt"));
        }
        if let Some(image) = node.options.values["image"].as_str() {
            if !node.models["model"].vision {
                return Err(vec![Complaint::about("image", "the model takes no images")]);
            }
            reads = reads.require(image, FieldKind::Image, Some("image"));
        }
        let mut schema = node.schemas["input"].clone();
        schema.insert("reasoning".into(), FieldKind::Text);
        let stage = stage(BTreeMap::from([("input", reads)]), BTreeMap::from([("samples", schema)]));
        Ok(Stage { work: Work::Record(nothing()), ..stage })
    }
}

impl Kind for Train {
    fn name(&self) -> &'static str {
        "sft"
    }
    fn summary(&self) -> &'static str {
        "trains"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] =
            &[OptionSpec::new("steps", OptionKind::Int { min: 1, max: 1000 }, "10", "Steps of the optimizer.")];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("input", "the data"), Port::model("model", "where to start")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::model("model", "the result"), Port::records("metrics", "losses")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut stage = stage(BTreeMap::new(), BTreeMap::from([("metrics", Schema::default())]));
        stage.reads.insert("input", Reads::default().require("question", FieldKind::Text, None));
        stage.models.insert("model", node.models["model"].clone());
        stage.work = Work::Set(nothing());
        Ok(stage)
    }
}

impl Kind for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }
    fn summary(&self) -> &'static str {
        "puts streams together"
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::many_records("inputs", "the streams")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("records", "all records")];
        PORTS
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let reads =
            node.schemas.keys().map(|port| (*port, Reads::default().require("question", FieldKind::Text, None)));
        let schema = node.schemas["00"].clone();
        let stage = stage(reads.collect(), BTreeMap::from([("records", schema)]));
        Ok(Stage { work: Work::Stream(nothing()), ..stage })
    }
}

impl Kind for Write {
    fn name(&self) -> &'static str {
        "write"
    }
    fn summary(&self) -> &'static str {
        "writes"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[OptionSpec::required("path", OptionKind::Text, "The file to write.")];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const PORTS: &[Port] = &[Port::records("input", "the records")];
        PORTS
    }
    fn outputs(&self) -> &'static [Port] {
        &[]
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let path = PathBuf::from(node.options.values["path"].as_str().unwrap());
        Ok(Stage { work: Work::Sink(Box::new(Nothing(path))), ..stage(BTreeMap::new(), BTreeMap::new()) })
    }
}
