//! Batch normalisation over `[N, C, H, W]`, with an optional ReLU, in one pass each way.
//!
//! ```text
//! m_c = mean over n, h, w of x        v_c = mean of (x - m_c)^2        h = (x - m_c) / sqrt(v_c + eps)
//! y = gamma_c * h + beta_c            (then max(y, 0) when fused)
//! g = dy  (zero where the ReLU was closed)          dbeta_c = sum g        dgamma_c = sum g * h
//! dx = gamma_c / sqrt(v_c + eps) * (g - dbeta_c / M - h * dgamma_c / M)    M = N * H * W
//! ```
//! (Ioffe and Szegedy 2015.) Burn's own layer makes a pass for each mean, difference, square and product. Here the
//! forward pass reads x twice, the backward pass x and dy twice, and neither the normalised values nor the mask are
//! stored. Each channel is summed in a fixed order, so results do not depend on the number of threads.
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

use crate::flex::{contiguous, tensor, tensor4, values};
use crate::simd::multiversion;

/// Constants of the operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormOptions {
    /// Added to the variance.
    pub epsilon: f32,
    /// Clamp the result at zero.
    pub relu: bool,
}

/// Batch normalisation and its gradients as custom operations. `stats` is `[2, C]`: means, then biased variances.
#[backend_extension(Flex, Autodiff)]
pub trait BatchNormOps: Backend {
    /// Mean and biased variance of every channel, `[2, C]`.
    fn subband_norm_stats(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// y, for given statistics of x itself.
    fn subband_norm_apply(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;
    /// dgamma and dbeta, `[2, C]`.
    fn subband_norm_sums(
        dy: FloatTensor<Self>,
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;
    /// dx, from the sums of `subband_norm_sums`.
    fn subband_norm_dx(
        dy: FloatTensor<Self>,
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        sums: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;
}

/// Independent partial sums of one plane.
const LANES: usize = 32;

multiversion! {
    /// Adds sum (x - shift) and sum (x - shift)^2 of a plane to `out`.
    fn moments(plane: &[f32], shift: f32, out: &mut [f64; 2]) = moments_body;
}
#[inline(always)]
fn moments_body(plane: &[f32], shift: f32, out: &mut [f64; 2]) {
    let (mut sum, mut square) = ([0.0f32; LANES], [0.0f32; LANES]);
    let mut chunks = plane.chunks_exact(LANES);
    for chunk in &mut chunks {
        for ((s, q), &x) in sum.iter_mut().zip(&mut square).zip(chunk) {
            let d = x - shift;
            *s += d;
            *q = d.mul_add(d, *q);
        }
    }
    for (i, &x) in chunks.remainder().iter().enumerate() {
        sum[i] += x - shift;
        square[i] += (x - shift) * (x - shift);
    }
    out[0] += sum.iter().map(|&v| f64::from(v)).sum::<f64>();
    out[1] += square.iter().map(|&v| f64::from(v)).sum::<f64>();
}

multiversion! {
    /// `to = max(scale * (from - mean) + shift, floor)`.
    fn affine(from: &[f32], line: Line, to: &mut [f32]) = affine_body;
}
#[inline(always)]
fn affine_body(from: &[f32], line: Line, to: &mut [f32]) {
    for (t, &x) in to.iter_mut().zip(from) {
        let y = line.at(x);
        // Written so that NaN stays NaN.
        *t = if y < line.floor { line.floor } else { y };
    }
}

multiversion! {
    /// Adds sum g and sum g * (x - mean) of a plane to `out`; g is dy where `scale * (x - mean) + shift > floor`.
    fn gradient_sums(dy: &[f32], x: &[f32], line: Line, out: &mut [f64; 2]) = gradient_sums_body;
}
#[inline(always)]
fn gradient_sums_body(dy: &[f32], x: &[f32], line: Line, out: &mut [f64; 2]) {
    let (mut sum, mut dot) = ([0.0f32; LANES], [0.0f32; LANES]);
    let split = dy.len() / LANES * LANES;
    for (dy, x) in dy[..split].chunks_exact(LANES).zip(x.chunks_exact(LANES)) {
        for (((s, d), &dy), &x) in sum.iter_mut().zip(&mut dot).zip(dy).zip(x) {
            let g = if line.at(x) > line.floor { dy } else { 0.0 };
            *s += g;
            *d = g.mul_add(x - line.mean, *d);
        }
    }
    for (i, (&dy, &x)) in dy[split..].iter().zip(&x[split..]).enumerate() {
        let g = if line.at(x) > line.floor { dy } else { 0.0 };
        sum[i] += g;
        dot[i] += g * (x - line.mean);
    }
    out[0] += sum.iter().map(|&v| f64::from(v)).sum::<f64>();
    out[1] += dot.iter().map(|&v| f64::from(v)).sum::<f64>();
}

multiversion! {
    /// `to = scale * g + slope * (x - mean) + offset`.
    fn gradient_apply(dy: &[f32], x: &[f32], line: Line, slope: f32, offset: f32, to: &mut [f32]) = gradient_apply_body;
}
#[inline(always)]
fn gradient_apply_body(dy: &[f32], x: &[f32], line: Line, slope: f32, offset: f32, to: &mut [f32]) {
    for ((t, &dy), &x) in to.iter_mut().zip(dy).zip(x) {
        let g = if line.at(x) > line.floor { dy } else { 0.0 };
        *t = line.scale.mul_add(g, slope.mul_add(x - line.mean, offset));
    }
}

/// One channel's map x -> scale * (x - mean) + shift, and where its ReLU closes.
#[derive(Clone, Copy)]
struct Line {
    scale: f32,
    shift: f32,
    mean: f32,
    inverse_deviation: f64,
    floor: f32,
}

impl Line {
    fn new(c: usize, gamma: &[f32], beta: &[f32], stats: &[f32], options: NormOptions) -> Self {
        let (mean, variance) = (stats[c], stats[gamma.len() + c]);
        let inverse_deviation = 1.0 / (f64::from(variance) + f64::from(options.epsilon)).sqrt();
        let scale = (f64::from(gamma[c]) * inverse_deviation) as f32;
        let floor = if options.relu { 0.0 } else { f32::NEG_INFINITY };
        Self { scale, shift: beta[c], mean, inverse_deviation, floor }
    }

    /// The mean is taken off first: folding it into the shift would lose digits when it is large.
    #[inline(always)]
    fn at(&self, x: f32) -> f32 {
        self.scale.mul_add(x - self.mean, self.shift)
    }
}

/// Planes of channel c: `[N, C, area]`.
fn planes(x: &[f32], channels: usize, area: usize, c: usize) -> impl Iterator<Item = &[f32]> {
    x.chunks_exact(channels * area).map(move |image| &image[c * area..][..area])
}

fn dims(x: &FlexTensor) -> [usize; 4] {
    x.layout().shape().dims()
}

/// `[2, C]` from one pair per channel.
fn pairs(channels: usize, f: impl Fn(usize) -> [f64; 2] + Sync + Send) -> FlexTensor {
    let list: Vec<[f64; 2]> = (0..channels).into_par_iter().map(f).collect();
    let row = |i: usize| list.iter().map(move |p| p[i] as f32);
    tensor(row(0).chain(row(1)).collect(), vec![2, channels])
}

impl BatchNormOps for Flex {
    fn subband_norm_stats(x: FlexTensor) -> FlexTensor {
        let [n, channels, h, w] = dims(&x);
        let (x, area) = (contiguous(x), h * w);
        let (x, count) = (values(&x), (n * area) as f64);
        pairs(channels, |c| {
            // Sums around the first value lose no digits when the mean is far from zero.
            let shift = x[c * area];
            let mut sums = [0.0; 2];
            planes(x, channels, area, c).for_each(|plane| moments(plane, shift, &mut sums));
            let offset = sums[0] / count;
            [f64::from(shift) + offset, (sums[1] / count - offset * offset).max(0.0)]
        })
    }

    fn subband_norm_apply(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        stats: FlexTensor,
        options: NormOptions,
    ) -> FlexTensor {
        let [n, channels, h, w] = dims(&x);
        let (x, gamma, beta, stats) = (contiguous(x), contiguous(gamma), contiguous(beta), contiguous(stats));
        let from = values(&x);
        let mut to = vec![0.0; n * channels * h * w];
        to.par_chunks_exact_mut(h * w).zip(from.par_chunks_exact(h * w)).enumerate().for_each(|(i, (to, from))| {
            let line = Line::new(i % channels, values(&gamma), values(&beta), values(&stats), options);
            affine(from, line, to);
        });
        tensor4(to, [n, channels, h, w])
    }

    fn subband_norm_sums(
        dy: FlexTensor,
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        stats: FlexTensor,
        options: NormOptions,
    ) -> FlexTensor {
        let [_, channels, h, w] = dims(&x);
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (gamma, beta, stats) = (contiguous(gamma), contiguous(beta), contiguous(stats));
        pairs(channels, |c| {
            let line = Line::new(c, values(&gamma), values(&beta), values(&stats), options);
            let mut sums = [0.0; 2];
            planes(values(&dy), channels, h * w, c)
                .zip(planes(values(&x), channels, h * w, c))
                .for_each(|(dy, x)| gradient_sums(dy, x, line, &mut sums));
            [sums[1] * line.inverse_deviation, sums[0]]
        })
    }

    fn subband_norm_dx(
        dy: FlexTensor,
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        stats: FlexTensor,
        sums: FlexTensor,
        options: NormOptions,
    ) -> FlexTensor {
        let [n, channels, h, w] = dims(&x);
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (gamma, beta, stats, sums) = (contiguous(gamma), contiguous(beta), contiguous(stats), contiguous(sums));
        let (dys, xs, sums) = (values(&dy), values(&x), values(&sums));
        let (area, count) = (h * w, (n * h * w) as f64);
        let mut to = vec![0.0; n * channels * area];
        to.par_chunks_exact_mut(area).enumerate().for_each(|(i, to)| {
            let c = i % channels;
            let line = Line::new(c, values(&gamma), values(&beta), values(&stats), options);
            // dx = scale * (g - dbeta / M - (x - mean) * inv * dgamma / M).
            let slope = -f64::from(line.scale) * line.inverse_deviation * f64::from(sums[c]) / count;
            let offset = -f64::from(line.scale) * f64::from(sums[channels + c]) / count;
            gradient_apply(&dys[i * area..][..area], &xs[i * area..][..area], line, slope as f32, offset as f32, to);
        });
        tensor4(to, [n, channels, h, w])
    }
}

impl<B: Backend + BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn subband_norm_stats(_: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("statistics are taken from the inner tensor; their gradient is part of dx")
    }

    fn subband_norm_apply(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Norm;
        impl<B: Backend + BatchNormOps> Backward<B, 3> for Norm {
            type State = ([B::FloatTensorPrimitive; 4], NormOptions);
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let ([x, gamma, beta, stats], options) = ops.state;
                let dy = grads.consume::<B>(&ops.node);
                let [to_x, to_gamma, to_beta] = ops.parents;
                let sums =
                    B::subband_norm_sums(dy.clone(), x.clone(), gamma.clone(), beta.clone(), stats.clone(), options);
                let row = |i: usize| {
                    let channels = gamma_len::<B>(&gamma);
                    let slices = [burn::tensor::Slice::from(i..i + 1), burn::tensor::Slice::from(0..channels)];
                    B::float_reshape(B::float_slice(sums.clone(), &slices), Shape::new([channels]))
                };
                if let Some(node) = to_gamma {
                    grads.register::<B>(node.id, row(0));
                }
                if let Some(node) = to_beta {
                    grads.register::<B>(node.id, row(1));
                }
                if let Some(node) = to_x {
                    let dx = B::subband_norm_dx(dy, x, gamma, beta, stats, sums, options);
                    grads.register::<B>(node.id, dx);
                }
            }
        }
        let nodes = [x.node(), gamma.node(), beta.node()];
        let operands = [x, gamma, beta, stats].map(|t| t.into_primitive());
        let [x, gamma, beta, stats] = operands.clone();
        let y = B::subband_norm_apply(x, gamma, beta, stats, options);
        match Norm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((operands, options), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn subband_norm_sums(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: NormOptions,
    ) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not supported by Burn's autodiff")
    }

    fn subband_norm_dx(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: NormOptions,
    ) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not supported by Burn's autodiff")
    }
}

fn gamma_len<B: Backend>(gamma: &B::FloatTensorPrimitive) -> usize {
    use burn::backend::TensorMetadata;
    gamma.shape()[0]
}

/// What [`batch_norm_train`] returns.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// y, `[N, C, H, W]`.
    pub y: Tensor<4>,
    /// Batch means, `[C]`, without a graph and on the plain device.
    pub mean: Tensor<1>,
    /// Biased batch variances, `[C]`, likewise.
    pub variance: Tensor<1>,
}

/// Normalises by the statistics of the batch itself; differentiable in `x`, `gamma` and `beta`.
///
/// # Shapes
/// - `x`: `[N, C, H, W]`, not empty; `gamma`, `beta`: `[C]`
pub fn batch_norm_train(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, options: NormOptions) -> Normalised {
    let channels = x.dims()[1];
    let plain = if x.device().is_autodiff() { x.clone().inner() } else { x.clone() };
    if !(crate::is_flex(&x) && x.dtype() == DType::F32 && gamma.dtype() == DType::F32) {
        return portable(x, plain, gamma, beta, options);
    }
    let stats: Tensor<2> = Tensor::from_dispatch(<Dispatch as BatchNormOps>::subband_norm_stats(plain.into_dispatch()));
    let row = |i: usize| stats.clone().slice([i..i + 1, 0..channels]).reshape([channels]);
    let (mean, variance) = (row(0), row(1));
    let on_device = if x.device().is_autodiff() { Tensor::from_inner(stats) } else { stats };
    let y = Tensor::from_dispatch(<Dispatch as BatchNormOps>::subband_norm_apply(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        on_device.into_dispatch(),
        options,
    ));
    Normalised { y, mean, variance }
}

/// The same from Burn's own operations.
fn portable(x: Tensor<4>, plain: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, options: NormOptions) -> Normalised {
    let channels = x.dims()[1];
    let over = |t: Tensor<4>| t.mean_dim(0).mean_dim(2).mean_dim(3);
    let plain_mean = over(plain.clone());
    let plain_variance = over((plain - plain_mean.clone()).powi_scalar(2));
    let centred = x.clone() - over(x);
    let variance = over(centred.clone() * centred.clone());
    let scale = gamma.reshape([1, channels, 1, 1]) / (variance + options.epsilon).sqrt();
    let y = centred * scale + beta.reshape([1, channels, 1, 1]);
    let y = if options.relu { burn::tensor::activation::relu(y) } else { y };
    Normalised { y, mean: plain_mean.reshape([channels]), variance: plain_variance.reshape([channels]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    fn run(shape: [usize; 4], relu: bool, fast: bool) -> Vec<Vec<f32>> {
        let device = Device::flex().autodiff();
        let mut stream = Stream::new(4).with("norm").at(shape.iter().product::<usize>() as u64);
        let mut draw = |n: usize, mean: f64| (0..n).map(|_| (mean + stream.normal()) as f32).collect::<Vec<_>>();
        let count = shape.iter().product();
        let x = Tensor::<4>::from_data(TensorData::new(draw(count, 3.0), shape), &device).require_grad();
        let gamma = Tensor::<1>::from_data(TensorData::new(draw(shape[1], 1.0), [shape[1]]), &device).require_grad();
        let beta = Tensor::<1>::from_data(TensorData::new(draw(shape[1], 0.0), [shape[1]]), &device).require_grad();
        let weight = Tensor::<4>::from_data(TensorData::new(draw(count, 0.0), shape), &device);
        let options = NormOptions { epsilon: 1e-5, relu };
        let out = if fast {
            batch_norm_train(x.clone(), gamma.clone(), beta.clone(), options)
        } else {
            portable(x.clone(), x.clone().inner(), gamma.clone(), beta.clone(), options)
        };
        let grads = (out.y.clone() * weight).sum().backward();
        let values = |data: TensorData| data.try_to_vec::<f32>().unwrap();
        vec![
            values(out.y.into_data()),
            values(out.mean.into_data()),
            values(out.variance.into_data()),
            values(x.grad(&grads).unwrap().into_data()),
            values(gamma.grad(&grads).unwrap().into_data()),
            values(beta.grad(&grads).unwrap().into_data()),
        ]
    }

    #[test]
    fn fused_pass_equals_the_composition() {
        for shape in [[2, 3, 5, 7], [1, 1, 1, 2], [4, 2, 1, 1], [3, 5, 33, 2], [2, 16, 16, 16]] {
            for relu in [false, true] {
                let (fast, slow) = (run(shape, relu, true), run(shape, relu, false));
                for (name, (a, b)) in
                    ["y", "mean", "variance", "dx", "dgamma", "dbeta"].iter().zip(fast.iter().zip(&slow))
                {
                    for (a, b) in a.iter().zip(b) {
                        assert!((a - b).abs() < 3e-4 * (1.0 + b.abs()), "{name} {shape:?} relu {relu}: {a} for {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_constant_channel_has_no_variance_and_a_nan_stays_visible() {
        let device = Device::flex();
        let one = Tensor::<1>::ones([1], &device);
        let options = NormOptions { epsilon: 1e-5, relu: true };
        let constant = Tensor::<4>::full([2, 1, 3, 3], 1e4, &device);
        let out = batch_norm_train(constant, one.clone(), one.clone(), options);
        assert_eq!(out.variance.into_scalar::<f32>(), 0.0);
        assert_eq!(out.y.max().into_scalar::<f32>(), 1.0);
        let bad = Tensor::<4>::full([1, 1, 2, 2], f32::NAN, &device);
        let y = batch_norm_train(bad, one.clone(), one, options).y.into_data().try_to_vec::<f32>().unwrap();
        assert!(y.iter().all(|v| v.is_nan()));
    }
}
