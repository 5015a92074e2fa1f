//! Draws against transformers' candidates and exact distributions.

use rand::SeedableRng;
use serde_json::Value;

use super::*;

fn kept(logits: &[f32], seen: &[u32], sampling: &Sampling) -> (Vec<u32>, Vec<f32>) {
    let mut drawer = Drawer::default();
    drawer.penalise(logits, &Seen::of(seen), sampling.repetition_penalty);
    let scores = drawer.scores.clone();
    let (_, highest) = most_likely(&scores, None);
    let total = exponentials(&scores, None, (highest, 1.0 / sampling.temperature), &mut drawer.weights);
    candidates(&scores, &drawer.weights, None, total, sampling, &mut drawer.order);
    drawer.order.sort_unstable();
    let weights: Vec<f32> = drawer.order.iter().map(|token| drawer.weights[*token as usize]).collect();
    let sum: f32 = weights.iter().sum();
    (drawer.order, weights.iter().map(|weight| weight / sum).collect())
}

/// Made by tests/reference/sampling/make_candidates.py.
#[test]
fn candidates_equal_transformers() {
    let text = include_str!("../../../../../tests/reference/sampling/candidates.json");
    let cases: Value = serde_json::from_str(text).unwrap();
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>();
    for case in cases["cases"].as_array().unwrap() {
        let logits: Vec<f32> = numbers(&case["logits"]).iter().map(|value| *value as f32).collect();
        let seen: Vec<u32> = numbers(&case["seen"]).iter().map(|value| *value as u32).collect();
        let sampling = Sampling {
            temperature: case["temperature"].as_f64().unwrap() as f32,
            top_p: case["top_p"].as_f64().unwrap() as f32,
            top_k: case["top_k"].as_u64().map(|limit| limit as usize),
            repetition_penalty: case["penalty"].as_f64().unwrap() as f32,
            ..Sampling::greedy(1, &[])
        };
        let (tokens, probabilities) = kept(&logits, &seen, &sampling);
        let expected: Vec<u32> = numbers(&case["kept"]).iter().map(|value| *value as u32).collect();
        assert_eq!(tokens.len(), expected.len(), "{case}");
        // Where a token that is left out is as likely as one that is kept, transformers' sort decides as it happens.
        let mut drawer = Drawer::default();
        drawer.penalise(&logits, &Seen::of(&seen), sampling.repetition_penalty);
        let score = |token: &u32| drawer.scores[*token as usize];
        let least = expected.iter().map(score).fold(f32::INFINITY, f32::min);
        let out = (0..logits.len() as u32).filter(|token| !expected.contains(token)).map(|token| score(&token));
        if !out.into_iter().any(|score| score == least) {
            assert_eq!(tokens, expected, "{case}");
        }
        let descending = |mut values: Vec<f64>| {
            values.sort_by(|left, right| right.total_cmp(left));
            values
        };
        let ours = descending(probabilities.iter().map(|value| f64::from(*value)).collect());
        for (ours, expected) in ours.iter().zip(descending(numbers(&case["probabilities"]))) {
            assert!((ours - expected).abs() < 2e-6, "{ours}, expected {expected}: {case}");
        }
    }
}

#[test]
fn the_head_of_a_wide_distribution_is_found_whole() {
    let flat = vec![0.5; 5000];
    let (tokens, _) = kept(&flat, &[], &Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::greedy(1, &[]) });
    assert_eq!(tokens, (0..2500).collect::<Vec<u32>>());
    let logits: Vec<f32> = (0..5000).map(|token| ((token * 37 % 5000) as f32).ln()).collect();
    let sampling = |top_p, top_k| Sampling { temperature: 1.0, top_p, top_k, ..Sampling::greedy(1, &[]) };
    let (tokens, _) = kept(&logits[1..], &[], &sampling(0.9, None));
    // Weights 1 to 4999: those from `limit` on have nine tenths of the sum.
    let limit = (1..5000u64)
        .rev()
        .scan(0, |sum, weight| {
            *sum += weight;
            Some((*sum, weight))
        })
        .find(|(sum, _)| *sum * 10 >= 4999 * 5000 / 2 * 9)
        .unwrap()
        .1;
    assert_eq!(tokens.len() as u64, 5000 - limit);
    assert_eq!(kept(&logits[1..], &[], &sampling(1.0, Some(4000))).0.len(), 4000);
}

/// Pearson's statistic of 20,000 draws stays below the 0.999 quantile of its distribution (seven degrees of freedom or fewer).
#[test]
fn draws_follow_the_exact_distribution() {
    const DRAWS: usize = 20_000;
    let logits = [0.3f32, -1.2, 2.0, 0.0, 1.1, -0.4, 0.9, 1.7];
    for (temperature, top_p, top_k, penalty, placeholder) in [
        (1.0, 1.0, None, 1.0, None),
        (0.7, 1.0, None, 1.0, None),
        (1.3, 0.8, None, 1.0, None),
        (1.0, 1.0, Some(3), 1.0, None),
        (0.9, 0.9, Some(6), 1.2, None),
        (1.0, 0.95, None, 1.0, Some(2)),
    ] {
        let sampling = Sampling { temperature, top_p, top_k, repetition_penalty: penalty, ..Sampling::greedy(1, &[]) };
        let mut masked = logits;
        if let Some(token) = placeholder {
            masked[token] = -1e4;
        }
        let (tokens, probabilities) = kept(&masked, &[2, 5], &sampling);
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let mut drawer = Drawer::default();
        let seen = Seen::of(&[2, 5]);
        let mut counts = [0usize; 8];
        let log_sum: f32 = logits.iter().map(|logit| (logit / temperature).exp()).sum::<f32>().ln();
        for _ in 0..DRAWS {
            let (token, logprob) = drawer.draw(&logits, placeholder, &seen, &sampling, &mut random).unwrap();
            counts[token as usize] += 1;
            // Of the whole distribution, whatever was cut off or made less likely.
            assert!((logprob - (logits[token as usize] / temperature - log_sum)).abs() < 1e-5);
        }
        let mut statistic = 0.0;
        for (token, probability) in tokens.iter().zip(&probabilities) {
            let expected = f64::from(*probability) * DRAWS as f64;
            statistic += (counts[*token as usize] as f64 - expected).powi(2) / expected;
        }
        let drawn: usize = tokens.iter().map(|token| counts[*token as usize]).sum();
        assert_eq!(drawn, DRAWS, "{sampling:?}: {counts:?} of {tokens:?}");
        assert!(statistic < 24.3, "{sampling:?}: {statistic} of {counts:?}, expected {probabilities:?}");
    }
}

#[test]
fn extreme_logits_give_a_token_or_an_error() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut draw = |logits: &[f32], placeholder, temperature| {
        let sampling = Sampling { temperature, ..Sampling::greedy(1, &[]) };
        Drawer::default().draw(logits, placeholder, &Seen::default(), &sampling, &mut random)
    };
    assert_eq!(draw(&[0.0, 9.0], Some(1), 1.0).unwrap().0, 0);
    // The placeholder stands so high that nothing else has a share that a number could hold.
    let (token, logprob) = draw(&[0.0, 5000.0, -3000.0], Some(1), 0.5).unwrap();
    assert_eq!((token, logprob), (0, -10_000.0));
    assert_eq!(draw(&[-2e5, 1e5, 0.0], None, 1e-3).unwrap(), (1, 0.0));
    assert_eq!(draw(&[1.0, 3.0, 3.0], None, 0.0).unwrap().0, 1);
    for broken in [f32::NAN, f32::INFINITY] {
        assert!(draw(&[broken, 1.0], None, 1.0).unwrap_err().to_string().contains("not finite numbers"));
    }
    assert!(draw(&[f32::NEG_INFINITY; 3], None, 1.0).is_err());
}
