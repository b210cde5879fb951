//! Layers alone: gradients against finite differences in f64, and values worked out by hand.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use subband_kernels::activation::Activation;

use super::{relative, values};
use crate::layers::{BatchNorm2d, Mode, plain};

fn tensor(shape: [usize; 4], w: f64, device: &Device) -> Tensor<4> {
    let data: Vec<f64> = (0..shape.iter().product()).map(|k: usize| (w * k as f64 + 0.2).sin()).collect();
    Tensor::from_data(TensorData::new(data, shape), (device, DType::F64))
}

/// Central differences of `f` at each element against the gradient from the tape.
fn check(shape: [usize; 4], f: impl Fn(Tensor<4>) -> Tensor<1>) {
    let device = Device::flex().autodiff();
    let x = tensor(shape, 0.9, &device).require_grad();
    let grads = f(x.clone()).backward();
    let found = values(x.grad(&grads).unwrap());
    let base = values(x.inner());
    let step = 1e-6;
    let at = |i: usize, by: f64| {
        let mut moved = base.clone();
        moved[i] += by;
        let x = Tensor::from_data(TensorData::new(moved, shape), (&device, DType::F64));
        values(f(x))[0]
    };
    let wanted: Vec<f64> = (0..base.len()).map(|i| (at(i, step) - at(i, -step)) / (2.0 * step)).collect();
    assert!(relative(&found, &wanted) < 1e-6, "{shape:?}");
}

/// A scalar that weighs every element differently.
fn weigh(y: Tensor<4>) -> Tensor<1> {
    let (shape, device) = (y.dims(), y.device());
    (y * tensor(shape, 1.7, &device)).sum()
}

fn norm(channels: usize, device: &Device) -> BatchNorm2d {
    let mut bn = BatchNorm2d::new("bn", channels, device);
    let data = |w: f64| TensorData::new((0..channels).map(|c| (w * c as f64).cos()).collect::<Vec<f64>>(), [channels]);
    bn.weight = bn.weight.map(|_| Tensor::from_data(data(0.8), (device, DType::F64)).require_grad());
    bn.bias = bn.bias.map(|_| Tensor::from_data(data(1.1), (device, DType::F64)).require_grad());
    let plain = device.clone().without_autodiff();
    bn.running_mean.set(Tensor::from_data(data(0.5), (&plain, DType::F64)));
    bn.running_var.set(Tensor::from_data(data(0.3), (&plain, DType::F64)).abs() + 0.5);
    bn
}

#[test]
fn batch_norm_gradients() {
    let device = Device::flex().autodiff();
    for shape in [[2, 4, 5, 3], [1, 3, 2, 1], [3, 1, 1, 2]] {
        for mode in [Mode::Train, Mode::Eval] {
            for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
                let run = |x: Tensor<4>, residual| {
                    weigh(norm(shape[3], &device).forward(x, residual, mode, activation).ok().unwrap())
                };
                check(shape, |x| run(x, None));
                let other = tensor(shape, 0.4, &device) * 3.0;
                check(shape, |x| run(x, Some(other.clone())));
                check(shape, |x| run(other.clone(), Some(x)));
                check(shape, |x| run(x.clone(), Some(x)));
            }
        }
    }
}

#[test]
fn batch_norm_statistics_by_hand() {
    let device = Device::flex();
    let bn = BatchNorm2d::new("bn", 1, &device);
    let x = Tensor::<4>::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0, 6.0], [2, 1, 2, 1]), &device);
    // Mean 3, biased variance 3.5, unbiased 14/3.
    let y = values(bn.forward(x, None, Mode::Train, Activation::None).ok().unwrap());
    let std = (3.5_f64 + 1e-5).sqrt();
    assert!(relative(&y, &[-2.0 / std, -1.0 / std, 0.0, 3.0 / std]) < 1e-6);
    assert!(relative(&values(bn.running_mean.get()), &[0.3]) < 1e-6);
    assert!(relative(&values(bn.running_var.get()), &[0.9 + 0.1 * 14.0 / 3.0]) < 1e-6);
    assert_eq!(bn.batches.get(), 1);
}

#[test]
fn operations_without_parameters_have_right_gradients() {
    for shape in [[2, 5, 3, 4], [1, 1, 1, 2], [1, 7, 7, 6]] {
        check(shape, |x| weigh(plain::shuffle(x, 2)));
        check(shape, |x| weigh(plain::subsample_pad(x, 2, 1, 2)));
        check(shape, |x| weigh(plain::subsample_pad(x, 1, 0, 3)));
    }
}

#[test]
fn shuffle_and_subsampling_by_hand() {
    let device = Device::flex();
    let x = |shape: [usize; 4]| {
        let values = (1..=shape.iter().product()).map(|v: usize| v as f64).collect::<Vec<_>>();
        Tensor::<4>::from_data(TensorData::new(values, shape), &device)
    };
    let shuffled = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0, 7.0, 10.0, 8.0, 11.0, 9.0, 12.0];
    assert_eq!(values(plain::shuffle(x([1, 1, 2, 6]), 2)), shuffled);
    let y = plain::subsample_pad(x([1, 3, 3, 1]), 2, 1, 2);
    assert_eq!(y.dims(), [1, 2, 2, 4]);
    let pixels = [1.0, 3.0, 7.0, 9.0].map(|v| [0.0, v, 0.0, 0.0]);
    assert_eq!(values(y), pixels.concat());
}
