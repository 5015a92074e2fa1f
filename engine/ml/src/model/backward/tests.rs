//! The way back by hand against automatic differentiation of the same model, over shapes and frozen parts; and with blocks
//! computed once more, to the bit.

use std::path::PathBuf;

use burn::tensor::{Device, FloatDType, Tensor};

use crate::model::autodiff::{take_gradients, with_gradients};
use crate::model::backward::{Keep, ParameterGradients};
use crate::model::{Model, Padding, Sequence};
use crate::types::{ImagePatches, ModelFiles};

const IMAGE: u32 = 502;

fn model(name: &str) -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model").join(name);
    Model::load(&ModelFiles::from_folder(&folder).unwrap(), &Device::flex()).unwrap()
}

/// An image of `rows` x `columns` patches, and its tokens among others.
fn image(rows: usize, columns: usize) -> (ImagePatches, Vec<u32>) {
    let pixels = (0..rows * columns * 1176).map(|place| ((place * 31 + rows * 977) as f32).sin()).collect();
    let mut tokens = vec![7, 499];
    tokens.extend(vec![IMAGE; rows * columns / 4]);
    tokens.extend([500, 9, 11, 13]);
    (ImagePatches { pixels, grid: [1, rows, columns] }, tokens)
}

/// Rows of a batch: tokens, and the numbers of its images.
type Rows = Vec<(Vec<u32>, Vec<usize>)>;

/// A batch's images and rows: whole windows, ragged ones, several images, none, shared ones.
fn batches() -> Vec<(Vec<ImagePatches>, Rows)> {
    let (square, with_square) = image(4, 4);
    let (ragged, with_ragged) = image(6, 10);
    let both = [with_ragged.clone(), with_square.clone()].concat();
    let text: Vec<u32> = (0..9).map(|place| place * 31 % 480).collect();
    vec![
        (vec![], vec![(text.clone(), vec![]), (text[..4].to_vec(), vec![])]),
        (vec![square.clone()], vec![(with_square.clone(), vec![0]), (with_square, vec![0]), (text, vec![])]),
        (vec![square, ragged], vec![(with_ragged, vec![1]), (both, vec![1, 0])]),
    ]
}

/// The gradients of `sum(hidden * weights)`, a few of the places weighted by zero, by hand.
fn by_hand(
    model: &Model,
    (images, rows): &(Vec<ImagePatches>, Rows),
    padding: Padding,
    keep: Keep,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<Option<Vec<f32>>> {
    let mut gradients = ParameterGradients::new(model, wanted);
    let images: Vec<&ImagePatches> = images.iter().collect();
    let (features, kept) = model.encode_images_kept(&images, keep).unwrap();
    let sequences: Vec<Sequence<'_>> = rows.iter().map(|(tokens, images)| Sequence { tokens, images }).collect();
    let batch = model.batch(&sequences, &features, padding).unwrap();
    let (hidden, text) = model.forward_kept(&batch, &features, keep).unwrap();
    let plain = model.forward(&batch, &features).unwrap();
    assert!(hidden.clone().into_data().iter::<f32>().eq(plain.into_data().iter::<f32>()), "another forward pass");
    let weights = weights(hidden.dims());
    let rows = model.backward_text(text, weights, &mut gradients);
    if let (Some(kept), Some(rows)) = (kept, rows) {
        model.backward_images(kept, rows, &mut gradients);
    }
    let read = |gradient: Tensor<1>| gradient.into_data().iter::<f32>().collect();
    gradients.into_values().into_iter().map(|gradient| gradient.map(read)).collect()
}

fn weights([rows, width]: [usize; 2]) -> Tensor<2> {
    let numbers = (0..rows * width).map(|index| if index / width % 3 == 1 { 0.0 } else { ((index * 37) as f32).sin() });
    let numbers: Vec<f32> = numbers.collect();
    Tensor::<1>::from_floats(numbers.as_slice(), &Device::flex()).reshape([rows, width])
}

fn automatic(
    model: &Model,
    (images, rows): &(Vec<ImagePatches>, Rows),
    padding: Padding,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<Option<Vec<f32>>> {
    let model = with_gradients(model, wanted);
    let images: Vec<&ImagePatches> = images.iter().collect();
    let features = model.encode_images(&images).unwrap();
    let sequences: Vec<Sequence<'_>> = rows.iter().map(|(tokens, images)| Sequence { tokens, images }).collect();
    let batch = model.batch(&sequences, &features, padding).unwrap();
    let hidden = model.forward(&batch, &features).unwrap();
    let [rows, width, size] = hidden.dims();
    if !hidden.is_tracked() {
        return vec![None; model.parameters().len()];
    }
    let mut gradients = (hidden.reshape([rows * width, size]) * weights([rows * width, size])).sum().backward();
    let mut taken = take_gradients(&model, &mut gradients).into_iter().peekable();
    let names = model.parameters().into_iter().map(|(name, _)| name);
    names.map(|name| taken.next_if(|(taken, _)| *taken == name).map(|(_, gradient)| gradient.values())).collect()
}

#[test]
fn gradients_equal_those_of_automatic_differentiation() {
    let all: &dyn Fn(&str) -> bool = &|_| true;
    let text: &dyn Fn(&str) -> bool = &|name| !name.starts_with("visual.");
    let late: &dyn Fn(&str) -> bool =
        &|name| name.contains("layers.1.") && !name.contains("qkv") || name == "model.norm.weight";
    let projector: &dyn Fn(&str) -> bool = &|name| name.starts_with("visual.merger.mlp.2");
    let tower: &dyn Fn(&str) -> bool = &|name| name.starts_with("visual.blocks.1.mlp");
    for name in ["tiny", "tiny_tied_bf16"] {
        let model = model(name);
        for (case, batch) in batches().iter().enumerate() {
            for (subset, wanted) in [all, text, late, projector, tower].into_iter().enumerate() {
                let padding = if subset % 2 == 0 { Padding::Right } else { Padding::Left };
                let expected = automatic(&model, batch, padding, wanted);
                let found = by_hand(&model, batch, padding, Keep::Everything, wanted);
                let again = by_hand(&model, batch, padding, Keep::Inputs, wanted);
                for ((name, _), ((found, again), expected)) in
                    model.parameters().iter().zip(found.iter().zip(&again).zip(&expected))
                {
                    let what = format!("batch {case}, subset {subset}, `{name}`");
                    assert!(found == again, "{what}: computing blocks once more changes bits");
                    let zeros = || vec![0.0; found.as_ref().or(expected.as_ref()).map_or(0, Vec::len)];
                    // Where a loss does not reach, no gradient and zeros are the same.
                    let (a, b) = (found.clone().unwrap_or_else(zeros), expected.clone().unwrap_or_else(zeros));
                    let largest = b.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                    for (a, b) in a.iter().zip(&b) {
                        assert!((a - b).abs() <= 3e-5 * largest + 1e-7, "{what}: {a} {b} of {largest}");
                    }
                }
            }
        }
    }
}

/// Rows that are filled up before their tokens have the gradients of rows filled up after them.
#[test]
fn the_side_of_the_padding_changes_nothing() {
    let model = model("tiny");
    for (images, rows) in batches() {
        let images: Vec<&ImagePatches> = images.iter().collect();
        let run = |padding: Padding| {
            let mut gradients = ParameterGradients::new(&model, &|_| true);
            let (features, kept) = model.encode_images_kept(&images, Keep::Everything).unwrap();
            let sequences: Vec<Sequence<'_>> =
                rows.iter().map(|(tokens, images)| Sequence { tokens, images }).collect();
            let batch = model.batch(&sequences, &features, padding).unwrap();
            let (hidden, text) = model.forward_kept(&batch, &features, Keep::Everything).unwrap();
            let size = hidden.dims()[1];
            let places: Vec<i64> = rows
                .iter()
                .enumerate()
                .flat_map(|(row, (tokens, _))| (0..tokens.len()).map(move |token| (row, token)))
                .map(|(row, token)| batch.index(row, token) as i64)
                .collect();
            let upstream = model.spread_rows(weights([places.len(), size]), &places, hidden.dims()[0]);
            let rows = model.backward_text(text, upstream, &mut gradients);
            if let (Some(kept), Some(rows)) = (kept, rows) {
                model.backward_images(kept, rows, &mut gradients);
            }
            gradients.into_values()
        };
        for (left, right) in run(Padding::Left).into_iter().zip(run(Padding::Right)) {
            let (Some(left), Some(right)) = (left, right) else { continue };
            let largest: f32 = right.clone().abs().max().into_scalar();
            let difference: f32 = (left - right).abs().max().into_scalar();
            assert!(difference <= 1e-5 * largest, "{difference} of {largest}");
        }
    }
}

/// In bf16, 1 + 2^-9 is 1 again.
#[test]
fn gradients_of_bf16_are_added_up_in_f32() {
    let mut gradients = ParameterGradients::new(&model("tiny"), &|name| name == "model.norm.weight");
    for value in [1.0, 1.0 / 512.0, 1.0 / 512.0] {
        let gradient = Tensor::<1>::full([48], value, &Device::flex()).cast(FloatDType::BF16);
        gradients.add("model.norm.weight", gradient.clone());
        gradients.add("model.layers.0.input_layernorm.weight", gradient);
    }
    let found: Vec<Tensor<1>> = gradients.into_values().into_iter().flatten().collect();
    assert_eq!(found.len(), 1, "one gradient was wanted");
    assert!(found[0].to_data().iter::<f32>().all(|value| value == 1.0 + 1.0 / 256.0));
}

/// What a row of hidden states weighs in the embeddings' gradient arrives there, and repeated tokens add up.
#[test]
fn rows_are_spread_and_added_up() {
    let model = model("tiny");
    let rows = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::flex());
    let spread = model.spread_rows(rows, &[2, 0, 2], 4).into_data();
    assert_eq!(spread.iter::<f32>().collect::<Vec<_>>(), [3.0, 4.0, 0.0, 0.0, 6.0, 8.0, 0.0, 0.0]);
}
