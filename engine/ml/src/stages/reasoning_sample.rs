//! `reasoning-sample`: k reasoning traces for each record, by a text model from the caption or by a vision-language model
//! from the image.

use std::collections::BTreeMap;

use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Fields, Value};
use ruminate_flow::stage::{Complaint, Kind, NodeInput, Port, Row, Stage, Work};

use super::loaded::Slot;
use super::prompting::{self, PromptOptions, Prompting, TEXT_PROMPT, VISION_PROMPT};
use super::sampling::{self, Decoding, Sample, Sampler};

pub(super) struct ReasoningSample;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Options {
    samples: usize,
    output: String,
    #[serde(flatten)]
    prompting: PromptOptions,
    #[serde(flatten)]
    decoding: Decoding,
}

impl Kind for ReasoningSample {
    fn name(&self) -> &'static str {
        "reasoning-sample"
    }

    fn summary(&self) -> &'static str {
        "sample k reasoning traces for each record"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            OptionSpec::new(
                "samples",
                OptionKind::Int { min: 1, max: 1024 },
                "4",
                "k: traces for each record. 4 is OpenVLThinker's (paper, section 3).",
            ),
            prompting::PROMPT,
            prompting::SYSTEM,
            prompting::IMAGE,
            prompting::MAX_PIXELS,
            sampling::temperature(
                "0.6",
                "Divides the logits. 0.6, with top-p 0.95, stands in OpenVLThinker's sampler as a comment.",
            ),
            sampling::top_p("0.95", "Sample from the likeliest tokens that together reach this probability."),
            sampling::TOP_K,
            sampling::REPETITION_PENALTY,
            sampling::max_new_tokens("2048", "The longest trace, in tokens. 2048 is OpenVLThinker's."),
            sampling::SEED,
            OptionSpec::new("output", OptionKind::Text, "\"reasoning\"", "The field that the trace is written to."),
            sampling::BATCH,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const {
            &[
                Port::records("input", "problems"),
                Port::model("model", "the reasoner: a text or a vision-language model"),
            ]
        }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::records("records", "one record per trace, those of one problem side by side")] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let options: Options = node.settings()?;
        let prompting = Prompting::new(&options.prompting, &node.models["model"], (VISION_PROMPT, TEXT_PROMPT))?;
        let mut schema = node.schemas["input"].clone();
        for (name, kind) in [
            (options.output.as_str(), FieldKind::Text),
            ("parent", FieldKind::Text),
            ("sample", FieldKind::Int),
            ("tokens", FieldKind::Int),
            ("finished", FieldKind::Bool),
        ] {
            schema.insert(name.to_owned(), kind);
        }
        let output = options.output;
        let row = move |sample: Sample, index| {
            let fields = Fields::from([
                (output.as_str().into(), Value::text(sample.text)),
                ("sample".into(), Value::Int(i64::from(index))),
                ("tokens".into(), Value::Int(sample.tokens as i64)),
                ("finished".into(), Value::Bool(sample.finished)),
            ]);
            Row { source: 0, child: Some(index), fields }
        };
        let (decoding, samples) = (options.decoding, options.samples);
        Ok(Stage {
            version: 4,
            identity: prompting.identity(),
            reads: BTreeMap::from([("input", prompting.reads())]),
            schemas: BTreeMap::from([("records", schema)]),
            models: BTreeMap::new(),
            seeded: decoding.is_random(),
            uses_device: true,
            work: Work::Record(Box::new(Sampler { prompting, decoding, samples, row, slot: Slot::default() })),
        })
    }
}
