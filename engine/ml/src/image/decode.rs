//! Image files to 8-bit RGB as Pillow and transformers read them: upright by EXIF, transparency laid over white. Knows nothing
//! of models.

mod gif;
mod jpeg;
mod png;
mod webp;

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};

use crate::{Error, Result};

/// The most pixels that Pillow decodes; beyond, a file is taken for a decompression bomb.
const MAX_PIXELS: u64 = 178_956_970;
/// The most bytes that decoded pixels may take.
const MAX_BYTES: u64 = 1 << 30;
/// What is read, for messages.
const FORMATS: &str = "PNG, JPEG, WebP, GIF or BMP";

/// Decodes a PNG, JPEG, WebP, GIF or BMP file; of an animation the first frame.
///
/// The bytes are Pillow's. What other readers do differently: 16-bit
/// grey keeps its numbers and is cut off at white, other 16-bit colours lose their low byte (Pillow); transparent pixels
/// show white (transformers); the image is turned as its EXIF or XMP orientation says (transformers' `load_image`,
/// `datasets`).
///
/// # Errors
/// When the bytes are no such file, a damaged or truncated one, or one of too many pixels.
pub fn decode_rgb(file: &[u8]) -> Result<RgbImage> {
    let (image, orientation) = match image::guess_format(file) {
        Ok(ImageFormat::Png) => png::decode_png(file)?,
        Ok(ImageFormat::Jpeg) => jpeg::decode_jpeg(file)?,
        Ok(ImageFormat::WebP) => webp::decode_webp(file)?,
        Ok(ImageFormat::Gif) => (gif::decode_gif(file)?, Orientation::NoTransforms),
        Ok(ImageFormat::Bmp) => (decode_bmp(file)?, Orientation::NoTransforms),
        Ok(other) => {
            let message = format!("the bytes are a {} file, expected {FORMATS}", name(other));
            return Err(Error::image(message));
        }
        Err(_) if file.is_empty() => return Err(Error::image(format!("the file is empty, expected {FORMATS}"))),
        Err(_) => return Err(Error::image(format!("the bytes are no image file, expected {FORMATS}"))),
    };
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

fn name(format: ImageFormat) -> String {
    format.extensions_str().first().map_or_else(|| "foreign".to_owned(), |name| name.to_uppercase())
}

fn undecodable(format: &str, error: &dyn std::fmt::Display) -> Error {
    Error::image(format!("the {format} file is damaged or truncated: {error}"))
}

fn check_size(width: u64, height: u64) -> Result<()> {
    if width.saturating_mul(height) <= MAX_PIXELS {
        return Ok(());
    }
    Err(Error::image(format!("{width}x{height} pixels, expected at most {MAX_PIXELS} in all")))
}

fn decode_bmp(file: &[u8]) -> Result<RgbImage> {
    let damaged = |error: image::ImageError| undecodable("BMP", &error);
    let decoder = ImageReader::with_format(Cursor::new(file), ImageFormat::Bmp).into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let mut image = without_alpha(DynamicImage::from_decoder(decoder).map_err(damaged)?);
    if let Some(most) = channels_of_16_bits(file) {
        // Pillow rounds down where it widens a channel, the decoder to the nearest.
        for (value, most) in image.iter_mut().zip(most.into_iter().cycle()) {
            let narrow = (u32::from(*value) * most + 127) / 255;
            *value = (narrow * 255 / most) as u8;
        }
    }
    Ok(image)
}

/// The largest red, green and blue of a BMP of 16 bits a pixel, if it is one of the two forms that Pillow reads.
fn channels_of_16_bits(file: &[u8]) -> Option<[u32; 3]> {
    const BIT_MASKS: u32 = 3;
    let number = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    if number(28)? & 0xffff != 16 {
        return None;
    }
    match (number(30)?, number(54), number(58), number(62)) {
        (BIT_MASKS, Some(0xf800), Some(0x7e0), Some(0x1f)) => Some([31, 63, 31]),
        (BIT_MASKS, Some(0x7c00), Some(0x3e0), Some(0x1f)) | (0, ..) => Some([31; 3]),
        _ => None,
    }
}

/// How the image is to be turned: what its EXIF block says, or else its XMP packet.
fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    const PREFIX: &[u8] = b"Exif\0\0";
    exif.and_then(|block| Orientation::from_exif_chunk(block.strip_prefix(PREFIX).unwrap_or(block)))
        .or_else(|| xmp.and_then(xmp_orientation))
        .unwrap_or(Orientation::NoTransforms)
}

/// The first orientation in an XMP packet, an attribute or an element.
fn xmp_orientation(packet: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let digit = packet.windows(NAME.len() + 3).find_map(|text| match text.strip_prefix(NAME)? {
        [b'=', b'"', digit] | [b'>', digit, _] if digit.is_ascii_digit() => Some(digit - b'0'),
        _ => None,
    });
    Orientation::from_exif(digit?)
}

/// An image of 8 bits a channel in RGB, over white where it is transparent.
fn without_alpha(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    map(&image.into_rgba8(), |[red, green, blue, alpha]| over_white([red, green, blue], alpha))
}

fn map<T: image::Primitive, P: image::Pixel<Subpixel = T>, const N: usize>(
    image: &image::ImageBuffer<P, Vec<T>>,
    colour: impl Fn([T; N]) -> Rgb<u8>,
) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let channels = image.get_pixel(x, y).channels();
        colour(std::array::from_fn(|channel| channels[channel]))
    })
}

/// Pillow's fixed-point compositing over opaque white: seven fraction bits, then a rounded division by 255.
fn over_white(colour: [u8; 3], alpha: u8) -> Rgb<u8> {
    const FRACTION: u32 = 7;
    let front = u32::from(alpha) << FRACTION;
    let back = (255 << FRACTION) - front;
    Rgb(colour.map(|value| {
        let sum = u32::from(value) * front + 255 * back + (0x80 << FRACTION);
        ((((sum >> 8) + sum) >> 8) >> FRACTION) as u8
    }))
}
