//! Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's conventions.
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::activation::Activation;
use subband_kernels::batch_norm::{NormOptions, batch_norm_train, scale_shift};

use super::buffer::{Buffer, Counter};
use super::{Mode, param, param_id};

/// Added to the variance.
pub(crate) const EPSILON: f64 = 1e-5;
/// Share of the new batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Weights and running statistics, one value per channel.
#[derive(Module, Debug)]
pub(crate) struct BatchNorm2d {
    /// Scale.
    pub weight: Param<Tensor<1>>,
    /// Shift.
    pub bias: Param<Tensor<1>>,
    /// Running mean.
    pub running_mean: Buffer,
    /// Running variance, from unbiased batch variances.
    pub running_var: Buffer,
    /// Training batches seen.
    #[module(skip)]
    pub batches: Counter,
}

/// Training statistics of a single value per channel have no unbiased variance.
pub(crate) struct SingleValue;

impl BatchNorm2d {
    /// Scale 1, shift 0, mean 0, variance 1.
    pub fn new(name: &str, channels: usize, device: &Device) -> Self {
        let plain = device.clone().without_autodiff();
        Self {
            weight: param(&format!("{name}.weight"), Tensor::ones([channels], device)),
            bias: param(&format!("{name}.bias"), Tensor::zeros([channels], device)),
            running_mean: Buffer::new(param_id(&format!("{name}.running_mean")), Tensor::zeros([channels], &plain)),
            running_var: Buffer::new(param_id(&format!("{name}.running_var")), Tensor::ones([channels], &plain)),
            batches: Counter::default(),
        }
    }

    /// `act(normalised x + residual)` of `[N, H, W, C]`, normalised per channel, in one pass.
    pub fn forward(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        mode: Mode,
        activation: Activation,
    ) -> Result<Tensor<4>, SingleValue> {
        match mode {
            Mode::Train => self.train(x, residual, activation),
            Mode::Eval => {
                let (scale, shift) = self.affine();
                Ok(scale_shift(x, scale, shift, residual, activation))
            }
        }
    }

    /// `y = (x - mean_B) / sqrt(var_B + eps) * w + b` with the biased variance of the batch B; the running
    /// variance takes the unbiased one, `n / (n - 1) var_B`:
    ///
    /// `running <- (1 - momentum) running + momentum batch`
    fn train(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
    ) -> Result<Tensor<4>, SingleValue> {
        let [n, h, w, _] = x.dims();
        let count = n * h * w;
        if count < 2 {
            return Err(SingleValue);
        }
        let options = NormOptions { epsilon: EPSILON as f32, activation };
        let result = batch_norm_train(x, self.weight.val(), self.bias.val(), residual, options);
        let unbiased = MOMENTUM * count as f64 / (count - 1) as f64;
        let (mean, var) = (result.mean, result.variance);
        self.running_mean.set(self.running_mean.get() * (1.0 - MOMENTUM) + mean * MOMENTUM);
        self.running_var.set(self.running_var.get() * (1.0 - MOMENTUM) + var * unbiased);
        self.batches.increment();
        Ok(result.y)
    }

    /// Scale `a = w / sqrt(running_var + eps)` and shift `c = b - a running_mean` of the evaluation mode.
    pub fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let (mut mean, mut var) = (self.running_mean.get(), self.running_var.get());
        let weight = self.weight.val();
        if weight.is_autodiff() {
            (mean, var) = (mean.autodiff(), var.autodiff());
        }
        let scale = weight / (var + EPSILON).sqrt();
        let shift = self.bias.val() - scale.clone() * mean;
        (scale, shift)
    }
}
