//! Steps of SFT of a checkpoint on made-up data, timed; the other half of `examples/peers/torch/sft.py`, which runs torch on
//! the same steps in turns with this.
//!
//!     cargo run --release --example sft_speed MODEL_DIR [--workers N] [--shards N] [--micro-batch-size N] [--recompute]
//!
//! Each line on standard input is a number of steps to take; each answer is a JSON line: seconds and CPU seconds of every step,
//! losses, and the most memory held so far.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use cpu_time::ProcessTime;
use ruminate_ml::model::Model;
use ruminate_ml::stop::Stop;
use ruminate_ml::train::{CheckpointEvery, Control, MemoryProgress, Session, SftOptions, SftStep, train_sft};
use ruminate_ml::types::{Example, ImagePatches, ModelFiles};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a step, tokens of a row, and where its answer begins.
const ROWS: usize = 16;
const LENGTH: usize = 128;
const ANSWER: usize = 64;
/// Patches along each side of an image.
const SIDE: usize = 8;

fn main() -> Result<()> {
    let mut folder = None;
    let (mut workers, mut options) = (ruminate_ml::device::cores(), options());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize> {
            arguments.next().and_then(|text| text.parse().ok()).with_context(|| format!("`{argument}` needs a number"))
        };
        match argument.as_str() {
            "--workers" => workers = number()?,
            "--shards" => options.shards = number()?,
            "--recompute" => options.recompute = true,
            "--micro-batch-size" => options.micro_batch_size = number()?,
            _ if argument.starts_with('-') => bail!("`{argument}` is unknown"),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let folder = folder.context("give the folder of a Qwen2.5-VL checkpoint")?;
    let model = Model::load(&ModelFiles::from_folder(&folder)?, &ruminate_ml::device::parse("cpu")?)?;
    let examples = examples(&model)?;
    let mut turns = Turns::begin()?;
    let mut on_step = |step: &SftStep| turns.after(step);
    let mut progress = MemoryProgress::default();
    let mut session = Session {
        workers,
        checkpoint: CheckpointEvery { steps: None, seconds: None },
        progress: &mut progress,
        on_step: &mut on_step,
        name: &|index| format!("example {index}"),
        stop: Stop::NEVER,
    };
    match train_sft(&model, &examples, &examples, &options, &mut session) {
        Ok(_) | Err(ruminate_ml::Error::Interrupted { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// As the peer's: AdamW on everything, the norm of the gradients clipped to 1.
fn options() -> SftOptions {
    SftOptions {
        steps: Some(usize::MAX / 2),
        batch_size: ROWS,
        micro_batch_size: ROWS,
        learning_rate: 1e-4,
        schedule: ruminate_ml::train::schedule::Schedule::Constant,
        warm_up: ruminate_ml::train::schedule::WarmUp::Steps(0),
        weight_decay: 0.01,
        max_gradient_norm: 1.0,
        freeze: Vec::new(),
        ..SftOptions::default()
    }
}

/// A step's rows: some text, one image, more text; the second half is what is learned.
fn examples(model: &Model) -> Result<Vec<Example>> {
    let config = model.config();
    let (Some(vision), Some(image_token)) = (&config.vision, config.image_token) else {
        bail!("the checkpoint has no vision tower");
    };
    let features = SIDE * SIDE / vision.merge_unit();
    let row = |row: usize| {
        let mut tokens: Vec<u32> = (0..LENGTH).map(|place| ((row * 37 + place * 101) % 400) as u32).collect();
        tokens[5..5 + features].fill(image_token);
        let pixels =
            (0..SIDE * SIDE * vision.patch_width()).map(|place| ((place * 31 + row * 977) as f32).sin()).collect();
        let images = vec![Arc::new(ImagePatches { pixels, grid: [1, SIDE, SIDE] })];
        Example { tokens, loss_mask: (0..LENGTH).map(|place| place >= ANSWER).collect(), images }
    };
    Ok((0..ROWS).map(row).collect())
}

/// Takes orders between steps.
struct Turns {
    left: usize,
    seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    losses: Vec<f64>,
    begun: ProcessTime,
}

impl Turns {
    fn begin() -> Result<Self> {
        let (seconds, cpu_seconds, losses) = Default::default();
        let left = ordered()?.context("no order on standard input")?;
        Ok(Self { left, seconds, cpu_seconds, losses, begun: ProcessTime::now() })
    }

    fn after(&mut self, step: &SftStep) -> Control {
        self.seconds.push(step.timings.seconds);
        self.cpu_seconds.push(self.begun.elapsed().as_secs_f64());
        self.losses.push(step.metrics.loss);
        if self.seconds.len() == self.left {
            match self.answer().and_then(|()| ordered()) {
                Ok(Some(steps)) => self.left = steps,
                _ => return Control::Stop,
            }
        }
        self.begun = ProcessTime::now();
        Control::Continue
    }

    fn answer(&mut self) -> Result<()> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kibibytes: Option<u64> = peak.trim().trim_end_matches(" kB").parse().ok();
        let answer = serde_json::json!({
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "losses": self.losses,
            "peak_mib": kibibytes.map(|value| value as f64 / 1024.0),
        });
        self.seconds.clear();
        self.cpu_seconds.clear();
        self.losses.clear();
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")?;
        Ok(output.flush()?)
    }
}

/// The steps of the next turn; nothing when there is none.
fn ordered() -> Result<Option<usize>> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim().parse().with_context(|| format!("`{}` is no number of steps", line.trim()))?))
}
