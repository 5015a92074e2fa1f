//! Weights in and out: safetensors files in Hugging Face layout, one or sharded, and random ones from a seed. Knows
//! tensors by the names of [`crate::model::parameters::specs`] only.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use burn::tensor::Device;
use half::{bf16, f16};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use serde_json::{Value, json};

use crate::config::{ModelConfig, SaveType};
use crate::model::Model;
use crate::model::parameters::{Draw, Parameter, SavedTensor, Spec, published_name, specs};
use crate::stop::Stop;
use crate::types::ModelFiles;
use crate::{Error, Result};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
/// How many names of one kind an error lists.
const LISTED: usize = 20;

/// Reads or draws every parameter of a model, in the table's order. `stop` is asked now and then.
///
/// # Errors
/// When a file is missing or damaged; all missing, extra and wrongly shaped tensors come in one error. [`Error::Stopped`]
/// after a stop.
pub fn load(
    files: &ModelFiles,
    config: &ModelConfig,
    device: &Device,
    stop: Stop<'_>,
) -> Result<Vec<(String, Parameter)>> {
    let specs = specs(config);
    if let Some(seed) = files.init {
        let draw = |spec| stop.check().map(|()| draw_parameter(&spec, seed, device));
        return specs.into_iter().map(draw).collect();
    }
    let mut found = Found::new(&specs, config.text.tied);
    for name in weight_files(files)? {
        let bytes = files.require_until(&name, "the weights", stop)?;
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| Error::model_file(&name, format!("expected a safetensors file: {error}")))?;
        for (tensor, view) in tensors.iter() {
            stop.check()?;
            found.add(tensor, &view);
        }
    }
    found.check()?;
    let parameter = |spec: Spec| {
        stop.check()?;
        let values = spec.saved.iter().filter_map(|saved| found.values.remove(&saved.name)).flatten().collect();
        let parameter = Parameter::from_values(values, &spec.dims, device);
        Ok((spec.name, parameter))
    };
    specs.into_iter().map(parameter).collect()
}

/// The files that hold weights: those of the index, or the single one.
fn weight_files(files: &ModelFiles) -> Result<Vec<String>> {
    let Some(index) = files.read_json(INDEX_FILE)? else { return Ok(vec![SINGLE_FILE.to_owned()]) };
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| {
        Error::model_file(INDEX_FILE, "expected an object `weight_map` of tensor names to file names")
    })?;
    let names: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let names =
        names.ok_or_else(|| Error::model_file(INDEX_FILE, "`weight_map` holds something other than file names"))?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The tensors found so far, and what does not fit.
struct Found<'a> {
    wanted: HashMap<&'a str, &'a SavedTensor>,
    values: HashMap<String, Vec<f32>>,
    extra: Vec<String>,
    unusable: Vec<String>,
    tied: bool,
}

impl<'a> Found<'a> {
    fn new(specs: &'a [Spec], tied: bool) -> Self {
        let wanted = specs.iter().flat_map(|spec| &spec.saved).map(|saved| (saved.name.as_str(), saved)).collect();
        Found { wanted, values: HashMap::new(), extra: Vec::new(), unusable: Vec::new(), tied }
    }

    fn add(&mut self, name: &str, view: &TensorView<'_>) {
        let published = published_name(name);
        let Some(wanted) = self.wanted.get(published.as_str()) else {
            // A tied head may be saved all the same, and old files hold the rotary frequencies, which are computed.
            let known = (self.tied && published == "lm_head.weight") || published.ends_with("rotary_emb.inv_freq");
            if !known {
                self.extra.push(name.to_owned());
            }
            return;
        };
        if view.shape() != wanted.shape {
            self.unusable.push(format!("`{name}` has shape {:?}, expected {:?}", view.shape(), wanted.shape));
            // Known as unusable, so not also reported as missing.
            self.values.insert(published, Vec::new());
            return;
        }
        match to_f32(view) {
            Some(values) => {
                self.values.insert(published, values);
            }
            None => {
                self.unusable.push(format!("`{name}` has type {:?}, expected F32, BF16 or F16", view.dtype()));
                self.values.insert(published, Vec::new());
            }
        }
    }

    fn check(&self) -> Result<()> {
        let absent = self.wanted.keys().filter(|name| !self.values.contains_key(**name));
        let mut missing: Vec<String> = absent.map(|name| (*name).to_owned()).collect();
        missing.sort();
        let mut extra = self.extra.clone();
        extra.sort();
        let problems: Vec<String> =
            [("missing", missing), ("not part of the model", extra), ("unusable", self.unusable.clone())]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(kind, names)| listed(kind, &names))
                .collect();
        if problems.is_empty() { Ok(()) } else { Err(Error::weights(problems.join("; "))) }
    }
}

fn listed(kind: &str, names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = names.len().saturating_sub(LISTED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} {kind}: {shown}{more}", names.len())
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => return None,
    })
}

fn draw_parameter(spec: &Spec, seed: u64, device: &Device) -> (String, Parameter) {
    let values = spec.saved.iter().flat_map(|saved| draw_values(saved, spec.draw, seed)).collect();
    (spec.name.clone(), Parameter::from_values(values, &spec.dims, device))
}

/// The values of one saved tensor. They depend on the seed and its name only, so a model with a layer more shares the
/// others.
fn draw_values(saved: &SavedTensor, draw: Draw, seed: u64) -> Vec<f32> {
    let count = saved.elements();
    match draw {
        Draw::One => vec![1.0; count],
        Draw::Zero => vec![0.0; count],
        Draw::Normal(deviation) => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes()).update(saved.name.as_bytes());
            let mut random = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
            // Box and Muller's method: two uniform numbers give two normal ones.
            let pair = move || {
                let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt() * deviation;
                let angle = std::f64::consts::TAU * random.random::<f64>();
                [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
            };
            std::iter::repeat_with(pair).flatten().take(count).collect()
        }
    }
}

/// How a model is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// Weights beyond this many bytes go into a further file.
    pub max_shard_bytes: usize,
    /// Another type than the one that `config.json` names. The file then contradicts it, so this is for weights that
    /// are kept beside a model, not for a model folder.
    pub save_type: Option<SaveType>,
}

impl Default for SaveOptions {
    fn default() -> Self {
        SaveOptions { max_shard_bytes: 5_000_000_000, save_type: None }
    }
}

/// A model as the files of a Hugging Face folder: the weights under their published names, and every file of `source`
/// that holds no weights. The bytes depend on the weights, the options and those files only.
///
/// # Errors
/// When a file of the source cannot be read.
pub fn save(model: &Model, source: &ModelFiles, options: &SaveOptions) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut folder = BTreeMap::new();
    for name in source.files.keys().filter(|name| !is_weight_file(name)) {
        folder.insert(name.clone(), source.require(name, "the saved model")?);
    }
    let save_type = options.save_type.unwrap_or(model.config().save_type);
    let shards = shards(encoded_tensors(model, save_type), options.max_shard_bytes);
    let count = shards.len();
    let mut index = serde_json::Map::new();
    let mut total = 0;
    for (number, shard) in shards.into_iter().enumerate() {
        let name = match count {
            1 => SINGLE_FILE.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        for (tensor, encoded) in &shard {
            total += encoded.data.len();
            index.insert(tensor.clone(), Value::String(name.clone()));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = safetensors::serialize(shard, Some(metadata))
            .map_err(|error| Error::weights(format!("cannot be written as safetensors: {error}")))?;
        folder.insert(name, bytes);
    }
    if count > 1 {
        index.sort_keys();
        let index = json!({"metadata": {"total_size": total}, "weight_map": index});
        folder.insert(INDEX_FILE.to_owned(), format!("{index:#}\n").into_bytes());
    }
    Ok(folder)
}

/// Writes a model as a Hugging Face folder, which is made when it does not exist.
///
/// # Errors
/// When a file of the source cannot be read or one of the folder cannot be written.
pub fn save_to_folder(model: &Model, source: &ModelFiles, options: &SaveOptions, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    for (name, bytes) in save(model, source, options)? {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| Error::write(path, error))?;
    }
    Ok(())
}

fn is_weight_file(name: &str) -> bool {
    [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// A tensor in its saved form.
struct Encoded {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Encoded {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

fn encoded_tensors(model: &Model, save_type: SaveType) -> impl Iterator<Item = (String, Encoded)> {
    let specs = specs(model.config());
    model.parameters().into_iter().zip(specs).flat_map(move |((_, parameter), spec)| {
        let values = parameter.values();
        let mut start = 0;
        let mut tensors = Vec::with_capacity(spec.saved.len());
        for saved in spec.saved {
            let end = start + saved.elements();
            tensors.push((saved.name, encode(&values[start..end], saved.shape, save_type)));
            start = end;
        }
        tensors
    })
}

fn encode(values: &[f32], shape: Vec<usize>, save_type: SaveType) -> Encoded {
    let (dtype, data) = match save_type {
        SaveType::F32 => (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        SaveType::Bf16 => (Dtype::BF16, values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()),
        SaveType::F16 => (Dtype::F16, values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()),
    };
    Encoded { dtype, shape, data }
}

/// Fills files with tensors in order, each up to the limit; a tensor above it has a file of its own.
fn shards(tensors: impl Iterator<Item = (String, Encoded)>, limit: usize) -> Vec<Vec<(String, Encoded)>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for (name, encoded) in tensors {
        let bytes = encoded.data.len();
        if size > 0 && size + bytes > limit {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, encoded));
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn source(name: &str) -> ModelFiles {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model");
        ModelFiles::from_folder(&folder.join(name)).unwrap()
    }

    fn tensors(folder: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
        let files = folder.iter().filter(|(name, _)| name.ends_with(".safetensors"));
        let read = |bytes: &Vec<u8>| {
            let file = SafeTensors::deserialize(bytes).unwrap();
            file.iter()
                .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())))
                .collect::<Vec<_>>()
        };
        files.flat_map(|(_, bytes)| read(bytes)).collect()
    }

    #[test]
    fn saving_gives_back_what_was_loaded() {
        for (name, limit) in [("tiny", usize::MAX), ("tiny_tied_bf16", 300_000)] {
            let source = source(name);
            let model = Model::load(&source, &Device::flex()).unwrap();
            let options = SaveOptions { max_shard_bytes: limit, ..SaveOptions::default() };
            let saved = save(&model, &source, &options).unwrap();
            let original: BTreeMap<String, Vec<u8>> =
                source.files.keys().map(|file| (file.clone(), source.require(file, "the test").unwrap())).collect();
            assert_eq!(tensors(&saved), tensors(&original));
            assert_eq!(saved["config.json"], original["config.json"]);
            assert_eq!(saved.contains_key(INDEX_FILE), limit < usize::MAX);
            assert_eq!(saved, save(&model, &source, &options).unwrap());
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
    fn tensors_that_do_not_fit_are_all_named() {
        let config = ModelConfig::load(&source("tiny")).unwrap();
        let specs = specs(&config);
        let mut found = Found::new(&specs, false);
        let data = vec![0; 4 * 64];
        let mut add = |name: &str, dtype, shape: &[usize], bytes| {
            found.add(name, &TensorView::new(dtype, shape.to_vec(), &data[..bytes]).unwrap());
        };
        add("model.language_model.norm.weight", Dtype::F32, &[64], 256);
        add("model.layers.0.input_layernorm.weight", Dtype::F32, &[32], 128);
        add("model.layers.1.input_layernorm.weight", Dtype::U8, &[64], 64);
        add("model.layers.7.input_layernorm.weight", Dtype::F32, &[64], 256);
        let message = found.check().unwrap_err().to_string();
        for part in [
            "78 missing: lm_head.weight, model.embed_tokens.weight",
            "and 58 more",
            "1 not part of the model: model.layers.7.input_layernorm.weight",
            "2 unusable: `model.layers.0.input_layernorm.weight` has shape [32], expected [64]",
            "`model.layers.1.input_layernorm.weight` has type U8, expected F32, BF16 or F16",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
