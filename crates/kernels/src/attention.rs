//! Multi-head self-attention of vision transformers, fused.
//!
//! ```text
//! S = Q K^T / sqrt(d)      P = softmax of the rows of S      O = P V           (Vaswani et al. 2017, equation 1)
//! dV = P^T dO              dP = dO V^T                       dS_ij = P_ij (dP_ij - sum_k P_ik dP_ik) / sqrt(d)
//! dQ = dS K                dK = dS^T Q                       d = D / heads
//! ```
//! A task is one head of one sequence: its scores stay in the second-level cache and are never stored; the backward pass
//! computes them again. q, k and v are read from, and their gradients written to, the rows of the joint projection, so
//! nothing is transposed or copied but the packed right operands.
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;
use rayon::prelude::*;

use crate::exponential::exp_of_negative;
use crate::flex::{contiguous, tensor, values};
use crate::product::{Destination, Epilogue, Matrix, Panels, Product, Weights, multiply_across_alone, multiply_alone};
use crate::simd::multiversion;

/// Attention and its gradient as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// O `[B, T, D]` from qkv `[B, T, 3 D]`.
    fn subband_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self>;
    /// The gradient of qkv.
    fn subband_attention_gradient(
        qkv: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Head<'a> {
    product: &'a Product,
    /// The sequence's rows of q, k and v, from this head's part of q on.
    qkv: &'a [f32],
    /// Tokens T.
    tokens: usize,
    /// Width D of all heads.
    width: usize,
    /// Width d of one head.
    depth: usize,
}

impl<'a> Head<'a> {
    /// Part 0 (q), 1 (k) or 2 (v): `[T, d]`.
    fn part(&self, part: usize) -> Matrix<'a> {
        let data = &self.qkv[part * self.width..];
        Matrix { data, rows: self.tokens, columns: self.depth, stride: 3 * self.width }
    }

    /// A right operand `[T, d]` (tokens summed) from a part.
    fn columns(&self, part: usize) -> Panels {
        let rows = (self.tokens, 3 * self.width);
        Panels::pack_alone(self.product, Weights::matrix(self.part(part).data, (self.depth, 1), rows))
    }

    /// A right operand `[d, T]`: the part transposed.
    fn transposed(&self, part: usize) -> Panels {
        let columns = (self.tokens, 3 * self.width);
        Panels::pack_alone(self.product, Weights::matrix(self.part(part).data, columns, (self.depth, 1)))
    }

    /// P into `scores`, `[T, T]`.
    fn probabilities(&self, scores: &mut [f32]) {
        let to = Destination::new(scores);
        multiply_alone(self.product, self.part(0), &self.transposed(1), Epilogue::default(), to, self.tokens);
        soften(scores, self.tokens, (self.depth as f32).sqrt().recip());
    }
}

multiversion! {
    /// Every row of `tokens` scores to `softmax(scale * row)`.
    fn soften(scores: &mut [f32], tokens: usize, scale: f32) = soften_body;
}
#[inline(always)]
fn soften_body(scores: &mut [f32], tokens: usize, scale: f32) {
    const LANES: usize = 16;
    for row in scores.chunks_exact_mut(tokens) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for part in row.chunks(LANES) {
            for (lane, &v) in lanes.iter_mut().zip(part) {
                // A NaN is taken and stays.
                *lane = if (v > *lane) | v.is_nan() { v } else { *lane };
            }
        }
        let max = lanes.iter().fold(f32::NEG_INFINITY, |m, &v| if (v > m) | v.is_nan() { v } else { m });
        for v in row.iter_mut() {
            *v = exp_of_negative(scale * (*v - max));
        }
        let mut sums = [0.0f32; LANES];
        for part in row.chunks(LANES) {
            sums.iter_mut().zip(part).for_each(|(s, v)| *s += v);
        }
        let inverse = sums.iter().sum::<f32>().recip();
        row.iter_mut().for_each(|v| *v *= inverse);
    }
}

multiversion! {
    /// dS from P and dP, into the latter.
    fn score_gradient(p: &[f32], dp: &mut [f32], tokens: usize, scale: f32) = score_gradient_body;
}
#[inline(always)]
fn score_gradient_body(p: &[f32], dp: &mut [f32], tokens: usize, scale: f32) {
    const LANES: usize = 16;
    for (p, dp) in p.chunks_exact(tokens).zip(dp.chunks_exact_mut(tokens)) {
        let mut sums = [0.0f32; LANES];
        for (p, dp) in p.chunks(LANES).zip(dp.chunks(LANES)) {
            for ((s, p), dp) in sums.iter_mut().zip(p).zip(dp) {
                *s += p * dp;
            }
        }
        let mean = sums.iter().sum::<f32>();
        dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = scale * p * (*dp - mean));
    }
}

/// Heads of all sequences, in parallel: `f(head, sequence, number of the head)`.
fn for_each_head(qkv: &FlexTensor, heads: usize, f: impl Fn(Head<'_>, usize, usize) + Send + Sync) {
    let [batch, tokens, width] = qkv.layout().shape().dims();
    let (width, depth) = (width / 3, width / 3 / heads);
    let data = values(qkv);
    (0..batch * heads).into_par_iter().for_each(|index| {
        let (sequence, head) = (index / heads, index % heads);
        let qkv = &data[sequence * tokens * 3 * width + head * depth..];
        f(Head { product: Product::detect(), qkv, tokens, width, depth }, sequence, head);
    });
}

impl AttentionOps for Flex {
    fn subband_attention(qkv: FlexTensor, heads: usize) -> FlexTensor {
        let [batch, tokens, width] = qkv.layout().shape().dims();
        let (qkv, width) = (contiguous(qkv), width / 3);
        // SAFETY: every head writes its columns of every row.
        let out = unsafe {
            Destination::filled(batch * tokens * width, |out| {
                for_each_head(&qkv, heads, |head, sequence, number| {
                    let mut scores = vec![0.0; tokens * tokens];
                    head.probabilities(&mut scores);
                    let p = Matrix::dense(&scores, tokens, tokens);
                    let to = out.from(sequence * tokens * width + number * head.depth);
                    multiply_alone(head.product, p, &head.columns(2), Epilogue::default(), to, width);
                });
            })
        };
        tensor(out, vec![batch, tokens, width])
    }

    fn subband_attention_gradient(qkv: FlexTensor, gradient: FlexTensor, heads: usize) -> FlexTensor {
        let [batch, tokens, width] = qkv.layout().shape().dims();
        let (qkv, gradient, width) = (contiguous(qkv), contiguous(gradient), width / 3);
        // SAFETY: every head writes its columns of every row, in each of the three parts.
        let out = unsafe {
            Destination::filled(batch * tokens * 3 * width, |out| {
                for_each_head(&qkv, heads, |head, sequence, number| {
                    let (from, depth, product) = (number * head.depth, head.depth, head.product);
                    let data = &values(&gradient)[sequence * tokens * width + from..];
                    let d_out = Matrix { data, rows: tokens, columns: depth, stride: width };
                    let start = sequence * tokens * 3 * width + from;
                    let part = |i: usize| out.from(start + i * width);
                    let (mut p, mut ds) = (vec![0.0; tokens * tokens], vec![0.0; tokens * tokens]);
                    head.probabilities(&mut p);
                    let (none, square) = (Epilogue::default(), tokens);
                    multiply_alone(product, d_out, &head.transposed(2), none, Destination::new(&mut ds), square);
                    score_gradient(&p, &mut ds, tokens, (depth as f32).sqrt().recip());
                    let (p, ds) = (Matrix::dense(&p, tokens, tokens), Matrix::dense(&ds, tokens, tokens));
                    multiply_alone(product, ds, &head.columns(1), none, part(0), 3 * width);
                    multiply_across_alone(product, ds, head.part(0), part(1), 3 * width);
                    multiply_across_alone(product, p, d_out, part(2), 3 * width);
                });
            })
        };
        tensor(out, vec![batch, tokens, 3 * width])
    }
}

impl<B: Backend + AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn subband_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Attention;
        impl<B: Backend + AttentionOps> Backward<B, 1> for Attention {
            type State = (B::FloatTensorPrimitive, usize);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (qkv, heads) = ops.state;
                unary::<B, _>(ops.parents, ops.node, grads, |d| B::subband_attention_gradient(qkv, d, heads));
            }
        }
        match Attention.prepare::<C>([qkv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let qkv = qkv.into_primitive();
                prep.finish((qkv.clone(), heads), B::subband_attention(qkv, heads))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::subband_attention(qkv.into_primitive(), heads)),
        }
    }

    fn subband_attention_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>, _: usize) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not supported by Burn's autodiff")
    }
}

/// Attention of every sequence to itself, from the rows of the joint projection; differentiable, on every backend.
///
/// # Shapes
/// - `qkv`: `[B, T, 3 D]`, each row q, then k, then v, each with the heads side by side; `heads` divides D
/// - result: `[B, T, D]`, the heads side by side
///
/// # Panics
/// When the rows are not three times a multiple of `heads`.
pub fn self_attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    let width = qkv.dims()[2];
    assert!(heads > 0 && width.is_multiple_of(3 * heads), "{width} values of q, k and v do not make {heads} heads");
    let empty = qkv.dims().contains(&0);
    if !crate::is_flex(&qkv) || qkv.dtype() != DType::F32 || empty {
        return composed(qkv, heads);
    }
    Tensor::from_dispatch(<Dispatch as AttentionOps>::subband_attention(qkv.into_dispatch(), heads))
}

/// The same from Burn's own operations.
fn composed(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    let [b, t, width] = qkv.dims();
    let (d, width) = (width / 3 / heads, width / 3);
    let parts = qkv.reshape([b, t, 3, heads, d]).permute([2, 0, 3, 1, 4]);
    let part = |i: usize| parts.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
    let scores = part(0).matmul(part(1).transpose()) * (d as f64).powf(-0.5);
    softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([b, t, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    fn run(shape: [usize; 3], heads: usize, spread: f64, fast: bool) -> [Vec<f32>; 2] {
        let device = Device::flex().autodiff();
        let mut stream = Stream::new(6).with("attention").at(shape.iter().product::<usize>() as u64);
        let mut draw = |shape: [usize; 3]| {
            let data = (0..shape.iter().product()).map(|_| (spread * stream.normal()) as f32).collect::<Vec<_>>();
            Tensor::<3>::from_data(TensorData::new(data, shape), &device)
        };
        let [b, t, d] = shape;
        let (qkv, weight) = (draw([b, t, 3 * d]).require_grad(), draw(shape));
        let y = if fast { self_attention(qkv.clone(), heads) } else { composed(qkv.clone(), heads) };
        let grads = (y.clone() * weight).sum().backward();
        [y.into_data(), qkv.grad(&grads).unwrap().into_data()].map(|data| data.try_to_vec::<f32>().unwrap())
    }

    #[test]
    fn equals_the_composition() {
        for (shape, heads) in
            [([1, 1, 1], 1), ([2, 5, 6], 3), ([1, 33, 16], 1), ([3, 17, 24], 2), ([2, 197, 64], 1), ([1, 50, 39], 3)]
        {
            for spread in [1.0, 4.0] {
                let (fast, slow) = (run(shape, heads, spread, true), run(shape, heads, spread, false));
                for (a, b) in fast.iter().flatten().zip(slow.iter().flatten()) {
                    assert!((a - b).abs() <= 2e-5 * spread.powi(3) as f32 * (1.0 + b.abs()), "{shape:?}: {a} for {b}");
                }
            }
        }
    }

    #[test]
    fn a_nan_reaches_its_sequence_only_and_threads_do_not_change_a_bit() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run([3, 40, 32], 2, 1.0, true).map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>()))
        };
        assert_eq!(with(1), with(2));
        let mut data = vec![0.5f32; 2 * 3 * 6];
        data[0] = f32::NAN;
        let qkv = Tensor::<3>::from_data(TensorData::new(data, [2, 3, 6]), &Device::flex());
        let y = self_attention(qkv, 1).into_data().try_to_vec::<f32>().unwrap();
        assert!(y[..2].iter().all(|v| v.is_nan()) && y[6..].iter().all(|v| !v.is_nan()));
    }
}
