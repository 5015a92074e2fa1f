//! Image files to patches, as transformers' Qwen2-VL processor with torchvision does it: RGB, resize, normalise, cut.
//! Knows nothing of prompts and tensors.

use std::io::Cursor;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageReader, RgbImage};
use serde_json::Value;

use crate::config::VisionConfig;
use crate::types::{ImagePatches, ModelFiles};
use crate::{Error, Result};

/// The longest side may be this many times the shortest.
const MAX_ASPECT: f64 = 200.0;
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
    mean: [f64; 3],
    std: [f64; 3],
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json`, or the image part of `processor_config.json`; what neither says is as in
    /// transformers.
    ///
    /// # Errors
    /// When a field has another form, or contradicts the vision tower's patch sizes.
    pub fn load(files: &ModelFiles, vision: &VisionConfig) -> Result<Self> {
        let mut file = "preprocessor_config.json";
        let mut settings = files.read_json(file)?;
        if settings.is_none() {
            file = "processor_config.json";
            settings = files.read_json(file)?.and_then(|mut value| value.get_mut("image_processor").map(Value::take));
        }
        let settings = settings.unwrap_or(Value::Null);
        let size = |names: [&str; 2]| {
            let nested = settings.get("size").and_then(|size| size.get(names[1]));
            nested.or_else(|| settings.get(names[0])).filter(|value| !value.is_null())
        };
        let pixels = |names: [&str; 2], default: usize| match size(names) {
            None => Ok(default),
            Some(value) => value.as_u64().filter(|count| *count > 0).map(|count| count as usize).ok_or_else(|| {
                Error::model_file(file, format!("`{}` is {value}, expected a whole number above zero", names[0]))
            }),
        };
        for (name, expected) in [
            ("patch_size", vision.patch_size),
            ("temporal_patch_size", vision.temporal_patch_size),
            ("merge_size", vision.spatial_merge_size),
        ] {
            if let Some(value) = settings.get(name).filter(|value| value.as_u64() != Some(expected as u64)) {
                let message = format!("`{name}` is {value}, expected the vision tower's {expected}");
                return Err(Error::model_file(file, message));
            }
        }
        if vision.channels != 3 {
            let message = format!("the vision tower takes {} channels, expected 3", vision.channels);
            return Err(Error::model_file(crate::config::CONFIG_FILE, message));
        }
        Ok(ImageProcessor {
            patch_size: vision.patch_size,
            temporal_patch_size: vision.temporal_patch_size,
            merge_size: vision.spatial_merge_size,
            min_pixels: pixels(["min_pixels", "shortest_edge"], 56 * 56)?,
            max_pixels: pixels(["max_pixels", "longest_edge"], 28 * 28 * 1280)?,
            mean: triple(file, &settings, "image_mean", CLIP_MEAN)?,
            std: triple(file, &settings, "image_std", CLIP_STD)?,
        })
    }

    /// The same processor with another upper bound on the pixels of an image after resizing.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: usize) -> Self {
        self.max_pixels = max_pixels.max(1);
        self
    }

    /// An encoded PNG or JPEG file as patches.
    ///
    /// # Errors
    /// When the file cannot be decoded or its sides differ too much.
    pub fn process(&self, file: &[u8]) -> Result<ImagePatches> {
        let image = decode_rgb(file)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let factor = self.patch_size * self.merge_size;
        let (height, width) = smart_resize(height, width, factor, self.min_pixels, self.max_pixels)?;
        let resized = resize(image, width, height)?;
        Ok(self.cut(&resized, width, height))
    }

    /// Normalises RGB pixels and cuts them into patches. Patches of one merge square lie side by side; inside a patch
    /// the order is channel, frame, row, column. A still image is its one frame repeated.
    fn cut(&self, rgb: &[u8], width: usize, height: usize) -> ImagePatches {
        let table = self.normalisation();
        let (patch, merge, frames) = (self.patch_size, self.merge_size, self.temporal_patch_size);
        let (rows, columns) = (height / patch, width / patch);
        let mut pixels = Vec::with_capacity(width * height * 3 * frames);
        for (row, column) in merge_order(rows, columns, merge) {
            for (channel, values) in table.iter().enumerate() {
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

    /// The normalised value of every byte, per channel, with torchvision's rounding: rescaling folded into mean and
    /// deviation.
    fn normalisation(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            let mean = (self.mean[channel] * 255.0) as f32;
            let std = (self.std[channel] * 255.0) as f32;
            std::array::from_fn(|byte| (byte as f32 - mean) / std)
        })
    }
}

fn triple(file: &str, settings: &Value, name: &str, default: [f64; 3]) -> Result<[f64; 3]> {
    let Some(value) = settings.get(name).filter(|value| !value.is_null()) else { return Ok(default) };
    let numbers: Option<Vec<f64>> = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
    numbers
        .and_then(|numbers| <[f64; 3]>::try_from(numbers).ok())
        .ok_or_else(|| Error::model_file(file, format!("`{name}` is {value}, expected three numbers")))
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
        let message = format!("{width}x{height} pixels: one side may be at most {MAX_ASPECT} times the other");
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

/// Decodes an image file to 8-bit RGB with Pillow's conversions, what is transparent laid over white.
///
/// # Errors
/// When the bytes are no PNG or JPEG file, or a damaged one.
pub fn decode_rgb(file: &[u8]) -> Result<RgbImage> {
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| Error::image(format!("cannot be read: {error}")))?;
    if reader.format().is_none() {
        return Err(Error::image("the bytes are neither a PNG nor a JPEG file"));
    }
    let image = reader.decode().map_err(|error| Error::image(format!("cannot be decoded: {error}")))?;
    Ok(match image {
        // Pillow's 16-bit grey keeps its numbers and is cut off at white; other 16-bit forms lose their low byte.
        DynamicImage::ImageLuma16(grey) => RgbImage::from_fn(grey.width(), grey.height(), |x, y| {
            image::Rgb([u8::try_from(grey.get_pixel(x, y).0[0]).unwrap_or(u8::MAX); 3])
        }),
        DynamicImage::ImageRgb16(deep) => RgbImage::from_fn(deep.width(), deep.height(), |x, y| {
            image::Rgb(deep.get_pixel(x, y).0.map(|value| (value >> 8) as u8))
        }),
        DynamicImage::ImageLumaA16(deep) => RgbImage::from_fn(deep.width(), deep.height(), |x, y| {
            let [grey, alpha] = deep.get_pixel(x, y).0.map(|value| (value >> 8) as u8);
            over_white([grey; 3], alpha)
        }),
        DynamicImage::ImageRgba16(deep) => RgbImage::from_fn(deep.width(), deep.height(), |x, y| {
            let [red, green, blue, alpha] = deep.get_pixel(x, y).0.map(|value| (value >> 8) as u8);
            over_white([red, green, blue], alpha)
        }),
        image if image.color().has_alpha() => {
            let image = image.to_rgba8();
            RgbImage::from_fn(image.width(), image.height(), |x, y| {
                let [red, green, blue, alpha] = image.get_pixel(x, y).0;
                over_white([red, green, blue], alpha)
            })
        }
        image => image.into_rgb8(),
    })
}

/// Pillow's fixed-point compositing over opaque white: seven fraction bits, then a rounded division by 255.
fn over_white(colour: [u8; 3], alpha: u8) -> image::Rgb<u8> {
    const FRACTION: u32 = 7;
    let front = u32::from(alpha) << FRACTION;
    let back = (255 << FRACTION) - front;
    image::Rgb(colour.map(|value| {
        let sum = u32::from(value) * front + 255 * back + (0x80 << FRACTION);
        ((((sum >> 8) + sum) >> 8) >> FRACTION) as u8
    }))
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use safetensors::SafeTensors;

    use super::*;

    fn folder() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/images")
    }

    fn expected() -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder().join("expected.json")).unwrap()).unwrap()
    }

    fn number(case: &Value, name: &str) -> usize {
        case[name].as_u64().unwrap() as usize
    }

    #[test]
    fn sizes_equal_transformers() {
        for case in expected()["smart_resize"].as_array().unwrap() {
            let get = |name| number(case, name);
            let ours = smart_resize(get("height"), get("width"), 28, get("min_pixels"), get("max_pixels"));
            match case["result"].as_array() {
                Some(size) => {
                    let size = (size[0].as_u64().unwrap() as usize, size[1].as_u64().unwrap() as usize);
                    assert_eq!(ours.unwrap(), size, "{case}");
                }
                None => assert!(ours.is_err(), "{case}"),
            }
        }
    }

    #[test]
    fn pixels_equal_torchvision() {
        let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let processor = ImageProcessor {
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: 2,
            min_pixels: 3136,
            max_pixels: 12544,
            mean: CLIP_MEAN,
            std: CLIP_STD,
        };
        let mut compared = (0, 0);
        for case in expected()["images"].as_array().unwrap().iter().filter(|case| case["config"] == "small") {
            let name = case["image"].as_str().unwrap();
            let file = std::fs::read(folder().join("png").join(format!("{name}.png"))).unwrap();
            let ours = processor.process(&file);
            if !case["error"].is_null() {
                assert!(ours.is_err(), "{name}");
                continue;
            }
            let grid: [usize; 3] = std::array::from_fn(|axis| case["image_grid_thw"][axis].as_u64().unwrap() as usize);
            let ours = ours.unwrap();
            assert_eq!(ours.grid, grid, "{name}");
            if let Ok(resized) = tensors.tensor(&format!("{name}.resized_torchvision_u8")) {
                let [tall, wide] = [resized.shape()[0], resized.shape()[1]];
                if (tall, wide) == (grid[1] * 14, grid[2] * 14) {
                    assert!(resize(decode_rgb(&file).unwrap(), wide, tall).unwrap() == resized.data(), "{name}");
                    compared.0 += 1;
                }
            }
            if let Ok(pixels) = tensors.tensor(&format!("{name}.pixel_values_torchvision")) {
                let pixels = pixels.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                let far = ours.pixels.iter().zip(pixels).filter(|(ours, theirs)| (*ours - theirs).abs() > 1e-6);
                assert_eq!(far.count(), 0, "{name}");
                compared.1 += 1;
            }
        }
        assert!(compared.0 >= 20 && compared.1 == 6, "{compared:?}");
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        let message = |bytes: &[u8]| decode_rgb(bytes).unwrap_err().to_string();
        assert!(message(b"hello").contains("neither a PNG nor a JPEG file"));
        assert!(message(b"\x89PNG\r\n\x1a\n").contains("cannot be decoded"));
    }
}
