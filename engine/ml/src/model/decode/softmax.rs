//! The exponentials of logits on the host, as sampling needs them.

use pulp::Arch;

use super::super::kernels::{Vectorised, exp};

/// Sums that run side by side.
const LANES: usize = 8;

/// Puts `exp((logit - highest) * inverse)` of each logit into `weights`, but zero for the token `without`, and gives their sum.
pub(crate) fn exponentials(
    logits: &[f32],
    without: Option<usize>,
    (highest, inverse): (f32, f32),
    weights: &mut Vec<f32>,
) -> f64 {
    weights.clear();
    weights.extend_from_slice(logits);
    let mut sums = [0.0f64; LANES];
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for weight in weights.iter_mut() {
                *weight = exp((*weight - highest) * inverse);
            }
            if let Some(weight) = without.and_then(|token| weights.get_mut(token)) {
                *weight = 0.0;
            }
            let whole = weights.chunks_exact(LANES);
            for (sum, weight) in sums.iter_mut().zip(whole.remainder()) {
                *sum += f64::from(*weight);
            }
            for weights in whole {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += f64::from(*weight);
                }
            }
        },
    ));
    sums.iter().sum()
}
