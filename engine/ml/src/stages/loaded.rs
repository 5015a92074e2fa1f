//! A model in memory with its processor, kept from one batch to the next while the node has the device.

use std::sync::{Arc, Mutex};

use ruminate_flow::digest::Digest;
use ruminate_flow::error::StageError;
use ruminate_flow::model::Model as ModelAtRest;
use ruminate_flow::stage::StageContext;

use super::prompting::Prompting;
use super::{model_error, stage_error};
use crate::chat::Processor;
use crate::device;
use crate::model::Model;
use crate::stop::Stop;
use crate::types::ModelFiles;
use crate::weights::Storage;

/// A model ready for use.
pub(super) struct Loaded {
    pub(super) model: Model,
    pub(super) processor: Processor,
    pub(super) files: ModelFiles,
}

impl Loaded {
    /// Loads `model` onto the device for training, its processor with the stage's bound on pixels.
    ///
    /// # Errors
    /// A model that cannot be used, and [`StageError::Interrupted`] after a cancel.
    pub(super) fn load(
        model: &ModelAtRest,
        prompting: &Prompting,
        context: &StageContext<'_>,
    ) -> Result<Self, StageError> {
        Self::load_as(Storage::F32, model, prompting, context)
    }

    /// As [`Loaded::load`], for a model that is not trained but sampled from: a large one takes half the memory, and
    /// matrices lie as decoding wants them.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub(super) fn for_inference(
        model: &ModelAtRest,
        prompting: &Prompting,
        context: &StageContext<'_>,
    ) -> Result<Self, StageError> {
        let loaded = Self::load_as(Storage::Automatic, model, prompting, context)?;
        Ok(Self { model: loaded.model.laid_out_for_sampling(), ..loaded })
    }

    fn load_as(
        storage: Storage,
        model: &ModelAtRest,
        prompting: &Prompting,
        context: &StageContext<'_>,
    ) -> Result<Self, StageError> {
        let requested = || context.cancel.requested();
        let files = ModelFiles { files: model.files.clone(), init: model.init_seed };
        let device = device::parse(context.device).map_err(stage_error)?;
        let failed = |error| model_error(model, error);
        Ok(Self {
            model: Model::load_until(&files, &device, storage, Stop::when(&requested)).map_err(failed)?,
            processor: prompting.bound(Processor::load(&files).map_err(failed)?),
            files,
        })
    }
}

/// Keeps the last model that was asked for.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<(Digest, Arc<Loaded>)>>);

impl Slot {
    /// The model, loaded unless it is there.
    pub(super) fn get(
        &self,
        model: &ModelAtRest,
        prompting: &Prompting,
        context: &StageContext<'_>,
    ) -> Result<Arc<Loaded>, StageError> {
        let mut slot = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((digest, loaded)) = slot.as_ref()
            && *digest == model.digest
        {
            return Ok(loaded.clone());
        }
        // The old one goes before the new one comes: two may not fit.
        *slot = None;
        let loaded = Arc::new(Loaded::for_inference(model, prompting, context)?);
        *slot = Some((model.digest, loaded.clone()));
        Ok(loaded)
    }

    /// Lets the model go.
    pub(super) fn release(&self) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }
}
