//! Weights out: shards that are written tensor by tensor, a piece at a time, with their index, beside the files that a
//! model has besides weights. The bytes depend on the weights, the options and those files only.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use super::draw::draw_values;
use super::folder::{copy, in_new_folder};
use super::{INDEX_FILE, SINGLE_FILE, is_weight_file};
use crate::config::{CONFIG_FILE, ModelConfig, SaveType};
use crate::model::Model;
use crate::model::parameters::{Draw, SavedTensor, specs};
use crate::stop::Stop;
use crate::types::ModelFiles;
use crate::{Error, Result};

/// The values that are converted and written together.
const PIECE: usize = 1 << 20;
/// Headers are filled up to a multiple of this, as the format asks.
const HEADER_ALIGNMENT: usize = 8;

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

/// A model that has been written, by the files' names in a model folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedModel {
    /// New files: the weights, and their index when there are several.
    pub written: BTreeMap<String, PathBuf>,
    /// The source's files that hold no weights, where they lie: the model has them unchanged.
    pub kept: BTreeMap<String, PathBuf>,
}

/// Writes a model's weights into the existing `folder` under their published names. The model is whole only with both the
/// written and the kept files.
///
/// # Errors
/// When a file cannot be written, or a value does not fit the type that it is saved in.
pub fn save(model: &Model, source: &ModelFiles, options: &SaveOptions, folder: &Path) -> Result<SavedModel> {
    let parameters = model.parameters();
    let values = |tensor: &Outgoing, range: Range<usize>| {
        parameters[tensor.parameter].1.values_in(tensor.start + range.start..tensor.start + range.end)
    };
    let save_type = options.save_type.unwrap_or(model.config().save_type);
    let written = write(model.config(), &values, save_type, options.max_shard_bytes, folder, Stop::NEVER)?;
    let kept = source.files.iter().filter(|(name, _)| !is_weight_file(name));
    Ok(SavedModel { written, kept: kept.map(|(name, path)| (name.clone(), path.clone())).collect() })
}

/// Writes a model as a new Hugging Face folder: weights, and copies of the source's other files. The folder is there in full or
/// not at all.
///
/// # Errors
/// As [`save`], and when the folder holds something or a file of the source cannot be read.
pub fn save_to_folder(model: &Model, source: &ModelFiles, options: &SaveOptions, folder: &Path) -> Result<()> {
    in_new_folder(folder, |place| {
        let saved = save(model, source, options, place)?;
        saved.kept.iter().try_for_each(|(name, path)| copy(path, &place.join(name)))
    })
}

/// How random weights are drawn and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitOptions {
    /// Decides every value.
    pub seed: u64,
    /// Another type than the one that `config.json` names; the written `config.json` names it.
    pub save_type: Option<SaveType>,
    /// Weights beyond this many bytes go into a further file.
    pub max_shard_bytes: usize,
}

/// Writes a new Hugging Face folder with random weights, a piece of a tensor at a time, and copies of the source's
/// configuration, tokenizer, template and preprocessor. Gives the number of parameters and of bytes of weights.
///
/// The weights are those of a model that is loaded with the same seed, as far as the type that they are saved in holds them.
///
/// # Errors
/// A `config.json` that cannot be used, a folder that holds something, a disk that cannot be written, and [`Error::Stopped`]
/// after a stop; nothing is left then.
pub fn init_folder(
    source: &ModelFiles,
    options: &InitOptions,
    folder: &Path,
    stop: Stop<'_>,
) -> Result<(usize, usize)> {
    let config = ModelConfig::load(source)?;
    let save_type = options.save_type.unwrap_or(config.save_type);
    let values = |tensor: &Outgoing, range: Range<usize>| draw_values(&tensor.saved, tensor.draw, options.seed, range);
    in_new_folder(folder, |place| {
        for (name, path) in source.files.iter().filter(|(name, _)| BESIDE_WEIGHTS.contains(&name.as_str())) {
            copy(path, &place.join(name))?;
        }
        if save_type != config.save_type {
            write_config(source, save_type, &place.join(CONFIG_FILE))?;
        }
        write(&config, &values, save_type, options.max_shard_bytes, place, stop)?;
        let parameters = outgoing(&config).iter().map(|tensor| tensor.saved.elements()).sum();
        Ok((parameters, parameters * save_type.bytes()))
    })
}

/// What a model folder has besides weights, as far as it is written along with them.
pub const BESIDE_WEIGHTS: [&str; 14] = [
    CONFIG_FILE,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "LICENSE",
];

/// Writes the source's `config.json` with another type of the weights.
fn write_config(source: &ModelFiles, save_type: SaveType, path: &Path) -> Result<()> {
    let mut config = source.read_json(CONFIG_FILE)?.unwrap_or_default();
    let name = Value::from(save_type.name());
    for section in ["", "/text_config", "/vision_config"] {
        for field in ["torch_dtype", "dtype"] {
            if let Some(value) = config.pointer_mut(&format!("{section}/{field}")) {
                *value = name.clone();
            }
        }
    }
    if let Some(fields) = config.as_object_mut()
        && !fields.contains_key("torch_dtype")
        && !fields.contains_key("dtype")
    {
        fields.insert("torch_dtype".to_owned(), name);
    }
    fs::write(path, format!("{config:#}\n")).map_err(|error| Error::write(path, error))
}

/// A tensor that is to be written.
struct Outgoing {
    saved: SavedTensor,
    /// The parameter that it is part of, in the table's order.
    parameter: usize,
    /// Where it begins there.
    start: usize,
    draw: Draw,
}

/// Every tensor of a model in the table's order.
fn outgoing(config: &ModelConfig) -> Vec<Outgoing> {
    let mut all = Vec::new();
    for (parameter, spec) in specs(config).into_iter().enumerate() {
        let mut start = 0;
        for saved in spec.saved {
            let end = start + saved.elements();
            all.push(Outgoing { saved, parameter, start, draw: spec.draw });
            start = end;
        }
    }
    all
}

/// Gives the values of places of a tensor, at most [`PIECE`] of them, from a multiple of it on.
type Values<'a> = dyn Fn(&Outgoing, Range<usize>) -> Vec<f32> + 'a;

/// Writes all weights into `folder`, and the index when it takes several files.
fn write(
    config: &ModelConfig,
    values: &Values<'_>,
    save_type: SaveType,
    max_shard_bytes: usize,
    folder: &Path,
    stop: Stop<'_>,
) -> Result<BTreeMap<String, PathBuf>> {
    let shards = shards(outgoing(config), save_type, max_shard_bytes);
    let count = shards.len();
    let mut written = BTreeMap::new();
    let mut index = serde_json::Map::new();
    let mut total = 0;
    for (number, shard) in shards.into_iter().enumerate() {
        let name = match count {
            1 => SINGLE_FILE.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        for tensor in &shard {
            total += tensor.saved.elements() * save_type.bytes();
            index.insert(tensor.saved.name.clone(), Value::String(name.clone()));
        }
        let path = folder.join(&name);
        write_shard(shard, values, save_type, &path, stop)?;
        written.insert(name, path);
    }
    if count > 1 {
        index.sort_keys();
        let index = json!({"metadata": {"total_size": total}, "weight_map": index});
        let path = folder.join(INDEX_FILE);
        write_synced(&path, |file| {
            file.write_all(format!("{index:#}\n").as_bytes()).map_err(|error| Error::write(&path, error))
        })?;
        written.insert(INDEX_FILE.to_owned(), path);
    }
    Ok(written)
}

/// Fills files with tensors in order, each up to the limit; a tensor above it has a file of its own.
fn shards(tensors: Vec<Outgoing>, save_type: SaveType, limit: usize) -> Vec<Vec<Outgoing>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for tensor in tensors {
        let bytes = tensor.saved.elements() * save_type.bytes();
        if size > 0 && size + bytes > limit {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    shards
}

/// Writes a safetensors file with the bytes that `safetensors::serialize` would give, never holding more than a piece of it.
fn write_shard(
    mut tensors: Vec<Outgoing>,
    values: &Values<'_>,
    save_type: SaveType,
    path: &Path,
    stop: Stop<'_>,
) -> Result<()> {
    tensors.sort_by(|left, right| left.saved.name.cmp(&right.saved.name));
    let mut end = 0;
    let info = |tensor: &Outgoing| {
        let start = end;
        end += tensor.saved.elements() * save_type.bytes();
        let shape = tensor.saved.shape.clone();
        (tensor.saved.name.clone(), TensorInfo { dtype: save_type.dtype(), shape, data_offsets: (start, end) })
    };
    let infos = tensors.iter().map(info).collect();
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let unwritable =
        |error: &dyn std::fmt::Display| Error::weights(format!("cannot be written as safetensors: {error}"));
    let metadata = Metadata::new(Some(format), infos).map_err(|error| unwritable(&error))?;
    let mut header = serde_json::to_string(&metadata).map_err(|error| unwritable(&error))?.into_bytes();
    header.resize(header.len().next_multiple_of(HEADER_ALIGNMENT), b' ');
    write_synced(path, |file| {
        let failed = |error| Error::write(path, error);
        file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(failed)?;
        let mut bytes = Vec::new();
        for tensor in &tensors {
            let elements = tensor.saved.elements();
            for start in (0..elements).step_by(PIECE) {
                stop.check()?;
                bytes.clear();
                let values = values(tensor, start..(start + PIECE).min(elements));
                encode(&values, save_type, &mut bytes).map_err(|value| {
                    Error::weights(format!(
                        "`{}` holds {value}, which float16 cannot hold: save it as bfloat16 or float32",
                        tensor.saved.name
                    ))
                })?;
                file.write_all(&bytes).map_err(failed)?;
            }
        }
        Ok(())
    })
}

/// Writes a file and waits until it is on the disk.
fn write_synced(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let failed = |error| Error::write(path, error);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    fill(&mut file)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// # Errors
/// A finite value that would become an infinite one.
fn encode(values: &[f32], save_type: SaveType, bytes: &mut Vec<u8>) -> std::result::Result<(), f32> {
    match save_type {
        SaveType::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        SaveType::Bf16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
        SaveType::F16 => {
            let lost = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
            if let Some(value) = values.iter().find(lost) {
                return Err(*value);
            }
            bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
        }
    }
    Ok(())
}

impl SaveType {
    fn dtype(self) -> Dtype {
        match self {
            SaveType::F32 => Dtype::F32,
            SaveType::Bf16 => Dtype::BF16,
            SaveType::F16 => Dtype::F16,
        }
    }
}
