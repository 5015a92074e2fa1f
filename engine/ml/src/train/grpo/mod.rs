//! Group-relative policy optimisation: sample, reward, compare within each group, update. Knows nothing of graphs.
//! `rollout` is the first half of a step, `policy` the second; here they become a run with its options and figures.

mod options;

use std::time::Instant;

use serde::Serialize;

pub use self::options::GrpoOptions;
use super::data::DataOrder;
use super::forward::require_finite;
use super::loss::PolicyStatistics;
use super::optimizer::AdamW;
use super::parallel::Workers;
use super::policy::PolicyPlan;
use super::progress::{Checkpointer, Session, named};
use super::rollout::{RewardFunction, Rollout, RolloutSummary, Sample};
use super::sft::hash_tokens;
use crate::device::is_cpu;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::types::{ImageSource, Prompt};

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
    let (reference, mut model) = (model, model.clone());
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
        if groups.is_empty() && summary.masked_share > 0.0 {
            let share = summary.masked_share;
            tracing::warn!(
                "step {}: no update: {:.0} of 100 completions are masked, and the rest teach nothing",
                step + 1,
                100.0 * share
            );
        }
        let rollout_seconds = begun.elapsed().as_secs_f64();
        let learning_rate = options.learning_rate * options.schedule.factor(step, warm_up, steps);
        let reference = (options.kl_coefficient > 0.0).then_some(reference);
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
