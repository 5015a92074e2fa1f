//! The logits of a chat, for comparison with other implementations: what `ruminate model logits` writes.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burn::tensor::{Device, TensorData};
use ruminate_flow::table::read_image;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value as Json;

use crate::chat::Processor;
use crate::model::{Model, Padding, Sequence};
use crate::stop::Stop;
use crate::types::{Content, Message, ModelFiles, Part};
use crate::weights::Storage;
use crate::{Error, Result};

/// The logits of the model in `files` for a chat in the OpenAI form (`image_url.url`: a path, relative to `folder`, or a data
/// URI), as it stands and without a generation prompt.
///
/// A safetensors file of `input_ids` `[S]` I64 and `logits` `[S, V]` F32.
///
/// # Errors
/// A model or a chat that cannot be used.
pub fn logits_of_chat(files: &ModelFiles, chat: &Json, folder: &Path, device: &Device) -> Result<Vec<u8>> {
    let messages = Message::from_json(chat, &mut |url| load(url, folder))?;
    if messages.is_empty() {
        return Err(Error::chat("the chat holds no message"));
    }
    let processor = Processor::load(files)?;
    let prompt = processor.encode(&messages, false).map_err(|error| name_image(error, &messages, &processor))?;
    let model = Model::load_until(files, device, Storage::Automatic, Stop::NEVER)?;
    let (length, most) = (prompt.tokens.len(), model.config().text.max_positions);
    if length > most {
        let message = format!("the chat has {length} tokens, more than the model's {most} (`max_position_embeddings`)");
        return Err(Error::input(message));
    }
    let images: Vec<_> = prompt.images.iter().map(AsRef::as_ref).collect();
    let features = model.encode_images(&images)?;
    let order: Vec<usize> = (0..images.len()).collect();
    let sequence = Sequence { tokens: &prompt.tokens, images: &order };
    let batch = model.batch(&[sequence], &features, Padding::Right)?;
    let hidden = model.forward(&batch, &features)?;
    let [rows, width, channels] = hidden.dims();
    let logits = model.logits(hidden.reshape([rows * width, channels]));
    let [tokens, vocabulary] = logits.dims();
    let logits =
        logits.try_into_data().map_err(|error| Error::device(format!("cannot read the logits back: {error:?}")))?;
    check_finite(&logits, vocabulary)?;
    let ids: Vec<u8> = prompt.tokens.iter().flat_map(|token| i64::from(*token).to_le_bytes()).collect();
    let views = TensorView::new(Dtype::I64, vec![tokens], &ids).and_then(|ids| {
        let logits = TensorView::new(Dtype::F32, vec![tokens, vocabulary], logits.as_bytes())?;
        Ok([("input_ids", ids), ("logits", logits)])
    });
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Error::input(format!("the logits cannot be written as safetensors: {error}")))
}

/// # Errors
/// The first position whose logits no answer could be drawn from.
fn check_finite(logits: &TensorData, vocabulary: usize) -> Result<()> {
    let values =
        logits.as_slice::<f32>().map_err(|error| Error::device(format!("the logits are no f32: {error:?}")))?;
    let Some(place) = values.iter().position(|value| value.is_nan() || *value == f32::INFINITY) else { return Ok(()) };
    let (position, token) = (place / vocabulary.max(1), place % vocabulary.max(1));
    Err(Error::input(format!(
        "the logits are not finite numbers, first at position {position} for token {token}: the model's weights are damaged or \
         diverged"
    )))
}

/// An image's error with the message and the part that hold the image.
fn name_image(error: Error, messages: &[Message], processor: &Processor) -> Error {
    if !matches!(error, Error::Image { .. }) {
        return error;
    }
    for (index, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        for (part_index, part) in parts.iter().enumerate() {
            let Part::Image(file) = part else { continue };
            if let Err(Error::Image { message }) = processor.process_image(file) {
                return Error::image(format!("part {part_index} of message {index}: {message}"));
            }
        }
    }
    error
}

fn load(url: &str, folder: &Path) -> Result<Vec<u8>> {
    if let Some(data) = url.strip_prefix("data:") {
        let expected = "expected `data:`, a media type such as `image/png`, `;base64,` and the file in base64";
        let (kind, encoded) =
            data.split_once(',').ok_or_else(|| Error::chat(format!("the data URI has no comma: {expected}")))?;
        if !kind.ends_with(";base64") {
            return Err(Error::chat(format!("the data URI begins with `data:{}`: {expected}", shortened(kind))));
        }
        // Line breaks are allowed in base64, as in mail.
        let encoded: String = encoded.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        return BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| Error::chat(format!("the data URI is damaged: {error}; {expected}")));
    }
    if let Some((scheme @ ("http" | "https"), _)) = url.split_once("://") {
        let message =
            format!("`{}` is on the network: `{scheme}` is not fetched, expected a path or a data URI", shortened(url));
        return Err(Error::chat(message));
    }
    let path = folder.join(url.strip_prefix("file://").unwrap_or(url));
    read_image(&path).map_err(|error| Error::read(&path, error))
}

/// The beginning of a text that may be very long.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
