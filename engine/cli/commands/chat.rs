//! `ruminate chat`: a conversation with a checkpoint, its answers as they come. Needs no graph and no store.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use ruminate_flow::table::read_image;
use ruminate_ml::chat::Processor;
use ruminate_ml::device;
use ruminate_ml::generate::{Generation, Sampling, generate_one};
use ruminate_ml::model::Model;
use ruminate_ml::stop::Stop;
use ruminate_ml::text_stream::TextStream;
use ruminate_ml::types::{Message, ModelFiles, Part, Prompt};
use ruminate_ml::weights::Storage;
use serde_json::json;

use crate::arguments::ChatArguments;
use crate::failure::Failure;
use crate::registry::of_model;
use crate::terminal::{self, BAD, QUIET, paint};

/// The exit code of an interrupted program, as shells give it.
const INTERRUPTED: i32 = 130;

/// What is under way, for the handler of Ctrl-C.
static PHASE: AtomicU8 = AtomicU8::new(IDLE);
/// Nothing that could be stopped alone: a signal ends the program.
const IDLE: u8 = 0;
/// An answer is being made: a signal ends that.
const ANSWERING: u8 = 1;
/// The answer is to end: a further signal ends the program.
const STOPPING: u8 = 2;

/// Answers the prompt, or the turns on standard input.
///
/// # Errors
/// A model, an image or a setting that cannot be used; [`Failure::Interrupted`] when the only answer was stopped.
pub(crate) fn chat(arguments: &ChatArguments) -> Result<(), Failure> {
    let begin = Instant::now();
    let device = device::parse(&arguments.device).map_err(input)?;
    let files = ModelFiles::from_folder(&arguments.model).map_err(input)?;
    let of_model = |error| of_model(&arguments.model, error);
    let processor = Processor::load(&files).map_err(of_model)?.with_max_pixels(arguments.max_pixels);
    let sampling = sampling(arguments, &processor);
    sampling.check().map_err(of_option)?;
    let images = images(arguments, &processor)?;
    watch_interrupts()?;
    let model =
        Model::load_until(&files, &device, Storage::Automatic, Stop::NEVER).map_err(of_model)?.laid_out_for_sampling();
    note(&format!("loaded `{}` in {:.1} s", arguments.model.display(), begin.elapsed().as_secs_f64()));
    let mut conversation = Conversation::new(&model, &processor, sampling, arguments, images);
    match &arguments.prompt {
        Some(prompt) => match conversation.turn(prompt)? {
            Ending::Interrupted => Err(Failure::Interrupted("the answer was interrupted".to_owned())),
            Ending::Stop | Ending::Length => Ok(()),
        },
        None => converse(&mut conversation),
    }
}

/// A longer line is no turn of a conversation.
const TURN_BYTES_MAX: usize = 16 << 20;

/// Takes turns from standard input until an empty line or its end. Who sits at a terminal may say again what cannot be used.
fn converse(conversation: &mut Conversation<'_>) -> Result<(), Failure> {
    let asks = io::stdin().is_terminal();
    loop {
        if asks {
            let _ = write!(io::stderr(), "> ").and_then(|()| io::stderr().flush());
        }
        let outcome = match read_turn(&mut io::stdin().lock()) {
            Ok(Some(text)) => conversation.turn(&text).map(drop),
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(Failure::Input(message)) if asks => {
                let error = paint(BAD, "error:");
                terminal::say(&format!("{error} {message}; say it otherwise, or end with an empty line"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The next turn; `None` at an empty line or the end.
fn read_turn(input: &mut dyn BufRead) -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    let read = input.take(TURN_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    if line.len() > TURN_BYTES_MAX {
        return Err(Failure::Input(format!("a turn takes one line of at most {} MiB", TURN_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(line).map_err(|error| {
        Failure::Input(format!("the line is not UTF-8 at byte {}", error.utf8_error().valid_up_to() + 1))
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    Ok((!text.trim().is_empty()).then(|| text.to_owned()))
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// The model ended its turn.
    Stop,
    /// The length limit, or the model's context.
    Length,
    /// Ctrl-C.
    Interrupted,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Ending::Stop => "stop",
            Ending::Length => "length",
            Ending::Interrupted => "interrupted",
        }
    }
}

/// The turns so far and what answers the next.
struct Conversation<'a> {
    model: &'a Model,
    processor: &'a Processor,
    sampling: Sampling,
    json: bool,
    seed: u64,
    messages: Vec<Message>,
    /// What is shown with the next turn.
    images: Vec<Part>,
}

impl<'a> Conversation<'a> {
    fn new(
        model: &'a Model,
        processor: &'a Processor,
        sampling: Sampling,
        arguments: &ChatArguments,
        images: Vec<Part>,
    ) -> Self {
        let messages = arguments.system.iter().map(|system| Message::text("system", system)).collect();
        Conversation { model, processor, sampling, json: arguments.json, seed: arguments.seed, messages, images }
    }

    /// Answers a turn and keeps both; one that cannot be answered leaves the conversation as it was.
    fn turn(&mut self, text: &str) -> Result<Ending, Failure> {
        let mut content = self.images.clone();
        content.push(Part::Text(text.to_owned()));
        self.messages.push(Message::new("user", content));
        let outcome = self.reply();
        match outcome {
            Ok(_) => self.images.clear(),
            Err(_) => drop(self.messages.pop()),
        }
        outcome
    }

    /// Answers the last message and keeps the answer.
    fn reply(&mut self) -> Result<Ending, Failure> {
        let prompt = self.processor.encode(&self.messages, true).map_err(input)?;
        let (generation, ending) = self.answer(&prompt)?;
        let completion = self.processor.decode(&generation.tokens).map_err(input)?;
        if self.json {
            let line = json!({
                "prompt_tokens": prompt.tokens,
                "completion": completion,
                "tokens": generation.tokens,
                "logprobs": generation.logprobs,
                "finish_reason": ending.name(),
            });
            writeln!(io::stdout(), "{line}")?;
        }
        self.messages.push(Message::text("assistant", completion));
        self.seed = self.seed.wrapping_add(1);
        Ok(ending)
    }

    /// Makes an answer and, unless it will be printed as JSON, prints it as it comes.
    fn answer(&self, prompt: &Prompt) -> Result<(Generation, Ending), Failure> {
        let begin = Instant::now();
        let (mut first, mut generation) = (None, Generation::default());
        let mut output = Output { stream: TextStream::new(self.processor), shown: !self.json, error: None };
        let mut on_token = |token, logprob| {
            first.get_or_insert_with(Instant::now);
            generation.tokens.push(token);
            generation.logprobs.push(logprob);
            output.push(token) && !interrupted()
        };
        PHASE.store(ANSWERING, Ordering::SeqCst);
        let outcome =
            generate_one(self.model, prompt, self.seed, &self.sampling, Stop::when(&interrupted), &mut on_token);
        let stopped = PHASE.swap(IDLE, Ordering::SeqCst) == STOPPING;
        let finished = match outcome {
            Ok(whole) => whole.finished,
            // What was drawn before is an answer too.
            Err(ruminate_ml::Error::Stopped) => false,
            Err(error) => return Err(input(error)),
        };
        generation.finished = finished;
        output.finish()?;
        let end = first.unwrap_or_else(Instant::now);
        speed(prompt.tokens.len(), (end - begin).as_secs_f64(), generation.tokens.len(), end.elapsed().as_secs_f64());
        let ending = match (finished, stopped) {
            (true, _) => Ending::Stop,
            (false, true) => Ending::Interrupted,
            (false, false) => Ending::Length,
        };
        Ok((generation, ending))
    }
}

/// The answer on standard output.
struct Output<'a> {
    stream: TextStream<'a>,
    shown: bool,
    error: Option<Failure>,
}

impl Output<'_> {
    /// Shows what a token adds, and says whether that worked.
    fn push(&mut self, token: u32) -> bool {
        if !self.shown {
            return true;
        }
        let written = self.stream.push(token).map_err(input).and_then(|text| show(&text));
        self.error = self.error.take().or(written.err());
        self.error.is_none()
    }

    /// Shows what is left, and ends the line.
    fn finish(mut self) -> Result<(), Failure> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.shown {
            let rest = self.stream.finish().map_err(input)?;
            show(&format!("{rest}\n"))?;
        }
        Ok(())
    }
}

fn show(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn sampling(arguments: &ChatArguments, processor: &Processor) -> Sampling {
    Sampling {
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        top_k: arguments.top_k,
        repetition_penalty: arguments.repetition_penalty,
        max_new_tokens: arguments.max_tokens,
        stop_tokens: processor.stop_tokens().to_vec(),
    }
}

/// The image files, each tried now, so that the message can name the one that cannot be used.
fn images(arguments: &ChatArguments, processor: &Processor) -> Result<Vec<Part>, Failure> {
    let read = |path: &std::path::PathBuf| {
        let name = path.display();
        let bytes = read_image(path).map_err(|error| Failure::Input(format!("cannot read `{name}`: {error}")))?;
        processor.process_image(&bytes).map_err(|error| Failure::Input(format!("`{name}`: {error}")))?;
        Ok(Part::Image(bytes.into()))
    };
    arguments.images.iter().map(read).collect()
}

/// The first Ctrl-C ends an answer under way; one at any other time, or a second, ends the program.
fn watch_interrupts() -> Result<(), Failure> {
    let handler = || {
        if PHASE.compare_exchange(ANSWERING, STOPPING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            std::process::exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Failed(format!("cannot watch for Ctrl-C: {error}")))
}

fn interrupted() -> bool {
    PHASE.load(Ordering::SeqCst) == STOPPING
}

/// Says how fast an answer was: the prompt up to the first token, and the tokens after it.
fn speed(prompt: usize, prompt_seconds: f64, tokens: usize, seconds: f64) {
    let further = tokens.saturating_sub(1);
    let rate =
        if further > 0 { format!(", {:.1} tokens/s", further as f64 / seconds.max(1e-9)) } else { String::new() };
    note(&format!("{prompt} tokens of prompt in {prompt_seconds:.2} s, {tokens} of answer in {seconds:.2} s{rate}"));
}

fn note(text: &str) {
    terminal::say(&paint(QUIET, text).to_string());
}

/// An error about a setting, by the name that it has on the command line.
fn of_option(error: ruminate_ml::Error) -> Failure {
    match error {
        ruminate_ml::Error::Option { option, message } => {
            let name = option.replace("max_new_tokens", "max_tokens").replace('_', "-");
            Failure::Input(format!("option `--{name}`: {message}"))
        }
        other => input(other),
    }
}

fn input(error: ruminate_ml::Error) -> Failure {
    Failure::Input(error.to_string())
}
