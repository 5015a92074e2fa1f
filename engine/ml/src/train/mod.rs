//! Training: losses, optimizer, data-parallel steps, SFT and GRPO. Knows models and token ids, nothing of graphs or stores.

pub mod advantage;
pub mod data;
pub mod forward;
pub mod grpo;
pub mod logprob;
pub mod loss;
pub mod optimizer;
pub mod parallel;
pub mod policy;
pub mod progress;
pub mod rollout;
pub mod schedule;
pub mod sft;

pub use grpo::{GrpoMetrics, GrpoOptions, GrpoStep, GrpoTimings, train_grpo};
pub use progress::{CheckpointEvery, Control, MemoryProgress, ProgressStore, Session};
pub use rollout::{Completion, Reward};
pub use sft::{SftMetrics, SftOptions, SftStep, SftTimings, train_sft};

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod reference {
    //! The values that TRL and torch gave, for the tests of this folder.

    use std::sync::LazyLock;

    use serde_json::Value;

    static FILES: LazyLock<[Value; 2]> = LazyLock::new(|| {
        ["losses.json", "more_losses.json"].map(|name| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/losses");
            let text =
                std::fs::read_to_string(format!("{folder}/{name}")).expect("the reference file is in the repository");
            serde_json::from_str(&text).expect("the reference file is JSON")
        })
    });

    /// The file of many cases, and that of more.
    pub(crate) fn files() -> &'static [Value; 2] {
        &FILES
    }

    /// All cases of a kind, each with the file that it is from.
    pub(crate) fn cases(kind: &'static str) -> impl Iterator<Item = (&'static Value, &'static Value)> {
        FILES
            .iter()
            .flat_map(move |file| file[kind].as_array().expect("a list of cases").iter().map(move |case| (file, case)))
    }
}
