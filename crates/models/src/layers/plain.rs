//! Operations of networks without parameters that only move values; channels-last maps `[N, H, W, C]`.
use burn::prelude::*;

/// Channel `g * (C / groups) + i` goes to place `i * groups + g`.
pub(crate) fn shuffle(x: Tensor<4>, groups: usize) -> Tensor<4> {
    let [n, h, w, c] = x.dims();
    x.reshape([n * h * w, groups, c / groups]).swap_dims(1, 2).reshape([n, h, w, c])
}

/// Every `stride`-th pixel, with `front` and `back` zero channels.
pub(crate) fn subsample_pad(x: Tensor<4>, stride: usize, front: usize, back: usize) -> Tensor<4> {
    let step = stride as isize;
    let x = if stride == 1 { x } else { x.slice(s![.., ..;step, ..;step, ..]) };
    let [n, h, w, _] = x.dims();
    let zeros = |channels| Tensor::zeros([n, h, w, channels], (&x.device(), x.dtype()));
    let (front_zeros, back_zeros) = (zeros(front), zeros(back));
    let parts = [(front, front_zeros), (1, x), (back, back_zeros)];
    Tensor::cat(parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, part)| part).collect(), 3)
}
