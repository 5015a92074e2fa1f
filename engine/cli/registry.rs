//! Everything a graph can name, assembled from the crates that supply it, and what the program asks of the model crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ruminate_flow::stage::Registry;
use ruminate_ml::config::{CONFIG_FILE, SaveType};
use ruminate_ml::footprint::Footprint;
use ruminate_ml::stop::Stop;
use ruminate_ml::types::ModelFiles;
use ruminate_ml::weights::{self, InitOptions};
use ruminate_ml::{device, logits, stages};
use serde_json::Value as Json;

use crate::arguments::InitArguments;
use crate::failure::Failure;

/// All kinds of nodes.
pub(crate) fn registry() -> Registry {
    let kinds = ruminate_flow::stages::kinds().into_iter();
    Registry::new(
        stages::inspector(),
        kinds.chain(ruminate_wasm::kinds()).chain(stages::kinds(ruminate_wasm::scorers())),
    )
}

/// Checks that this build can compute on `device`.
///
/// # Errors
/// The name is none, or the device is not supported.
pub(crate) fn check_device(device: &str) -> Result<(), Failure> {
    device::parse(device).map(drop).map_err(input)
}

/// The files of a model folder (name -> path), and the model's numbers.
///
/// # Errors
/// The folder cannot be read or holds no model.
pub(crate) fn footprint(folder: &Path) -> Result<(BTreeMap<String, PathBuf>, Footprint), Failure> {
    let files = ModelFiles::from_folder(folder).map_err(input)?;
    let footprint = Footprint::of(&files);
    let footprint = footprint.map_err(|error| of_model(folder, error))?;
    Ok((files.files, footprint))
}

/// The logits of the model in `folder` for a chat whose images lie relative to `beside`, as a safetensors file.
///
/// # Errors
/// A device, model or chat that cannot be used.
pub(crate) fn logits(folder: &Path, chat: &Json, beside: &Path, device: &str) -> Result<Vec<u8>, Failure> {
    let device = device::parse(device).map_err(input)?;
    let files = ModelFiles::from_folder(folder).map_err(input)?;
    logits::logits_of_chat(&files, chat, beside, &device).map_err(|error| of_model(folder, error))
}

/// Checks what can be known of a folder's weights without reading them.
///
/// # Errors
/// A file of them is missing or damaged, or does not fit the configuration.
pub(crate) fn check_weights(folder: &Path, footprint: &Footprint) -> Result<(), Failure> {
    let files = ModelFiles::from_folder(folder).map_err(input)?;
    weights::check_files(&files, &footprint.config).map_err(|error| of_model(folder, error))
}

/// An error about a file of a model, with the model's folder.
pub(crate) fn of_model(folder: &Path, error: ruminate_ml::Error) -> Failure {
    use ruminate_ml::Error as E;
    match error {
        E::ModelFile { .. } | E::MissingFile { .. } | E::Weights { .. } | E::Tokenizer { .. } => {
            Failure::Input(format!("the model `{}`: {error}", folder.display()))
        }
        other => input(other),
    }
}

/// Writes a model folder with random weights; `stopped` is asked now and then. Gives the number of parameters and of bytes.
///
/// # Errors
/// A configuration that cannot be used, a folder that holds something, a disk that cannot be written, a stop.
pub(crate) fn init_model(
    arguments: &InitArguments,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<(u64, u64), Failure> {
    let config = &arguments.config;
    let source = if config.is_dir() {
        ModelFiles::from_folder(config).map_err(input)?
    } else if config.file_name().is_some_and(|name| name == CONFIG_FILE) {
        let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        ModelFiles::from_folder(folder).map_err(input)?
    } else {
        // A configuration of another name: what lies around it need not belong to it.
        ModelFiles { files: BTreeMap::from([(CONFIG_FILE.to_owned(), config.clone())]), init: None }
    };
    let save_type = match arguments.dtype.as_deref() {
        Some("f32") => Some(SaveType::F32),
        Some("bf16") => Some(SaveType::Bf16),
        Some("f16") => Some(SaveType::F16),
        _ => None,
    };
    let max_shard_bytes = usize::try_from(arguments.max_shard_size).unwrap_or(usize::MAX);
    let options = InitOptions { seed: arguments.seed, save_type, max_shard_bytes };
    match weights::init_folder(&source, &options, &arguments.output, Stop::when(stopped)) {
        Ok((parameters, bytes)) => Ok((parameters as u64, bytes as u64)),
        Err(ruminate_ml::Error::Stopped) => Err(Failure::Interrupted("stopped; nothing was written".to_owned())),
        Err(error @ ruminate_ml::Error::Write { .. }) => Err(Failure::Failed(error.to_string())),
        Err(error) => Err(input(error)),
    }
}

fn input(error: ruminate_ml::Error) -> Failure {
    Failure::Input(error.to_string())
}
