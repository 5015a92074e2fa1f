//! Decoding against the plain forward pass, on pages and on columns, while rows come and go.

use std::path::PathBuf;

use burn::tensor::Device;

use super::super::{Padding, Sequence};
use super::*;
use crate::types::{ImagePatches, ModelFiles};

fn model() -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
    Model::load(&ModelFiles::from_folder(&folder).unwrap(), &Device::flex()).unwrap()
}

/// Tokens of a sequence; the third of each five begins with an image.
fn sequence(model: &Model, number: usize, length: usize) -> Vec<u32> {
    let text = (0..length).map(|place| (place * 37 + number * 101) as u32 % 400);
    let image = if number % 5 == 2 { vec![model.config.image_token.unwrap(); 4] } else { Vec::new() };
    image.into_iter().chain(text).collect()
}

fn image() -> ImagePatches {
    ImagePatches { pixels: (0..16 * 1176).map(|index| ((index * 31) as f32).sin()).collect(), grid: [1, 4, 4] }
}

/// The logits after every token of a sequence, by the plain forward pass.
fn plain(model: &Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let shows = model.config.image_token.is_some_and(|image| tokens.contains(&image));
    let (image, images) = (image(), if shows { vec![0] } else { Vec::new() });
    let features = if shows { model.encode_images(&[&image]).unwrap() } else { model.no_images() };
    let batch = model.batch(&[Sequence { tokens, images: &images }], &features, Padding::Right).unwrap();
    let logits = model.logits(model.hidden(&batch, &features).unwrap());
    Host::new(logits).chunks_exact(model.config.text.vocab_size).map(<[f32]>::to_vec).collect()
}

/// A row under way: which sequence, and how much of it is computed.
struct Running {
    number: usize,
    done: usize,
    position: u32,
}

/// Teacher-forces sequences of many lengths through rows that come and go, and compares each step's logits.
fn check_rows(model: &Model, mut rows: Rows, to_memory: &dyn Fn(Memory) -> Memory, bits: bool) {
    let sequences: Vec<Vec<u32>> = (0..12).map(|number| sequence(model, number, 6 + number * 7 % 60)).collect();
    let prompts: Vec<usize> = (0..12).map(|number| 5 + number * 5 % 38).map(|length| length.max(5)).collect();
    let expected: Vec<Vec<Vec<f32>>> = sequences.iter().map(|tokens| plain(model, tokens)).collect();
    let encoded = model.encode_each(&[&image()]).unwrap();
    let mut waiting: Vec<usize> = (0..12).rev().collect();
    let mut running: Vec<Running> = Vec::new();
    let mut alone: Vec<Vec<Vec<u32>>> = vec![Vec::new(); 12];
    let close = |number: usize, place: usize, logits: &[f32]| {
        for (ours, expected) in logits.iter().zip(&expected[number][place]) {
            assert!((ours - expected).abs() < 2e-4, "sequence {number}, token {place}: {ours}, expected {expected}");
        }
    };
    while !waiting.is_empty() || !running.is_empty() {
        let room = 5 - running.len();
        if room > 2 && !waiting.is_empty() {
            let new: Vec<usize> = (0..room).filter_map(|_| waiting.pop()).collect();
            let length = |number: usize| prompts[number].min(sequences[number].len() - 1);
            let shown = |number: &usize| Shown {
                tokens: &sequences[*number][..length(*number)],
                images: if number % 5 == 2 { encoded.clone() } else { Vec::new() },
            };
            let prefixes = model.prefill(&new.iter().map(shown).collect::<Vec<_>>()).unwrap();
            for (number, prefix) in new.iter().zip(&prefixes) {
                close(*number, length(*number) - 1, &prefix.logits);
                running.push(Running { number: *number, done: length(*number), position: prefix.position });
            }
            let moved = |prefix: Prefix| Prefix { memory: to_memory(prefix.memory), ..prefix };
            rows.admit(&prefixes.into_iter().map(moved).collect::<Vec<_>>());
        }
        let tokens: Vec<u32> = running.iter().map(|row| sequences[row.number][row.done]).collect();
        let positions: Vec<u32> = running.iter().map(|row| row.position).collect();
        let logits = model.decode(&mut rows, &tokens, &positions).unwrap();
        for (row, logits) in running.iter_mut().zip(logits.chunks_exact(model.config.text.vocab_size)) {
            close(row.number, row.done, logits);
            alone[row.number].push(logits.iter().map(|logit| logit.to_bits()).collect());
            row.done += 1;
            row.position += 1;
        }
        let kept: Vec<bool> = running.iter().map(|row| row.done < sequences[row.number].len()).collect();
        rows.retain(&kept);
        running.retain(|row| row.done < sequences[row.number].len());
    }
    if bits {
        check_alone(model, &sequences, &prompts, &alone);
    }
}

/// The same sequences one by one give the same bits.
fn check_alone(model: &Model, sequences: &[Vec<u32>], prompts: &[usize], expected: &[Vec<Vec<u32>>]) {
    for (number, tokens) in sequences.iter().enumerate() {
        let length = prompts[number].min(tokens.len() - 1);
        let images = if number % 5 == 2 { model.encode_each(&[&image()]).unwrap() } else { Vec::new() };
        let prefix = model.prefill(&[Shown { tokens: &tokens[..length], images }]).unwrap().remove(0);
        let mut rows = Rows::new(model);
        rows.admit(std::slice::from_ref(&prefix));
        for (step, token) in tokens[length..].iter().enumerate() {
            let logits = model.decode(&mut rows, &[*token], &[prefix.position + step as u32]).unwrap();
            let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
            assert!(bits == expected[number][step], "sequence {number}, step {step}");
        }
    }
}

#[test]
fn rows_on_pages_compute_what_the_forward_pass_does_with_the_same_bits_in_any_company() {
    let model = model();
    check_rows(&model, Rows::new(&model), &|memory| memory, true);
    let laid_out = model.clone().laid_out_for_sampling();
    check_rows(&laid_out, Rows::new(&laid_out), &|memory| memory, true);
}

#[test]
fn rows_on_columns_compute_what_the_forward_pass_does() {
    let model = model();
    let columns = Rows::Tensors(Box::new(Columns::new(&model.config.text, &model.device)));
    check_rows(&model, columns, &|memory| as_tensors(memory, &model), false);
}

/// A prefix as other devices keep it.
fn as_tensors(memory: Memory, model: &Model) -> Memory {
    match memory {
        Memory::Paged(tape) => Memory::Tensors(DevicePrefix { layers: tape.layers(&model.config.text, &model.device) }),
        tensors => tensors,
    }
}

#[test]
fn a_layout_for_sampling_leaves_the_bits() {
    let model = model();
    let laid_out = model.clone().laid_out_for_sampling();
    for number in 0..5 {
        let tokens = sequence(&model, number, 23);
        let bits = |logits: Vec<Vec<f32>>| logits.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(plain(&model, &tokens)) == bits(plain(&laid_out, &tokens)));
    }
}
