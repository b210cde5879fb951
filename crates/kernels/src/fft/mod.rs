//! Two-dimensional Fourier transforms over the last two axes of `[N, C, H, W]`, any size from 1, f32 and f64.
//!
//! X(u, v) = sum_{h,w} x(h, w) e^{-2 pi i (u h / H + v w / W)}.
//!
//! Spectra travel as one *packed* tensor `[2, N, C, H, M]`, real parts then imaginary parts, because a tape node has one
//! output. M is W for complex signals and W/2 + 1 (half spectrum) for real ones. The two real operations are adjoint:
//!
//! | operation | value | its gradient |
//! |---|---|---|
//! | [`real_to_half`] | `scale * weight_v * X(u, v)` for v < M | [`half_to_real`], same factors |
//! | [`half_to_real`] | `scale * Re sum_{u, v < M} weight_v Y(u, v) e^{+2 pi i (...)}` | [`real_to_half`], same factors |
//!
//! with weight_v = 1 for v = 0 and v = W/2, and `interior` for the columns that stand for two. `interior` = 1 gives the
//! real transform; 2 and scale 1 / (H W) give its inverse, for spectra of real signals and for any others.
//!
//! The algorithm is described in [`group`] (planes as lanes), [`plan`] (any length) and [`transform`] (passes).
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;

mod amplitude;
pub(crate) mod group;
pub(crate) mod lanes;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod scratch;
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

/// Fourier transforms as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait FftOps: Backend {
    /// `[N, C, H, W]` to packed `[2, N, C, H, W/2 + 1]`.
    fn subband_real_to_half(x: FloatTensor<Self>, factors: Factors) -> FloatTensor<Self>;
    /// Packed `[2, N, C, H, width/2 + 1]` to `[N, C, H, width]`.
    fn subband_half_to_real(y: FloatTensor<Self>, width: usize, factors: Factors) -> FloatTensor<Self>;
    /// Packed `[2, N, C, H, W]` to the same shape.
    fn subband_complex(x: FloatTensor<Self>, inverse: bool, scale: f64) -> FloatTensor<Self>;
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

fn flex_real_to_half<T: Real>(x: FlexTensor, factors: Factors) -> FlexTensor {
    let x = dense(x);
    let [n, c, h, w] = x.shape().dims();
    T::tensor(run::real_to_half([h, w], T::numbers(&x), factors.pair()), &[2, n, c, h, w / 2 + 1])
}

fn flex_half_to_real<T: Real>(y: FlexTensor, width: usize, factors: Factors) -> FlexTensor {
    let y = dense(y);
    let [_, n, c, h, _] = y.shape().dims();
    T::tensor(run::half_to_real([h, width], T::numbers(&y), factors.pair()), &[n, c, h, width])
}

fn flex_complex<T: Real>(x: FlexTensor, inverse: bool, scale: f64) -> FlexTensor {
    let x = dense(x);
    let [two, n, c, h, w] = x.shape().dims();
    T::tensor(run::complex([h, w], T::numbers(&x), inverse, scale), &[two, n, c, h, w])
}

fn flex_amplitude<T: Real>(re: FlexTensor, im: FlexTensor) -> FlexTensor {
    let [re, im] = [re, im].map(dense);
    T::tensor(amplitude::forward(T::numbers(&re), T::numbers(&im)), &re.shape()[..])
}

fn flex_amplitude_gradients<T: Real>([re, im, amplitude, dy]: [FlexTensor; 4]) -> (FlexTensor, FlexTensor) {
    let [re, im, amplitude, dy] = [re, im, amplitude, dy].map(dense);
    let parts = [T::numbers(&re), T::numbers(&im)];
    let [dre, dim] = amplitude::backward(parts, T::numbers(&amplitude), T::numbers(&dy));
    (T::tensor(dre, &re.shape()[..]), T::tensor(dim, &re.shape()[..]))
}

impl FftOps for Flex {
    fn subband_real_to_half(x: FlexTensor, factors: Factors) -> FlexTensor {
        by_dtype!(x, flex_real_to_half(x, factors))
    }
    fn subband_half_to_real(y: FlexTensor, width: usize, factors: Factors) -> FlexTensor {
        by_dtype!(y, flex_half_to_real(y, width, factors))
    }
    fn subband_complex(x: FlexTensor, inverse: bool, scale: f64) -> FlexTensor {
        by_dtype!(x, flex_complex(x, inverse, scale))
    }
    fn subband_amplitude(re: FlexTensor, im: FlexTensor) -> FlexTensor {
        by_dtype!(re, flex_amplitude(re, im))
    }
    fn subband_amplitude_gradients(
        re: FlexTensor,
        im: FlexTensor,
        amplitude: FlexTensor,
        dy: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        by_dtype!(re, flex_amplitude_gradients([re, im, amplitude, dy]))
    }
}

/// A linear operation of one tensor on the tape: `$forward` with the gradient `$backward`, both of `(x, state)`.
macro_rules! linear {
    ($x:expr, $state:expr, $State:ty, $trait:ident, $C:ident, $forward:expr, $backward:expr) => {{
        #[derive(Debug)]
        struct Linear;
        impl<B: Backend + $trait> Backward<B, 1> for Linear {
            type State = $State;
            fn backward(self, ops: Ops<$State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let state = ops.state;
                let backward: fn(FloatTensor<B>, $State) -> FloatTensor<B> = $backward;
                unary::<B, _>(ops.parents, ops.node, grads, |g| backward(g, state));
            }
        }
        let forward: fn(FloatTensor<B>, $State) -> FloatTensor<B> = $forward;
        let (x, state): (_, $State) = ($x, $state);
        match Linear.prepare::<$C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state.clone(), forward(x.into_primitive(), state)),
            OpsKind::UnTracked(prep) => prep.finish(forward(x.into_primitive(), state)),
        }
    }};
}
pub(crate) use linear;

#[derive(Debug)]
struct Amplitude;

impl<B: Backend + FftOps> Backward<B, 2> for Amplitude {
    type State = [FloatTensor<B>; 3];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [re, im, amplitude] = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let (dre, dim) = B::subband_amplitude_gradients(re, im, amplitude, dy);
        for (parent, gradient) in ops.parents.into_iter().zip([dre, dim]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + FftOps, C: CheckpointStrategy> FftOps for Autodiff<B, C> {
    fn subband_amplitude(re: FloatTensor<Self>, im: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [re.node(), im.node()];
        let [re, im] = [re, im].map(|t| t.into_primitive());
        match Amplitude.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::subband_amplitude(re.clone(), im.clone());
                prep.finish([re, im, y.clone()], y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_amplitude(re, im)),
        }
    }

    fn subband_amplitude_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("only `backward` calls this, on the inner backend: Burn has no gradient of a gradient")
    }

    fn subband_real_to_half(x: FloatTensor<Self>, factors: Factors) -> FloatTensor<Self> {
        let width = x.shape()[3];
        linear!(
            x,
            (width, factors),
            (usize, Factors),
            FftOps,
            C,
            |x, (_, f)| B::subband_real_to_half(x, f),
            |g, (w, f)| B::subband_half_to_real(g, w, f)
        )
    }
    fn subband_half_to_real(y: FloatTensor<Self>, width: usize, factors: Factors) -> FloatTensor<Self> {
        linear!(
            y,
            (width, factors),
            (usize, Factors),
            FftOps,
            C,
            |y, (w, f)| B::subband_half_to_real(y, w, f),
            |g, (_, f)| B::subband_real_to_half(g, f)
        )
    }
    fn subband_complex(x: FloatTensor<Self>, inverse: bool, scale: f64) -> FloatTensor<Self> {
        linear!(
            x,
            (inverse, scale),
            (bool, f64),
            FftOps,
            C,
            |x, (inverse, scale)| B::subband_complex(x, inverse, scale),
            |g, (inverse, scale)| B::subband_complex(g, !inverse, scale)
        )
    }
}

/// Whether the kernels of this crate run for this tensor: on Flex, with f32 or f64 numbers.
pub fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    crate::is_flex(x) && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// Half spectrum of real maps `[N, C, H, W]`, packed `[2, N, C, H, W/2 + 1]`; see the [module](self) for the factors.
///
/// Needs [`has_kernels`].
pub fn real_to_half(x: Tensor<4>, factors: Factors) -> Tensor<5> {
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_real_to_half(x.into_dispatch(), factors))
}

/// Real maps `[N, C, H, width]` from packed half spectra `[2, N, C, H, width/2 + 1]`; the adjoint of [`real_to_half`].
///
/// Needs [`has_kernels`], and the last axis as stated.
pub fn half_to_real(y: Tensor<5>, width: usize, factors: Factors) -> Tensor<4> {
    assert_eq!(y.dims()[4], width / 2 + 1, "a half spectrum of width {width} has {} columns", width / 2 + 1);
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_half_to_real(y.into_dispatch(), width, factors))
}

/// Complex transform of packed maps `[2, N, C, H, W]`, forward or (`inverse`) with the opposite sign, times `scale`.
///
/// Needs [`has_kernels`]. The adjoint is the transform of the other direction with the same scale.
pub fn complex(x: Tensor<5>, inverse: bool, scale: f64) -> Tensor<5> {
    assert_eq!(x.dims()[0], 2, "a packed complex tensor starts with an axis of two parts");
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_complex(x.into_dispatch(), inverse, scale))
}

/// |re + i im| of tensors of one shape and type, with gradient 0 where it is 0.
///
/// Needs [`has_kernels`] of both.
pub fn amplitude<const D: usize>(re: Tensor<D>, im: Tensor<D>) -> Tensor<D> {
    assert_eq!(re.dims(), im.dims(), "the parts of a complex tensor have one shape");
    Tensor::from_dispatch(<Dispatch as FftOps>::subband_amplitude(re.into_dispatch(), im.into_dispatch()))
}
