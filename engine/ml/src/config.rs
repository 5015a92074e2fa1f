//! A model's `config.json`: Qwen2.5-VL as published (flat), as transformers 5 saves it (`text_config`,
//! `rope_parameters`), and text-only Qwen2. Knows nothing of tensors.

use serde_json::Value;

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
        let root = Section { file: CONFIG_FILE, path: String::new(), value: root };
        let model_type = root.text("model_type")?;
        let vision_language = match model_type {
            "qwen2_5_vl" => true,
            "qwen2" => false,
            other => {
                return Err(root.error("model_type", &format!("`{other}`"), "`qwen2_5_vl` or `qwen2`"));
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
                .ok_or_else(|| root.error("vision_config", "nothing", "an object with the vision tower's sizes"))?;
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
            match section.value.get(name).and_then(Value::as_str) {
                Some("float32") => return Ok(SaveType::F32),
                Some("bfloat16") => return Ok(SaveType::Bf16),
                Some("float16") => return Ok(SaveType::F16),
                Some(other) => {
                    return Err(section.error(name, &format!("`{other}`"), "`float32`, `bfloat16` or `float16`"));
                }
                None => {}
            }
        }
    }
    Ok(SaveType::F32)
}

fn read_text(fields: &Section<'_>, tied: bool, vision_language: bool) -> Result<TextConfig> {
    let heads = fields.count("num_attention_heads")?;
    let hidden_size = fields.count("hidden_size")?;
    let head_dim = match fields.optional_count("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(fields.error(
                "hidden_size",
                &hidden_size.to_string(),
                &format!("a multiple of `num_attention_heads`, {heads}"),
            ));
        }
    };
    let kv_heads = fields.optional_count("num_key_value_heads")?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(fields.error("num_key_value_heads", &kv_heads.to_string(), &format!("a divisor of {heads}")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(fields.error("head_dim", &head_dim.to_string(), "an even number, as rotary positions need"));
    }
    expect_silu(fields)?;
    if fields.boolean("use_sliding_window")?.unwrap_or(false) {
        return Err(fields.error("use_sliding_window", "true", "false: sliding-window attention is not supported"));
    }
    let (rope_theta, mrope_section) = read_rope(fields, head_dim, vision_language)?;
    Ok(TextConfig {
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        intermediate_size: fields.count("intermediate_size")?,
        layers: fields.count("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(if vision_language { 1e-5 } else { 1e-6 }),
        rope_theta,
        mrope_section,
        tied,
        initializer_range: fields.number("initializer_range")?.unwrap_or(0.02),
        max_positions: fields.optional_count("max_position_embeddings")?.unwrap_or(32_768),
    })
}

fn expect_silu(fields: &Section<'_>) -> Result<()> {
    match fields.value.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu") => Ok(()),
        Some(other) => Err(fields.error("hidden_act", &format!("`{other}`"), "`silu`")),
    }
}

/// The rotary base and the split of the frequencies. `rope_scaling` is the published name, `rope_parameters` that of
/// transformers 5; `mrope` and `default` both mean unscaled frequencies.
fn read_rope(fields: &Section<'_>, head_dim: usize, vision_language: bool) -> Result<(f64, Option<[usize; 3]>)> {
    let section = match fields.section("rope_parameters")? {
        Some(section) => Some(section),
        None => fields.section("rope_scaling")?,
    };
    let mut theta = fields.number("rope_theta")?;
    let mut mrope = None;
    if let Some(section) = section {
        for name in ["rope_type", "type"] {
            match section.value.get(name).and_then(Value::as_str) {
                None | Some("default" | "mrope") => {}
                Some(other) => return Err(section.error(name, &format!("`{other}`"), "`default` or `mrope`")),
            }
        }
        theta = section.number("rope_theta")?.or(theta);
        mrope = section.counts("mrope_section")?;
    }
    let mrope_section = match mrope {
        None if vision_language => {
            let name = "rope_scaling.mrope_section";
            return Err(fields.error(name, "nothing", "three numbers, the rotary frequencies per axis"));
        }
        None => None,
        Some(counts) => match <[usize; 3]>::try_from(counts.as_slice()) {
            Ok(section) if section.iter().sum::<usize>() * 2 == head_dim => Some(section),
            _ => {
                let expected = format!("three numbers that sum to half of the head width, {}", head_dim / 2);
                return Err(fields.error("mrope_section", &format!("{counts:?}"), &expected));
            }
        },
    };
    Ok((theta.unwrap_or(if vision_language { 1e6 } else { 1e4 }), mrope_section))
}

/// Fields that a re-saved checkpoint leaves out have the values of transformers' class, where they differ from the
/// published 7B's only in what that always names itself.
fn read_vision(fields: &Section<'_>, text: &TextConfig) -> Result<VisionConfig> {
    let channels = match fields.optional_count("in_channels")? {
        Some(channels) => channels,
        None => fields.optional_count("in_chans")?.unwrap_or(3),
    };
    let full_attention_blocks = fields.counts("fullatt_block_indexes")?.unwrap_or_else(|| vec![7, 15, 23, 31]);
    let vision = VisionConfig {
        depth: fields.optional_count("depth")?.unwrap_or(32),
        hidden_size: fields.optional_count("hidden_size")?.unwrap_or(3584),
        intermediate_size: fields.optional_count("intermediate_size")?.unwrap_or(3420),
        heads: fields.optional_count("num_heads")?.unwrap_or(16),
        channels,
        patch_size: fields.optional_count("patch_size")?.unwrap_or(14),
        temporal_patch_size: fields.optional_count("temporal_patch_size")?.unwrap_or(2),
        spatial_merge_size: fields.optional_count("spatial_merge_size")?.unwrap_or(2),
        window_size: fields.optional_count("window_size")?.unwrap_or(112),
        full_attention_blocks,
        out_hidden_size: fields.optional_count("out_hidden_size")?.unwrap_or(3584),
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
    Ok(vision)
}

/// An object of a JSON file, with its place for error messages.
struct Section<'a> {
    file: &'static str,
    path: String,
    value: &'a Value,
}

impl<'a> Section<'a> {
    fn error(&self, name: &str, found: &str, expected: &str) -> Error {
        Error::model_file(self.file, format!("`{}{name}` is {found}, expected {expected}", self.path))
    }

    fn present(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    fn section(&self, name: &str) -> Result<Option<Section<'a>>> {
        match self.present(name) {
            None => Ok(None),
            Some(value) if value.is_object() => {
                Ok(Some(Section { file: self.file, path: format!("{}{name}.", self.path), value }))
            }
            Some(value) => Err(self.error(name, &value.to_string(), "an object")),
        }
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        let value = self.present(name).ok_or_else(|| self.error(name, "nothing", "a text"))?;
        value.as_str().ok_or_else(|| self.error(name, &value.to_string(), "a text"))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.error(name, &value.to_string(), "true or false"))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number > 0.0 => Ok(Some(number)),
            _ => Err(self.error(name, &value.to_string(), "a positive number")),
        }
    }

    fn optional_count(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        match value.as_u64() {
            // The bound keeps products of two sizes inside a `usize`.
            Some(count) if (1..=u64::from(u32::MAX)).contains(&count) => Ok(Some(count as usize)),
            _ => Err(self.error(name, &value.to_string(), "a whole number above zero")),
        }
    }

    fn count(&self, name: &str) -> Result<usize> {
        self.optional_count(name)?.ok_or_else(|| self.error(name, "nothing", "a whole number above zero"))
    }

    fn counts(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        let counts = value.as_array().and_then(|list| {
            list.iter().map(|item| item.as_u64().and_then(|count| usize::try_from(count).ok())).collect()
        });
        counts.map(Some).ok_or_else(|| self.error(name, &value.to_string(), "a list of whole numbers"))
    }

    fn token(&self, name: &str) -> Result<Option<u32>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        let token = value.as_u64().and_then(|token| u32::try_from(token).ok());
        token.map(Some).ok_or_else(|| self.error(name, &value.to_string(), "a token id"))
    }

    fn tokens(&self, name: &str) -> Result<Vec<u32>> {
        match self.present(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| {
                    let token = item.as_u64().and_then(|token| u32::try_from(token).ok());
                    token.ok_or_else(|| self.error(name, &item.to_string(), "a token id"))
                })
                .collect(),
            Some(_) => Ok(self.token(name)?.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tiny() -> Value {
        json!({
            "model_type": "qwen2_5_vl", "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "rms_norm_eps": 1e-6,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "torch_dtype": "bfloat16",
            "vision_config": {"hidden_size": 48, "num_heads": 3, "out_hidden_size": 64}
        })
    }

    #[test]
    fn nested_form_equals_flat_form() {
        let flat = ModelConfig::from_json(&tiny()).unwrap();
        let mut text = tiny();
        let vision = text.as_object_mut().unwrap().remove("vision_config").unwrap();
        let rope = text.as_object_mut().unwrap().remove("rope_scaling").unwrap();
        text["rope_parameters"] = json!({"rope_type": "default", "mrope_section": rope["mrope_section"]});
        let nested =
            json!({"model_type": "qwen2_5_vl", "dtype": "bfloat16", "text_config": text, "vision_config": vision});
        assert_eq!(flat, ModelConfig::from_json(&nested).unwrap());
        assert_eq!(flat.vision.unwrap().full_attention_blocks, [7, 15, 23, 31]);
    }

    #[test]
    fn errors_name_the_field() {
        for (field, value, expected) in [
            ("hidden_size", json!("x"), "`hidden_size` is \"x\", expected a whole number above zero"),
            ("num_key_value_heads", json!(3), "`num_key_value_heads` is 3, expected a divisor of 4"),
            ("model_type", json!("llama"), "`model_type` is `llama`, expected `qwen2_5_vl` or `qwen2`"),
            ("vocab_size", Value::Null, "`vocab_size` is nothing, expected a whole number above zero"),
        ] {
            let mut config = tiny();
            config[field] = value;
            let message = ModelConfig::from_json(&config).unwrap_err().to_string();
            assert_eq!(message, format!("`config.json`: {expected}"));
        }
    }
}
