//! `ruminate model`: what is in a model folder, and what it computes for a chat. Needs no graph and no store.

mod info;

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::model_init::init;
use crate::arguments::ModelCommand;
use crate::failure::Failure;
use crate::files::write_file;
use crate::registry;

/// Does what the command line asks of a model.
///
/// # Errors
/// A folder or a chat that cannot be used, an output that cannot be written.
pub(crate) fn model(command: &ModelCommand) -> Result<(), Failure> {
    match command {
        ModelCommand::Info { folder, json } => info::info(folder, *json),
        ModelCommand::Logits { folder, messages, output, device } => logits(folder, messages, output, device),
        ModelCommand::Init(arguments) => init(arguments),
    }
}

fn logits(folder: &Path, messages: &Path, output: &Path, device: &str) -> Result<(), Failure> {
    let text = fs::read_to_string(messages).map_err(|error| unreadable(messages, &error))?;
    let chat: Json = serde_json::from_str(&text)
        .map_err(|error| Failure::Input(format!("`{}` is not JSON: {error}", messages.display())))?;
    // Paths of images in the chat are relative to its file.
    let beside = messages.parent().unwrap_or(Path::new(""));
    let tensors = registry::logits(folder, &chat, beside, device)?;
    write_file(output, &tensors)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("cannot read `{}`: {error}", path.display()))
}
