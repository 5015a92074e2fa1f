//! From logits to a token: repetition penalty, temperature, top-k, top-p and the draw, in the order and with the ties of
//! transformers' `RepetitionPenaltyLogitsProcessor`, `TopKLogitsWarper` and `TopPLogitsWarper`.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::Sampling;
use crate::model::exponentials;
use crate::{Error, Result};

/// Tokens that are sorted at first: the head of the distribution usually suffices.
const SORTED_FIRST: usize = 256;

/// Draws tokens; a copy of its own for each thread.
#[derive(Default)]
pub(super) struct Drawer {
    scores: Vec<f32>,
    weights: Vec<f32>,
    order: Vec<u32>,
}

/// The tokens of a sequence, each once, in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Vec<u32>);

impl Seen {
    pub(super) fn of(tokens: &[u32]) -> Self {
        let mut tokens = tokens.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        Seen(tokens)
    }

    pub(super) fn add(&mut self, token: u32) {
        if let Err(place) = self.0.binary_search(&token) {
            self.0.insert(place, token);
        }
    }
}

impl Drawer {
    /// Draws a token and gives its log-probability. `seen` are the tokens that a penalty is for.
    ///
    /// `placeholder`, the token that stands for an image's features, is never drawn: there is no image that it could stand
    /// for. Its share stays in the log-probability, as in training.
    ///
    /// # Errors
    /// When the logits are no finite numbers.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        placeholder: Option<usize>,
        seen: &Seen,
        sampling: &Sampling,
        random: &mut ChaCha8Rng,
    ) -> Result<(u32, f32)> {
        let inverse = if sampling.temperature > 0.0 { 1.0 / sampling.temperature } else { 1.0 };
        let (mut best, highest) = most_likely(logits, placeholder);
        let mut total = exponentials(logits, placeholder, (highest, inverse), &mut self.weights);
        if !total.is_finite() || !highest.is_finite() {
            return Err(Error::input("the model's logits are not finite numbers: its weights are damaged or diverged"));
        }
        let aside = placeholder.and_then(|placeholder| logits.get(placeholder));
        let log_total = log_sum(total, aside.map(|logit| f64::from(logit - highest) * f64::from(inverse)));
        let mut scores = logits;
        if sampling.repetition_penalty != 1.0 {
            self.penalise(logits, seen, sampling.repetition_penalty);
            scores = &self.scores;
            let (penalised, highest) = most_likely(scores, placeholder);
            best = penalised;
            total = exponentials(scores, placeholder, (highest, inverse), &mut self.weights);
        }
        let token = if sampling.temperature > 0.0 {
            let uniform: f64 = random.random();
            if sampling.top_p < 1.0 || sampling.top_k.is_some() {
                candidates(scores, &self.weights, placeholder, total, sampling, &mut self.order);
                let weight = |token: &u32| (*token as usize, self.weights[*token as usize]);
                pick(self.order.iter().map(weight), uniform).unwrap_or(best)
            } else {
                pick(self.weights.iter().copied().enumerate(), uniform).unwrap_or(best)
            }
        } else {
            best
        };
        let logprob = f64::from(logits[token] - highest) * f64::from(inverse) - log_total;
        Ok((token as u32, logprob as f32))
    }

    fn penalise(&mut self, logits: &[f32], seen: &Seen, penalty: f32) {
        self.scores.clear();
        self.scores.extend_from_slice(logits);
        for token in &seen.0 {
            if let Some(score) = self.scores.get_mut(*token as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }
}

/// The logarithm of `total + e^further`. The further one may be far larger than a number can hold.
fn log_sum(total: f64, further: Option<f64>) -> f64 {
    let Some(further) = further else { return total.ln() };
    let shift = further.max(0.0);
    shift + (total * (-shift).exp() + (further - shift).exp()).ln()
}

/// The first of the tokens with the highest logit, and that; not the placeholder.
fn most_likely(logits: &[f32], placeholder: Option<usize>) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().enumerate() {
        if *logit > best.1 && Some(token) != placeholder {
            best = (token, *logit);
        }
    }
    best
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

/// The tokens that top-k and then top-p leave, the most likely first. `weights` are proportional to probabilities, with
/// the sum `total`. Tokens as likely as the last of top-k stay; the token that passes `top_p` stays; of equally likely
/// tokens the one of the lower number comes first, where transformers leaves the choice to an unstable sort.
fn candidates(
    scores: &[f32],
    weights: &[f32],
    placeholder: Option<usize>,
    mut total: f64,
    sampling: &Sampling,
    order: &mut Vec<u32>,
) {
    // Tokens below this share have together less than top-p leaves out, so none of them can be in it.
    let share = (1.0 - f64::from(sampling.top_p)) * total / weights.len() as f64 * (1.0 - 1e-6);
    let share = if sampling.top_k.is_none() { share } else { 0.0 };
    let possible = |token: &u32| Some(*token as usize) != placeholder && f64::from(weights[*token as usize]) >= share;
    order.clear();
    order.extend((0..weights.len() as u32).filter(possible));
    let score = |token: &u32| scores[*token as usize];
    if let Some(limit) = sampling.top_k.filter(|limit| *limit < order.len()) {
        let (_, last, _) = order.select_nth_unstable_by(limit - 1, |left, right| score(right).total_cmp(&score(left)));
        let least = score(last);
        order.retain(|token| score(token) >= least);
        total = order.iter().map(|token| f64::from(weights[*token as usize])).sum();
    }
    let before = |left: &u32, right: &u32| score(right).total_cmp(&score(left)).then(left.cmp(right));
    let mut sorted = SORTED_FIRST.min(order.len());
    loop {
        if sorted < order.len() {
            order.select_nth_unstable_by(sorted, before);
        }
        order[..sorted].sort_unstable_by(before);
        let mut mass = 0.0;
        let count = order[..sorted]
            .iter()
            .take_while(|token| {
                let before = mass;
                mass += f64::from(weights[**token as usize]);
                sampling.top_p >= 1.0 || before < f64::from(sampling.top_p) * total
            })
            .count();
        if count < sorted || sorted == order.len() {
            order.truncate(count);
            return;
        }
        sorted = (sorted * 8).min(order.len());
    }
}

#[cfg(test)]
mod tests;
