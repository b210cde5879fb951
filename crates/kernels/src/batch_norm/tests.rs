use super::*;
use crate::simd::testing::{at_each_level, in_pool};
use burn::tensor::TensorData;
use subband_seed::Stream;

const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

#[derive(Clone, Copy, Debug)]
enum Operation {
    Train,
    ScaleShift,
}

/// y, mean, variance, dx, dgamma, dbeta, dresidual.
fn run(op: Operation, shape: [usize; 4], activation: Activation, with_residual: bool, fast: bool) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let mut stream = Stream::new(4).with("norm").at(shape.iter().product::<usize>() as u64);
    let mut draw = |n: usize, mean: f64| (0..n).map(|_| (mean + 2.0 * stream.normal()) as f32).collect::<Vec<_>>();
    let count = shape.iter().product();
    let map = |v: Vec<f32>| Tensor::<4>::from_data(TensorData::new(v, shape), &device).require_grad();
    let vector = |v: Vec<f32>| Tensor::<1>::from_data(TensorData::new(v, [shape[3]]), &device).require_grad();
    let (x, weight, r) = (map(draw(count, 3.0)), map(draw(count, 0.0)), map(draw(count, 0.5)));
    let (gamma, beta) = (vector(draw(shape[3], 1.0)), vector(draw(shape[3], 0.0)));
    let residual = with_residual.then(|| r.clone());
    let options = NormOptions { epsilon: 1e-5, activation };
    let operands = (x.clone(), gamma.clone(), beta.clone());
    let (y, mean, variance) = match (op, fast) {
        (Operation::Train, fast) => {
            let (x, gamma, beta) = operands;
            let norm = if fast { batch_norm_train } else { train_portable };
            let out = norm(x, gamma, beta, residual, options);
            (out.y, Some(out.mean), Some(out.variance))
        }
        (Operation::ScaleShift, fast) => {
            let (x, gamma, beta) = operands;
            let map = if fast { scale_shift } else { scale_shift_portable };
            (map(x, gamma, beta, residual, activation), None, None)
        }
    };
    let grads = (y.clone() * weight).sum().backward();
    let values = |data: TensorData| data.try_to_vec::<f32>().unwrap();
    let gradient = |t: &Tensor<4>| t.grad(&grads).map_or(vec![], |g| values(g.into_data()));
    vec![
        values(y.into_data()),
        mean.map_or(vec![], |t| values(t.into_data())),
        variance.map_or(vec![], |t| values(t.into_data())),
        gradient(&x),
        values(gamma.grad(&grads).unwrap().into_data()),
        values(beta.grad(&grads).unwrap().into_data()),
        gradient(&r),
    ]
}

fn assert_close(case: &str, fast: &[Vec<f32>], slow: &[Vec<f32>]) {
    for (name, (a, b)) in ["y", "mean", "variance", "dx", "dgamma", "dbeta", "dr"].iter().zip(fast.iter().zip(slow)) {
        assert_eq!(a.len(), b.len(), "{name} {case}");
        let size = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() < 2e-5 * size, "{name}[{i}] {case}: {a} for {b}");
        }
    }
}

#[test]
fn fused_passes_equal_the_composition() {
    let mut shapes = vec![[2, 5, 7, 3], [1, 1, 2, 1], [4, 1, 1, 2], [3, 33, 2, 5], [1, 1, 19, 300], [2, 20, 30, 33]];
    shapes.extend([1, 2, 3, 5, 8, 15, 16, 17, 24, 40, 64, 100].map(|c| [2, 9, 11, c]));
    for (i, shape) in shapes.into_iter().enumerate() {
        for op in [Operation::Train, Operation::ScaleShift] {
            for with_residual in [false, true] {
                let activation = ACTIVATIONS[(i + usize::from(with_residual)) % 3];
                let [fast, slow] = [true, false].map(|fast| run(op, shape, activation, with_residual, fast));
                assert_close(&format!("{op:?} {shape:?} {activation:?} residual {with_residual}"), &fast, &slow);
            }
        }
    }
}

#[test]
fn every_activation_with_and_without_residual() {
    for activation in ACTIVATIONS {
        for with_residual in [false, true] {
            let [fast, slow] =
                [true, false].map(|f| run(Operation::Train, [3, 6, 5, 12], activation, with_residual, f));
            assert_close(&format!("{activation:?} residual {with_residual}"), &fast, &slow);
        }
    }
}

#[test]
fn results_are_equal_for_any_number_of_threads_and_at_each_level() {
    for shape in [[4, 32, 33, 16], [2, 30, 31, 3], [8, 7, 7, 257]] {
        let f = || run(Operation::Train, shape, Activation::Relu, true, true);
        let (one, two) = (in_pool(1, f), in_pool(2, f));
        assert!(one == two, "{shape:?}: one thread against two");
        for (level, result) in at_each_level(f) {
            // Nothing here is a fused multiply-add, so that even the instruction set does not matter.
            assert!(result == one, "{shape:?} {level:?}");
        }
    }
}

#[test]
fn gradients_meet_finite_differences() {
    let device = Device::flex();
    let shape = [2, 3, 2, 5];
    let count: usize = shape.iter().product();
    let mut stream = Stream::new(8).with("differences");
    let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<_>>();
    let (x, weight) = (draw(count), draw(count));
    let vector = |k: f32, d: &Device| Tensor::<1>::from_data(TensorData::new(vec![k; 5], [5]), d);
    let options = NormOptions { epsilon: 1e-5, activation: Activation::None };
    let y = |v: &[f32], d: &Device| {
        let x = Tensor::<4>::from_data(TensorData::new(v.to_vec(), shape), d);
        let x = if d.is_autodiff() { x.require_grad() } else { x };
        (x.clone(), batch_norm_train(x, vector(1.5, d), vector(0.25, d), None, options).y)
    };
    let ad = device.clone().autodiff();
    let (leaf, out) = y(&x, &ad);
    let grads = (out * Tensor::from_data(TensorData::new(weight.clone(), shape), &ad)).sum().backward();
    let dx = leaf.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
    let loss = |v: &[f32]| -> f64 {
        let out = y(v, &device).1.into_data().try_to_vec::<f32>().unwrap();
        out.iter().zip(&weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    for i in (0..count).step_by(7) {
        let moved = |d: f32| {
            let mut v = x.clone();
            v[i] += d;
            loss(&v)
        };
        let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        assert!((slope - f64::from(dx[i])).abs() < 2e-3, "x[{i}]: {} for {slope}", dx[i]);
    }
}

#[test]
fn a_sum_has_its_activation_and_gradients() {
    let device = Device::flex().autodiff();
    let mut stream = Stream::new(6).with("sum");
    for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 40, 50, 9]] {
        for activation in ACTIVATIONS {
            let mut map = || {
                let values: Vec<f32> = (0..shape.iter().product()).map(|_| 4.0 * stream.normal() as f32).collect();
                Tensor::<4>::from_data(TensorData::new(values, shape), &device).require_grad()
            };
            let (a, b, weight) = (map(), map(), map());
            let run = |f: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
                let y = f(a.clone(), b.clone());
                let grads = (y.clone() * weight.clone()).sum().backward();
                [y.inner(), a.grad(&grads).unwrap(), b.grad(&grads).unwrap()].map(|t| t.into_data())
            };
            let fast = run(&|a, b| add(a, b, activation));
            assert_eq!(fast, run(&|a, b| activation.apply(a + b)), "{shape:?} {activation:?}");
        }
    }
}

#[test]
fn operands_that_are_views_are_read_in_their_order() {
    let device = Device::flex();
    let x = Tensor::<1, Int>::arange(0..2 * 3 * 4 * 5, &device).float().reshape([2, 5, 4, 3]);
    let view = x.permute([0, 2, 3, 1]).narrow(1, 1, 3);
    let copy = Tensor::<4>::from_data(view.clone().into_data(), &device);
    let one = Tensor::<1>::ones([5], &device);
    let options = NormOptions { epsilon: 1e-5, activation: Activation::Relu };
    let norm = |x: Tensor<4>| batch_norm_train(x.clone(), one.clone(), one.clone(), Some(x), options).y.into_data();
    assert_eq!(norm(view.clone()), norm(copy.clone()));
    assert_eq!(add(view, copy.clone(), Activation::None).into_data(), (copy * 2.0).into_data());
}

#[test]
fn a_constant_channel_has_no_variance_and_a_nan_stays_visible() {
    let device = Device::flex();
    let one = Tensor::<1>::ones([1], &device);
    let options = NormOptions { epsilon: 1e-5, activation: Activation::Relu6 };
    let constant = Tensor::<4>::full([2, 3, 3, 1], 1e4, &device);
    let out = batch_norm_train(constant, one.clone(), one.clone(), None, options);
    assert_eq!(out.variance.into_scalar::<f32>(), 0.0);
    assert_eq!(out.y.max().into_scalar::<f32>(), 1.0);
    let bad = Tensor::<4>::full([1, 2, 2, 1], f32::NAN, &device);
    let out = batch_norm_train(bad.clone(), one.clone(), one, None, options);
    for y in [
        out.y,
        out.mean.reshape([1, 1, 1, 1]),
        out.variance.reshape([1, 1, 1, 1]),
        add(bad.clone(), bad, Activation::Relu),
    ] {
        assert!(y.into_data().try_to_vec::<f32>().unwrap().iter().all(|v| v.is_nan()));
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    let device = Device::flex();
    let shape = [4, 40, 40, 2];
    let mut stream = Stream::new(5).with("far");
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (1e4 + stream.normal()) as f32).collect();
    let exact = |c: usize| {
        let of = || values.iter().skip(c).step_by(2).map(|v| f64::from(*v));
        let mean = of().sum::<f64>() / of().count() as f64;
        of().map(|v| (v - mean).powi(2)).sum::<f64>() / of().count() as f64
    };
    let x = Tensor::<4>::from_data(TensorData::new(values.clone(), shape), &device);
    let one = Tensor::<1>::ones([2], &device);
    let options = NormOptions { epsilon: 1e-5, activation: Activation::None };
    let variance = batch_norm_train(x, one.clone(), one, None, options).variance;
    for (c, v) in variance.into_data().try_to_vec::<f32>().unwrap().into_iter().enumerate() {
        assert!((f64::from(v) / exact(c) - 1.0).abs() < 1e-6, "{v} for {}", exact(c));
    }
}
