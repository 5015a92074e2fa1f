//! JPEG to RGB by the decoder of libjpeg-turbo, in the form that mozjpeg carries: the one of Pillow. Knows nothing of other
//! formats.
//!
//! The format leaves the last digit of a pixel open, and decoders differ there: in how they round the transform, spread
//! the colours and convert them. The pure Rust ones differ from Pillow by up to 4 in plain files, with four components or
//! unequal sampling by tens; this one does not differ. Its price is a little C, which the compiler that wasmtime and
//! zstd need builds too.

use std::any::Any;
use std::io::{BufRead, Error as IoError, Read, Result as IoResult};

use image::RgbImage;
use image::metadata::Orientation;
use mozjpeg::{Decompress, Format, Marker};

use super::{check_size, orientation, undecodable};
use crate::{Error, Result};

/// The most scans of one file. Each is a pass over the image however few bytes it has; encoders write about ten.
const MAX_SCANS: usize = 500;

/// Decodes a JPEG file.
///
/// # Errors
/// When it is damaged beyond what libjpeg repairs, cut off, of a kind that libjpeg does not decode, or too large.
pub(super) fn decode_jpeg(file: &[u8]) -> Result<(RgbImage, Orientation)> {
    // A byte of 0xff inside of a scan is followed by zero or a restart marker.
    let scans = file.windows(2).filter(|pair| *pair == [0xff, 0xda]).count();
    if scans > MAX_SCANS {
        return Err(Error::image(format!("the JPEG file has {scans} scans, expected at most {MAX_SCANS}")));
    }
    // libjpeg gives a file up by unwinding, without a word from the panic hook.
    std::panic::catch_unwind(|| read(file)).unwrap_or_else(|reason| Err(given_up(reason.as_ref())))
}

fn read(file: &[u8]) -> Result<(RgbImage, Orientation)> {
    let damaged = |error: IoError| undecodable("JPEG", &error);
    let builder = Decompress::with_markers(&[Marker::APP(1)]);
    let decoder = builder.from_reader(Source { rest: file }).map_err(damaged)?;
    let (width, height) = (decoder.width(), decoder.height());
    check_size(width as u64, height as u64)?;
    let block = |prefix: &[u8]| {
        let blocks = decoder.markers().filter_map(|marker| marker.data.strip_prefix(prefix)).collect::<Vec<_>>();
        (!blocks.is_empty()).then(|| blocks.concat())
    };
    let (exif, xmp) = (block(b"Exif\0\0"), block(b"http://ns.adobe.com/xap/1.0/\0"));
    let orientation = orientation(exif.as_deref(), xmp.as_deref());
    let rgb: Vec<u8> = match decoder.image().map_err(damaged)? {
        Format::RGB(mut rows) => rows.read_scanlines().map_err(damaged)?,
        Format::Gray(mut rows) => {
            let grey: Vec<u8> = rows.read_scanlines().map_err(damaged)?;
            grey.into_iter().flat_map(|grey| [grey; 3]).collect()
        }
        Format::CMYK(mut rows) => {
            let light: Vec<[u8; 4]> = rows.read_scanlines().map_err(damaged)?;
            light.into_iter().flat_map(paper).collect()
        }
    };
    let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
    let image = size.and_then(|(width, height)| RgbImage::from_raw(width, height, rgb));
    Ok((image.ok_or_else(|| undecodable("JPEG", &"it has not as many rows as it says"))?, orientation))
}

/// What libjpeg said last.
fn given_up(reason: &(dyn Any + Send)) -> Error {
    let text = reason.downcast_ref::<String>().map_or("libjpeg gave it up", String::as_str);
    match text.strip_prefix("libjpeg fatal error: ").unwrap_or(text) {
        // Of `Source`.
        "Input file read error" => undecodable("JPEG", &"it ends too early"),
        text => undecodable("JPEG", &text),
    }
}

/// The colour of four inks, given as Adobe's programs write them, as what they leave of the light: Pillow's rounding of
/// what the black leaves, less the colour's share.
fn paper([cyan, magenta, yellow, light]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(light);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(255 - ink) * light + 128;
        (light - (((product >> 8) + product) >> 8)) as u8
    })
}

/// A file's bytes, whose end is an error: libjpeg would fill up what is missing with grey.
struct Source<'a> {
    rest: &'a [u8],
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        self.rest.read(buffer)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> IoResult<&[u8]> {
        if self.rest.is_empty() { Err(IoError::other("the file ends")) } else { Ok(self.rest) }
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount.min(self.rest.len())..];
    }
}
