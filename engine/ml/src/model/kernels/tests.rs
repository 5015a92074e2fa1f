//! Each kernel, forward and back, against burn's operations and automatic differentiation.

use burn::tensor::{Device, FloatDType, Tensor};

use super::attention::{Visibility, Weights, attention_weights, backward_by_burn, weights_by_burn};
use super::rotary::{Heads, Projected, Rotary};
use super::*;

fn numbers<const D: usize>(shape: [usize; D], seed: usize) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|index| ((index + 97 * seed) as f32 * 1.7).sin() * 3.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn assert_close<const D: usize>(left: Tensor<D>, right: Tensor<D>, what: &str) {
    assert_eq!(left.dims(), right.dims(), "{what}");
    let (left, right) = (Host::new(left), Host::new(right));
    for (place, (a, b)) in left.iter().zip(right.iter()).enumerate() {
        assert!((a - b).abs() < 2e-5 * b.abs().max(1.0), "{what} at {place}: {a} {b}");
    }
}

/// The gradient of `sum(function(x) * weights)` by automatic differentiation.
fn slope<const D: usize, const E: usize>(
    x: &Tensor<D>,
    weights: &Tensor<E>,
    function: impl FnOnce(Tensor<D>) -> Tensor<E>,
) -> Tensor<D> {
    let x = x.clone().autodiff().require_grad();
    let gradients = (function(x.clone()) * weights.clone()).sum().backward();
    x.grad(&gradients).unwrap()
}

#[test]
fn exponential_is_accurate() {
    for step in -8700..8800 {
        let x = step as f32 / 100.0;
        let exact = f64::from(x).exp();
        assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn norms() {
    let (x, weight, upstream) = (numbers([5, 19], 1), numbers([19], 2), numbers([5, 19], 3));
    let epsilon = 1e-6;
    assert_close(norm::rms_norm(x.clone(), &weight, epsilon), norm::by_burn(x.clone(), &weight, epsilon), "norm");
    let expected = slope(&x, &upstream, |x| norm::by_burn(x, &weight, epsilon));
    let of_weight = slope(&weight, &upstream, |weight| norm::by_burn(x.clone(), &weight, epsilon));
    for (backward, what) in [
        (norm::rms_norm_backward as fn(_, &_, _, _, _) -> norm::NormGradients, "kernel"),
        (norm::backward_by_burn, "burn"),
    ] {
        let found = backward(x.clone(), &weight, epsilon, upstream.clone(), None);
        assert_close(found.input, expected.clone(), what);
        assert_close(found.weight, of_weight.clone(), what);
        let bypass = backward(x.clone(), &weight, epsilon, upstream.clone(), Some(x.clone()));
        assert_close(bypass.input, expected.clone() + x.clone(), what);
    }
}

/// bf16 rows are normalised in f32, rounded, and then scaled, as in transformers: never with a rounded root.
#[test]
fn norms_of_bf16_are_computed_in_f32() {
    let (x, weight) = (numbers([4, 32], 1), numbers([32], 2));
    let (narrow, narrow_weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
    let wide = narrow.clone().cast(FloatDType::F32);
    let exact = norm::by_burn(wide, &Tensor::ones([32], &Device::flex()), 1e-6);
    let expected = exact.cast(FloatDType::BF16) * narrow_weight.clone().unsqueeze();
    let found = norm::rms_norm(narrow, &narrow_weight, 1e-6);
    assert_eq!(found.dtype(), burn::tensor::DType::BF16);
    assert!(found.cast(FloatDType::F32).into_data() == expected.cast(FloatDType::F32).into_data());
}

#[test]
fn gated_layers() {
    let (x, upstream) = (numbers([6, 22], 1), numbers([6, 11], 2));
    assert_close(gated::swiglu(x.clone()), gated::by_burn(x.clone()), "swiglu");
    let expected = slope(&x, &upstream, gated::by_burn);
    for backward in [gated::swiglu_backward, gated::backward_by_burn] {
        let (gradient, output) = backward(x.clone(), upstream.clone());
        assert_close(gradient, expected.clone(), "gradient");
        assert_close(output, gated::by_burn(x.clone()), "output");
    }
}

#[test]
fn attention_with_and_without_padding() {
    let (scores, values) = (numbers([2, 2, 6, 20], 3), numbers([2, 2, 20, 5], 4));
    for visibility in [Some(Visibility::new(vec![0, 18], 3)), None] {
        let (visibility, queries) = (visibility.as_ref(), 3);
        let ours = attention_weights(scores.clone(), visibility);
        let upstream = numbers([6, 20], 5);
        let mix = |scores: Tensor<4>, values: Tensor<4>| {
            let mixed = weights_by_burn(scores, visibility).matmul(values).reshape([2, 4, 3, 5]);
            mixed.swap_dims(1, 2).reshape([6, 20])
        };
        let mixed = ours.mix(values.clone(), queries);
        let divided = Weights { weights: weights_by_burn(scores.clone(), visibility), sums: None };
        assert_close(divided.mix(values.clone(), queries), mixed.clone(), "mixed by burn");
        assert_close(mixed.clone(), mix(scores.clone(), values.clone()), "mixed");
        let of_scores = slope(&scores, &upstream, |scores| mix(scores, values.clone()));
        let of_values = slope(&values, &upstream, |values| mix(scores.clone(), values));
        let found = ours.backward(values.clone(), mixed.clone(), upstream.clone(), queries);
        let weights = weights_by_burn(scores.clone(), visibility);
        let by_burn = backward_by_burn(weights, values.clone(), mixed, upstream, queries);
        for (scores, values) in [found, by_burn] {
            assert_close(scores, of_scores.clone(), "scores");
            assert_close(values, of_values.clone(), "values");
        }
    }
}

#[test]
fn rotary_positions() {
    let heads = Heads { queries: 4, keys: 2, width: 6 };
    let angles: Vec<f32> = (0..10 * 3).map(|index| index as f32 * 0.37).collect();
    let rotary = Rotary::new(&angles, heads);
    let picked: Vec<usize> = vec![3, 1, 2, 9, 0, 4];
    for (rotary, rows, tokens) in [(rotary.clone(), 5, 10), (rotary.select(&picked), 2, 6)] {
        let fused = numbers([tokens, 48], 1);
        let all = |Projected { queries, keys, values }: Projected| Tensor::cat(vec![queries, keys, values], 1);
        let expected = all(rotary.split_by_burn(fused.clone(), rows));
        assert!(all(rotary.split(fused.clone(), rows)).into_data() == expected.clone().into_data());
        let upstream = numbers(expected.dims(), 2);
        let slope = slope(&fused, &upstream, |fused| all(rotary.split_by_burn(fused, rows)));
        let parts = || Projected {
            queries: upstream.clone().narrow(1, 0, 4),
            keys: upstream.clone().narrow(1, 4, 2),
            values: upstream.clone().narrow(1, 6, 2),
        };
        assert_close(rotary.split_backward(parts()), slope.clone(), "kernel");
        assert_close(rotary.split_backward_by_burn(parts()), slope, "burn");
    }
}

#[test]
fn biases_and_updates() {
    let (x, bias) = (numbers([130, 7], 1), numbers([7], 2));
    assert_close(add_bias(x.clone(), &bias), x.clone() + bias.unsqueeze(), "bias");
    assert_close(sum_rows(x.clone()), x.sum_dim(0).reshape([7]), "sum");
    let step = update::AdamWStep { betas: [0.9, 0.99], epsilon: 1e-3, rate: 0.1, keep: 0.98, scale: 0.5 };
    let moments = || Some((numbers([37], 3), numbers([37], 4).abs()));
    for moments in [moments(), None] {
        let arguments = || (numbers([37], 1), moments.clone(), numbers([37], 2));
        let (value, before, gradient) = arguments();
        let (ours, (first, second)) = update::adamw(&step, value, before, gradient);
        let (value, before, gradient) = arguments();
        let (theirs, moments) = update::by_burn(&step, value, before, gradient);
        assert_close(ours, theirs, "value");
        assert_close(first, moments.0, "first");
        assert_close(second, moments.1, "second");
    }
}

#[test]
fn statistics_of_tokens() {
    let (logits, tokens) = (numbers([4, 21], 1), [3, 0, 20, 7]);
    for temperature in [1.0, 0.7] {
        let ours = cross_entropy::token_statistics(logits.clone(), &tokens, temperature, true).unwrap();
        let theirs = cross_entropy::by_burn(logits.clone(), &tokens, temperature, true).unwrap();
        for (a, b) in ours.log_probs.iter().chain(&ours.entropies).zip(theirs.log_probs.iter().chain(&theirs.entropies))
        {
            assert!((a - b).abs() < 2e-6 * b.abs().max(1.0), "{a} {b}");
        }
        assert_close(ours.probabilities, theirs.probabilities, "probabilities");
    }
    let broken = Tensor::<2>::from_floats([[1.0, f32::NAN, 0.5]], &Device::flex());
    assert!(cross_entropy::token_statistics(broken, &[0], 1.0, false).unwrap().log_probs[0].is_nan());
}
