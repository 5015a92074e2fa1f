//! The first half of a GRPO step: pick prompts, sample completions, reward them, compare them within their group.
//! Knows no gradients. P prompts of a step, G samples of each.

use std::sync::Arc;

use super::advantage::{AdvantageScale, group_advantages};
use super::sft::hash_tokens;
use crate::error::{Error, Result};
use crate::generate::{Generation, Request, Sampling, generate};
use crate::model::Model;
use crate::stop::Stop;
use crate::types::{ImagePatches, Prompt};

/// A sampled completion, as the reward sees it.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// The step that it belongs to (from 1).
    pub step: usize,
    /// Index of its prompt among the prompts of the run.
    pub prompt: usize,
    /// Index among the samples of that prompt.
    pub sample: usize,
    /// Its tokens, the stop token included.
    pub tokens: &'a [u32],
    /// Whether it ended with a stop token, not at the length limit.
    pub finished: bool,
}

/// What a completion is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reward {
    /// The number that is trained on.
    pub total: f64,
    /// Named parts, logged with their means.
    pub parts: Vec<(String, f64)>,
}

/// Rewards all completions of a step, in their order.
pub type RewardFunction<'a> = dyn FnMut(&[Completion<'_>]) -> Result<Vec<Reward>> + 'a;

/// A completion to train on.
pub struct Sample<'a> {
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    /// The prompt's images.
    pub images: &'a [Arc<ImagePatches>],
    /// Places of the completion's tokens.
    pub targets: Vec<usize>,
    /// The log-probability of each of them as the sampler found it.
    pub log_probs: Vec<f32>,
    /// Its advantage within its group.
    pub advantage: f64,
}

/// The samples of a step that have a gradient, group by group, and the figures of all samples.
pub struct Rollout<'a> {
    /// Groups with differing rewards.
    pub groups: Vec<Vec<Sample<'a>>>,
    /// Figures over all completions.
    pub summary: RolloutSummary,
}

/// Figures over all completions of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutSummary {
    /// Mean of the total reward.
    pub reward_mean: f64,
    /// Unbiased standard deviation of the total reward.
    pub reward_std: f64,
    /// Mean of each named part, in the order of first appearance.
    pub reward_parts: Vec<(String, f64)>,
    /// Mean tokens of a completion.
    pub completion_length: f64,
    /// Share of completions that ended with a stop token.
    pub finished_share: f64,
    /// Share of completions cut at the length limit and kept out of the update for it.
    pub masked_share: f64,
    /// Share of groups without a gradient.
    pub zero_variance_share: f64,
    /// Tokens of prompts and completions.
    pub tokens: usize,
    /// The digest of the completions: of each, in order, the number of its tokens and their ids as 4 little-endian bytes.
    pub completions: String,
}

/// How a step samples and compares.
pub struct RolloutPlan<'a> {
    /// Temperature, limits and stop tokens.
    pub sampling: Sampling,
    /// Samples of each prompt.
    pub samples: usize,
    /// Parts that sampling is computed in.
    pub shards: usize,
    /// What centred rewards are divided by.
    pub scale: AdvantageScale,
    /// Added to that divisor.
    pub epsilon: f64,
    /// Whether completions cut at the length limit are kept out of the update.
    pub mask_truncated: bool,
    /// Decides the samples.
    pub seed: u64,
    /// Asked before every token.
    pub stop: Stop<'a>,
}

impl RolloutPlan<'_> {
    /// Samples, rewards and compares the completions of `prompts`, which are those at `picked` among the prompts of the run.
    ///
    /// # Errors
    /// When sampling or the reward fails, or the reward returns a number that is not finite or not one per completion;
    /// [`Error::Stopped`] after a stop.
    pub fn run<'a>(
        &self,
        model: &Model,
        prompts: &'a [Prompt],
        picked: &[usize],
        step: usize,
        reward: &mut RewardFunction<'_>,
    ) -> Result<Rollout<'a>> {
        let seeds: Vec<Vec<u64>> = prompts.iter().map(|prompt| self.seeds(prompt, step)).collect();
        let requests: Vec<Request<'_>> =
            prompts.iter().zip(&seeds).map(|(prompt, seeds)| Request { prompt, seeds }).collect();
        let generations = generate(model, &requests, &self.sampling, self.shards, self.stop)?;
        let completions: Vec<Completion<'_>> = picked
            .iter()
            .zip(&generations)
            .flat_map(|(prompt, group)| {
                group.iter().enumerate().map(|(sample, generation)| Completion {
                    step,
                    prompt: *prompt,
                    sample,
                    tokens: &generation.tokens,
                    finished: generation.finished,
                })
            })
            .collect();
        let rewards = reward(&completions)?;
        check_rewards(&completions, &rewards)?;
        let totals: Vec<f64> = rewards.iter().map(|reward| reward.total).collect();
        let grouped: Vec<Vec<f64>> = totals.chunks(self.samples).map(<[f64]>::to_vec).collect();
        let advantages = group_advantages(&grouped, self.scale, self.epsilon);
        let mut summary = summarise(&completions, &rewards);
        let flat = advantages.iter().filter(|group| group.zero_variance).count();
        if self.mask_truncated {
            summary.masked_share = 1.0 - summary.finished_share;
        }
        summary.zero_variance_share = flat as f64 / advantages.len().max(1) as f64;
        summary.tokens += prompts.iter().map(|prompt| prompt.tokens.len() * self.samples).sum::<usize>();
        let groups = prompts
            .iter()
            .zip(generations)
            .zip(advantages)
            .filter(|(_, advantages)| !advantages.zero_variance)
            .map(|((prompt, group), advantages)| self.samples_of(prompt, group, &advantages.values))
            .filter(|group| !group.is_empty())
            .collect();
        Ok(Rollout { groups, summary })
    }

    /// The seeds of a prompt's samples: from the run's seed, the step, what the prompt holds and the sample's index. Never
    /// from its place in the batch.
    fn seeds(&self, prompt: &Prompt, step: usize) -> Vec<u64> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"grpo");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&(step as u64).to_le_bytes());
        hash_tokens(&mut hasher, &prompt.tokens);
        for image in &prompt.images {
            let bytes: Vec<u8> = image.pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
        (0..self.samples)
            .map(|sample| {
                let digest = hasher.clone().update(&(sample as u64).to_le_bytes()).finalize();
                let mut first = [0; 8];
                first.copy_from_slice(&digest.as_bytes()[..8]);
                u64::from_le_bytes(first)
            })
            .collect()
    }

    fn samples_of<'a>(&self, prompt: &'a Prompt, group: Vec<Generation>, advantages: &[f64]) -> Vec<Sample<'a>> {
        let start = prompt.tokens.len();
        group
            .into_iter()
            .zip(advantages)
            .filter(|(generation, _)| !generation.tokens.is_empty() && (generation.finished || !self.mask_truncated))
            .map(|(generation, advantage)| {
                let mut tokens = prompt.tokens.clone();
                tokens.extend_from_slice(&generation.tokens);
                let targets = (start..tokens.len()).collect();
                Sample {
                    tokens,
                    images: &prompt.images,
                    targets,
                    log_probs: generation.logprobs,
                    advantage: *advantage,
                }
            })
            .collect()
    }
}

fn check_rewards(completions: &[Completion<'_>], rewards: &[Reward]) -> Result<()> {
    if completions.len() != rewards.len() {
        let (got, expected) = (rewards.len(), completions.len());
        return Err(Error::training(format!("the reward returned {got} rewards for {expected} completions")));
    }
    for (completion, reward) in completions.iter().zip(rewards) {
        if !reward.total.is_finite() {
            let Completion { step, prompt, sample, .. } = completion;
            return Err(Error::training(format!(
                "step {step}: the reward of sample {sample} of prompt {prompt} is {}: expected a finite number",
                reward.total
            )));
        }
    }
    Ok(())
}

fn summarise(completions: &[Completion<'_>], rewards: &[Reward]) -> RolloutSummary {
    let count = completions.len().max(1) as f64;
    let mean = rewards.iter().map(|reward| reward.total).sum::<f64>() / count;
    let squares: f64 = rewards.iter().map(|reward| (reward.total - mean).powi(2)).sum();
    let mut parts: Vec<(String, f64)> = Vec::new();
    for (name, value) in rewards.iter().flat_map(|reward| &reward.parts) {
        match parts.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += value / count,
            None => parts.push((name.clone(), value / count)),
        }
    }
    let tokens: usize = completions.iter().map(|completion| completion.tokens.len()).sum();
    let mut digest = blake3::Hasher::new();
    completions.iter().for_each(|completion| hash_tokens(&mut digest, completion.tokens));
    RolloutSummary {
        reward_mean: mean,
        reward_std: (squares / (count - 1.0).max(1.0)).sqrt(),
        reward_parts: parts,
        completion_length: tokens as f64 / count,
        finished_share: completions.iter().filter(|completion| completion.finished).count() as f64 / count,
        masked_share: 0.0,
        zero_variance_share: 0.0,
        tokens,
        completions: digest.finalize().to_hex().to_string(),
    }
}
