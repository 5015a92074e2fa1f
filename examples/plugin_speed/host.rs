//! A node of the kind `wasm` without an engine around it: built as the engine builds it, called as the engine calls it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ruminate_flow::digest::Digest;
use ruminate_flow::event::Cancel;
use ruminate_flow::options::{InputFile, Options};
use ruminate_flow::stage::bare::{NoBlobs, NoCheckpoint, Notes};
use ruminate_flow::stage::{Complaint, NodeInput, Outcome, Stage, StageContext, Unit, Work};
use serde_json::{Value as Json, json};

use crate::rows::Rows;

/// The node with these plugin, config and batch size over the defaults.
pub(crate) fn build(plugin: &Path, config: Json, batch: usize) -> Result<Stage> {
    let bytes = std::fs::read(plugin).with_context(|| format!("cannot read `{}`", plugin.display()))?;
    build_known(plugin, Digest::of(&bytes), config, batch)
}

/// The same when the digest of the file is known.
pub(crate) fn build_known(plugin: &Path, digest: Digest, config: Json, batch: usize) -> Result<Stage> {
    let kinds = ruminate_wasm::kinds();
    let kind = kinds.iter().find(|kind| kind.name() == "wasm").context("there is no kind `wasm`")?;
    let files = [("plugin".to_owned(), vec![InputFile { path: plugin.to_owned(), digest }])].into();
    let given = json!({ "plugin": plugin, "config": config, "batch": batch });
    let options = Options { files, ..Options::over_defaults(kind.options(), &given) };
    let node = NodeInput {
        options: &options,
        schemas: &[("input", Rows::schema())].into(),
        models: &BTreeMap::new(),
        digest_file: &|_| Ok(digest),
    };
    kind.build(&node).map_err(|complaints| {
        let line = |Complaint { option, message, .. }: &Complaint| match option {
            Some(option) => format!("option `{option}`: {message}"),
            None => message.clone(),
        };
        anyhow!("{}", complaints.iter().map(line).collect::<Vec<_>>().join("; "))
    })
}

/// Runs the stage over the units, in calls of as many as it wants at once, and counts the records that pass.
pub(crate) fn run(stage: &Stage, units: &[Unit], threads: usize) -> Result<usize> {
    let Work::Record(work) = &stage.work else { bail!("a plugin is a record stage") };
    let context = StageContext {
        seed: 0,
        device: "cpu",
        threads,
        blobs: &NoBlobs,
        checkpoint: &NoCheckpoint,
        progress: &Notes(|note: &str| eprintln!("{note}")),
        scratch: Path::new("."),
        cancel: &Cancel::default(),
    };
    let mut kept = 0;
    for units in units.chunks(work.batch_units()) {
        for outcome in work.process(units, &BTreeMap::new(), &context)? {
            match outcome {
                Outcome::Done { rows, .. } => kept += rows.len(),
                Outcome::Failed { reason } => bail!("a record failed: {reason}"),
            }
        }
    }
    Ok(kept)
}
