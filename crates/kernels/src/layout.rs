//! The two layouts of feature maps and the way between them.
//!
//! The operations of networks ([`crate::conv`], [`crate::batch_norm`], [`crate::pool`]) take maps *channels last*,
//! `[N, H, W, C]`: a pixel's channels lie side by side, which is what a matrix product, a normalisation per channel and
//! a depthwise kernel all want. Features that leave a network, and the frequency transforms, are *channels first*,
//! `[N, C, H, W]`.
use burn::prelude::*;

/// `[N, C, H, W]` to `[N, H, W, C]`; differentiable.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// `[N, H, W, C]` to `[N, C, H, W]`; differentiable.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}
