//! The losses of SFT and GRPO as plain arithmetic on per-token log-probabilities, with their gradients by hand.
//! Knows neither tensors nor models: a batch is a list of numbers. Values and gradients equal TRL's (and, for the dual clip
//! and the clamps, verl's formulas).
//!
//! Every aggregation gives all tokens of a sequence the same weight, so an aggregation is a weight per sequence and the loss
//! of any part of a batch is a sum: shards and micro-batches add up to the whole batch exactly as defined.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The per-token objective and how tokens add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyLossKind {
    /// Clipped ratio; mean over sequences of the mean over their tokens.
    Grpo,
    /// Clipped ratio; mean over the tokens of each micro-batch, then over micro-batches.
    Bnpo,
    /// Clipped ratio; sum over tokens divided by sequences times the longest allowed completion.
    DrGrpo,
    /// Clipped ratio; mean over all tokens of the update (DAPO, and EasyR1's token mean).
    #[default]
    Dapo,
    /// Truncated, detached ratio times the log-probability; mean over all tokens of the update.
    Cispo,
}

/// Whether every token has its own importance ratio or shares its sequence's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportanceLevel {
    /// One ratio per token.
    #[default]
    Token,
    /// exp of the mean log-ratio of the sequence (GSPO).
    Sequence,
}

/// What the policy loss is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyLossOptions {
    /// The objective and its aggregation.
    pub kind: PolicyLossKind,
    /// Ratios per token or per sequence.
    pub importance: ImportanceLevel,
    /// The ratio is clipped below at `1 - clip_low`.
    pub clip_low: f64,
    /// The ratio is clipped above at `1 + clip_high`.
    pub clip_high: f64,
    /// The ratio counts up to this where it is not clipped (TRL's `delta`). Above `1 + clip_high`, where it belongs, it stops the
    /// loss of a negative advantage (verl's dual clip, `clip_ratio_c`). `None` for no such stop.
    pub dual_clip: Option<f64>,
    /// Weight of the KL estimate k3 against the reference; 0 needs no reference.
    pub kl_coefficient: f64,
    /// Log-ratios and log-probability differences are limited to this magnitude before `exp`; `None` for no limit, as in TRL.
    pub log_ratio_limit: Option<f64>,
    /// A token's KL estimate stops here; `None` for no limit, as in TRL.
    pub kl_limit: Option<f64>,
}

impl Default for PolicyLossOptions {
    fn default() -> Self {
        Self {
            kind: PolicyLossKind::Dapo,
            importance: ImportanceLevel::Token,
            clip_low: 0.2,
            clip_high: 0.3,
            dual_clip: Some(3.0),
            kl_coefficient: 1e-2,
            // verl's, and so EasyR1's.
            log_ratio_limit: Some(20.0),
            kl_limit: Some(10.0),
        }
    }
}

/// What an update is divided by: counts over all its micro-batches and shards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateTotals {
    /// Sequences in the update.
    pub sequences: usize,
    /// Completion tokens in the update.
    pub tokens: f64,
    /// Micro-batches in the update.
    pub micro_batches: usize,
    /// The longest completion that sampling allows.
    pub max_completion_length: usize,
}

impl PolicyLossKind {
    /// The weight of every token of each sequence of one micro-batch, given the sequences' lengths.
    pub fn weights(self, lengths: &[usize], totals: &UpdateTotals) -> Vec<f64> {
        let sequences = totals.sequences.max(1) as f64;
        let micro_tokens: usize = lengths.iter().sum();
        lengths
            .iter()
            .map(|length| match self {
                Self::Grpo => 1.0 / (sequences * (*length).max(1) as f64),
                Self::Bnpo => 1.0 / (micro_tokens.max(1) * totals.micro_batches.max(1)) as f64,
                Self::DrGrpo => 1.0 / (sequences * totals.max_completion_length.max(1) as f64),
                Self::Dapo | Self::Cispo => 1.0 / totals.tokens.max(1.0),
            })
            .collect()
    }
}

/// One sequence's completion: every slice has one number per token.
#[derive(Clone, Copy, Debug)]
pub struct PolicySequence<'a> {
    /// Log-probabilities under the weights being trained.
    pub log_probs: &'a [f64],
    /// Log-probabilities under the weights that sampled; `None` when these are the same weights (ratio exactly 1).
    pub old: Option<&'a [f64]>,
    /// Log-probabilities under the frozen reference; `None` for no KL term.
    pub reference: Option<&'a [f64]>,
    /// The sequence's advantage.
    pub advantage: f64,
    /// The weight of each of its tokens.
    pub weight: f64,
}

/// Sums over tokens, to be divided by `tokens` where a mean is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyStatistics {
    /// Tokens seen.
    pub tokens: usize,
    /// Tokens whose ratio was clipped, by the dual clip too, so that they have no policy gradient.
    pub clipped: usize,
    /// Sum of the KL estimates.
    pub kl: f64,
    /// Sum of the entropies; filled by the caller, who has the distributions.
    pub entropy: f64,
    /// How the sampler's log-probabilities differ from the trainer's.
    pub mismatch: Mismatch,
}

/// How the log-probabilities that the sampler found differ from those of the same weights and tokens in training. Sums over
/// tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mismatch {
    /// Tokens compared.
    pub tokens: usize,
    /// The largest difference of one token.
    pub largest: f64,
    /// Sum of the differences' magnitudes.
    pub sum: f64,
    /// Sum of the estimates k3 of the divergence of the trainer's distribution from the sampler's, whose tokens these are.
    pub kl: f64,
}

impl PolicyStatistics {
    /// Compares the log-probabilities of a sequence's tokens under the weights that sampled it.
    pub fn compare(&mut self, trainer: &[f64], sampler: &[f32]) {
        for (trainer, sampler) in trainer.iter().zip(sampler) {
            let difference = trainer - f64::from(*sampler);
            self.mismatch.tokens += 1;
            self.mismatch.largest = self.mismatch.largest.max(difference.abs());
            self.mismatch.sum += difference.abs();
            self.mismatch.kl += difference.exp_m1() - difference;
        }
    }
}

impl AddAssign for PolicyStatistics {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.clipped += other.clipped;
        self.kl += other.kl;
        self.entropy += other.entropy;
        self.mismatch.tokens += other.mismatch.tokens;
        self.mismatch.largest = self.mismatch.largest.max(other.mismatch.largest);
        self.mismatch.sum += other.mismatch.sum;
        self.mismatch.kl += other.mismatch.kl;
    }
}

/// Adds a sequence's loss: returns the loss, pushes d loss / d log-prob of each token, counts into `statistics`.
pub fn policy_loss(
    sequence: &PolicySequence<'_>,
    options: &PolicyLossOptions,
    gradient: &mut Vec<f64>,
    statistics: &mut PolicyStatistics,
) -> f64 {
    let tokens = sequence.log_probs.len();
    let log_ratio = |token: usize| {
        let old = sequence.old.and_then(|old| old.get(token)).unwrap_or(&sequence.log_probs[token]);
        sequence.log_probs[token] - *old
    };
    let per_token: Vec<Objective> = match options.importance {
        ImportanceLevel::Token => {
            (0..tokens).map(|token| objective(log_ratio(token), sequence, token, options)).collect()
        }
        ImportanceLevel::Sequence => {
            let mean = (0..tokens).map(log_ratio).sum::<f64>() / tokens.max(1) as f64;
            // Each token's ratio is the sequence's, which depends on every token by 1/tokens: the sums cancel the factor.
            (0..tokens).map(|token| objective(mean, sequence, token, options)).collect()
        }
    };
    let mut loss = 0.0;
    for (token, objective) in per_token.iter().enumerate() {
        let (kl, kl_gradient) = match sequence.reference.and_then(|reference| reference.get(token)) {
            Some(reference) => k3(reference - sequence.log_probs[token], options),
            None => (0.0, 0.0),
        };
        loss += sequence.weight * (objective.loss + options.kl_coefficient * kl);
        gradient.push(sequence.weight * (objective.gradient + options.kl_coefficient * kl_gradient));
        statistics.kl += kl;
        statistics.clipped += usize::from(objective.clipped);
    }
    statistics.tokens += tokens;
    loss
}

/// The policy part of one token's loss.
struct Objective {
    loss: f64,
    gradient: f64,
    clipped: bool,
}

/// The loss of one token and its derivative with respect to the log-probability.
fn objective(log_ratio: f64, sequence: &PolicySequence<'_>, token: usize, options: &PolicyLossOptions) -> Objective {
    let advantage = sequence.advantage;
    let limited = limit_to(log_ratio, options.log_ratio_limit);
    let ratio = limited.exp();
    let (low, high) = (1.0 - options.clip_low, 1.0 + options.clip_high);
    let live = limited == log_ratio;
    if options.kind == PolicyLossKind::Cispo {
        let weight = ratio.min(high) * advantage;
        let clipped = ratio > high && advantage > 0.0;
        return Objective { loss: -weight * sequence.log_probs[token], gradient: -weight, clipped };
    }
    // The smaller of two products, as TRL has it: the ratio up to the dual clip, and the ratio in its range. Each counts for
    // the gradient where it is not cut; equal ones half each.
    let dual = options.dual_clip.unwrap_or(f64::INFINITY);
    let (free, bound) = (ratio.min(dual) * advantage, ratio.clamp(low, high) * advantage);
    let slope = |counts: bool| if counts { ratio * advantage } else { 0.0 };
    let (of_free, of_bound) = (slope(ratio <= dual), slope((low..=high).contains(&ratio)));
    let gradient = match free.total_cmp(&bound) {
        std::cmp::Ordering::Less => of_free,
        std::cmp::Ordering::Greater => of_bound,
        std::cmp::Ordering::Equal => 0.5 * (of_free + of_bound),
    };
    let clipped = advantage != 0.0 && gradient == 0.0;
    let gradient = if live { gradient } else { 0.0 };
    Objective { loss: -free.min(bound), gradient: -gradient, clipped }
}

/// Schulman's estimate k3 = exp(d) - d - 1 of the KL divergence with d = log reference - log policy, and its derivative
/// with respect to the log-probability. Both clamps stop the gradient.
fn k3(difference: f64, options: &PolicyLossOptions) -> (f64, f64) {
    let inner = limit_to(difference, options.log_ratio_limit);
    let value = inner.exp_m1() - inner;
    match options.kl_limit {
        Some(limit) if value > limit => (limit, 0.0),
        _ if inner != difference => (value, 0.0),
        _ => (value, -inner.exp_m1()),
    }
}

fn limit_to(value: f64, limit: Option<f64>) -> f64 {
    limit.map_or(value, |limit| value.clamp(-limit, limit))
}

/// What SFT minimises at each token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SftLossKind {
    /// The negative log-likelihood.
    #[default]
    Nll,
    /// The negative log-likelihood times the token's detached probability (dynamic fine-tuning).
    Dft,
}

/// The SFT loss summed over tokens and divided by `tokens`, the count of the whole accumulated batch; and its gradient.
pub fn sft_loss(log_probs: &[f64], kind: SftLossKind, tokens: usize) -> (f64, Vec<f64>) {
    let count = tokens.max(1) as f64;
    let weight = |log_prob: f64| match kind {
        SftLossKind::Nll => 1.0 / count,
        SftLossKind::Dft => log_prob.exp() / count,
    };
    let loss = log_probs.iter().map(|log_prob| -log_prob * weight(*log_prob)).sum();
    let gradient = log_probs.iter().map(|log_prob| -weight(*log_prob)).collect();
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reference::cases;
    use serde_json::Value;

    type Matrix = Vec<Vec<f64>>;

    fn matrix(value: &Value) -> Matrix {
        serde_json::from_value(value.clone()).unwrap()
    }

    /// The reference names the options as TRL does; its cispo limit is absolute, its `delta` is the dual clip.
    fn options_of(config: &Value) -> PolicyLossOptions {
        let number = |name: &str| config[name].as_f64().unwrap();
        let kind: PolicyLossKind =
            serde_json::from_value(Value::from(config["loss_type"].as_str().unwrap().replace('_', "-"))).unwrap();
        let absolute = if kind == PolicyLossKind::Cispo { 1.0 } else { 0.0 };
        PolicyLossOptions {
            kind,
            importance: serde_json::from_value(config["is_level"].clone()).unwrap(),
            clip_low: number("eps_low"),
            clip_high: number("eps_high") - absolute,
            dual_clip: config["delta"].as_f64(),
            kl_coefficient: number("beta"),
            log_ratio_limit: None,
            kl_limit: None,
        }
    }

    /// Both sides are f64.
    fn assert_close(actual: f64, expected: f64, what: &str) {
        let close = (actual - expected).abs() <= 1e-10 * expected.abs() + 1e-15;
        assert!(close, "{what}: {actual} != {expected}");
    }

    #[test]
    fn policy_losses_and_gradients_equal_the_reference() {
        for (file, case) in cases("grpo") {
            let input = &file["grpo_inputs"][case["input"].as_str().unwrap()];
            let (config, options) = (&case["config"], options_of(&case["config"]));
            let what = format!("{} {config}", case["input"]);
            let mask: Vec<Vec<usize>> = serde_json::from_value(input["completion_mask"].clone()).unwrap();
            let lengths: Vec<usize> = mask.iter().map(|row| row.iter().sum()).collect();
            let (log_probs, old, reference) =
                (matrix(&input["logps"]), matrix(&input["old_logps"]), matrix(&input["ref_logps"]));
            let steps = config["steps_per_generation"].as_f64().unwrap();
            let accumulated = config["accum"].as_f64().unwrap();
            let totals = UpdateTotals {
                sequences: lengths.len() * accumulated as usize,
                tokens: config["num_items_in_batch"].as_f64().unwrap() * accumulated / steps,
                micro_batches: accumulated as usize,
                max_completion_length: config["max_completion_length"].as_u64().unwrap() as usize,
            };
            // The accumulation of dr_grpo and grpo is over equal micro-batches, as here.
            let weights = options.kind.weights(&lengths, &totals);
            let expected = matrix(&case["grad_logps"]);
            let (mut loss, mut statistics) = (0.0, PolicyStatistics::default());
            for (row, length) in lengths.iter().enumerate() {
                let sequence = PolicySequence {
                    log_probs: &log_probs[row][..*length],
                    old: case["use_old_logps"].as_bool().unwrap().then(|| &old[row][..*length]),
                    reference: (options.kl_coefficient > 0.0).then(|| &reference[row][..*length]),
                    advantage: input["advantages"][row].as_f64().unwrap(),
                    weight: weights[row],
                };
                let mut gradient = Vec::new();
                loss += policy_loss(&sequence, &options, &mut gradient, &mut statistics);
                for (actual, expected) in gradient.iter().zip(&expected[row]) {
                    assert_close(*actual, *expected, &what);
                }
            }
            assert_close(loss, case["loss"].as_f64().unwrap(), &what);
            let tokens = statistics.tokens as f64;
            if let Some(kl) = case["trl_metrics"]["kl"].as_f64() {
                assert_close(statistics.kl / tokens, kl, &what);
            }
            // TRL counts sequences at the sequence level, and does not count the dual clip.
            if let (Some(share), ImportanceLevel::Token, None) =
                (case["trl_metrics"]["clip_ratio/region_mean"].as_f64(), options.importance, options.dual_clip)
            {
                // TRL counts in f32.
                assert!((statistics.clipped as f64 / tokens - share).abs() < 1e-7, "{what}: {share}");
            }
        }
    }

    /// Micro-batches whose rows have other lengths add up to what TRL adds up over an accumulation window.
    #[test]
    fn unequal_micro_batches_add_up_to_the_reference() {
        let file = &crate::train::reference::files()[1];
        for case in file["accumulated"].as_array().unwrap() {
            let input = &file["grpo_inputs"][case["input"].as_str().unwrap()];
            let (config, options) = (&case["config"], options_of(&case["config"]));
            let mask: Vec<Vec<usize>> = serde_json::from_value(input["completion_mask"].clone()).unwrap();
            let lengths: Vec<usize> = mask.iter().map(|row| row.iter().sum()).collect();
            let totals = UpdateTotals {
                sequences: lengths.len(),
                tokens: lengths.iter().sum::<usize>() as f64,
                micro_batches: 2,
                max_completion_length: config["max_completion_length"].as_u64().unwrap() as usize,
            };
            let weights: Vec<f64> = lengths.chunks(2).flat_map(|part| options.kind.weights(part, &totals)).collect();
            let (log_probs, old, reference) =
                (matrix(&input["logps"]), matrix(&input["old_logps"]), matrix(&input["ref_logps"]));
            let expected = matrix(&case["grad_logps"]);
            let mut loss = 0.0;
            for (row, length) in lengths.iter().enumerate() {
                let sequence = PolicySequence {
                    log_probs: &log_probs[row][..*length],
                    old: Some(&old[row][..*length]),
                    reference: Some(&reference[row][..*length]),
                    advantage: input["advantages"][row].as_f64().unwrap(),
                    weight: weights[row],
                };
                let mut gradient = Vec::new();
                loss += policy_loss(&sequence, &options, &mut gradient, &mut PolicyStatistics::default());
                for (actual, expected) in gradient.iter().zip(&expected[row]) {
                    assert_close(*actual, *expected, &config.to_string());
                }
            }
            assert_close(loss, case["loss"].as_f64().unwrap(), &config.to_string());
        }
    }

    #[test]
    fn extreme_ratios_stay_finite_and_stop_the_gradient() {
        let sequence = |advantage| PolicySequence {
            log_probs: &[-1.0, -80.0],
            old: Some(&[-60.0, -1.0]),
            reference: Some(&[-60.0, -1.0]),
            advantage,
            weight: 1.0,
        };
        for advantage in [-1.0, 1.0] {
            let (mut gradient, mut statistics) = (Vec::new(), PolicyStatistics::default());
            let loss = policy_loss(&sequence(advantage), &PolicyLossOptions::default(), &mut gradient, &mut statistics);
            assert!(loss.is_finite(), "{loss}");
            assert_eq!(gradient, [0.0, 0.0]);
            assert_eq!(statistics.kl, 20.0);
        }
    }
}
