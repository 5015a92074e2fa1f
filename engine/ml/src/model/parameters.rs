//! Parameters by name: the one table of what tensors a model has, under which names they are saved, and how they are
//! drawn. Knows nothing of files.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use super::half::HalfMatrix;
use crate::config::{ModelConfig, TextConfig, VisionConfig};

/// One tensor that is learned. Gradients, masters and moments of it have the same shape.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// A weight, `[out, in]`, or an embedding table, `[vocabulary, width]`.
    Matrix(Tensor<2>),
    /// The same in the 16 bits in which it was saved: a constant, for inference.
    Half(HalfMatrix),
    /// A bias or the scale of a norm.
    Vector(Tensor<1>),
}

impl Parameter {
    /// A parameter of `dims` from its values in row-major order.
    ///
    /// # Panics
    /// When there are not as many values as the product of `dims`, or more than two dimensions.
    pub fn from_values(values: Vec<f32>, dims: &[usize], device: &Device) -> Self {
        match dims {
            [length] => Parameter::Vector(Tensor::from_data(TensorData::new(values, [*length]), device)),
            [rows, columns] => Parameter::Matrix(Tensor::from_data(TensorData::new(values, [*rows, *columns]), device)),
            _ => panic!("a parameter has one or two dimensions, not {dims:?}"),
        }
    }

    /// The sizes, `[rows, columns]` or `[length]`.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Parameter::Matrix(tensor) => tensor.dims().to_vec(),
            Parameter::Half(matrix) => matrix.dims().to_vec(),
            Parameter::Vector(tensor) => tensor.dims().to_vec(),
        }
    }

    /// Whether it has two dimensions. Weight decay is usually for these alone.
    pub fn is_matrix(&self) -> bool {
        matches!(self, Parameter::Matrix(_) | Parameter::Half(_))
    }

    /// The number of values.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// All values in f32 and row-major order, `[elements]`.
    pub fn flat(&self) -> Tensor<1> {
        let matrix = match self {
            Parameter::Matrix(tensor) => tensor.clone(),
            Parameter::Half(matrix) => matrix.widened(),
            Parameter::Vector(tensor) => return tensor.clone(),
        };
        let [rows, columns] = matrix.dims();
        matrix.reshape([rows * columns])
    }

    /// A parameter of this one's shape with other values, `[elements]`.
    #[must_use]
    pub fn from_flat(&self, values: Tensor<1>) -> Parameter {
        match self {
            Parameter::Matrix(tensor) => Parameter::Matrix(values.reshape(tensor.dims())),
            Parameter::Half(matrix) => Parameter::Matrix(values.reshape(matrix.dims())),
            Parameter::Vector(_) => Parameter::Vector(values),
        }
    }

    /// The values on the host, in row-major order.
    pub fn values(&self) -> Vec<f32> {
        self.flat().into_data().iter::<f32>().collect()
    }

    /// The values of places `range` in row-major order, on the host. Copies no others.
    ///
    /// # Panics
    /// When there are fewer values.
    pub fn values_in(&self, range: Range<usize>) -> Vec<f32> {
        match self {
            Parameter::Half(matrix) => matrix.values(range),
            _ => self.flat().slice([range]).into_data().iter::<f32>().collect(),
        }
    }
}

/// How a parameter is drawn when there are no weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// Normal with mean zero and this deviation.
    Normal(f64),
    /// All one.
    One,
    /// All zero.
    Zero,
}

/// A tensor as it is saved: one parameter, or some rows of one.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTensor {
    /// The published name.
    pub name: String,
    /// The published shape; the first dimension counts the parameter's rows.
    pub shape: Vec<usize>,
}

impl SavedTensor {
    /// The number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What is known of a parameter before it has values.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name here: the published one, or that of a fused group.
    pub name: String,
    /// Its sizes here.
    pub dims: Vec<usize>,
    /// How it is saved, the rows in order.
    pub saved: Vec<SavedTensor>,
    /// How it is drawn.
    pub draw: Draw,
}

/// The table of every parameter of a model, in the order in which [`super::Model`] visits them.
///
/// | here | published |
/// |---|---|
/// | `model.layers.N.self_attn.qkv_proj.{weight,bias}` | rows of `q_proj`, `k_proj`, `v_proj` |
/// | `{model.layers,visual.blocks}.N.mlp.gate_up_proj.{weight,bias}` | rows of `gate_proj`, `up_proj` |
/// | `visual.patch_embed.proj.weight`, a matrix | the same name, `[hidden, channels, frames, side, side]` |
/// | `lm_head.weight`, unless tied | the same name |
/// | anything else | the same name and shape |
pub fn specs(config: &ModelConfig) -> Vec<Spec> {
    let mut table = Table { specs: Vec::new(), deviation: config.text.initializer_range };
    if let Some(vision) = &config.vision {
        table.vision(vision);
    }
    table.text(&config.text);
    table.specs
}

/// The published name of a tensor that may be named as transformers 5 names it.
pub fn published_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

struct Table {
    specs: Vec<Spec>,
    deviation: f64,
}

impl Table {
    fn push(&mut self, name: String, dims: Vec<usize>, saved: Vec<SavedTensor>, draw: Draw) {
        self.specs.push(Spec { name, dims, saved, draw });
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        let saved = vec![SavedTensor { name: name.to_owned(), shape: vec![rows, columns] }];
        self.push(name.to_owned(), vec![rows, columns], saved, Draw::Normal(self.deviation));
    }

    fn vector(&mut self, name: &str, length: usize, draw: Draw) {
        let saved = vec![SavedTensor { name: name.to_owned(), shape: vec![length] }];
        self.push(name.to_owned(), vec![length], saved, draw);
    }

    fn linear(&mut self, path: &str, rows: usize, columns: usize, bias: bool) {
        self.matrix(&format!("{path}.weight"), rows, columns);
        if bias {
            self.vector(&format!("{path}.bias"), rows, Draw::Zero);
        }
    }

    /// Several linear layers of one input, side by side in one matrix.
    fn fused(&mut self, path: &str, name: &str, parts: &[(&str, usize)], columns: usize, bias: bool) {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let saved = |kind: &str, columns: Option<usize>| {
            let tensor = |(part, rows): &(&str, usize)| SavedTensor {
                name: format!("{path}.{part}.{kind}"),
                shape: std::iter::once(*rows).chain(columns).collect(),
            };
            parts.iter().map(tensor).collect::<Vec<_>>()
        };
        let weights = saved("weight", Some(columns));
        self.push(format!("{path}.{name}.weight"), vec![rows, columns], weights, Draw::Normal(self.deviation));
        if bias {
            let biases = saved("bias", None);
            self.push(format!("{path}.{name}.bias"), vec![rows], biases, Draw::Zero);
        }
    }

    fn gated_mlp(&mut self, path: &str, hidden: usize, inner: usize, bias: bool) {
        self.fused(path, "gate_up_proj", &[("gate_proj", inner), ("up_proj", inner)], hidden, bias);
        self.linear(&format!("{path}.down_proj"), hidden, inner, bias);
    }

    fn vision(&mut self, config: &VisionConfig) {
        let hidden = config.hidden_size;
        let patch = "visual.patch_embed.proj.weight".to_owned();
        let (side, frames) = (config.patch_size, config.temporal_patch_size);
        let shape = vec![hidden, config.channels, frames, side, side];
        let saved = vec![SavedTensor { name: patch.clone(), shape }];
        self.push(patch, vec![hidden, config.patch_width()], saved, Draw::Normal(self.deviation));
        for block in 0..config.depth {
            let path = format!("visual.blocks.{block}");
            self.vector(&format!("{path}.norm1.weight"), hidden, Draw::One);
            self.linear(&format!("{path}.attn.qkv"), 3 * hidden, hidden, true);
            self.linear(&format!("{path}.attn.proj"), hidden, hidden, true);
            self.vector(&format!("{path}.norm2.weight"), hidden, Draw::One);
            self.gated_mlp(&format!("{path}.mlp"), hidden, config.intermediate_size, true);
        }
        let merged = hidden * config.merge_unit();
        self.vector("visual.merger.ln_q.weight", hidden, Draw::One);
        self.linear("visual.merger.mlp.0", merged, merged, true);
        self.linear("visual.merger.mlp.2", config.out_hidden_size, merged, true);
    }

    fn text(&mut self, config: &TextConfig) {
        let hidden = config.hidden_size;
        self.matrix("model.embed_tokens.weight", config.vocab_size, hidden);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        for layer in 0..config.layers {
            let path = format!("model.layers.{layer}");
            self.vector(&format!("{path}.input_layernorm.weight"), hidden, Draw::One);
            let parts = [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)];
            self.fused(&format!("{path}.self_attn"), "qkv_proj", &parts, hidden, true);
            self.linear(&format!("{path}.self_attn.o_proj"), hidden, queries, false);
            self.vector(&format!("{path}.post_attention_layernorm.weight"), hidden, Draw::One);
            self.gated_mlp(&format!("{path}.mlp"), hidden, config.intermediate_size, false);
        }
        self.vector("model.norm.weight", hidden, Draw::One);
        if !config.tied {
            self.matrix("lm_head.weight", config.vocab_size, hidden);
        }
    }
}
