//! Writes what the three tiny models of the examples have beside their weights: configuration, tokenizer, chat
//! template and picture size. The tokenizer is trained on the corpora that `make_visual_math --pretrain` wrote.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{Array, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl};

/// Parts of speech and of pictures that no text may be mistaken for.
const SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];
/// Marks of the response form: one token each, kept when a response is decoded.
const MARKS: [&str; 4] = ["<think>", "</think>", "<answer>", "</answer>"];
/// How Qwen2 cuts text before merging: words with their space, single digits, runs of signs.
const CUTS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const ROLES: &str = "user\nassistant\n";
const VOCABULARY_MAX: usize = 512;
const TEXTS_PER_CORPUS: usize = 8_000;
const OCCURRENCES_MIN: u64 = 20;

/// ChatML without a system turn; an image becomes one placeholder between its two marks.
const CHAT_TEMPLATE: &str = "\
{%- for message in messages -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or part['type'] == 'image_url' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
";

type Tokenizer = TokenizerImpl<BPE, NFC, Sequence, ByteLevel, ByteLevel>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let corpora = arguments.next().map(PathBuf::from).ok_or("usage: make_tiny_configs CORPORA [OUT]")?;
    let out = arguments
        .next()
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/models/configs")), PathBuf::from);
    let tokenizer = train(&corpora).map_err(|error| error.to_string())?;
    for (name, sees) in [("tiny-vl", true), ("tiny-captioner", true), ("tiny-reasoner", false)] {
        let folder = out.join(name);
        fs::create_dir_all(&folder)?;
        let size = tokenizer.get_vocab_size(true);
        let id = |token: &str| tokenizer.token_to_id(token).ok_or(format!("`{token}` is not in the vocabulary"));
        let config = if sees { vision_config(size, id)? } else { text_config(size, id)? };
        write_json(&folder.join("config.json"), &config)?;
        write_json(&folder.join("generation_config.json"), &generation_config(id)?)?;
        write_json(&folder.join("tokenizer_config.json"), &tokenizer_config(id)?)?;
        if sees {
            write_json(&folder.join("preprocessor_config.json"), &preprocessor_config())?;
        }
        fs::write(folder.join("chat_template.jinja"), CHAT_TEMPLATE)?;
        tokenizer.save(folder.join("tokenizer.json"), true).map_err(|error| error.to_string())?;
        eprintln!("{}: {size} tokens", folder.display());
    }
    Ok(())
}

fn train(corpora: &Path) -> tokenizers::Result<Tokenizer> {
    let cuts = Split::new(SplitPattern::Regex(CUTS.to_owned()), SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(Sequence::new(vec![cuts.into(), bytes.into()])))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes))
        .build()?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY_MAX - SPECIAL.len() - MARKS.len())
        .min_frequency(OCCURRENCES_MIN)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut texts = vec![ROLES.to_owned(); TEXTS_PER_CORPUS / 4];
    for name in ["tiny-vl", "tiny-reasoner"] {
        texts.extend(read_texts(&corpora.join(format!("{name}.parquet")))?);
    }
    tokenizer.train(&mut trainer, texts.into_iter())?;
    tokenizer.add_special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)))?;
    tokenizer.add_tokens(MARKS.map(|token| AddedToken::from(token, false).normalized(false)))?;
    Ok(tokenizer)
}

/// Prompts and responses from the start of a corpus, without the marks of the response form.
fn read_texts(path: &Path) -> tokenizers::Result<Vec<String>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["prompt", "response"]);
    let mut texts = Vec::new();
    for batch in builder.with_projection(columns).with_limit(TEXTS_PER_CORPUS).build()? {
        for column in batch?.columns() {
            let column = column.as_any().downcast_ref::<StringArray>().ok_or("a corpus column is not text")?;
            texts.extend(
                column
                    .iter()
                    .flatten()
                    .map(|text| MARKS.iter().fold(text.to_owned(), |text, mark| text.replace(mark, "\n"))),
            );
        }
    }
    Ok(texts)
}

fn write_json(path: &Path, value: &Value) -> Result<(), Box<dyn Error>> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n")?;
    Ok(())
}

/// The transformer that both kinds of model share.
fn decoder_config(vocabulary: usize, id: impl Fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    Ok(json!({
        "attention_dropout": 0.0,
        "bos_token_id": id("<|endoftext|>")?,
        "eos_token_id": id("<|im_end|>")?,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.05,
        "intermediate_size": 384,
        "max_position_embeddings": 512,
        "max_window_layers": 4,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 512,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "use_sliding_window": false,
        "vocab_size": vocabulary,
    }))
}

fn text_config(vocabulary: usize, id: impl Fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    let mut config = decoder_config(vocabulary, id)?;
    config["architectures"] = json!(["Qwen2ForCausalLM"]);
    config["model_type"] = json!("qwen2");
    Ok(config)
}

fn vision_config(vocabulary: usize, id: impl Fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    let mut config = decoder_config(vocabulary, &id)?;
    config["architectures"] = json!(["Qwen2_5_VLForConditionalGeneration"]);
    config["model_type"] = json!("qwen2_5_vl");
    config["vision_start_token_id"] = json!(id("<|vision_start|>")?);
    config["vision_end_token_id"] = json!(id("<|vision_end|>")?);
    config["vision_token_id"] = json!(id("<|vision_pad|>")?);
    config["image_token_id"] = json!(id("<|image_pad|>")?);
    config["video_token_id"] = json!(id("<|video_pad|>")?);
    config["rope_scaling"] = json!({ "type": "mrope", "mrope_section": [4, 6, 6] });
    config["vision_config"] = json!({
        "model_type": "qwen2_5_vl",
        "depth": 2,
        "fullatt_block_indexes": [1],
        "hidden_act": "silu",
        "hidden_size": 96,
        "in_chans": 3,
        "in_channels": 3,
        "intermediate_size": 192,
        "num_heads": 4,
        "out_hidden_size": 128,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "spatial_patch_size": 7,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "window_size": 28,
    });
    Ok(config)
}

fn generation_config(id: impl Fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    Ok(json!({
        "bos_token_id": id("<|endoftext|>")?,
        "do_sample": false,
        "eos_token_id": [id("<|im_end|>")?, id("<|endoftext|>")?],
        "pad_token_id": id("<|endoftext|>")?,
    }))
}

/// Pictures of 56 x 56 pixels stay as they are.
fn preprocessor_config() -> Value {
    json!({
        "do_convert_rgb": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "max_pixels": 3136,
        "merge_size": 2,
        "min_pixels": 3136,
        "patch_size": 7,
        "processor_class": "Qwen2_5_VLProcessor",
        "temporal_patch_size": 2,
    })
}

fn tokenizer_config(id: impl Fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    let mut added = serde_json::Map::new();
    for (token, special) in SPECIAL.map(|token| (token, true)).into_iter().chain(MARKS.map(|token| (token, false))) {
        added.insert(
            id(token)?.to_string(),
            json!({
                "content": token,
                "lstrip": false,
                "normalized": false,
                "rstrip": false,
                "single_word": false,
                "special": special,
            }),
        );
    }
    Ok(json!({
        "add_bos_token": false,
        "add_prefix_space": false,
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL[1..],
        "bos_token": null,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 512,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": false,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null,
    }))
}
