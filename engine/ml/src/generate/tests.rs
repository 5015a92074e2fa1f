//! Sampling over random and tiny models: independence of the batch, stops, truncation, the distribution of draws.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;

use super::*;
use crate::model::{Padding, Sequence};
use crate::types::{ImagePatches, ModelFiles};

fn model() -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
    Model::load(&ModelFiles::from_folder(&folder).unwrap(), &Device::flex()).unwrap()
}

fn sampling() -> Sampling {
    Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::greedy(16, &[492, 17, 220]) }
}

/// A model so narrow that the products of a few rows are small ones.
fn narrow_model() -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/kill/model");
    Model::load(&ModelFiles::from_folder(&folder).unwrap().with_init(1), &Device::flex()).unwrap()
}

/// Prompts of three lengths for `model`, one with an image of 16 patches.
fn prompts(model: &Model) -> Vec<Prompt> {
    let vocabulary = model.config().text.vocab_size as u32 - 20;
    let text =
        |length: u32, shift: u32| -> Vec<u32> { (0..length).map(|index| (index * 37 + shift) % vocabulary).collect() };
    let prompt = |length, shift| Prompt { tokens: text(length, shift), images: Vec::new() };
    let pixels = (0..16 * 1176).map(|index| ((index * 31) as f32).sin()).collect();
    let mut tokens = vec![model.config().image_token.unwrap(); 4];
    tokens.extend(text(8, 2));
    let shown = Prompt { tokens, images: vec![Arc::new(ImagePatches { pixels, grid: [1, 4, 4] })] };
    vec![prompt(12, 1), shown, prompt(9, 3), prompt(12, 4), prompt(5, 5)]
}

#[test]
fn a_sample_does_not_depend_on_its_company() {
    for model in [model(), narrow_model()] {
        check_company(&model);
    }
}

fn check_company(model: &Model) {
    let prompts = prompts(model);
    let seeds: Vec<u64> = (100..140).collect();
    let requests: Vec<Request<'_>> = prompts.iter().map(|prompt| Request { prompt, seeds: &seeds }).collect();
    let together = generate(model, &requests, &sampling(), 2, Stop::NEVER).unwrap();
    assert_eq!(together, generate(model, &requests, &sampling(), 1, Stop::NEVER).unwrap());
    for (prompt, expected) in prompts.iter().zip(&together) {
        for (seed, expected) in seeds.iter().zip(expected).step_by(7) {
            let alone = generate(model, &[Request { prompt, seeds: &[*seed] }], &sampling(), 1, Stop::NEVER).unwrap();
            assert_eq!(alone[0][0], *expected);
        }
    }
}

#[test]
fn a_stop_ends_sampling_before_the_next_token() {
    let model = narrow_model();
    let prompts = prompts(&model);
    let sampling = Sampling { stop_tokens: Vec::new(), ..sampling() };
    let asked = AtomicUsize::new(0);
    let requested = || asked.fetch_add(1, Ordering::Relaxed) >= 5;
    let request = Request { prompt: &prompts[0], seeds: &[1] };
    let stopped = generate(&model, &[request], &sampling, 1, Stop::when(&requested));
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(asked.load(Ordering::Relaxed), 6);
}

#[test]
fn log_probabilities_are_those_of_the_forward_pass() {
    let model = model();
    let prompt = Prompt { tokens: vec![1, 2, 3, 4], images: Vec::new() };
    let request = Request { prompt: &prompt, seeds: &[5, 6] };
    for generation in &generate(&model, &[request], &sampling(), 1, Stop::NEVER).unwrap()[0] {
        let tokens = [prompt.tokens.as_slice(), &generation.tokens].concat();
        let features = model.no_images();
        let sequence = Sequence { tokens: &tokens, images: &[] };
        let batch = model.batch(&[sequence], &features, Padding::Right).unwrap();
        let hidden = model.hidden(&batch, &features).unwrap();
        let logits = model.logits(hidden) / sampling().temperature;
        let logprobs = burn::tensor::activation::log_softmax(logits, 1).into_data();
        let logprobs: Vec<f32> = logprobs.iter::<f32>().collect();
        let vocabulary = model.config().text.vocab_size;
        for (index, (token, logprob)) in generation.tokens.iter().zip(&generation.logprobs).enumerate() {
            let other = logprobs[(index + 3) * vocabulary + *token as usize];
            assert!((logprob - other).abs() < 1e-5, "{logprob} and {other}");
        }
    }
}
