//! The second half of a GRPO step: log-probabilities under the old and reference weights, and the gradients of the policy
//! loss. Knows neither rewards nor sampling. The samples of a prompt stay together, so that its images are encoded once.

use super::forward::{Pass, Row, RowImages, target_log_probs};
use super::loss::{PolicyLossOptions, PolicySequence, PolicyStatistics, UpdateTotals, policy_loss};
use super::optimizer::is_trained;
use super::parallel::{GradientSum, Workers, balance};
use super::rollout::Sample;
use crate::error::Result;
use crate::model::{Keep, Model, ParameterGradients};
use crate::stop::Stop;

/// What every forward pass of an update needs besides weights.
pub struct PolicyPlan<'a> {
    /// The loss.
    pub loss: PolicyLossOptions,
    /// The temperature that the samples were drawn at.
    pub temperature: f64,
    /// The longest completion that sampling allows.
    pub max_completion_length: usize,
    /// Samples per forward pass.
    pub micro_batch_size: usize,
    /// Parts that an update is computed in.
    pub shards: usize,
    /// Prefixes of parameters that are not trained.
    pub freeze: &'a [String],
    /// Whether no parameter of the vision tower and projector is trained, so that all weights see an image alike.
    pub vision_is_frozen: bool,
    /// What a forward pass keeps for the way back; decides memory and time only.
    pub keep: Keep,
    /// Asked before every micro-batch.
    pub stop: Stop<'a>,
}

/// Log-probabilities of every sample's completion, group by group.
pub type GroupLogProbs = Vec<Vec<Vec<f32>>>;

/// Micro-batches of a shard: each a list of (group, sample).
type MicroBatches = Vec<Vec<(usize, usize)>>;

impl PolicyPlan<'_> {
    /// Cuts groups into shards of about equal work, and each shard into micro-batches.
    fn cut(&self, groups: &[Vec<Sample<'_>>]) -> Vec<MicroBatches> {
        let costs: Vec<usize> =
            groups.iter().map(|group| group.iter().map(|sample| sample.tokens.len()).sum()).collect();
        balance(&costs, self.shards)
            .into_iter()
            .map(|shard| {
                let samples: Vec<(usize, usize)> = shard
                    .into_iter()
                    .flat_map(|group| (0..groups[group].len()).map(move |sample| (group, sample)))
                    .collect();
                samples.chunks(self.micro_batch_size).map(<[_]>::to_vec).collect()
            })
            .collect()
    }

    /// Log-probabilities of all samples under `model`, without gradients.
    ///
    /// # Errors
    /// When the model cannot take a sample; [`crate::Error::Stopped`] after a stop.
    pub fn log_probs(&self, model: &Model, groups: &[Vec<Sample<'_>>], workers: &Workers) -> Result<GroupLogProbs> {
        let shards = workers.run(self.cut(groups), |shard| {
            let mut found = Vec::new();
            for micro_batch in shard {
                self.stop.check()?;
                let rows = rows_of(groups, &micro_batch);
                let images = RowImages::new(&rows);
                let features = images.encode(model)?;
                let values = target_log_probs(model, &rows, &images, &features, self.temperature)?;
                found.extend(micro_batch.into_iter().zip(split(&values, &rows)));
            }
            Ok(found)
        })?;
        let mut result: GroupLogProbs = groups.iter().map(|group| vec![Vec::new(); group.len()]).collect();
        for ((group, sample), values) in shards.into_iter().flatten() {
            result[group][sample] = values;
        }
        Ok(result)
    }

    /// The policy loss of `groups` and its gradients. `old` are the log-probabilities under the weights that sampled; with
    /// `None` these are `model`'s own. `reference` is asked only for a KL term.
    ///
    /// # Errors
    /// When the model cannot take a sample; [`crate::Error::Stopped`] after a stop.
    pub fn gradients(
        &self,
        model: &Model,
        reference: Option<&Model>,
        groups: &[Vec<Sample<'_>>],
        old: Option<&[Vec<Vec<f32>>]>,
        workers: &Workers,
    ) -> Result<(f64, GradientSum, PolicyStatistics)> {
        let shards = self.cut(groups);
        let samples = groups.iter().flatten();
        let totals = UpdateTotals {
            sequences: samples.clone().count(),
            tokens: samples.map(|sample| sample.targets.len()).sum::<usize>() as f64,
            micro_batches: shards.iter().map(Vec::len).sum(),
            max_completion_length: self.max_completion_length,
        };
        let parts = workers.run(shards, |shard| {
            let mut sum = ParameterGradients::new(model, &|name| is_trained(name, self.freeze));
            let (mut loss, mut statistics) = (0.0, PolicyStatistics::default());
            for micro_batch in shard {
                self.stop.check()?;
                let part = Part { model, reference, groups, old, totals: &totals };
                loss += self.micro_batch(&part, &micro_batch, &mut sum, &mut statistics)?;
            }
            Ok((loss, GradientSum { values: sum.into_values() }, statistics))
        })?;
        let (mut loss, mut sum, mut statistics) = (0.0, GradientSum::default(), PolicyStatistics::default());
        for (shard_loss, shard_sum, shard_statistics) in parts {
            loss += shard_loss;
            sum.add(shard_sum);
            statistics += shard_statistics;
        }
        Ok((loss, sum, statistics))
    }

    fn micro_batch(
        &self,
        part: &Part<'_>,
        micro_batch: &[(usize, usize)],
        gradients: &mut ParameterGradients,
        statistics: &mut PolicyStatistics,
    ) -> Result<f64> {
        let rows = rows_of(part.groups, micro_batch);
        let images = RowImages::new(&rows);
        let (features, kept) = images.encode_kept(part.model, !self.vision_is_frozen, self.keep)?;
        let reference = match part.reference {
            None => None,
            Some(model) => {
                let own = if self.vision_is_frozen { None } else { Some(images.encode(model)?) };
                let features = own.as_ref().unwrap_or(&features);
                let values = target_log_probs(model, &rows, &images, features, self.temperature)?;
                Some(split(&values, &rows).iter().map(|values| widened(values)).collect::<Vec<_>>())
            }
        };
        let pass = Pass::new(part.model, &rows, &images, (&features, kept), self.temperature, self.keep, true)?;
        let lengths: Vec<usize> = rows.iter().map(|row| row.targets.len()).collect();
        let weights = self.loss.kind.weights(&lengths, part.totals);
        let (mut loss, mut gradient) = (0.0, Vec::with_capacity(pass.values().len()));
        for (index, values) in split(pass.values(), &rows).iter().enumerate() {
            let (group, sample) = micro_batch[index];
            let Sample { advantage, log_probs: sampled, .. } = &part.groups[group][sample];
            let old = part.old.map(|old| widened(&old[group][sample]));
            let values = widened(values);
            let sequence = PolicySequence {
                log_probs: &values,
                old: old.as_deref(),
                reference: reference.as_ref().map(|reference| reference[index].as_slice()),
                advantage: *advantage,
                weight: weights[index],
            };
            // Those of the weights that sampled, by the trainer's pass and by the sampler's.
            statistics.compare(old.as_deref().unwrap_or(&values), sampled);
            loss += policy_loss(&sequence, &self.loss, &mut gradient, statistics);
        }
        statistics.entropy += pass.entropies().iter().copied().map(f64::from).sum::<f64>();
        pass.backward(part.model, &gradient, gradients)?;
        Ok(loss)
    }
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// What the micro-batches of a shard share.
struct Part<'a> {
    model: &'a Model,
    reference: Option<&'a Model>,
    groups: &'a [Vec<Sample<'a>>],
    old: Option<&'a [Vec<Vec<f32>>]>,
    totals: &'a UpdateTotals,
}

fn rows_of<'a>(groups: &'a [Vec<Sample<'_>>], micro_batch: &[(usize, usize)]) -> Vec<Row<'a>> {
    micro_batch
        .iter()
        .map(|(group, sample)| {
            let Sample { tokens, images, targets, .. } = &groups[*group][*sample];
            Row { tokens, images, targets }
        })
        .collect()
}

/// Values of all targets, one list per row.
fn split(values: &[f32], rows: &[Row<'_>]) -> Vec<Vec<f32>> {
    let mut rest = values;
    rows.iter()
        .map(|row| {
            let (own, others) = rest.split_at(row.targets.len().min(rest.len()));
            rest = others;
            own.to_vec()
        })
        .collect()
}
