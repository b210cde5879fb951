//! Batch normalisation over channels-last maps `[N, H, W, C]`, with an optional residual sum and activation.
//!
//! ```text
//! m_c = mean over n, h, w of x        v_c = mean of (x - m_c)^2        h = (x - m_c) / sqrt(v_c + eps)
//! y = act(gamma_c * h + beta_c + r)
//! ```
use burn::prelude::*;

use crate::activation::Activation;

/// Constants of the operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormOptions {
    /// Added to the variance.
    pub epsilon: f32,
    /// Applied to the result.
    pub activation: Activation,
}

/// What [`batch_norm_train`] returns.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// y, `[N, H, W, C]`.
    pub y: Tensor<4>,
    /// Batch means, `[C]`, without a graph and on the plain device.
    pub mean: Tensor<1>,
    /// Biased batch variances, `[C]`, likewise.
    pub variance: Tensor<1>,
}

/// Normalises by the statistics of the batch itself; differentiable in `x`, `gamma`, `beta` and `residual`.
///
/// # Shapes
/// - `x`, `residual`: `[N, H, W, C]`, not empty; `gamma`, `beta`: `[C]`
pub fn batch_norm_train(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    residual: Option<Tensor<4>>,
    options: NormOptions,
) -> Normalised {
    let channels = x.dims()[3];
    let plain = if x.device().is_autodiff() { x.clone().inner() } else { x.clone() };
    let over = |t: Tensor<4>| t.mean_dim(0).mean_dim(1).mean_dim(2);
    let plain_mean = over(plain.clone());
    let plain_variance = over((plain - plain_mean.clone()).powi_scalar(2));
    let centred = x.clone() - over(x);
    let variance = over(centred.clone() * centred.clone());
    let scale = gamma.reshape([1, 1, 1, channels]) / (variance + options.epsilon).sqrt();
    let y = centred * scale + beta.reshape([1, 1, 1, channels]);
    let y = if let Some(r) = residual { y + r } else { y };
    Normalised {
        y: options.activation.apply(y),
        mean: plain_mean.reshape([channels]),
        variance: plain_variance.reshape([channels]),
    }
}

/// `act(scale_c * x + shift_c + residual)`, the evaluation mode; differentiable in all operands.
///
/// # Shapes
/// - `x`, `residual`: `[N, H, W, C]`; `scale`, `shift`: `[C]`
pub fn scale_shift(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    residual: Option<Tensor<4>>,
    activation: Activation,
) -> Tensor<4> {
    let channels = x.dims()[3];
    let y = x * scale.reshape([1, 1, 1, channels]) + shift.reshape([1, 1, 1, channels]);
    activation.apply(if let Some(r) = residual { y + r } else { y })
}

/// `act(a + b)`: the residual sum of networks where it does not follow a normalisation; differentiable.
pub fn add(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    activation.apply(a + b)
}
