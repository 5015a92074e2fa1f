//! Group-relative policy optimisation: sample, reward, compare within each group, update. Knows nothing of graphs.
//! `rollout` is the first half of a step, `policy` the second; here they become a run with its options and figures.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::advantage::AdvantageScale;
use super::data::DataOrder;
use super::forward::require_finite;
use super::loss::{ImportanceLevel, PolicyLossKind, PolicyLossOptions, PolicyStatistics};
use super::optimizer::{AdamW, AdamWOptions, is_trained};
use super::parallel::Workers;
use super::policy::PolicyPlan;
use super::progress::{Checkpointer, Session, named};
use super::rollout::{RewardFunction, Rollout, RolloutPlan, RolloutSummary, Sample};
use super::schedule::{Schedule, WarmUp};
use super::sft::{at_least_one, check_optimizer, hash_tokens};
use crate::device::is_cpu;
use crate::error::{Error, Result};
use crate::generate::Sampling;
use crate::model::{Keep, Model};
use crate::stop::Stop;
use crate::types::{ImageSource, Prompt};

/// Everything that decides the result of GRPO besides prompts and rewards. The defaults are the released recipe's (its first,
/// medium stage).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrpoOptions {
    /// Passes over the prompts; a fraction is allowed.
    pub epochs: f64,
    /// Steps (rollouts) instead of epochs.
    pub steps: Option<usize>,
    /// Prompts per step.
    pub prompts_per_step: usize,
    /// Completions per prompt.
    pub samples: usize,
    /// Sampling temperature; the trained distribution is softmax(logits / temperature).
    pub temperature: f64,
    /// Nucleus sampling; below 1 the sampler differs a little from the trained distribution.
    pub top_p: f64,
    /// The longest completion, in tokens.
    pub max_new_tokens: usize,
    /// Optimizer updates per rollout, each on its part of the groups.
    pub updates: usize,
    /// Completions per forward pass of an update: what memory allows.
    pub micro_batch_size: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How it runs after the warm-up, by steps.
    pub schedule: Schedule,
    /// How it rises.
    pub warm_up: WarmUp,
    /// AdamW's moment decays.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// The global gradient norm to clip to; 0 for no clipping.
    pub max_gradient_norm: f64,
    /// The objective and how tokens add up.
    pub loss: PolicyLossKind,
    /// Ratios per token or per sequence.
    pub importance: ImportanceLevel,
    /// Lower clip of the ratio: 1 - this.
    pub clip_low: f64,
    /// Upper clip of the ratio: 1 + this.
    pub clip_high: f64,
    /// Ratio at which a negative advantage's loss stops growing; 0 for no such stop.
    pub dual_clip: f64,
    /// Weight of the KL estimate against the weights that the run began with; 0 skips the reference.
    pub kl_coefficient: f64,
    /// Log-ratios are limited to this magnitude; 0 for no limit.
    pub log_ratio_limit: f64,
    /// A token's KL estimate stops here; 0 for no limit.
    pub kl_limit: f64,
    /// What centred rewards are divided by.
    pub advantage_scale: AdvantageScale,
    /// Added to that divisor.
    pub advantage_epsilon: f64,
    /// Whether completions cut at the length limit are kept out of the update.
    pub mask_truncated: bool,
    /// Decides the order of prompts and the samples.
    pub seed: u64,
    /// Parameters whose name starts with one of these are not trained.
    pub freeze: Vec<String>,
    /// Parts that a step is computed in, side by side when there are threads. Decides rounding, so it decides the result.
    pub shards: usize,
    /// Whether blocks keep their inputs only and are computed once more on the way back: the same bits, less memory.
    pub recompute: bool,
}

impl Default for GrpoOptions {
    fn default() -> Self {
        let loss = PolicyLossOptions::default();
        Self {
            epochs: 5.0,
            steps: None,
            prompts_per_step: 512,
            samples: 5,
            temperature: 1.0,
            top_p: 0.99,
            max_new_tokens: 2048,
            updates: 4,
            micro_batch_size: 10,
            learning_rate: 1e-6,
            schedule: Schedule::Constant,
            warm_up: WarmUp::Steps(0),
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 1e-2,
            max_gradient_norm: 1.0,
            loss: loss.kind,
            importance: loss.importance,
            clip_low: loss.clip_low,
            clip_high: loss.clip_high,
            dual_clip: loss.dual_clip.unwrap_or(0.0),
            kl_coefficient: loss.kl_coefficient,
            log_ratio_limit: loss.log_ratio_limit.unwrap_or(0.0),
            kl_limit: loss.kl_limit.unwrap_or(0.0),
            advantage_scale: AdvantageScale::Group,
            advantage_epsilon: 1e-6,
            mask_truncated: false,
            seed: 1,
            freeze: vec!["visual.".to_owned()],
            shards: 2,
            recompute: false,
        }
    }
}

impl GrpoOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Names the first option that is out of its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("prompts-per-step", self.prompts_per_step)?;
        if self.samples < 2 {
            let message =
                format!("it is {}: expected at least 2, since samples are compared with each other", self.samples);
            return Err(Error::option("samples", message));
        }
        at_least_one("max-new-tokens", self.max_new_tokens)?;
        at_least_one("updates", self.updates)?;
        at_least_one("micro-batch-size", self.micro_batch_size)?;
        at_least_one("shards", self.shards)?;
        let range = |option: &str, value: f64, low: f64, high: f64| {
            let fits = (low..=high).contains(&value);
            let expected = || Error::option(option, format!("it is {value}: expected a number from {low} to {high}"));
            if fits { Ok(()) } else { Err(expected()) }
        };
        range("temperature", self.temperature, 1e-3, 100.0)?;
        range("top-p", self.top_p, 1e-6, 1.0)?;
        range("clip-low", self.clip_low, 0.0, 1.0)?;
        range("clip-high", self.clip_high, 0.0, f64::MAX)?;
        range("kl-coefficient", self.kl_coefficient, 0.0, f64::MAX)?;
        range("advantage-epsilon", self.advantage_epsilon, 0.0, f64::MAX)?;
        range("log-ratio-limit", self.log_ratio_limit, 0.0, f64::MAX)?;
        range("kl-limit", self.kl_limit, 0.0, f64::MAX)?;
        if self.dual_clip != 0.0 {
            range("dual-clip", self.dual_clip, 1.0, f64::MAX)?;
        }
        check_optimizer(self.learning_rate, &self.optimizer())
    }

    fn optimizer(&self) -> AdamWOptions {
        AdamWOptions {
            betas: self.betas,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            max_gradient_norm: (self.max_gradient_norm > 0.0).then_some(self.max_gradient_norm),
        }
    }

    fn policy<'a>(&'a self, model: &Model, stop: Stop<'a>) -> PolicyPlan<'a> {
        let frozen = |(name, _): &(String, _)| !name.starts_with("visual.") || !is_trained(name, &self.freeze);
        PolicyPlan {
            loss: PolicyLossOptions {
                kind: self.loss,
                importance: self.importance,
                clip_low: self.clip_low,
                clip_high: self.clip_high,
                dual_clip: (self.dual_clip > 0.0).then_some(self.dual_clip),
                kl_coefficient: self.kl_coefficient,
                log_ratio_limit: (self.log_ratio_limit > 0.0).then_some(self.log_ratio_limit),
                kl_limit: (self.kl_limit > 0.0).then_some(self.kl_limit),
            },
            temperature: self.temperature,
            max_completion_length: self.max_new_tokens,
            micro_batch_size: self.micro_batch_size,
            shards: self.shards,
            freeze: &self.freeze,
            vision_is_frozen: model.parameters().iter().all(frozen),
            keep: if self.recompute { Keep::Inputs } else { Keep::Everything },
            stop,
        }
    }

    fn rollout<'a>(&self, stop_tokens: &[u32], stop: Stop<'a>) -> RolloutPlan<'a> {
        RolloutPlan {
            sampling: Sampling {
                temperature: self.temperature as f32,
                top_p: self.top_p as f32,
                top_k: None,
                max_new_tokens: self.max_new_tokens,
                stop_tokens: stop_tokens.to_vec(),
            },
            samples: self.samples,
            shards: self.shards,
            scale: self.advantage_scale,
            epsilon: self.advantage_epsilon,
            mask_truncated: self.mask_truncated,
            seed: self.seed,
            stop,
        }
    }
}

/// One step, as the session's callback is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpoStep {
    /// What the same run always gives.
    pub metrics: GrpoMetrics,
    /// What differs from run to run.
    pub timings: GrpoTimings,
    /// The prompts of the step, as indices into those of the run, in their order.
    pub prompts: Vec<usize>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpoTimings {
    /// Steps done, this one included.
    pub step: usize,
    /// Seconds of the step.
    pub seconds: f64,
    /// Seconds of sampling and rewards.
    pub rollout_seconds: f64,
    /// Seconds of the updates.
    pub update_seconds: f64,
    /// [`GrpoMetrics::tokens`] per second of the whole step.
    pub tokens_per_second: f64,
}

impl GrpoTimings {
    fn new(metrics: &GrpoMetrics, rollout_seconds: f64, seconds: f64) -> Self {
        Self {
            step: metrics.step,
            seconds,
            rollout_seconds,
            update_seconds: seconds - rollout_seconds,
            tokens_per_second: metrics.tokens as f64 / seconds.max(1e-9),
        }
    }
}

/// The figures of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpoMetrics {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss of the step's updates; 0 when no group had a gradient.
    pub loss: f64,
    /// Mean total reward of all completions.
    pub reward_mean: f64,
    /// Unbiased standard deviation of the total reward.
    pub reward_std: f64,
    /// Mean of each named part of the reward.
    pub reward_parts: Vec<(String, f64)>,
    /// Mean KL estimate per trained token; 0 without a reference.
    pub kl: f64,
    /// Share of trained tokens whose ratio was clipped.
    pub clip_fraction: f64,
    /// Mean entropy per trained token, in nats.
    pub entropy: f64,
    /// The largest difference of a trained token's log-probability between the sampler's pass and the trainer's of the same
    /// weights.
    pub sampler_logprob_max_difference: f64,
    /// The mean magnitude of that difference.
    pub sampler_logprob_mean_difference: f64,
    /// The estimate k3 of the divergence between the two, per trained token: what importance sampling would have to correct.
    pub sampler_kl: f64,
    /// Mean tokens of a completion.
    pub completion_length: f64,
    /// Share of completions that ended with a stop token.
    pub finished_share: f64,
    /// Share of completions that were kept out of the update because they were cut at the limit.
    pub masked_share: f64,
    /// Share of groups whose rewards were all equal.
    pub zero_variance_share: f64,
    /// Updates done in this step.
    pub updates: usize,
    /// Mean global gradient norm before clipping.
    pub gradient_norm: f64,
    /// The learning rate used.
    pub learning_rate: f64,
    /// Tokens of prompts and completions sampled in this step.
    pub tokens: usize,
    /// The digest of all completions' token ids: [`RolloutSummary::completions`].
    pub completions: String,
}

/// What the updates of a step did, summed.
#[derive(Default)]
struct Updated {
    updates: usize,
    loss: f64,
    norm: f64,
    statistics: PolicyStatistics,
}

/// Trains `model` to earn more of `reward` on `prompts` and returns it. The KL reference is `model` as given. Continues from
/// the session's checkpoint when there is one. Images are asked of `images`, by the prompt's index, when a step needs them;
/// what the prompts hold themselves is not looked at.
///
/// # Errors
/// Bad options, no prompts, a failing reward, a loss or gradient that is not finite (naming the step), a store that fails,
/// a step whose completions are all masked, and [`Error::Interrupted`] when the session stops the run. A step whose groups all
/// have equal rewards is none: it is counted, and updates nothing.
pub fn train_grpo(
    model: &Model,
    prompts: &[Prompt],
    images: &dyn ImageSource,
    stop_tokens: &[u32],
    options: &GrpoOptions,
    reward: &mut RewardFunction<'_>,
    session: &mut Session<'_, GrpoStep>,
) -> Result<Model> {
    options.check()?;
    if prompts.is_empty() {
        return Err(Error::input("no prompt to train on"));
    }
    let data = DataOrder {
        count: prompts.len(),
        batch: options.prompts_per_step.min(prompts.len()),
        drop_last: true,
        seed: options.seed,
    };
    let steps = data.total_steps(options.steps, options.epochs)?;
    let reference = model.without_gradients();
    let mut model = reference.clone();
    let mut optimizer = AdamW::new(&model, &options.freeze, options.optimizer())?;
    let mut checkpointer = Checkpointer::new(identity(options, prompts, stop_tokens), steps);
    let start = checkpointer.resume(session.progress, &mut model, &mut optimizer)?;
    let workers = Workers::new(session.workers.min(options.shards))?;
    let (rollout, policy) = (options.rollout(stop_tokens, session.stop), options.policy(&model, session.stop));
    let warm_up = options.warm_up.steps(steps);
    for step in start..steps {
        let begun = Instant::now();
        let (epoch, place) = data.place(step);
        let order = data.epoch(epoch);
        let picked = data.batch(&order, place);
        let shown =
            |index: &usize| Ok(Prompt { tokens: prompts[*index].tokens.clone(), images: images.images(*index)? });
        let batch = picked.iter().map(shown).collect::<Result<Vec<_>>>()?;
        let Rollout { groups, summary } = match rollout.run(&model, &batch, picked, step + 1, reward) {
            Err(Error::Stopped) => return Err(checkpointer.given_up(step, session, &model, &optimizer)?),
            sampled => sampled?,
        };
        if summary.masked_share == 1.0 {
            let (limit, items) = (options.max_new_tokens, named(picked, session.name));
            return Err(checkpointer.failed(step, session, &model, &optimizer, Error::training(format!(
                "step {}: nothing to learn from: every completion was cut at `max-new-tokens` = {limit}, and `mask-truncated` keeps \
                 such out of the update ({items}); raise `max-new-tokens`, or set `mask-truncated = false`",
                step + 1
            )))?);
        }
        let rollout_seconds = begun.elapsed().as_secs_f64();
        let learning_rate = options.learning_rate * options.schedule.factor(step, warm_up, steps);
        let reference = (options.kl_coefficient > 0.0).then_some(&reference);
        let part = groups.len().div_ceil(options.updates).max(1);
        // A step that is given up between its updates is undone. Where memory is scarce, the last checkpoint must do.
        let several = groups.len() > part && is_cpu(model.device());
        let before = several.then(|| (model.clone(), optimizer.clone()));
        let updates = optimizer.updates();
        let items = || named(picked, session.name);
        let mut run = Update { model: &mut model, optimizer: &mut optimizer, policy: &policy, workers: &workers };
        let updated = match run.run(reference, &groups, part, learning_rate, (step + 1, &items)) {
            Err(Error::Stopped) => {
                let (model, optimizer) = before.unwrap_or((model, optimizer));
                let intact = optimizer.updates() == updates;
                let error = if intact {
                    checkpointer.given_up(step, session, &model, &optimizer)?
                } else {
                    checkpointer.interrupted()
                };
                return Err(error);
            }
            updated => updated?,
        };
        let epoch = (step + 1) as f64 / data.steps_per_epoch() as f64;
        let metrics = metrics_of((step + 1, steps, epoch), summary, updated, learning_rate);
        let timings = GrpoTimings::new(&metrics, rollout_seconds, begun.elapsed().as_secs_f64());
        let report = GrpoStep { metrics, timings, prompts: picked.to_vec() };
        checkpointer.after_step(step + 1, &report, session, &model, &optimizer)?;
    }
    Ok(model)
}

/// The updates of one step.
struct Update<'a> {
    model: &'a mut Model,
    optimizer: &'a mut AdamW,
    policy: &'a PolicyPlan<'a>,
    workers: &'a Workers,
}

impl Update<'_> {
    /// One update per `part` groups. Only the parts after the first need the sampling weights' log-probabilities: for the
    /// first they are the current ones.
    fn run(
        &mut self,
        reference: Option<&Model>,
        groups: &[Vec<Sample<'_>>],
        part: usize,
        learning_rate: f64,
        (step, items): (usize, &dyn Fn() -> String),
    ) -> Result<Updated> {
        let mut updated = Updated::default();
        let later = groups.get(part..).unwrap_or_default();
        let old = self.policy.log_probs(self.model, later, self.workers)?;
        for (index, groups) in groups.chunks(part).enumerate() {
            let old = index.checked_sub(1).map(|index| &old[index * part..(index * part + groups.len())]);
            let (loss, gradients, statistics) =
                self.policy.gradients(self.model, reference, groups, old, self.workers)?;
            require_finite(loss, "loss", step, items)?;
            let norm = self.optimizer.update(self.model, gradients, learning_rate, self.workers)?;
            require_finite(norm, "gradient norm", step, items)?;
            updated.updates += 1;
            updated.loss += loss;
            updated.norm += norm;
            updated.statistics += statistics;
        }
        Ok(updated)
    }
}

fn metrics_of(
    (step, steps, epoch): (usize, usize, f64),
    summary: RolloutSummary,
    updated: Updated,
    learning_rate: f64,
) -> GrpoMetrics {
    let updates = updated.updates.max(1) as f64;
    let tokens = updated.statistics.tokens.max(1) as f64;
    let mismatch = updated.statistics.mismatch;
    let compared = mismatch.tokens.max(1) as f64;
    GrpoMetrics {
        step,
        steps,
        epoch,
        loss: updated.loss / updates,
        reward_mean: summary.reward_mean,
        reward_std: summary.reward_std,
        reward_parts: summary.reward_parts,
        kl: updated.statistics.kl / tokens,
        clip_fraction: updated.statistics.clipped as f64 / tokens,
        entropy: updated.statistics.entropy / tokens,
        sampler_logprob_max_difference: mismatch.largest,
        sampler_logprob_mean_difference: mismatch.sum / compared,
        sampler_kl: mismatch.kl / compared,
        completion_length: summary.completion_length,
        finished_share: summary.finished_share,
        masked_share: summary.masked_share,
        zero_variance_share: summary.zero_variance_share,
        updates: updated.updates,
        gradient_norm: updated.norm / updates,
        learning_rate,
        tokens: summary.tokens,
        completions: summary.completions,
    }
}

/// A digest of what decides the result, to tell one run's checkpoint from another's.
fn identity(options: &GrpoOptions, prompts: &[Prompt], stop_tokens: &[u32]) -> String {
    let mut hasher = blake3::Hasher::new();
    // What does not change the result may change from one run to the next.
    let options = GrpoOptions { recompute: false, ..options.clone() };
    hasher.update(format!("grpo {options:?} {stop_tokens:?}").as_bytes());
    for prompt in prompts {
        hash_tokens(&mut hasher, &prompt.tokens);
    }
    hasher.finalize().to_hex().to_string()
}
