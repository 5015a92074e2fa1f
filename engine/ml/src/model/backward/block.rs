//! A transformer block of either tower: norm, attention, norm, gated MLP, with a bypass around each half.

use burn::tensor::Tensor;

use super::{Keep, ParameterGradients};
use crate::model::kernels::attention::{Visibility, Weights, attention_weights};
use crate::model::kernels::gated::{swiglu_backward, swiglu_kept};
use crate::model::layers::{GatedMlp, Linear, Projected, RmsNorm, grouped};
use crate::model::vision::{Group, Segments};

/// The layers of a block, and the names of their parameters below the block's own.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) norm1: (&'static str, &'a RmsNorm),
    pub(super) qkv: (&'static str, &'a Linear),
    pub(super) output: (&'static str, &'a Linear),
    pub(super) norm2: (&'static str, &'a RmsNorm),
    pub(super) mlp: &'a GatedMlp,
}

/// Who attends to whom.
#[derive(Clone, Copy)]
pub(super) struct Attention<'a> {
    pub(super) segments: &'a Segments,
    pub(super) visibility: Option<&'a Visibility>,
}

/// What is kept of a block.
pub(super) struct Kept {
    input: Tensor<2>,
    inside: Option<Inside>,
}

struct Inside {
    runs: Vec<Run>,
    /// What attention gave, before its output layer.
    mixed: Tensor<2>,
    /// Between the block's halves.
    middle: Tensor<2>,
    /// The gated MLP's inner layers, before the nonlinearity.
    gate_up: Tensor<2>,
}

/// Attention among one group of segments.
struct Run {
    projected: Projected,
    weights: Weights,
}

impl Block<'_> {
    /// The block's output, and what is kept of it.
    pub(super) fn forward(self, input: Tensor<2>, attention: Attention<'_>, keep: Keep) -> (Tensor<2>, Kept) {
        let (output, inside) = self.run(input.clone(), attention);
        (output, Kept { input, inside: (keep == Keep::Everything).then_some(inside) })
    }

    fn run(self, input: Tensor<2>, attention: Attention<'_>) -> (Tensor<2>, Inside) {
        let fused = self.qkv.1.forward(self.norm1.1.forward(input.clone()));
        let (mixed, runs) = attention.forward(fused);
        let middle = self.output.1.forward(mixed.clone()) + input;
        let (inner, gate_up) = swiglu_kept(self.mlp.gate_up.forward(self.norm2.1.forward(middle.clone())));
        let output = self.mlp.down.forward(inner) + middle.clone();
        (output, Inside { runs, mixed, middle, gate_up })
    }

    /// The gradient with respect to the input, and those of the parameters below `path`. Without `below`, nothing before the
    /// block is asked for, and its input's gradient may be left out.
    pub(super) fn backward(
        self,
        path: &str,
        kept: Kept,
        attention: Attention<'_>,
        upstream: Tensor<2>,
        below: bool,
        gradients: &mut ParameterGradients,
    ) -> Option<Tensor<2>> {
        let Kept { input, inside } = kept;
        let inside = inside.unwrap_or_else(|| self.run(input.clone(), attention).1);
        let name = |layer: &str| format!("{path}.{layer}");
        let Inside { runs, mixed, middle, gate_up } = inside;

        let (gate_up, inner) = swiglu_backward(gate_up, self.mlp.down.back(upstream.clone()));
        gradients.add_linear(&name("mlp.down_proj"), &self.mlp.down, inner, &upstream);
        gradients.add_linear(
            &name("mlp.gate_up_proj"),
            &self.mlp.gate_up,
            self.norm2.1.forward(middle.clone()),
            &gate_up,
        );
        let normed = self.mlp.gate_up.back(gate_up);
        let middle = self.norm2.1.back(&name(self.norm2.0), middle, normed, Some(upstream), gradients);

        gradients.add_linear(&name(self.output.0), self.output.1, mixed.clone(), &middle);
        if !below && !gradients.wants_any(&name(self.qkv.0)) && !gradients.wants_any(&name(self.norm1.0)) {
            return None;
        }
        let fused = attention.backward(runs, mixed, self.output.1.back(middle.clone()));
        gradients.add_linear(&name(self.qkv.0), self.qkv.1, self.norm1.1.forward(input.clone()), &fused);
        let normed = self.qkv.1.back(fused);
        Some(self.norm1.1.back(&name(self.norm1.0), input, normed, Some(middle), gradients))
    }
}

impl Attention<'_> {
    fn forward(self, fused: Tensor<2>) -> (Tensor<2>, Vec<Run>) {
        let (mixed, runs): (Vec<Tensor<2>>, Vec<Run>) = self
            .segments
            .groups
            .iter()
            .map(|group| {
                let projected = group.rotary.split(group.take(&fused), group.count);
                let length = projected.queries.dims()[2];
                let queries = grouped(projected.queries.clone(), &projected.keys);
                let weights = attention_weights(queries.matmul(projected.keys.clone().transpose()), self.visibility);
                (weights.mix(projected.values.clone(), length), Run { projected, weights })
            })
            .unzip();
        (self.segments.put_back(mixed), runs)
    }

    /// The gradient with respect to fused queries, keys and values.
    fn backward(self, runs: Vec<Run>, mixed: Tensor<2>, upstream: Tensor<2>) -> Tensor<2> {
        let fused = self.segments.groups.iter().zip(runs).map(|(group, run)| {
            let Projected { queries, keys, values } = run.projected;
            let shape = queries.dims();
            let (scores, values) = run.weights.backward(values, group.take(&mixed), group.take(&upstream), shape[2]);
            let queries = grouped(queries, &keys);
            let projected = Projected {
                queries: scores.clone().matmul(keys).reshape(shape),
                keys: scores.transpose().matmul(queries),
                values,
            };
            group.rotary.split_backward(projected)
        });
        self.segments.put_back(fused.collect())
    }
}

impl Group {
    /// The rows of its patches.
    fn take(&self, rows: &Tensor<2>) -> Tensor<2> {
        match &self.patches {
            Some(patches) => rows.clone().select(0, patches.clone()),
            None => rows.clone(),
        }
    }
}
