//! `grpo`: group-relative policy optimisation against the grader's verdict and the scores of plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::error::StageError;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::record::{FieldKind, Schema};
use ruminate_flow::score::Scorers;
use ruminate_flow::stage::{
    Complaint, Kind, NodeInput, Port, Reads, SetInput, SetOutput, SetStage, Stage, StageContext, Work,
};
use ruminate_grade::Grader;
use serde_json::json;

use super::grading;
use super::images::RecordImages;
use super::loaded::Loaded;
use super::prompting::{self, PromptOptions, Prompting, TEXT_PROMPT, VISION_PROMPT, field_text, unusable};
use super::rewards::{self, Response, Rewards};
use super::training::{self, Noted, count};
use super::{sampling, stage_error};
use crate::error::Error;
use crate::train::grpo::{GrpoOptions, GrpoStep, train_grpo};
use crate::train::progress::CheckpointEvery;
use crate::train::rollout::Completion;

pub(super) struct Grpo {
    /// Opens the plugins that rewards name.
    pub(super) scorers: Arc<dyn Scorers>,
}

#[derive(serde::Deserialize)]
struct Options {
    answer: String,
    #[serde(deserialize_with = "grading::read")]
    grader: Grader,
    #[serde(flatten)]
    prompting: PromptOptions,
}

const STAGE_ONLY: &[&str] = &["prompt", "system", "image", "max-pixels", "answer", grading::OPTION, rewards::OPTION];

impl Kind for Grpo {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn summary(&self) -> &'static str {
        "train a model by GRPO on the grader's verdict and the scores of plugins"
    }

    fn options(&self) -> &'static [OptionSpec] {
        const OPTIONS: &[OptionSpec] = &[
            prompting::PROMPT,
            prompting::SYSTEM,
            prompting::IMAGE,
            prompting::MAX_PIXELS,
            OptionSpec::new("answer", OptionKind::Text, "\"answer\"", "The field with the true answer."),
            grading::GRADER,
            OptionSpec::new(
                rewards::OPTION,
                OptionKind::Scores,
                "{\"accuracy\": 1.0, \"format\": 0.0}",
                "The weight of each reward: `accuracy` (1 if the grader says correct), `format` (1 for one <think> block \
                 and then one <answer>), and plugins of the world `reward` under names of your own: NAME = { plugin = \
                 \"FILE.wasm\", weight = 0.5, config = {} }. A plugin reads the problem's fields and `reasoning`, `tokens`, \
                 `finished` of the completion; `fallback` is the score where it fails, without it training stops. All are \
                 logged; OpenVLThinker trains on accuracy alone.",
            ),
            training::number("epochs", "5.0", "Passes over the problems; a fraction is allowed."),
            training::STEPS,
            count("prompts-per-step", "512", "Problems of a step."),
            count("samples", "5", "Completions of each problem: the group, of at least 2."),
            sampling::temperature(
                "1.0",
                "Sampling temperature; the trained distribution is softmax(logits / temperature).",
            ),
            sampling::top_p("0.99", "Sample from the likeliest tokens that together reach this probability."),
            sampling::max_new_tokens("2048", "The longest completion, in tokens."),
            count("updates", "4", "Updates of the optimizer for each step's samples."),
            count("micro-batch-size", "10", training::MICRO_BATCH),
            training::number("learning-rate", "1e-6", "The peak."),
            OptionSpec::new(
                "schedule",
                training::SCHEDULE,
                "\"constant\"",
                "How the learning rate runs after the warm-up.",
            ),
            training::share("warm-up-ratio", "0.0", "The share of all steps in which the learning rate rises from 0."),
            training::WARM_UP_STEPS,
            training::BETA1,
            training::BETA2,
            training::EPSILON,
            training::number(
                "weight-decay",
                "0.01",
                "AdamW's decoupled decay of matrices; norms and biases have none.",
            ),
            training::MAX_GRADIENT_NORM,
            OptionSpec::new(
                "loss",
                OptionKind::Choice(&["dapo", "grpo", "bnpo", "dr-grpo", "cispo"]),
                "\"dapo\"",
                "The objective and how tokens add up (TRL's `loss_type`). `dapo`: the mean over all tokens of an update (verl's and EasyR1's \
                 token-mean). `grpo`: the mean over completions of the mean over their tokens (verl: seq-mean-token-mean). `bnpo`: the mean \
                 over the tokens of each micro-batch, so it alone depends on `micro-batch-size` and `shards`. `dr-grpo`: the sum divided by \
                 completions times `max-new-tokens`. `cispo`: the ratio, cut at 1 + `clip-high` (TRL's `epsilon_high` is that sum) and \
                 detached, times the log-probability.",
            ),
            OptionSpec::new(
                "importance",
                OptionKind::Choice(&["token", "sequence"]),
                "\"token\"",
                "One ratio per token, or one per sequence (GSPO; TRL: `importance_sampling_level`).",
            ),
            training::share(
                "clip-low",
                "0.2",
                "The ratio is clipped below at 1 minus this (TRL: `epsilon`, verl: `clip_ratio_low`).",
            ),
            training::number(
                "clip-high",
                "0.3",
                "The ratio is clipped above at 1 plus this (TRL: `epsilon_high`, verl: `clip_ratio_high`).",
            ),
            training::number(
                "dual-clip",
                "3.0",
                "The ratio at which a negative advantage's loss stops growing; 0 for none (TRL: `delta`, verl: `clip_ratio_c`).",
            ),
            training::number(
                "kl-coefficient",
                "0.01",
                "Weight of the KL estimate k3 against the initial model; 0 does without (TRL's `beta`, verl's `kl_loss_coef`).",
            ),
            training::number(
                "kl-limit",
                "10.0",
                "A token's KL estimate stops here, as in verl and EasyR1; 0 for no limit, as in TRL.",
            ),
            training::number(
                "log-ratio-limit",
                "20.0",
                "Log-ratios are limited to this magnitude before `exp`, as in verl and EasyR1; 0 for no limit, as in TRL.",
            ),
            OptionSpec::new(
                "advantage-scale",
                OptionKind::Choice(&["group", "batch", "none"]),
                "\"group\"",
                "Rewards less their group's mean are divided by the group's unbiased standard deviation, the step's, or nothing (TRL: `scale_rewards`).",
            ),
            training::number(
                "advantage-epsilon",
                "1e-6",
                "Added to that divisor: 1e-6 in verl and EasyR1, 1e-4 in TRL.",
            ),
            OptionSpec::new(
                "mask-truncated",
                OptionKind::Bool,
                "false",
                "Keep completions cut at the limit out of the update (TRL: `mask_truncated_completions`). A step that has no others is an error.",
            ),
            training::SEED,
            training::FREEZE,
            training::SHARDS,
            training::RECOMPUTE,
            training::CHECKPOINT_SECONDS,
        ];
        OPTIONS
    }

    fn inputs(&self) -> &'static [Port] {
        const { &[Port::records("input", "problems with their answers"), Port::model("model", "the model to begin from")] }
    }

    fn outputs(&self) -> &'static [Port] {
        const { &[Port::model("model", "the trained model"), training::METRICS, training::TIMINGS] }
    }

    fn build(&self, node: &NodeInput<'_>) -> Result<Stage, Vec<Complaint>> {
        let whole = |message: String| vec![Complaint::whole(message)];
        let options: Options = node.settings()?;
        let rewards = Rewards::new(node.options, options.grader, &*self.scorers)?;
        let (training, checkpoint) =
            training::trainer_options::<GrpoOptions>(&node.options.values, STAGE_ONLY).map_err(whole)?;
        training.check().map_err(|error| whole(error.to_string()))?;
        let traits = &node.models["model"];
        let prompting = Prompting::new(&options.prompting, traits, (VISION_PROMPT, TEXT_PROMPT))?;
        let reads = rewards.reads(prompting.reads().require(&options.answer, FieldKind::Json, Some("answer")))?;
        let mut identity = json!({ "prompting": prompting.identity(), "grader": grading::identity(options.grader) });
        if let Some(scorers) = rewards.identity() {
            identity["scorers"] = scorers;
        }
        Ok(Stage {
            version: 4,
            identity,
            reads: BTreeMap::from([("input", reads.clone())]),
            schemas: schemas(&rewards),
            models: BTreeMap::from([("model", traits.clone())]),
            seeded: true,
            uses_device: true,
            work: Work::Set(Box::new(Trainer { options, prompting, rewards, reads, training, checkpoint })),
        })
    }
}

fn schemas(rewards: &Rewards) -> BTreeMap<&'static str, Schema> {
    let mut schemas = training::schemas(
        &["step", "steps", "updates", "tokens"],
        &[
            "epoch",
            "loss",
            "reward_mean",
            "reward_std",
            "reward_accuracy",
            "reward_format",
            "kl",
            "clip_fraction",
            "entropy",
            "sampler_logprob_max_difference",
            "sampler_logprob_mean_difference",
            "sampler_kl",
            "completion_length",
            "finished_share",
            "masked_share",
            "zero_variance_share",
            "gradient_norm",
            "learning_rate",
        ],
        &["completions"],
        &["seconds", "rollout_seconds", "update_seconds", "tokens_per_second"],
    );
    if let Some(metrics) = schemas.get_mut("metrics") {
        metrics.extend(rewards.figures().into_iter().map(|name| (name, FieldKind::Float)));
    }
    schemas
}

struct Trainer {
    options: Options,
    prompting: Prompting,
    rewards: Rewards,
    reads: Reads,
    training: GrpoOptions,
    checkpoint: CheckpointEvery,
}

impl SetStage for Trainer {
    fn run(&self, input: SetInput, context: &StageContext<'_>) -> Result<SetOutput, StageError> {
        let records = &input.records["input"];
        let answer = |record| field_text(record, &self.options.answer).map_err(|reason| unusable(record, reason));
        let answers: Vec<String> = records.iter().map(answer).collect::<Result<_, _>>()?;
        let loaded = Loaded::load(&input.models["model"], &self.prompting, context)?;
        let images = RecordImages::new(records, &self.prompting, &loaded.processor, context.blobs);
        let mut prompts = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            if context.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            let prompt = self.prompting.encode(record, &loaded.processor, context.blobs);
            let mut prompt = prompt.map_err(|reason| unusable(record, reason))?;
            images.keep(index, std::mem::take(&mut prompt.images));
            prompts.push(prompt);
        }
        let mut options = self.training.clone();
        options.seed = training::mixed_seed(context.seed, options.seed);
        let noted = |step: &GrpoStep| Noted {
            step: (step.metrics.step, step.metrics.steps),
            metrics: serde_json::to_value(&step.metrics).unwrap_or_default(),
            timings: serde_json::to_value(&step.timings).unwrap_or_default(),
            picked: step.prompts.clone(),
            message: format!("reward {:.3}", step.metrics.reward_mean),
        };
        // The engine's errors keep their kind on the way through the trainer.
        let mut scorer_error = None;
        let mut reward = |completions: &[Completion<'_>]| {
            let response = |completion: &Completion<'_>| {
                Ok(Response {
                    record: &records[completion.prompt],
                    sample: completion.sample,
                    answer: &answers[completion.prompt],
                    text: loaded.processor.decode(completion.tokens)?,
                    tokens: completion.tokens.len(),
                    finished: completion.finished,
                })
            };
            let responses = completions.iter().map(response).collect::<Result<Vec<_>, Error>>()?;
            self.rewards.of(&responses, context).map_err(|error| match error {
                // As when sampling is stopped: what was trained before is saved.
                StageError::Interrupted => Error::Stopped,
                other => {
                    let message = other.to_string();
                    scorer_error = Some(other);
                    Error::training(message)
                }
            })
        };
        let stop_tokens = loaded.processor.stop_tokens();
        let (trained, figures) = training::run((records, &self.reads), self.checkpoint, context, noted, |session| {
            train_grpo(&loaded.model, &prompts, &images, stop_tokens, &options, &mut reward, session)
        });
        let trained = trained.map_err(|error| scorer_error.take().unwrap_or_else(|| stage_error(error)))?;
        training::output(&trained, &loaded, figures, context)
    }
}
