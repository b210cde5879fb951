//! Two-dimensional Fourier transforms over the last two axes of `[N, C, H, W]`, any size from 1, f32 and f64.
//!
//! X(u, v) = sum_{h,w} x(h, w) e^{-2 pi i (u h / H + v w / W)}.
//!
//! A spectrum is a pair of tensors `[N, C, H, M]`, real and imaginary parts. M is W for complex signals and W/2 + 1
//! (half spectrum) for real ones. The two real operations are adjoint:
//!
//! | operation | value | its gradient |
//! |---|---|---|
//! | [`real_to_half`] | `scale * weight_v * X(u, v)` for v < M | [`half_to_real`], same factors |
//! | [`half_to_real`] | `scale * Re sum_{u, v < M} weight_v Y(u, v) e^{+2 pi i (...)}` | [`real_to_half`], same factors |
//!
//! with weight_v = 1 for v = 0 and v = W/2, and `interior` for the columns that stand for two. `interior` = 1 gives the
//! real transform; 2 and scale 1 / (H W) give its inverse, for spectra of real signals and for any others.
//!
//! The algorithm is described in the modules `group` (planes as lanes), `plan` (any length) and `transform` (passes).
use burn::backend::{
    Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::DType;

mod amplitude;
pub(crate) mod group;
pub(crate) mod lanes;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod scratch;
mod tape;
pub(crate) mod transform;

#[cfg(test)]
mod tests;

use lanes::Real;

/// Factors of the two real transforms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Weight of the columns of a half spectrum that stand for two: 1 or 2.
    pub interior: f64,
    /// Factor of the whole result.
    pub scale: f64,
}

impl Factors {
    fn pair(self) -> [f64; 2] {
        [self.interior, self.scale]
    }
}

/// Fourier transforms as custom operations; spectra are (real parts, imaginary parts).
#[backend_extension(Flex, Autodiff)]
pub trait FftOps: Backend {
    /// Real maps to half spectra.
    fn subband_real_to_half(x: FloatTensor<Self>, factors: Factors) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Half spectra to real maps of this width.
    fn subband_half_to_real(
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        width: usize,
        factors: Factors,
    ) -> FloatTensor<Self>;
    /// Complex maps to whole spectra, or back.
    fn subband_complex(
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        inverse: bool,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// |re + i im|.
    fn subband_amplitude(re: FloatTensor<Self>, im: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Its gradients of re and im, from the value and its gradient.
    fn subband_amplitude_gradients(
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        amplitude: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// Calls a generic function for the tensor's float type.
///
/// The public functions of this crate check the type first, so the last arm is out of reach.
macro_rules! by_dtype {
    ($x:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $x.dtype() {
            DType::F32 => $f::<f32>($($arg),*),
            DType::F64 => $f::<f64>($($arg),*),
            other => unreachable!("{other:?} has no kernel; `has_kernels` was to be asked first"),
        }
    };
}
pub(crate) use by_dtype;

/// Rows of numbers one after the other; a view of adjacent numbers stays a view.
pub(crate) fn dense(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() { x } else { x.to_contiguous() }
}

type Pair = (FlexTensor, FlexTensor);

fn pair<T: Real>([re, im]: [Vec<T>; 2], shape: &[usize]) -> Pair {
    (T::tensor(re, shape), T::tensor(im, shape))
}

fn flex_real_to_half<T: Real>(x: FlexTensor, factors: Factors) -> Pair {
    let x = dense(x);
    let [n, c, h, w] = x.shape().dims();
    pair(run::real_to_half([h, w], T::numbers(&x), factors.pair()), &[n, c, h, w / 2 + 1])
}

fn flex_half_to_real<T: Real>(re: FlexTensor, im: FlexTensor, width: usize, factors: Factors) -> FlexTensor {
    let [re, im] = [re, im].map(dense);
    let [n, c, h, _] = re.shape().dims();
    let half = [T::numbers(&re), T::numbers(&im)];
    T::tensor(run::half_to_real([h, width], half, factors.pair()), &[n, c, h, width])
}

fn flex_complex<T: Real>(re: FlexTensor, im: FlexTensor, inverse: bool, scale: f64) -> Pair {
    let [re, im] = [re, im].map(dense);
    let [n, c, h, w] = re.shape().dims();
    pair(run::complex([h, w], [T::numbers(&re), T::numbers(&im)], inverse, scale), &[n, c, h, w])
}

fn flex_amplitude<T: Real>(re: FlexTensor, im: FlexTensor) -> FlexTensor {
    let [re, im] = [re, im].map(dense);
    T::tensor(amplitude::forward(T::numbers(&re), T::numbers(&im)), &re.shape()[..])
}

fn flex_amplitude_gradients<T: Real>([re, im, amplitude, dy]: [FlexTensor; 4]) -> Pair {
    let [re, im, amplitude, dy] = [re, im, amplitude, dy].map(dense);
    let parts = [T::numbers(&re), T::numbers(&im)];
    pair(amplitude::backward(parts, T::numbers(&amplitude), T::numbers(&dy)), &re.shape()[..])
}

impl FftOps for Flex {
    fn subband_real_to_half(x: FlexTensor, factors: Factors) -> Pair {
        by_dtype!(x, flex_real_to_half(x, factors))
    }
    fn subband_half_to_real(re: FlexTensor, im: FlexTensor, width: usize, factors: Factors) -> FlexTensor {
        by_dtype!(re, flex_half_to_real(re, im, width, factors))
    }
    fn subband_complex(re: FlexTensor, im: FlexTensor, inverse: bool, scale: f64) -> Pair {
        by_dtype!(re, flex_complex(re, im, inverse, scale))
    }
    fn subband_amplitude(re: FlexTensor, im: FlexTensor) -> FlexTensor {
        by_dtype!(re, flex_amplitude(re, im))
    }
    fn subband_amplitude_gradients(re: FlexTensor, im: FlexTensor, amplitude: FlexTensor, dy: FlexTensor) -> Pair {
        by_dtype!(re, flex_amplitude_gradients([re, im, amplitude, dy]))
    }
}

/// Whether the kernels of this crate run for this tensor: on Flex, with f32 or f64 numbers.
pub fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    crate::is_flex(x) && matches!(x.dtype(), DType::F32 | DType::F64)
}

fn check_parts<const D: usize>(re: &Tensor<D>, im: &Tensor<D>) {
    assert_eq!(re.dims(), im.dims(), "the parts of a complex tensor have one shape");
    assert_eq!(re.dtype(), im.dtype(), "the parts of a complex tensor have one float type");
}

/// Half spectra `[N, C, H, W/2 + 1]` (real, imaginary) of real maps `[N, C, H, W]`; factors as in the [module](self).
///
/// Needs [`has_kernels`], and H and W from 1.
pub fn real_to_half(x: Tensor<4>, factors: Factors) -> (Tensor<4>, Tensor<4>) {
    let (re, im) = <Dispatch as FftOps>::subband_real_to_half(x.into_dispatch(), factors);
    (Tensor::from_dispatch(re), Tensor::from_dispatch(im))
}

/// Real maps `[N, C, H, width]` from half spectra `[N, C, H, width/2 + 1]`; the adjoint of [`real_to_half`].
///
/// Needs [`has_kernels`] of both parts, and H and W from 1.
pub fn half_to_real(re: Tensor<4>, im: Tensor<4>, width: usize, factors: Factors) -> Tensor<4> {
    check_parts(&re, &im);
    assert_eq!(re.dims()[3], width / 2 + 1, "a half spectrum of width {width} has {} columns", width / 2 + 1);
    let (re, im) = (re.into_dispatch(), im.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_half_to_real(re, im, width, factors))
}

/// Complex maps `[N, C, H, W]` forward or (`inverse`) with the opposite sign, times `scale`.
///
/// Needs [`has_kernels`] of both parts, and H and W from 1. The adjoint is the transform of the other direction with
/// the same scale.
pub fn complex(re: Tensor<4>, im: Tensor<4>, inverse: bool, scale: f64) -> (Tensor<4>, Tensor<4>) {
    check_parts(&re, &im);
    let (re, im) = (re.into_dispatch(), im.into_dispatch());
    let (re, im) = <Dispatch as FftOps>::subband_complex(re, im, inverse, scale);
    (Tensor::from_dispatch(re), Tensor::from_dispatch(im))
}

/// |re + i im| of tensors of one shape and type, with gradient 0 where it is 0.
///
/// Needs [`has_kernels`] of both.
pub fn amplitude<const D: usize>(re: Tensor<D>, im: Tensor<D>) -> Tensor<D> {
    check_parts(&re, &im);
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_amplitude(re.into_dispatch(), im.into_dispatch()))
}
