//! Images on their way in and out of tables: their format from their bytes, paths and `data:` URIs. Decodes no pixel.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::StageError;
use crate::record::{Blob, Value};
use crate::stage::Blobs;

/// The media type of bytes whose format is not known.
const UNKNOWN: &str = "application/octet-stream";

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
