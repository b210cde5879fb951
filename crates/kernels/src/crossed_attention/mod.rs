//! Two sequences that attend to each other, compared: the heart of attention-based feature alignment.
//!
//! Student and teacher each give queries, keys and values; attention is called crosswise with both, and what comes out
//! is compared (`h` runs over the heads, d is the width of one):
//!
//! ```text
//! P_s^h = softmax(q_s^h k_t^hT / sqrt(d))      O_s = P_s v_t      A_s = mean_h P_s^h
//! P_t^h = softmax(q_t^h k_s^hT / sqrt(d))      O_t = P_t v_s      A_t = mean_h P_t^h
//! difference = O_s - O_t                       distance = mean |A_s - A_t|
//! ```
//! The gradients, with E that of the difference and g that of the distance, over L tokens in G groups:
//!
//! ```text
//! dP_s = E v_t^T + g sign(A_s - A_t) / (heads L L G)      dP_t = -E v_s^T - g sign(A_s - A_t) / (heads L L G)
//! dS_ij = P_ij (dP_ij - sum_k P_ik dP_ik) / sqrt(d)       dq_s = dS_s k_t      dk_t = dS_s^T q_s      dv_t = P_s^T E
//!                                                         dq_t = dS_t k_s      dk_s = dS_t^T q_t      dv_s = -P_t^T E
//! ```
//! On Flex a task takes 64 groups side by side, one per lane, so that every step is whole vectors whatever d and L are.
//! Of the forward pass only the signs are kept, a byte for each pair of tokens of a group; the weights, which would take
//! `8 heads L L G` bytes, are computed again in the backward pass.
use burn::backend::{
    Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor, tensor::IntTensor,
};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;

mod autodiff;
mod block;
mod flex;
#[cfg(test)]
mod tests;

/// The comparison as a custom operation.
#[backend_extension(Flex, Autodiff)]
pub trait CrossedAttentionOps: Backend {
    /// From two `[L, G, 3 C]`: the difference `[L, G, C]` in reading order, then the distance.
    fn subband_crossed_attention(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

/// The gradients of [`CrossedAttentionOps`], on backends without autodiff.
pub trait CrossedAttentionGradients: Backend {
    /// [`CrossedAttentionOps::subband_crossed_attention`] and the signs of A_s - A_t.
    fn subband_crossed_attention_signs(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        heads: usize,
    ) -> (FloatTensor<Self>, IntTensor<Self>);
    /// The gradients of both inputs.
    fn subband_crossed_attention_gradient(
        inputs: [FloatTensor<Self>; 2],
        signs: IntTensor<Self>,
        dy: FloatTensor<Self>,
        heads: usize,
    ) -> [FloatTensor<Self>; 2];
}

/// Tokens up to which a task's table of `L x L` lanes stays in the caches.
const MOST_TOKENS: usize = 128;

/// Groups from which on lanes are filled well enough.
const LEAST_GROUPS: usize = 32;

/// Whether the comparison of these inputs runs without storing attention weights (in f32 on Flex; at most 128 tokens and
/// at least 32 groups).
pub fn is_fused(tokens: usize, groups: usize) -> bool {
    (1..=MOST_TOKENS).contains(&tokens) && groups >= LEAST_GROUPS
}

/// Bytes of signs that a fused comparison keeps for its backward pass.
pub fn kept_bytes(tokens: usize, groups: usize) -> usize {
    tokens * tokens * groups.next_multiple_of(block::WIDTH)
}

/// `O_s - O_t` and `mean |A_s - A_t|`; differentiable in both inputs, on every backend.
///
/// # Shapes
/// - `student`, `teacher`: `[L, G, 3 C]`: queries, keys and values of L tokens in each of G groups; `heads` divides C,
///   and head h has the columns `h C / heads ..` of each part
/// - result: `[L, G, C]` and `[1]`
///
/// # Panics
/// When the shapes differ or do not divide.
pub fn crossed_attention(student: Tensor<3>, teacher: Tensor<3>, heads: usize) -> (Tensor<3>, Tensor<1>) {
    let [l, g, width] = student.dims();
    let c = width / 3;
    assert!(student.dims() == teacher.dims(), "{:?} against {:?}", student.dims(), teacher.dims());
    assert!(heads > 0 && width == 3 * c && c.is_multiple_of(heads), "{heads} heads for {width} columns");
    let single = student.dtype() == DType::F32 && teacher.dtype() == DType::F32;
    if !(single && crate::is_flex(&student) && is_fused(l, g)) {
        return composed(student, teacher, heads);
    }
    let (student, teacher) = (student.into_dispatch(), teacher.into_dispatch());
    let y: Tensor<1> =
        Tensor::from_dispatch(<Dispatch as CrossedAttentionOps>::subband_crossed_attention(student, teacher, heads));
    (y.clone().narrow(0, 0, l * g * c).reshape([l, g, c]), y.narrow(0, l * g * c, 1))
}

/// The same out of Burn's operations.
fn composed(student: Tensor<3>, teacher: Tensor<3>, heads: usize) -> (Tensor<3>, Tensor<1>) {
    let [l, g, width] = student.dims();
    let d = width / 3 / heads;
    let split = |x: Tensor<3>| {
        let parts = x.reshape([l, g, 3, heads, d]).permute([2, 1, 3, 0, 4]);
        [0, 1, 2].map(|part| parts.clone().narrow(0, part, 1).squeeze_dim::<4>(0))
    };
    let weights = |q: Tensor<4>, k: Tensor<4>| softmax(q.matmul(k.transpose()) * (d as f64).powf(-0.5), 3);
    let ([q_s, k_s, v_s], [q_t, k_t, v_t]) = (split(student), split(teacher));
    let (p_s, p_t) = (weights(q_s, k_t), weights(q_t, k_s));
    let difference = p_s.clone().matmul(v_t) - p_t.clone().matmul(v_s);
    let apart = (p_s - p_t).mean_dim(1).abs();
    // Each group for itself first: one sum over millions would depend on the threads.
    let distance = apart.reshape([g, l * l]).sum_dim(1).sum() / (g * l * l) as f64;
    (difference.permute([2, 0, 1, 3]).reshape([l, g, width / 3]), distance)
}
