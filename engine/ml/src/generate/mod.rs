//! Sampling: prompts to completions, many sequences at a time, each by its own random numbers. Knows token ids only.
//!
//! What a sequence becomes depends on the weights, its prompt, its seed and the sampling settings, never on what is
//! sampled beside it: on the CPU the model gives each row the same bits in any company. So rows come and go as they
//! like: one that is done leaves, and the next prompt takes its place (`schedule`).

mod draw;
mod schedule;
mod shared;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use self::schedule::{Limits, Work};
use crate::device::{cores, in_workers, is_cpu};
use crate::model::Model;
use crate::stop::Stop;
use crate::types::Prompt;
use crate::{Error, Result};

/// Bytes of keys and values that sampling holds at once unless told otherwise, all workers together.
pub const KEY_VALUE_BYTES: u64 = 4 << 30;
/// Values up to which [`generate`] lays a model out for sampling itself (256 MiB of them): a copy for the time of the call. A larger
/// one is laid out by its owner, with [`Model::laid_out_for_sampling`].
const COPIED_VALUES: usize = 1 << 26;

/// How tokens are drawn. The steps and their order are transformers': repetition penalty, temperature, top-k, top-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; zero takes the most likely token.
    pub temperature: f32,
    /// Only the most likely tokens that together have this probability are drawn from; one for all.
    pub top_p: f32,
    /// Only this many most likely tokens are drawn from, and those as likely as the last of them.
    pub top_k: Option<usize>,
    /// Divides the positive logits of tokens that the prompt or the completion holds already and multiplies the negative
    /// ones; one for none. It is no part of the log-probabilities, so what is trained on should be sampled without.
    pub repetition_penalty: f32,
    /// Tokens per completion at most. A completion also ends where prompt and completion reach the model's
    /// `max_position_embeddings`.
    pub max_new_tokens: usize,
    /// Tokens that end a completion.
    pub stop_tokens: Vec<u32>,
}

impl Sampling {
    /// The most likely token each time.
    pub fn greedy(max_new_tokens: usize, stop_tokens: &[u32]) -> Self {
        Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            repetition_penalty: 1.0,
            max_new_tokens,
            stop_tokens: stop_tokens.to_vec(),
        }
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// Names the setting, what it is and what was expected.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let message = format!("is {}, expected zero (greedy) or more", self.temperature);
            return Err(Error::option("temperature", message));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::option("top_p", format!("is {}, expected above 0 and at most 1", self.top_p)));
        }
        if self.top_k == Some(0) {
            return Err(Error::option("top_k", "is 0, expected 1 or more"));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let message = format!("is {}, expected above 0; 1 is none", self.repetition_penalty);
            return Err(Error::option("repetition_penalty", message));
        }
        if self.max_new_tokens == 0 {
            return Err(Error::option("max_new_tokens", "is 0, expected 1 or more"));
        }
        Ok(())
    }

    /// The most tokens of a completion of `prompt`.
    ///
    /// # Errors
    /// When the prompt is empty or fills the model's context.
    fn room(&self, model: &Model, prompt: &Prompt) -> Result<usize> {
        let (length, most) = (prompt.tokens.len(), model.config().text.max_positions);
        if length == 0 {
            return Err(Error::input("the prompt holds no token"));
        }
        if length >= most {
            let message = format!(
                "the prompt has {length} tokens, which leaves no room for an answer in the model's {most} \
                 (`max_position_embeddings`)"
            );
            return Err(Error::input(message));
        }
        Ok(self.max_new_tokens.min(most - length))
    }
}

/// A prompt to complete, once per seed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The seed of each completion.
    pub seeds: &'a [u64],
}

/// A completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Its tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// The log-probability of each token under the distribution that training uses: that of the logits divided by the
    /// temperature, before repetition penalty, top-k and top-p; undivided for greedy.
    pub logprobs: Vec<f32>,
    /// Whether a stop token ended it, rather than the length limit.
    pub finished: bool,
}

/// Completes every request, on the CPU with `workers` threads side by side (zero: one per core). The results come in
/// the order of the requests and their seeds. `stop` is asked before every token.
///
/// A prompt is computed once for all its samples, and an image once for all prompts that show it. How many sequences
/// run at once is bounded by [`KEY_VALUE_BYTES`], with room for the longest completion of each; a single one always runs.
///
/// # Errors
/// When a setting is out of range, a prompt does not fit the model, or the logits are no numbers; [`Error::Stopped`] after a
/// stop.
pub fn generate(
    model: &Model,
    requests: &[Request<'_>],
    sampling: &Sampling,
    workers: usize,
    stop: Stop<'_>,
) -> Result<Vec<Vec<Generation>>> {
    generate_within(model, requests, sampling, workers, KEY_VALUE_BYTES, stop)
}

/// As [`generate`], with at most `key_value_bytes` of keys and values at once.
///
/// # Errors
/// As [`generate`].
pub fn generate_within(
    model: &Model,
    requests: &[Request<'_>],
    sampling: &Sampling,
    workers: usize,
    key_value_bytes: u64,
    stop: Stop<'_>,
) -> Result<Vec<Vec<Generation>>> {
    sampling.check()?;
    let on_cpu = is_cpu(model.device());
    let model = for_sampling(model);
    let work = Work::new(&model, requests, sampling)?;
    let workers = match workers {
        _ if !on_cpu => 1,
        0 => cores(),
        workers => workers,
    };
    let limits = Limits::new(work.samples(), workers, key_value_bytes);
    let failed = AtomicBool::new(false);
    let run = || {
        let requested = || stop.requested() || failed.load(Ordering::Relaxed);
        let outcome = work.run(limits, Stop::when(&requested), &mut |_, _| true);
        if outcome.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        outcome
    };
    // A GPU's host work, the drawing of tokens, may use all cores.
    let outcomes = if on_cpu { in_workers(vec![(); workers], workers, |_, ()| run())? } else { vec![run()] };
    let mut results: Vec<Vec<Generation>> =
        requests.iter().map(|request| vec![Generation::default(); request.seeds.len()]).collect();
    for (place, generation) in all_or_error(outcomes)?.into_iter().flatten() {
        results[place.request][place.index] = generation;
    }
    Ok(results)
}

/// Completes one prompt and hands each token with its log-probability to `on_token` as soon as it is drawn; the completion ends
/// early where that says false. The same tokens as [`generate`]'s.
///
/// Large models should be [laid out for sampling](Model::laid_out_for_sampling) before.
///
/// # Errors
/// As [`generate`].
pub fn generate_one(
    model: &Model,
    prompt: &Prompt,
    seed: u64,
    sampling: &Sampling,
    stop: Stop<'_>,
    on_token: &mut dyn FnMut(u32, f32) -> bool,
) -> Result<Generation> {
    sampling.check()?;
    let model = for_sampling(model);
    let requests = [Request { prompt, seeds: &[seed] }];
    let work = Work::new(&model, &requests, sampling)?;
    let finished = work.run(Limits::new(1, 1, KEY_VALUE_BYTES), stop, on_token)?;
    Ok(finished.into_iter().next().map(|(_, generation)| generation).unwrap_or_default())
}

/// The model, laid out for sampling if that is cheap.
fn for_sampling(model: &Model) -> Model {
    if model.values() <= COPIED_VALUES { model.clone().laid_out_for_sampling() } else { model.clone() }
}

/// What the workers made, or the error that made the others stop.
fn all_or_error<T>(outcomes: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut made = Vec::with_capacity(outcomes.len());
    let mut stopped = None;
    for outcome in outcomes {
        match outcome {
            Ok(outcome) => made.push(outcome),
            Err(error @ Error::Stopped) => stopped = Some(error),
            Err(error) => return Err(error),
        }
    }
    stopped.map_or(Ok(made), Err)
}
