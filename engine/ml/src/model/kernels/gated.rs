//! SwiGLU, `silu(gate) * up` of `[n, gate | up]`, and its gradients.

use burn::tensor::{Tensor, activation};
use pulp::Arch;

use super::{Host, Vectorised, is_plain, sigmoid};

/// `silu(gate) * up` of `[n, gate | up]`, giving `[n, width]`.
pub(in crate::model) fn swiglu(gate_up: Tensor<2>) -> Tensor<2> {
    swiglu_kept(gate_up).0
}

/// [`swiglu`], and its input back.
pub(in crate::model) fn swiglu_kept(gate_up: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    if !is_plain(&gate_up) {
        return (by_burn(gate_up.clone()), gate_up);
    }
    let ([rows, double], device) = (gate_up.dims(), gate_up.device());
    let width = double / 2;
    let values = Host::new(gate_up);
    let mut output = Host::zeros(rows * width);
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (pair, output) in values.chunks_exact(double).zip(output.chunks_exact_mut(width)) {
                let (gate, up) = pair.split_at(width);
                for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                    *output = gate * sigmoid(*gate) * up;
                }
            }
        },
    ));
    (output.tensor([rows, width], &device), values.tensor([rows, double], &device))
}

/// The gradient with respect to `gate_up`, of an output whose gradient is `upstream`; and that output once more.
pub(in crate::model) fn swiglu_backward(gate_up: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    if !is_plain(&upstream) {
        return backward_by_burn(gate_up, upstream);
    }
    let ([rows, double], device) = (gate_up.dims(), gate_up.device());
    let width = double / 2;
    let (mut values, mut upstream) = (Host::new(gate_up), Host::new(upstream));
    Arch::new().dispatch(Vectorised(
        #[inline(always)]
        || {
            for (pair, upstream) in values.chunks_exact_mut(double).zip(upstream.chunks_exact_mut(width)) {
                let (gate, up) = pair.split_at_mut(width);
                for ((upstream, gate), up) in upstream.iter_mut().zip(gate).zip(up) {
                    let share = sigmoid(*gate);
                    let silu = *gate * share;
                    let own = *upstream;
                    *upstream = silu * *up;
                    *gate = (share + silu * (1.0 - share)) * *up * own;
                    *up = silu * own;
                }
            }
        },
    ));
    (values.tensor([rows, double], &device), upstream.tensor([rows, width], &device))
}

/// [`swiglu`] from burn's operations.
pub(super) fn by_burn(gate_up: Tensor<2>) -> Tensor<2> {
    let width = gate_up.dims()[1] / 2;
    activation::silu(gate_up.clone().narrow(1, 0, width)) * gate_up.narrow(1, width, width)
}

/// [`swiglu_backward`] from burn's operations.
pub(super) fn backward_by_burn(gate_up: Tensor<2>, upstream: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let width = gate_up.dims()[1] / 2;
    let (gate, up) = (gate_up.clone().narrow(1, 0, width), gate_up.narrow(1, width, width));
    let share = activation::sigmoid(gate.clone());
    let silu = gate * share.clone();
    let slope = share.clone() + silu.clone() * (share.neg() + 1.0);
    let output = silu.clone() * up.clone();
    (Tensor::cat(vec![slope * up * upstream.clone(), silu * upstream], 1), output)
}
