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
mod tests;

#[cfg(test)]
pub(crate) mod reference {
    //! The values that TRL and torch gave, for the tests of this folder.

    use std::sync::LazyLock;

    static LOSSES: LazyLock<serde_json::Value> = LazyLock::new(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/reference/losses/losses.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("the reference file is in the repository"))
            .expect("the reference file is JSON")
    });

    pub(crate) fn losses() -> &'static serde_json::Value {
        &LOSSES
    }
}
