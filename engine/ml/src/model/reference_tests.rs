//! The forward pass, its gradients and greedy decoding against transformers, on tiny random models: every case of every
//! model in `tests/reference/model/expected`, or of the folder that `RUMINATE_REFERENCE_MODELS` names (one that
//! `make_variants.py` wrote).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Gradients, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;

use super::autodiff::{take_gradients, with_gradients};
use super::*;
use crate::config::VisionConfig;
use crate::generate::{Request, Sampling, generate};
use crate::stop::Stop;
use crate::types::Prompt;

fn folder(name: &str) -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model");
    std::env::var_os("RUMINATE_REFERENCE_MODELS").map_or_else(own, PathBuf::from).join(name)
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn load(name: &str) -> (Model, ModelFiles) {
    let files = ModelFiles::from_folder(&folder(name)).unwrap();
    (Model::load(&files, &Device::flex()).unwrap(), files)
}

/// Does something with every case of every model.
fn for_each_case(mut check: impl FnMut(&Model, &ModelFiles, &Case)) {
    let mut cases = 0;
    for name in names(&folder("expected")) {
        let (model, files) = load(&name);
        for file in names(&folder("expected").join(&name)) {
            if let Some(case) = file.strip_suffix(".safetensors") {
                check(&model, &files, &Case::read(&name, case));
                cases += 1;
            }
        }
    }
    assert!(cases > 5, "only {cases} cases");
}

/// The tensors of one case.
struct Case {
    /// For messages.
    name: String,
    bytes: Vec<u8>,
    /// What is no tensor: messages, loss, norms of gradients.
    values: Value,
}

impl Case {
    fn read(model: &str, case: &str) -> Self {
        let folder = folder("expected").join(model);
        let values: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        Case {
            name: format!("{model}/{case}"),
            bytes: std::fs::read(folder.join(format!("{case}.safetensors"))).unwrap(),
            values: values["cases"][case].clone(),
        }
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

/// Which of the case's images belong to each sequence.
fn image_numbers(model: &Model, sequences: &[(Vec<u32>, usize)], images: &[Arc<ImagePatches>]) -> Vec<Vec<usize>> {
    let unit = model.config().vision.as_ref().map_or(1, VisionConfig::merge_unit);
    let mut next = 0;
    let own = |(tokens, _): &(Vec<u32>, usize)| {
        let mut left = tokens.iter().filter(|other| Some(**other) == model.config().image_token).count();
        let mut own = Vec::new();
        while left > 0 {
            left -= images[next].patches() / unit;
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
    for_each_case(|model, _, case| {
        let images = case.images();
        let references: Vec<&ImagePatches> = images.iter().map(AsRef::as_ref).collect();
        let features = model.encode_images(&references).unwrap();
        if let Some(rows) = features.rows() {
            let difference = largest_difference(&values(rows.clone()), &case.floats("vision_features"));
            assert!(difference < 1e-4, "{}: features differ by {difference}", case.name);
        }
        let rows = case.sequences("input_ids", "attention_mask");
        let numbers = image_numbers(model, &rows, &images);
        let sequences: Vec<Sequence<'_>> =
            rows.iter().zip(&numbers).map(|((tokens, _), images)| Sequence { tokens, images }).collect();
        for padding in [Padding::Left, Padding::Right] {
            let batch = model.batch(&sequences, &features, padding).unwrap();
            let hidden = model.forward(&batch, &features).unwrap();
            let [count, width, size] = hidden.dims();
            let logits = values(model.logits(hidden.reshape([count * width, size])));
            check_logits(case, &rows, &batch, &logits);
            if case.has("position_ids") {
                check_positions(case, &rows, &batch);
            }
        }
    });
}

fn check_logits(case: &Case, rows: &[(Vec<u32>, usize)], batch: &Batch, logits: &[f32]) {
    let (expected, vocabulary) = (case.floats("logits"), case.width("logits"));
    for (row, (tokens, start)) in rows.iter().enumerate() {
        let ours = &logits[batch.index(row, 0) * vocabulary..][..tokens.len() * vocabulary];
        let theirs = &expected[(row * batch.width + start) * vocabulary..][..tokens.len() * vocabulary];
        let difference = largest_difference(ours, theirs);
        // Two attention implementations of transformers differ by 4e-5 on logits of up to 10: larger logits round more.
        let largest = theirs.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let bound = 1e-4 * (largest / 16.0).max(1.0);
        assert!(difference < bound, "{}: row {row} differs by {difference} of {largest}", case.name);
    }
}

fn check_positions(case: &Case, rows: &[(Vec<u32>, usize)], batch: &Batch) {
    let positions = case.integers("position_ids");
    let deltas = case.integers("rope_deltas");
    for (row, (tokens, start)) in rows.iter().enumerate() {
        for token in 0..tokens.len() {
            let place = |axis: usize| positions[(axis * rows.len() + row) * batch.width + start + token] as u32;
            assert_eq!(batch.positions()[batch.index(row, token)], [place(0), place(1), place(2)], "{}", case.name);
        }
        let delta = i64::from(batch.next_positions()[row]) - tokens.len() as i64;
        assert_eq!(delta, deltas[row], "{}: where the next token of row {row} stands", case.name);
    }
}

#[test]
fn windows_equal_transformers() {
    let mut compared = 0;
    for_each_case(|model, _, case| {
        if !case.has("window_index") {
            return;
        }
        let config = model.config().vision.as_ref().unwrap();
        let (mut order, mut ends, mut cells) = (Vec::new(), vec![0], 0);
        for image in case.images() {
            let (own, sizes) = positions::window_order(image.grid, config);
            order.extend(own.iter().map(|cell| (cells + cell) as i64));
            cells += own.len();
            for size in sizes {
                ends.push(ends[ends.len() - 1] + (size * config.merge_unit()) as i64);
            }
        }
        assert_eq!(order, case.integers("window_index"), "{}", case.name);
        assert_eq!(ends, case.integers("cu_window_seqlens"), "{}", case.name);
        compared += 1;
    });
    assert!(compared > 3 || std::env::var_os("RUMINATE_REFERENCE_MODELS").is_some());
}

#[test]
fn greedy_decoding_equals_transformers() {
    for_each_case(|model, files, case| {
        let images = case.images();
        let rows = case.sequences("gen.input_ids", "gen.attention_mask");
        let numbers = image_numbers(model, &rows, &images);
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
        let stop_tokens = ModelConfig::load(files).unwrap().eos_tokens;
        let generated = generate(model, &requests, &Sampling::greedy(length, &stop_tokens), 2, Stop::NEVER).unwrap();
        for (generation, expected) in generated.iter().zip(expected.chunks(length)) {
            let ours: Vec<i64> = generation[0].tokens.iter().map(|token| i64::from(*token)).collect();
            let end = expected.iter().position(|token| stop_tokens.contains(&(*token as u32)));
            let expected = &expected[..end.map_or(length, |end| end + 1)];
            assert_eq!(ours, expected, "{}", case.name);
        }
    });
}

#[test]
fn losses_and_gradients_equal_transformers() {
    for_each_case(|model, _, case| {
        let model = with_gradients(model, &|_| true);
        let images = case.images();
        let references: Vec<&ImagePatches> = images.iter().map(AsRef::as_ref).collect();
        let features = model.encode_images(&references).unwrap();
        let rows = case.sequences("input_ids", "attention_mask");
        let numbers = image_numbers(&model, &rows, &images);
        let sequences: Vec<Sequence<'_>> =
            rows.iter().zip(&numbers).map(|((tokens, _), images)| Sequence { tokens, images }).collect();
        let batch = model.batch(&sequences, &features, Padding::Right).unwrap();
        let hidden = model.forward(&batch, &features).unwrap();
        let [count, width, size] = hidden.dims();
        let labels = case.integers("labels");
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        for (row, (tokens, start)) in rows.iter().enumerate() {
            let labels = &labels[row * width + start..];
            for token in (1..tokens.len()).filter(|token| labels[*token] >= 0) {
                places.push(batch.index(row, token - 1));
                targets.push(labels[token]);
            }
        }
        let hidden = hidden.reshape([count * width, size]).select(0, row_indices(&places, &Device::flex()));
        let targets = integers(&targets, &Device::flex()).reshape([places.len(), 1]);
        let logprobs = burn::tensor::activation::log_softmax(model.logits(hidden), 1).gather(1, targets);
        let loss = logprobs.mean().neg();
        let loss_value: f32 = loss.clone().into_scalar();
        let expected = case.values["loss"].as_f64().unwrap();
        let difference = (f64::from(loss_value) - expected).abs();
        assert!(difference < 2e-6 * expected.max(1.0), "{}: the loss differs by {difference}", case.name);
        let mut gradients = loss.backward();
        check_norms(case, &norms(&model, &mut gradients));
    });
}

fn check_norms(case: &Case, norms: &BTreeMap<String, f64>) {
    let expected = case.values["grad_norms"].as_object().unwrap();
    // Without an image in the batch torch gives no gradients to the vision tower; here they are absent, too.
    assert_eq!(norms.len(), expected.len(), "{}", case.name);
    // A gradient far below the others is what rounding leaves: a bias of the keys has none in exact arithmetic.
    let floor = 1e-5 * expected.values().filter_map(Value::as_f64).fold(0.0, f64::max);
    for (name, expected) in expected {
        let (ours, expected) = (norms[&parameters::published_name(name)], expected.as_f64().unwrap());
        let difference = (ours - expected).abs();
        assert!(difference < 1e-4 * expected.max(floor), "{}: `{name}` has {ours}, expected {expected}", case.name);
    }
}

/// The norm of each published tensor's gradient.
fn norms(model: &Model, gradients: &mut Gradients) -> BTreeMap<String, f64> {
    let taken: BTreeMap<String, Parameter> = take_gradients(model, gradients).into_iter().collect();
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
