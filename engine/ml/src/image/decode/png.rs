//! PNG to 8-bit RGB: what Pillow makes of 16 bits and of colours that stand for transparency. Knows nothing of other formats.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};

use super::{MAX_BYTES, check_size, map, orientation, over_white, undecodable, without_alpha};
use crate::{Error, Result};

pub(super) fn decode_png(file: &[u8]) -> Result<(RgbImage, Orientation)> {
    let damaged = |error: image::ImageError| undecodable("PNG", &error);
    let reader = ImageReader::with_format(Cursor::new(file), ImageFormat::Png);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    if decoder.total_bytes() > MAX_BYTES {
        let message =
            format!("{width}x{height} pixels of 16 bits per channel, expected at most {MAX_BYTES} bytes in all");
        return Err(Error::image(message));
    }
    let (exif, xmp) = (decoder.exif_metadata().map_err(damaged)?, decoder.xmp_metadata().ok().flatten());
    let orientation = orientation(exif.as_deref(), xmp.as_deref());
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let high = |value: u16| (value >> 8) as u8;
    // Pillow's key of a 16-bit colour is compared byte by byte: the pixel's high one with the key's low one.
    let key = transparent_colour(file);
    Ok((
        match image {
            DynamicImage::ImageLuma16(grey) => map(&grey, |[grey]| Rgb([cut_off(grey); 3])),
            DynamicImage::ImageLumaA16(grey) if has_no_alpha_channel(file) => {
                map(&grey, |[grey, alpha]| over_white([cut_off(grey); 3], high(alpha)))
            }
            DynamicImage::ImageLumaA16(grey) => map(&grey, |[grey, alpha]| over_white([high(grey); 3], high(alpha))),
            DynamicImage::ImageRgb16(deep) => map(&deep, |colour| Rgb(colour.map(high))),
            DynamicImage::ImageRgba16(deep) => map(&deep, |[red, green, blue, alpha]| {
                let colour = [red, green, blue].map(high);
                let alpha = key.map_or(high(alpha), |key| if colour == key { 0 } else { u8::MAX });
                over_white(colour, alpha)
            }),
            image => without_alpha(image),
        },
        orientation,
    ))
}

fn cut_off(value: u16) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// Whether a PNG's own colours have no alpha, so that transparency comes from a `tRNS` chunk.
fn has_no_alpha_channel(file: &[u8]) -> bool {
    const COLOUR_TYPE: usize = 25;
    file.get(COLOUR_TYPE).is_some_and(|kind| kind & 4 == 0)
}

/// The low bytes of the colour that a `tRNS` chunk of an RGB file makes transparent.
fn transparent_colour(file: &[u8]) -> Option<[u8; 3]> {
    const SIGNATURE: usize = 8;
    if !has_no_alpha_channel(file) {
        return None;
    }
    let mut rest = file.get(SIGNATURE..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        match kind {
            b"tRNS" => {
                return after
                    .get(..length)?
                    .as_chunks::<2>()
                    .0
                    .first_chunk()
                    .map(|key: &[_; 3]| key.map(|value| value[1]));
            }
            b"IDAT" => return None,
            _ => rest = after.get(length.checked_add(4)?..)?,
        }
    }
}
