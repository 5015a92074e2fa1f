//! Kinds with every type of option and port, for the check of graphs. What they would compute is not fuzzed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::{Model, ModelInspector, ModelTraits};
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Schema};
use ruminate_flow::stage::{
    Complaint, Kind, NodeInput, Outcome, Port, Reads, RecordStage, Registry, SetInput, SetOutput, SetStage, Stage,
    StageContext, Unit, Work,
};
use ruminate_flow::template::Template;
use serde_json::Value as Json;

/// The engine's kinds and those of this file.
pub(super) fn registry() -> Registry {
    let own: [Box<dyn Kind>; 3] = [Box::new(Sample), Box::new(Train), Box::new(Merge)];
    Registry::new(Box::new(Inspector), ruminate_flow::stages::kinds().into_iter().chain(own))
}

struct Inspector;

impl ModelInspector for Inspector {
    fn inspect(&self, _: &BTreeMap<String, PathBuf>, random_init: bool) -> Result<ModelTraits, String> {
        Ok(ModelTraits { vision: !random_init, summary: String::new() })
    }
}

/// A record stage with a template and a model.
struct Sample;
/// A set stage that gives a model.
struct Train;
/// A stage with a list of inputs.
struct Merge;

struct Nothing;

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

fn stage(work: Work) -> Stage {
    Stage {
        version: 1,
        identity: Json::Null,
        reads: BTreeMap::new(),
        schemas: BTreeMap::new(),
        models: BTreeMap::new(),
        seeded: false,
        uses_device: false,
        work,
    }
}

impl Kind for Sample {
    fn name(&self) -> &'static str {
        "reasoning-sample"
    }
    fn summary(&self) -> &'static str {
        "a record stage"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new("prompt", OptionKind::Template, "\"{{ question }}\"", "A template."),
            OptionSpec::new("samples", OptionKind::Int { min: 1, max: 1024 }, "4", "A whole number."),
            OptionSpec::new("temperature", OptionKind::Float { min: 0.0, max: 10.0 }, "1.0", "A number."),
            OptionSpec::new("style", OptionKind::Choice(&["plain", "boxed"]), "\"plain\"", "A choice."),
            OptionSpec::new("greedy", OptionKind::Bool, "false", "A boolean."),
            OptionSpec::new("stop", OptionKind::TextList, "[]", "A list."),
            OptionSpec::new("fields", OptionKind::TextMap, "{}", "A table of texts."),
            OptionSpec::new("rewards", OptionKind::Weights, "{}", "A table of numbers."),
            OptionSpec::new("config", OptionKind::Any, "null", "Anything."),
            OptionSpec::new("plugin", OptionKind::File, "null", "A file."),
        ];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "records"), Port { required: false, ..Port::model("model", "a model") }] }
    }
    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("samples", "records")] }
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut stage = stage(Work::Record(Box::new(Nothing)));
        let prompt = node.options.values.get("prompt").and_then(Json::as_str).unwrap_or_default();
        let template = Template::parse(prompt).map_err(|message| vec![Complaint::about("prompt", message)])?;
        let reads = template.fields().into_iter();
        let reads = reads.fold(Reads::default(), |reads, field| reads.require(field, FieldKind::Json, Some("prompt")));
        stage.reads.insert("input", reads);
        let mut schema = node.schemas.get("input").cloned().unwrap_or_default();
        schema.insert("reasoning".into(), FieldKind::Text);
        stage.schemas.insert("samples", schema);
        Ok(stage)
    }
}

impl Kind for Train {
    fn name(&self) -> &'static str {
        "sft"
    }
    fn summary(&self) -> &'static str {
        "a set stage"
    }
    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[OptionSpec::new("steps", OptionKind::Int { min: 1, max: 1000 }, "10", "Steps.")];
        OPTIONS
    }
    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "records"), Port::model("model", "a model")] }
    }
    fn outputs(&self) -> &'static [Port] {
        const { &[Port::model("model", "the model"), Port::records("metrics", "losses")] }
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut stage = stage(Work::Set(Box::new(Nothing)));
        stage.reads.insert("input", Reads::default().allow("reasoning", FieldKind::Text, None));
        stage.schemas.insert("metrics", Schema::default());
        if let Some(traits) = node.models.get("model") {
            stage.models.insert("model", traits.clone());
        }
        Ok(stage)
    }
}

impl Kind for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }
    fn summary(&self) -> &'static str {
        "a stage with a list of inputs"
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }
    fn inputs(&self) -> &'static [Port] {
        const { &[Port::many_records("inputs", "records")] }
    }
    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("records", "records")] }
    }
    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let mut stage = stage(Work::Record(Box::new(Nothing)));
        stage.schemas.insert("records", node.schemas.values().next().cloned().unwrap_or_default());
        Ok(stage)
    }
}
