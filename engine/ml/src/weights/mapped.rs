//! Safetensors files mapped into memory, a tensor at a time: the one place that vouches for a file to stay as it is while
//! it is mapped. Knows nothing of models.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};
use safetensors::SafeTensors;
use safetensors::tensor::{SafeTensorError, TensorInfo};
use serde_json::Value;

use crate::{Error, Result};

/// The bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;

/// A safetensors file whose header has been read and checked.
pub(super) struct WeightFile {
    /// Its name in the model's folder.
    pub(super) name: String,
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes begin.
    data_start: u64,
    /// By name, in the order of their bytes.
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

/// The bytes of one tensor, mapped: pages come from the disk when they are read, and the system may drop them again.
pub(super) struct Window(Mmap);

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl WeightFile {
    /// Opens the file `path`, which is `name` in the model's folder, and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header and length do not describe tensors side by side that fill it.
    pub(super) fn open(name: &str, path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::read(path, error))?;
        let length = file.metadata().map_err(|error| Error::read(path, error))?.len();
        if length < LENGTH_BYTES {
            let message = format!("expected a safetensors file, but it has only {length} bytes: copy it again");
            return Err(Error::model_file(name, message));
        }
        let bytes = map(&file, path, 0, length)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| Error::model_file(name, damage(&bytes, &error)))?;
        let data_start = LENGTH_BYTES + header as u64;
        let names = metadata.offset_keys().into_iter();
        let tensors = names.filter_map(|name| metadata.info(&name).cloned().map(|info| (name, info))).collect();
        Ok(WeightFile { name: name.to_owned(), path: path.to_owned(), file, data_start, tensors })
    }

    /// The bytes of one of its tensors.
    ///
    /// # Errors
    /// When the system cannot map them.
    pub(super) fn window(&self, tensor: &TensorInfo) -> Result<Window> {
        let (start, end) = tensor.data_offsets;
        map(&self.file, &self.path, self.data_start + start as u64, (end - start) as u64).map(Window)
    }
}

fn map(file: &File, path: &Path, offset: u64, length: u64) -> Result<Mmap> {
    let length = usize::try_from(length)
        .map_err(|_| Error::read(path, std::io::Error::other("it is larger than this machine can address")))?;
    // SAFETY: the mapped bytes must not change while they are borrowed. Nobody can promise that of a file; whoever writes into
    // a model's files in place while they are used gets wrong numbers or, after cutting one short, the end of the process by
    // SIGBUS. The program itself replaces model files by renaming only, and the files of its store are never written again,
    // which leaves a mapping's bytes as they are. Bytes are read as plain numbers: no value of them is invalid.
    unsafe { MmapOptions::new().offset(offset).len(length).map(file) }.map_err(|error| Error::read(path, error))
}

/// What is wrong with a file that `error` was given for, with the tensor and the sizes found and expected.
fn damage(bytes: &[u8], error: &SafeTensorError) -> String {
    if bytes.starts_with(b"version https://git-lfs") {
        return "it is a Git LFS pointer, not the weights: run `git lfs pull`".to_owned();
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return "it is a ZIP archive, as PyTorch's own format is: convert it to safetensors".to_owned();
    }
    let (length, rest) = bytes.split_at(LENGTH_BYTES as usize);
    let header_length = length.try_into().map_or(0, u64::from_le_bytes);
    let header = usize::try_from(header_length).ok().and_then(|length| rest.get(..length));
    match error {
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => format!(
            "expected a safetensors file, but its first 8 bytes announce a header of {header_length} bytes, and it has {} \
             more: cut short, or of another format",
            rest.len()
        ),
        SafeTensorError::InvalidHeader(error) => {
            format!("expected a safetensors file, but its header is no text: {error}")
        }
        SafeTensorError::InvalidHeaderDeserialization(error) => {
            let found = header.and_then(wrong_tensor);
            found
                .unwrap_or_else(|| format!("expected a safetensors file, but its header describes no tensors: {error}"))
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let described =
                header.and_then(described_bytes).map_or("another number of".to_owned(), |end| end.to_string());
            let found = rest.len() - header.map_or(0, <[u8]>::len);
            format!("its header describes {described} bytes of tensors, but {found} follow: cut short or overwritten")
        }
        other => header.and_then(wrong_tensor).unwrap_or_else(|| format!("expected a safetensors file: {other}")),
    }
}

/// The first tensor, in the order of their bytes, whose offsets do not follow the one before it or do not suit its shape.
fn wrong_tensor(header: &[u8]) -> Option<String> {
    let mut previous_end = 0;
    for (name, begin, end, tensor) in places(header)? {
        if begin != previous_end || end < begin {
            return Some(format!(
                "tensor `{name}` lies at bytes {begin} to {end}, expected to begin at {previous_end}, where the one before it \
                 ends"
            ));
        }
        previous_end = end;
        let shape: Option<Vec<u64>> =
            tensor.get("shape").and_then(Value::as_array)?.iter().map(Value::as_u64).collect();
        let info: Option<TensorInfo> = serde_json::from_value(tensor.clone()).ok();
        let (Some(shape), Some(info)) = (shape, info) else {
            return Some(format!("tensor `{name}` has a type or a shape that safetensors does not know: {tensor}"));
        };
        let elements = shape.iter().try_fold(1u128, |product, size| product.checked_mul(u128::from(*size)));
        let expected = elements.and_then(|elements| elements.checked_mul(info.dtype.bitsize() as u128));
        if expected != Some(u128::from(end - begin) * 8) {
            let expected = expected.map_or("more than any file has".to_owned(), |bits| (bits / 8).to_string());
            return Some(format!(
                "tensor `{name}` has {} bytes, expected {expected}: {:?} of shape {shape:?}",
                end - begin,
                info.dtype
            ));
        }
    }
    None
}

/// Where the last tensor ends.
fn described_bytes(header: &[u8]) -> Option<u64> {
    places(header)?.last().map(|(_, _, end, _)| *end)
}

/// The tensors of a header with the places of their bytes, in that order.
fn places(header: &[u8]) -> Option<Vec<(String, u64, u64, Value)>> {
    let Value::Object(header) = serde_json::from_slice(header).ok()? else { return None };
    let place = |(name, tensor): (String, Value)| {
        let offsets = tensor.get("data_offsets")?.as_array()?;
        let [begin, end] = offsets.as_slice() else { return None };
        Some((name, begin.as_u64()?, end.as_u64()?, tensor))
    };
    let mut places: Vec<_> = header.into_iter().filter(|(name, _)| name != "__metadata__").filter_map(place).collect();
    places.sort_by(|left, right| (left.1, left.2, &left.0).cmp(&(right.1, right.2, &right.0)));
    Some(places)
}
