//! What the tests of this crate share: formula inputs, readings, and finite differences.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};

/// sin(w k + s) by row-major index k.
pub(crate) fn wave(count: usize, s: f64, w: f64) -> Vec<f64> {
    (0..count).map(|k| (w * k as f64 + s).sin()).collect()
}

/// A tensor of these values on `device`.
pub(crate) fn tensor<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape).convert_dtype(dtype), (device, dtype))
}

/// `wave` with w = 0.37 as a tensor on Flex.
pub(crate) fn map<const D: usize>(shape: [usize; D], s: f64, dtype: DType) -> Tensor<D> {
    tensor(&wave(shape.iter().product(), s, 0.37), shape, dtype, &Device::flex())
}

/// The values as f64.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// Largest difference of two tensors of one shape.
pub(crate) fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

/// Inner product.
pub(crate) fn dot<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum()
}

/// Checks the gradient of `sum(weights * f(x)^2)` by central differences in f64, at every element.
///
/// Squaring makes the check sensitive to the value as well as to the derivative.
pub(crate) fn check_gradient<const D: usize>(shape: [usize; D], f: impl Fn(Tensor<D>) -> Tensor<4>) {
    let count = shape.iter().product();
    let start = wave(count, 0.3, 0.91);
    let loss = |x: Tensor<D>| {
        let y = f(x);
        let weights = tensor(&wave(y.dims().iter().product(), 0.6, 1.3), y.dims(), DType::F64, &y.device());
        (y.square() * weights).sum()
    };
    let x = tensor(&start, shape, DType::F64, &Device::flex().autodiff()).require_grad();
    let gradient = values(x.grad(&loss(x.clone()).backward()).unwrap());
    let at = |k: usize, step: f64| {
        let mut moved = start.clone();
        moved[k] += step;
        values(loss(tensor(&moved, shape, DType::F64, &Device::flex())))[0]
    };
    let scale = gradient.iter().fold(1.0, |m: f64, g| m.max(g.abs()));
    for (k, g) in gradient.iter().enumerate() {
        let step = 1e-5;
        let numeric = (at(k, step) - at(k, -step)) / (2.0 * step);
        assert!((numeric - g).abs() < 1e-7 * scale, "element {k} of {shape:?}: {g} for {numeric}");
    }
}
