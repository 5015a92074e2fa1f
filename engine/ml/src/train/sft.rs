//! Supervised fine-tuning: the negative log-likelihood of the marked tokens, minimised with AdamW. Knows nothing of graphs.
//!
//! The loss of a step is normalised by the targets of its whole batch, however that is cut into shards and micro-batches.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::data::DataOrder;
use super::forward::{Pass, Row, RowImages, require_finite, targets_of};
use super::loss::{SftLossKind, sft_loss};
use super::optimizer::{AdamW, AdamWOptions, is_trained};
use super::parallel::{GradientSum, Workers, balance};
use super::progress::{Checkpointer, Session, named};
use super::schedule::{Schedule, WarmUp};
use crate::error::{Error, Result};
use crate::model::{Keep, Model, ParameterGradients};
use crate::stop::Stop;
use crate::types::{Example, ImagePatches, ImageSource};

/// Everything that decides the result of SFT. The defaults are the released recipe's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SftOptions {
    /// Passes over the data; a fraction is allowed.
    pub epochs: f64,
    /// Steps instead of epochs.
    pub steps: Option<usize>,
    /// Examples per step.
    pub batch_size: usize,
    /// Examples per forward pass: what memory allows. The rest of a step is accumulated.
    pub micro_batch_size: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How it runs after the warm-up.
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
    /// What is minimised at each target.
    pub loss: SftLossKind,
    /// Decides the order of the data.
    pub seed: u64,
    /// Parameters whose name starts with one of these are not trained. `visual.merger.` is the projector.
    pub freeze: Vec<String>,
    /// Parts that a step is computed in, side by side when there are threads. Decides rounding, so it decides the result.
    pub shards: usize,
    /// Whether an epoch's last, smaller batch is left out.
    pub drop_last: bool,
    /// Tokens that an example may have; `None` for no limit.
    pub max_length: Option<usize>,
    /// What happens to an example that has more.
    pub overlong: Overlong,
    /// Whether blocks keep their inputs only and are computed once more on the way back: the same bits, less memory.
    pub recompute: bool,
}

/// What happens to an example that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlong {
    /// It is left out.
    #[default]
    Drop,
    /// The training fails, naming it.
    Fail,
}

impl Default for SftOptions {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            steps: None,
            batch_size: 32,
            micro_batch_size: 8,
            learning_rate: 5e-6,
            schedule: Schedule::Cosine,
            warm_up: WarmUp::Ratio(0.1),
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_gradient_norm: 1.0,
            loss: SftLossKind::Nll,
            seed: 1,
            freeze: vec!["visual.".to_owned()],
            shards: 2,
            drop_last: false,
            max_length: None,
            overlong: Overlong::Drop,
            recompute: false,
        }
    }
}

impl SftOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Names the first option that is out of its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("batch-size", self.batch_size)?;
        at_least_one("micro-batch-size", self.micro_batch_size)?;
        at_least_one("shards", self.shards)?;
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
}

/// Fails unless a count is at least one.
pub(crate) fn at_least_one(option: &str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::option(option, "it is 0: expected at least 1")) } else { Ok(()) }
}

/// Fails unless the learning rate and AdamW's numbers are in their ranges.
pub(crate) fn check_optimizer(learning_rate: f64, options: &AdamWOptions) -> Result<()> {
    let not_negative = |option: &str, value: f64| {
        let fits = value.is_finite() && value >= 0.0;
        if fits {
            Ok(())
        } else {
            Err(Error::option(option, format!("it is {value}: expected a number of at least 0")))
        }
    };
    not_negative("learning-rate", learning_rate)?;
    not_negative("epsilon", options.epsilon)?;
    not_negative("weight-decay", options.weight_decay)?;
    not_negative("max-gradient-norm", options.max_gradient_norm.unwrap_or(0.0))?;
    for beta in options.betas {
        if !(0.0..1.0).contains(&beta) {
            return Err(Error::option("betas", format!("one is {beta}: expected numbers from 0 to below 1")));
        }
    }
    Ok(())
}

/// One step, as the session's callback is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SftStep {
    /// What the same run always gives.
    pub metrics: SftMetrics,
    /// What differs from run to run.
    pub timings: SftTimings,
    /// The examples that the step learned from, as indices into those of the run, in their order.
    pub examples: Vec<usize>,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SftTimings {
    /// Steps done, this one included.
    pub step: usize,
    /// Seconds that the step took.
    pub seconds: f64,
    /// [`SftMetrics::tokens`] per second.
    pub tokens_per_second: f64,
}

/// The figures of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SftMetrics {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss per target token.
    pub loss: f64,
    /// The learning rate used.
    pub learning_rate: f64,
    /// The global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Tokens run through the model, prompts and images included, padding not.
    pub tokens: usize,
    /// Target tokens.
    pub target_tokens: usize,
}

/// An example as training uses it.
struct Prepared<'a> {
    example: &'a Example,
    targets: Vec<usize>,
}

/// The examples of a step, their images with them.
struct Batch<'a> {
    examples: Vec<&'a Prepared<'a>>,
    images: Vec<Vec<Arc<ImagePatches>>>,
}

/// The indices of the examples that can be trained on, and why each of the others cannot.
pub type Usable = (Vec<usize>, Vec<(usize, String)>);

/// Which examples can be trained on. `name` names one in an error: by its index, or by what it was made from.
///
/// # Errors
/// When the options are out of range, an example is too long and that is to fail, or no example is left: the error names them.
pub fn usable_examples(examples: &[Example], options: &SftOptions, name: &dyn Fn(usize) -> String) -> Result<Usable> {
    options.check()?;
    let mut kept = Vec::new();
    let mut left_out = Vec::new();
    for (index, example) in examples.iter().enumerate() {
        let length = example.tokens.len();
        if example.loss_mask.len() != length {
            let marks = example.loss_mask.len();
            return Err(Error::input(format!(
                "{} has {length} tokens and {marks} marks in its loss mask",
                name(index)
            )));
        }
        let too_long = options.max_length.filter(|limit| length > *limit);
        match too_long {
            Some(limit) if options.overlong == Overlong::Fail => {
                let name = name(index);
                return Err(Error::input(format!(
                    "{name} has {length} tokens, and `max-length` is {limit}: raise it, or leave such examples out with \
                     `overlong = \"drop\"`"
                )));
            }
            Some(limit) => left_out.push((index, format!("{length} tokens: `max-length` is {limit}"))),
            None if targets_of(&example.loss_mask).is_empty() => left_out.push((index, "no token to learn".to_owned())),
            None => kept.push(index),
        }
    }
    if kept.is_empty() {
        let reasons: Vec<String> =
            left_out.iter().take(8).map(|(index, why)| format!("{}: {why}", name(*index))).collect();
        let rest = left_out.len().saturating_sub(8);
        let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
        return Err(Error::input(format!("no example has a token to learn: {}{more}", reasons.join("; "))));
    }
    Ok((kept, left_out))
}

/// Trains `model` on `examples` and returns it. Continues from the session's checkpoint when there is one. Images are asked
/// of `images`, by the example's index, when a step needs them; what the examples hold themselves is not looked at.
///
/// # Errors
/// Bad options or examples, nothing to train on, a loss or gradient that is not finite (naming the step), a store that
/// fails, and [`Error::Interrupted`] when the session stops the run.
pub fn train_sft(
    model: &Model,
    examples: &[Example],
    images: &dyn ImageSource,
    options: &SftOptions,
    session: &mut Session<'_, SftStep>,
) -> Result<Model> {
    let (kept, left_out) = usable_examples(examples, options, session.name)?;
    if !left_out.is_empty() {
        tracing::warn!("{} of {} examples are left out, the first: {}", left_out.len(), examples.len(), left_out[0].1);
    }
    let prepared: Vec<Prepared<'_>> = kept
        .iter()
        .map(|index| Prepared { example: &examples[*index], targets: targets_of(&examples[*index].loss_mask) })
        .collect();
    let data = DataOrder {
        count: prepared.len(),
        batch: options.batch_size,
        drop_last: options.drop_last,
        seed: options.seed,
    };
    let steps = data.total_steps(options.steps, options.epochs)?;
    let mut model = model.clone();
    let mut optimizer = AdamW::new(&model, &options.freeze, options.optimizer())?;
    let mut checkpointer = Checkpointer::new(identity(options, &prepared), steps);
    let start = checkpointer.resume(session.progress, &mut model, &mut optimizer)?;
    let workers = Workers::new(session.workers.min(options.shards))?;
    let warm_up = options.warm_up.steps(steps);
    let mut epoch = (usize::MAX, Vec::new());
    for step in start..steps {
        let begun = Instant::now();
        let (number, place) = data.place(step);
        if epoch.0 != number {
            epoch = (number, data.epoch(number));
        }
        let picked = data.batch(&epoch.1, place);
        let batch = Batch {
            examples: picked.iter().map(|index| &prepared[*index]).collect(),
            images: picked.iter().map(|index| images.images(kept[*index])).collect::<Result<_>>()?,
        };
        let learning_rate = options.learning_rate * options.schedule.factor(step, warm_up, steps);
        let (loss, gradients) = match batch_gradients(&model, &batch, options, &workers, session.stop) {
            Err(Error::Stopped) => return Err(checkpointer.given_up(step, session, &model, &optimizer)?),
            computed => computed?,
        };
        let items = || named(&picked.iter().map(|index| kept[*index]).collect::<Vec<_>>(), session.name);
        require_finite(loss, "loss", step + 1, items)?;
        let norm = optimizer.update(&mut model, gradients, learning_rate, &workers)?;
        require_finite(norm, "gradient norm", step + 1, items)?;
        let tokens: usize = batch.examples.iter().map(|prepared| prepared.example.tokens.len()).sum();
        let seconds = begun.elapsed().as_secs_f64();
        let metrics = SftMetrics {
            step: step + 1,
            steps,
            epoch: (step + 1) as f64 / data.steps_per_epoch() as f64,
            loss,
            learning_rate,
            gradient_norm: norm,
            tokens,
            target_tokens: batch.examples.iter().map(|prepared| prepared.targets.len()).sum(),
        };
        let timings = SftTimings { step: step + 1, seconds, tokens_per_second: tokens as f64 / seconds.max(1e-9) };
        let examples = picked.iter().map(|index| kept[*index]).collect();
        let report = SftStep { metrics, timings, examples };
        checkpointer.after_step(step + 1, &report, session, &model, &optimizer)?;
    }
    Ok(model)
}

/// The loss of a batch and its gradients, summed over shards in their order.
fn batch_gradients(
    model: &Model,
    batch: &Batch<'_>,
    options: &SftOptions,
    workers: &Workers,
    stop: Stop<'_>,
) -> Result<(f64, GradientSum)> {
    let targets: usize = batch.examples.iter().map(|prepared| prepared.targets.len()).sum();
    let lengths: Vec<usize> = batch.examples.iter().map(|prepared| prepared.example.tokens.len()).collect();
    let shards = workers.run(balance(&lengths, options.shards), |shard| {
        let mut loss = 0.0;
        let mut sum = ParameterGradients::new(model, &|name| is_trained(name, &options.freeze));
        let trains_vision = sum.wants_any("visual.");
        for part in shard.chunks(options.micro_batch_size) {
            stop.check()?;
            let rows: Vec<Row<'_>> = part
                .iter()
                .map(|index| {
                    let Prepared { example, targets } = batch.examples[*index];
                    Row { tokens: &example.tokens, images: &batch.images[*index], targets }
                })
                .collect();
            let images = RowImages::new(&rows);
            let keep = if options.recompute { Keep::Inputs } else { Keep::Everything };
            let (features, kept) = images.encode_kept(model, trains_vision, keep)?;
            let pass = Pass::new(model, &rows, &images, (&features, kept), 1.0, keep, false)?;
            let values: Vec<f64> = pass.values().iter().copied().map(f64::from).collect();
            let (part_loss, gradient) = sft_loss(&values, options.loss, targets);
            loss += part_loss;
            pass.backward(model, &gradient, &mut sum)?;
        }
        Ok((loss, GradientSum { values: sum.into_values() }))
    })?;
    let (mut loss, mut sum) = (0.0, GradientSum::default());
    for (shard_loss, shard_sum) in shards {
        loss += shard_loss;
        sum.add(shard_sum);
    }
    Ok((loss, sum))
}

/// A digest of what decides the result, to tell one run's checkpoint from another's.
fn identity(options: &SftOptions, prepared: &[Prepared<'_>]) -> String {
    let mut hasher = blake3::Hasher::new();
    // What does not change the result may change from one run to the next.
    let options = SftOptions { recompute: false, ..options.clone() };
    hasher.update(format!("sft {options:?}").as_bytes());
    for Prepared { example, targets } in prepared {
        hash_tokens(&mut hasher, &example.tokens);
        hasher.update(&targets.len().to_le_bytes());
        for target in targets {
            hasher.update(&target.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Feeds token ids, with their count, to a digest.
pub(crate) fn hash_tokens(hasher: &mut blake3::Hasher, tokens: &[u32]) {
    hasher.update(&tokens.len().to_le_bytes());
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hasher.update(&bytes);
}

/// The loss and the gradients of one step on all of `examples`.
#[cfg(test)]
pub(crate) fn example_gradients(
    model: &Model,
    examples: &[Example],
    options: &SftOptions,
    workers: &Workers,
) -> Result<(f64, GradientSum)> {
    let prepared: Vec<Prepared<'_>> =
        examples.iter().map(|example| Prepared { example, targets: targets_of(&example.loss_mask) }).collect();
    let batch = Batch {
        examples: prepared.iter().collect(),
        images: examples.iter().map(|example| example.images.clone()).collect(),
    };
    batch_gradients(model, &batch, options, workers, Stop::NEVER)
}
