//! Batch normalisation of adapters.
use burn::module::Param;
use burn::prelude::*;

use crate::{Init, Parameters};

/// Batch normalisation with the statistics of the batch.
///
/// `y = gamma_c (x - mean_c) / sqrt(var_c + 1e-5) + beta_c`, mean and biased variance per channel over batch and space.
/// Adapters exist only while training, so there are no running statistics. One value per channel (a batch of one at
/// 1x1) has variance 0 and gives `beta`: finite, without a gradient to x.
#[derive(Module, Debug)]
pub struct BatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl BatchNorm {
    /// For `channels` channels; gamma 1, beta 0.
    pub fn new(parameters: &Parameters, channels: usize) -> Self {
        Self {
            weight: parameters.tensor("weight", [channels], Init::Constant(1.0)),
            bias: parameters.tensor("bias", [channels], Init::Constant(0.0)),
            epsilon: 1e-5,
        }
    }

    /// Normalises.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        burn::tensor::module::batch_norm_train(x, self.weight.val(), self.bias.val(), self.epsilon).output
    }
}
