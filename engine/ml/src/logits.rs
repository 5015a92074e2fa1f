//! The logits of a chat, for comparison with other implementations: what `ruminate model logits` writes.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value as Json;

use crate::chat::Processor;
use crate::model::{Model, Padding, Sequence};
use crate::stop::Stop;
use crate::types::{Message, ModelFiles};
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
    let prompt = Processor::load(files)?.encode(&messages, false)?;
    let model = Model::load_until(files, device, Storage::Automatic, Stop::NEVER)?;
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
    let ids: Vec<u8> = prompt.tokens.iter().flat_map(|token| i64::from(*token).to_le_bytes()).collect();
    let views = TensorView::new(Dtype::I64, vec![tokens], &ids).and_then(|ids| {
        let logits = TensorView::new(Dtype::F32, vec![tokens, vocabulary], logits.as_bytes())?;
        Ok([("input_ids", ids), ("logits", logits)])
    });
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| Error::input(format!("the logits cannot be written as safetensors: {error}")))
}

fn load(url: &str, folder: &Path) -> Result<Vec<u8>> {
    if let Some(data) = url.strip_prefix("data:") {
        let encoded = data.split_once(";base64,").map(|(_, encoded)| encoded);
        let encoded = encoded.ok_or_else(|| Error::chat("a data URI holds no `;base64,` part"))?;
        return BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| Error::chat(format!("a data URI is no base64: {error}")));
    }
    let path = folder.join(url.strip_prefix("file://").unwrap_or(url));
    std::fs::read(&path).map_err(|error| Error::read(&path, error))
}
