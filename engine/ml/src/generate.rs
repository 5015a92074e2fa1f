//! Sampling: prompts to completions, many sequences at a time, each by its own random numbers. Knows token ids only.
//!
//! What a sequence becomes depends on the weights, its prompt, its seed and the sampling settings, never on what is
//! sampled beside it: only prompts of equal length share a batch, so there is no padding, and the model gives each row
//! the same bits in any company.

use burn::tensor::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::device::{cores, in_workers, is_cpu};
use crate::model::{KvCache, Model, Padding, Sequence, row_indices};
use crate::stop::Stop;
use crate::types::{ImagePatches, Prompt};
use crate::{Error, Result};

/// Sequences that are decoded together at most, per worker.
const MAX_ROWS: usize = 96;
/// Sequences that a job holds at least, where there are so many: fewer leave the processor's vectors half empty.
const MIN_ROWS: usize = 8;

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; zero takes the most likely token.
    pub temperature: f32,
    /// Only the most likely tokens that together have this probability are drawn from; one for all.
    pub top_p: f32,
    /// Only this many most likely tokens are drawn from.
    pub top_k: Option<usize>,
    /// Tokens per completion at most.
    pub max_new_tokens: usize,
    /// Tokens that end a completion.
    pub stop_tokens: Vec<u32>,
}

impl Sampling {
    /// The most likely token each time.
    pub fn greedy(max_new_tokens: usize, stop_tokens: &[u32]) -> Self {
        Sampling { temperature: 0.0, top_p: 1.0, top_k: None, max_new_tokens, stop_tokens: stop_tokens.to_vec() }
    }

    fn check(&self) -> Result<()> {
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
        if self.max_new_tokens == 0 {
            return Err(Error::option("max_new_tokens", "is 0, expected 1 or more"));
        }
        Ok(())
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
    /// The log-probability of each token under the tempered distribution before top-k and top-p; untempered for greedy.
    pub logprobs: Vec<f32>,
    /// Whether a stop token ended it, rather than the length limit.
    pub finished: bool,
}

/// Completes every request, on the CPU with `workers` threads side by side (zero: one per core). The results come in
/// the order of the requests and their seeds. `stop` is asked before every token.
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
    sampling.check()?;
    let model = model.without_gradients();
    let workers = match workers {
        _ if !is_cpu(model.device()) => 1,
        0 => cores(),
        workers => workers,
    };
    let jobs = jobs(requests, workers);
    let finished = in_workers(jobs, workers, |_, job| {
        let generations = run_job(&model, requests, &job, sampling, stop);
        generations.map(|generations| (job, generations))
    })?;
    let mut results: Vec<Vec<Generation>> =
        requests.iter().map(|request| vec![Generation::default(); request.seeds.len()]).collect();
    for outcome in finished {
        let (job, generations) = outcome?;
        for (sample, generation) in job.into_iter().zip(generations) {
            results[sample.request][sample.index] = generation;
        }
    }
    Ok(results)
}

/// One completion to make: the request and which of its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    request: usize,
    index: usize,
}

/// Shares the samples out: prompts of one length per job, jobs large enough to be fast and enough of them for all
/// workers, the samples of a request together.
fn jobs(requests: &[Request<'_>], workers: usize) -> Vec<Vec<Sample>> {
    let length = |request: usize| requests[request].prompt.tokens.len();
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|request| length(*request));
    let total: usize = requests.iter().map(|request| request.seeds.len()).sum();
    let size = total.div_ceil(workers).clamp(MIN_ROWS, MAX_ROWS);
    let mut jobs = Vec::new();
    for group in order.chunk_by(|left, right| length(*left) == length(*right)) {
        let samples: Vec<Sample> = group
            .iter()
            .flat_map(|request| (0..requests[*request].seeds.len()).map(|index| Sample { request: *request, index }))
            .collect();
        let parts = match samples.len().div_ceil(size) {
            0 | 1 => 1,
            parts => parts.next_multiple_of(workers),
        };
        jobs.extend(samples.chunks(samples.len().div_ceil(parts).max(1)).map(<[Sample]>::to_vec));
    }
    // The longest first, so that no worker is left with a long one at the end.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.len()));
    jobs
}

/// A completion in the making.
#[derive(Clone)]
struct Stream {
    /// Its place in the job.
    place: usize,
    random: ChaCha8Rng,
    generation: Generation,
    /// The position of its next token.
    position: u32,
}

impl Stream {
    /// Adds a token and says whether the completion goes on.
    fn push(&mut self, token: u32, logprob: f32, sampling: &Sampling) -> bool {
        self.generation.tokens.push(token);
        self.generation.logprobs.push(logprob);
        self.generation.finished = sampling.stop_tokens.contains(&token);
        !self.generation.finished && self.generation.tokens.len() < sampling.max_new_tokens
    }
}

fn run_job(
    model: &Model,
    requests: &[Request<'_>],
    job: &[Sample],
    sampling: &Sampling,
    stop: Stop<'_>,
) -> Result<Vec<Generation>> {
    let vocabulary = model.config().text.vocab_size;
    let placeholder = model.config().image_token.map(|token| token as usize);
    let (mut cache, hidden, positions) = prefill(model, requests, job, sampling.max_new_tokens, stop)?;
    let stream = |(place, (sample, position)): (usize, (&Sample, u32))| Stream {
        place,
        random: ChaCha8Rng::seed_from_u64(requests[sample.request].seeds[sample.index]),
        generation: Generation::default(),
        position,
    };
    // One row each; a row without a stream is finished, and computed for nothing until the rows are compacted.
    let mut rows: Vec<Option<Stream>> =
        job.iter().zip(positions).enumerate().map(|sample| Some(stream(sample))).collect();
    let mut finished = vec![Generation::default(); job.len()];
    let mut logits = read_logits(model.logits(hidden))?;
    loop {
        for (row, logits) in rows.iter_mut().zip(logits.chunks_exact(vocabulary)) {
            let Some(stream) = row else { continue };
            let (token, logprob) = draw(logits, placeholder, sampling, &mut stream.random)?;
            if !stream.push(token, logprob, sampling) {
                finished[stream.place] = std::mem::take(&mut stream.generation);
                *row = None;
            }
        }
        if rows.iter().all(Option::is_none) {
            return Ok(finished);
        }
        stop.check()?;
        compact(&mut cache, &mut rows, model.device());
        let next = |row: &mut Option<Stream>| match row {
            Some(stream) => {
                stream.position += 1;
                (stream.generation.tokens.last().copied().unwrap_or_default(), stream.position - 1)
            }
            None => (0, 0),
        };
        let (tokens, positions): (Vec<u32>, Vec<u32>) = rows.iter_mut().map(next).unzip();
        logits = read_logits(model.logits(model.next_hidden(&tokens, &positions, &mut cache)))?;
    }
}

/// Drops rows without a stream. The cache is copied for it, so it waits until an eighth of the rows can go.
fn compact(cache: &mut KvCache, rows: &mut Vec<Option<Stream>>, device: &Device) {
    let kept: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].is_some()).collect();
    if kept.len() * 8 > rows.len() * 7 {
        return;
    }
    cache.select_rows(row_indices(&kept, device));
    rows.retain(Option::is_some);
}

/// Runs the prompts of a job once each, and gives every sample a row: the cache, the hidden state of the last token
/// `[rows, width]`, and the position of the next token.
fn prefill(
    model: &Model,
    requests: &[Request<'_>],
    job: &[Sample],
    max_new_tokens: usize,
    stop: Stop<'_>,
) -> Result<(KvCache, Tensor<2>, Vec<u32>)> {
    let device = model.device();
    let mut distinct: Vec<usize> = job.iter().map(|sample| sample.request).collect();
    distinct.dedup();
    let mut images: Vec<&ImagePatches> = Vec::new();
    let mut image_numbers: Vec<Vec<usize>> = Vec::with_capacity(distinct.len());
    for request in &distinct {
        let own = requests[*request].prompt.images.iter().map(AsRef::as_ref);
        let first = images.len();
        images.extend(own);
        image_numbers.push((first..images.len()).collect());
    }
    stop.check()?;
    let features = model.encode_images(&images)?;
    stop.check()?;
    let sequences: Vec<Sequence<'_>> = distinct
        .iter()
        .zip(&image_numbers)
        .map(|(request, images)| Sequence { tokens: &requests[*request].prompt.tokens, images })
        .collect();
    let batch = model.batch(&sequences, &features, Padding::Right)?;
    let mut cache = KvCache::new(&model.config().text, batch.rows, batch.width + max_new_tokens, device);
    let hidden = model.hidden(&batch, &features, Some(&mut cache))?;
    let row_of = |request: usize| distinct.iter().position(|other| *other == request).unwrap_or_default();
    let rows: Vec<usize> = job.iter().map(|sample| row_of(sample.request)).collect();
    cache.select_rows(row_indices(&rows, device));
    let last: Vec<usize> = rows.iter().map(|row| (row + 1) * batch.width - 1).collect();
    let positions = rows.iter().map(|row| batch.next_positions()[*row]).collect();
    Ok((cache, hidden.select(0, row_indices(&last, device)), positions))
}

/// The logits of every row.
fn read_logits(logits: Tensor<2>) -> Result<Vec<f32>> {
    let data = logits.try_into_data().map_err(|error| Error::device(format!("cannot read the logits: {error:?}")))?;
    data.try_into_vec::<f32>().map_err(|error| Error::device(format!("cannot read the logits: {error}")))
}

/// Draws a token and gives its log-probability. `placeholder`, the token that stands for an image's features, is never
/// drawn: there is no image that it could stand for. Its share stays in the log-probability, as in training.
fn draw(
    logits: &[f32],
    placeholder: Option<usize>,
    sampling: &Sampling,
    random: &mut ChaCha8Rng,
) -> Result<(u32, f32)> {
    let (best, highest) = logits
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != placeholder)
        .fold((0, f32::NEG_INFINITY), |best, (index, value)| if *value > best.1 { (index, *value) } else { best });
    let inverse = if sampling.temperature > 0.0 { 1.0 / sampling.temperature } else { 1.0 };
    let mut weights: Vec<f32> = logits.iter().map(|logit| ((logit - highest) * inverse).exp()).collect();
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    if !total.is_finite() || !highest.is_finite() {
        return Err(Error::input("the model's logits are not finite numbers: its weights are damaged or diverged"));
    }
    if let Some(weight) = placeholder.and_then(|placeholder| weights.get_mut(placeholder)) {
        *weight = 0.0;
    }
    let token = if sampling.temperature > 0.0 {
        let uniform: f64 = random.random();
        if sampling.top_p < 1.0 || sampling.top_k.is_some() {
            let candidates = candidates(&weights, total, sampling);
            pick(candidates.iter().map(|index| (*index, weights[*index])), uniform).unwrap_or(best)
        } else {
            pick(weights.iter().copied().enumerate(), uniform).unwrap_or(best)
        }
    } else {
        best
    };
    let logprob = f64::from(logits[token] - highest) * f64::from(inverse) - total.ln();
    Ok((token as u32, logprob as f32))
}

/// The token at which the running sum of weights passes `uniform` of their total.
fn pick(weights: impl Iterator<Item = (usize, f32)> + Clone, uniform: f64) -> Option<usize> {
    let total: f64 = weights.clone().map(|(_, weight)| f64::from(weight)).sum();
    let mut left = uniform * total;
    let mut last = None;
    for (index, weight) in weights.filter(|(_, weight)| *weight > 0.0) {
        last = Some(index);
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The most likely tokens that top-k and top-p leave, the most likely first. The token that passes `top_p` is in.
fn candidates(weights: &[f32], total: f64, sampling: &Sampling) -> Vec<usize> {
    let limit = sampling.top_k.unwrap_or(weights.len()).min(weights.len());
    let by_weight = |left: &usize, right: &usize| weights[*right].total_cmp(&weights[*left]).then(left.cmp(right));
    let mut order: Vec<usize> = (0..weights.len()).collect();
    // The head of the distribution usually suffices, so only as much of it is sorted as is needed.
    let mut sorted = 256.min(limit);
    loop {
        if sorted < order.len() {
            order.select_nth_unstable_by(sorted, by_weight);
        }
        order[..sorted].sort_unstable_by(by_weight);
        let mut mass = 0.0;
        let count = order[..sorted]
            .iter()
            .take_while(|index| {
                let before = mass;
                mass += f64::from(weights[**index]);
                before < f64::from(sampling.top_p) * total
            })
            .count();
        if count < sorted || sorted == limit {
            order.truncate(count);
            return order;
        }
        sorted = (sorted * 8).min(limit);
    }
}

#[cfg(test)]
mod tests;
