//! `ruminate model`: what is in a model folder, and what it computes for a chat. Needs no graph and no store.

mod info;

use std::fs;
use std::io::Read;
use std::path::Path;

use ruminate_flow::table::LINE_BYTES;
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
    let mut text = Vec::new();
    let file = fs::File::open(messages).and_then(|file| file.take(LINE_BYTES as u64 + 1).read_to_end(&mut text));
    file.map_err(|error| unreadable(messages, &error))?;
    if text.len() > LINE_BYTES {
        let (shown, most) = (messages.display(), LINE_BYTES >> 20);
        return Err(Failure::Input(format!("`{shown}` is longer than {most} MiB; expected a JSON array of messages")));
    }
    let chat: Json = serde_json::from_slice(&text)
        .map_err(|error| Failure::Input(format!("`{}` is not JSON: {error}", messages.display())))?;
    // Paths of images in the chat are relative to its file.
    let beside = messages.parent().unwrap_or(Path::new(""));
    let tensors = registry::logits(folder, &chat, beside, device)?;
    write_file(output, &tensors)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("cannot read `{}`: {error}", path.display()))
}
