//! Intervals and tests for shares of correct answers. Pure arithmetic over scores; it knows no records.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

/// The confidence of intervals.
const CONFIDENCE: f64 = 0.95;

/// A share with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// The mean over problems of the mean over samples.
    pub(crate) mean: f64,
    /// The lower end of the interval.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
}

/// Two evaluations of the same problems against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// The mean difference.
    pub(crate) difference: f64,
    /// The two-sided p value of no difference; `None` where the data cannot tell.
    pub(crate) p: Option<f64>,
}

/// The interval of Wilson (1927) for the share `mean` of `n` problems answered right, one sample each.
/// `None` for no problems.
pub(crate) fn wilson(mean: f64, n: usize) -> Option<Estimate> {
    if n == 0 {
        return None;
    }
    let (z, n) = (quantile(), n as f64);
    let scale = 1.0 + z * z / n;
    let centre = (mean + z * z / (2.0 * n)) / scale;
    let half = z / scale * (mean * (1.0 - mean) / n + z * z / (4.0 * n * n)).sqrt();
    // At 0 and 1 the formula gives the bound itself up to rounding.
    Some(Estimate { mean, low: (centre - half).clamp(0.0, mean), high: (centre + half).clamp(mean, 1.0) })
}

/// The interval for several samples per problem: the normal one with the standard error over problems, because samples of
/// one problem are not independent. Without any spread between problems that would be a point: then Wilson's over problems.
/// `None` for no problems.
pub(crate) fn clustered(scores: &[f64]) -> Option<Estimate> {
    let n = scores.len();
    let (mean, deviation) = moments(scores);
    if n < 2 || deviation == 0.0 {
        return wilson(mean, n);
    }
    let half = quantile() * deviation / (n as f64).sqrt();
    Some(Estimate { mean, low: (mean - half).max(0.0), high: (mean + half).min(1.0) })
}

/// The exact McNemar test: `only_first` problems that only the first got right, `only_second` that only the second did.
/// Two-sided; 1 if they never disagree.
pub(crate) fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    // Nothing is less extreme than an even split, so both tails together hold everything; the sum would be rounded.
    if only_first.abs_diff(only_second) <= 1 {
        return 1.0;
    }
    match Binomial::new(0.5, only_first + only_second) {
        Ok(coin) => (2.0 * coin.cdf(only_first.min(only_second))).min(1.0),
        Err(_) => 1.0,
    }
}

/// The paired t test: the two-sided p value that the mean of `differences` is 0. `None` for fewer than two, or if all are
/// the same but not 0: without spread the test says nothing.
pub(crate) fn paired_t(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if n < 2 {
        return None;
    }
    let (mean, deviation) = moments(differences);
    if deviation == 0.0 {
        return (mean == 0.0).then_some(1.0);
    }
    let t = mean / (deviation / (n as f64).sqrt());
    let distribution = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?;
    Some(2.0 * distribution.cdf(-t.abs()))
}

/// Compares two evaluations, given each problem's (first, second) mean score: the exact McNemar test if every problem has
/// one sample, the paired t test otherwise. The difference is the second's minus the first's. `None` for no problems.
pub(crate) fn compare(pairs: &[(f64, f64)], one_sample: bool) -> Option<Comparison> {
    if pairs.is_empty() {
        return None;
    }
    let differences: Vec<f64> = pairs.iter().map(|(first, second)| second - first).collect();
    let (difference, _) = moments(&differences);
    let p = if one_sample {
        let count = |wanted: fn(f64) -> bool| differences.iter().filter(|value| wanted(**value)).count() as u64;
        Some(mcnemar_exact(count(|value| value < 0.0), count(|value| value > 0.0)))
    } else {
        paired_t(&differences)
    };
    Some(Comparison { difference, p })
}

/// The mean and the sample standard deviation; 0 where they are not defined.
fn moments(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    // Equal values must give a deviation of exactly 0, whatever rounding does to their mean.
    if values.iter().all(|value| *value == values[0]) {
        return (values[0], 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// How many standard errors the interval reaches to each side: 1.96.
fn quantile() -> f64 {
    Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    }

    fn assert_interval(estimate: Option<Estimate>, low: f64, high: f64) {
        let estimate = estimate.expect("there are problems");
        assert_near(estimate.low, low);
        assert_near(estimate.high, high);
    }

    #[test]
    fn wilson_matches_known_values() {
        // The closed form, evaluated in Python with z = 1.959963984540054.
        assert_interval(wilson(0.7, 10), 0.39677815, 0.89220873);
        assert_interval(wilson(0.0, 20), 0.0, 0.16112516);
        assert_interval(wilson(1.0, 20), 0.83887484, 1.0);
        assert_interval(wilson(0.415, 200), 0.34894285, 0.48426085);
        assert_eq!(wilson(0.0, 0), None);
    }

    #[test]
    fn several_samples_are_clustered_by_problem() {
        assert_interval(clustered(&[0.0, 0.25, 0.5, 0.75, 1.0]), 0.153524, 0.846476);
        assert_eq!(clustered(&[1.0; 20]), wilson(1.0, 20));
        assert_eq!(clustered(&[0.5]), wilson(0.5, 1));
        assert_eq!(clustered(&[]), None);
    }

    #[test]
    fn mcnemar_counts_disagreements_only() {
        assert_near(mcnemar_exact(2, 8), 0.109375);
        assert_near(mcnemar_exact(8, 2), 0.109375);
        assert_near(mcnemar_exact(0, 5), 0.0625);
        assert_near(mcnemar_exact(3, 3), 1.0);
        assert_near(mcnemar_exact(0, 0), 1.0);
        assert_near(mcnemar_exact(10, 25), 0.01667385);
    }

    #[test]
    fn paired_t_matches_students_sleep_data() {
        let extra_hours = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
        assert_near(paired_t(&extra_hours).expect("there is spread"), 0.00283289);
        assert_eq!(paired_t(&[0.0, 0.0]), Some(1.0));
        assert_eq!(paired_t(&[0.5, 0.5]), None);
        assert_eq!(paired_t(&[0.5]), None);
    }

    #[test]
    fn comparison_chooses_the_test_by_the_samples() {
        let single = [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)];
        let comparison = compare(&single, true).expect("there are problems");
        assert_near(comparison.difference, 0.25);
        assert_eq!(comparison.p, Some(1.0));
        let several = [(0.25, 0.5), (0.5, 0.5), (0.0, 0.75)];
        let comparison = compare(&several, false).expect("there are problems");
        assert_near(comparison.difference, 1.0 / 3.0);
        assert_near(comparison.p.expect("there is spread"), 0.26970326);
        assert_eq!(compare(&[], true), None);
    }
}
