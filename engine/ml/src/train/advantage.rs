//! Group-relative advantages: rewards of the samples of one prompt, measured against each other.
//! Knows neither tokens nor models. Checked against TRL's values.

use serde::{Deserialize, Serialize};

/// What a centred reward is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvantageScale {
    /// The unbiased standard deviation of the group (GRPO).
    #[default]
    Group,
    /// The unbiased standard deviation of all rewards of the step.
    Batch,
    /// Nothing: the centred reward itself (Dr. GRPO).
    None,
}

/// The advantages of one group, and whether they can teach anything.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// One advantage per sample, in the order of the rewards.
    pub values: Vec<f64>,
    /// Whether all samples got the same reward, so that the group has no gradient.
    pub zero_variance: bool,
}

/// Advantages `(reward - mean) / (std + epsilon)` of every group.
///
/// The standard deviation is the unbiased one (`n - 1`). A group whose rewards are all equal has advantages 0 exactly; so has a
/// group of one, which has nothing to be compared with (as in TRL; verl would keep its reward).
pub fn group_advantages(groups: &[Vec<f64>], scale: AdvantageScale, epsilon: f64) -> Vec<GroupAdvantages> {
    let all: Vec<f64> = groups.iter().flatten().copied().collect();
    let batch_deviation = mean_and_deviation(&all).1;
    groups
        .iter()
        .map(|rewards| {
            let (mean, group_deviation) = mean_and_deviation(rewards);
            let zero_variance = rewards.iter().all(|reward| *reward == rewards[0]);
            let deviation = match scale {
                AdvantageScale::Group => group_deviation + epsilon,
                AdvantageScale::Batch => batch_deviation + epsilon,
                AdvantageScale::None => 1.0,
            };
            let values =
                rewards.iter().map(|reward| if zero_variance { 0.0 } else { (reward - mean) / deviation }).collect();
            GroupAdvantages { values, zero_variance }
        })
        .collect()
}

/// Mean and unbiased standard deviation, which is 0 for fewer than two values.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    if values.len() < 2 {
        return (values.first().copied().unwrap_or_default(), 0.0);
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reference::cases;

    #[test]
    fn advantages_equal_the_reference() {
        for (_, case) in cases("advantages") {
            let rewards: Vec<f64> = serde_json::from_value(case["rewards"].clone()).unwrap();
            let expected: Vec<f64> = serde_json::from_value(case["advantages"].clone()).unwrap();
            let size = case["group_size"].as_u64().unwrap() as usize;
            let scale = serde_json::from_value(case["scale_rewards"].clone()).unwrap();
            let groups: Vec<Vec<f64>> = rewards.chunks(size).map(<[f64]>::to_vec).collect();
            let actual: Vec<f64> =
                group_advantages(&groups, scale, 1e-4).into_iter().flat_map(|group| group.values).collect();
            for (a, b) in actual.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{case}: {actual:?}");
            }
        }
    }

    #[test]
    fn equal_rewards_and_lone_samples_teach_nothing() {
        for scale in [AdvantageScale::Group, AdvantageScale::Batch, AdvantageScale::None] {
            let result = group_advantages(&[vec![0.3; 3], vec![1.0]], scale, 0.0);
            assert_eq!(result[0], GroupAdvantages { values: vec![0.0; 3], zero_variance: true });
            assert_eq!(result[1], GroupAdvantages { values: vec![0.0], zero_variance: true });
        }
    }
}
