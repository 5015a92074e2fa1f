//! Times GRPO steps of a 1.1-million-parameter Qwen2.5-VL on the CPU, rollout and update apart, per thread count and size of
//! micro-batch. SFT's steps are timed by `sft_speed`. Run with `cargo run --release --example grpo_speed`.

use std::error::Error;
use std::sync::Arc;

use burn::tensor::Device;
use ruminate_ml::model::Model;
use ruminate_ml::stop::Stop;
use ruminate_ml::train::{
    CheckpointEvery, Completion, Control, GrpoOptions, GrpoStep, MemoryProgress, Reward, Session, train_grpo,
};
use ruminate_ml::types::{ImagePatches, ModelFiles, Prompt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONFIG: &str = r#"{
  "model_type": "qwen2_5_vl", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
  "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
  "tie_word_embeddings": true, "image_token_id": 100, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
  "vision_config": {"depth": 1, "hidden_size": 96, "intermediate_size": 256, "num_heads": 4, "in_channels": 3,
    "patch_size": 7, "temporal_patch_size": 2, "spatial_merge_size": 2, "window_size": 56,
    "fullatt_block_indexes": [0], "out_hidden_size": 128}
}"#;

/// A prompt of one 56 x 56 image (16 tokens) and `text` tokens.
fn prompt(index: usize, text: usize) -> Prompt {
    let pixels = (0..64 * 294).map(|place| ((place * 31 + index * 977) as f32).sin()).collect();
    let image = Arc::new(ImagePatches { pixels, grid: [1, 8, 8] });
    let mut tokens = vec![100; 16];
    tokens.extend((0..text).map(|place| (index * 13 + place * 5) as u32 % 96));
    Prompt { tokens, images: vec![image] }
}

fn middle(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn grpo(model: &Model, workers: usize, micro_batch_size: usize, kl_coefficient: f64) -> Result<(), Box<dyn Error>> {
    let prompts: Vec<Prompt> = (0..64).map(|index| prompt(index, 12)).collect();
    let options = GrpoOptions {
        steps: Some(8),
        prompts_per_step: 16,
        samples: 8,
        max_new_tokens: 24,
        updates: 1,
        micro_batch_size,
        kl_coefficient,
        top_p: 1.0,
        freeze: Vec::new(),
        ..GrpoOptions::default()
    };
    let mut reward = |completions: &[Completion<'_>]| {
        let even = |completion: &Completion<'_>| completion.tokens.iter().filter(|token| *token % 2 == 0).count();
        Ok(completions.iter().map(|completion| Reward { total: even(completion) as f64, parts: Vec::new() }).collect())
    };
    let (mut rollout, mut update) = (Vec::new(), Vec::new());
    let mut on_step = |step: &GrpoStep| {
        rollout.push(step.timings.rollout_seconds);
        update.push(step.timings.update_seconds);
        Control::Continue
    };
    let checkpoint = CheckpointEvery { steps: None, seconds: None };
    let mut progress = MemoryProgress::default();
    let stop = Stop::NEVER;
    let mut session = Session {
        workers,
        checkpoint,
        progress: &mut progress,
        on_step: &mut on_step,
        name: &|index| format!("prompt {index}"),
        stop,
    };
    train_grpo(model, &prompts, &prompts, &[127], &options, &mut reward, &mut session)?;
    println!(
        "workers {workers} micro-batch {micro_batch_size:2} kl {kl_coefficient}: rollout {:.0} ms, update {:.0} ms",
        middle(rollout) * 1e3,
        middle(update) * 1e3
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("grpo-speed-{}.json", std::process::id()));
    std::fs::write(&path, CONFIG)?;
    let files = ModelFiles { files: [("config.json".to_owned(), path.clone())].into(), init: Some(1) };
    let model = Model::load(&files, &Device::flex())?;
    std::fs::remove_file(&path)?;
    let count: usize = model.parameters().iter().map(|(_, parameter)| parameter.elements()).sum();
    println!("{count} parameters");
    for micro_batch_size in [8, 16, 32] {
        grpo(&model, 2, micro_batch_size, 0.0)?;
    }
    grpo(&model, 2, 16, 0.01)?;
    grpo(&model, 1, 16, 0.0)
}
