//! Log-probabilities of chosen tokens from logits, and the way back: a gradient per token becomes gradients of the weights.
//! The softmax is differentiated by hand (`d log p(y) / d logits = onehot(y) - p`), so that the automatic differentiation sees
//! one product. Knows no loss. Shapes: N loss positions, V vocabulary.

use burn::tensor::{DType, FloatDType, Gradients, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::error::Error;

/// Log-probabilities of the tokens at N positions, tied to the graph of the logits.
pub struct TokenLogProbs {
    /// The logits [N, V], with their graph when there is one.
    logits: Tensor<2>,
    /// softmax(logits / temperature) [N, V] in f32, without a graph.
    probabilities: Tensor<2>,
    /// The tokens [N, 1].
    tokens: Tensor<2, Int>,
    temperature: f64,
    /// log p(token) at each position, f32.
    pub values: Vec<f32>,
    /// The entropy in nats of the distribution at each position; empty unless asked for.
    pub entropies: Vec<f32>,
}

impl TokenLogProbs {
    /// Log-probabilities of `tokens` (N of them) under `softmax(logits / temperature)`, computed in f32.
    ///
    /// # Errors
    /// When the values cannot be read back from the device.
    pub fn new(logits: Tensor<2>, tokens: &[u32], temperature: f64, with_entropy: bool) -> Result<Self, Error> {
        let plain = logits.clone().inner().cast(FloatDType::F32);
        let scaled = if temperature == 1.0 { plain } else { plain.div_scalar(temperature) };
        let device = scaled.device();
        let ids: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &device);
        let probabilities = activation::softmax(scaled.clone(), 1);
        // The largest probability is exp(max - logsumexp): an exact way to logsumexp with a vectorised softmax only.
        let log_sum = scaled.clone().max_dim(1) - probabilities.clone().max_dim(1).log();
        let values = scaled.clone().gather(1, tokens.clone()) - log_sum.clone();
        let entropies =
            if with_entropy { read(log_sum - (probabilities.clone() * scaled).sum_dim(1))? } else { Vec::new() };
        Ok(Self { logits, probabilities, tokens, temperature, values: read(values)?, entropies })
    }

    /// Gradients of `sum(gradient[i] * values[i])` with respect to everything that the logits depend on.
    ///
    /// `gradient` holds one number per position.
    pub fn backward(self, gradient: &[f32]) -> Gradients {
        let upstream = self.upstream(gradient);
        (self.logits * upstream).sum().backward()
    }

    /// The gradient of the same sum with respect to the logits [N, V], in their type.
    fn upstream(&self, gradient: &[f32]) -> Tensor<2> {
        let device = self.probabilities.device();
        let scaled: Vec<f32> = gradient.iter().map(|value| (f64::from(*value) / self.temperature) as f32).collect();
        let per_token = Tensor::<2>::from_data(TensorData::new(scaled, [gradient.len(), 1]), &device);
        let spread = self.probabilities.clone() * per_token.clone().neg();
        let full = spread.scatter(1, self.tokens.clone(), per_token, IndexingUpdateOp::Add);
        match self.logits.dtype() {
            DType::F32 => full,
            other => full.cast(other),
        }
    }
}

/// A tensor's f32 values on the host.
fn read(tensor: Tensor<2>) -> Result<Vec<f32>, Error> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::device(format!("cannot read values back: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::loss::{SftLossKind, sft_loss};
    use crate::train::reference::losses;
    use burn::tensor::Device;
    use serde_json::Value;

    type Cube = Vec<Vec<Vec<f32>>>;

    fn leaf(rows: &[Vec<f32>]) -> Tensor<2> {
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(TensorData::new(rows.concat(), shape), &Device::flex().autodiff()).require_grad()
    }

    fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
        assert_eq!(actual.len(), expected.len(), "{what}");
        for (a, b) in actual.iter().zip(expected) {
            assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{what}: {a} != {b}");
        }
    }

    #[test]
    fn sft_losses_and_gradients_equal_the_reference() {
        for case in losses()["sft"].as_array().unwrap() {
            let input = &losses()["sft_inputs"][case["input"].as_str().unwrap()];
            let what = format!("{} {}", case["input"], case["loss_type"]);
            let logits: Cube = serde_json::from_value(input["logits"].clone()).unwrap();
            let labels: Vec<Vec<i64>> = serde_json::from_value(input["labels"].clone()).unwrap();
            let expected: Cube = serde_json::from_value(case["grad_logits"].clone()).unwrap();
            let (mut rows, mut tokens, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
            for (row, labels) in labels.iter().enumerate() {
                for (place, label) in labels.iter().enumerate().skip(1).filter(|(_, label)| **label >= 0) {
                    rows.push(logits[row][place - 1].clone());
                    gradients.push(expected[row][place - 1].clone());
                    tokens.push(*label as u32);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let kind: SftLossKind = serde_json::from_value(case["loss_type"].clone()).unwrap();
            let count = case["num_items_in_batch"].as_u64().map_or(tokens.len(), |count| count as usize);
            let leaf = leaf(&rows);
            let log_probs = TokenLogProbs::new(leaf.clone(), &tokens, 1.0, false).unwrap();
            let (loss, gradient) = sft_loss(&log_probs.values, kind, count);
            assert_close(&[loss as f32], &[case["loss"].as_f64().unwrap() as f32], &what);
            let found = leaf.grad(&log_probs.backward(&gradient)).unwrap();
            assert_close(&found.try_into_vec_as::<f32>().unwrap(), &gradients.concat(), &what);
        }
    }

    #[test]
    fn log_probs_entropies_and_gradients_at_a_temperature_equal_the_reference() {
        for case in losses()["grpo"].as_array().unwrap() {
            let input = &losses()["grpo_inputs"][case["input"].as_str().unwrap()];
            let what = case["input"].to_string();
            let logits: Cube = serde_json::from_value(input["logits"].clone()).unwrap();
            let tokens: Vec<Vec<u32>> = serde_json::from_value(input["completion_ids"].clone()).unwrap();
            let expected: Vec<Vec<f32>> = serde_json::from_value(input["logps"].clone()).unwrap();
            let upstream: Vec<Vec<f32>> = serde_json::from_value(case["grad_logps"].clone()).unwrap();
            let first_row: Vec<Vec<f32>> = serde_json::from_value(case["grad_logits_row0"].clone()).unwrap();
            let leaf = leaf(&logits.concat());
            let temperature = input["temperature"].as_f64().unwrap();
            let log_probs = TokenLogProbs::new(leaf.clone(), &tokens.concat(), temperature, true).unwrap();
            assert_close(&log_probs.values, &expected.concat(), &what);
            let mask: Vec<Vec<u32>> = serde_json::from_value(input["completion_mask"].clone()).unwrap();
            let kept = mask.concat();
            let sum: f64 = log_probs.entropies.iter().zip(&kept).map(|(e, m)| f64::from(*e) * f64::from(*m)).sum();
            if let Some(entropy) = case["trl_metrics"].get("entropy").and_then(Value::as_f64) {
                let mean = sum / f64::from(kept.iter().sum::<u32>());
                assert_close(&[mean as f32], &[entropy as f32], &what);
            }
            let found = leaf.grad(&log_probs.backward(&upstream.concat())).unwrap();
            let found = found.try_into_vec_as::<f32>().unwrap();
            let expected = first_row.concat();
            assert_close(&found[..expected.len()], &expected, &what);
        }
    }
}
