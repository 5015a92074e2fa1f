//! Qwen2.5-VL and text-only Qwen2 as one model: images to features, tokens and features to hidden states, hidden
//! states to logits. Computation is in f32. Knows nothing of files, text and sampling.
//!
//! Written after transformers' `modeling_qwen2_5_vl.py`; queries, keys and values are one product here, as are the
//! two inner layers of an MLP.

#[cfg(test)]
mod autodiff;
mod backward;
mod batch;
mod decode;
pub mod half;
pub(crate) mod kernels;
mod layers;
pub mod parameters;
pub mod positions;
mod text;
mod vision;
mod weight;

#[cfg(test)]
mod reference_tests;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub use self::backward::{ImagesKept, Keep, ParameterGradients, TextKept};
pub use self::batch::{Batch, Padding, Sequence};
pub(crate) use self::decode::{Encoded, Prefix, Rows, Shown, exponentials};
use self::kernels::attention::Visibility;
use self::layers::{Heads, Rotary};
pub use self::parameters::Parameter;
use self::positions::text_angles;
use self::text::TextModel;
use self::vision::{VisionTower, indices};
use self::weight::Weight;
use crate::config::ModelConfig;
use crate::stop::Stop;
use crate::types::{ImagePatches, ModelFiles};
use crate::weights::{self, Storage};
use crate::{Error, Result};

/// A model. A copy shares the tensors.
#[derive(Clone, Debug)]
pub struct Model {
    config: Arc<ModelConfig>,
    device: Device,
    visual: Option<VisionTower>,
    text: TextModel,
    /// Whether the matrices are laid out by columns; see [`Model::laid_out_for_sampling`].
    for_sampling: bool,
}

/// The features of images one after the other. They carry the gradients of the vision tower, so sequences that share
/// an image add theirs up.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// `[features, width]`; none without images.
    rows: Option<Tensor<2>>,
    grids: Vec<[usize; 3]>,
    ranges: Vec<Range<usize>>,
}

impl ImageFeatures {
    /// The features of all images one after the other, `[features, width]`.
    pub fn rows(&self) -> Option<&Tensor<2>> {
        self.rows.as_ref()
    }

    /// Which rows are those of an image.
    pub fn range(&self, image: usize) -> Option<Range<usize>> {
        self.ranges.get(image).cloned()
    }
}

/// Goes through a model's parameters in the order of [`parameters::specs`].
pub(crate) trait Visitor {
    /// A weight or an embedding table.
    fn matrix(&mut self, name: &str, weight: &mut Weight);
    /// A bias or a scale.
    fn vector(&mut self, name: &str, tensor: &mut Tensor<1>);
}

/// A visitor that puts what a function makes of a parameter in its place.
struct Replace<'a>(&'a mut dyn FnMut(&str, Parameter) -> Parameter);

impl Visitor for Replace<'_> {
    fn matrix(&mut self, name: &str, weight: &mut Weight) {
        let old = match &*weight {
            Weight::Full(tensor) => Parameter::Matrix(tensor.clone()),
            Weight::Half(matrix) => Parameter::Half(matrix.clone()),
        };
        *weight = match (self.0)(name, old) {
            Parameter::Matrix(tensor) => Weight::Full(tensor),
            Parameter::Half(matrix) => Weight::Half(matrix),
            Parameter::Vector(_) => panic!("`{name}` is a matrix and was to be replaced by a vector"),
        };
    }

    fn vector(&mut self, name: &str, tensor: &mut Tensor<1>) {
        match (self.0)(name, Parameter::Vector(tensor.clone())) {
            Parameter::Vector(new) => *tensor = new,
            Parameter::Matrix(_) | Parameter::Half(_) => {
                panic!("`{name}` is a vector and was to be replaced by a matrix")
            }
        }
    }
}

impl Model {
    /// Loads a model in f32, or draws one when `files.init` is a seed.
    ///
    /// # Errors
    /// When `config.json` or the weights are missing or unusable.
    pub fn load(files: &ModelFiles, device: &Device) -> Result<Self> {
        Self::load_until(files, device, Storage::F32, Stop::NEVER)
    }

    /// As [`Model::load`], with the storage that is asked for; `stop` is asked between pieces of a file and between tensors.
    ///
    /// # Errors
    /// As [`Model::load`], and [`Error::Stopped`] after a stop.
    pub fn load_until(files: &ModelFiles, device: &Device, storage: Storage, stop: Stop<'_>) -> Result<Self> {
        let (config, parameters) = weights::load(files, ModelConfig::load(files)?, device, storage, stop)?;
        Ok(Self::from_parameters(config, parameters, device))
    }

    /// A model of parameters that come in the order of [`parameters::specs`].
    pub(crate) fn from_parameters(config: ModelConfig, values: Vec<(String, Parameter)>, device: &Device) -> Self {
        let mut model = Model {
            device: device.clone(),
            visual: config.vision.as_ref().map(|vision| VisionTower::empty(vision, device)),
            text: TextModel::empty(&config.text, device),
            config: Arc::new(config),
            for_sampling: false,
        };
        let mut values = values.into_iter();
        model.map_parameters(&mut |name, empty| match values.next() {
            Some((expected, parameter)) if expected == name => parameter,
            // The table of names and the towers are two views of one thing; a test holds them together.
            _ => unreachable!("no value for `{name}` of {:?}", empty.dims()),
        });
        model
    }

    /// What `config.json` says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the parameters lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Every parameter by name, in a fixed order; names as in the table of [`parameters::specs`].
    pub fn parameters(&self) -> Vec<(String, Parameter)> {
        let mut all = Vec::new();
        let mut copy = self.clone();
        copy.map_parameters(&mut |name, parameter| {
            all.push((name.to_owned(), parameter.clone()));
            parameter
        });
        all
    }

    /// The number of values of all parameters.
    pub fn values(&self) -> usize {
        parameters::specs(&self.config).iter().map(|spec| spec.dims.iter().product::<usize>()).sum()
    }

    /// Puts what `replace` makes of each parameter in its place, in the order of [`Model::parameters`].
    ///
    /// # Panics
    /// When a matrix is replaced by a vector or the reverse.
    pub fn map_parameters(&mut self, replace: &mut dyn FnMut(&str, Parameter) -> Parameter) {
        let mut visitor = Replace(replace);
        if let Some(visual) = &mut self.visual {
            visual.visit(&mut visitor);
        }
        self.text.visit(&mut visitor);
    }

    /// The features of images. One call for all images of a batch is fastest.
    ///
    /// # Errors
    /// When the model has no vision tower, or an image does not fit it.
    pub fn encode_images(&self, images: &[&ImagePatches]) -> Result<ImageFeatures> {
        if images.is_empty() {
            return Ok(self.no_images());
        }
        let Some(visual) = &self.visual else {
            return Err(Error::input("the batch holds images, but the model has no vision tower"));
        };
        Ok(self.features_of(visual.forward(images, &self.device)?, images))
    }

    /// Rows of features as those of `images`.
    fn features_of(&self, rows: Tensor<2>, images: &[&ImagePatches]) -> ImageFeatures {
        let unit = self.config.vision.as_ref().map_or(1, |vision| vision.merge_unit());
        let mut end = 0;
        let mut range = |image: &&ImagePatches| {
            let start = end;
            end += image.patches() / unit;
            start..end
        };
        ImageFeatures {
            rows: Some(rows),
            ranges: images.iter().map(&mut range).collect(),
            grids: images.iter().map(|image| image.grid).collect(),
        }
    }

    /// The features of no image, for batches of text.
    pub fn no_images(&self) -> ImageFeatures {
        ImageFeatures { rows: None, grids: Vec::new(), ranges: Vec::new() }
    }

    /// Lays sequences out as one batch.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or image tokens and images do not match.
    pub fn batch(&self, sequences: &[Sequence<'_>], features: &ImageFeatures, padding: Padding) -> Result<Batch> {
        Batch::new(&self.config, sequences, &features.grids, &features.ranges, padding)
    }

    /// Final hidden states after the last norm, `[rows, width, hidden]`.
    ///
    /// # Errors
    /// When the batch was laid out for other features.
    pub fn forward(&self, batch: &Batch, features: &ImageFeatures) -> Result<Tensor<3>> {
        let hidden = self.hidden(batch, features)?;
        Ok(hidden.reshape([batch.rows, batch.width, self.config.text.hidden_size]))
    }

    /// Logits `[n, vocabulary]` of hidden states `[n, hidden]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.text.logits(hidden)
    }

    /// Final hidden states `[rows * width, hidden]`.
    pub(crate) fn hidden(&self, batch: &Batch, features: &ImageFeatures) -> Result<Tensor<2>> {
        let embedded = self.embedded(batch, features)?;
        let rotary = self.rotary(&batch.positions);
        let visibility = Visibility::new(batch.starts.clone(), batch.width);
        Ok(self.text.forward(embedded, batch.rows, &rotary, &visibility))
    }

    /// What goes into the decoder, `[rows * width, hidden]`: embeddings of tokens, and features where images stand.
    fn embedded(&self, batch: &Batch, features: &ImageFeatures) -> Result<Tensor<2>> {
        let text = self.text.embed(integers(&batch.text, &self.device));
        match (&batch.sources, &features.rows) {
            (None, _) => Ok(text),
            (Some(sources), Some(rows)) => {
                let table = Tensor::cat(vec![text, rows.clone()], 0);
                let last = table.dims()[0] as i64;
                if sources.iter().any(|source| *source >= last) {
                    return Err(Error::input("the batch was laid out for other image features"));
                }
                Ok(table.select(0, integers(sources, &self.device)))
            }
            (Some(_), None) => Err(Error::input("the batch holds images, but there are no image features")),
        }
    }

    fn rotary(&self, positions: &[[u32; 3]]) -> Rotary {
        let config = &self.config.text;
        let heads = Heads { queries: config.heads, keys: config.kv_heads, width: config.head_dim };
        Rotary::new(&text_angles(positions, config), heads)
    }
}

impl Batch {
    /// Per row, the position of the token that would follow.
    pub(crate) fn next_positions(&self) -> &[u32] {
        &self.next
    }
}

/// Row numbers as a tensor.
pub(crate) fn row_indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    indices(rows, device)
}

fn integers(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
