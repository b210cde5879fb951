//! Optimiser steps in one pass over a parameter, in place where nobody else holds its memory.
//!
//! SGD (torch.optim.SGD without dampening) for a parameter w with gradient g and velocity v, zero at the start:
//! ```text
//! d = g + weight_decay w        v <- momentum v + d        w <- w - lr v        (Nesterov: w <- w - lr (d + momentum v))
//! ```
//! AdamW (torch.optim.AdamW; Loshchilov and Hutter 2019) with moments m and u, zero at the start, in step t = 1, 2, ...:
//! ```text
//! m <- b1 m + (1 - b1) g        u <- b2 u + (1 - b2) g^2
//! w <- (1 - lr weight_decay) w - lr / (1 - b1^t) m / (sqrt(u) / sqrt(1 - b2^t) + eps)
//! ```
//! Large parameters are split over the threads; small ones stay on the calling thread.
use burn::backend::flex::Layout;
use burn::backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use rayon::prelude::*;

use crate::flex::{contiguous, owned, values, values_mut};
use crate::simd::multiversion;

/// Constants of SGD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the velocity that is kept.
    pub momentum: f64,
    /// Factor of w in its gradient.
    pub weight_decay: f64,
    /// Nesterov's form.
    pub nesterov: bool,
}

/// Constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay.
    pub weight_decay: f64,
    /// This step's number, from 1.
    pub time: u64,
}

/// AdamW's factors in f32.
#[derive(Debug, Clone, Copy)]
struct Factors {
    keep: f32,
    step: f32,
    /// b1, 1 - b1.
    first: [f32; 2],
    /// b2, 1 - b2.
    second: [f32; 2],
    /// 1 / sqrt(1 - b2^t).
    root: f32,
    epsilon: f32,
}

impl AdamW {
    fn factors(&self) -> Factors {
        let power = |b: f64| 1.0 - b.powf(self.time as f64);
        let pair = |b: f64| [b as f32, (1.0 - b) as f32];
        Factors {
            keep: (1.0 - self.lr * self.weight_decay) as f32,
            step: (self.lr / power(self.betas[0])) as f32,
            first: pair(self.betas[0]),
            second: pair(self.betas[1]),
            root: power(self.betas[1]).sqrt().recip() as f32,
            epsilon: self.epsilon as f32,
        }
    }
}

/// Optimiser steps on Flex.
#[backend_extension(Flex)]
pub trait OptimizerOps: Backend {
    /// The sum of squares, `[1]`, in f64.
    fn subband_sum_of_squares(g: FloatTensor<Self>) -> FloatTensor<Self>;
    /// w without momentum.
    fn subband_descend(w: FloatTensor<Self>, g: FloatTensor<Self>, rule: Sgd) -> FloatTensor<Self>;
    /// w and v.
    fn subband_sgd(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rule: Sgd,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// w, m and u.
    fn subband_adamw(
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        m: FloatTensor<Self>,
        u: FloatTensor<Self>,
        rule: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

multiversion! {
    /// Adds the sum of squares to `sum`.
    fn squares(g: &[f32], sum: &mut f64) = squares_body;
}
#[inline(always)]
fn squares_body(g: &[f32], sum: &mut f64) {
    let mut lanes = [0.0f64; 16];
    for chunk in g.chunks(16) {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(v) * f64::from(v);
        }
    }
    *sum += lanes.iter().sum::<f64>();
}

multiversion! {
    fn descend_span(w: &mut [f32], g: &[f32], lr: f32, decay: f32) = descend_body;
}
#[inline(always)]
fn descend_body(w: &mut [f32], g: &[f32], lr: f32, decay: f32) {
    for (w, g) in w.iter_mut().zip(g) {
        *w -= lr * (g + decay * *w);
    }
}

multiversion! {
    fn sgd(w: &mut [f32], g: &[f32], v: &mut [f32], rule: Sgd) = sgd_body;
}
#[inline(always)]
fn sgd_body(w: &mut [f32], g: &[f32], v: &mut [f32], rule: Sgd) {
    let (lr, momentum, decay) = (rule.lr as f32, rule.momentum as f32, rule.weight_decay as f32);
    // The step is `of_d d + of_v v`.
    let (of_d, of_v) = if rule.nesterov { (1.0, momentum) } else { (0.0, 1.0) };
    for ((w, g), v) in w.iter_mut().zip(g).zip(v) {
        let d = g + decay * *w;
        *v = momentum * *v + d;
        *w -= lr * (of_d * d + of_v * *v);
    }
}

multiversion! {
    fn adamw(w: &mut [f32], g: &[f32], m: &mut [f32], u: &mut [f32], f: Factors) = adamw_body;
}
#[inline(always)]
fn adamw_body(w: &mut [f32], g: &[f32], m: &mut [f32], u: &mut [f32], f: Factors) {
    for (((w, g), m), u) in w.iter_mut().zip(g).zip(m).zip(u) {
        *m = f.first[0] * *m + f.first[1] * g;
        *u = f.second[0] * *u + f.second[1] * (g * g);
        *w = f.keep * *w - f.step * *m / (u.sqrt() * f.root + f.epsilon);
    }
}

/// Numbers of one task.
const SPAN: usize = 1 << 15;

impl OptimizerOps for Flex {
    fn subband_sum_of_squares(g: FlexTensor) -> FlexTensor {
        let g = contiguous(g);
        let of = |part: &[f32]| {
            let mut sum = 0.0;
            squares(part, &mut sum);
            sum
        };
        let values = values(&g);
        // Fixed parts, added in order.
        let parts: Vec<f64> =
            if values.len() <= SPAN { vec![of(values)] } else { values.par_chunks(SPAN).map(of).collect() };
        let sum = vec![parts.iter().sum::<f64>()];
        FlexTensor::new(Bytes::from_elems(sum), Layout::contiguous(Shape::new([1])), DType::F64)
    }

    fn subband_descend(w: FlexTensor, g: FlexTensor, rule: Sgd) -> FlexTensor {
        let (mut w, g) = (owned(w), contiguous(g));
        let (lr, decay) = (rule.lr as f32, rule.weight_decay as f32);
        let spans = values_mut(&mut w).par_chunks_mut(SPAN).zip(values(&g).par_chunks(SPAN));
        spans.for_each(|(w, g)| descend_span(w, g, lr, decay));
        w
    }

    fn subband_sgd(w: FlexTensor, g: FlexTensor, v: FlexTensor, rule: Sgd) -> (FlexTensor, FlexTensor) {
        let (mut w, g, mut v) = (owned(w), contiguous(g), owned(v));
        let spans = values_mut(&mut w).par_chunks_mut(SPAN).zip(values(&g).par_chunks(SPAN));
        spans.zip(values_mut(&mut v).par_chunks_mut(SPAN)).for_each(|((w, g), v)| sgd(w, g, v, rule));
        (w, v)
    }

    fn subband_adamw(
        w: FlexTensor,
        g: FlexTensor,
        m: FlexTensor,
        u: FlexTensor,
        rule: AdamW,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (mut w, g, mut m, mut u) = (owned(w), contiguous(g), owned(m), owned(u));
        let factors = rule.factors();
        let moments = values_mut(&mut m).par_chunks_mut(SPAN).zip(values_mut(&mut u).par_chunks_mut(SPAN));
        let spans = values_mut(&mut w).par_chunks_mut(SPAN).zip(values(&g).par_chunks(SPAN));
        spans.zip(moments).for_each(|((w, g), (m, u))| adamw(w, g, m, u, factors));
        (w, m, u)
    }
}

fn has_kernels<const D: usize>(tensors: &[&Tensor<D>]) -> bool {
    assert!(tensors.iter().all(|t| t.dims() == tensors[0].dims()), "gradient and state have the parameter's shape");
    tensors.iter().all(|t| t.dtype() == DType::F32 && crate::is_flex(t) && !t.is_autodiff())
}

/// A step of SGD with momentum 0: the new w. All tensors are without autodiff and of one shape.
pub fn descend<const D: usize>(w: Tensor<D>, g: Tensor<D>, rule: Sgd) -> Tensor<D> {
    if has_kernels(&[&w, &g]) {
        let (w, g) = (w.into_dispatch(), g.into_dispatch());
        return Tensor::from_dispatch(<Dispatch as OptimizerOps>::subband_descend(w, g, rule));
    }
    let d = if rule.weight_decay == 0.0 { g } else { g + w.clone().mul_scalar(rule.weight_decay) };
    w - d.mul_scalar(rule.lr)
}

/// A step of SGD with momentum: the new w and v. `v` is None in the first step.
pub fn sgd_step<const D: usize>(w: Tensor<D>, g: Tensor<D>, v: Option<Tensor<D>>, rule: Sgd) -> (Tensor<D>, Tensor<D>) {
    let v = v.unwrap_or_else(|| g.zeros_like());
    if has_kernels(&[&w, &g, &v]) {
        let (w, g, v) = (w.into_dispatch(), g.into_dispatch(), v.into_dispatch());
        let (w, v) = <Dispatch as OptimizerOps>::subband_sgd(w, g, v, rule);
        return (Tensor::from_dispatch(w), Tensor::from_dispatch(v));
    }
    let d = g + w.clone().mul_scalar(rule.weight_decay);
    let v = v.mul_scalar(rule.momentum) + d.clone();
    let step = if rule.nesterov { d + v.clone().mul_scalar(rule.momentum) } else { v.clone() };
    (w - step.mul_scalar(rule.lr), v)
}

/// A step of AdamW: the new w and `[m, u]`. The moments are None in the first step.
pub fn adamw_step<const D: usize>(
    w: Tensor<D>,
    g: Tensor<D>,
    moments: Option<[Tensor<D>; 2]>,
    rule: AdamW,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let [m, u] = moments.unwrap_or_else(|| [g.zeros_like(), g.zeros_like()]);
    if has_kernels(&[&w, &g, &m, &u]) {
        let (w, g, m, u) = (w.into_dispatch(), g.into_dispatch(), m.into_dispatch(), u.into_dispatch());
        let (w, m, u) = <Dispatch as OptimizerOps>::subband_adamw(w, g, m, u, rule);
        return (Tensor::from_dispatch(w), [Tensor::from_dispatch(m), Tensor::from_dispatch(u)]);
    }
    let [b1, b2] = rule.betas;
    let m = m.mul_scalar(b1) + g.clone().mul_scalar(1.0 - b1);
    let u = u.mul_scalar(b2) + g.square().mul_scalar(1.0 - b2);
    let power = |b: f64| 1.0 - b.powf(rule.time as f64);
    let root = u.clone().div_scalar(power(b2)).sqrt().add_scalar(rule.epsilon);
    let step = m.clone().div_scalar(power(b1)) / root;
    (w.mul_scalar(1.0 - rule.lr * rule.weight_decay) - step.mul_scalar(rule.lr), [m, u])
}

/// The sum of squares of a tensor without autodiff, in f64 and in a fixed order, whatever the number of threads.
pub fn sum_of_squares<const D: usize>(g: Tensor<D>) -> f64 {
    let sum: Tensor<1> = if crate::is_flex(&g) && g.dtype() == DType::F32 {
        Tensor::from_dispatch(<Dispatch as OptimizerOps>::subband_sum_of_squares(g.into_dispatch()))
    } else {
        g.cast(DType::F64).powi_scalar(2).sum()
    };
    sum.into_data().convert::<f64>().try_to_vec::<f64>().ok().and_then(|v| v.first().copied()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_summed_without_loss_and_in_a_fixed_order() {
        let data: Vec<f32> = (0..100_003).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.3).collect();
        let want: f64 = data.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sum_of_squares(Tensor::<1>::from_data(data.as_slice(), &Device::flex())))
        };
        assert!((with(1) - want).abs() < 1e-9 * want);
        assert_eq!(with(1).to_bits(), with(2).to_bits());
        assert!(sum_of_squares(Tensor::<1>::from_data([1.0, f32::NAN], &Device::flex())).is_nan());
    }
    use crate::simd::testing::{at_each_level, in_pool};
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    fn normal(n: usize, seed: u64, dtype: DType) -> Tensor<1> {
        let mut stream = Stream::new(1).with("optimizer").at(seed);
        let values: Vec<f64> = (0..n).map(|_| f64::from(stream.normal() as f32)).collect();
        Tensor::from_data(TensorData::new(values, [n]).convert_dtype(dtype), (&Device::flex(), dtype))
    }

    fn values(t: Tensor<1>) -> Vec<f64> {
        t.into_data().convert::<f64>().try_to_vec::<f64>().unwrap()
    }

    /// w after four steps of each rule; f64 takes the composition.
    fn run(n: usize, dtype: DType) -> Vec<Vec<f64>> {
        let start = || normal(n, 0, dtype);
        let gradient = |t: u64| normal(n, t, dtype);
        let mut ends = Vec::new();
        for (momentum, weight_decay, nesterov) in
            [(0.0, 0.1, false), (0.9, 0.0, false), (0.9, 0.1, false), (0.8, 0.1, true)]
        {
            let rule = Sgd { lr: 0.05, momentum, weight_decay, nesterov };
            let (mut w, mut v) = (start(), None);
            for t in 1..5 {
                if momentum == 0.0 {
                    w = descend(w, gradient(t), rule);
                    continue;
                }
                let (new, velocity) = sgd_step(w, gradient(t), v.take(), rule);
                (w, v) = (new, Some(velocity));
            }
            ends.push(values(w));
        }
        let (mut w, mut moments) = (start(), None);
        for time in 1..5 {
            let rule = AdamW { lr: 0.05, betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.1, time };
            let (new, pair) = adamw_step(w, gradient(time), moments.take(), rule);
            (w, moments) = (new, Some(pair));
        }
        ends.push(values(w));
        ends
    }

    #[test]
    fn steps_equal_the_composition_in_f64() {
        for n in [1, 5, 17, 1000] {
            for (rule, (fast, slow)) in run(n, DType::F32).iter().zip(&run(n, DType::F64)).enumerate() {
                for (a, b) in fast.iter().zip(slow) {
                    assert!((a - b).abs() < 3e-6 * (1.0 + b.abs()), "rule {rule}, {n} numbers: {a} for {b}");
                }
            }
        }
    }

    #[test]
    fn threads_and_levels_do_not_matter() {
        let f = || run(70_001, DType::F32);
        let one = in_pool(1, f);
        assert_eq!(one, in_pool(2, f));
        for (level, result) in at_each_level(f) {
            assert_eq!(result, one, "{level:?}");
        }
    }

    #[test]
    fn a_parameter_held_by_others_is_not_written() {
        let w = normal(9, 0, DType::F32);
        let before = values(w.clone());
        let rule = Sgd { lr: 1.0, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        let moved = descend(w.clone(), w.clone(), rule);
        assert_eq!(values(w), before);
        assert!(values(moved).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn a_nan_stays_where_it_is() {
        let g = Tensor::<1>::from_floats([f32::NAN, 1.0], &Device::flex());
        let rule = AdamW { lr: 0.1, betas: [0.9, 0.99], epsilon: 1e-8, weight_decay: 0.0, time: 1 };
        let (w, _) = adamw_step(g.zeros_like(), g, None, rule);
        let w = values(w);
        assert!(w[0].is_nan() && w[1].is_finite());
    }
}
