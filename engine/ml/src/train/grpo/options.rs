//! What decides the result of GRPO, its ranges, and what the two halves of a step make of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::generate::Sampling;
use crate::model::{Keep, Model};
use crate::stop::Stop;
use crate::train::advantage::AdvantageScale;
use crate::train::loss::{ImportanceLevel, PolicyLossKind, PolicyLossOptions};
use crate::train::optimizer::{AdamWOptions, is_trained};
use crate::train::policy::PolicyPlan;
use crate::train::rollout::RolloutPlan;
use crate::train::schedule::{Schedule, WarmUp};
use crate::train::sft::{at_least_one, check_optimizer};

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

    pub(super) fn optimizer(&self) -> AdamWOptions {
        AdamWOptions {
            betas: self.betas,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            max_gradient_norm: (self.max_gradient_norm > 0.0).then_some(self.max_gradient_norm),
        }
    }

    pub(super) fn policy<'a>(&'a self, model: &Model, stop: Stop<'a>) -> PolicyPlan<'a> {
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

    pub(super) fn rollout<'a>(&self, stop_tokens: &[u32], stop: Stop<'a>) -> RolloutPlan<'a> {
        RolloutPlan {
            sampling: Sampling {
                temperature: self.temperature as f32,
                top_p: self.top_p as f32,
                top_k: None,
                // A penalty would make the sampler another distribution than the trainer's.
                repetition_penalty: 1.0,
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
