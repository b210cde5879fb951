//! The wavelet operations on Flex: planes in parallel.
use std::sync::Arc;

use burn::tensor::DType;

use super::haar_l1::{Pyramid, Results};
use super::haar_weighted::Sums;
use super::scalar::{Bands, Matrices, Scalar, tensor};
use super::{DwtGradients, DwtOps, Flex, FlexTensor, Frame, TensorMetadata, haar, separable};
use crate::flex::contiguous;
use crate::memory::{in_equal_pieces, in_pieces};

/// Calls a generic function for the tensor's float type.
///
/// The public functions of this module ask for the type first, so the last arm is out of reach.
macro_rules! by_dtype {
    ($x:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $x.dtype() {
            DType::F32 => $f::<f32>($($arg),*),
            DType::F64 => $f::<f64>($($arg),*),
            other => unreachable!("{other:?} has no kernel; `has_kernels` was to be asked first"),
        }
    };
}

/// Which bands a split yields.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    All,
    Low,
    Detail,
}

fn split<T: Scalar>(x: FlexTensor, frame: &Frame, wanted: Wanted) -> (FlexTensor, FlexTensor) {
    let x = contiguous(x);
    let [n, c, height, width] = x.shape().dims();
    let [h, w] = frame.band_size();
    let (values, area, band) = (T::values(&x), height * width, h * w);
    let plane = |k: usize| &values[k * area..][..area];
    let zeros = |n: usize| vec![T::default(); n];
    let lengths = [if wanted == Wanted::Detail { 0 } else { band }, if wanted == Wanted::Low { 0 } else { 3 * band }];
    let (low, detail) = if frame.haar {
        let scratch = || (zeros(haar::scratch_len([1, height, width])), zeros(3 * band));
        in_pieces(n * c, lengths, scratch, |(s, unwanted), k, low, detail| match wanted {
            Wanted::All => T::haar_split([1, height, width], plane(k), s, low, detail),
            Wanted::Low => T::haar_split([1, height, width], plane(k), s, low, unwanted),
            Wanted::Detail => T::haar_split([1, height, width], plane(k), s, &mut unwanted[..band], detail),
        })
    } else {
        let m = Matrices::<T>::new(&frame.split);
        let scratch = || zeros(separable::scratch_len([height, width], [h, w]));
        in_pieces(n * c, lengths, scratch, |s, k, low, detail| T::split_plane(&m, plane(k), s, low, detail))
    };
    let low_shape = if low.is_empty() { vec![0] } else { vec![n, c, h, w] };
    let detail_shape = if detail.is_empty() { vec![0] } else { vec![n, c, 3, h, w] };
    (tensor(low, &low_shape), tensor(detail, &detail_shape))
}

fn merge<T: Scalar>(low: Option<FlexTensor>, detail: Option<FlexTensor>, frame: &Frame) -> FlexTensor {
    let (low, detail) = (low.map(contiguous), detail.map(contiguous));
    let [height, width] = frame.map_size();
    let [h, w] = frame.band_size();
    let shape = low.as_ref().or(detail.as_ref()).expect("a merge has at least one input").shape();
    let (n, c) = (shape[0], shape[1]);
    let (low, detail) = (low.as_ref().map(T::values), detail.as_ref().map(T::values));
    let bands = |k: usize| Bands {
        low: low.map(|v| &v[k * h * w..][..h * w]),
        detail: detail.map(|v| &v[3 * k * h * w..][..3 * h * w]),
    };
    let zeros = |n: usize| vec![T::default(); n];
    let y = if frame.haar {
        let scratch = || zeros(haar::scratch_len([1, height, width]));
        in_equal_pieces(n * c, height * width, scratch, |s, k, y| T::haar_merge([1, height, width], bands(k), s, y))
    } else {
        let m = Matrices::<T>::new(&frame.merge);
        let scratch = || zeros(separable::scratch_len([height, width], [h, w]));
        in_equal_pieces(n * c, height * width, scratch, |s, k, y| T::merge_plane(&m, bands(k), s, y))
    };
    tensor(y, &[n, c, height, width])
}

/// The means and, if `keep`, the signs.
fn l1<T: Scalar>(x: FlexTensor, y: Option<FlexTensor>, p: &Pyramid, keep: bool) -> (FlexTensor, FlexTensor) {
    let (x, y) = (contiguous(x), y.map(contiguous));
    let [n, c, height, width] = x.shape().dims();
    let (planes, area) = (n * c, p.group() * height * width);
    let (x, y) = (T::values(&x), y.as_ref().map(T::values));
    let lengths = [if keep { p.signs_len() } else { 0 }, p.bands()];
    let (signs, sums): (Vec<i8>, Vec<f64>) = in_pieces(
        planes / p.group(),
        lengths,
        || p.scratch::<T>(),
        |scratch, k, signs, sums| {
            let y = y.map(|y| &y[k * area..][..area]);
            T::l1_forward(p, &x[k * area..][..area], y, scratch, Results { sums, signs });
        },
    );
    let mean = |b: usize| {
        let sum: f64 = sums.iter().skip(b).step_by(p.bands()).sum();
        T::of(sum / (planes * p.band_len(b)) as f64)
    };
    let means: Vec<T> = (0..p.bands()).map(mean).collect();
    let kept = signs.len();
    (tensor(means, &[p.bands()]), tensor(signs, &[kept]))
}

fn l1_gradient<T: Scalar>(
    signs: FlexTensor,
    dy: FlexTensor,
    shape: [usize; 4],
    p: &Pyramid,
    negative: bool,
) -> FlexTensor {
    let dy = contiguous(dy);
    let [n, c, height, width] = shape;
    let direction = if negative { -1.0 } else { 1.0 };
    let scale = |(b, g): (usize, &T)| T::of(direction * g.wide() / (n * c * p.band_len(b)) as f64);
    let g: Vec<T> = T::values(&dy).iter().enumerate().map(scale).collect();
    let (signs, each) = (signs.storage::<i8>(), p.signs_len());
    let dx = in_equal_pieces(
        n * c / p.group(),
        p.group() * height * width,
        || p.scratch::<T>(),
        |s, k, dx| {
            T::l1_backward(p, &signs[k * each..][..each], &g, s, dx);
        },
    );
    tensor(dx, &shape)
}

/// The weighted sums and, if `keep`, the signs.
fn weighted<T: Scalar>(
    maps: [FlexTensor; 2],
    weights: FlexTensor,
    p: &Pyramid,
    keep: bool,
) -> (FlexTensor, FlexTensor) {
    let ([x, y], weights) = (maps.map(contiguous), contiguous(weights));
    let [n, c, height, width] = x.shape().dims();
    let (group, area, each) = (p.group(), p.group() * height * width, weights.shape()[1]);
    let (x, y, weights) = (T::values(&x), T::values(&y), T::values(&weights));
    let lengths = [if keep { p.signs_len() } else { 0 }, group * p.bands()];
    let (signs, sums): (Vec<i8>, Vec<T>) = in_pieces(
        n * c / group,
        lengths,
        || p.scratch::<T>(),
        |scratch, k, signs, sums| {
            let maps = [&x[k * area..][..area], &y[k * area..][..area]];
            let weights = &weights[k * group / c * each..][..each];
            T::weighted_forward(p, maps, weights, scratch, Sums { sums, signs });
        },
    );
    let kept = signs.len();
    (tensor(sums, &[n, c, p.bands()]), tensor(signs, &[kept]))
}

fn weighted_gradient<T: Scalar>(
    signs: FlexTensor,
    weights: FlexTensor,
    dy: FlexTensor,
    shape: [usize; 4],
    p: &Pyramid,
    negative: bool,
) -> FlexTensor {
    let (weights, dy) = (contiguous(weights), contiguous(dy));
    let [n, c, height, width] = shape;
    let (group, each, own) = (p.group(), p.signs_len(), weights.shape()[1]);
    let g: Vec<T> = T::values(&dy).iter().map(|g| if negative { -*g } else { *g }).collect();
    let (signs, weights, bands) = (signs.storage::<i8>(), T::values(&weights), group * p.bands());
    let dx = in_equal_pieces(
        n * c / group,
        group * height * width,
        || p.scratch::<T>(),
        |scratch, k, dx| {
            let weights = &weights[k * group / c * own..][..own];
            T::weighted_backward(p, &signs[k * each..][..each], weights, &g[k * bands..][..bands], scratch, dx);
        },
    );
    tensor(dx, &shape)
}

impl DwtOps for Flex {
    fn subband_dwt_split(x: FlexTensor, frame: Arc<Frame>) -> (FlexTensor, FlexTensor) {
        by_dtype!(x, split(x, &frame, Wanted::All))
    }

    fn subband_dwt_merge(low: FlexTensor, detail: FlexTensor, frame: Arc<Frame>) -> FlexTensor {
        by_dtype!(low, merge(Some(low), Some(detail), &frame))
    }

    fn subband_haar_l1(x: FlexTensor, pyramid: Arc<Pyramid>) -> FlexTensor {
        by_dtype!(x, l1(x, None, &pyramid, false)).0
    }

    fn subband_haar_l1_between(x: FlexTensor, y: FlexTensor, pyramid: Arc<Pyramid>) -> FlexTensor {
        by_dtype!(x, l1(x, Some(y), &pyramid, false)).0
    }

    fn subband_haar_weighted(x: FlexTensor, y: FlexTensor, weights: FlexTensor, pyramid: Arc<Pyramid>) -> FlexTensor {
        by_dtype!(x, weighted([x, y], weights, &pyramid, false)).0
    }
}

impl DwtGradients for Flex {
    fn subband_dwt_merge_low(low: FlexTensor, frame: &Frame) -> FlexTensor {
        by_dtype!(low, merge(Some(low), None, frame))
    }

    fn subband_dwt_merge_detail(detail: FlexTensor, frame: &Frame) -> FlexTensor {
        by_dtype!(detail, merge(None, Some(detail), frame))
    }

    fn subband_dwt_split_low(x: FlexTensor, frame: &Frame) -> FlexTensor {
        by_dtype!(x, split(x, frame, Wanted::Low)).0
    }

    fn subband_dwt_split_detail(x: FlexTensor, frame: &Frame) -> FlexTensor {
        by_dtype!(x, split(x, frame, Wanted::Detail)).1
    }

    fn subband_haar_l1_signs(x: FlexTensor, y: Option<FlexTensor>, pyramid: &Pyramid) -> (FlexTensor, FlexTensor) {
        by_dtype!(x, l1(x, y, pyramid, true))
    }

    fn subband_haar_l1_gradient(
        signs: FlexTensor,
        dy: FlexTensor,
        shape: [usize; 4],
        pyramid: &Pyramid,
        negative: bool,
    ) -> FlexTensor {
        by_dtype!(dy, l1_gradient(signs, dy, shape, pyramid, negative))
    }

    fn subband_haar_weighted_signs(
        x: FlexTensor,
        y: FlexTensor,
        weights: FlexTensor,
        pyramid: &Pyramid,
    ) -> (FlexTensor, FlexTensor) {
        by_dtype!(x, weighted([x, y], weights, pyramid, true))
    }

    fn subband_haar_weighted_gradient(
        signs: FlexTensor,
        weights: FlexTensor,
        dy: FlexTensor,
        shape: [usize; 4],
        pyramid: &Pyramid,
        negative: bool,
    ) -> FlexTensor {
        by_dtype!(dy, weighted_gradient(signs, weights, dy, shape, pyramid, negative))
    }
}
