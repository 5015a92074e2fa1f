//! Sizes, decoded files and patches against transformers, torchvision and Pillow.

use std::path::PathBuf;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::json;

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

/// A processor for patches of 14 with the given settings.
fn processor(settings: &Value) -> Result<ImageProcessor> {
    processor_of(&[("preprocessor_config.json", settings)])
}

fn processor_of(settings: &[(&str, &Value)]) -> Result<ImageProcessor> {
    let folder = tempfile::tempdir().unwrap();
    let mut files = ModelFiles::default();
    for (name, content) in settings {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        files.files.insert((*name).to_owned(), path);
    }
    ImageProcessor::load(&files, &vision())
}

fn vision() -> VisionConfig {
    VisionConfig {
        depth: 1,
        hidden_size: 8,
        intermediate_size: 8,
        heads: 1,
        channels: 3,
        patch_size: 14,
        temporal_patch_size: 2,
        spatial_merge_size: 2,
        window_size: 112,
        full_attention_blocks: vec![],
        out_hidden_size: 8,
    }
}

fn floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
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
    let processor = processor(&json!({"min_pixels": 3136, "max_pixels": 12544})).unwrap();
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
            let pixels = floats(pixels.data());
            let far = ours.pixels.iter().zip(pixels).filter(|(ours, theirs)| (*ours - theirs).abs() > 1e-6);
            assert_eq!(far.count(), 0, "{name}");
            compared.1 += 1;
        }
    }
    assert!(compared.0 >= 20 && compared.1 == 6, "{compared:?}");
}

/// Every form of every format, to the byte. `RUMINATE_REFERENCE_IMAGES` names another folder that `make_formats.py` wrote.
#[test]
fn files_of_all_forms_decode_as_in_pillow() {
    let folder = std::env::var_os("RUMINATE_REFERENCE_IMAGES").map_or_else(|| folder().join("formats"), PathBuf::from);
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let pixels = std::fs::read(folder.join("pixels.safetensors")).ok();
    let pixels = pixels.as_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let processor = processor(&json!({"size": {"shortest_edge": 3136, "longest_edge": 12544}})).unwrap();
    for (name, expected) in tensors.iter() {
        let file = std::fs::read(folder.join(name)).unwrap();
        let ours = decode_rgb(&file).unwrap();
        assert_eq!([ours.height() as usize, ours.width() as usize], expected.shape()[..2], "{name}");
        assert!(ours.as_raw() == expected.data(), "{name}");
        if let Some(theirs) = pixels.as_ref().map(|tensors| floats(tensors.tensor(name).unwrap().data())) {
            let ours = processor.process(&file).unwrap().pixels;
            assert_eq!(ours.len(), theirs.len(), "{name}");
            let worst = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{name}: pixels differ by {worst}");
        }
    }
}

#[test]
fn settings_have_transformers_meaning() {
    let image = std::fs::read(folder().join("png/shapes_112x112.png")).unwrap();
    let grid = |settings: Value| processor(&settings).unwrap().process(&image).unwrap().grid;
    assert_eq!(grid(json!({})), [1, 8, 8]);
    assert_eq!(grid(json!({"max_pixels": 28 * 28})), [1, 2, 2]);
    assert_eq!(grid(json!({"min_pixels": 100_000, "max_pixels": 200_000})), [1, 24, 24]);
    assert_eq!(grid(json!({"size": {"shortest_edge": 3136, "longest_edge": 3136}})), [1, 4, 4]);
    assert_eq!(grid(json!({"size": {"min_pixels": 3136, "max_pixels": 3136}})), [1, 4, 4]);
    // A field of its own overrides the one in `size`.
    assert_eq!(grid(json!({"max_pixels": 784, "min_pixels": 784, "size": {"longest_edge": 12544}})), [1, 2, 2]);
    assert_eq!(grid(json!({"do_resize": false, "max_pixels": 784})), [1, 8, 8]);
    let bounded = processor(&json!({"max_pixels": 3136})).unwrap();
    assert_eq!(bounded.clone().with_max_pixels(784).grid(112, 112).unwrap(), (2, 2));
    assert_eq!(
        bounded.with_max_pixels(1 << 20).grid(112, 112).unwrap(),
        (4, 4),
        "a checkpoint's bound is never raised"
    );

    let (own, nested) = (json!({"max_pixels": 784}), json!({"image_processor": {"max_pixels": 3136}}));
    let both = processor_of(&[("preprocessor_config.json", &own), ("processor_config.json", &nested)]).unwrap();
    assert_eq!(both.process(&image).unwrap().grid, [1, 4, 4]);
    let empty = processor_of(&[("preprocessor_config.json", &own), ("processor_config.json", &json!({}))]).unwrap();
    assert_eq!(empty.process(&image).unwrap().grid, [1, 2, 2]);

    let white = |settings: Value| processor(&settings).unwrap().values[0][255];
    assert!((white(json!({})) - 1.930_336_4).abs() < 1e-6);
    assert!((white(json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]})) - 2.0).abs() < 1e-6);
    assert!((white(json!({"image_mean": 0.5, "image_std": 0.25})) - 2.0).abs() < 1e-6);
    assert!((white(json!({"do_normalize": false})) - 1.0).abs() < 1e-6);
    assert_eq!(white(json!({"do_normalize": false, "do_rescale": false})), 255.0);
    assert!((white(json!({"do_rescale": false, "image_mean": 55, "image_std": 2})) - 100.0).abs() < 1e-4);
    assert!((white(json!({"rescale_factor": 1.0 / 127.5, "image_mean": 1, "image_std": 0.5})) - 2.0).abs() < 1e-6);

    let message = |settings: Value| processor(&settings).unwrap_err().to_string();
    for (settings, expected) in [
        (json!({"patch_size": 16}), "`patch_size` is 16, expected the vision tower's 14"),
        (json!({"max_pixels": 0}), "`max_pixels` is 0, expected a whole number of pixels from 1 to 67108864"),
        (
            json!({"min_pixels": u64::MAX}),
            "`min_pixels` is 18446744073709551615, expected a whole number of pixels from 1 to 67108864",
        ),
        (json!({"resample": 2}), "`resample` is 2, expected 3, bicubic"),
        (json!({"image_std": [0, 1, 1]}), "`image_std` is [0,1,1], expected numbers other than zero"),
        (json!({"image_mean": [1]}), "`image_mean` is [1], expected three numbers"),
        (json!({"do_resize": 1}), "`do_resize` is 1, expected true or false"),
    ] {
        assert_eq!(message(settings), format!("`preprocessor_config.json`: {expected}"));
    }
    let odd = processor(&json!({"do_resize": false})).unwrap().grid(112, 100).unwrap_err().to_string();
    assert_eq!(odd, "image: 100x112 pixels, expected multiples of 28: `do_resize` is false");
}

fn message(bytes: &[u8]) -> String {
    decode_rgb(bytes).unwrap_err().to_string()
}

#[test]
fn files_that_are_no_image_are_refused() {
    assert_eq!(message(b""), "image: the file is empty, expected PNG, JPEG, WebP, GIF or BMP");
    assert_eq!(message(b"hello"), "image: the bytes are no image file, expected PNG, JPEG, WebP, GIF or BMP");
    let tiff = message(b"II\x2a\0\x08\0\0\0");
    assert_eq!(tiff, "image: the bytes are a TIFF file, expected PNG, JPEG, WebP, GIF or BMP");
    let strip = smart_resize(1, 201, 28, 3136, 12544).unwrap_err().to_string();
    assert_eq!(strip, "image: 201x1 pixels, expected sides of which one is at most 200 times the other");
}

/// A file of each format and coding.
const DAMAGED: [&str; 20] = [
    "rgb.png",
    "interlaced_rgba.png",
    "palette.png",
    "photo.jpg",
    "progressive.jpg",
    "mixed.jpg",
    "restarts.jpg",
    "arithmetic.jpg",
    "cmyk.jpg",
    "lossy.webp",
    "lossy_alpha.webp",
    "lossless_alpha.webp",
    "frame_alpha.webp",
    "palette.gif",
    "interlaced.gif",
    "frame_key.gif",
    "palette4.bmp",
    "rgb.bmp",
    "alpha32.bmp",
    "runs8.bmp",
];

#[test]
fn damaged_files_are_an_error_or_an_image() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for name in DAMAGED {
        let file = std::fs::read(folder().join("formats").join(name)).unwrap();
        // What comes last may say no more than that the file ends.
        let (_, format) = name.split_once('.').unwrap();
        let end = match format {
            "png" => 12,
            "jpg" => 2,
            "gif" => 4,
            _ => 0,
        };
        for length in 12..file.len() - end {
            let message = message(&file[..length]);
            assert!(message.contains("file is damaged or truncated: "), "{name} cut to {length}: {message}");
        }
        for _ in 0..200 {
            let mut damaged = file.clone();
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..file.len());
                damaged[place] = random.random();
            }
            let _ = decode_rgb(&damaged);
        }
    }
}

/// The sizes and the numbers of scans that a header claims.
#[test]
fn files_that_claim_too_much_are_refused() {
    let checksum = [0x39, 0x67, 0x4e, 0x07];
    let png = [&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff][..], &[8, 2, 0, 0, 0], &checksum].concat();
    let three = [0xfe, 0xff, 0, 0xfe, 0xff, 0];
    for (name, side, claim, places) in [
        ("rgb.png", 65535, &png[..], 16..33),
        // libjpeg takes no more.
        ("photo.jpg", 65500, &[0xff, 0xdc, 0xff, 0xdc], 163..167),
        ("palette.gif", 65535, &[0xff; 4], 6..10),
        ("frame_alpha.webp", 65535, &three, 24..30),
        ("rgb.bmp", 65535, &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0], 18..26),
    ] {
        let mut bomb = std::fs::read(folder().join("formats").join(name)).unwrap();
        bomb[places].copy_from_slice(claim);
        let expected = format!("image: {side}x{side} pixels, expected at most 178956970 in all");
        assert_eq!(message(&bomb), expected, "{name}");
    }
    let scans = [&[0xff, 0xd8][..], &[0xff, 0xda].repeat(501)].concat();
    assert_eq!(message(&scans), "image: the JPEG file has 501 scans, expected at most 500");
}
