//! The forward pass, its gradients and greedy decoding against transformers, on tiny random models.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::generate::{Request, Sampling, generate};
use crate::stop::Stop;
use crate::types::Prompt;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model").join(name)
}

fn load(name: &str) -> (Model, ModelFiles) {
    let files = ModelFiles::from_folder(&folder(name)).unwrap();
    (Model::load(&files, &Device::flex()).unwrap(), files)
}

/// The tensors of one case.
struct Case {
    bytes: Vec<u8>,
}

impl Case {
    fn read(model: &str, case: &str) -> Self {
        Case { bytes: std::fs::read(folder("expected").join(model).join(format!("{case}.safetensors"))).unwrap() }
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).is_ok()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    fn width(&self, name: &str) -> usize {
        *SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().last().unwrap()
    }

    /// The images of the case.
    fn images(&self) -> Vec<Arc<ImagePatches>> {
        if !self.has("pixel_values") {
            return Vec::new();
        }
        let (pixels, width) = (self.floats("pixel_values"), self.width("pixel_values"));
        let mut start = 0;
        let grids = self.integers("image_grid_thw");
        let image = |grid: &[i64; 3]| {
            let grid = grid.map(|size| size as usize);
            let end = start + grid.iter().product::<usize>() * width;
            let image = ImagePatches { pixels: pixels[start..end].to_vec(), grid };
            start = end;
            Arc::new(image)
        };
        grids.as_chunks().0.iter().map(image).collect()
    }

    /// The rows of a matrix of token ids without padding, and each row's first place.
    fn sequences(&self, tokens: &str, mask: &str) -> Vec<(Vec<u32>, usize)> {
        let width = self.width(tokens);
        let (tokens, mask) = (self.integers(tokens), self.integers(mask));
        let row = |(tokens, mask): (&[i64], &[i64])| {
            let start = mask.iter().position(|seen| *seen == 1).unwrap();
            let kept = tokens.iter().zip(mask).filter(|(_, seen)| **seen == 1);
            (kept.map(|(token, _)| *token as u32).collect(), start)
        };
        tokens.chunks(width).zip(mask.chunks(width)).map(row).collect()
    }
}

const CASES: [(&str, &str); 6] = [
    ("tiny", "c1_text"),
    ("tiny", "c2_one_odd"),
    ("tiny", "c3_downscaled"),
    ("tiny", "c5_extreme"),
    ("tiny", "c6_batch_left"),
    ("tiny_tied_bf16", "c2_one_odd"),
];

/// Which of the case's images belong to each sequence.
fn image_numbers(model: &Model, sequences: &[(Vec<u32>, usize)], images: &[Arc<ImagePatches>]) -> Vec<Vec<usize>> {
    let token = model.config().image_token.unwrap();
    let mut next = 0;
    let own = |(tokens, _): &(Vec<u32>, usize)| {
        let mut left = tokens.iter().filter(|other| **other == token).count();
        let mut own = Vec::new();
        while left > 0 {
            left -= images[next].patches() / 4;
            own.push(next);
            next += 1;
        }
        own
    };
    sequences.iter().map(own).collect()
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[test]
fn logits_features_and_positions_equal_transformers() {
    for (name, case_name) in CASES {
        let (model, _) = load(name);
        let case = Case::read(name, case_name);
        let images = case.images();
        let references: Vec<&ImagePatches> = images.iter().map(AsRef::as_ref).collect();
        let features = model.encode_images(&references).unwrap();
        if let Some(rows) = features.rows() {
            let difference = largest_difference(&values(rows.clone()), &case.floats("vision_features"));
            assert!(difference < 1e-4, "{name}/{case_name}: features differ by {difference}");
        }
        let rows = case.sequences("input_ids", "attention_mask");
        let numbers = image_numbers(&model, &rows, &images);
        let sequences: Vec<Sequence<'_>> =
            rows.iter().zip(&numbers).map(|((tokens, _), images)| Sequence { tokens, images }).collect();
        let vocabulary = model.config().text.vocab_size;
        let expected = case.floats("logits");
        for padding in [Padding::Left, Padding::Right] {
            let batch = model.batch(&sequences, &features, padding).unwrap();
            let hidden = model.forward(&batch, &features).unwrap();
            let [count, width, size] = hidden.dims();
            let logits = values(model.logits(hidden.reshape([count * width, size])));
            for (row, (tokens, start)) in rows.iter().enumerate() {
                let ours = &logits[batch.index(row, 0) * vocabulary..][..tokens.len() * vocabulary];
                let theirs = &expected[(row * width + start) * vocabulary..][..tokens.len() * vocabulary];
                let difference = largest_difference(ours, theirs);
                assert!(difference < 1e-4, "{name}/{case_name}: row {row} {padding:?} differs by {difference}");
                if case.has("position_ids") {
                    let positions = case.integers("position_ids");
                    for token in 0..tokens.len() {
                        let place = |axis: usize| positions[(axis * count + row) * width + start + token] as u32;
                        assert_eq!(batch.positions()[batch.index(row, token)], [place(0), place(1), place(2)]);
                    }
                }
            }
        }
    }
}

#[test]
fn greedy_decoding_equals_transformers() {
    for (name, case_name) in CASES {
        let (model, files) = load(name);
        let case = Case::read(name, case_name);
        let images = case.images();
        let rows = case.sequences("gen.input_ids", "gen.attention_mask");
        let numbers = image_numbers(&model, &rows, &images);
        let prompts: Vec<Prompt> = rows
            .iter()
            .zip(&numbers)
            .map(|((tokens, _), own)| Prompt {
                tokens: tokens.clone(),
                images: own.iter().map(|image| images[*image].clone()).collect(),
            })
            .collect();
        let requests: Vec<Request<'_>> = prompts.iter().map(|prompt| Request { prompt, seeds: &[0] }).collect();
        let expected = case.integers("gen.free_tokens");
        let length = expected.len() / rows.len();
        let stop_tokens = ModelConfig::load(&files).unwrap().eos_tokens;
        let generated = generate(&model, &requests, &Sampling::greedy(length, &stop_tokens), 2, Stop::NEVER).unwrap();
        for (generation, expected) in generated.iter().zip(expected.chunks(length)) {
            let ours: Vec<i64> = generation[0].tokens.iter().map(|token| i64::from(*token)).collect();
            let end = expected.iter().position(|token| stop_tokens.contains(&(*token as u32)));
            let expected = &expected[..end.map_or(length, |end| end + 1)];
            assert_eq!(ours, expected, "{name}/{case_name}");
        }
    }
}

#[test]
fn gradients_equal_transformers() {
    let (model, _) = load("tiny");
    let text = std::fs::read_to_string(folder("expected/tiny/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    for case_name in ["c1_text", "c2_one_odd"] {
        let case = Case::read("tiny", case_name);
        let model = model.with_gradients(&|_| true);
        let images = case.images();
        let references: Vec<&ImagePatches> = images.iter().map(AsRef::as_ref).collect();
        let features = model.encode_images(&references).unwrap();
        let rows = case.sequences("input_ids", "attention_mask");
        let numbers: Vec<usize> = (0..images.len()).collect();
        let sequence = Sequence { tokens: &rows[0].0, images: &numbers };
        let batch = model.batch(&[sequence], &features, Padding::Right).unwrap();
        let hidden = model.forward(&batch, &features).unwrap();
        let [_, width, size] = hidden.dims();
        let labels = case.integers("labels");
        let places: Vec<usize> = (1..width).filter(|place| labels[*place] >= 0).map(|place| place - 1).collect();
        let targets: Vec<i64> = places.iter().map(|place| labels[place + 1]).collect();
        let logits = model.logits(hidden.reshape([width, size]).select(0, row_indices(&places, &Device::flex())));
        let targets = integers(&targets, &Device::flex()).reshape([places.len(), 1]);
        let logprobs = burn::tensor::activation::log_softmax(logits, 1).gather(1, targets);
        let loss = logprobs.mean().neg();
        let case_values = &expected["cases"][case_name];
        let loss_value: f32 = loss.clone().into_scalar();
        assert!((f64::from(loss_value) - case_values["loss"].as_f64().unwrap()).abs() < 1e-5);
        let mut gradients = loss.backward();
        let norms = norms(&model, &mut gradients);
        let expected_norms = case_values["grad_norms"].as_object().unwrap();
        assert_eq!(norms.len(), expected_norms.len());
        for (name, expected) in expected_norms {
            let (ours, expected) = (norms[&parameters::published_name(name)], expected.as_f64().unwrap());
            assert!((ours / expected - 1.0).abs() < 1e-4, "{case_name}: `{name}` has {ours}, expected {expected}");
        }
    }
}

/// The norm of each published tensor's gradient.
fn norms(model: &Model, gradients: &mut Gradients) -> BTreeMap<String, f64> {
    let taken: BTreeMap<String, Parameter> = model.take_gradients(gradients).into_iter().collect();
    let mut norms = BTreeMap::new();
    for spec in parameters::specs(model.config()) {
        let Some(gradient) = taken.get(&spec.name) else { continue };
        let values = gradient.values();
        let mut start = 0;
        for saved in spec.saved {
            let end = start + saved.elements();
            let square: f64 = values[start..end].iter().map(|value| f64::from(*value).powi(2)).sum();
            norms.insert(saved.name, square.sqrt());
            start = end;
        }
    }
    norms
}
