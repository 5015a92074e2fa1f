//! Sampling over random and tiny models: independence of the batch, stops, truncation, the distribution of draws.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

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

/// Requests of random lengths, sample counts and company, workers and budgets: always the same samples.
#[test]
fn random_mixtures_give_the_same_samples() {
    let model = model();
    let sampling = Sampling { repetition_penalty: 1.1, top_k: Some(40), ..sampling() };
    let base = prompts(&model);
    let shown = base[1].clone();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut all: Vec<(Prompt, Vec<u64>)> = Vec::new();
    for number in 0..14 {
        let mut prompt = base[random.random_range(0..base.len())].clone();
        prompt.tokens.extend((0..random.random_range(0..20)).map(|place| (number * 53 + place * 7) % 400));
        all.push((prompt, (0..random.random_range(1..6)).map(|seed| number as u64 * 10 + seed).collect()));
    }
    // The same image in another allocation, and one that differs in a single number.
    let copy = |change: f32| {
        let mut pixels = shown.images[0].pixels.clone();
        pixels[7] += change;
        Prompt { tokens: shown.tokens.clone(), images: vec![Arc::new(ImagePatches { pixels, grid: [1, 4, 4] })] }
    };
    all.push((copy(0.0), vec![1, 2]));
    all.push((copy(0.5), vec![1, 2]));
    let request = |(prompt, seeds): &'static (Prompt, Vec<u64>)| Request { prompt, seeds };
    let all: &'static Vec<(Prompt, Vec<u64>)> = Box::leak(Box::new(all));
    let expected: Vec<Vec<Generation>> =
        all.iter().map(|one| generate(&model, &[request(one)], &sampling, 1, Stop::NEVER).unwrap().remove(0)).collect();
    for (workers, bytes) in [(1, KEY_VALUE_BYTES), (3, KEY_VALUE_BYTES), (2, 0), (1, 60_000)] {
        let mut order: Vec<usize> = (0..all.len()).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, random.random_range(0..=place));
        }
        order.truncate(random.random_range(8..=all.len()));
        let requests: Vec<Request<'_>> = order.iter().map(|number| request(&all[*number])).collect();
        let together = generate_within(&model, &requests, &sampling, workers, bytes, Stop::NEVER).unwrap();
        for (number, found) in order.iter().zip(&together) {
            assert_eq!(*found, expected[*number], "request {number} with {workers} workers in {bytes} bytes");
        }
    }
}

#[test]
fn one_completion_comes_token_by_token() {
    let model = model();
    let prompts = prompts(&model);
    for prompt in &prompts {
        let request = Request { prompt, seeds: &[9] };
        let whole = generate(&model, &[request], &sampling(), 1, Stop::NEVER).unwrap().remove(0).remove(0);
        let mut seen = Vec::new();
        let mut on_token = |token, logprob| {
            seen.push((token, logprob));
            true
        };
        let one = generate_one(&model, prompt, 9, &sampling(), Stop::NEVER, &mut on_token).unwrap();
        assert_eq!(one, whole);
        assert_eq!(seen, one.tokens.iter().copied().zip(one.logprobs.iter().copied()).collect::<Vec<_>>());
    }
    let endless = Sampling { stop_tokens: Vec::new(), ..sampling() };
    let mut left = 3;
    let mut on_token = |_, _| {
        left -= 1;
        left > 0
    };
    let ended = generate_one(&model, &prompts[0], 9, &endless, Stop::NEVER, &mut on_token).unwrap();
    assert_eq!((ended.tokens.len(), ended.finished), (3, false));
}

#[test]
fn a_completion_ends_where_the_context_does() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
    let mut files = ModelFiles::from_folder(&folder).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&files.require("config.json", "the test").unwrap()).unwrap();
    config["max_position_embeddings"] = 20.into();
    let path = std::env::temp_dir().join(format!("ruminate-context-{}.json", std::process::id()));
    std::fs::write(&path, config.to_string()).unwrap();
    files.files.insert("config.json".to_owned(), path.clone());
    let model = Model::load(&files, &Device::flex()).unwrap();
    std::fs::remove_file(path).unwrap();
    let prompt = |length| Prompt { tokens: (0..length).collect(), images: Vec::new() };
    let sampling = Sampling::greedy(100, &[]);
    let complete = |prompt: &Prompt| generate(&model, &[Request { prompt, seeds: &[1, 2] }], &sampling, 1, Stop::NEVER);
    for generation in &complete(&prompt(14)).unwrap()[0] {
        assert_eq!((generation.tokens.len(), generation.finished), (6, false));
    }
    assert_eq!(complete(&prompt(19)).unwrap()[0][0].tokens.len(), 1);
    for (length, expected) in [(20, "leaves no room for an answer in the model's 20"), (0, "the prompt holds no token")]
    {
        let message = complete(&prompt(length)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let greedy = || Sampling::greedy(1, &[]);
    for (sampling, name) in [
        (Sampling { temperature: f32::NAN, ..greedy() }, "temperature"),
        (Sampling { temperature: -0.1, ..greedy() }, "temperature"),
        (Sampling { temperature: f32::INFINITY, ..greedy() }, "temperature"),
        (Sampling { top_p: 0.0, ..greedy() }, "top_p"),
        (Sampling { top_p: 1.1, ..greedy() }, "top_p"),
        (Sampling { top_p: f32::NAN, ..greedy() }, "top_p"),
        (Sampling { top_k: Some(0), ..greedy() }, "top_k"),
        (Sampling { repetition_penalty: 0.0, ..greedy() }, "repetition_penalty"),
        (Sampling { repetition_penalty: f32::NAN, ..greedy() }, "repetition_penalty"),
        (Sampling::greedy(0, &[]), "max_new_tokens"),
    ] {
        let message = sampling.check().unwrap_err().to_string();
        assert!(message.contains(&format!("option `{name}`")), "{message}");
    }
    assert!(Sampling { top_k: Some(usize::MAX), ..greedy() }.check().is_ok());
}

#[test]
fn nothing_to_sample_gives_nothing() {
    let model = narrow_model();
    let prompts = prompts(&model);
    assert!(generate(&model, &[], &sampling(), 2, Stop::NEVER).unwrap().is_empty());
    let requests = [Request { prompt: &prompts[0], seeds: &[] }, Request { prompt: &prompts[2], seeds: &[4] }];
    let made = generate(&model, &requests, &sampling(), 2, Stop::NEVER).unwrap();
    assert_eq!(made.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
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
