//! What a vision transformer adds to its patches (Dosovitskiy et al. 2021, equation 1; Touvron et al. 2021 for the
//! distillation token).
//!
//! ```text
//! z = [cls; dist; x_1; ...; x_P] + pos
//! ```
use burn::module::Param;
use burn::prelude::*;

use crate::value::Tokens;

/// Learned tokens in front of the patches, and a learned position for every token.
#[derive(Module, Debug)]
pub(crate) struct Embedding {
    /// `[1, 1, D]`.
    pub cls_token: Param<Tensor<3>>,
    /// `[1, 1, D]`.
    pub dist_token: Option<Param<Tensor<3>>>,
    /// `[1, T, D]`.
    pub pos_embed: Param<Tensor<3>>,
}

impl Embedding {
    /// `[N, P, D]` to `[N, T, D]`.
    pub fn forward(&self, patches: Tokens) -> Tokens {
        let Tokens { values, prefix, grid } = patches;
        let [n, _, d] = values.dims();
        let extra = std::iter::once(&self.cls_token).chain(&self.dist_token);
        let mut parts: Vec<Tensor<3>> = extra.map(|token| token.val().expand([n, 1, d])).collect();
        let prefix = prefix + parts.len();
        parts.push(values);
        Tokens { values: Tensor::cat(parts, 1) + self.pos_embed.val(), prefix, grid }
    }
}
