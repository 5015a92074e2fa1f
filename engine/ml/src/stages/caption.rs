//! `caption`: a vision-language model describes each record's image.

use std::collections::BTreeMap;

use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Value};
use ruminate_flow::stage::{Complaint, Kind, NodeInput, Port, Row, Stage, Work};

use super::loaded::Slot;
use super::prompting::{self, PromptOptions, Prompting};
use super::sampling::{self, Decoding, Sample, Sampler};

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
        let options: Options = node.settings()?;
        let traits = &node.models["model"];
        if !traits.vision {
            let message = format!("a caption needs a model that takes images, but this one is {}", traits.summary);
            return Err(vec![Complaint::about("model", message)]);
        }
        let prompting = Prompting::new(&options.prompting, traits, (CAPTION_PROMPT, CAPTION_PROMPT))?;
        let mut schema = node.schemas["input"].clone();
        schema.insert(options.output.clone(), FieldKind::Text);
        let output = options.output;
        let row = move |sample: Sample, _| {
            let fields = Fields::from([(output.as_str().into(), Value::text(sample.text))]);
            Row { source: 0, child: None, fields }
        };
        let decoding = options.decoding;
        Ok(Stage {
            version: 4,
            identity: prompting.identity(),
            reads: BTreeMap::from([("input", prompting.reads())]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: decoding.is_random(),
            uses_device: true,
            work: Work::Record(Box::new(Sampler { prompting, decoding, samples: 1, row, slot: Slot::default() })),
        })
    }
}
