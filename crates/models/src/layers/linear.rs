//! Fully connected layer, and its low-rank adaptation.
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
    /// Trained in the place of the weight; see [`crate::lora`].
    pub lora: Option<LowRank>,
}

/// The factors A and B of a change of the weight.
#[derive(Module, Debug)]
pub(crate) struct LowRank {
    /// A, `[rank, in]`.
    pub down: Param<Tensor<2>>,
    /// B, `[out, rank]`.
    pub up: Param<Tensor<2>>,
}

impl Linear {
    /// `x W^T + b` for `[M, in]`, and `scale (x . keep) A^T B^T` where there are factors; `keep` are the factors of
    /// dropout.
    pub fn forward(&self, x: Tensor<2>, scale: f64, keep: Option<Tensor<2>>) -> Tensor<2> {
        let y = linear(x.clone(), self.weight.val(), Some(self.bias.val()));
        let Some(lora) = &self.lora else { return y };
        let x = match keep {
            Some(keep) => x * keep,
            None => x,
        };
        let narrow = linear(x, lora.down.val(), None);
        let narrow = if scale == 1.0 { narrow } else { narrow * scale };
        y + linear(narrow, lora.up.val(), None)
    }
}

impl LowRank {
    /// `scale B A`, `[out, in]`, without graph.
    pub fn product(&self, scale: f64) -> Tensor<2> {
        let (a, b) = (self.down.val().without_autodiff(), self.up.val().without_autodiff());
        linear(b, a.transpose(), None) * scale
    }
}
