//! Whole training runs on the tiny reference model: resuming, threads, shards, freezing, and what must fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;

use super::*;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::stop::Stop;
use crate::types::{Example, ImagePatches, ModelFiles, Prompt};

/// The tiny model's id of an image token.
const IMAGE: u32 = 502;

pub(super) fn model() -> Model {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/model/tiny");
    Model::load(&ModelFiles::from_folder(&folder).unwrap(), &Device::flex()).unwrap()
}

/// Prompts of different lengths, every second one with an image of 16 patches.
pub(super) fn prompts(count: usize) -> Vec<Prompt> {
    let image = |shift: usize| {
        let pixels = (0..16 * 1176).map(|index| ((index * 31 + shift * 977) as f32).sin()).collect();
        Arc::new(ImagePatches { pixels, grid: [1, 4, 4] })
    };
    (0..count)
        .map(|index| {
            let with_image = index % 2 == 0;
            let mut tokens: Vec<u32> = if with_image { vec![499, IMAGE, IMAGE, IMAGE, IMAGE, 500] } else { vec![7] };
            tokens.extend((0..2 + index % 3).map(|place| (index * 13 + place * 5) as u32 % 480));
            Prompt { tokens, images: if with_image { vec![image(index)] } else { Vec::new() } }
        })
        .collect()
}

pub(super) fn examples() -> Vec<Example> {
    let completion =
        |index: usize| (0..3 + index % 4).map(|place| (index + 3 * place) as u32 % 20 + 40).collect::<Vec<_>>();
    prompts(10).iter().enumerate().map(|(index, prompt)| Example::from_completion(prompt, &completion(index))).collect()
}

fn sft_options() -> SftOptions {
    SftOptions {
        steps: Some(6),
        batch_size: 4,
        micro_batch_size: 2,
        learning_rate: 2e-3,
        weight_decay: 0.01,
        ..SftOptions::default()
    }
}

/// How a run is interrupted: after this many steps.
fn sft(options: &SftOptions, workers: usize, stop: usize, progress: &mut MemoryProgress) -> (Result<Model>, Vec<f64>) {
    let (result, steps) = sft_until(options, workers, stop, Stop::NEVER, progress);
    (result, steps.iter().map(|step| step.metrics.loss).collect())
}

fn sft_until(
    options: &SftOptions,
    workers: usize,
    last: usize,
    stop: Stop<'_>,
    progress: &mut MemoryProgress,
) -> (Result<Model>, Vec<SftStep>) {
    let mut steps = Vec::new();
    let mut on_step = |step: &SftStep| {
        steps.push(step.clone());
        if step.metrics.step == last { Control::Stop } else { Control::Continue }
    };
    let checkpoint = CheckpointEvery { steps: Some(2), seconds: None };
    let mut session = Session { workers, checkpoint, progress, on_step: &mut on_step, name: &example, stop };
    let examples = examples();
    let result = train_sft(&model(), &examples, &examples, options, &mut session);
    (result, steps)
}

fn example(index: usize) -> String {
    format!("example {index}")
}

fn bits(model: &Model) -> Vec<u32> {
    model.parameters().iter().flat_map(|(_, parameter)| parameter.values()).map(f32::to_bits).collect()
}

#[test]
fn sft_continues_to_the_same_bits_on_any_number_of_threads() {
    let options = sft_options();
    let (whole, losses) = sft(&options, 2, 0, &mut MemoryProgress::default());
    let whole = whole.unwrap();
    assert!(losses[5] < losses[0], "{losses:?}");
    let mut progress = MemoryProgress::default();
    let (stopped, _) = sft(&options, 2, 3, &mut progress);
    assert!(matches!(stopped, Err(Error::Interrupted { step: 3, steps: 6 })));
    let (continued, rest) = sft(&options, 1, 0, &mut progress);
    assert_eq!(rest, losses[3..]);
    assert!(bits(&continued.unwrap()) == bits(&whole), "the resumed run ended with other weights");
    let other = SftOptions { learning_rate: 1e-3, ..options };
    assert!(matches!(sft(&other, 1, 0, &mut progress).0, Err(Error::State { .. })));
}

#[test]
fn shards_and_micro_batches_change_the_rounding_only() {
    let (_, expected) = sft(&sft_options(), 2, 0, &mut MemoryProgress::default());
    for (shards, micro_batch_size) in [(1, 4), (3, 1)] {
        let options = SftOptions { shards, micro_batch_size, ..sft_options() };
        let (_, losses) = sft(&options, 2, 0, &mut MemoryProgress::default());
        for (a, b) in losses.iter().zip(&expected) {
            assert!((a - b).abs() < 2e-4, "{losses:?} {expected:?}");
        }
    }
}

#[test]
fn frozen_parameters_stay_as_they_are() {
    let before = model().parameters();
    for (freeze, projector_moves) in [(vec!["visual."], false), (vec!["visual.blocks.", "visual.patch_embed."], true)] {
        let freeze: Vec<String> = freeze.into_iter().map(str::to_owned).collect();
        let options = SftOptions { freeze: freeze.clone(), steps: Some(2), ..sft_options() };
        let after = sft(&options, 2, 0, &mut MemoryProgress::default()).0.unwrap().parameters();
        for ((name, old), (_, new)) in before.iter().zip(&after) {
            let moved = old.values() != new.values();
            assert_eq!(moved, optimizer::is_trained(name, &freeze), "{name}");
            assert!(projector_moves || !name.starts_with("visual.") || !moved, "{name}");
        }
    }
    let options = SftOptions { freeze: vec!["vision.".to_owned()], ..sft_options() };
    let error = sft(&options, 1, 0, &mut MemoryProgress::default()).0.unwrap_err();
    assert!(error.to_string().contains("no parameter's name starts with `vision.`"));
}

#[test]
fn a_diverged_run_fails_and_names_the_step() {
    let options = SftOptions { learning_rate: 1e38, max_gradient_norm: 0.0, ..sft_options() };
    let error = sft(&options, 2, 0, &mut MemoryProgress::default()).0.unwrap_err().to_string();
    assert!(error.starts_with("training: step "), "{error}");
}

fn grpo_options() -> GrpoOptions {
    GrpoOptions {
        steps: Some(6),
        prompts_per_step: 4,
        samples: 4,
        max_new_tokens: 6,
        updates: 2,
        micro_batch_size: 3,
        learning_rate: 1e-3,
        temperature: 0.9,
        top_p: 1.0,
        ..GrpoOptions::default()
    }
}

/// Rewards the share of even tokens, so that groups differ.
fn grpo(
    options: &GrpoOptions,
    workers: usize,
    stop: usize,
    progress: &mut MemoryProgress,
) -> (Result<Model>, Vec<GrpoMetrics>) {
    let (result, steps) = grpo_until(options, workers, stop, Stop::NEVER, progress);
    (result, steps.into_iter().map(|step| step.metrics).collect())
}

fn grpo_until(
    options: &GrpoOptions,
    workers: usize,
    last: usize,
    stop: Stop<'_>,
    progress: &mut MemoryProgress,
) -> (Result<Model>, Vec<GrpoStep>) {
    let mut reward = |completions: &[Completion<'_>]| {
        let even = |completion: &Completion<'_>| completion.tokens.iter().filter(|token| *token % 2 == 0).count();
        let rewards = completions.iter().map(|completion| {
            let total = even(completion) as f64 / completion.tokens.len() as f64;
            Reward { total, parts: vec![("even".to_owned(), total)] }
        });
        Ok(rewards.collect())
    };
    let mut steps = Vec::new();
    let mut on_step = |step: &GrpoStep| {
        steps.push(step.clone());
        if step.metrics.step == last { Control::Stop } else { Control::Continue }
    };
    let checkpoint = CheckpointEvery { steps: Some(2), seconds: None };
    let mut session = Session { workers, checkpoint, progress, on_step: &mut on_step, name: &example, stop };
    let prompts = prompts(10);
    let result = train_grpo(&model(), &prompts, &prompts, &[492], options, &mut reward, &mut session);
    (result, steps)
}

#[test]
fn grpo_continues_to_the_same_bits_on_any_number_of_threads() {
    let options = grpo_options();
    let (whole, figures) = grpo(&options, 2, 0, &mut MemoryProgress::default());
    let whole = whole.unwrap();
    let mut progress = MemoryProgress::default();
    assert!(matches!(grpo(&options, 1, 3, &mut progress).0, Err(Error::Interrupted { step: 3, steps: 6 })));
    let (continued, rest) = grpo(&options, 2, 0, &mut progress);
    assert_eq!(rest.len(), 3);
    assert_eq!(rest, figures[3..]);
    assert!(bits(&continued.unwrap()) == bits(&whole), "the resumed run ended with other weights");
}

/// A stop after `polls` questions.
fn stop_after(polls: usize) -> impl Fn() -> bool + Sync {
    let asked = AtomicUsize::new(0);
    move || asked.fetch_add(1, Ordering::Relaxed) >= polls
}

#[test]
fn a_run_stopped_within_a_step_keeps_the_steps_before_it() {
    let options = SftOptions { steps: Some(3), ..sft_options() };
    let (whole, expected) = sft_until(&options, 1, 0, Stop::NEVER, &mut MemoryProgress::default());
    let whole = bits(&whole.unwrap());
    // Two shards of a micro-batch each are two questions a step: the third step is given up at its second.
    let mut progress = MemoryProgress::default();
    let stop = stop_after(5);
    let (stopped, begun) = sft_until(&options, 1, 0, Stop::when(&stop), &mut progress);
    assert!(matches!(stopped, Err(Error::Interrupted { step: 2, steps: 3 })), "{stopped:?}");
    let (continued, rest) = sft_until(&options, 2, 0, Stop::NEVER, &mut progress);
    assert!(bits(&continued.unwrap()) == whole);
    let lineage = |steps: &[SftStep]| -> Vec<(Vec<usize>, SftMetrics)> {
        steps.iter().map(|step| (step.examples.clone(), step.metrics.clone())).collect()
    };
    assert_eq!([lineage(&begun), lineage(&rest)].concat(), lineage(&expected));

    let options = GrpoOptions { steps: Some(2), ..grpo_options() };
    let (whole, expected) = grpo_until(&options, 1, 0, Stop::NEVER, &mut MemoryProgress::default());
    let whole = bits(&whole.unwrap());
    let asked = AtomicUsize::new(0);
    let count = || asked.fetch_add(1, Ordering::Relaxed) == usize::MAX;
    grpo_until(&options, 1, 0, Stop::when(&count), &mut MemoryProgress::default()).0.unwrap();
    let polls = asked.into_inner();
    // Some of these fall into sampling, some before the first update of the step, some between its updates.
    for polls in (polls / 2..polls).step_by(3) {
        let mut progress = MemoryProgress::default();
        let stop = stop_after(polls);
        let (stopped, begun) = grpo_until(&options, 1, 0, Stop::when(&stop), &mut progress);
        assert!(matches!(stopped, Err(Error::Interrupted { step, steps: 2 }) if step == begun.len()), "{stopped:?}");
        let (continued, rest) = grpo_until(&options, 2, 0, Stop::NEVER, &mut progress);
        assert!(bits(&continued.unwrap()) == whole, "after {polls} questions");
        let all = begun.iter().chain(&rest).map(|step| (&step.prompts, &step.metrics));
        assert!(all.eq(expected.iter().map(|step| (&step.prompts, &step.metrics))), "after {polls} questions");
    }
}

#[test]
fn grpo_earns_more_and_its_figures_make_sense() {
    let options =
        GrpoOptions { steps: Some(25), prompts_per_step: 8, updates: 1, learning_rate: 3e-3, ..grpo_options() };
    let (result, figures) = grpo(&options, 2, 0, &mut MemoryProgress::default());
    result.unwrap();
    let mean = |part: &[GrpoMetrics]| part.iter().map(|step| step.reward_mean).sum::<f64>() / part.len() as f64;
    assert!(
        mean(&figures[20..]) > mean(&figures[..5]) + 0.2,
        "{:?}",
        figures.iter().map(|m| m.reward_mean).collect::<Vec<_>>()
    );
    let first = &figures[0];
    // One on-policy update: the ratio is 1, the weights are the reference's, and entropy is at most that of equal odds.
    assert_eq!((first.updates, first.clip_fraction), (1, 0.0));
    assert!(first.kl.abs() < 1e-9 && first.entropy > 1.0 && first.entropy < 512f64.ln(), "{first:?}");
    assert_eq!(first.reward_parts[0].1, first.reward_mean);
    assert!(figures[10].kl > 0.0);
}

#[test]
fn groups_of_equal_rewards_change_nothing() {
    let mut reward =
        |completions: &[Completion<'_>]| Ok(vec![Reward { total: 1.0, parts: Vec::new() }; completions.len()]);
    let mut on_step = |step: &GrpoStep| {
        assert_eq!((step.metrics.zero_variance_share, step.metrics.updates), (1.0, 0));
        Control::Continue
    };
    let checkpoint = CheckpointEvery::default();
    let mut progress = MemoryProgress::default();
    let mut session = Session {
        workers: 1,
        checkpoint,
        progress: &mut progress,
        on_step: &mut on_step,
        name: &example,
        stop: Stop::NEVER,
    };
    let options = GrpoOptions { steps: Some(2), ..grpo_options() };
    let trained = train_grpo(&model(), &prompts(4), &prompts(4), &[492], &options, &mut reward, &mut session).unwrap();
    assert!(bits(&trained) == bits(&model()));
}

#[test]
fn a_step_of_masked_completions_is_an_error_that_names_them() {
    let mut reward = |completions: &[Completion<'_>]| {
        let reward = |completion: &Completion<'_>| Reward { total: completion.sample as f64, parts: Vec::new() };
        Ok(completions.iter().map(reward).collect())
    };
    let mut on_step = |_: &GrpoStep| Control::Continue;
    let checkpoint = CheckpointEvery::default();
    let mut progress = MemoryProgress::default();
    let stop = Stop::NEVER;
    let mut session =
        Session { workers: 1, checkpoint, progress: &mut progress, on_step: &mut on_step, name: &example, stop };
    let options = GrpoOptions { mask_truncated: true, max_new_tokens: 1, ..grpo_options() };
    let prompts = prompts(4);
    let result = train_grpo(&model(), &prompts, &prompts, &[], &options, &mut reward, &mut session);
    let error = result.unwrap_err().to_string();
    let parts = ["step 1", "`max-new-tokens` = 1", "`mask-truncated`", "example 0", "example 3"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn examples_without_a_target_are_an_error_that_names_them() {
    let mut masked = examples();
    masked.iter_mut().for_each(|example| example.loss_mask.fill(false));
    let mut on_step = |_: &SftStep| Control::Continue;
    let checkpoint = CheckpointEvery::default();
    let mut progress = MemoryProgress::default();
    let stop = Stop::NEVER;
    let mut session =
        Session { workers: 1, checkpoint, progress: &mut progress, on_step: &mut on_step, name: &example, stop };
    let error = train_sft(&model(), &masked, &masked, &sft_options(), &mut session).unwrap_err().to_string();
    for part in ["no example has a token to learn", "example 0: no token to learn", "example 7", "and 2 more"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn blocks_computed_once_more_change_nothing() {
    let (plain, losses) = sft(&sft_options(), 2, 0, &mut MemoryProgress::default());
    let mut progress = MemoryProgress::default();
    let again = SftOptions { recompute: true, ..sft_options() };
    // Begun with, continued without: the same training to a checkpoint.
    assert!(matches!(sft(&again, 2, 3, &mut progress).0, Err(Error::Interrupted { .. })));
    let (mixed, rest) = sft(&sft_options(), 2, 0, &mut progress);
    assert_eq!(rest, losses[3..]);
    assert!(bits(&mixed.unwrap()) == bits(&plain.unwrap()));
    let (plain, figures) =
        grpo(&GrpoOptions { freeze: vec![], ..grpo_options() }, 2, 0, &mut MemoryProgress::default());
    let again = GrpoOptions { recompute: true, freeze: vec![], ..grpo_options() };
    let (again, same) = grpo(&again, 2, 0, &mut MemoryProgress::default());
    assert_eq!(figures, same);
    assert!(bits(&again.unwrap()) == bits(&plain.unwrap()));
    assert!(figures.iter().all(|step| step.sampler_logprob_max_difference < 1e-4), "{figures:?}");
    assert!(figures.iter().any(|step| step.sampler_logprob_max_difference > 0.0), "nothing was compared");
}
