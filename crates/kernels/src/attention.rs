//! Multi-head self-attention of vision transformers.
//!
//! ```text
//! O_h = softmax(Q_h K_h^T / sqrt(d)) V_h          d = D / heads        (Vaswani et al. 2017, equation 1)
//! ```
use burn::prelude::*;
use burn::tensor::activation::softmax;

/// Attention of every sequence to itself, from the rows of the joint projection; differentiable.
///
/// # Shapes
/// - `qkv`: `[B, T, 3 D]`, each row q, then k, then v, each with the heads side by side
/// - result: `[B, T, D]`, the heads side by side
pub fn self_attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    let [b, t, width] = qkv.dims();
    let (d, width) = (width / 3 / heads, width / 3);
    let parts = qkv.reshape([b, t, 3, heads, d]).permute([2, 0, 3, 1, 4]);
    let part = |i: usize| parts.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
    let scores = part(0).matmul(part(1).transpose()) * (d as f64).powf(-0.5);
    softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([b, t, width])
}
