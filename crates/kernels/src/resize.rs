//! Bilinear interpolation of channels-last maps to a given size.
//!
//! Along each axis, from H to H' numbers (PyTorch's `F.interpolate(mode="bilinear", align_corners=False)`):
//!
//! ```text
//! s = max(0, (p + 1/2) H / H' - 1/2)      i = floor(s)      y[p] = (1 - s + i) x[i] + (s - i) x[min(i + 1, H - 1)]
//! ```
//! Pixels are areas whose centres lie half a pixel in. Nothing is smoothed before a map is made smaller.
use burn::prelude::*;

use crate::resample::{Axis, resample};

/// `[N, H, W, C]` to `[N, size[0], size[1], C]` by bilinear interpolation; differentiable, on every backend. A size that
/// is the map's own gives the map itself.
///
/// # Panics
/// When the map or the size has an axis of length 0.
pub fn resize(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, h, w, _] = x.dims();
    assert!(h > 0 && w > 0 && !size.contains(&0), "a map of {h} x {w} cannot be resized to {size:?}");
    if size == [h, w] {
        return x;
    }
    resample(x, Axis::linear(h, size[0]), Axis::linear(w, size[1]))
}

/// The transpose of [`resize`], which is its gradient: `[N, H', W', C]` to `[N, size[0], size[1], C]`, each number the
/// sum of those that [`resize`] would make of it, with their weights. Differentiable, on every backend.
///
/// # Panics
/// As [`resize`].
pub fn resize_transposed(dy: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, h, w, _] = dy.dims();
    assert!(h > 0 && w > 0 && !size.contains(&0), "a map of {size:?} cannot be resized to {h} x {w}");
    let axis = |from: usize, to: usize| Axis::linear(from, to).transposed();
    resample(dy, axis(size[0], h), axis(size[1], w))
}
