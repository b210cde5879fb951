//! Fully connected layer.
use burn::module::Param;
use burn::prelude::*;
use subband_kernels::linear::linear;

/// Weights of a fully connected layer.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`, as PyTorch stores it.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// `x W^T + b` for `[M, in]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), Some(self.bias.val()))
    }
}
