//! Filters in the frequency domain as single operations: transform, product, inverse transform, without spectra on the
//! tape.
//!
//! A mask or response is a list of H * W real numbers with frequency 0 first (not shifted). Real parts of inverse
//! transforms are taken as in [`fam`].
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{
    Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::DType;
use std::sync::Arc;

mod blocks;
mod fam;
mod product;
#[cfg(test)]
mod tests;

use crate::fft::lanes::Real;
use crate::fft::{by_dtype, dense};

/// A response or mask, shared between forward and backward.
pub type Response = Arc<[f64]>;

/// Spectral filters as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait FilterOps: Backend {
    /// Real maps filtered by a response over the half spectrum `[H * (W/2 + 1)]`; its own adjoint.
    fn subband_real_filter(x: FloatTensor<Self>, half: Response) -> FloatTensor<Self>;
    /// The frequency attention filter of x, Re K, Im K.
    fn subband_fam(
        x: FloatTensor<Self>,
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        mask: Response,
    ) -> FloatTensor<Self>;
    /// Its gradients of x, Re K and Im K; those that are not wanted (x, K) are empty.
    fn subband_fam_gradients(
        x: FloatTensor<Self>,
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        mask: Response,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn flex_real_filter<T: Real>(x: FlexTensor, half: &[f64]) -> FlexTensor {
    let x = dense(x);
    let dims: [usize; 4] = x.shape().dims();
    T::tensor(blocks::real_filter([dims[2], dims[3]], T::numbers(&x), half), &dims)
}

fn sizes(x: &FlexTensor, k: &FlexTensor) -> fam::Sizes {
    let [batch, cin, h, w] = x.shape().dims();
    let depthwise = k.shape().num_dims() == 3;
    let cout = if depthwise { cin } else { k.shape()[1] };
    fam::Sizes { batch, channels: [cin, cout], map: [h, w], depthwise }
}

fn flex_fam<T: Real>(x: FlexTensor, re: FlexTensor, im: FlexTensor, mask: &[f64]) -> FlexTensor {
    let [x, re, im] = [x, re, im].map(dense);
    let s = sizes(&x, &re);
    let filter = fam::Filter { re: T::numbers(&re), im: T::numbers(&im), mask };
    T::tensor(fam::forward(s, T::numbers(&x), filter), &[s.batch, s.channels[1], s.map[0], s.map[1]])
}

fn flex_fam_gradients<T: Real>(
    [x, re, im, dy]: [FlexTensor; 4],
    mask: &[f64],
    wanted: [bool; 2],
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let [x, re, im, dy] = [x, re, im, dy].map(dense);
    let filter = fam::Filter { re: T::numbers(&re), im: T::numbers(&im), mask };
    let out = fam::backward(sizes(&x, &re), T::numbers(&x), filter, T::numbers(&dy), wanted);
    let tensor = |values: Option<Vec<T>>, like: &FlexTensor| match values {
        Some(values) => T::tensor(values, &like.shape()[..]),
        None => T::tensor(Vec::new(), &[0]),
    };
    let [dre, dim] = match out.filter {
        Some(parts) => parts.map(Some),
        None => [None, None],
    };
    (tensor(out.x, &x), tensor(dre, &re), tensor(dim, &im))
}

impl FilterOps for Flex {
    fn subband_real_filter(x: FlexTensor, half: Response) -> FlexTensor {
        by_dtype!(x, flex_real_filter(x, &half))
    }
    fn subband_fam(x: FlexTensor, re: FlexTensor, im: FlexTensor, mask: Response) -> FlexTensor {
        by_dtype!(x, flex_fam(x, re, im, &mask))
    }
    fn subband_fam_gradients(
        x: FlexTensor,
        re: FlexTensor,
        im: FlexTensor,
        dy: FlexTensor,
        mask: Response,
        wanted: [bool; 2],
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        by_dtype!(x, flex_fam_gradients([x, re, im, dy], &mask, wanted))
    }
}

#[derive(Debug)]
struct RealFilter;

impl<B: Backend + FilterOps> Backward<B, 1> for RealFilter {
    type State = Response;

    fn backward(self, ops: Ops<Response, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let half = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |g| B::subband_real_filter(g, half));
    }
}

#[derive(Debug)]
struct Fam;

impl<B: Backend + FilterOps> Backward<B, 3> for Fam {
    type State = ([FloatTensor<B>; 3], Response);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([x, re, im], mask) = ops.state;
        let dy = grads.consume::<B>(&ops.node);
        let [parent_x, parent_re, parent_im] = ops.parents;
        let wanted = [parent_x.is_some(), parent_re.is_some() || parent_im.is_some()];
        let (dx, dre, dim) = B::subband_fam_gradients(x, re, im, dy, mask, wanted);
        for (parent, gradient) in [(parent_x, dx), (parent_re, dre), (parent_im, dim)] {
            if let Some(node) = parent {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: Backend + FilterOps, C: CheckpointStrategy> FilterOps for Autodiff<B, C> {
    fn subband_real_filter(x: FloatTensor<Self>, half: Response) -> FloatTensor<Self> {
        match RealFilter.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(half.clone(), B::subband_real_filter(x.into_primitive(), half)),
            OpsKind::UnTracked(prep) => prep.finish(B::subband_real_filter(x.into_primitive(), half)),
        }
    }

    fn subband_fam(
        x: FloatTensor<Self>,
        re: FloatTensor<Self>,
        im: FloatTensor<Self>,
        mask: Response,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), re.node(), im.node()];
        let [x, re, im] = [x, re, im].map(|t| t.into_primitive());
        match Fam.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let kept = [x.clone(), re.clone(), im.clone()];
                prep.finish((kept, mask.clone()), B::subband_fam(x, re, im, mask))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_fam(x, re, im, mask)),
        }
    }

    fn subband_fam_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Response,
        _: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("only `backward` calls this, on the inner backend: Burn has no gradient of a gradient")
    }
}

/// Real maps `[N, C, H, W]` filtered by a real response: Re F^-1(response . F(x)).
///
/// `half` is the Hermitian part of the response over the half spectrum, row by row: `(R(u) + R(-u)) / 2` for the columns
/// 0..=W/2, `H * (W/2 + 1)` numbers. Needs [`crate::fft::has_kernels`].
pub fn real_filter(x: Tensor<4>, half: Response) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    assert_eq!(half.len(), h * (w / 2 + 1), "a response has one number per frequency of the half spectrum");
    Tensor::from_dispatch(<Dispatch as FilterOps>::subband_real_filter(x.into_dispatch(), half))
}

/// The frequency attention filter: `y_bo = Re F^-1(mask . sum_i F(x_bi) K_io)`, F unitary.
///
/// x `[B, Cin, H, W]`; Re K and Im K `[Cin, Cout, H, W]` (D = 4), or `[C, H, W]` (D = 3) for `y_bc = Re F^-1(mask .
/// F(x_bc) K_c)`; mask of H * W numbers, frequency 0 first. Gradients go to x and to all of K (0 where the mask is).
/// Needs [`crate::fft::has_kernels`], with all three of one type.
pub fn fam<const D: usize>(x: Tensor<4>, re: Tensor<D>, im: Tensor<D>, mask: Response) -> Tensor<4> {
    let dims = x.dims();
    let k = re.dims();
    assert!(D == 3 || D == 4, "K has 3 or 4 axes");
    assert_eq!(k[0], dims[1], "K's first axis is the input channel");
    assert_eq!(k[D - 2..], dims[2..], "K's last axes are the map's");
    assert_eq!(re.dims(), im.dims(), "K's parts have one shape");
    assert_eq!(mask.len(), dims[2] * dims[3], "a mask has one number per frequency");
    assert!(x.dtype() == re.dtype() && x.dtype() == im.dtype(), "x and K have one float type");
    Tensor::from_dispatch(<Dispatch as FilterOps>::subband_fam(
        x.into_dispatch(),
        re.into_dispatch(),
        im.into_dispatch(),
        mask,
    ))
}
