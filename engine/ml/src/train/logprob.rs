//! Log-probabilities of chosen tokens from hidden states, and the way back: a gradient per token becomes those of the hidden
//! states and of the head. The softmax is differentiated by hand (`d log p(y) / d logits = onehot(y) - p`). Knows no loss.
//! Shapes: N loss positions, H hidden width, V vocabulary.
//!
//! Logits are made a piece of the positions at a time: where there are several pieces, none is kept, and each is made once more
//! on the way back. A position's bits do not depend on the pieces.

use burn::tensor::Tensor;

use crate::device::is_cpu;
use crate::error::Error;
use crate::model::kernels::cross_entropy::{TokenStatistics, logit_gradient, token_statistics};
use crate::model::{Model, ParameterGradients};

/// Logits of a piece: 128 MiB on a CPU, 1 GiB elsewhere.
const PIECE_ELEMENTS: [usize; 2] = [1 << 25, 1 << 28];

/// Log-probabilities of the tokens at N positions.
pub struct TokenLogProbs {
    /// The final hidden states [N, H].
    hidden: Tensor<2>,
    /// softmax(logits / temperature) [N, V] in f32, when that is one piece.
    probabilities: Option<Tensor<2>>,
    tokens: Vec<u32>,
    temperature: f64,
    /// log p(token) at each position, f32.
    pub values: Vec<f32>,
    /// The entropy in nats of the distribution at each position; empty unless asked for.
    pub entropies: Vec<f32>,
}

impl TokenLogProbs {
    /// Log-probabilities of `tokens` (N of them) under `softmax(logits / temperature)`, computed in f32, from `hidden` [N, H].
    ///
    /// # Errors
    /// When the values cannot be read back from the device.
    pub fn new(
        model: &Model,
        hidden: Tensor<2>,
        tokens: Vec<u32>,
        temperature: f64,
        with_entropy: bool,
    ) -> Result<Self, Error> {
        let piece = piece(model);
        let (mut values, mut entropies) = (Vec::with_capacity(tokens.len()), Vec::new());
        let mut kept = None;
        for (index, part) in tokens.chunks(piece).enumerate() {
            let logits = model.logits(hidden.clone().narrow(0, index * piece, part.len()));
            let found: TokenStatistics = token_statistics(logits, part, temperature, with_entropy)?;
            values.extend(found.log_probs);
            entropies.extend(found.entropies);
            kept = (tokens.len() <= piece).then_some(found.probabilities);
        }
        Ok(Self { hidden, probabilities: kept, tokens, temperature, values, entropies })
    }

    /// The gradient of `sum(gradient[i] * values[i])` with respect to the hidden states [N, H]; the head's is added to
    /// `gradients`. `gradient` holds one number per position.
    ///
    /// # Errors
    /// When the device fails.
    pub fn backward(
        self,
        model: &Model,
        gradient: &[f32],
        gradients: &mut ParameterGradients,
    ) -> Result<Tensor<2>, Error> {
        let Self { hidden, mut probabilities, tokens, temperature, .. } = self;
        let piece = piece(model);
        let mut parts = Vec::new();
        for (index, (part, gradient)) in tokens.chunks(piece).zip(gradient.chunks(piece)).enumerate() {
            let hidden = hidden.clone().narrow(0, index * piece, part.len());
            let probabilities = match probabilities.take() {
                Some(kept) => kept,
                None => token_statistics(model.logits(hidden.clone()), part, temperature, false)?.probabilities,
            };
            let narrow = hidden.dtype();
            let upstream = logit_gradient(probabilities, part, gradient, temperature).cast(narrow);
            parts.push(model.backward_logits(hidden, upstream, gradients));
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) })
    }
}

/// Positions of a piece.
fn piece(model: &Model) -> usize {
    let [cpu, other] = PIECE_ELEMENTS;
    let elements = if is_cpu(model.device()) { cpu } else { other };
    (elements / model.config().text.vocab_size.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use serde_json::Value;

    use super::*;
    use crate::train::loss::{SftLossKind, sft_loss};
    use crate::train::reference::cases;

    type Cube = Vec<Vec<Vec<f32>>>;

    fn logits(rows: &[Vec<f32>]) -> Tensor<2> {
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(TensorData::new(rows.concat(), shape), &Device::flex())
    }

    /// The gradient with respect to the logits.
    fn gradient(statistics: TokenStatistics, tokens: &[u32], gradient: &[f32], temperature: f64) -> Vec<f32> {
        let gradient = logit_gradient(statistics.probabilities, tokens, gradient, temperature);
        gradient.try_into_vec_as::<f32>().unwrap()
    }

    fn log_softmax(row: &[f64]) -> Vec<f64> {
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|value| (value - highest).exp()).sum();
        row.iter().map(|value| value - highest - sum.ln()).collect()
    }

    /// 1e-6 relative, for f64 on both sides; what is less than 1e-16 has lost its digits in `1 - p`.
    fn assert_relative(actual: f64, expected: f64, what: &str) {
        assert!((actual - expected).abs() <= 1e-6 * expected.abs() + 1e-16, "{what}: {actual} != {expected}");
    }

    /// The bound of the f32 path: 2e-6 of a value's magnitude, or of 1.
    fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
        assert_eq!(actual.len(), expected.len(), "{what}");
        for (a, b) in actual.iter().zip(expected) {
            assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{what}: {a} != {b}");
        }
    }

    #[test]
    fn sft_losses_and_gradients_equal_the_reference() {
        for (file, case) in cases("sft") {
            let input = &file["sft_inputs"][case["input"].as_str().unwrap()];
            let what = format!("{} {}", case["input"], case["loss_type"]);
            let cube: Vec<Vec<Vec<f64>>> = serde_json::from_value(input["logits"].clone()).unwrap();
            let labels: Vec<Vec<i64>> = serde_json::from_value(input["labels"].clone()).unwrap();
            let expected: Vec<Vec<Vec<f64>>> = serde_json::from_value(case["grad_logits"].clone()).unwrap();
            let (mut rows, mut tokens, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
            for (row, labels) in labels.iter().enumerate() {
                for (place, label) in labels.iter().enumerate().skip(1).filter(|(_, label)| **label >= 0) {
                    rows.push(cube[row][place - 1].clone());
                    gradients.push(expected[row][place - 1].clone());
                    tokens.push(*label as u32);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let kind: SftLossKind = serde_json::from_value(case["loss_type"].clone()).unwrap();
            let count = case["num_items_in_batch"].as_u64().map_or(tokens.len(), |count| count as usize);
            // In f64 throughout, the loss and its gradient with respect to the logits are the reference's.
            let exact: Vec<f64> =
                rows.iter().zip(&tokens).map(|(row, token)| log_softmax(row)[*token as usize]).collect();
            let (loss, per_token) = sft_loss(&exact, kind, count);
            assert_relative(loss, case["loss"].as_f64().unwrap(), &what);
            for (((row, token), slope), expected) in rows.iter().zip(&tokens).zip(&per_token).zip(&gradients) {
                for (place, (log_prob, expected)) in log_softmax(row).iter().zip(expected).enumerate() {
                    let own = f64::from(place == *token as usize) - log_prob.exp();
                    assert_relative(slope * own, *expected, &what);
                }
            }
            let gradients: Vec<f32> = gradients.concat().iter().map(|value| *value as f32).collect();
            let rows: Vec<Vec<f32>> = rows.iter().map(|row| row.iter().map(|value| *value as f32).collect()).collect();
            let statistics = token_statistics(logits(&rows), &tokens, 1.0, false).unwrap();
            let log_probs: Vec<f64> = statistics.log_probs.iter().copied().map(f64::from).collect();
            let (loss, per_token) = sft_loss(&log_probs, kind, count);
            assert_close(&[loss as f32], &[case["loss"].as_f64().unwrap() as f32], &what);
            let per_token: Vec<f32> = per_token.iter().map(|value| *value as f32).collect();
            assert_close(&gradient(statistics, &tokens, &per_token, 1.0), &gradients, &what);
        }
    }

    #[test]
    fn log_probs_entropies_and_gradients_at_a_temperature_equal_the_reference() {
        for (file, case) in cases("grpo") {
            let input = &file["grpo_inputs"][case["input"].as_str().unwrap()];
            let what = case["input"].to_string();
            let cube: Cube = serde_json::from_value(input["logits"].clone()).unwrap();
            let tokens: Vec<Vec<u32>> = serde_json::from_value(input["completion_ids"].clone()).unwrap();
            let expected: Vec<Vec<f32>> = serde_json::from_value(input["logps"].clone()).unwrap();
            let upstream: Vec<Vec<f32>> = serde_json::from_value(case["grad_logps"].clone()).unwrap();
            let first_row: Vec<Vec<f32>> = serde_json::from_value(case["grad_logits_row0"].clone()).unwrap();
            let temperature = input["temperature"].as_f64().unwrap();
            let tokens = tokens.concat();
            let statistics = token_statistics(logits(&cube.concat()), &tokens, temperature, true).unwrap();
            assert_close(&statistics.log_probs, &expected.concat(), &what);
            let mask: Vec<Vec<u32>> = serde_json::from_value(input["completion_mask"].clone()).unwrap();
            let kept = mask.concat();
            let sum: f64 = statistics.entropies.iter().zip(&kept).map(|(e, m)| f64::from(*e) * f64::from(*m)).sum();
            if let Some(entropy) = case["trl_metrics"].get("entropy").and_then(Value::as_f64) {
                let mean = sum / f64::from(kept.iter().sum::<u32>());
                assert_close(&[mean as f32], &[entropy as f32], &what);
            }
            let found = gradient(statistics, &tokens, &upstream.concat(), temperature);
            let expected = first_row.concat();
            assert_close(&found[..expected.len()], &expected, &what);
        }
    }
}
