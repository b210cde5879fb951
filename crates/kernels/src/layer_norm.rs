//! Layer normalisation over the last axis.
use burn::prelude::*;

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, mean and biased variance of each row (Ba et al. 2016);
/// differentiable.
///
/// # Shapes
/// `x`: `[M, D]`; `gamma`, `beta`: `[D]`
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}
