//! Decoding options and seeds of the kinds that generate text, and the stage of those that do it record by record.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruminate_flow::digest::{Digest, DigestBuilder};
use ruminate_flow::error::StageError;
use ruminate_flow::model::Model;
use ruminate_flow::options::{OptionKind, OptionSpec};
use ruminate_flow::stage::{Outcome, RecordStage, Row, StageContext, Unit};

use super::loaded::{Loaded, Slot};
use super::prompting::Prompting;
use super::stage_error;
use crate::error::{Error, Result as ModelResult};
use crate::generate::{Generation, Request, Sampling, generate};
use crate::stop::Stop;
use crate::types::Prompt;

pub(super) const TOP_K: OptionSpec = OptionSpec::new(
    "top-k",
    OptionKind::Int { min: 0, max: 1 << 20 },
    "0",
    "Sample from the k most likely tokens only; 0 for all.",
);
pub(super) const REPETITION_PENALTY: OptionSpec = OptionSpec::new(
    "repetition-penalty",
    OptionKind::Float { min: 0.01, max: 100.0 },
    "1.0",
    "Makes tokens that the prompt or the answer holds already less likely: their positive logits are divided by it, the \
     negative ones multiplied, as in transformers. 1 for none; the checkpoint's `generation_config.json` is not followed.",
);
pub(super) const SEED: OptionSpec = OptionSpec::new(
    "seed",
    OptionKind::Int { min: 0, max: i64::MAX },
    "0",
    "Mixed with the graph's seed, the record's content and the sample's index into each sample's seed.",
);
pub(super) const BATCH: OptionSpec = OptionSpec::new(
    "batch",
    OptionKind::Int { min: 1, max: 65536 },
    "64",
    "Prompts that are decoded together. A matter of memory and speed only.",
)
.not_identity();

/// `temperature`, with the kind's default as JSON text.
pub(super) const fn temperature(default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new("temperature", OptionKind::Float { min: 0.0, max: 100.0 }, default, doc)
}

/// `top-p`, with the kind's default as JSON text.
pub(super) const fn top_p(default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new("top-p", OptionKind::Float { min: 0.0, max: 1.0 }, default, doc)
}

/// `max-new-tokens`, with the kind's default as JSON text.
pub(super) const fn max_new_tokens(default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new("max-new-tokens", OptionKind::Int { min: 1, max: 1 << 20 }, default, doc)
}

/// The decoding options as a stage reads them.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Decoding {
    temperature: f32,
    top_p: f32,
    top_k: usize,
    repetition_penalty: f32,
    max_new_tokens: usize,
    seed: u64,
    pub(super) batch: usize,
}

/// The samples of one prompt, or why it cannot be sampled from.
pub(super) type Samples = Result<Vec<Sample>, String>;

/// A decoded sample.
pub(super) struct Sample {
    /// The text without special tokens.
    pub(super) text: String,
    /// Tokens generated, the end of the turn included.
    pub(super) tokens: usize,
    /// The model ended its turn; false: it ran into `max-new-tokens`.
    pub(super) finished: bool,
}

/// A record stage that gives a row for each text that a model writes to a record's prompt.
pub(super) struct Sampler<R> {
    pub(super) prompting: Prompting,
    pub(super) decoding: Decoding,
    /// Texts for each record.
    pub(super) samples: usize,
    /// The row of a text and its index.
    pub(super) row: R,
    pub(super) slot: Slot,
}

impl<R: Fn(Sample, u32) -> Row + Send + Sync> RecordStage for Sampler<R> {
    fn batch_units(&self) -> usize {
        self.decoding.batch
    }

    fn process(
        &self,
        units: &[Unit],
        models: &BTreeMap<&'static str, Arc<Model>>,
        context: &StageContext<'_>,
    ) -> Result<Vec<Outcome>, StageError> {
        let loaded = self.slot.get(&models["model"], &self.prompting, context)?;
        let outcome = |samples: Samples| match samples {
            Ok(samples) => {
                let rows = samples.into_iter().zip(0..).map(|(sample, index)| (self.row)(sample, index)).collect();
                Outcome::Done { rows, drops: Vec::new() }
            }
            Err(reason) => Outcome::Failed { reason },
        };
        Ok(self.sample(&loaded, units, context)?.into_iter().map(outcome).collect())
    }

    fn release(&self) {
        self.slot.release();
    }
}

impl<R> Sampler<R> {
    /// The texts for each unit of one record, or why there are none: its prompt cannot be made or does not fit the model.
    ///
    /// # Errors
    /// What keeps all of them from being sampled, and [`StageError::Interrupted`] after a cancel.
    fn sample(&self, loaded: &Loaded, units: &[Unit], context: &StageContext<'_>) -> Result<Vec<Samples>, StageError> {
        let mut outcomes: Vec<Samples> = Vec::with_capacity(units.len());
        let mut prompts = Vec::new();
        let mut contents = Vec::new();
        let mut places = Vec::new();
        for unit in units {
            if context.cancel.requested() {
                return Err(StageError::Interrupted);
            }
            let prompt =
                unit.records.first().map(|record| self.prompting.encode(record, &loaded.processor, context.blobs));
            match prompt {
                Some(Ok(prompt)) => {
                    places.push(outcomes.len());
                    prompts.push(prompt);
                    contents.push(unit.content);
                    outcomes.push(Ok(Vec::new()));
                }
                Some(Err(error)) => outcomes.push(Err(error)),
                None => outcomes.push(Ok(Vec::new())),
            }
        }
        let decoded = self.decoding.decode(loaded, &prompts, &contents, self.samples, context)?;
        for (place, samples) in places.into_iter().zip(decoded) {
            outcomes[place] = samples;
        }
        Ok(outcomes)
    }
}

impl Decoding {
    /// Whether the seed matters.
    pub(super) fn is_random(&self) -> bool {
        self.temperature > 0.0
    }

    /// The seed of sample `index` of a record: from the graph's seed, the node's, the record's content, never from the batch,
    /// the order or the node's name.
    pub(super) fn sample_seed(&self, graph_seed: u64, content: &Digest, index: usize) -> u64 {
        DigestBuilder::default()
            .part(&graph_seed.to_le_bytes())
            .part(&self.seed.to_le_bytes())
            .part(content.bytes())
            .part(&(index as u64).to_le_bytes())
            .finish()
            .seed()
    }

    /// `samples` texts for each prompt. `contents[i]` is the digest of what prompt `i` was made from.
    ///
    /// # Errors
    /// What keeps all of them from being sampled, and [`StageError::Interrupted`] after a cancel.
    pub(super) fn decode(
        &self,
        loaded: &Loaded,
        prompts: &[Prompt],
        contents: &[Digest],
        samples: usize,
        context: &StageContext<'_>,
    ) -> Result<Vec<Samples>, StageError> {
        match self.decode_together(loaded, prompts, contents, samples, context) {
            Ok(decoded) => Ok(decoded.into_iter().map(Ok).collect()),
            // Some prompt does not fit the model. Each by itself tells which, and the others have their samples.
            Err(Error::Input { .. }) if prompts.len() > 1 => {
                let one = |(prompt, content)| {
                    self.decode(loaded, std::slice::from_ref(prompt), std::slice::from_ref(content), samples, context)
                };
                Ok(prompts
                    .iter()
                    .zip(contents)
                    .map(one)
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .flatten()
                    .collect())
            }
            Err(error @ Error::Input { .. }) => Ok(prompts.iter().map(|_| Err(error.to_string())).collect()),
            Err(error) => Err(stage_error(error)),
        }
    }

    fn decode_together(
        &self,
        loaded: &Loaded,
        prompts: &[Prompt],
        contents: &[Digest],
        samples: usize,
        context: &StageContext<'_>,
    ) -> ModelResult<Vec<Vec<Sample>>> {
        let seeds: Vec<Vec<u64>> = contents
            .iter()
            .map(|content| (0..samples).map(|index| self.sample_seed(context.seed, content, index)).collect())
            .collect();
        let requests: Vec<Request<'_>> =
            prompts.iter().zip(&seeds).map(|(prompt, seeds)| Request { prompt, seeds }).collect();
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: (self.top_k > 0).then_some(self.top_k),
            repetition_penalty: self.repetition_penalty,
            max_new_tokens: self.max_new_tokens,
            stop_tokens: loaded.processor.stop_tokens().to_vec(),
        };
        let requested = || context.cancel.requested();
        let stop = Stop::when(&requested);
        let generations = generate(&loaded.model, &requests, &sampling, context.threads, stop)?;
        generations.iter().map(|group| group.iter().map(|generation| sample(loaded, generation)).collect()).collect()
    }
}

fn sample(loaded: &Loaded, generation: &Generation) -> ModelResult<Sample> {
    Ok(Sample {
        text: loaded.processor.decode(&generation.tokens)?,
        tokens: generation.tokens.len(),
        finished: generation.finished,
    })
}
