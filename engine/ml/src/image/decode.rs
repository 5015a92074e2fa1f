//! Image files to 8-bit RGB as Pillow and transformers read them: upright by EXIF, transparency laid over white. Knows nothing
//! of models.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Rgb, RgbImage};
use jpeg_decoder::PixelFormat;

use crate::{Error, Result};

/// The most pixels that Pillow decodes; beyond, a file is taken for a decompression bomb.
const MAX_PIXELS: u64 = 178_956_970;
/// The most bytes that decoded pixels may take.
const MAX_BYTES: u64 = 1 << 30;

/// Decodes a PNG or JPEG file.
///
/// What other readers do differently: 16-bit grey keeps its numbers and is cut off at white, other 16-bit colours lose their low
/// byte (Pillow); transparent pixels show white (transformers); the image is turned as its EXIF orientation says (transformers'
/// `load_image`, `datasets`). JPEG has no exact decoding: values lie within 4 of libjpeg-turbo's, on average
/// within 0.25.
///
/// # Errors
/// When the bytes are no PNG or JPEG file, a damaged or truncated one, or one of too many pixels.
pub fn decode_rgb(file: &[u8]) -> Result<RgbImage> {
    let (image, orientation) = match image::guess_format(file) {
        Ok(ImageFormat::Png) => decode_png(file)?,
        Ok(ImageFormat::Jpeg) => decode_jpeg(file)?,
        Ok(other) => {
            let message = format!("the bytes are a {} file, expected PNG or JPEG", name(other));
            return Err(Error::image(message));
        }
        Err(_) if file.is_empty() => return Err(Error::image("the file is empty, expected PNG or JPEG")),
        Err(_) => return Err(Error::image("the bytes are neither a PNG nor a JPEG file")),
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

fn decode_png(file: &[u8]) -> Result<(RgbImage, Orientation)> {
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
    let orientation = decoder.orientation().map_err(damaged)?;
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
            image if image.color().has_alpha() => {
                map(&image.to_rgba8(), |[red, green, blue, alpha]| over_white([red, green, blue], alpha))
            }
            image => image.into_rgb8(),
        },
        orientation,
    ))
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

fn decode_jpeg(file: &[u8]) -> Result<(RgbImage, Orientation)> {
    let damaged = |error: jpeg_decoder::Error| undecodable("JPEG", &error);
    let mut decoder = jpeg_decoder::Decoder::new(file);
    decoder.read_info().map_err(damaged)?;
    let headless = || Error::image("the JPEG file is damaged or truncated: it has no header");
    let info = decoder.info().ok_or_else(headless)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width.into(), height.into())?;
    let pixels = decoder.decode().map_err(damaged)?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let rgb = match info.pixel_format {
        PixelFormat::RGB24 => pixels,
        PixelFormat::L8 => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
        PixelFormat::L16 => {
            pixels.as_chunks::<2>().0.iter().flat_map(|grey| [cut_off(u16::from_ne_bytes(*grey)); 3]).collect()
        }
        PixelFormat::CMYK32 => pixels.as_chunks::<4>().0.iter().flat_map(|ink| paper(*ink)).collect(),
    };
    let image = RgbImage::from_raw(width, height, rgb).ok_or_else(headless)?;
    Ok((image, orientation))
}

/// Pillow's colour of four inks: what the black leaves, less the colour's share, by a rounded division by 255.
fn paper([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = 255 - u32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * light + 128;
        (light - (((product >> 8) + product) >> 8)) as u8
    })
}
