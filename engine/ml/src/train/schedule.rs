//! The learning rate over the steps: constant, linear or cosine after a linear warm-up.
//! The factors equal those of Hugging Face's schedules, first step included (factor 0 when there is a warm-up).

use serde::{Deserialize, Serialize};

/// How the learning rate runs after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Stays at its peak.
    #[default]
    Constant,
    /// Falls to 0 in a straight line.
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
}

/// How long the learning rate rises from 0 to its peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUp {
    /// This share of all steps, rounded up.
    Ratio(f64),
    /// This many steps.
    Steps(usize),
}

impl WarmUp {
    /// Steps of warm-up in a run of `total` steps.
    pub fn steps(self, total: usize) -> usize {
        match self {
            WarmUp::Ratio(ratio) => (total as f64 * ratio.clamp(0.0, 1.0)).ceil() as usize,
            WarmUp::Steps(steps) => steps,
        }
    }
}

impl Schedule {
    /// The factor on the peak learning rate at `step` (from 0) of `total`, after `warm_up` steps of warm-up.
    pub fn factor(self, step: usize, warm_up: usize, total: usize) -> f64 {
        if step < warm_up {
            return step as f64 / warm_up.max(1) as f64;
        }
        let left = total.saturating_sub(warm_up).max(1) as f64;
        let progress = (step - warm_up) as f64 / left;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => total.saturating_sub(step) as f64 / left,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reference::files;

    #[test]
    fn factors_equal_the_reference() {
        let [file, more] = files();
        let check = |schedule: Schedule, warm_up, total, expected: &serde_json::Value| {
            let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            for (step, expected) in expected.iter().enumerate() {
                let actual = schedule.factor(step, warm_up, total);
                let what = format!("{schedule:?} {warm_up} {total} at {step}");
                assert!((actual - expected).abs() < 1e-12, "{what}: {actual} != {expected}");
            }
        };
        // These run past the last step, where a cosine rises again.
        check(Schedule::Cosine, 3, 10, &file["adamw"]["cosine_lr_warmup3_total10"]);
        check(Schedule::Linear, 3, 10, &file["adamw"]["linear_lr_warmup3_total10"]);
        for case in more["schedules"].as_array().unwrap() {
            let schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
            let number = |name: &str| case[name].as_u64().unwrap() as usize;
            check(schedule, number("warm_up"), number("total"), &case["factors"]);
        }
        assert_eq!(Schedule::Constant.factor(5, 3, 10), 1.0);
    }

    /// No step, no warm-up, a warm-up longer than the run: as the lambdas of Hugging Face's schedules.
    #[test]
    fn edges() {
        for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine] {
            assert_eq!(schedule.factor(0, 0, 5), 1.0);
            assert_eq!(schedule.factor(0, 3, 2), 0.0);
            assert_eq!(schedule.factor(1, 4, 2), 0.25);
        }
        assert_eq!((Schedule::Constant.factor(9, 0, 5), Schedule::Linear.factor(9, 0, 5)), (1.0, 0.0));
        assert_eq!(
            (WarmUp::Ratio(0.0).steps(10), WarmUp::Ratio(1.0).steps(10), WarmUp::Ratio(0.1).steps(0)),
            (0, 10, 0)
        );
    }

    #[test]
    fn a_ratio_of_the_steps_is_rounded_up() {
        assert_eq!(WarmUp::Ratio(0.15).steps(11), 2);
        assert_eq!(WarmUp::Steps(7).steps(3), 7);
    }
}
