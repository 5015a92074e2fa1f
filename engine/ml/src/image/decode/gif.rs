//! The first frame of a GIF file on its screen, as Pillow shows it. Knows nothing of other formats.

use gif::{DecodeOptions, DecodingError};
use image::{Rgb, RgbImage, imageops};

use super::{check_size, undecodable};
use crate::Result;

/// Decodes the first frame.
///
/// # Errors
/// When the file is damaged, cut off or too large, or holds no frame.
pub(super) fn decode_gif(file: &[u8]) -> Result<RgbImage> {
    let damaged = |error: DecodingError| undecodable("GIF", &error);
    let mut decoder = DecodeOptions::new().read_info(file).map_err(damaged)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder.next_frame_info().map_err(damaged)?.cloned();
    let frame = frame.ok_or_else(|| undecodable("GIF", &"it holds no frame"))?;
    let (left, top) = (u32::from(frame.left), u32::from(frame.top));
    let (wide, tall) = (u32::from(frame.width), u32::from(frame.height));
    // A frame that is larger than the screen makes it larger.
    let (width, height) = (screen.0.max(left + wide), screen.1.max(top + tall));
    check_size(width.into(), height.into())?;
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(damaged)?;

    let colours = colours(decoder.palette().map_err(damaged)?, frame.transparent);
    let colour = |index: u8| colours[usize::from(index)];
    let pixels = indices.into_iter().flat_map(|index| colour(index).0).collect();
    let shown = RgbImage::from_raw(wide, tall, pixels)
        .ok_or_else(|| undecodable("GIF", &"a frame has not as many pixels as it says"))?;
    let mut image = RgbImage::from_pixel(width, height, colour(frame.transparent.unwrap_or(0)));
    imageops::replace(&mut image, &shown, left.into(), top.into());
    Ok(image)
}

/// The colour of every index: white where it is transparent, black beyond the palette. A palette of all greys in order is
/// none to Pillow; then there is no beyond.
fn colours(palette: &[u8], transparent: Option<u8>) -> [Rgb<u8>; 256] {
    let palette = palette.as_chunks::<3>().0;
    let is_grey = palette.iter().enumerate().all(|(index, colour)| *colour == [index as u8; 3]);
    std::array::from_fn(|index| {
        Rgb(match palette.get(index) {
            _ if transparent.map(usize::from) == Some(index) => [255; 3],
            _ if is_grey => [index as u8; 3],
            found => found.copied().unwrap_or_default(),
        })
    })
}
