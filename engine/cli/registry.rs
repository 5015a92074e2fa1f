//! Everything a graph can name, assembled from the crates that supply it, and what the program asks of the model crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ruminate_flow::stage::Registry;
use ruminate_ml::footprint::Footprint;
use ruminate_ml::types::ModelFiles;
use ruminate_ml::{device, logits, stages};
use serde_json::Value as Json;

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
    let footprint = footprint.map_err(|error| Failure::Input(format!("the model `{}`: {error}", folder.display())))?;
    Ok((files.files, footprint))
}

/// The logits of the model in `folder` for a chat whose images lie relative to `beside`, as a safetensors file.
///
/// # Errors
/// A device, model or chat that cannot be used.
pub(crate) fn logits(folder: &Path, chat: &Json, beside: &Path, device: &str) -> Result<Vec<u8>, Failure> {
    let device = device::parse(device).map_err(input)?;
    let files = ModelFiles::from_folder(folder).map_err(input)?;
    logits::logits_of_chat(&files, chat, beside, &device).map_err(input)
}

fn input(error: ruminate_ml::Error) -> Failure {
    Failure::Input(error.to_string())
}
