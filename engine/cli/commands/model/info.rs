//! `ruminate model info`: what a model folder holds, how large the model is and what memory it takes. Reads no weights.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ruminate_ml::footprint::Footprint;
use serde_json::{Value as Json, json};

use super::unreadable;
use crate::failure::Failure;
use crate::format::{bytes, count, percent, plural};
use crate::registry;
use crate::tables::{Align, Table};
use crate::terminal::{self, STRONG, paint};

/// Bytes of a value in the cache of keys and values, by type.
const CACHE_TYPES: [(&str, u64); 2] = [("f32", 4), ("bf16", 2)];

/// Shows the model in `folder`.
///
/// # Errors
/// A folder that cannot be read, or that holds no model; weights that cannot be used, once the rest is shown.
pub(super) fn info(folder: &Path, json: bool) -> Result<(), Failure> {
    let (files, footprint) = registry::footprint(folder)?;
    let size = |(name, path): (String, PathBuf)| match fs::metadata(&path) {
        Ok(metadata) => Ok((name, metadata.len())),
        Err(error) => Err(unreadable(&path, &error)),
    };
    let files = files.into_iter().map(size).collect::<Result<Vec<_>, Failure>>()?;
    let mut out = terminal::stdout();
    if json {
        writeln!(out, "{}", as_json(&footprint, &files))?;
    } else {
        write!(out, "{}", as_text(&footprint, &files))?;
    }
    let has_weights = |(name, _): &(String, u64)| name.contains(".safetensors");
    if files.iter().any(has_weights) { registry::check_weights(folder, &footprint) } else { Ok(()) }
}

fn as_json(model: &Footprint, files: &[(String, u64)]) -> Json {
    let (text, parameters) = (&model.config.text, model.parameters);
    let vision = model.config.vision.as_ref().map(|vision| {
        json!({
            "layers": vision.depth, "hidden_size": vision.hidden_size, "heads": vision.heads,
            "intermediate_size": vision.intermediate_size, "patch_size": vision.patch_size,
            "merge_size": vision.spatial_merge_size, "window_size": vision.window_size,
            "full_attention_layers": vision.full_attention_blocks,
        })
    });
    let cache = CACHE_TYPES.map(|(name, size)| (name, json!(1000 * size * model.cache_values_per_token)));
    let needs = model
        .needs
        .iter()
        .map(|need| json!({"for": need.purpose, "precision": need.precision, "bytes": need.bytes, "rule": need.rule}));
    let image =
        |(width, height, tokens): &(usize, usize, usize)| json!({"width": width, "height": height, "tokens": tokens});
    json!({
        "summary": model.config.summary(),
        "architecture": model.config.architecture(),
        "vision": vision.is_some(),
        "files": files.iter().map(|(name, size)| json!({"name": name, "bytes": size})).collect::<Vec<_>>(),
        "weights": !model.saved.is_empty(),
        "dtypes": model.saved,
        "context": text.max_positions,
        "text_model": {
            "layers": text.layers, "hidden_size": text.hidden_size, "heads": text.heads, "kv_heads": text.kv_heads,
            "head_dim": text.head_dim, "intermediate_size": text.intermediate_size, "vocabulary": text.vocab_size,
            "tied": text.tied,
        },
        "vision_model": vision,
        "parameters": {
            "total": parameters.total(), "vision": parameters.vision, "embeddings": parameters.embeddings,
            "text": parameters.text, "head": parameters.head,
        },
        "kv_cache_bytes_per_1000_tokens": Json::Object(cache.into_iter().map(|(name, size)| (name.to_owned(), size)).collect()),
        "memory": needs.collect::<Vec<_>>(),
        "image_tokens": model.image_tokens.iter().map(image).collect::<Vec<_>>(),
    })
}

fn as_text(model: &Footprint, files: &[(String, u64)]) -> String {
    let sections = [
        paint(STRONG, model.config.summary()) + "\n" + &description(model),
        parts(model),
        memory(model),
        file_list(files),
    ];
    sections.join("\n")
}

/// The sizes in lines.
fn description(model: &Footprint) -> String {
    let text = &model.config.text;
    let mut lines = vec![format!(
        "text    {} of width {}, {} heads of {} on {} of keys, MLP {}, vocabulary {}, context {} tokens",
        plural(text.layers as u64, "layer"),
        count(text.hidden_size as u64),
        text.heads,
        text.head_dim,
        text.kv_heads,
        count(text.intermediate_size as u64),
        count(text.vocab_size as u64),
        count(text.max_positions as u64),
    )];
    if let Some(vision) = &model.config.vision {
        let full: Vec<String> = vision.full_attention_blocks.iter().map(usize::to_string).collect();
        lines.push(format!(
            "vision  {} of width {}, {} heads of {}, MLP {}, patches of {} pixels, {} a token; windows of {} pixels, whole \
             images in layers {}",
            plural(vision.depth as u64, "layer"),
            count(vision.hidden_size as u64),
            vision.heads,
            vision.hidden_size / vision.heads,
            count(vision.intermediate_size as u64),
            vision.patch_size,
            vision.merge_unit(),
            vision.window_size,
            if full.is_empty() { "(none)".to_owned() } else { full.join(", ") },
        ));
        let image =
            |(width, height, tokens): &(usize, usize, usize)| format!("{width}x{height}: {}", count(*tokens as u64));
        let images: Vec<String> = model.image_tokens.iter().map(image).collect();
        lines.push(format!("images  tokens by size: {}", images.join(", ")));
    }
    lines.push(match model.saved.len() {
        0 => "saved   no weights: the folder has no `*.safetensors` file, the figures are those of its `config.json`"
            .to_owned(),
        _ => {
            let types: Vec<String> =
                model.saved.iter().map(|(name, values)| format!("{} in {name}", count(*values))).collect();
            format!("saved   values: {}", types.join(", "))
        }
    });
    lines.join("\n") + "\n"
}

fn parts(model: &Footprint) -> String {
    let parameters = model.parameters;
    let mut table = Table::new(&[("part", Align::Left), ("parameters", Align::Right), ("share", Align::Right)]);
    let head = if model.config.text.tied { "output head (the embeddings)" } else { "output head" };
    for (name, number) in [
        ("vision tower", parameters.vision),
        ("embeddings", parameters.embeddings),
        ("decoder", parameters.text),
        (head, parameters.head),
        ("all", parameters.total()),
    ] {
        let share = number as f64 / parameters.total() as f64;
        table.row([name.to_owned(), count(number), percent(share)]);
    }
    table.render(None)
}

fn memory(model: &Footprint) -> String {
    let mut table = Table::new(&[
        ("memory for", Align::Left),
        ("in", Align::Left),
        ("size", Align::Right),
        ("bytes, activations left out", Align::Left),
    ]);
    for need in &model.needs {
        table.row([need.purpose.to_owned(), need.precision.to_owned(), bytes(need.bytes), need.rule.clone()]);
    }
    for (name, size) in CACHE_TYPES {
        let per_token = size * model.cache_values_per_token;
        let rule = format!("{} a token of each sequence", count(per_token));
        table.row(["1,000 tokens of cache".to_owned(), name.to_owned(), bytes(1000 * per_token), rule]);
    }
    table.render(terminal::columns_of_stdout())
}

fn file_list(files: &[(String, u64)]) -> String {
    let mut table = Table::new(&[("file", Align::Left), ("size", Align::Right)]);
    files.iter().for_each(|(name, size)| table.row([name.clone(), bytes(*size)]));
    table.render(None)
}
