//! A model's `config.json`: Qwen2.5-VL as published (flat), as transformers 5 saves it (`text_config`,
//! `rope_parameters`), and text-only Qwen2. Knows nothing of tensors.

mod section;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::section::{Section, shown};
use crate::types::ModelFiles;
use crate::{Error, Result};

/// The name of the file read here.
pub const CONFIG_FILE: &str = "config.json";

/// The type in which weights are saved. Computation is in f32 whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveType {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
    /// 16-bit IEEE floats.
    F16,
}

impl SaveType {
    /// The name that `config.json` has for it.
    pub fn name(self) -> &'static str {
        match self {
            SaveType::F32 => "float32",
            SaveType::Bf16 => "bfloat16",
            SaveType::F16 => "float16",
        }
    }

    /// The bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            SaveType::F32 => 4,
            SaveType::Bf16 | SaveType::F16 => 2,
        }
    }
}

/// The largest sizes that are read. Real ones are far smaller; beyond these, products of sizes would not fit a `usize` and a
/// damaged number would ask for all memory.
mod most {
    pub(super) const LAYERS: usize = 4096;
    pub(super) const HEADS: usize = 4096;
    pub(super) const HEAD_WIDTH: usize = 1 << 13;
    pub(super) const WIDTH: usize = 1 << 20;
    pub(super) const VOCABULARY: usize = 1 << 24;
    pub(super) const PIXELS: usize = 1 << 10;
    pub(super) const WINDOW: usize = 1 << 16;
    pub(super) const FRAMES: usize = 64;
    pub(super) const CELLS: usize = 16;
    pub(super) const POSITIONS: usize = u32::MAX as usize;
}

/// The language model.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many rotary frequencies follow the temporal, height and width axes; none for plain one-axis positions.
    pub mrope_section: Option<[usize; 3]>,
    /// Whether the output head is the embedding table.
    pub tied: bool,
    /// Standard deviation of freshly drawn matrices.
    pub initializer_range: f64,
    /// The longest sequence that the model was made for, in tokens.
    pub max_positions: usize,
}

/// The vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Transformer blocks.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Attention heads.
    pub heads: usize,
    /// Colour channels.
    pub channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side of the square of patches that becomes one token.
    pub spatial_merge_size: usize,
    /// Side of an attention window in pixels.
    pub window_size: usize,
    /// Blocks that attend over the whole image.
    pub full_attention_blocks: Vec<usize>,
    /// Width of the features, the language model's `hidden_size`.
    pub out_hidden_size: usize,
}

impl VisionConfig {
    /// Values in one patch.
    pub fn patch_width(&self) -> usize {
        self.channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches that become one token.
    pub fn merge_unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }
}

/// What `config.json` says about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The language model.
    pub text: TextConfig,
    /// The vision tower, when there is one.
    pub vision: Option<VisionConfig>,
    /// The id of `<|image_pad|>`, when there is a vision tower.
    pub image_token: Option<u32>,
    /// The ids that end a sequence according to `config.json` and `generation_config.json`.
    pub eos_tokens: Vec<u32>,
    /// The type of the saved weights.
    pub save_type: SaveType,
}

impl ModelConfig {
    /// `Qwen2.5-VL` or `Qwen2`.
    pub fn architecture(&self) -> &'static str {
        if self.vision.is_some() { "Qwen2.5-VL" } else { "Qwen2" }
    }

    /// The architecture and the decoder's size in a line.
    pub fn summary(&self) -> String {
        let TextConfig { layers, hidden_size, .. } = &self.text;
        format!("{}, {layers} layers of width {hidden_size}", self.architecture())
    }

    /// Reads `config.json` and, for the stop tokens, `generation_config.json`.
    ///
    /// # Errors
    /// Names the file, the field and what was expected.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let root = files
            .read_json(CONFIG_FILE)?
            .ok_or_else(|| Error::MissingFile { file: CONFIG_FILE.to_owned(), purpose: "loading".to_owned() })?;
        let mut config = Self::from_json(&root)?;
        if let Some(generation) = files.read_json("generation_config.json")? {
            if !generation.is_object() {
                let message =
                    format!("is {}, expected a JSON object with the settings of sampling", shown(&generation));
                return Err(Error::model_file("generation_config.json", message));
            }
            let fields = Section { file: "generation_config.json", path: String::new(), value: &generation };
            for token in fields.tokens("eos_token_id")? {
                if !config.eos_tokens.contains(&token) {
                    config.eos_tokens.push(token);
                }
            }
        }
        Ok(config)
    }

    /// Reads the content of a `config.json`.
    ///
    /// # Errors
    /// Names the field and what was expected.
    pub fn from_json(root: &Value) -> Result<Self> {
        if !root.is_object() {
            return Err(Error::model_file(CONFIG_FILE, "expected a JSON object with the model's sizes"));
        }
        let root = Section { file: CONFIG_FILE, path: String::new(), value: root };
        let model_type = root.text("model_type")?;
        let vision_language = match model_type {
            "qwen2_5_vl" => true,
            "qwen2" => false,
            other => {
                let expected = "`qwen2_5_vl` (Qwen2.5-VL) or `qwen2` (Qwen2, Qwen2.5 and what is distilled into them)";
                return Err(root.error("model_type", &format!("`{other}`"), expected));
            }
        };
        let nested = root.section("text_config")?;
        let text_fields = nested.as_ref().unwrap_or(&root);
        let tied = root.boolean("tie_word_embeddings")?.unwrap_or(false)
            || text_fields.boolean("tie_word_embeddings")?.unwrap_or(false);
        let text = read_text(text_fields, tied, vision_language)?;
        let (vision, image_token) = if vision_language {
            let section = root
                .section("vision_config")?
                .ok_or_else(|| root.error("vision_config", "missing", "an object with the vision tower's sizes"))?;
            let image_token = root.token("image_token_id")?.unwrap_or(151_655);
            (Some(read_vision(&section, &text)?), Some(image_token))
        } else {
            (None, None)
        };
        let mut eos_tokens = root.tokens("eos_token_id")?;
        if eos_tokens.is_empty() {
            eos_tokens = text_fields.tokens("eos_token_id")?;
        }
        Ok(ModelConfig { text, vision, image_token, eos_tokens, save_type: save_type(&root, text_fields)? })
    }
}

fn save_type(root: &Section<'_>, text: &Section<'_>) -> Result<SaveType> {
    for section in [root, text] {
        for name in ["torch_dtype", "dtype"] {
            let Some(value) = section.present(name) else { continue };
            let known = [SaveType::F32, SaveType::Bf16, SaveType::F16];
            let found = known.into_iter().find(|known| value.as_str() == Some(known.name()));
            return found.ok_or_else(|| section.error(name, &shown(value), "`float32`, `bfloat16` or `float16`"));
        }
    }
    Ok(SaveType::F32)
}

/// Fields that a checkpoint may leave out have the values of transformers' configuration classes; sizes that always stand in
/// one are asked for.
fn read_text(fields: &Section<'_>, tied: bool, vision_language: bool) -> Result<TextConfig> {
    let heads = fields.count("num_attention_heads", most::HEADS)?;
    let hidden_size = fields.count("hidden_size", most::WIDTH)?;
    // Qwen2.5-VL's attention asks for this; Qwen2's takes a width of heads of its own.
    let head_dim = match fields.optional_count("head_dim", most::HEAD_WIDTH)? {
        Some(head_dim) if !vision_language || head_dim.checked_mul(heads) == Some(hidden_size) => head_dim,
        Some(head_dim) => {
            let expected = format!("`hidden_size` by `num_attention_heads`, {hidden_size} / {heads}");
            return Err(fields.error("head_dim", &head_dim.to_string(), &expected));
        }
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let expected = format!("a multiple of `num_attention_heads`, {heads}");
            return Err(fields.error("hidden_size", &hidden_size.to_string(), &expected));
        }
    };
    let kv_heads = match fields.value.get("num_key_value_heads") {
        None if vision_language => 8,
        None => 32,
        Some(Value::Null) => heads,
        Some(_) => fields.count("num_key_value_heads", most::HEADS)?,
    };
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of `num_attention_heads`, {heads}");
        return Err(fields.error("num_key_value_heads", &kv_heads.to_string(), &expected));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(fields.error("head_dim", &head_dim.to_string(), "an even number, as rotary positions need"));
    }
    expect_silu(fields)?;
    let layers = fields.count("num_hidden_layers", most::LAYERS)?;
    expect_full_attention(fields, layers, if vision_language { 80 } else { 28 })?;
    let (rope_theta, mrope_section) = read_rope(fields, head_dim, vision_language)?;
    Ok(TextConfig {
        vocab_size: fields.count("vocab_size", most::VOCABULARY)?,
        hidden_size,
        intermediate_size: fields.count("intermediate_size", most::WIDTH)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(if vision_language { 1e-5 } else { 1e-6 }),
        rope_theta,
        mrope_section,
        tied,
        initializer_range: fields.number("initializer_range")?.unwrap_or(0.02),
        max_positions: fields.optional_count("max_position_embeddings", most::POSITIONS)?.unwrap_or(32_768),
    })
}

fn expect_silu(fields: &Section<'_>) -> Result<()> {
    match fields.present("hidden_act") {
        None => Ok(()),
        Some(name) if name == "silu" => Ok(()),
        Some(other) => Err(fields.error("hidden_act", &shown(other), "`silu`")),
    }
}

/// Refuses a model that has layers with a sliding window; one that only could have them passes. `first_default`: the layer from
/// which on they are meant where `max_window_layers` is missing.
fn expect_full_attention(fields: &Section<'_>, layers: usize, first_default: usize) -> Result<()> {
    if !fields.boolean("use_sliding_window")?.unwrap_or(false) {
        return Ok(());
    }
    let width = match fields.value.get("sliding_window") {
        Some(Value::Null) => None,
        _ => Some(fields.optional_count("sliding_window", most::POSITIONS)?.unwrap_or(4096)),
    };
    let slides = match fields.present("layer_types").and_then(Value::as_array) {
        Some(types) => types.iter().any(|kind| kind == "sliding_attention"),
        None => fields.optional_number_of("max_window_layers")?.unwrap_or(first_default) < layers,
    };
    if width.is_some() && slides {
        return Err(fields.error("use_sliding_window", "true", "false: sliding-window attention is not supported"));
    }
    Ok(())
}

/// The rotary base and the split of the frequencies. `rope_scaling` is the published name, which counts where both stand;
/// `rope_parameters` is that of transformers 5. `mrope` and `default` both mean unscaled frequencies.
fn read_rope(fields: &Section<'_>, head_dim: usize, vision_language: bool) -> Result<(f64, Option<[usize; 3]>)> {
    let filled = |section: &Section<'_>| section.value.as_object().is_some_and(|object| !object.is_empty());
    let section = match fields.section("rope_scaling")?.filter(filled) {
        Some(section) => Some(section),
        None => fields.section("rope_parameters")?,
    };
    let mut theta = fields.number("rope_theta")?;
    let mut mrope = None;
    if let Some(section) = section {
        for name in ["rope_type", "type"] {
            match section.present(name) {
                None => {}
                Some(kind) if kind == "default" || kind == "mrope" => {}
                Some(other) => {
                    let expected = "`default` or `mrope`: scaled rotary positions are not supported";
                    return Err(section.error(name, &shown(other), expected));
                }
            }
        }
        theta = section.number("rope_theta")?.or(theta);
        mrope = section.counts("mrope_section")?.map(|counts| (section.path.clone(), counts));
    }
    let theta = theta.unwrap_or(if vision_language { 1e6 } else { 1e4 });
    if !vision_language {
        return Ok((theta, None));
    }
    let (path, counts) = mrope.unwrap_or_else(|| (fields.path.clone(), vec![16, 24, 24]));
    match <[usize; 3]>::try_from(counts.as_slice()) {
        Ok(counts) if counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count)) == Some(head_dim / 2) => {
            Ok((theta, Some(counts)))
        }
        _ => {
            let expected = format!("three numbers that sum to half of the head width, {}", head_dim / 2);
            let at = Section { file: fields.file, path, value: fields.value };
            Err(at.error("mrope_section", &format!("{counts:?}"), &expected))
        }
    }
}

/// Fields that a re-saved checkpoint leaves out have the values of transformers' class, where they differ from the
/// published 7B's only in what that always names itself.
fn read_vision(fields: &Section<'_>, text: &TextConfig) -> Result<VisionConfig> {
    let depth = fields.optional_count("depth", most::LAYERS)?.unwrap_or(32);
    let vision = VisionConfig {
        depth,
        hidden_size: fields.optional_count("hidden_size", most::WIDTH)?.unwrap_or(3584),
        intermediate_size: fields.optional_count("intermediate_size", most::WIDTH)?.unwrap_or(3420),
        heads: fields.optional_count("num_heads", most::HEADS)?.unwrap_or(16),
        // The published files also have `in_chans`, which transformers does not read.
        channels: fields.optional_count("in_channels", most::FRAMES)?.unwrap_or(3),
        patch_size: fields.side("patch_size", most::PIXELS)?.unwrap_or(14),
        temporal_patch_size: fields.side("temporal_patch_size", most::FRAMES)?.unwrap_or(2),
        spatial_merge_size: fields.optional_count("spatial_merge_size", most::CELLS)?.unwrap_or(2),
        window_size: fields.optional_count("window_size", most::WINDOW)?.unwrap_or(112),
        full_attention_blocks: fields.counts("fullatt_block_indexes")?.unwrap_or_else(|| vec![7, 15, 23, 31]),
        out_hidden_size: fields.optional_count("out_hidden_size", most::WIDTH)?.unwrap_or(3584),
    };
    expect_silu(fields)?;
    if vision.out_hidden_size != text.hidden_size {
        let expected = format!("the language model's `hidden_size`, {}", text.hidden_size);
        return Err(fields.error("out_hidden_size", &vision.out_hidden_size.to_string(), &expected));
    }
    if !vision.hidden_size.is_multiple_of(vision.heads * 4) {
        let expected = format!("a multiple of four times `num_heads`, {}", vision.heads * 4);
        return Err(fields.error("hidden_size", &vision.hidden_size.to_string(), &expected));
    }
    let merged = vision.patch_size * vision.spatial_merge_size;
    if vision.window_size < merged || !vision.window_size.is_multiple_of(merged) {
        let expected = format!("a multiple of `patch_size` times `spatial_merge_size`, {merged}");
        return Err(fields.error("window_size", &vision.window_size.to_string(), &expected));
    }
    if let Some(rope) = fields.section("rope_parameters")? {
        let theta = rope.number("rope_theta")?.unwrap_or(1e4);
        if theta != 1e4 {
            return Err(rope.error("rope_theta", &theta.to_string(), "10000"));
        }
    }
    Ok(vision)
}
