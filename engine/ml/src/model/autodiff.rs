//! Gradients by burn's automatic differentiation, for the tests to hold those by hand against. Nothing else tracks a graph.

use burn::tensor::Gradients;

use super::{Model, Parameter};

/// A copy whose parameters named by `trainable` are fresh leaves of a graph; the others are constants.
pub(crate) fn with_gradients(model: &Model, trainable: &dyn Fn(&str) -> bool) -> Model {
    let mut copy = model.clone();
    copy.map_parameters(&mut |name, parameter| if trainable(name) { leaf(parameter) } else { parameter });
    copy
}

/// Takes the gradients of the leaves, in the order of [`Model::parameters`]. A leaf that the loss did not reach is left out.
pub(crate) fn take_gradients(model: &Model, gradients: &mut Gradients) -> Vec<(String, Parameter)> {
    let mut take = |(name, parameter): (String, Parameter)| {
        let gradient = match parameter {
            Parameter::Matrix(tensor) => tensor.grad_remove(gradients).map(Parameter::Matrix),
            Parameter::Half(_) => None,
            Parameter::Vector(tensor) => tensor.grad_remove(gradients).map(Parameter::Vector),
        };
        Some((name, gradient?))
    };
    model.parameters().into_iter().filter_map(&mut take).collect()
}

fn leaf(parameter: Parameter) -> Parameter {
    match parameter {
        Parameter::Half(matrix) => leaf(Parameter::Matrix(matrix.widened())),
        Parameter::Matrix(tensor) => Parameter::Matrix(tensor.autodiff().require_grad()),
        Parameter::Vector(tensor) => Parameter::Vector(tensor.autodiff().require_grad()),
    }
}
