//! `ruminate chat`: what can be typed.

use std::path::PathBuf;

use clap::Args;

use super::read_count;

/// `chat`.
#[derive(Args, Debug)]
#[command(after_help = "\
With PROMPT it answers once. Without, every line of standard input is a turn of one conversation, until an empty line or the \
end; the images are shown with the first. Ctrl-C ends the answer, a second one the program. Standard output holds the answers \
only.

With --json an answer is one line: `prompt_tokens` and `tokens` (ids), `completion`, `logprobs` (of each token, before top-k, top-p \
and penalty), `finish_reason`: `stop`, `length` or `interrupted`.

Examples:
  ruminate chat examples/models/tiny-vl 'What is 3 + 4?'
  ruminate chat models/Qwen2.5-VL-3B-Instruct --image chart.png 'Which bar is the highest?'
  ruminate chat out/grpo --temperature 0.7 --seed 3")]
pub(crate) struct ChatArguments {
    /// A folder in Hugging Face layout
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// What to say; without, the turns come from standard input
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    /// A PNG, JPEG, WebP, GIF or BMP file to show; may be given several times
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    /// The system turn [default: the chat template's]
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Divide the logits by it; 0 takes the most likely token each time
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) temperature: f32,
    /// Draw from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) top_p: f32,
    /// Draw from the K most likely tokens [default: all]
    #[arg(long, value_name = "K", value_parser = read_count, allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// Make tokens less likely that the prompt or the answer holds already: 1 for none
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) repetition_penalty: f32,
    /// The longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = read_count, allow_negative_numbers = true)]
    pub(crate) max_tokens: usize,
    /// Scale images of more pixels down; a checkpoint's own bounds stay in force
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = read_count, allow_negative_numbers = true)]
    pub(crate) max_pixels: usize,
    /// Decides the draws; a turn's number is mixed in
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Where the model computes: `cpu` or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// Print each answer as one line of JSON when it is complete
    #[arg(long)]
    pub(crate) json: bool,
}
