//! Times sampling on the CPU, one case per line of standard input: `ROWS GROUP NEW TEMPERATURE TOP_P`, that is ROWS completions in
//! groups of GROUP per prompt, NEW tokens each. Prompts are 48 tokens with an image of 64 patches. Prints one JSON object
//! per case. `examples/peers/torch/sampling.py` runs it beside torch.
//! By hand: `echo 32 1 64 0 1 | cargo run --release -p ruminate-ml --example sample_speed -- DIR WORKERS`.

use std::error::Error;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use ruminate_ml::generate::{Request, Sampling, generate};
use ruminate_ml::model::Model;
use ruminate_ml::stop::Stop;
use ruminate_ml::types::{ImagePatches, ModelFiles, Prompt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPT: usize = 48;
const GRID: [usize; 3] = [1, 8, 8];
const FEATURES: usize = 16;

/// A prompt with an image of its own, as the peer's script makes them.
fn prompt(index: usize, image_token: u32) -> Prompt {
    let pixels = (0..64 * 1176).map(|place| ((place * 31 + index * 977) as f32).sin()).collect();
    let text = |place: usize| (index * 131 + place * 37) as u32 % 400;
    let mut tokens: Vec<u32> = (0..PROMPT).map(text).collect();
    tokens[5..5 + FEATURES].fill(image_token);
    Prompt { tokens, images: vec![Arc::new(ImagePatches { pixels, grid: GRID })] }
}

/// Seconds of processor time that this process has used.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("expected a model folder")?;
    let workers: usize = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let model = Model::load(&ModelFiles::from_folder(folder.as_ref())?, &Device::flex())?;
    let image_token = model.config().image_token.ok_or("expected a model with images")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let numbers: Vec<f32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [rows, group, new, temperature, top_p] = numbers[..] else {
            return Err(format!("`{line}`: expected ROWS GROUP NEW TEMPERATURE TOP_P").into());
        };
        let prompts: Vec<Prompt> = (0..(rows / group) as usize).map(|index| prompt(index, image_token)).collect();
        let seeds: Vec<u64> = (0..group as u64).collect();
        let requests: Vec<Request<'_>> = prompts.iter().map(|prompt| Request { prompt, seeds: &seeds }).collect();
        let sampling = Sampling { temperature, top_p, ..Sampling::greedy(new as usize, &[]) };
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let generations = generate(&model, &requests, &sampling, workers, Stop::NEVER)?;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let tokens: usize = generations.iter().flatten().map(|generation| generation.tokens.len()).sum();
        println!("{{\"tokens\": {tokens}, \"seconds\": {seconds:.6}, \"cpu_seconds\": {cpu:.3}}}");
    }
    Ok(())
}
