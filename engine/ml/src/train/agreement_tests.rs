//! What must not matter does not: how a step is cut into shards and micro-batches, how many threads compute it, whether blocks
//! are computed once more; and the sampler's log-probabilities are the trainer's.

use std::sync::Arc;

use super::loss::{ImportanceLevel, PolicyLossKind, PolicyLossOptions, SftLossKind};
use super::parallel::{GradientSum, Workers};
use super::policy::{GroupLogProbs, PolicyPlan};
use super::rollout::Sample;
use super::sft::{SftOptions, example_gradients};
use super::tests::{examples, model, prompts};
use crate::generate::{Request, Sampling, generate};
use crate::model::{Keep, Model};
use crate::stop::Stop;
use crate::types::{ImagePatches, Prompt};

/// Shards, micro-batch size, threads, and whether blocks are computed once more.
const CUTS: [(usize, usize, usize, bool); 7] = [
    (1, 1, 1, false),
    (1, 4, 1, true),
    (2, 3, 2, false),
    (2, 3, 1, true),
    (3, 2, 2, false),
    (5, 64, 2, true),
    (16, 1, 2, false),
];

/// Every parameter's gradient, and the loss.
struct Found {
    loss: f64,
    gradients: Vec<Option<Vec<f32>>>,
}

impl Found {
    fn new(loss: f64, gradients: GradientSum) -> Self {
        let read = |gradient: burn::tensor::Tensor<1>| gradient.into_data().iter::<f32>().collect();
        Self { loss, gradients: gradients.values.into_iter().map(|gradient| gradient.map(read)).collect() }
    }

    /// To 1e-5 of the loss, and of each parameter's largest gradient.
    fn assert_equals(&self, other: &Self, what: &str) {
        assert!(
            (self.loss - other.loss).abs() <= 1e-5 * other.loss.abs().max(1e-3),
            "{what}: {} {}",
            self.loss,
            other.loss
        );
        assert_eq!(self.gradients.len(), other.gradients.len());
        for (place, pair) in self.gradients.iter().zip(&other.gradients).enumerate() {
            let (Some(a), Some(b)) = pair else {
                assert_eq!(pair.0.is_some(), pair.1.is_some(), "{what}: parameter {place}");
                continue;
            };
            let largest = b.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let difference = a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(difference <= 1e-5 * largest + 1e-8, "{what}: parameter {place} by {difference} of {largest}");
        }
    }
}

#[test]
fn sft_does_not_depend_on_how_a_step_is_cut() {
    let (model, examples) = (model(), examples());
    for loss in [SftLossKind::Nll, SftLossKind::Dft] {
        for freeze in [vec![], vec!["visual.".to_owned()]] {
            let run = |(shards, micro_batch_size, workers, recompute): (usize, usize, usize, bool)| {
                let options = SftOptions {
                    shards,
                    micro_batch_size,
                    recompute,
                    loss,
                    freeze: freeze.clone(),
                    ..SftOptions::default()
                };
                let workers = Workers::new(workers).unwrap();
                let (loss, gradients) = example_gradients(&model, &examples, &options, &workers).unwrap();
                Found::new(loss, gradients)
            };
            let whole = run((1, 64, 1, false));
            for cut in CUTS {
                run(cut).assert_equals(&whole, &format!("{loss:?} {freeze:?} {cut:?}"));
            }
        }
    }
}

/// Groups of samples of the prompts, with advantages and log-probabilities of other weights: uneven, and off the policy.
fn groups(prompts: &[Prompt]) -> (Vec<Vec<Sample<'_>>>, GroupLogProbs) {
    let mut old = Vec::new();
    let groups = prompts.iter().enumerate().map(|(group, prompt)| {
        let mut of_group = Vec::new();
        let samples = (0..2 + group % 3).map(|sample| {
            let length = 1 + (group * 5 + sample * 3) % 6;
            let mut tokens = prompt.tokens.clone();
            tokens.extend((0..length).map(|place| (group * 17 + sample * 7 + place * 3) as u32 % 480));
            let log_probs: Vec<f32> = (0..length).map(|place| -6.2 + ((place + sample) as f32).sin()).collect();
            of_group.push(log_probs.clone());
            Sample {
                targets: (prompt.tokens.len()..tokens.len()).collect(),
                tokens,
                images: &prompt.images,
                log_probs,
                advantage: ((group + 2 * sample) as f64).cos(),
            }
        });
        let samples = samples.collect();
        old.push(of_group);
        samples
    });
    (groups.collect(), old)
}

/// Weights near the model's.
fn neighbour(model: &Model) -> Model {
    let mut other = model.clone();
    other.map_parameters(&mut |_, parameter| parameter.from_flat(parameter.flat() * 1.02));
    other
}

#[test]
fn grpo_does_not_depend_on_how_an_update_is_cut() {
    let (model, prompts) = (model(), prompts(6));
    let (groups, old) = groups(&prompts);
    let reference = neighbour(&model);
    // `bnpo` is a mean over micro-batches by definition, so there the cut matters.
    let kinds = [PolicyLossKind::Grpo, PolicyLossKind::DrGrpo, PolicyLossKind::Dapo, PolicyLossKind::Cispo];
    let cases = kinds
        .into_iter()
        .flat_map(|kind| [ImportanceLevel::Token, ImportanceLevel::Sequence].map(|level| (kind, level)));
    for (number, (kind, importance)) in cases.enumerate() {
        let freeze = if number % 2 == 0 { vec![] } else { vec!["visual.".to_owned()] };
        let old = (number % 3 != 0).then_some(old.as_slice());
        let run = |(shards, micro_batch_size, workers, recompute): (usize, usize, usize, bool)| {
            let plan = PolicyPlan {
                loss: PolicyLossOptions { kind, importance, ..PolicyLossOptions::default() },
                temperature: 0.8,
                max_completion_length: 7,
                micro_batch_size,
                shards,
                freeze: &freeze,
                vision_is_frozen: !freeze.is_empty(),
                keep: if recompute { Keep::Inputs } else { Keep::Everything },
                stop: Stop::NEVER,
            };
            let workers = Workers::new(workers).unwrap();
            let (loss, gradients, statistics) =
                plan.gradients(&model, Some(&reference), &groups, old, &workers).unwrap();
            assert_eq!(statistics.mismatch.tokens, statistics.tokens);
            (Found::new(loss, gradients), statistics.kl)
        };
        let whole = run((1, 64, 1, false));
        for cut in CUTS {
            let found = run(cut);
            found.0.assert_equals(&whole.0, &format!("{kind:?} {importance:?} {cut:?}"));
            assert!((found.1 - whole.1).abs() < 1e-5 * whole.1.max(1.0));
        }
    }
}

/// Over images and text, temperatures, and numbers of samples that leave vectors and batches partly filled.
#[test]
fn the_sampler_and_the_trainer_find_the_same_log_probabilities() {
    let model = model();
    let image = |rows: usize, columns: usize| {
        let pixels = (0..rows * columns * 1176).map(|place| ((place * 13 + columns) as f32).sin() * 2.0).collect();
        Arc::new(ImagePatches { pixels, grid: [1, rows, columns] })
    };
    let mut all = prompts(5);
    let mut tokens = vec![3, 499];
    tokens.extend([502; 15]);
    tokens.extend([500, 499]);
    tokens.extend([502; 4]);
    tokens.extend([500, 8, 9]);
    all.push(Prompt { tokens, images: vec![image(6, 10), image(4, 4)] });
    let mut worst = 0f64;
    for (temperature, samples, length) in [(1.0, 1, 5), (0.7, 3, 9), (1.3, 17, 4), (1.0, 5, 33)] {
        let seeds: Vec<u64> = (0..samples).map(|seed| seed * 31 + 5).collect();
        let requests: Vec<Request<'_>> = all.iter().map(|prompt| Request { prompt, seeds: &seeds }).collect();
        let sampling = Sampling { temperature, ..Sampling::greedy(length, &[492]) };
        let generated = generate(&model, &requests, &sampling, 2, Stop::NEVER).unwrap();
        let groups: Vec<Vec<Sample<'_>>> = all
            .iter()
            .zip(&generated)
            .map(|(prompt, group)| {
                let sample = |generation: &crate::generate::Generation| Sample {
                    tokens: [prompt.tokens.clone(), generation.tokens.clone()].concat(),
                    images: &prompt.images,
                    targets: (prompt.tokens.len()..prompt.tokens.len() + generation.tokens.len()).collect(),
                    log_probs: generation.logprobs.clone(),
                    advantage: 1.0,
                };
                group.iter().map(sample).collect()
            })
            .collect();
        for (micro_batch_size, shards) in [(1, 1), (4, 2), (7, 3)] {
            let plan = PolicyPlan {
                loss: PolicyLossOptions::default(),
                temperature: f64::from(temperature),
                max_completion_length: length,
                micro_batch_size,
                shards,
                freeze: &[],
                vision_is_frozen: false,
                keep: Keep::Everything,
                stop: Stop::NEVER,
            };
            let workers = Workers::new(2).unwrap();
            let found = plan.log_probs(&model, &groups, &workers).unwrap();
            for (sample, trained) in groups.iter().flatten().zip(found.iter().flatten()) {
                assert_eq!(sample.log_probs.len(), trained.len());
                for (a, b) in sample.log_probs.iter().zip(trained) {
                    worst = worst.max(f64::from((a - b).abs()));
                }
            }
        }
    }
    assert!(worst < 1e-4, "the log-probabilities differ by {worst}");
}
