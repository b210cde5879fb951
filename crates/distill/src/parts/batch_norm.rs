//! Batch normalisation of adapters.
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::relu;
use subband_kernels::activation::Activation;
use subband_kernels::batch_norm::{NormOptions, batch_norm_train};
use subband_kernels::layout::{channels_first, channels_last};

use crate::{Conv, Init, Parameters};

/// Batch normalisation with the statistics of the batch.
///
/// `y = gamma_c (x - mean_c) / sqrt(var_c + 1e-5) + beta_c`, mean and biased variance per channel over batch and space.
/// Adapters exist only while training, so there are no running statistics. One value per channel (a batch of one at
/// 1x1) has variance 0 and gives `beta`: finite, without a gradient to x.
#[derive(Module, Debug)]
pub struct BatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl BatchNorm {
    /// For `channels` channels; gamma 1, beta 0.
    pub fn new(parameters: &Parameters, channels: usize) -> Self {
        Self {
            weight: parameters.tensor("weight", [channels], Init::Constant(1.0)),
            bias: parameters.tensor("bias", [channels], Init::Constant(0.0)),
        }
    }

    /// Normalises.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, false)
    }

    /// Normalises and clamps at zero, in one pass where there is a kernel for it.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, true)
    }

    /// Convolves and normalises, and clamps at zero if asked to: the map is turned once each way for both.
    ///
    /// # Shapes
    /// As [`Conv::forward`].
    pub fn after(&self, conv: &Conv, x: Tensor<4>, rectify: bool) -> Tensor<4> {
        channels_first(self.run_last(conv.forward_last(channels_last(x)), rectify))
    }

    fn run(&self, x: Tensor<4>, rectify: bool) -> Tensor<4> {
        channels_first(self.run_last(channels_last(x), rectify))
    }

    fn run_last(&self, x: Tensor<4>, rectify: bool) -> Tensor<4> {
        let (gamma, beta) = (self.weight.val(), self.bias.val());
        if x.dtype() == DType::F64 {
            // The kernel's epsilon is an f32, which f64 would feel.
            let y = burn::tensor::module::batch_norm_train(channels_first(x), gamma, beta, 1e-5).output;
            return channels_last(if rectify { relu(y) } else { y });
        }
        let activation = if rectify { Activation::Relu } else { Activation::None };
        let options = NormOptions { epsilon: 1e-5, activation };
        batch_norm_train(x, gamma, beta, None, options).y
    }
}
