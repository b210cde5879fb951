//! The fully connected layer.
use burn::prelude::*;

/// `x w^T + bias`; differentiable in all three.
///
/// # Shapes
/// `x`: `[M, I]`, `w`: `[O, I]`, `bias`: `[O]`, result: `[M, O]`
pub fn linear(x: Tensor<2>, w: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    burn::tensor::module::linear(x, w.transpose(), bias)
}
