//! Operations without parameters.
use burn::prelude::*;
use burn::tensor::activation;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use crate::graph::Window;

/// `max(x, 0)`.
pub(crate) fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::relu(x)
}

/// `min(max(x, 0), 6)`.
pub(crate) fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp(0.0, 6.0)
}

/// Maximum over windows; the padding counts as minus infinity.
pub(crate) fn max_pool(x: Tensor<4>, w: Window) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([w.kernel; 2]).with_stride([w.stride; 2]).with_padding([w.padding; 2]))
}

/// Mean over windows; the padding counts as zeros.
pub(crate) fn avg_pool(x: Tensor<4>, w: Window) -> Tensor<4> {
    avg_pool2d(x, AvgPoolOptions::new([w.kernel; 2]).with_stride([w.stride; 2]).with_padding([w.padding; 2]))
}

/// Mean over the map: `[N, C, H, W]` to `[N, C]`.
pub(crate) fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

/// Channel `g * (C / groups) + i` goes to place `i * groups + g`.
pub(crate) fn shuffle(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, groups, c / groups, h, w]).swap_dims(1, 2).reshape([n, c, h, w])
}

/// Every `stride`-th pixel, with `front` and `back` zero channels.
pub(crate) fn subsample_pad(x: Tensor<4>, stride: usize, front: usize, back: usize) -> Tensor<4> {
    let step = stride as isize;
    let x = if stride == 1 { x } else { x.slice(s![.., .., ..;step, ..;step]) };
    let [n, _, h, w] = x.dims();
    let zeros = |channels| Tensor::zeros([n, channels, h, w], (&x.device(), x.dtype()));
    let (front_zeros, back_zeros) = (zeros(front), zeros(back));
    let parts = [(front, front_zeros), (1, x), (back, back_zeros)];
    Tensor::cat(parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, part)| part).collect(), 1)
}
