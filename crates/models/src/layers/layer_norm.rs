//! Layer normalisation (Ba et al. 2016).
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::layer_norm::layer_norm;

/// Added to the variance: the vision transformers' 1e-6, not PyTorch's default.
const EPSILON: f32 = 1e-6;

/// One scale and one shift per channel.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    /// Scale `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[D]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// Every row of `[M, D]` normalised by its own mean and variance.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.weight.val(), self.bias.val(), EPSILON)
    }
}
