//! Convolution.
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::activation::Activation;
use subband_kernels::conv::{ConvOptions, conv2d, conv2d_inference};
use subband_kernels::layout::{channels_first, channels_last};

use super::plain;
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
    /// Cross-correlation `[N, in, H, W]` to `[N, out, H', W']`, then a ReLU if asked for.
    pub fn forward(&self, conv: &Conv, x: Tensor<4>, relu: bool) -> Tensor<4> {
        let options = ConvOptions {
            stride: [conv.stride; 2],
            padding: [conv.padding; 2],
            dilation: [conv.dilation; 2],
            groups: conv.groups,
        };
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|b| b.val()));
        match bias {
            Some(bias) if !weight.is_autodiff() => channels_first(conv2d_inference(
                channels_last(x),
                weight,
                bias,
                options,
                if relu { Activation::Relu } else { Activation::None },
            )),
            bias => {
                let y = channels_first(conv2d(channels_last(x), weight, bias, options));
                if relu { plain::relu(y) } else { y }
            }
        }
    }
}
