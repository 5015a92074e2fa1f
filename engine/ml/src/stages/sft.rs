//! `sft`: supervised fine-tuning on the assistant's tokens.

use std::collections::BTreeMap;

use ruminate_flow::error::StageError;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Record};
use ruminate_flow::stage::{
    Complaint, Dropped, Kind, NodeInput, Port, Reads, SetInput, SetOutput, SetStage, Stage, StageContext, Work,
};

use super::images::RecordImages;
use super::loaded::Loaded;
use super::prompting::{self, PromptOptions, Prompting, TEXT_PROMPT, VISION_PROMPT, field_text, unusable};
use super::stage_error;
use super::training::{self, Noted, count};
use crate::train::progress::CheckpointEvery;
use crate::train::sft::{SftOptions, SftStep, train_sft, usable_examples};
use crate::types::Example;

pub(super) struct Sft;

#[derive(serde::Deserialize)]
struct Options {
    response: String,
    #[serde(flatten)]
    prompting: PromptOptions,
}

const STAGE_ONLY: &[&str] = &["prompt", "system", "image", "max-pixels", "response"];

impl Kind for Sft {
    fn name(&self) -> &'static str {
        "sft"
    }

    fn summary(&self) -> &'static str {
        "fine-tune a model on responses"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            prompting::PROMPT,
            prompting::SYSTEM,
            prompting::IMAGE,
            prompting::MAX_PIXELS,
            OptionSpec::new("response", OptionKind::Text, "\"reasoning\"", "The field with the text to learn."),
            training::number("epochs", "1.0", "Passes over the data; a fraction is allowed."),
            training::STEPS,
            count("batch-size", "32", "Examples of a step."),
            count("micro-batch-size", "8", training::MICRO_BATCH),
            training::number(
                "learning-rate",
                "5e-6",
                "The peak. 5e-6 is in OpenVLThinker's configuration, 5e-7 in its paper.",
            ),
            OptionSpec::new(
                "schedule",
                training::SCHEDULE,
                "\"cosine\"",
                "How the learning rate runs after the warm-up.",
            ),
            training::share("warm-up-ratio", "0.1", "The share of all steps in which the learning rate rises from 0."),
            training::WARM_UP_STEPS,
            training::BETA1,
            training::BETA2,
            training::EPSILON,
            training::number("weight-decay", "0.0", "AdamW's decoupled decay of matrices; norms and biases have none."),
            training::MAX_GRADIENT_NORM,
            OptionSpec::new(
                "loss",
                OptionKind::Choice(&["nll", "dft"]),
                "\"nll\"",
                "`nll`: negative log-likelihood. `dft`: times the token's detached probability (dynamic fine-tuning).",
            ),
            training::SEED,
            training::FREEZE,
            training::SHARDS,
            OptionSpec::new("drop-last", OptionKind::Bool, "false", "Leave out an epoch's last, smaller batch."),
            OptionSpec::new(
                "max-length",
                OptionKind::Int { min: 1, max: 1 << 30 },
                "null",
                "Tokens that an example may have.",
            ),
            OptionSpec::new(
                "overlong",
                OptionKind::Choice(&["drop", "fail"]),
                "\"drop\"",
                "What happens to a longer one: it goes to the ledger of drops, or the node fails.",
            ),
            training::RECOMPUTE,
            training::CHECKPOINT_SECONDS,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "prompts and responses"), Port::model("model", "the model to begin from")] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::model("model", "the trained model"), training::METRICS, training::TIMINGS] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let whole = |message: String| vec![Complaint::whole(message)];
        let options: Options = node.settings()?;
        let (training, checkpoint) =
            training::trainer_options::<SftOptions>(&node.options.values, STAGE_ONLY).map_err(whole)?;
        training.check().map_err(|error| whole(error.to_string()))?;
        let traits = &node.models["model"];
        let prompting = Prompting::new(&options.prompting, traits, (VISION_PROMPT, TEXT_PROMPT))?;
        let reads = prompting.reads().require(&options.response, FieldKind::Text, Some("response"));
        let schemas = training::schemas(
            &["step", "steps", "tokens", "target_tokens"],
            &["epoch", "loss", "learning_rate", "gradient_norm"],
            &[],
            &["seconds", "tokens_per_second"],
        );
        Ok(Stage {
            version: 4,
            identity: prompting.identity(),
            reads: BTreeMap::from([("input", reads.clone())]),
            schemas,
            models: BTreeMap::from([("model", traits.clone())]),
            seeded: true,
            uses_device: true,
            work: Work::Set(Box::new(Trainer { response: options.response, prompting, reads, training, checkpoint })),
        })
    }
}

struct Trainer {
    response: String,
    prompting: Prompting,
    reads: Reads,
    training: SftOptions,
    checkpoint: CheckpointEvery,
}

impl SetStage for Trainer {
    fn run(&self, input: SetInput, context: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let records = &input.records["input"];
        let loaded = Loaded::load(&input.models["model"], &self.prompting, context)?;
        let images = RecordImages::new(records, &self.prompting, &loaded.processor, context.blobs);
        let mut examples = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            if context.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            let mut example = self.example(record, &loaded, context).map_err(|reason| unusable(record, reason))?;
            images.keep(index, std::mem::take(&mut example.images));
            examples.push(example);
        }
        let mut options = self.training.clone();
        options.seed = training::mixed_seed(context.seed, options.seed);
        let name = |index| training::name_of(records, index);
        let (_, left_out) = usable_examples(&examples, &options, &name).map_err(stage_error)?;
        let noted = |step: &SftStep| Noted {
            step: (step.metrics.step, step.metrics.steps),
            metrics: serde_json::to_value(&step.metrics).unwrap_or_default(),
            timings: serde_json::to_value(&step.timings).unwrap_or_default(),
            picked: step.examples.clone(),
            message: format!("loss {:.3}", step.metrics.loss),
        };
        let (trained, figures) = training::run((records, &self.reads), self.checkpoint, context, noted, |session| {
            train_sft(&loaded.model, &examples, &images, &options, session)
        });
        let mut output = training::output(&trained.map_err(stage_error)?, &loaded, figures, context)?;
        output.drops = left_out.into_iter().map(|(source, reason)| ("input", Dropped { source, reason })).collect();
        Ok(output)
    }
}

impl Trainer {
    /// What is learned from `record`, or why nothing can be.
    fn example(&self, record: &Record, loaded: &Loaded, context: &StageContext<'_>) -> Result<Example, String> {
        let response = field_text(record, &self.response)?;
        let prompt = self.prompting.encode(record, &loaded.processor, context.blobs)?;
        loaded.processor.encode_completion(&prompt, &response).map_err(|error| error.to_string())
    }
}
