//! The distance of two maps in a low and a high band, fused with normalisation, filter and gradient.
//!
//! With F the Fourier transform over the last two axes and a real mask R of the low band:
//!
//! ```text
//! u = x - mean_hw(x),   y = u / |u|_2 over the channels of each position        (or y = x)
//! low(y) = Re F^-1(R . F(y)),   high(y) = y - low(y)
//! L = w_low mean (g_low(low(y_s)) - g_low(low(y_t)))^2 + w_high mean (g_high(high(y_s)) - g_high(high(y_t)))^2
//! ```
//!
//! with g one of the [`Measure`]s and means over all elements. Its gradient, t being constant and `'` the slope of g:
//!
//! ```text
//! a = 2 w_low / M (g_low(low s) - g_low(low t)) g_low'(low s),   b likewise for the high band
//! dy = low(a - b) + b                         low is its own adjoint
//! du = (dy - y sum_c y dy) / |u|,   dx = du - mean_hw(du)
//! ```
//!
//! Three filters are the whole cost: low(y_s), low(y_t) and low(a - b); one if `w_high = 0` and nothing is differentiated.
//! A few planes at a time go through all of it while they are in the cache. Of the forward pass dy is kept, which the
//! backward pass turns into dx in place: no spectrum and no band is ever held whole. A position whose channels are all
//! at their means has y = 0 and passes no gradient.
use std::sync::Arc;

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

mod groups;
mod normal;
#[cfg(test)]
mod tests;

use crate::fft::{by_dtype, dense};
use crate::logarithm::Number;
use crate::spectral_filter::Response;
use normal::{Sides, Spans, Statistics};

/// What of a band is compared: the function g in front of the squared difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// `g(z) = z`.
    Plain,
    /// `g(z) = ln(1 + |z|)`: the sign is lost.
    Log,
    /// `g(z) = sign(z) ln(1 + |z|)`.
    SignedLog,
}

/// How much a band counts, and what of it is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Factor w; a band with 0 is not computed.
    pub weight: f64,
    /// Function g.
    pub measure: Measure,
}

/// The two bands.
#[derive(Debug, Clone, PartialEq)]
pub struct Bands {
    /// The low band's mask as [`crate::spectral_filter::real_filter`] takes it: Hermitian, over the half spectrum.
    pub half: Response,
    /// Whether the maps are normalised first; otherwise y = x.
    pub normalise: bool,
    /// The low band.
    pub low: Band,
    /// The high band.
    pub high: Band,
}

/// The distance as a custom operation.
#[backend_extension(Flex, Autodiff)]
pub trait BandOps: Backend {
    /// L, `[1]`; the gradient goes to the student only.
    fn subband_band_distance(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        bands: Arc<Bands>,
    ) -> FloatTensor<Self>;
}

/// What the backward pass starts from.
#[derive(Debug, Clone)]
struct Kept {
    x: FlexTensor,
    /// dy for an upstream gradient of 1.
    dy: FlexTensor,
    /// Means `[N, C]`, inverse norms and sums of y dy, both `[N, H W]`; none without normalisation.
    normal: Option<[FlexTensor; 3]>,
}

/// L, and what the backward pass needs if it is wanted.
fn distance<T: Number>(s: FlexTensor, t: FlexTensor, bands: &Bands, wanted: bool) -> (FlexTensor, Option<Kept>) {
    let [s, t] = [s, t].map(dense);
    let dims: [usize; 4] = s.shape().dims();
    let spans = Spans::new(dims);
    let sides = [&s, &t].map(|x| {
        let x = T::numbers(x);
        (x, bands.normalise.then(|| Statistics::new(&spans, x)))
    });
    let results = groups::run(&spans, Sides::new(&sides), bands, wanted);
    let value = T::tensor(vec![T::from_f64(results.value)], &[1]);
    let [n, c, h, w] = dims;
    let [(_, statistics), _] = sides;
    let kept = results.gradient.map(|dy| {
        let normal = statistics.map(|own| {
            let places = [n, h * w];
            [T::tensor(own.means, &[n, c]), T::tensor(own.inverse, &places), T::tensor(results.dots, &places)]
        });
        Kept { x: s, dy: T::tensor(dy, &dims), normal }
    });
    (value, kept)
}

/// dx from dy and the upstream gradient.
fn gradient<T: Number>(kept: Kept, upstream: FlexTensor) -> FlexTensor {
    let factor = T::numbers(&dense(upstream))[0];
    let Kept { x, mut dy, normal } = kept;
    if !dy.is_unique() {
        dy = T::tensor(T::numbers(&dy).to_vec(), &dy.shape()[..]);
    }
    let spans = Spans::new(x.shape().dims());
    let to = T::numbers_mut(&mut dy);
    match &normal {
        Some(parts) => normal::backward(&spans, T::numbers(&x), parts.each_ref().map(T::numbers), factor, to),
        None => normal::scale(&spans, factor, to),
    }
    dy
}

impl BandOps for Flex {
    fn subband_band_distance(student: FlexTensor, teacher: FlexTensor, bands: Arc<Bands>) -> FlexTensor {
        by_dtype!(student, distance(student, teacher, &bands, false)).0
    }
}

#[derive(Debug)]
struct BandDistance;

impl Backward<Flex, 1> for BandDistance {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let kept = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |upstream| by_dtype!(upstream, gradient(kept, upstream)));
    }
}

impl<C: CheckpointStrategy> BandOps for Autodiff<Flex, C> {
    fn subband_band_distance(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        bands: Arc<Bands>,
    ) -> FloatTensor<Self> {
        let node = student.node();
        let [s, t] = [student, teacher].map(|x| x.into_primitive());
        match BandDistance.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (value, kept) = by_dtype!(s, distance(s, t, &bands, true));
                prep.finish(kept.expect("the gradient was wanted"), value)
            }
            OpsKind::UnTracked(prep) => prep.finish(by_dtype!(s, distance(s, t, &bands, false)).0),
        }
    }
}

/// L as in the [module](self), `[1]`. No gradient goes to the teacher.
///
/// # Shapes
/// Both maps `[N, C, H, W]`, `bands.half` of `H * (W/2 + 1)` numbers.
///
/// # Panics
/// When [`crate::fft::has_kernels`] is false, the shapes or types differ, or the maps are empty.
pub fn band_distance(student: Tensor<4>, teacher: Tensor<4>, bands: Arc<Bands>) -> Tensor<1> {
    let dims = student.dims();
    assert!(dims == teacher.dims() && student.dtype() == teacher.dtype(), "{dims:?} against {:?}", teacher.dims());
    assert!(dims.iter().all(|n| *n > 0), "an empty map {dims:?}");
    assert_eq!(bands.half.len(), dims[2] * (dims[3] / 2 + 1), "a mask has one number per frequency");
    let (student, teacher) = (student.into_dispatch(), teacher.into_dispatch());
    Tensor::from_dispatch(<Dispatch as BandOps>::subband_band_distance(student, teacher, bands))
}
