//! Image files to patches, as transformers' Qwen2-VL processor with torchvision does it: RGB, resize, normalise, cut.
//! Knows nothing of prompts and tensors.

pub mod decode;
#[cfg(test)]
mod tests;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use serde_json::Value;

use self::decode::decode_rgb;
use crate::config::VisionConfig;
use crate::types::{ImagePatches, ModelFiles};
use crate::{Error, Result};

/// The longest side may be this many times the shortest.
const MAX_ASPECT: f64 = 200.0;
/// The largest bound on pixels that a checkpoint may set, five times Qwen2.5-VL's: patches of as many take 1.6 GB.
const MAX_PIXELS: u64 = 1 << 26;
/// Pillow's number of the only resampling that is supported.
const PILLOW_BICUBIC: u64 = 3;
const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// How a model wants its images.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    patch_size: usize,
    temporal_patch_size: usize,
    merge_size: usize,
    min_pixels: usize,
    max_pixels: usize,
    do_resize: bool,
    /// The value of every byte, per channel.
    values: Box<[[f32; 256]; 3]>,
}

impl ImageProcessor {
    /// Reads the image part of `processor_config.json`, or `preprocessor_config.json`; what neither says is as in
    /// transformers.
    ///
    /// # Errors
    /// When a field has another form or asks for what is not supported, or contradicts the vision tower's patch sizes.
    pub fn load(files: &ModelFiles, vision: &VisionConfig) -> Result<Self> {
        let (file, settings) = settings(files)?;
        let settings = Settings { file, value: &settings };
        for (name, expected) in [
            ("patch_size", vision.patch_size),
            ("temporal_patch_size", vision.temporal_patch_size),
            ("merge_size", vision.spatial_merge_size),
        ] {
            if let Some(value) = settings.get(name).filter(|value| value.as_u64() != Some(expected as u64)) {
                return Err(settings.error(name, value, &format!("the vision tower's {expected}")));
            }
        }
        if vision.channels != 3 {
            let message = format!("the vision tower takes {} channels, expected 3", vision.channels);
            return Err(Error::model_file(crate::config::CONFIG_FILE, message));
        }
        if let Some(value) = settings.get("resample").filter(|value| value.as_u64() != Some(PILLOW_BICUBIC)) {
            return Err(settings.error("resample", value, &format!("{PILLOW_BICUBIC}, bicubic")));
        }
        Ok(ImageProcessor {
            patch_size: vision.patch_size,
            temporal_patch_size: vision.temporal_patch_size,
            merge_size: vision.spatial_merge_size,
            min_pixels: settings.pixels("min_pixels", "shortest_edge", 56 * 56)?,
            max_pixels: settings.pixels("max_pixels", "longest_edge", 28 * 28 * 1280)?,
            do_resize: settings.switch("do_resize")?,
            values: settings.values()?,
        })
    }

    /// The same processor with at most this many pixels of an image after resizing. The checkpoint's own bound is never raised:
    /// its vision tower has seen no larger images.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: usize) -> Self {
        self.max_pixels = self.max_pixels.min(max_pixels).max(1);
        self
    }

    /// The grid of patches, rows first, of an image of `height` by `width` pixels.
    ///
    /// # Errors
    /// When its sides differ too much, or it is not to be resized and does not fit the grid.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let (height, width) = self.size(height, width)?;
        Ok((height / self.patch_size, width / self.patch_size))
    }

    fn size(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let factor = self.patch_size * self.merge_size;
        if self.do_resize {
            return smart_resize(height, width, factor, self.min_pixels, self.max_pixels);
        }
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let message = format!("{width}x{height} pixels, expected multiples of {factor}: `do_resize` is false");
            return Err(Error::image(message));
        }
        Ok((height, width))
    }

    /// An image file as patches.
    ///
    /// # Errors
    /// When the file cannot be decoded or its sides differ too much.
    pub fn process(&self, file: &[u8]) -> Result<ImagePatches> {
        let image = decode_rgb(file)?;
        let (height, width) = self.size(image.height() as usize, image.width() as usize)?;
        let resized = resize(image, width, height)?;
        Ok(self.cut(&resized, width, height))
    }

    /// Normalises RGB pixels and cuts them into patches. Patches of one merge square lie side by side; inside a patch
    /// the order is channel, frame, row, column. A still image is its one frame repeated.
    fn cut(&self, rgb: &[u8], width: usize, height: usize) -> ImagePatches {
        let (patch, merge, frames) = (self.patch_size, self.merge_size, self.temporal_patch_size);
        let (rows, columns) = (height / patch, width / patch);
        let mut pixels = Vec::with_capacity(width * height * 3 * frames);
        for (row, column) in merge_order(rows, columns, merge) {
            for (channel, values) in self.values.iter().enumerate() {
                let start = pixels.len();
                for y in 0..patch {
                    let first = ((row * patch + y) * width + column * patch) * 3 + channel;
                    let line = rgb[first..].iter().step_by(3).take(patch);
                    pixels.extend(line.map(|value| values[usize::from(*value)]));
                }
                let end = pixels.len();
                for _ in 1..frames {
                    pixels.extend_from_within(start..end);
                }
            }
        }
        ImagePatches { pixels, grid: [1, rows, columns] }
    }
}

/// The settings of a model's images, with their file; null where the model has none.
fn settings(files: &ModelFiles) -> Result<(&'static str, Value)> {
    // transformers prefers the nested form, too.
    const NESTED: &str = "processor_config.json";
    const OWN: &str = "preprocessor_config.json";
    let nested = files.read_json(NESTED)?.and_then(|mut value| value.get_mut("image_processor").map(Value::take));
    if let Some(settings) = nested {
        return Ok((NESTED, settings));
    }
    Ok((OWN, files.read_json(OWN)?.unwrap_or(Value::Null)))
}

/// The fields of a file of settings.
struct Settings<'a> {
    file: &'static str,
    value: &'a Value,
}

impl<'a> Settings<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    fn error(&self, name: &str, found: &Value, expected: &str) -> Error {
        Error::model_file(self.file, format!("`{name}` is {found}, expected {expected}"))
    }

    /// A bound on pixels: a field of its own overrides its like in `size`.
    fn pixels(&self, name: &str, edge: &str, default: usize) -> Result<usize> {
        let size = self.get("size");
        let nested = |name: &str| size.and_then(|size| size.get(name)).filter(|value| !value.is_null());
        let Some(value) = self.get(name).or_else(|| nested(edge)).or_else(|| nested(name)) else { return Ok(default) };
        let count = value.as_u64().filter(|count| (1..=MAX_PIXELS).contains(count));
        let count = count.and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.error(name, value, &format!("a whole number of pixels from 1 to {MAX_PIXELS}")))
    }

    fn switch(&self, name: &str) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(true) };
        value.as_bool().ok_or_else(|| self.error(name, value, "true or false"))
    }

    fn triple(&self, name: &str, default: [f64; 3]) -> Result<[f64; 3]> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let numbers: Option<Vec<f64>> = match value {
            Value::Array(list) => list.iter().map(Value::as_f64).collect(),
            // One number is that of every channel.
            _ => value.as_f64().map(|number| vec![number; 3]),
        };
        let triple = numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok());
        triple.ok_or_else(|| self.error(name, value, "three numbers"))
    }

    /// The value of every byte, per channel, with torchvision's rounding: rescaling is folded into mean and deviation.
    fn values(&self) -> Result<Box<[[f32; 256]; 3]>> {
        let factor = match self.get("rescale_factor") {
            None => 1.0 / 255.0,
            Some(value) => {
                let factor = value.as_f64().filter(|factor| *factor > 0.0 && factor.is_finite());
                factor.ok_or_else(|| self.error("rescale_factor", value, "a number above zero"))?
            }
        };
        let (mean, std) = (self.triple("image_mean", CLIP_MEAN)?, self.triple("image_std", CLIP_STD)?);
        if let (Some(value), true) = (self.get("image_std"), std.contains(&0.0)) {
            return Err(self.error("image_std", value, "numbers other than zero"));
        }
        let (rescale, normalise) = (self.switch("do_rescale")?, self.switch("do_normalize")?);
        let unit = if rescale { 1.0 / factor } else { 1.0 };
        Ok(Box::new(std::array::from_fn(|channel| {
            let (mean, std) = ((mean[channel] * unit) as f32, (std[channel] * unit) as f32);
            std::array::from_fn(|byte| match (normalise, rescale) {
                (true, _) => (byte as f32 - mean) / std,
                (false, true) => byte as f32 * factor as f32,
                (false, false) => byte as f32,
            })
        })))
    }
}

/// The places of a grid of patches in the order of the vision tower: merge squares row by row, inside each its patches
/// row by row.
pub fn merge_order(rows: usize, columns: usize, merge: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows / merge).flat_map(move |top| {
        (0..columns / merge).flat_map(move |left| {
            (0..merge * merge).map(move |inner| (top * merge + inner / merge, left * merge + inner % merge))
        })
    })
}

/// The size, height first, to which an image of `height` by `width` is resized: both sides multiples of `factor`,
/// the area within the bounds, the aspect kept as well as these allow.
///
/// # Errors
/// When a side is zero or one side is more than 200 times the other.
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Result<(usize, usize)> {
    let (tall, wide, unit) = (height as f64, width as f64, factor as f64);
    let aspect = tall.max(wide) / tall.min(wide);
    if height == 0 || width == 0 || aspect > MAX_ASPECT {
        let message =
            format!("{width}x{height} pixels, expected sides of which one is at most {MAX_ASPECT} times the other");
        return Err(Error::image(message));
    }
    // Python's `round` goes to the even neighbour at a half.
    let round = |side: f64| (side / unit).round_ties_even() * unit;
    let area = round(tall) * round(wide);
    let (tall, wide) = if area > max_pixels as f64 {
        let shrink = (tall * wide / max_pixels as f64).sqrt();
        let floor = |side: f64| ((side / shrink / unit).floor() * unit).max(unit);
        (floor(tall), floor(wide))
    } else if area < min_pixels as f64 {
        let grow = (min_pixels as f64 / (tall * wide)).sqrt();
        let ceil = |side: f64| (side * grow / unit).ceil() * unit;
        (ceil(tall), ceil(wide))
    } else {
        (round(tall), round(wide))
    };
    Ok((tall as usize, wide as usize))
}

/// Bicubic resizing with antialiasing. The horizontal and the vertical pass are calls of their own: that order, with
/// bytes in between, is torchvision's.
///
/// # Errors
/// When the resizer refuses a size.
pub fn resize(image: RgbImage, width: usize, height: usize) -> Result<Vec<u8>> {
    let failed =
        |error: &dyn std::fmt::Display| Error::image(format!("cannot be resized to {width}x{height}: {error}"));
    let side = |length: usize| u32::try_from(length).map_err(|error| failed(&error));
    let (wide, tall) = (side(width)?, side(height)?);
    let (start_wide, start_tall) = image.dimensions();
    let mut current = Image::from_vec_u8(start_wide, start_tall, image.into_raw(), PixelType::U8x3)
        .map_err(|error| failed(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    let mut resizer = Resizer::new();
    for (to_wide, to_tall) in [(wide, start_tall), (wide, tall)] {
        if (current.width(), current.height()) != (to_wide, to_tall) {
            let mut next = Image::new(to_wide, to_tall, PixelType::U8x3);
            resizer.resize(&current, &mut next, &options).map_err(|error| failed(&error))?;
            current = next;
        }
    }
    Ok(current.into_vec())
}
