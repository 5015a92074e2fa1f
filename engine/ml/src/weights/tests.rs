//! What is saved is loaded again, to the bit, in every layout, type and storage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::Error;
use crate::chat::Processor;
use crate::config::{ModelConfig, SaveType};
use crate::model::parameters::specs;
use crate::model::{Model, Padding, Parameter, Sequence};
use crate::stop::Stop;
use crate::types::{ImagePatches, Message, ModelFiles, Part};

pub(super) fn source(name: &str) -> ModelFiles {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model");
    ModelFiles::from_folder(&folder.join(name)).unwrap()
}

pub(super) type Tensors = BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)>;

/// The tensors of all safetensors files of a model.
pub(super) fn tensors(files: &ModelFiles) -> Tensors {
    let mut all = Tensors::new();
    for (_, path) in files.files.iter().filter(|(name, _)| name.ends_with(SAFETENSORS)) {
        let bytes = std::fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            all.insert(name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        }
    }
    all
}

pub(super) fn write_tensors(tensors: &Tensors, path: &Path) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = ModelFiles::from_folder(folder).unwrap().files;
    files.into_iter().map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

fn load(files: &ModelFiles, storage: Storage) -> Model {
    Model::load_until(files, &Device::flex(), storage, Stop::NEVER).unwrap()
}

/// The bits of the logits for a text and, where the model sees, an image.
fn logits(model: &Model) -> Vec<u32> {
    let mut tokens: Vec<u32> = vec![3, 1, 4, 1, 5];
    let mut images = Vec::new();
    if let (Some(vision), Some(token)) = (&model.config().vision, model.config().image_token) {
        let grid = [1, 4, 6];
        let values = grid.iter().product::<usize>() * vision.patch_width();
        images.push(ImagePatches { pixels: (0..values).map(|place| (place as f32 * 0.37).sin()).collect(), grid });
        tokens.splice(2..2, vec![token; 24 / vision.merge_unit()]);
    }
    let features = model.encode_images(&images.iter().collect::<Vec<_>>()).unwrap();
    let numbers: Vec<usize> = (0..images.len()).collect();
    let batch = model.batch(&[Sequence { tokens: &tokens, images: &numbers }], &features, Padding::Right).unwrap();
    let hidden = model.forward(&batch, &features).unwrap();
    let [rows, width, channels] = hidden.dims();
    let logits = model.logits(hidden.reshape([rows * width, channels])).into_data();
    logits.iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn saving_gives_back_what_was_loaded() {
    for (name, limit) in [("tiny", usize::MAX), ("tiny_tied_bf16", 300_000)] {
        let source = source(name);
        let place = tempfile::tempdir().unwrap();
        let options = SaveOptions { max_shard_bytes: limit, ..SaveOptions::default() };
        let mut folders = Vec::new();
        for storage in [Storage::F32, Storage::AsSaved] {
            let folder = place.path().join(format!("{storage:?}/model"));
            save_to_folder(&load(&source, storage), &source, &options, &folder).unwrap();
            let saved = ModelFiles::from_folder(&folder).unwrap();
            assert_eq!(tensors(&saved), tensors(&source));
            for (file, path) in source.files.iter().filter(|(file, _)| !is_weight_file(file)) {
                assert_eq!(std::fs::read(path).unwrap(), std::fs::read(&saved.files[file]).unwrap(), "{file}");
            }
            assert_eq!(saved.files.contains_key(INDEX_FILE), limit < usize::MAX);
            assert_eq!(std::fs::read_dir(place.path().join(format!("{storage:?}"))).unwrap().count(), 1);
            folders.push(contents(&folder));
        }
        assert!(folders[0] == folders[1], "the bytes depend on the storage");
        for (file, bytes) in folders[0].iter().filter(|(file, _)| file.ends_with(SAFETENSORS)) {
            let read = SafeTensors::deserialize(bytes).unwrap();
            let format = [("format".to_owned(), "pt".to_owned())].into();
            assert!(safetensors::serialize(read.iter(), Some(format)).unwrap() == *bytes, "{file} has another form");
        }
    }
}

#[test]
fn every_layout_of_the_files_is_the_same_model() {
    for name in ["tiny", "tiny_tied_bf16"] {
        let published = source(name);
        let expected = logits(&load(&published, Storage::F32));
        let original = tensors(&published);
        let renamed = |from: &str| match from.split_once('.') {
            Some(("visual", _)) => format!("model.{from}"),
            Some(("model", rest)) => format!("model.language_model.{rest}"),
            _ => from.to_owned(),
        };
        let back = |from: &str| {
            let text = from.strip_prefix("model.language_model.").map(|rest| format!("model.{rest}"));
            text.or_else(|| from.strip_prefix("model.visual.").map(|rest| format!("visual.{rest}")))
                .unwrap_or_else(|| from.to_owned())
        };
        type Rename<'a> = Box<dyn Fn(&str) -> String + 'a>;
        let names: Vec<(&str, Rename<'_>)> = vec![
            ("as published", Box::new(back)),
            ("as transformers 5 has them", Box::new(move |from| renamed(&back(from)))),
        ];
        for (layout, rename) in names {
            let mut changed: Tensors = original.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect();
            if name == "tiny_tied_bf16" {
                // A tied head that is saved all the same.
                let embedding =
                    changed.iter().find(|(name, _)| name.ends_with("embed_tokens.weight")).unwrap().1.clone();
                changed.insert("lm_head.weight".to_owned(), embedding);
            }
            let buffer = (safetensors::Dtype::F32, vec![2], vec![0; 8]);
            changed.insert(rename("model.layers.0.self_attn.rotary_emb.inv_freq"), buffer);
            let place = tempfile::tempdir().unwrap();
            write_tensors(&changed, &place.path().join(SINGLE_FILE));
            std::fs::copy(&published.files["config.json"], place.path().join("config.json")).unwrap();
            let files = ModelFiles::from_folder(place.path()).unwrap();
            for storage in [Storage::F32, Storage::AsSaved, Storage::Automatic] {
                let model = load(&files, storage);
                assert!(logits(&model) == expected, "{name} named {layout} as {storage:?}");
            }
        }
    }
}

#[test]
fn sixteen_bits_stay_so_only_where_they_are_asked_for() {
    let model = |storage| load(&source("tiny_tied_bf16"), storage).parameters();
    let kept = |storage| model(storage).iter().filter(|(_, value)| matches!(value, Parameter::Half(_))).count();
    assert_eq!((kept(Storage::F32), kept(Storage::Automatic)), (0, 0));
    let matrices = model(Storage::F32).iter().filter(|(_, value)| value.is_matrix()).count();
    assert_eq!(kept(Storage::AsSaved), matrices);
    for ((name, whole), (_, half)) in model(Storage::F32).iter().zip(model(Storage::AsSaved)) {
        assert_eq!((whole.dims(), whole.values()), (half.dims(), half.values()), "{name}");
    }
    // What a file holds in f32 stays in f32.
    let all_whole = load(&source("tiny"), Storage::AsSaved).parameters();
    assert!(all_whole.iter().all(|(_, value)| !matches!(value, Parameter::Half(_))));
}

/// As transformers: two different tensors are two, whatever the configuration says; a head alone is the embedding too.
#[test]
fn a_tied_model_whose_files_disagree_is_what_the_files_say() {
    let published = source("tiny_tied_bf16");
    let original = tensors(&published);
    let embedding = original.keys().find(|name| name.ends_with("embed_tokens.weight")).unwrap().clone();
    let place = tempfile::tempdir().unwrap();
    std::fs::copy(&published.files["config.json"], place.path().join("config.json")).unwrap();
    let load_changed = |changed: &Tensors| {
        write_tensors(changed, &place.path().join(SINGLE_FILE));
        load(&ModelFiles::from_folder(place.path()).unwrap(), Storage::F32)
    };
    let mut other = original.clone();
    let mut head = original[&embedding].clone();
    head.2[1] ^= 0x80;
    other.insert("lm_head.weight".to_owned(), head);
    let model = load_changed(&other);
    assert!(!model.config().text.tied && logits(&model) != logits(&load(&published, Storage::F32)));
    assert_eq!(model.parameters().last().unwrap().0, "lm_head.weight");
    let mut only_head = original.clone();
    let moved = only_head.remove(&embedding).unwrap();
    only_head.insert("lm_head.weight".to_owned(), moved);
    let model = load_changed(&only_head);
    assert!(model.config().text.tied && logits(&model) == logits(&load(&published, Storage::F32)));
}

#[test]
fn a_drawn_folder_is_the_model_that_the_seed_draws() {
    for (name, save_type) in [("tiny", None), ("tiny_tied_bf16", None), ("tiny", Some(SaveType::Bf16))] {
        let source = source(name);
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("drawn");
        let options = InitOptions { seed: 5, save_type, max_shard_bytes: 200_000 };
        let (parameters, bytes) = init_folder(&source, &options, &folder, Stop::NEVER).unwrap();
        let files = ModelFiles::from_folder(&folder).unwrap();
        assert!(files.files.keys().filter(|name| name.ends_with(SAFETENSORS)).count() > 2);
        let config: Value = files.read_json("config.json").unwrap().unwrap();
        let index: Value = files.read_json(INDEX_FILE).unwrap().unwrap();
        assert_eq!(index["metadata"]["total_size"], bytes);
        let drawn = load(&source.clone().with_init(5), Storage::F32);
        assert_eq!(parameters, drawn.parameters().iter().map(|(_, value)| value.elements()).sum::<usize>());
        let saved_as = save_type.unwrap_or(drawn.config().save_type);
        assert_eq!((load(&files, Storage::F32).config().save_type, bytes), (saved_as, parameters * saved_as.bytes()));
        assert!(config.to_string().contains(saved_as.name()));
        // The same as a model that is drawn in memory and then saved.
        let through = place.path().join("through");
        let options = SaveOptions { max_shard_bytes: 200_000, save_type: Some(saved_as) };
        save_to_folder(&drawn, &source, &options, &through).unwrap();
        let (mut left, mut right) = (contents(&folder), contents(&through));
        for only_config in [&mut left, &mut right] {
            only_config.remove("config.json");
            only_config.retain(|name, _| name.contains("model") || name.contains("token"));
        }
        assert!(left == right, "{name} in {save_type:?}");
    }
}

#[test]
fn a_seed_draws_the_same_model() {
    let draw = |seed| Model::load(&source("tiny").with_init(seed), &Device::flex()).unwrap().parameters();
    let values = |seed| draw(seed).into_iter().map(|(_, parameter)| parameter.values()).collect::<Vec<_>>();
    assert_eq!(values(3), values(3));
    assert_ne!(values(3), values(4));
    for (name, parameter) in draw(3) {
        let values = parameter.values();
        let square: f32 = values.iter().map(|value| value * value).sum();
        let deviation = (square / values.len() as f32).sqrt();
        let expected = if parameter.is_matrix() {
            0.02
        } else if name.ends_with("bias") {
            0.0
        } else {
            1.0
        };
        assert!((deviation - expected).abs() <= 0.002, "{name} has deviation {deviation}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_in_full_is_not_there() {
    let source = source("tiny");
    let place = tempfile::tempdir().unwrap();
    let taken = place.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("notes.txt"), "mine").unwrap();
    let options = InitOptions { seed: 1, save_type: None, max_shard_bytes: usize::MAX };
    let refused = init_folder(&source, &options, &taken, Stop::NEVER).unwrap_err().to_string();
    assert!(refused.contains("the folder is not empty"), "{refused}");
    assert_eq!(contents(&taken).len(), 1);
    // Stopped half way: nothing is left, neither the folder nor what was written beside it.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let requested = || asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 30;
    let stopped = init_folder(&source, &options, &place.path().join("new"), Stop::when(&requested));
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    // A value that the type cannot hold.
    let mut model = load(&source, Storage::F32);
    model.map_parameters(&mut |name, value| {
        if name == "model.norm.weight" { value.from_flat(value.flat() * 1e6) } else { value }
    });
    let options = SaveOptions { save_type: Some(SaveType::F16), ..SaveOptions::default() };
    let message = save_to_folder(&model, &source, &options, &place.path().join("new")).unwrap_err().to_string();
    assert!(message.contains("`model.norm.weight` holds") && message.contains("bfloat16"), "{message}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

/// The folder of the published 3B's shape: as many parameters, and a tokenizer whose special tokens have the published numbers.
#[test]
fn the_real_shape_has_the_published_numbers() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/configs/qwen2.5-vl-3b");
    let files = ModelFiles::from_folder(&folder).unwrap();
    let config = ModelConfig::load(&files).unwrap();
    let specs = specs(&config);
    let parameters: usize = specs.iter().map(|spec| spec.dims.iter().product::<usize>()).sum();
    assert_eq!((parameters, config.eos_tokens.as_slice()), (3_754_622_976, &[151_645, 151_643][..]));
    assert!(
        Storage::Automatic.keeps_half(&specs, &Device::flex()) && !Storage::F32.keeps_half(&specs, &Device::flex())
    );
    let processor = Processor::load(&files).unwrap();
    let pixels = image::RgbImage::from_fn(60, 40, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let content = vec![Part::Image(png.into_inner().into()), Part::Text("What is it?".to_owned())];
    let prompt = processor.encode(&[Message::new("user", content)], true).unwrap();
    let special: Vec<u32> = prompt.tokens.iter().copied().filter(|token| *token > 1000).collect();
    let images = special.iter().filter(|token| **token == 151_655).count();
    assert_eq!(images, prompt.images[0].patches() / 4);
    let others: Vec<u32> = special.into_iter().filter(|token| *token != 151_655).collect();
    assert_eq!(others, [151_644, 151_652, 151_653, 151_645, 151_644]);
}
