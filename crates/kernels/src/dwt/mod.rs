//! Wavelet transforms: one separable level with any filters and boundary rule, and the mean absolute value of every band
//! of a multilevel Haar transform.
//!
//! | function | result |
//! |---|---|
//! | [`split`] | four bands of a map, by the matrices of a [`Frame`] |
//! | [`merge`] | the map from four bands, by the transposed matrices |
//! | [`haar_l1`] | `mean |B|` for each band of a Haar pyramid, with a fused gradient |
//! | [`haar_weighted_l1`] | `sum w |B|` for each band of each plane, with a fused gradient |
//! | [`haar_l1_summed`] | the same with the three orientations of each level summed first |
//!
//! These run on Flex in f32 and f64; `subband-spectral` has the composition that runs elsewhere. Planes are independent
//! and every sum has a fixed order, so results are equal bit for bit for any number of threads.
use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension, flex::FlexTensor};
use burn::prelude::*;
use burn::tensor::DType;

mod autodiff;
mod flex;
mod frame;
mod haar;
mod haar_l1;
mod haar_weighted;
mod scalar;
mod separable;
#[cfg(test)]
mod tests;

pub use frame::{AxisMatrix, AxisSplit, Frame};
pub use haar_l1::Pyramid;

/// Wavelet transforms as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait DwtOps: Backend {
    /// `[N, C, H, W]` to LL `[N, C, h, w]` and LH, HL, HH `[N, C, 3, h, w]`.
    fn subband_dwt_split(x: FloatTensor<Self>, frame: Arc<Frame>) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// LL and detail to the map.
    fn subband_dwt_merge(low: FloatTensor<Self>, detail: FloatTensor<Self>, frame: Arc<Frame>) -> FloatTensor<Self>;
    /// Means of the absolute values of all bands of `x`.
    fn subband_haar_l1(x: FloatTensor<Self>, pyramid: Arc<Pyramid>) -> FloatTensor<Self>;
    /// Means of the absolute values of all bands of `x - y`.
    fn subband_haar_l1_between(x: FloatTensor<Self>, y: FloatTensor<Self>, pyramid: Arc<Pyramid>) -> FloatTensor<Self>;
    /// Weighted sums of the absolute values of all bands of every plane of `x - y`; the weights are constants.
    fn subband_haar_weighted(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        pyramid: Arc<Pyramid>,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`DwtOps`], on backends without autodiff.
pub trait DwtGradients: Backend {
    /// LL alone to the map.
    fn subband_dwt_merge_low(low: FloatTensor<Self>, frame: &Frame) -> FloatTensor<Self>;
    /// LH, HL, HH alone to the map.
    fn subband_dwt_merge_detail(detail: FloatTensor<Self>, frame: &Frame) -> FloatTensor<Self>;
    /// LL alone from the map.
    fn subband_dwt_split_low(x: FloatTensor<Self>, frame: &Frame) -> FloatTensor<Self>;
    /// LH, HL, HH alone from the map.
    fn subband_dwt_split_detail(x: FloatTensor<Self>, frame: &Frame) -> FloatTensor<Self>;
    /// [`DwtOps::subband_haar_l1`] and the signs of the coefficients.
    fn subband_haar_l1_signs(
        x: FloatTensor<Self>,
        y: Option<FloatTensor<Self>>,
        pyramid: &Pyramid,
    ) -> (FloatTensor<Self>, IntTensor<Self>);
    /// The gradient of `x` (shape `[N, C, H, W]`) from the signs and the gradient of the means; minus it is that of `y`.
    fn subband_haar_l1_gradient(
        signs: IntTensor<Self>,
        dy: FloatTensor<Self>,
        shape: [usize; 4],
        pyramid: &Pyramid,
        negative: bool,
    ) -> FloatTensor<Self>;
    /// [`DwtOps::subband_haar_weighted`] and the signs of the coefficients.
    fn subband_haar_weighted_signs(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        pyramid: &Pyramid,
    ) -> (FloatTensor<Self>, IntTensor<Self>);
    /// The gradient of `x` (shape `[N, C, H, W]`) from the signs, the weights and the gradient of the sums; minus it is
    /// that of `y`.
    fn subband_haar_weighted_gradient(
        signs: IntTensor<Self>,
        weights: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        shape: [usize; 4],
        pyramid: &Pyramid,
        negative: bool,
    ) -> FloatTensor<Self>;
}

/// Whether these kernels take a tensor: it lives on Flex and holds f32 or f64.
pub fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.dtype(), DType::F32 | DType::F64) && crate::is_flex(x)
}

/// Splits `x` into LL and the stacked LH, HL, HH.
///
/// # Shapes
/// - `x`: `[N, C, H, W]` with `[H, W]` the frame's map size
/// - result: `[N, C, h, w]` and `[N, C, 3, h, w]`
///
/// # Panics
/// When [`has_kernels`] is false or the size is not the frame's.
pub fn split(x: Tensor<4>, frame: &Arc<Frame>) -> (Tensor<4>, Tensor<5>) {
    assert!(x.dims()[2..] == frame.map_size(), "map {:?}, frame {:?}", x.dims(), frame.map_size());
    let (low, detail) = <Dispatch as DwtOps>::subband_dwt_split(x.into_dispatch(), frame.clone());
    (Tensor::from_dispatch(low), Tensor::from_dispatch(detail))
}

/// Merges LL and the stacked LH, HL, HH into a map.
///
/// # Shapes
/// - `low`: `[N, C, h, w]`, `detail`: `[N, C, 3, h, w]` with `[h, w]` the frame's band size
/// - result: `[N, C, H, W]`
///
/// # Panics
/// When [`has_kernels`] is false or the shapes do not fit.
pub fn merge(low: Tensor<4>, detail: Tensor<5>, frame: &Arc<Frame>) -> Tensor<4> {
    let [n, c, h, w] = low.dims();
    assert!([h, w] == frame.band_size(), "band {h}x{w}, frame {:?}", frame.band_size());
    assert!(detail.dims() == [n, c, 3, h, w], "detail {:?} beside low {:?}", detail.dims(), low.dims());
    let (low, detail) = (low.into_dispatch(), detail.into_dispatch());
    Tensor::from_dispatch(<Dispatch as DwtOps>::subband_dwt_merge(low, detail, frame.clone()))
}

/// `mean |B|` of every band of the Haar pyramid of `x`, or of `x - y`, with zeros beyond the map.
///
/// # Shapes
/// - `x`, `y`: `[N, C, H, W]`
/// - result: `[1 + 3 levels]`: LL of the last level, then LH, HL, HH of each level, finest first
///
/// # Panics
/// When [`has_kernels`] is false, the shapes differ, or `levels` is zero.
pub fn haar_l1(x: Tensor<4>, y: Option<Tensor<4>>, levels: usize) -> Tensor<1> {
    let [n, c, h, w] = x.dims();
    measure(x, y, Pyramid::new(n * c, [h, w], levels))
}

/// `mean |LL|` of the last level and `mean |LH + HL + HH|` of each level of `x`, or of `x - y`, as [`haar_l1`].
///
/// # Shapes
/// - `x`, `y`: `[N, C, H, W]`
/// - result: `[1 + levels]`: LL of the last level, then each level, finest first
///
/// # Panics
/// As [`haar_l1`].
pub fn haar_l1_summed(x: Tensor<4>, y: Option<Tensor<4>>, levels: usize) -> Tensor<1> {
    let [n, c, h, w] = x.dims();
    measure(x, y, Pyramid::new(n * c, [h, w], levels).summed())
}

fn measure(x: Tensor<4>, y: Option<Tensor<4>>, pyramid: Pyramid) -> Tensor<1> {
    if let Some(y) = &y {
        assert!(x.dims() == y.dims() && x.dtype() == y.dtype(), "{:?} against {:?}", x.dims(), y.dims());
    }
    let (x, pyramid) = (x.into_dispatch(), Arc::new(pyramid));
    Tensor::from_dispatch(match y {
        None => <Dispatch as DwtOps>::subband_haar_l1(x, pyramid),
        Some(y) => <Dispatch as DwtOps>::subband_haar_l1_between(x, y.into_dispatch(), pyramid),
    })
}

/// `sum w |B|` of every band of every plane of the Haar pyramid of `x - y`, with zeros beyond the map. Differentiable in
/// both maps; the weights are constants.
///
/// # Shapes
/// - `x`, `y`: `[N, C, H, W]`
/// - `weights`: `[N, coefficients]`, one per coefficient of a plane: LL of the last level, then LH, HL, HH of each
///   level, finest first
/// - result: `[N, C, 1 + 3 levels]`, in the same order
///
/// # Panics
/// When [`has_kernels`] is false, shapes or types differ, or `levels` is zero.
pub fn haar_weighted_l1(x: Tensor<4>, y: Tensor<4>, weights: Tensor<2>, levels: usize) -> Tensor<3> {
    let [n, c, h, w] = x.dims();
    assert!(x.dims() == y.dims() && x.dtype() == y.dtype(), "{:?} against {:?}", x.dims(), y.dims());
    // Planes that are worked on together must belong to one sample, since they share its weights.
    let pyramid = Arc::new(Pyramid::new(c, [h, w], levels));
    let coefficients = (0..pyramid.bands()).map(|b| pyramid.band_len(b)).sum();
    assert!(weights.dims() == [n, coefficients] && weights.dtype() == x.dtype(), "weights {:?}", weights.dims());
    let (x, y, weights) = (x.into_dispatch(), y.into_dispatch(), weights.into_dispatch());
    Tensor::from_dispatch(<Dispatch as DwtOps>::subband_haar_weighted(x, y, weights, pyramid))
}
