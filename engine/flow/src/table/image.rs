//! Images on their way in and out of tables: their format from their bytes, paths and `data:` URIs. Decodes no pixel.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::StageError;
use crate::record::{Blob, Value};
use crate::stage::Blobs;

/// The media type of bytes whose format is not known.
const UNKNOWN: &str = "application/octet-stream";

/// The longest file that is taken for an image.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// The bytes of an image's file.
///
/// # Errors
/// It cannot be read, or is longer than any image.
pub fn read_image(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it is longer than {} MiB, which no image is",
            FILE_BYTES_MAX >> 20
        )));
    }
    Ok(bytes)
}

/// Stores an image's bytes.
pub(super) fn store(bytes: &[u8], blobs: &dyn Blobs) -> Result<Value, StageError> {
    let media_type = image::guess_format(bytes).map_or(UNKNOWN, |format| format.to_mime_type());
    Ok(Value::Blob(blobs.put(bytes, media_type)?))
}

/// The bytes that a `data:` URI holds; `None` if `text` is no such URI.
pub(super) fn from_data_uri(text: &str) -> Option<Result<Vec<u8>, String>> {
    let rest = text.strip_prefix("data:")?;
    let Some((head, body)) = rest.split_once(',') else { return Some(Err("a `data:` URI without a comma".to_owned())) };
    if !head.ends_with(";base64") {
        return Some(Err("a `data:` URI that is not `;base64`".to_owned()));
    }
    Some(STANDARD.decode(body).map_err(|error| format!("a `data:` URI that does not decode: {error}")))
}

/// An image as a `data:` URI.
pub(super) fn to_data_uri(blob: &Blob, blobs: &dyn Blobs) -> Result<String, StageError> {
    Ok(format!("data:{};base64,{}", blob.media_type, STANDARD.encode(blobs.get(blob)?)))
}

/// Where an image named in the data file `table` lies.
pub(super) fn beside(table: &Path, name: &str) -> PathBuf {
    table.parent().unwrap_or(Path::new(".")).join(name)
}

/// The image that a data file at `table` gives as a path or a `data:` URI. `Err` says what is wrong.
pub(super) fn load(table: &Path, text: &str, blobs: &dyn Blobs) -> Result<Value, String> {
    let bytes = match from_data_uri(text) {
        Some(bytes) => bytes?,
        None => {
            let path = beside(table, text);
            read_image(&path).map_err(|error| format!("cannot read the image `{}`: {error}", path.display()))?
        }
    };
    store(&bytes, blobs).map_err(|error| error.to_string())
}

/// The value as JSON in a file: an image as a `data:` URI.
pub(super) fn to_json(value: &Value, blobs: &dyn Blobs) -> Result<serde_json::Value, StageError> {
    use serde_json::Value as Json;
    Ok(match value {
        Value::Blob(blob) => Json::String(to_data_uri(blob, blobs)?),
        Value::List(values) => Json::Array(values.iter().map(|value| to_json(value, blobs)).collect::<Result<_, _>>()?),
        Value::Map(values) => {
            let entries = values.iter().map(|(name, value)| Ok((name.clone(), to_json(value, blobs)?)));
            Json::Object(entries.collect::<Result<_, StageError>>()?)
        }
        other => other.to_json(),
    })
}

/// Whether there is an image in the value.
pub(super) fn holds_image(value: &Value) -> bool {
    match value {
        Value::Blob(_) => true,
        Value::List(values) => values.iter().any(holds_image),
        Value::Map(values) => values.values().any(holds_image),
        _ => false,
    }
}
