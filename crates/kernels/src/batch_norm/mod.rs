//! Batch normalisation over channels-last maps `[N, H, W, C]`, with an optional residual sum and activation.
//!
//! ```text
//! m_c = mean over n, h, w of x        v_c = mean of (x - m_c)^2        h = (x - m_c) / sqrt(v_c + eps)
//! y = act(gamma_c * h + beta_c + r)
//! g = dy  (zero where the activation was closed)    dr = g        dbeta_c = sum g        dgamma_c = sum g * h
//! dx = gamma_c / sqrt(v_c + eps) * (g - dbeta_c / M - h * dgamma_c / M)    M = N * H * W
//! ```
//! (Ioffe and Szegedy 2015.) Forward, x is read twice and y written once; the normalised values are not kept. Backward,
//! a first pass takes the sums and a second writes dx, in the memory of dy when nobody else holds it. Whether the
//! activation was closed is computed again from x; with a residual it is read from y, which the next operation keeps
//! anyway, and the first pass leaves g for the second. `rows.rs` says how the loops run.
use burn::backend::Dispatch;
use burn::prelude::*;
use burn::tensor::DType;

use crate::activation::Activation;

mod autodiff;
mod kernels;
mod passes;
#[cfg(test)]
mod tests;

use autodiff::{Map, NormOps};

/// Whether the kernels take these operands: all on Flex and f32.
fn has_kernels(maps: &[&Tensor<4>], vectors: &[&Tensor<1>]) -> bool {
    maps.iter().all(|t| t.dtype() == DType::F32 && crate::is_flex(*t) && t.shape().num_elements() > 0)
        && vectors.iter().all(|t| t.dtype() == DType::F32)
}

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
    let maps: Vec<&Tensor<4>> = [Some(&x), residual.as_ref()].into_iter().flatten().collect();
    if !has_kernels(&maps, &[&gamma, &beta]) {
        return train_portable(x, gamma, beta, residual, options);
    }
    let [n, h, w, channels] = x.dims();
    check([n, h, w, channels], &residual, &gamma, &beta);
    let plain = if x.device().is_autodiff() { x.clone().inner() } else { x.clone() };
    let stats: Tensor<2> = Tensor::from_dispatch(<Dispatch as NormOps>::subband_norm_stats(plain.into_dispatch()));
    let row = |i: usize| stats.clone().slice([i..i + 1, 0..channels]).reshape([channels]);
    let (mean, variance) = (row(0), row(1));
    let stats = if x.device().is_autodiff() { Tensor::from_inner(stats) } else { stats };
    let y = apply(x, [gamma, beta], stats, residual, Map::Normalise(options.epsilon), options.activation);
    Normalised { y, mean, variance }
}

fn apply(
    x: Tensor<4>,
    [gamma, beta]: [Tensor<1>; 2],
    stats: Tensor<2>,
    residual: Option<Tensor<4>>,
    map: Map,
    activation: Activation,
) -> Tensor<4> {
    let (x, gamma, beta, stats) =
        (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), stats.into_dispatch());
    Tensor::from_dispatch(match residual {
        None => <Dispatch as NormOps>::subband_norm_apply(x, gamma, beta, stats, map, activation),
        Some(r) => {
            <Dispatch as NormOps>::subband_norm_apply_onto(x, gamma, beta, stats, r.into_dispatch(), map, activation)
        }
    })
}

/// The kernels index by these shapes.
fn check(map: [usize; 4], residual: &Option<Tensor<4>>, a: &Tensor<1>, b: &Tensor<1>) {
    assert!(
        a.dims() == [map[3]] && b.dims() == [map[3]],
        "{:?} and {:?} for the channels of {map:?}",
        a.dims(),
        b.dims()
    );
    assert!(residual.as_ref().is_none_or(|r| r.dims() == map), "the residual's shape is not that of the map {map:?}");
}

/// [`batch_norm_train`] from tensor operations.
fn train_portable(
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
    let maps: Vec<&Tensor<4>> = [Some(&x), residual.as_ref()].into_iter().flatten().collect();
    if !has_kernels(&maps, &[&scale, &shift]) {
        return scale_shift_portable(x, scale, shift, residual, activation);
    }
    check(x.dims(), &residual, &scale, &shift);
    let unused = scale.clone().unsqueeze();
    apply(x, [scale, shift], unused, residual, Map::Affine, activation)
}

/// [`scale_shift`] from tensor operations.
fn scale_shift_portable(
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
    if !has_kernels(&[&a, &b], &[]) || a.dims() != b.dims() {
        return activation.apply(a + b);
    }
    Tensor::from_dispatch(<Dispatch as NormOps>::subband_sum(a.into_dispatch(), b.into_dispatch(), activation))
}
