//! Weights in: which files hold which tensors, whether they are what the model needs, and their values.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};
use std::sync::Arc;

use burn::tensor::Device;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::Value;

use super::draw::draw_values;
use super::mapped::WeightFile;
use super::{INDEX_FILE, SINGLE_FILE, Storage};
use crate::config::{CONFIG_FILE, ModelConfig};
use crate::model::half::{HalfFormat, HalfMatrix, HalfRows};
use crate::model::parameters::{Parameter, SavedTensor, Spec, published_name, specs};
use crate::stop::Stop;
use crate::types::ModelFiles;
use crate::{Error, Result};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// How many names of one kind an error lists.
const LISTED: usize = 20;
/// The most parameters that are drawn: a TiB in f32.
const DRAWN_VALUES_MAX: usize = 1 << 38;
/// The bytes after which a request to stop is looked for.
const PIECE: usize = 64 << 20;

/// Reads or draws every parameter of a model, in the table's order. `stop` is asked now and then.
///
/// The configuration comes back as the weights have it: where it ties the head to the embedding, but both are saved with
/// different values, they are not tied, as in transformers.
///
/// # Errors
/// When a file is missing or damaged; all missing, extra and unusable tensors come in one error. [`Error::Stopped`]
/// after a stop.
pub fn load(
    files: &ModelFiles,
    mut config: ModelConfig,
    device: &Device,
    storage: Storage,
    stop: Stop<'_>,
) -> Result<(ModelConfig, Vec<(String, Parameter)>)> {
    if let Some(seed) = files.init {
        check_drawable(&config)?;
        let draw = |spec: Spec| stop.check().map(|()| draw_parameter(&spec, seed, device));
        let parameters = specs(&config).into_iter().map(draw).collect::<Result<_>>()?;
        return Ok((config, parameters));
    }
    let opened = open(files, stop)?;
    let mut found = Found::of(&opened)?;
    if config.text.tied {
        config.text.tied = found.tie()?;
    }
    let specs = specs(&config);
    found.check(&specs, &config)?;
    let keep = storage.keeps_half(&specs, device);
    let parameter = |spec: Spec| {
        let pieces: Vec<(SavedTensor, Place<'_>)> =
            spec.saved.into_iter().filter_map(|saved| Some((saved.clone(), *found.places.get(&saved.name)?))).collect();
        let kept = match spec.dims.as_slice() {
            [_, columns] if keep => half_matrix(&pieces, *columns, device)?,
            _ => None,
        };
        let parameter = match kept {
            Some(matrix) => Parameter::Half(matrix),
            None => Parameter::from_values(values(&pieces, stop)?, &spec.dims, device),
        };
        stop.check().map(|()| (spec.name, parameter))
    };
    let parameters = specs.into_iter().map(parameter).collect::<Result<_>>()?;
    Ok((config, parameters))
}

/// Checks what can be known of saved weights without reading them: every file is there, has a header that describes tensors
/// which fill it, and all together they are those of the model of `config`.
///
/// # Errors
/// As [`load`].
pub fn check_files(files: &ModelFiles, config: &ModelConfig) -> Result<()> {
    let opened = open(files, Stop::NEVER)?;
    let mut found = Found::of(&opened)?;
    let mut config = config.clone();
    if config.text.tied
        && let Some(head) = found.places.get(HEAD).copied()
    {
        if found.places.contains_key(EMBEDDING) {
            // Only their values tell whether they are tied: both must fit.
            config.text.tied = false;
        } else {
            found.places.remove(HEAD);
            found.places.insert(EMBEDDING.to_owned(), head);
        }
    }
    found.check(&specs(&config), &config)
}

/// Opens every file that holds weights.
fn open(files: &ModelFiles, stop: Stop<'_>) -> Result<Vec<WeightFile>> {
    let mut opened = Vec::new();
    for name in weight_files(files)? {
        stop.check()?;
        let path = files.files.get(&name).ok_or_else(|| no_weights(files))?;
        opened.push(WeightFile::open(&name, path)?);
    }
    Ok(opened)
}

/// The files that hold weights: the single one, or those of the index.
fn weight_files(files: &ModelFiles) -> Result<Vec<String>> {
    if files.files.contains_key(SINGLE_FILE) {
        return Ok(vec![SINGLE_FILE.to_owned()]);
    }
    let Some(index) = files.read_json(INDEX_FILE)? else { return Err(no_weights(files)) };
    let wrong = |message: String| Error::model_file(INDEX_FILE, message);
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| wrong("expected an object `weight_map` of tensor names to file names".to_owned()))?;
    let mut names = BTreeMap::new();
    for (tensor, file) in map {
        let name = file
            .as_str()
            .ok_or_else(|| wrong(format!("`weight_map` gives `{tensor}` the file {file}, expected a file's name")))?;
        names.entry(name.to_owned()).or_insert(tensor);
    }
    for (name, tensor) in &names {
        if files.files.contains_key(name) {
            continue;
        }
        let mut parts = Path::new(name).components();
        let inside = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        return Err(wrong(if inside {
            format!("`weight_map` gives `{tensor}` the file `{name}`, which the model does not have: copy it there")
        } else {
            format!(
                "`weight_map` gives `{tensor}` the file `{name}`, expected the name of a file in the model's folder"
            )
        }));
    }
    if names.is_empty() {
        return Err(wrong("`weight_map` names no tensor".to_owned()));
    }
    Ok(names.into_keys().collect())
}

fn no_weights(files: &ModelFiles) -> Error {
    let other = files.files.keys().find(|name| super::is_weight_file(name));
    let found = other.map_or(String::new(), |name| format!(", only `{name}`"));
    Error::weights(format!(
        "expected the file `{SINGLE_FILE}`, or `{INDEX_FILE}` and the files that it names; the model has neither{found}"
    ))
}

/// Where a tensor is saved.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a WeightFile,
    /// Its name there.
    name: &'a str,
    info: &'a TensorInfo,
}

/// Every saved tensor by its published name.
struct Found<'a> {
    places: HashMap<String, Place<'a>>,
    /// The names of the files.
    files: Vec<&'a str>,
}

impl<'a> Found<'a> {
    /// # Errors
    /// A tensor that is saved twice.
    fn of(files: &'a [WeightFile]) -> Result<Self> {
        let mut places: HashMap<String, Place<'a>> = HashMap::new();
        for file in files {
            for (name, info) in &file.tensors {
                let published = published_name(name);
                if let Some(other) = places.insert(published.clone(), Place { file, name, info }) {
                    let message = format!(
                        "`{published}` is saved twice: as `{}` in `{}` and as `{name}` in `{}`",
                        other.name, other.file.name, file.name
                    );
                    return Err(Error::weights(message));
                }
            }
        }
        Ok(Found { places, files: files.iter().map(|file| file.name.as_str()).collect() })
    }

    /// Whether the head of a model whose configuration says so is the embedding in fact. Where only the head is saved, it is the
    /// embedding as well.
    fn tie(&mut self) -> Result<bool> {
        let (embedding, head) = (self.places.get(EMBEDDING).copied(), self.places.get(HEAD).copied());
        let Some(head) = head else { return Ok(true) };
        let Some(embedding) = embedding else {
            self.places.remove(HEAD);
            self.places.insert(EMBEDDING.to_owned(), head);
            return Ok(true);
        };
        let alike = embedding.info.dtype == head.info.dtype
            && embedding.info.shape == head.info.shape
            && embedding.file.window(embedding.info)?.as_ref() == head.file.window(head.info)?.as_ref();
        if alike {
            self.places.remove(HEAD);
        }
        Ok(alike)
    }

    /// # Errors
    /// Every tensor that is missing, left over or of another shape or type than the model's, in one.
    fn check(&self, specs: &[Spec], config: &ModelConfig) -> Result<()> {
        let wanted: HashMap<&str, &SavedTensor> =
            specs.iter().flat_map(|spec| &spec.saved).map(|saved| (saved.name.as_str(), saved)).collect();
        let mut missing: Vec<String> =
            wanted.keys().filter(|name| !self.places.contains_key(**name)).map(quoted).collect();
        let (mut extra, mut unusable) = (Vec::new(), Vec::new());
        for (published, Place { file, name, info }) in &self.places {
            let Some(wanted) = wanted.get(published.as_str()) else {
                // Old files hold the rotary frequencies, which are computed.
                if !published.ends_with("rotary_emb.inv_freq") {
                    extra.push(format!("`{name}` in `{}`", file.name));
                }
                continue;
            };
            let (shape, dtype) = (&info.shape, info.dtype);
            if *shape != wanted.shape {
                unusable.push(format!("`{name}` in `{}` has shape {shape:?}, expected {:?}", file.name, wanted.shape));
            } else if dtype != Dtype::F32 && half_format(dtype).is_none() {
                unusable.push(format!("`{name}` in `{}` has type {dtype:?}, expected F32, BF16 or F16", file.name));
            }
        }
        let from = match self.files.as_slice() {
            [file] => format!("missing from `{file}`"),
            files => format!("missing from all {} files", files.len()),
        };
        let no_vision = config.vision.is_none() && extra.iter().any(|name| name.contains("`visual."));
        let mut problems = Vec::new();
        for (kind, names) in
            [(from.as_str(), &mut missing), ("not part of the model", &mut extra), ("unusable", &mut unusable)]
        {
            if !names.is_empty() {
                names.sort();
                problems.push(listed(kind, names));
            }
        }
        if no_vision {
            problems.push("`config.json` describes a model without a vision tower".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::weights(problems.join("; "))) }
    }
}

fn quoted(name: &&str) -> String {
    format!("`{name}`")
}

fn listed(kind: &str, names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = names.len().saturating_sub(LISTED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} {kind}: {shown}{more}", names.len())
}

fn half_format(dtype: Dtype) -> Option<HalfFormat> {
    match dtype {
        Dtype::BF16 => Some(HalfFormat::Bf16),
        Dtype::F16 => Some(HalfFormat::F16),
        _ => None,
    }
}

/// The rows of the saved tensors one below the other, left in their files; none when some are saved in f32.
fn half_matrix(pieces: &[(SavedTensor, Place<'_>)], columns: usize, device: &Device) -> Result<Option<HalfMatrix>> {
    let mut runs = Vec::with_capacity(pieces.len());
    for (saved, place) in pieces {
        let Some(format) = half_format(place.info.dtype) else { return Ok(None) };
        let bytes = Arc::new(place.file.window(place.info)?);
        runs.push(HalfRows { bytes, format, rows: saved.elements() / columns });
    }
    Ok(Some(HalfMatrix::new(runs, columns, device)))
}

/// The values of the saved tensors one after the other. A file's pages are let go after each tensor.
fn values(pieces: &[(SavedTensor, Place<'_>)], stop: Stop<'_>) -> Result<Vec<f32>> {
    let mut values = vec![0.0; pieces.iter().map(|(saved, _)| saved.elements()).sum()];
    let mut rest = values.as_mut_slice();
    for (saved, place) in pieces {
        let (own, others) = rest.split_at_mut(saved.elements());
        rest = others;
        let window = place.file.window(place.info)?;
        let width = place.info.dtype.bitsize() / 8;
        for (bytes, output) in window.as_ref().chunks(PIECE).zip(own.chunks_mut(PIECE / width)) {
            stop.check()?;
            match half_format(place.info.dtype) {
                Some(format) => format.widen(bytes, output),
                None => {
                    for (value, bytes) in output.iter_mut().zip(bytes.as_chunks().0) {
                        *value = f32::from_le_bytes(*bytes);
                    }
                }
            }
        }
    }
    Ok(values)
}

/// # Errors
/// A model that no machine holds: a damaged configuration rather than a wish.
fn check_drawable(config: &ModelConfig) -> Result<()> {
    let values: usize = specs(config).iter().map(|spec| spec.dims.iter().product::<usize>()).sum();
    if values <= DRAWN_VALUES_MAX {
        return Ok(());
    }
    let message =
        format!("it describes a model of {values} parameters, of which at most {DRAWN_VALUES_MAX} can be drawn");
    Err(Error::model_file(CONFIG_FILE, message))
}

fn draw_parameter(spec: &Spec, seed: u64, device: &Device) -> (String, Parameter) {
    let draw = |saved: &SavedTensor| draw_values(saved, spec.draw, seed, 0..saved.elements());
    let values = spec.saved.iter().flat_map(draw).collect();
    (spec.name.clone(), Parameter::from_values(values, &spec.dims, device))
}
