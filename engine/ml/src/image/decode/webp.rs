//! WebP as Pillow shows it, of an animation the first frame. The container is taken apart here and its picture handed to
//! the decoder in the simplest file that holds it: what else is in a container is nothing that may fail, and a frame is
//! laid on its canvas as it is. Knows nothing of other formats.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, Rgb, RgbImage, RgbaImage, imageops};
use image_webp::{DecodingError, WebPDecoder};

use super::{check_size, orientation, undecodable, without_alpha};
use crate::{Error, Result};

/// In the first byte of an extended header.
const IS_ANIMATED: u8 = 0x02;
const HAS_ALPHA: u8 = 0x10;

/// Decodes a WebP file.
///
/// # Errors
/// When it is damaged, cut off or too large, or holds no picture.
pub(super) fn decode_webp(file: &[u8]) -> Result<(RgbImage, Orientation)> {
    let list = content(file).ok_or_else(|| broken("it ends too early"))?;
    let header = chunk(list, b"VP8X").unwrap_or_default();
    let flags = header.first().copied().unwrap_or(0);
    let (is_animated, has_alpha) = (flags & IS_ANIMATED != 0, flags & HAS_ALPHA != 0);
    let image =
        if is_animated { first_frame(list, header, has_alpha)? } else { without_alpha(picture(list, has_alpha)?) };
    Ok((image, orientation(chunk(list, b"EXIF"), chunk(list, b"XMP "))))
}

fn broken(what: &str) -> Error {
    undecodable("WebP", &what)
}

/// The first frame of an animation on its canvas.
fn first_frame(list: &[u8], header: &[u8], has_alpha: bool) -> Result<RgbImage> {
    const FRAME_HEADER: usize = 16;
    let size = number(header, 4).zip(number(header, 7)).map(|(width, height)| (width + 1, height + 1));
    let (width, height) = size.ok_or_else(|| broken("its header is too short"))?;
    check_size(width.into(), height.into())?;
    let frame = chunk(list, b"ANMF").ok_or_else(|| broken("it has no frame"))?;
    let place = number(frame, 0).zip(number(frame, 3)).map(|(left, top)| (2 * left, 2 * top));
    let (left, top) = place.ok_or_else(|| broken("a frame's header is too short"))?;

    let shown = picture(frame.get(FRAME_HEADER..).unwrap_or_default(), has_alpha)?;
    if left + shown.width() > width || top + shown.height() > height {
        return Err(broken("its first frame is not on its canvas"));
    }
    // Around the frame nothing is opaque, and where nothing can be transparent that is black.
    let (shown, around) = if has_alpha { (without_alpha(shown), [255; 3]) } else { (shown.into_rgb8(), [0; 3]) };
    let mut image = RgbImage::from_pixel(width, height, Rgb(around));
    imageops::replace(&mut image, &shown, left.into(), top.into());
    Ok(image)
}

/// The picture in a list of chunks. A lossless one holds its alpha, the other's is in a chunk of its own.
fn picture(list: &[u8], has_alpha: bool) -> Result<DynamicImage> {
    let failed = |error: DecodingError| undecodable("WebP", &error);
    let file = match (chunk(list, b"VP8L"), chunk(list, b"VP8 ")) {
        (Some(lossless), _) => riff(&[(b"VP8L", lossless)]),
        (None, Some(lossy)) => match chunk(list, b"ALPH").filter(|_| has_alpha) {
            Some(alpha) => {
                let side = |at: usize| lossy.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes) & 0x3fff);
                let (width, height) = side(6).zip(side(8)).ok_or_else(|| broken("its picture has no header"))?;
                let side = |length: u16| u32::from(length).wrapping_sub(1).to_le_bytes();
                let header = [&[HAS_ALPHA, 0, 0, 0], &side(width)[..3], &side(height)[..3]].concat();
                riff(&[(b"VP8X", &header), (b"ALPH", alpha), (b"VP8 ", lossy)])
            }
            None => riff(&[(b"VP8 ", lossy)]),
        },
        (None, None) => return Err(broken("it holds no picture")),
    };
    let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let mut pixels = vec![0; decoder.output_buffer_size().unwrap_or(0)];
    decoder.read_image(&mut pixels).map_err(failed)?;
    let image = if decoder.has_alpha() {
        RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8)
    };
    image.ok_or_else(|| broken("it has not as many pixels as it says"))
}

/// The chunks of a file; none if it is cut off.
fn content(file: &[u8]) -> Option<&[u8]> {
    const PREFIX: usize = 8;
    let length = u32::from_le_bytes(*file.get(4..)?.first_chunk()?) as usize;
    file.get(PREFIX..)?.get(..length)?.strip_prefix(b"WEBP")
}

/// The first chunk of that name.
fn chunk<'a>(mut list: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    loop {
        let (found, rest) = list.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = rest.get(..length)?;
        if found == name {
            return Some(content);
        }
        list = rest.get(length.checked_add(length % 2)?..)?;
    }
}

/// A number of three bytes.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 3] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

/// A file of these chunks.
fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut list = b"WEBP".to_vec();
    for (name, content) in chunks {
        list.extend_from_slice(*name);
        list.extend_from_slice(&(content.len() as u32).to_le_bytes());
        list.extend_from_slice(content);
        list.resize(list.len().next_multiple_of(2), 0);
    }
    [&b"RIFF"[..], &(list.len() as u32).to_le_bytes(), &list].concat()
}
