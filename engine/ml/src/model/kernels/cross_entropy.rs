//! Log-probabilities of chosen tokens from logits, entropies, and the gradient with respect to the logits, in place.

use burn::tensor::{FloatDType, IndexingUpdateOp, Int, Tensor, TensorData, activation};
use pulp::Arch;

use super::{Host, Vectorised, exp, highest, is_plain, sum_of};
use crate::error::{Error, Result};

/// What logits `[N, V]` say about one token each.
pub(crate) struct TokenStatistics {
    /// softmax(logits / temperature), `[N, V]` in f32.
    pub(crate) probabilities: Tensor<2>,
    /// Its logarithm at the token.
    pub(crate) log_probs: Vec<f32>,
    /// Its entropy in nats; empty unless asked for.
    pub(crate) entropies: Vec<f32>,
}

/// The probabilities under `softmax(logits / temperature)`, computed in f32, and what they say about `tokens`.
///
/// # Errors
/// When the values cannot be read back from the device.
pub(crate) fn token_statistics(
    logits: Tensor<2>,
    tokens: &[u32],
    temperature: f64,
    with_entropy: bool,
) -> Result<TokenStatistics> {
    if !is_plain(&logits) {
        return by_burn(logits, tokens, temperature, with_entropy);
    }
    let ([rows, width], device) = (logits.dims(), logits.device());
    let mut values = Host::new(logits);
    let mut log_probs = vec![0.0f32; rows];
    let mut entropies = vec![0.0f32; if with_entropy { rows } else { 0 }];
    let inverse = (1.0 / temperature) as f32;
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (row, line) in values.chunks_exact_mut(width).enumerate() {
                let highest = highest(line);
                let chosen = (line[tokens[row] as usize] - highest) * inverse;
                for value in line.iter_mut() {
                    *value = (*value - highest) * inverse;
                }
                let weighted = match with_entropy {
                    true => sum_of(width, |index| exp(line[index]) * line[index]),
                    false => 0.0,
                };
                for value in line.iter_mut() {
                    *value = exp(*value);
                }
                let sum = sum_of(width, |index| line[index]);
                // A logit that is no number makes this one no number too.
                log_probs[row] = chosen - f32::ln(sum);
                if let Some(entropy) = entropies.get_mut(row) {
                    *entropy = f32::ln(sum) - weighted / sum;
                }
                for value in line.iter_mut() {
                    *value /= sum;
                }
            }
        },
    ));
    Ok(TokenStatistics { probabilities: values.tensor([rows, width], &device), log_probs, entropies })
}

/// The gradient with respect to the logits of `sum(gradient[i] * log_probs[i])`: `gradient / temperature * (onehot - p)`.
pub(crate) fn logit_gradient(
    probabilities: Tensor<2>,
    tokens: &[u32],
    gradient: &[f32],
    temperature: f64,
) -> Tensor<2> {
    let scaled: Vec<f32> = gradient.iter().map(|value| (f64::from(*value) / temperature) as f32).collect();
    let device = probabilities.device();
    if !is_plain(&probabilities) {
        let count = scaled.len();
        let ids: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [count, 1]), &device);
        let per_token = Tensor::<2>::from_data(TensorData::new(scaled, [count, 1]), &device);
        let spread = probabilities * per_token.clone().neg();
        return spread.scatter(1, ids, per_token, IndexingUpdateOp::Add);
    }
    let [rows, width] = probabilities.dims();
    let mut values = Host::new(probabilities);
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for ((line, token), gradient) in values.chunks_exact_mut(width).zip(tokens).zip(&scaled) {
                for value in line.iter_mut() {
                    *value *= -gradient;
                }
                line[*token as usize] += gradient;
            }
        },
    ));
    values.tensor([rows, width], &device)
}

/// [`token_statistics`] from burn's operations.
pub(super) fn by_burn(
    logits: Tensor<2>,
    tokens: &[u32],
    temperature: f64,
    with_entropy: bool,
) -> Result<TokenStatistics> {
    let plain = logits.without_autodiff().cast(FloatDType::F32);
    let scaled = if temperature == 1.0 { plain } else { plain.div_scalar(temperature) };
    let ids: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &scaled.device());
    let probabilities = activation::softmax(scaled.clone(), 1);
    // The largest probability is exp(max - logsumexp): an exact way to logsumexp with a vectorised softmax only.
    let log_sum = scaled.clone().max_dim(1) - probabilities.clone().max_dim(1).log();
    let log_probs = scaled.clone().gather(1, ids) - log_sum.clone();
    let entropies =
        if with_entropy { read(log_sum - (probabilities.clone() * scaled).sum_dim(1))? } else { Vec::new() };
    Ok(TokenStatistics { probabilities, log_probs: read(log_probs)?, entropies })
}

/// A tensor's f32 values on the host.
fn read(tensor: Tensor<2>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(|error| Error::device(format!("cannot read values back: {error}")))
}
