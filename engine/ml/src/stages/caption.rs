//! `caption`: a vision-language model describes each record's image.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::model::Model;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Value};
use ruminate_flow::stage::{
    Complaint, Kind, NodeInput, Outcome, Port, RecordStage, Row, Stage, StageContext, Unit, Work,
};

use super::loaded::Slot;
use super::prompting::{self, PromptOptions, Prompting};
use super::sampling::{self, Decoding};

/// OpenVLThinker's caption prompt (paper, appendix B).
const CAPTION_PROMPT: &str = "Please provide a detailed description of this image that could help another AI model \
understand it completely. Be specific and comprehensive while maintaining natural language flow.";

pub(super) struct Caption;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Options {
    output: String,
    #[serde(flatten)]
    prompting: PromptOptions,
    #[serde(flatten)]
    decoding: Decoding,
}

impl Kind for Caption {
    fn name(&self) -> &'static str {
        "caption"
    }

    fn summary(&self) -> &'static str {
        "describe each record's image with a vision-language model"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new(
                "prompt",
                OptionKind::Template,
                "null",
                "The user's turn, a template over the record's fields. Default: OpenVLThinker's caption prompt.",
            ),
            prompting::SYSTEM,
            prompting::IMAGE,
            prompting::MAX_PIXELS,
            sampling::temperature(
                "0.0",
                "0 takes the likeliest token each time. OpenVLThinker does not publish its setting.",
            ),
            sampling::top_p("1.0", "Sample from the likeliest tokens that together reach this probability."),
            sampling::TOP_K,
            sampling::REPETITION_PENALTY,
            sampling::max_new_tokens("512", "The longest caption, in tokens."),
            sampling::SEED,
            OptionSpec::new("output", OptionKind::Text, "\"caption\"", "The field that the caption is written to."),
            sampling::BATCH,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const {
            &[
                Port::records("input", "records with an image"),
                Port::model("model", "the captioner, a vision-language model"),
            ]
        }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("records", "the records with their caption")] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let options: Options =
            node.options.read().map_err(|message| vec![Complaint { option: None, message, help: None }])?;
        let traits = &node.models["model"];
        if !traits.vision {
            let message = format!("a caption needs a model that takes images, but this one is {}", traits.summary);
            return Err(vec![Complaint::about("model", message)]);
        }
        let prompting = Prompting::new(&options.prompting, traits, (CAPTION_PROMPT, CAPTION_PROMPT))?;
        let mut schema = node.schemas["input"].clone();
        schema.insert(options.output.clone(), FieldKind::Text);
        Ok(Stage {
            version: 3,
            identity: prompting.identity(),
            reads: BTreeMap::from([("input", prompting.reads())]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: options.decoding.is_random(),
            uses_device: true,
            work: Work::Record(Box::new(Captioner { options, prompting, slot: Slot::default() })),
        })
    }
}

struct Captioner {
    options: Options,
    prompting: Prompting,
    slot: Slot,
}

impl RecordStage for Captioner {
    fn batch_units(&self) -> usize {
        self.options.decoding.batch
    }

    fn process(
        &self,
        units: &[Unit],
        models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let loaded = self.slot.get(&models["model"], &self.prompting, context)?;
        let samples = sampling::for_units(&self.prompting, &self.options.decoding, &loaded, units, 1, context)?;
        Ok(samples
            .into_iter()
            .map(|samples| match samples {
                Ok(samples) => Outcome::Done {
                    rows: samples
                        .into_iter()
                        .map(|sample| Row {
                            source: 0,
                            child: None,
                            fields: Fields::from([(self.options.output.as_str().into(), Value::text(sample.text))]),
                        })
                        .collect(),
                    drops: Vec::new(),
                },
                Err(reason) => Outcome::Failed { reason },
            })
            .collect())
    }

    fn release(&self) {
        self.slot.release();
    }
}
