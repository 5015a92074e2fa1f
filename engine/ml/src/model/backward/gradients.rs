//! The gradients of a model's parameters, added up as they come.

use std::collections::HashMap;

use burn::tensor::{FloatDType, Tensor};

use crate::model::Model;
use crate::model::kernels::sum_rows;
use crate::model::layers::{Linear, RmsNorm};

/// Gradients of some parameters of a model, flat and in f32, in the order of [`Model::parameters`].
pub struct ParameterGradients {
    names: HashMap<String, usize>,
    wanted: Vec<bool>,
    values: Vec<Option<Tensor<1>>>,
}

impl ParameterGradients {
    /// None yet, of the parameters named by `wanted`.
    pub fn new(model: &Model, wanted: &dyn Fn(&str) -> bool) -> Self {
        let names: Vec<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
        Self {
            wanted: names.iter().map(|name| wanted(name)).collect(),
            values: vec![None; names.len()],
            names: names.into_iter().enumerate().map(|(place, name)| (name, place)).collect(),
        }
    }

    /// One place per parameter, empty where no gradient was wanted or none came.
    pub fn into_values(self) -> Vec<Option<Tensor<1>>> {
        self.values
    }

    /// Whether the gradient of a parameter is wanted.
    pub(in crate::model) fn wants(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|place| self.wanted[*place])
    }

    /// Whether that of any parameter is wanted whose name starts so.
    pub fn wants_any(&self, prefix: &str) -> bool {
        self.names.iter().any(|(name, place)| self.wanted[*place] && name.starts_with(prefix))
    }

    /// Adds a gradient in the parameter's shape. The order of calls decides the rounding.
    pub(in crate::model) fn add<const D: usize>(&mut self, name: &str, gradient: Tensor<D>) {
        let Some(place) = self.names.get(name).copied() else { unreachable!("no parameter is called `{name}`") };
        if !self.wanted[place] {
            return;
        }
        let count: usize = gradient.dims().iter().product();
        let flat: Tensor<1> = gradient.reshape([count]).cast(FloatDType::F32);
        let sum = &mut self.values[place];
        *sum = Some(match sum.take() {
            Some(sum) => sum + flat,
            None => flat,
        });
    }

    /// Adds the gradients of the matrix `name` in `input matrix^T`, whose gradient is `upstream`.
    pub(in crate::model) fn add_product(&mut self, name: &str, input: Tensor<2>, upstream: &Tensor<2>) {
        if self.wants(name) {
            self.add(name, upstream.clone().transpose().matmul(input));
        }
    }

    /// Adds those of the layer at `path`.
    pub(in crate::model) fn add_linear(&mut self, path: &str, layer: &Linear, input: Tensor<2>, upstream: &Tensor<2>) {
        self.add_product(&format!("{path}.weight"), input, upstream);
        let bias = format!("{path}.bias");
        if layer.bias.is_some() && self.wants(&bias) {
            self.add(&bias, sum_rows(upstream.clone()));
        }
    }
}

impl Linear {
    /// The gradient with respect to the input of an output whose gradient is `upstream`.
    pub(in crate::model) fn back(&self, upstream: Tensor<2>) -> Tensor<2> {
        self.weight.back(upstream)
    }
}

impl RmsNorm {
    /// The gradient with respect to `input`, `bypass` added; the scale's goes to `gradients`.
    pub(in crate::model) fn back(
        &self,
        path: &str,
        input: Tensor<2>,
        upstream: Tensor<2>,
        bypass: Option<Tensor<2>>,
        gradients: &mut ParameterGradients,
    ) -> Tensor<2> {
        let found = crate::model::kernels::norm::rms_norm_backward(input, &self.weight, self.epsilon, upstream, bypass);
        gradients.add(&format!("{path}.weight"), found.weight);
        found.input
    }
}
