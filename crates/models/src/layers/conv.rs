//! Convolution.
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::activation::Activation;
use subband_kernels::conv::{ConvOptions, conv2d, conv2d_inference};

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
    /// Cross-correlation `[N, H, W, in]` to `[N, H', W', out]`, then the activation.
    pub fn forward(&self, conv: &Conv, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let options = ConvOptions {
            stride: [conv.stride; 2],
            padding: [conv.padding; 2],
            dilation: [conv.dilation; 2],
            groups: conv.groups,
        };
        match (self.weight.val(), self.bias.as_ref().map(|b| b.val())) {
            (weight, Some(bias)) if !weight.is_autodiff() => conv2d_inference(x, weight, bias, options, activation),
            (weight, bias) => activation.apply(conv2d(x, weight, bias, options)),
        }
    }
}
