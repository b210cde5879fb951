//! Convolutions of adapters.
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::conv::{ConvOptions, conv2d};
use subband_kernels::layout::{channels_first, channels_last};
use subband_kernels::pointwise::pointwise;

use crate::{Init, Parameters};

/// Fewest places on which a 1x1 convolution runs as a product per sample; below, that is too narrow to pay.
const PLACES: usize = 64;

/// A square convolution with PyTorch's weight layout `[C_out, C_in, k, k]`.
#[derive(Module, Debug)]
pub struct Conv {
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    groups: usize,
}

impl Conv {
    /// Odd kernel side `kernel`, padding `kernel / 2`, stride 1, no bias.
    pub fn new(parameters: &Parameters, channels: [usize; 2], kernel: usize, init: Init) -> Self {
        let [input, output] = channels;
        let weight = parameters.tensor("weight", [output, input, kernel, kernel], init);
        Self { weight, bias: None, stride: 1, groups: 1 }
    }

    /// A 1x1 convolution without bias, Kaiming-normal by fan-out: the projections of attention.
    pub fn projection(parameters: &Parameters, channels: [usize; 2]) -> Self {
        Self::new(parameters, channels, 1, Init::kaiming_normal_fan_out(channels[1]))
    }

    /// A depthwise convolution, one filter of odd side `kernel` per channel: weights `[C, 1, k, k]`, padding
    /// `kernel / 2`, stride 1, no bias, PyTorch's default values.
    pub fn depthwise(parameters: &Parameters, channels: usize, kernel: usize) -> Self {
        let init = Init::torch_default(kernel * kernel);
        let weight = parameters.tensor("weight", [channels, 1, kernel, kernel], init);
        Self { weight, bias: None, stride: 1, groups: channels }
    }

    /// Adds a bias, initialised like the weights of PyTorch's default.
    pub fn with_bias(mut self, parameters: &Parameters) -> Self {
        let [output, input, kernel, _] = self.weight.val().dims();
        self.bias = Some(parameters.tensor("bias", [output], Init::torch_default(input * kernel * kernel)));
        self
    }

    /// With another stride.
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Output channels.
    pub fn output(&self) -> usize {
        self.weight.val().dims()[0]
    }

    /// Stride on both axes.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Numbers of the largest tensor that a convolution of stride 1 makes of one sample of `places` places: its result,
    /// or its input channels last, which a 1x1 convolution of many places does without.
    pub(crate) fn largest_temporary([input, output]: [usize; 2], kernel: usize, places: usize) -> usize {
        let turns = places > 1 && (kernel > 1 || places < PLACES);
        places * if turns { output.max(input) } else { output }
    }

    /// Convolves.
    ///
    /// # Shapes
    /// `[N, C_in, H, W]` to `[N, C_out, ceil(H / stride), ceil(W / stride)]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, [_, _, h, w]) = (self.weight.val(), x.dims());
        let [output, input, kernel, _] = weight.dims();
        if kernel == 1 && self.stride == 1 && self.groups == 1 && h * w >= PLACES {
            return pointwise(x, weight.reshape([output, input]), self.bias.as_ref().map(Param::val));
        }
        channels_first(self.forward_last(channels_last(x)))
    }

    /// Convolves a map that lies channels last, for a part that goes on with it so.
    ///
    /// # Shapes
    /// `[N, H, W, C_in]` to `[N, ceil(H / stride), ceil(W / stride), C_out]`.
    pub(super) fn forward_last(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let padding = weight.dims()[2] / 2;
        let (stride, padding) = ([self.stride; 2], [padding; 2]);
        let options = ConvOptions { stride, padding, groups: self.groups, ..Default::default() };
        conv2d(x, weight, self.bias.as_ref().map(Param::val), options)
    }
}
