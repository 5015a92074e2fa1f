//! Checkpoints of a training run: what is saved, when, and how a run continues from it to the same bytes.
//! Knows no place to put them: the caller brings a [`ProgressStore`].
//!
//! A checkpoint holds the trained parameters, AdamW's moments and the number of steps done. Data order and sampling seeds are
//! functions of the seed and the step, so there is no generator state to save.

use std::collections::HashMap;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::optimizer::AdamW;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::stop::Stop;

/// Where a training run keeps its latest checkpoint.
pub trait ProgressStore {
    /// The latest checkpoint, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    fn load(&mut self) -> Result<Option<Vec<u8>>>;

    /// Keeps the checkpoint made after `step` steps; the ones before it are not needed any more.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&mut self, step: usize, state: Vec<u8>) -> Result<()>;
}

/// A store that keeps nothing but what is in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryProgress {
    /// The latest checkpoint.
    pub state: Option<Vec<u8>>,
}

impl ProgressStore for MemoryProgress {
    fn load(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.state.clone())
    }

    fn save(&mut self, _step: usize, state: Vec<u8>) -> Result<()> {
        self.state = Some(state);
        Ok(())
    }
}

/// How often a checkpoint is made. Not part of a result's identity: it changes nothing but what a crash costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointEvery {
    /// After this many steps.
    pub steps: Option<usize>,
    /// After this many seconds.
    pub seconds: Option<f64>,
}

impl Default for CheckpointEvery {
    fn default() -> Self {
        Self { steps: None, seconds: Some(60.0) }
    }
}

/// What the caller wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save a checkpoint and leave with [`Error::Interrupted`].
    Stop,
}

/// What surrounds a training run without changing its result.
pub struct Session<'a, M> {
    /// Threads to run the shards on. The result does not depend on it.
    pub workers: usize,
    /// How often to save.
    pub checkpoint: CheckpointEvery,
    /// Where to save, and where an earlier run may have.
    pub progress: &'a mut dyn ProgressStore,
    /// Called after every step with what there is to say about it.
    pub on_step: &'a mut dyn FnMut(&M) -> Control,
    /// Names an item of the data, by its index, in an error.
    pub name: &'a dyn Fn(usize) -> String,
    /// Asked within a step. A stop there gives the step up, and the progress of the steps before it is saved.
    pub stop: Stop<'a>,
}

/// Some items by name, for an error: the first few, and how many more there are.
pub(crate) fn named(items: &[usize], name: &dyn Fn(usize) -> String) -> String {
    const SHOWN: usize = 8;
    let mut names: Vec<String> = items.iter().take(SHOWN).map(|item| name(*item)).collect();
    if items.len() > SHOWN {
        names.push(format!("{} more", items.len() - SHOWN));
    }
    names.join(", ")
}

/// A run's identity in its checkpoints, and the clock of the next one.
pub(crate) struct Checkpointer {
    identity: String,
    steps: usize,
    last: (usize, Instant),
}

impl Checkpointer {
    /// For a run of `steps` steps whose options and data have the digest `identity`.
    pub(crate) fn new(identity: String, steps: usize) -> Self {
        Self { identity, steps, last: (0, Instant::now()) }
    }

    /// Continues from the store's checkpoint, if it has one: the number of steps that are done.
    pub(crate) fn resume(
        &mut self,
        progress: &mut dyn ProgressStore,
        model: &mut Model,
        optimizer: &mut AdamW,
    ) -> Result<usize> {
        let Some(bytes) = progress.load()? else { return Ok(0) };
        let step = restore(&bytes, &self.identity, model, optimizer)?;
        self.last = (step, Instant::now());
        Ok(step)
    }

    /// After `step` steps and a step that was given up: saves unless that is done, and gives the error to leave with.
    pub(crate) fn given_up<M>(
        &mut self,
        step: usize,
        session: &mut Session<'_, M>,
        model: &Model,
        optimizer: &AdamW,
    ) -> Result<Error> {
        if step > self.last.0 {
            session.progress.save(step, encode(step, &self.identity, model, optimizer)?)?;
            self.last.0 = step;
        }
        Ok(self.interrupted())
    }

    /// After `step` steps and one that cannot go on: saves unless that is done, and gives the error back.
    pub(crate) fn failed<M>(
        &mut self,
        step: usize,
        session: &mut Session<'_, M>,
        model: &Model,
        optimizer: &AdamW,
        error: Error,
    ) -> Result<Error> {
        self.given_up(step, session, model, optimizer)?;
        Ok(error)
    }

    /// The error to leave with when the last checkpoint is what there is.
    pub(crate) fn interrupted(&self) -> Error {
        Error::Interrupted { step: self.last.0, steps: self.steps }
    }

    /// After `step` steps: reports, saves when it is time to, and says whether to go on.
    pub(crate) fn after_step<M>(
        &mut self,
        step: usize,
        report: &M,
        session: &mut Session<'_, M>,
        model: &Model,
        optimizer: &AdamW,
    ) -> Result<()> {
        let stop = (session.on_step)(report) == Control::Stop;
        if step == self.steps {
            return Ok(());
        }
        let every = session.checkpoint;
        let due = every.steps.is_some_and(|steps| step - self.last.0 >= steps.max(1))
            || every.seconds.is_some_and(|seconds| self.last.1.elapsed().as_secs_f64() >= seconds);
        if stop || due {
            session.progress.save(step, encode(step, &self.identity, model, optimizer)?)?;
            self.last = (step, Instant::now());
        }
        if stop { Err(Error::Interrupted { step, steps: self.steps }) } else { Ok(()) }
    }
}

/// A checkpoint as a safetensors file of flat f32 tensors, with the step and the identity in its header.
fn encode(step: usize, identity: &str, model: &Model, optimizer: &AdamW) -> Result<Vec<u8>> {
    let state = optimizer
        .state(model)
        .into_iter()
        .map(|(name, tensor)| Ok((name, read(tensor)?)))
        .collect::<Result<Vec<(String, TensorData)>>>()?;
    let views = state
        .iter()
        .map(|(name, data)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, vec![data.num_elements()], data.as_bytes())?))
        })
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
    let header = HashMap::from([
        ("step".to_owned(), step.to_string()),
        ("updates".to_owned(), optimizer.updates().to_string()),
        ("identity".to_owned(), identity.to_owned()),
    ]);
    views
        .and_then(|views| safetensors::serialize(views, Some(header)))
        .map_err(|error| Error::state(format!("cannot write a checkpoint: {error}")))
}

fn read(tensor: Tensor<1>) -> Result<TensorData> {
    tensor.try_into_data().map_err(|error| Error::device(format!("cannot read a parameter back: {error:?}")))
}

/// Puts a checkpoint into the model and the optimizer; the number of steps done.
fn restore(bytes: &[u8], identity: &str, model: &mut Model, optimizer: &mut AdamW) -> Result<usize> {
    let broken = |error: safetensors::SafeTensorError| Error::state(format!("the checkpoint cannot be read: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let entry = |name: &str| header.metadata().as_ref().and_then(|entries| entries.get(name)).cloned();
    if entry("identity").as_deref() != Some(identity) {
        let message =
            "the checkpoint is of another training (other options or data); remove it or train in another store";
        return Err(Error::state(message));
    }
    let number = |name: &str| -> Result<usize> {
        entry(name)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::state(format!("the checkpoint's header has no number `{name}`")))
    };
    let (step, updates) = (number("step")?, number("updates")?);
    optimizer.restore(model, updates, &|name| match tensors.tensor(name) {
        Err(_) => Ok(None),
        Ok(view) if view.dtype() != Dtype::F32 => {
            Err(Error::state(format!("`{name}` is {:?}: expected F32", view.dtype())))
        }
        Ok(view) => {
            Ok(Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
        }
    })?;
    Ok(step)
}
