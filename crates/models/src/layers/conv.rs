//! Convolution.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::graph::Conv;

/// Weights of a convolution; its settings live in the graph.
#[derive(Module, Debug)]
pub(crate) struct Conv2d {
    /// `[out, in / groups, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Conv2d {
    /// Cross-correlation `[N, in, H, W]` to `[N, out, H', W']`.
    pub fn forward(&self, conv: &Conv, x: Tensor<4>) -> Tensor<4> {
        let options =
            ConvOptions::new([conv.stride; 2], [conv.padding; 2], [conv.dilation; 2], conv.groups);
        conv2d(x, self.weight.val(), self.bias.as_ref().map(|b| b.val()), options)
    }
}
