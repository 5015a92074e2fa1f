//! What a model is and what it takes, from its `config.json` and the headers of its weights: parameters by part, bytes of memory
//! for sampling and training, tokens per image. Loads no weights.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::Value;

use crate::config::ModelConfig;
use crate::image::ImageProcessor;
use crate::model::parameters::specs;
use crate::types::ModelFiles;
use crate::{Error, Result};

/// The rank that the figure for LoRA is for.
pub const LORA_RANK: u64 = 16;
/// Images whose tokens are counted, width and height.
const IMAGE_SIZES: [(usize, usize); 5] = [(224, 224), (512, 512), (1024, 768), (1920, 1080), (4032, 3024)];
/// No header of a weight file is longer.
const MAX_HEADER: u64 = 100_000_000;

/// The numbers of a model.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// Its `config.json`.
    pub config: ModelConfig,
    /// Parameters by part.
    pub parameters: Parameters,
    /// Values per type (`BF16`, ...) in the weight files; empty where the folder has none.
    pub saved: BTreeMap<String, u64>,
    /// Values in the cache of keys and values per token of one sequence.
    pub cache_values_per_token: u64,
    /// What memory is needed for what.
    pub needs: Vec<Need>,
    /// Width, height and tokens of some images; empty without a vision tower.
    pub image_tokens: Vec<(usize, usize, usize)>,
}

/// Parameters by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The vision tower with its merger.
    pub vision: u64,
    /// The embedding table.
    pub embeddings: u64,
    /// The decoder's layers and last norm.
    pub text: u64,
    /// The output head; zero when it is the embedding table.
    pub head: u64,
}

impl Parameters {
    /// All of them.
    pub fn total(self) -> u64 {
        self.vision + self.embeddings + self.text + self.head
    }
}

/// Memory that a use of the model takes, activations left out: they depend on the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// `inference`, `lora` or `full training`.
    pub purpose: &'static str,
    /// The type of the weights in use.
    pub precision: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Which bytes these are, per parameter.
    pub rule: String,
}

impl Footprint {
    /// The numbers of the model in `files`; its weights may be missing.
    ///
    /// # Errors
    /// When its configuration is missing or unusable, or a weight file is no safetensors file.
    pub fn of(files: &ModelFiles) -> Result<Self> {
        let config = ModelConfig::load(files)?;
        let parameters = count(&config);
        let image_tokens = match &config.vision {
            Some(vision) => image_tokens(&ImageProcessor::load(files, vision)?, vision.merge_unit()),
            None => Vec::new(),
        };
        let text = &config.text;
        Ok(Footprint {
            parameters,
            saved: saved_values(files)?,
            cache_values_per_token: 2 * (text.layers * text.kv_heads * text.head_dim) as u64,
            needs: needs(parameters.total(), adapter(&config)),
            image_tokens,
            config,
        })
    }
}

fn count(config: &ModelConfig) -> Parameters {
    let mut parameters = Parameters::default();
    for spec in specs(config) {
        let part = match spec.name.as_str() {
            name if name.starts_with("visual.") => &mut parameters.vision,
            name if name.starts_with("model.embed_tokens.") => &mut parameters.embeddings,
            name if name.starts_with("lm_head.") => &mut parameters.head,
            _ => &mut parameters.text,
        };
        *part += spec.dims.iter().map(|size| *size as u64).product::<u64>();
    }
    parameters
}

/// Parameters of a LoRA of rank [`LORA_RANK`] on every linear layer of the decoder.
fn adapter(config: &ModelConfig) -> u64 {
    let layers = specs(config).into_iter().filter(|spec| spec.name.starts_with("model.layers."));
    let matrices = layers.flat_map(|spec| spec.saved).filter(|saved| saved.shape.len() == 2);
    matrices.map(|saved| LORA_RANK * saved.shape.iter().map(|side| *side as u64).sum::<u64>()).sum()
}

fn needs(parameters: u64, adapter: u64) -> Vec<Need> {
    let need = |purpose, precision, bytes, rule: &str| Need { purpose, precision, bytes, rule: rule.to_owned() };
    vec![
        need("inference", "f32", 4 * parameters, "4 a parameter; the cache of keys and values is extra"),
        need("inference", "bf16", 2 * parameters, "2 a parameter; the cache of keys and values is extra"),
        need(
            "lora",
            "bf16",
            2 * parameters + 16 * adapter,
            &format!(
                "2 a frozen parameter; 16 for each of {:.1} million of rank {LORA_RANK} on the decoder's linear layers (weight \
                 2, gradient 2, f32 master 4, moments 8); usual on GPUs, not in this program",
                adapter as f64 / 1e6
            ),
        ),
        need(
            "full training",
            "f32",
            16 * parameters,
            "16 a parameter: weight 4, gradient 4 (for each shard of a step), moments 8 (this program)",
        ),
        need(
            "full training",
            "bf16",
            16 * parameters,
            "16 a parameter: weight 2, gradient 2, f32 master 4, moments 8 (usual on GPUs)",
        ),
    ]
}

fn image_tokens(processor: &ImageProcessor, merge_unit: usize) -> Vec<(usize, usize, usize)> {
    let tokens = |(width, height): (usize, usize)| {
        let (rows, columns) = processor.grid(height, width).ok()?;
        Some((width, height, rows * columns / merge_unit))
    };
    IMAGE_SIZES.into_iter().filter_map(tokens).collect()
}

/// Values per type in the headers of the weight files.
fn saved_values(files: &ModelFiles) -> Result<BTreeMap<String, u64>> {
    let mut saved = BTreeMap::new();
    for (name, path) in files.files.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
        let failed = |error| Error::read(path, error);
        let damaged = |found: String| Error::model_file(name, format!("expected a safetensors file: {found}"));
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut header = Vec::new();
        file.by_ref().take(8).read_to_end(&mut header).map_err(failed)?;
        let Some(length) = header.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Err(damaged(format!("it has {} bytes", header.len())));
        };
        if length > MAX_HEADER {
            return Err(damaged(format!("its header claims {length} bytes")));
        }
        file.take(length).read_to_end(&mut header).map_err(failed)?;
        let header: serde_json::Map<String, Value> =
            serde_json::from_slice(&header[8..]).map_err(|error| damaged(error.to_string()))?;
        for (tensor, info) in header.iter().filter(|(tensor, _)| *tensor != "__metadata__") {
            let shape: Option<Vec<u64>> =
                info["shape"].as_array().and_then(|shape| shape.iter().map(Value::as_u64).collect());
            let values =
                shape.and_then(|shape| shape.iter().try_fold(1u64, |product, side| product.checked_mul(*side)));
            let (Some(kind), Some(values)) = (info["dtype"].as_str(), values) else {
                return Err(damaged(format!("`{tensor}` has no `dtype` and `shape`")));
            };
            let sum = saved.entry(kind.to_owned()).or_insert(0u64);
            *sum = sum.saturating_add(values);
        }
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    fn published(text: (usize, usize, usize, usize, usize, usize), tied: bool) -> ModelConfig {
        let (hidden, inner, layers, heads, keys, vocabulary) = text;
        let config = json!({
            "model_type": "qwen2_5_vl", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": vocabulary, "rms_norm_eps": 1e-6,
            "tie_word_embeddings": tied, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vision_config": {"hidden_size": 1280, "num_heads": 16, "out_hidden_size": hidden}
        });
        ModelConfig::from_json(&config).unwrap()
    }

    #[test]
    fn published_sizes_have_the_published_counts() {
        let small = count(&published((2048, 11_008, 36, 16, 2, 151_936), true));
        assert_eq!((small.total(), small.head), (3_754_622_976, 0));
        assert_eq!(small.embeddings, 151_936 * 2048);
        let large = count(&published((3584, 18_944, 28, 28, 4, 152_064), false));
        assert_eq!(large.total(), 8_292_166_656);
        assert_eq!((large.head, large.vision), (152_064 * 3584, 676_550_144));
    }

    #[test]
    fn a_folder_with_and_without_weights_has_the_same_needs() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model");
        let mut files = ModelFiles::from_folder(&folder.join("tiny_tied_bf16")).unwrap();
        let whole = Footprint::of(&files).unwrap();
        assert_eq!(whole.saved, BTreeMap::from([("BF16".to_owned(), whole.parameters.total())]));
        // Two layers of keys and values of two heads of 16.
        assert_eq!(whole.cache_values_per_token, 2 * 2 * 2 * 16);
        let rank = LORA_RANK * 2 * (2 * (64 + 64) + 2 * (32 + 64) + 3 * (112 + 64)) as u64;
        assert_eq!(whole.needs[2].bytes, 2 * whole.parameters.total() + 16 * rank);
        // 12,544 pixels are four tokens a side at most.
        assert_eq!(whole.image_tokens[0], (224, 224, 16));
        files.files.retain(|name, _| !name.ends_with(".safetensors"));
        let bare = Footprint::of(&files).unwrap();
        assert_eq!((bare.saved.len(), bare.needs), (0, whole.needs));
    }

    #[test]
    fn damaged_weights_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
        let mut files = ModelFiles::from_folder(&source).unwrap();
        let path = folder.path().join("model.safetensors");
        files.files.insert("model.safetensors".to_owned(), path.clone());
        for (content, expected) in [
            (&b"abc"[..], "`model.safetensors`: expected a safetensors file: it has 3 bytes"),
            (&[0xff; 9], "its header claims 18446744073709551615 bytes"),
            (&[200, 0, 0, 0, 0, 0, 0, 0, b'{'], "expected a safetensors file: "),
            (b"\x0a\0\0\0\0\0\0\0{\"a\":null}", "`a` has no `dtype` and `shape`"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = Footprint::of(&files).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
