//! Orthonormal discrete cosine transforms, as matrix products on any backend and for any length.
//!
//! DCT-II: `X_k = a_k sum_n x_n cos(pi (2 n + 1) k / (2 N))` with a_0 = sqrt(1/N) and a_k = sqrt(2/N) otherwise; its
//! inverse and transpose is DCT-III, `x_n = sum_k a_k X_k cos(pi (2 n + 1) k / (2 N))`. These are SciPy's `dct` and `idct`
//! with `norm="ortho"`.
use burn::prelude::*;
use burn::tensor::TensorData;

use crate::SpectralError;

#[cfg(test)]
mod tests;

/// Which transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dct {
    /// The transform to frequencies.
    II,
    /// Its inverse.
    III,
}

/// The matrix of the transform, `[n, n]`, to be multiplied from the right: `x [.., n] * matrix`.
fn matrix<const D: usize>(kind: Dct, like: &Tensor<D>, n: usize) -> Tensor<2> {
    let value = |time: usize, k: usize| {
        let scale = if k == 0 { 1.0 } else { 2.0 } / n as f64;
        // The angle's period is 4 n in units of pi / (2 n): reduced exactly before rounding.
        let angle = std::f64::consts::FRAC_PI_2 * ((2 * time + 1) * k % (4 * n)) as f64 / n as f64;
        scale.sqrt() * angle.cos()
    };
    let values: Vec<f64> = (0..n * n)
        .map(|i| match kind {
            Dct::II => value(i / n, i % n),
            Dct::III => value(i % n, i / n),
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [n, n]), (&like.device(), like.dtype()))
}

/// Transform along one axis, any length from 1; fails on an axis that is not there or is empty.
///
/// Axis 1 of a map `[N, C, H, W]` is the transform over channels.
pub fn dct<const D: usize>(x: Tensor<D>, axis: usize, kind: Dct) -> Result<Tensor<D>, SpectralError> {
    if axis >= D {
        return Err(SpectralError::Axis { axis, rank: D });
    }
    let n = x.dims()[axis];
    if n == 0 {
        return Err(SpectralError::EmptyMap { shape: x.dims().into() });
    }
    let m = matrix(kind, &x, n);
    let x = x.swap_dims(axis, D - 1);
    let dims = x.dims();
    let rows = dims.iter().product::<usize>() / n;
    Ok(x.reshape([rows, n]).matmul(m).reshape(dims).swap_dims(axis, D - 1))
}

/// Transform along height and width of maps `[N, C, H, W]`.
pub fn dct2(x: Tensor<4>, kind: Dct) -> Result<Tensor<4>, SpectralError> {
    dct(dct(x, 3, kind)?, 2, kind)
}
