//! Pooling of channels-last maps.
use burn::prelude::*;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use crate::layout::{channels_first, channels_last};

/// A square window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side.
    pub kernel: usize,
    /// Step on both axes.
    pub stride: usize,
    /// Padding on all sides.
    pub padding: usize,
}

/// Maximum over windows; the padding counts as minus infinity.
pub fn max_pool(x: Tensor<4>, w: Window) -> Tensor<4> {
    let options = MaxPoolOptions::new([w.kernel; 2]).with_stride([w.stride; 2]).with_padding([w.padding; 2]);
    channels_last(max_pool2d(channels_first(x), options))
}

/// Mean over windows; the padding counts as zeros.
pub fn avg_pool(x: Tensor<4>, w: Window) -> Tensor<4> {
    let options = AvgPoolOptions::new([w.kernel; 2]).with_stride([w.stride; 2]).with_padding([w.padding; 2]);
    channels_last(avg_pool2d(channels_first(x), options))
}

/// Mean over the map: `[N, H, W, C]` to `[N, C]`.
pub fn global_avg_pool(x: Tensor<4>) -> Tensor<2> {
    let [n, h, w, c] = x.dims();
    x.reshape([n, h * w, c]).mean_dim(1).reshape([n, c])
}
