//! Layer normalisation over the last axis, in one pass each way.
//!
//! ```text
//! m = mean of a row x     s = 1 / sqrt(mean of (x - m)^2 + eps)     h = (x - m) s     y = gamma h + beta
//! g = gamma dy     dx = s (g - mean g - h mean(g h))     dgamma = sum over rows of dy h     dbeta = sum of dy
//! ```
//! (Ba et al. 2016.) A row stays in the first-level cache while its mean, its variance and y are taken from it one
//! after the other. m and s of each row are kept for the backward pass, which writes dx in the memory of dy when nobody
//! else holds it. Sums over rows are taken per block of rows and then over the blocks, for any number of threads.
use std::mem::MaybeUninit;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use crate::flex::{contiguous, owned, tensor, values, values_mut};
use crate::memory::{initialized, room};
use crate::rows::total;
use crate::simd::multiversion;

/// Layer normalisation as a custom operation.
#[backend_extension(Flex, Autodiff)]
pub trait LayerNormOps: Backend {
    /// y of `[M, D]` rows.
    fn subband_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

/// Partial sums of a row.
const LANES: usize = 32;
/// Numbers of a block of rows, about, and the most rows in it: sums over them are f32.
const BLOCK: usize = 1 << 14;
const MOST_ROWS: usize = 128;

fn block_rows(width: usize) -> usize {
    (BLOCK / width).clamp(1, MOST_ROWS)
}

/// Sum of `f` over two rows, in a fixed order.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
        *lane += f(*a, *b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

multiversion! {
    /// y of a block of rows, and `[m, s]` of each.
    fn forward(
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        epsilon: f32,
        to: &mut [MaybeUninit<f32>],
        stats: &mut [MaybeUninit<f32>],
    ) = forward_body;
}
#[inline(always)]
fn forward_body(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    to: &mut [MaybeUninit<f32>],
    stats: &mut [MaybeUninit<f32>],
) {
    let width = gamma.len();
    let rows = x.chunks_exact(width).zip(to.chunks_exact_mut(width)).zip(stats.chunks_exact_mut(2));
    for ((x, to), stats) in rows {
        // Around the first value, so that a mean far from zero costs no digits.
        let first = x[0];
        let mean = first + sum(x, x, |v, _| v - first) / width as f32;
        let variance = sum(x, x, |v, _| (v - mean) * (v - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (((to, x), gamma), beta) in to.iter_mut().zip(x).zip(gamma).zip(beta) {
            to.write((x - mean) * inverse * gamma + beta);
        }
        stats[0].write(mean);
        stats[1].write(inverse);
    }
}

multiversion! {
    /// dx of a block of rows in place of dy, and the block's part of dgamma and dbeta added.
    fn backward(
        dy: &mut [f32],
        x: &[f32],
        stats: &[f32],
        gamma: &[f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
        scratch: &mut [f32],
    ) = backward_body;
}
#[inline(always)]
fn backward_body(
    dy: &mut [f32],
    x: &[f32],
    stats: &[f32],
    gamma: &[f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    scratch: &mut [f32],
) {
    let width = gamma.len();
    for ((dy, x), stats) in dy.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(stats.chunks_exact(2)) {
        let (mean, inverse) = (stats[0], stats[1]);
        let places = dy.iter_mut().zip(x).zip(gamma).zip(&mut *dgamma).zip(&mut *dbeta).zip(&mut *scratch);
        for (((((dy, x), gamma), dgamma), dbeta), h) in places {
            *h = (x - mean) * inverse;
            *dgamma += *dy * *h;
            *dbeta += *dy;
            *dy *= gamma;
        }
        let level = sum(dy, dy, |g, _| g) / width as f32;
        let slope = sum(dy, scratch, |g, h| g * h) / width as f32;
        for (dy, h) in dy.iter_mut().zip(&*scratch) {
            *dy = inverse * (*dy - level - h * slope);
        }
    }
}

/// y and `[M, 2]` of m and s.
fn normalise(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> [Vec<f32>; 2] {
    let width = gamma.len();
    let block = block_rows(width);
    let (mut y, mut stats) = (room(x.len()), room(x.len() / width * 2));
    let blocks = y.par_chunks_mut(block * width).zip(stats.par_chunks_mut(block * 2)).zip(x.par_chunks(block * width));
    blocks.for_each(|((y, stats), x)| forward(x, gamma, beta, epsilon, y, stats));
    // SAFETY: the blocks are whole rows and cover both buffers; each row and its two numbers have been written.
    unsafe { [initialized(y), initialized(stats)] }
}

/// dgamma and dbeta; dy becomes dx.
fn differentiate(dy: &mut [f32], x: &[f32], stats: &[f32], gamma: &[f32]) -> [Vec<f32>; 2] {
    let width = gamma.len();
    let block = block_rows(width);
    let mut parts = vec![0.0f64; x.len().div_ceil(block * width) * 2 * width];
    let maps = dy.par_chunks_mut(block * width).zip(x.par_chunks(block * width)).zip(stats.par_chunks(block * 2));
    maps.zip(parts.par_chunks_exact_mut(2 * width)).for_each_init(
        || vec![0.0f32; 3 * width],
        |scratch, (((dy, x), stats), part)| {
            scratch.fill(0.0);
            let (sums, scratch) = scratch.split_at_mut(2 * width);
            let (dgamma, dbeta) = sums.split_at_mut(width);
            backward(dy, x, stats, gamma, dgamma, dbeta, scratch);
            part.iter_mut().zip(sums).for_each(|(p, s)| *p = f64::from(*s));
        },
    );
    let sums: Vec<f32> = total(&parts, 2 * width).into_iter().map(|v| v as f32).collect();
    let (dgamma, dbeta) = sums.split_at(width);
    [dgamma.to_vec(), dbeta.to_vec()]
}

/// y, and the statistics of the rows.
fn run(x: &FlexTensor, gamma: &FlexTensor, beta: FlexTensor, epsilon: f32) -> [FlexTensor; 2] {
    let [rows, width]: [usize; 2] = x.layout().shape().dims();
    let [y, stats] = normalise(values(x), values(gamma), values(&contiguous(beta)), epsilon);
    [tensor(y, vec![rows, width]), tensor(stats, vec![rows, 2])]
}

impl LayerNormOps for Flex {
    fn subband_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f32) -> FlexTensor {
        let [y, _] = run(&contiguous(x), &contiguous(gamma), beta, epsilon);
        y
    }
}

#[derive(Debug)]
struct LayerNorm;

impl Backward<Flex, 3> for LayerNorm {
    /// x, gamma, statistics.
    type State = [FlexTensor; 3];

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x, gamma, stats] = ops.state;
        let mut dy = owned(grads.consume::<Flex>(&ops.node));
        let width = values(&gamma).len();
        let sums = differentiate(values_mut(&mut dy), values(&x), values(&stats), values(&gamma));
        let [dgamma, dbeta] = sums.map(|v| tensor(v, vec![width]));
        for (parent, gradient) in ops.parents.into_iter().zip([dy, dgamma, dbeta]) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> LayerNormOps for Autodiff<Flex, C> {
    fn subband_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, gamma] = [x, gamma].map(|t| contiguous(t.into_primitive()));
        let [y, stats] = run(&x, &gamma, beta.into_primitive(), epsilon);
        match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([x, gamma, stats], y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta`, mean and biased variance of each row (Ba et al. 2016);
/// differentiable.
///
/// # Shapes
/// `x`: `[M, D]`; `gamma`, `beta`: `[D]`
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f32) -> Tensor<2> {
    let f32s = [x.dtype(), gamma.dtype(), beta.dtype()].iter().all(|d| *d == DType::F32);
    if !(crate::is_flex(&x) && f32s) || x.shape().num_elements() == 0 {
        return portable(x, gamma, beta, epsilon);
    }
    let [_, width] = x.dims();
    assert!(
        gamma.dims() == [width] && beta.dims() == [width],
        "{:?}, {:?} for rows of {width}",
        gamma.dims(),
        beta.dims()
    );
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LayerNormOps>::subband_layer_norm(x, gamma, beta, epsilon))
}

/// [`layer_norm`] from tensor operations.
fn portable(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f32) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::{at_each_level, in_pool};
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    /// y, dx, dgamma, dbeta.
    fn results(shape: [usize; 2], fast: bool) -> [Vec<f32>; 4] {
        let device = Device::flex().autodiff();
        let mut stream = Stream::new(3).with("layer norm").at(shape[1] as u64);
        let mut draw = |n: usize, mean: f64| (0..n).map(|_| (mean + stream.normal()) as f32).collect::<Vec<_>>();
        let (count, d) = (shape[0] * shape[1], shape[1]);
        let x = Tensor::<2>::from_data(TensorData::new(draw(count, 5.0), shape), &device).require_grad();
        let gamma = Tensor::<1>::from_data(TensorData::new(draw(d, 1.0), [d]), &device).require_grad();
        let beta = Tensor::<1>::from_data(TensorData::new(draw(d, 0.0), [d]), &device).require_grad();
        let weight = Tensor::<2>::from_data(TensorData::new(draw(count, 0.0), shape), &device);
        let f = if fast { layer_norm } else { portable };
        // An epsilon that matters: rows of two would otherwise have a gradient of rounding errors only.
        let y = f(x.clone(), gamma.clone(), beta.clone(), 1e-2);
        let grads = (y.clone() * weight).sum().backward();
        let of = |data: TensorData| data.try_to_vec::<f32>().unwrap();
        let vector = |t: &Tensor<1>| of(t.grad(&grads).unwrap().into_data());
        [of(y.into_data()), of(x.grad(&grads).unwrap().into_data()), vector(&gamma), vector(&beta)]
    }

    #[test]
    fn fused_passes_equal_the_composition() {
        for d in [1, 2, 3, 5, 15, 16, 17, 31, 33, 64, 100, 192] {
            for m in [1, 3, 33, 200] {
                for (fast, slow) in results([m, d], true).iter().zip(&results([m, d], false)) {
                    let size = slow.iter().fold(1.0f32, |s, v| s.max(v.abs()));
                    for (a, b) in fast.iter().zip(slow) {
                        assert!((a - b).abs() < 2e-5 * size, "[{m}, {d}]: {a} for {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn threads_and_levels_do_not_matter() {
        let f = || results([500, 77], true);
        let one = in_pool(1, f);
        assert_eq!(one, in_pool(2, f));
        for (level, result) in at_each_level(f) {
            assert_eq!(result, one, "{level:?}");
        }
    }

    #[test]
    fn a_nan_spoils_its_row_alone() {
        let device = Device::flex();
        let x = Tensor::<2>::from_floats([[1.0, f32::NAN, 2.0], [1.0, 2.0, 3.0]], &device);
        let y = layer_norm(x, Tensor::ones([3], &device), Tensor::zeros([3], &device), 1e-6);
        let y = y.into_data().try_to_vec::<f32>().unwrap();
        assert!(y[..3].iter().all(|v| v.is_nan()) && y[3..].iter().all(|v| v.is_finite()), "{y:?}");
    }
}
