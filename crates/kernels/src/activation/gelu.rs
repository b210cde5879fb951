//! GELU with the exact normal distribution function, `x Phi(x)`, in one pass each way.
//!
//! With `a = |x|` and the density `phi(a) = exp(-a^2 / 2) / sqrt(2 pi)`:
//!
//! ```text
//! a < 1:   Phi(x) = 1/2 + x / sqrt(2 pi) sum_k (-1)^k x^(2k) / (2^k k! (2k + 1)), k to 7 (Maclaurin series)
//! a >= 1:  Phi(-a) = exp(-a^2 / 2) t P(t),  t = 1 / (1 + 0.28 a)
//! dx = dy (Phi(x) + x phi(x))
//! ```
//! The second has the form of Abramowitz and Stegun 7.1.26 with a polynomial P of degree 6, fitted by reweighted least
//! squares to erfc on 1 <= a <= 14. `erf(z) = 2 Phi(sqrt(2) z) - 1` is within 1.6e-7 everywhere in f32, most of it
//! rounding; the tail keeps its relative accuracy (3e-6 at x = -9), where `1 + erf` would have lost all digits.
use std::mem::MaybeUninit;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Backend, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use rayon::prelude::*;

use crate::exponential::exp_of_negative;
use crate::flex::{contiguous, owned, tensor, values, values_mut};
use crate::memory::{initialized, room};
use crate::simd::multiversion;

/// GELU as a custom operation.
#[backend_extension(Flex, Autodiff)]
pub trait GeluOps: Backend {
    /// `x Phi(x)`
    fn subband_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

const DENSITY: f32 = 0.398_942_3;

/// Phi(x) and phi(x).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const SCALE: f32 = 0.28;
    #[allow(clippy::excessive_precision, reason = "as the fit gave them; rounding is the compiler's")]
    const TAIL: [f32; 7] =
        [-0.056_942_224, 0.123_807_97, 0.005_626_391_2, 0.104_240_31, 0.099_507_13, 0.112_003_75, 0.111_695_595];
    const SERIES: [f64; 8] = [
        -1.0 / 9_676_800.0,
        1.0 / 599_040.0,
        -1.0 / 42_240.0,
        1.0 / 3_456.0,
        -1.0 / 336.0,
        1.0 / 40.0,
        -1.0 / 6.0,
        1.0,
    ];
    let (a, square) = (x.abs(), x * x);
    let bell = exp_of_negative(-0.5 * square);
    let t = 1.0 / (1.0 + SCALE * a);
    let mut tail = TAIL[0];
    for c in &TAIL[1..] {
        tail = tail * t + c;
    }
    let below = tail * t * bell;
    let mut series = 0.0;
    for c in SERIES {
        series = series * square + c as f32;
    }
    let far = if x > 0.0 { 1.0 - below } else { below };
    let phi = if a < 1.0 { 0.5 + x * (series * DENSITY) } else { far };
    (phi, bell * DENSITY)
}

multiversion! {
    fn forward(x: &[f32], to: &mut [MaybeUninit<f32>]) = forward_body;
}
#[inline(always)]
fn forward_body(x: &[f32], to: &mut [MaybeUninit<f32>]) {
    for (to, x) in to.iter_mut().zip(x) {
        to.write(x * normal(*x).0);
    }
}

multiversion! {
    fn backward(dy: &mut [f32], x: &[f32]) = backward_body;
}
#[inline(always)]
fn backward_body(dy: &mut [f32], x: &[f32]) {
    for (dy, x) in dy.iter_mut().zip(x) {
        let (phi, density) = normal(*x);
        *dy *= phi + x * density;
    }
}

/// Numbers of one task.
const SPAN: usize = 1 << 13;

fn run(x: &FlexTensor) -> FlexTensor {
    let from = values(x);
    let mut to = room(from.len());
    to.par_chunks_mut(SPAN).zip(from.par_chunks(SPAN)).for_each(|(to, x)| forward(x, to));
    // SAFETY: the spans are the whole buffer, and each has been written: x has its length.
    tensor(unsafe { initialized(to) }, x.layout().shape().to_vec())
}

impl GeluOps for Flex {
    fn subband_gelu(x: FlexTensor) -> FlexTensor {
        run(&contiguous(x))
    }
}

#[derive(Debug)]
struct Gelu;

impl Backward<Flex, 1> for Gelu {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |dy| {
            let mut dy = owned(dy);
            let spans = values_mut(&mut dy).par_chunks_mut(SPAN).zip(values(&x).par_chunks(SPAN));
            spans.for_each(|(dy, x)| backward(dy, x));
            dy
        });
    }
}

impl<C: CheckpointStrategy> GeluOps for Autodiff<Flex, C> {
    fn subband_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        let x = contiguous(x.into_primitive());
        let y = run(&x);
        match Gelu.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::gelu;
    use crate::simd::testing::at_each_level;
    use burn::prelude::*;
    use burn::tensor::{DType, TensorData};

    fn places() -> Vec<f32> {
        (-80_000..=80_000).map(|i| i as f32 / 8000.0).collect()
    }

    /// y and dx.
    fn results(x: &[f32], dtype: DType) -> [Vec<f64>; 2] {
        let device = Device::flex().autodiff();
        let data = TensorData::new(x.to_vec(), [x.len()]);
        let x = Tensor::<1>::from_data(data.convert_dtype(dtype), (&device, dtype)).require_grad();
        let y = gelu(x.clone());
        let grads = y.clone().sum().backward();
        [y.inner(), x.grad(&grads).unwrap()].map(|t| t.into_data().convert::<f64>().try_to_vec::<f64>().unwrap())
    }

    #[test]
    fn values_and_gradients_meet_burns_in_f64() {
        let x = places();
        let ([y, dx], [want, slope]) = (results(&x, DType::F32), results(&x, DType::F64));
        for i in 0..x.len() {
            let near = 2e-7 * f64::from(x[i].abs()).max(1.0);
            assert!((y[i] - want[i]).abs() < near, "gelu({}) = {} for {}", x[i], y[i], want[i]);
            assert!((dx[i] - slope[i]).abs() < 4e-7, "gelu'({}) = {} for {}", x[i], dx[i], slope[i]);
        }
    }

    #[test]
    fn the_error_function_is_within_its_bound() {
        // 2 / sqrt(pi) * sum_k (-1)^k z^(2k+1) / (k! (2k + 1)); no term above 1e8, so within 1e-8 in f64.
        let erf = |z: f64| {
            let (mut power, mut sum) = (z, 0.0);
            for k in 0..150 {
                sum += power / f64::from(2 * k + 1);
                power *= -z * z / f64::from(k + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        for i in 0..6000 {
            let x = i as f32 / 1000.0;
            let want = erf(f64::from(x) / std::f64::consts::SQRT_2);
            let error = (2.0 * f64::from(normal(x).0) - 1.0 - want).abs();
            assert!(error < 1.6e-7, "x = {x}: {error}");
        }
    }

    #[test]
    fn a_nan_stays_and_levels_do_not_matter() {
        let mut x = places();
        x.push(f32::NAN);
        let mut all = at_each_level(|| {
            let mut to = room(x.len());
            forward(&x, &mut to);
            // SAFETY: x has the buffer's length.
            unsafe { initialized(to) }
        });
        let (_, first) = all.remove(0);
        assert!(first.last().unwrap().is_nan());
        for (level, y) in all {
            assert!(
                y.iter().zip(&first).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()),
                "{level:?}"
            );
        }
    }
}
