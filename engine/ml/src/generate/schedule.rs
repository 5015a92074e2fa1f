//! Continuous batching: samples wait in one queue, each worker decodes a batch of rows, and takes samples from the queue as
//! rows of its own are done. Knows nothing of how tokens are drawn.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::draw::{Drawer, Seen};
use super::shared::Shared;
use super::{Generation, Request, Sampling};
use crate::Result;
use crate::device::is_cpu;
use crate::model::{Encoded, Model, Prefix, Rows, Shown};
use crate::stop::Stop;
use crate::types::ImagePatches;

/// Rows of a worker at most: more are no faster.
const MAX_ROWS: usize = 96;
/// Rows of a worker at least, where there are so many samples: fewer leave the processor's vectors half empty.
const MIN_ROWS: usize = 4;
/// Tokens of prompts that are computed in one pass, unless one prompt is longer.
const PASS_TOKENS: usize = 4096;
/// Patches of images that are encoded in one pass, unless one image is larger.
const PASS_PATCHES: usize = 16_384;

/// What a worker holds at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    rows: usize,
    bytes: u64,
}

impl Limits {
    /// A worker's part of `samples` and of `bytes` of keys and values.
    pub(super) fn new(samples: usize, workers: usize, bytes: u64) -> Self {
        Limits { rows: samples.div_ceil(workers).clamp(MIN_ROWS, MAX_ROWS), bytes: bytes / workers.max(1) as u64 }
    }
}

/// A sample: the request and which of its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) request: usize,
    pub(super) index: usize,
}

/// All that is to be sampled, shared by the workers.
pub(super) struct Work<'a> {
    model: &'a Model,
    requests: &'a [Request<'a>],
    sampling: &'a Sampling,
    /// Per request, tokens of a completion at most.
    room: Vec<usize>,
    queue: Mutex<Queue>,
    /// The images that differ, and per request the numbers of its own.
    distinct: Vec<&'a ImagePatches>,
    shown: Vec<Vec<usize>>,
    images: Shared<Encoded>,
    prefixes: Shared<Prefix>,
}

/// What is left to do.
struct Queue {
    /// Samples that no worker has taken yet, the last one first.
    waiting: Vec<Place>,
    /// Per request, its samples that have no row yet.
    unadmitted: Vec<usize>,
    /// Per image, the requests that still need it.
    needed: Vec<usize>,
}

/// A completion in the making.
struct Stream {
    place: Place,
    random: ChaCha8Rng,
    seen: Seen,
    generation: Generation,
    /// The position of its next token.
    position: u32,
}

impl<'a> Work<'a> {
    /// # Errors
    /// When a prompt leaves no room for a completion.
    pub(super) fn new(model: &'a Model, requests: &'a [Request<'a>], sampling: &'a Sampling) -> Result<Self> {
        let room = requests.iter().map(|request| sampling.room(model, request.prompt)).collect::<Result<_>>()?;
        let mut order: Vec<usize> =
            (0..requests.len()).filter(|request| !requests[*request].seeds.is_empty()).collect();
        // The longest prompts first, so that prompts of one length meet; the queue is taken from its end.
        order.sort_by_key(|request| requests[*request].prompt.tokens.len());
        let samples =
            |request: usize| (0..requests[request].seeds.len()).rev().map(move |index| Place { request, index });
        let (distinct, shown) = distinct_images(requests);
        let mut needed = vec![0; distinct.len()];
        for request in &order {
            shown[*request].iter().for_each(|image: &usize| needed[*image] += 1);
        }
        let queue = Queue {
            waiting: order.into_iter().flat_map(samples).collect(),
            unadmitted: requests.iter().map(|request| request.seeds.len()).collect(),
            needed,
        };
        let (images, prefixes) = (Shared::new(distinct.len()), Shared::new(requests.len()));
        Ok(Work { model, requests, sampling, room, queue: Mutex::new(queue), distinct, shown, images, prefixes })
    }

    /// The number of samples.
    pub(super) fn samples(&self) -> usize {
        self.requests.iter().map(|request| request.seeds.len()).sum()
    }

    /// Samples until the queue is empty and all rows are done. `on_token` is told of each token and its log-probability, and
    /// ends the completion by saying false.
    ///
    /// # Errors
    /// When a prompt does not fit the model or the logits are no numbers; [`crate::Error::Stopped`] after a stop.
    pub(super) fn run(
        &self,
        limits: Limits,
        stop: Stop<'_>,
        on_token: &mut dyn FnMut(u32, f32) -> bool,
    ) -> Result<Vec<(Place, Generation)>> {
        let mut rows = Rows::new(self.model);
        let mut streams: Vec<Stream> = Vec::new();
        let mut finished = Vec::new();
        let vocabulary = self.model.config().text.vocab_size;
        loop {
            let taken = self.take(&streams, limits);
            if !taken.is_empty() {
                let (mut new, mut prefixes) = self.prefill(&taken, stop)?;
                let logits: Vec<&[f32]> = prefixes.iter().map(|prefix| &*prefix.logits).collect();
                let going = self.draw(&mut new, &logits, on_token)?;
                retain(&mut prefixes, &going);
                rows.admit(&prefixes);
                streams.extend(split(new, &going, &mut finished));
            }
            if streams.is_empty() {
                if taken.is_empty() {
                    return Ok(finished);
                }
                continue;
            }
            stop.check()?;
            let tokens: Vec<u32> =
                streams.iter().filter_map(|stream| stream.generation.tokens.last().copied()).collect();
            let positions: Vec<u32> = streams.iter().map(|stream| stream.position).collect();
            streams.iter_mut().for_each(|stream| stream.position += 1);
            let logits = self.model.decode(&mut rows, &tokens, &positions)?;
            let logits: Vec<&[f32]> = logits.chunks_exact(vocabulary).collect();
            let going = self.draw(&mut streams, &logits, on_token)?;
            if going.contains(&false) {
                rows.retain(&going);
                streams = split(streams, &going, &mut finished);
            }
        }
    }

    /// Takes samples from the queue, as many as there is room for. Waits for room for several, since prompts are computed
    /// faster together.
    fn take(&self, streams: &[Stream], limits: Limits) -> Vec<Place> {
        let free = limits.rows - streams.len().min(limits.rows);
        let mut taken: Vec<Place> = Vec::new();
        if free * 8 < limits.rows {
            return taken;
        }
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            return taken;
        }
        let mut used = 0;
        let mut prompts: Vec<usize> = Vec::new();
        let mut cost = |place: &Place| {
            let prompt = self.requests[place.request].prompt.tokens.len();
            // Rows on the CPU share the pages of their prompt; elsewhere each has its own.
            let shared = is_cpu(self.model.device()) && prompts.contains(&place.request);
            if !shared {
                prompts.push(place.request);
            }
            Rows::bytes(self.model, self.room[place.request] + if shared { 0 } else { prompt })
        };
        for stream in streams {
            used += cost(&stream.place);
        }
        while let Some(next) = queue.waiting.last() {
            used += cost(next);
            let first = streams.is_empty() && taken.is_empty();
            if taken.len() == free || (used > limits.bytes && !first) {
                break;
            }
            taken.extend(queue.waiting.pop());
        }
        taken
    }

    /// Begins samples: their prefixes, computed unless they are there already.
    fn prefill(&self, taken: &[Place], stop: Stop<'_>) -> Result<(Vec<Stream>, Vec<Prefix>)> {
        let wanted: Vec<usize> = taken.iter().map(|place| place.request).collect();
        let prefixes = self.prefixes.get(&wanted, |requests| self.compute(requests, stop))?;
        let mut queue = self.queue();
        for request in &wanted {
            queue.unadmitted[*request] -= 1;
            if queue.unadmitted[*request] == 0 {
                self.prefixes.forget(*request);
            }
        }
        drop(queue);
        let stream = |(place, prefix): (&Place, &Prefix)| {
            let Request { prompt, seeds } = self.requests[place.request];
            let penalised = self.sampling.repetition_penalty != 1.0;
            Stream {
                place: *place,
                random: ChaCha8Rng::seed_from_u64(seeds[place.index]),
                seen: if penalised { Seen::of(&prompt.tokens) } else { Seen::default() },
                generation: Generation::default(),
                position: prefix.position,
            }
        };
        Ok((taken.iter().zip(&prefixes).map(stream).collect(), prefixes))
    }

    /// The prefixes of requests, some at a time.
    fn compute(&self, requests: &[usize], stop: Stop<'_>) -> Result<Vec<Prefix>> {
        let length = |request: &usize| self.requests[*request].prompt.tokens.len();
        let mut prefixes = Vec::with_capacity(requests.len());
        for requests in runs(requests, PASS_TOKENS, length) {
            stop.check()?;
            let shown = |request: &usize| -> Result<Shown<'_>> {
                let images = self.images.get(&self.shown[*request], |images| self.encode(images, stop))?;
                Ok(Shown { tokens: &self.requests[*request].prompt.tokens, images })
            };
            let all: Vec<usize> = requests.iter().flat_map(|request| &self.shown[*request]).copied().collect();
            self.images.get(&all, |images| self.encode(images, stop))?;
            let prompts = requests.iter().map(shown).collect::<Result<Vec<_>>>()?;
            stop.check()?;
            prefixes.extend(self.model.prefill(&prompts)?);
            let mut queue = self.queue();
            for image in &all {
                queue.needed[*image] = queue.needed[*image].saturating_sub(1);
                if queue.needed[*image] == 0 {
                    self.images.forget(*image);
                }
            }
        }
        Ok(prefixes)
    }

    /// The features of images, some at a time.
    fn encode(&self, images: &[usize], stop: Stop<'_>) -> Result<Vec<Encoded>> {
        let mut encoded = Vec::with_capacity(images.len());
        for images in runs(images, PASS_PATCHES, |image| self.distinct[*image].patches()) {
            stop.check()?;
            let images: Vec<&ImagePatches> = images.iter().map(|image| self.distinct[*image]).collect();
            encoded.extend(self.model.encode_each(&images)?);
        }
        Ok(encoded)
    }

    /// Draws the next token of each stream and says which of them go on.
    fn draw(
        &self,
        streams: &mut [Stream],
        logits: &[&[f32]],
        on_token: &mut dyn FnMut(u32, f32) -> bool,
    ) -> Result<Vec<bool>> {
        let placeholder = self.model.config().image_token.map(|token| token as usize);
        let draw = |drawer: &mut Drawer, (stream, logits): (&mut Stream, &&[f32])| {
            drawer.draw(logits, placeholder, &stream.seen, self.sampling, &mut stream.random)
        };
        let drawn: Vec<(u32, f32)> =
            streams.par_iter_mut().zip(logits).map_init(Drawer::default, draw).collect::<Result<_>>()?;
        let push = |(stream, (token, logprob)): (&mut Stream, (u32, f32))| {
            if self.sampling.repetition_penalty != 1.0 {
                stream.seen.add(token);
            }
            let generation = &mut stream.generation;
            generation.tokens.push(token);
            generation.logprobs.push(logprob);
            generation.finished = self.sampling.stop_tokens.contains(&token);
            on_token(token, logprob)
                && !generation.finished
                && generation.tokens.len() < self.room[stream.place.request]
        };
        Ok(streams.iter_mut().zip(drawn).map(push).collect())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what goes on.
fn retain<T>(values: &mut Vec<T>, going: &[bool]) {
    let mut going = going.iter();
    values.retain(|_| going.next().copied().unwrap_or(false));
}

/// The streams that go on; the others are finished.
fn split(streams: Vec<Stream>, going: &[bool], finished: &mut Vec<(Place, Generation)>) -> Vec<Stream> {
    let mut kept = Vec::with_capacity(streams.len());
    for (stream, going) in streams.into_iter().zip(going) {
        if *going {
            kept.push(stream);
        } else {
            finished.push((stream.place, stream.generation));
        }
    }
    kept
}

/// Cuts numbers into runs whose sizes add up to at most `most`, or of one.
fn runs(numbers: &[usize], most: usize, size: impl Fn(&usize) -> usize) -> Vec<&[usize]> {
    let mut runs = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (index, number) in numbers.iter().enumerate() {
        let size = size(number);
        if index > start && sum + size > most {
            runs.push(&numbers[start..index]);
            (start, sum) = (index, 0);
        }
        sum += size;
    }
    if start < numbers.len() {
        runs.push(&numbers[start..]);
    }
    runs
}

/// The images that differ, and per request the numbers of its own among them. Images are the same that are one allocation
/// or hold the same pixels.
fn distinct_images<'a>(requests: &'a [Request<'a>]) -> (Vec<&'a ImagePatches>, Vec<Vec<usize>>) {
    /// Pixels that are compared first.
    const PROBES: usize = 16;
    let mut distinct: Vec<&ImagePatches> = Vec::new();
    let mut allocations: HashMap<*const ImagePatches, usize> = HashMap::new();
    let mut alike: HashMap<([usize; 3], Vec<u32>), Vec<usize>> = HashMap::new();
    let mut number = |image: &'a ImagePatches| {
        *allocations.entry(image).or_insert_with(|| {
            let step = (image.pixels.len() / PROBES).max(1);
            let probes = image.pixels.iter().step_by(step).map(|pixel| pixel.to_bits()).collect();
            let alike = alike.entry((image.grid, probes)).or_default();
            alike.iter().copied().find(|other| distinct[*other].pixels == image.pixels).unwrap_or_else(|| {
                distinct.push(image);
                alike.push(distinct.len() - 1);
                distinct.len() - 1
            })
        })
    };
    let shown =
        requests.iter().map(|request| request.prompt.images.iter().map(|image| number(image)).collect()).collect();
    (distinct, shown)
}
