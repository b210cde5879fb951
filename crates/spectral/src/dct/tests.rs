//! The cosine transforms by hand and by their algebra; SciPy's values are compared in the tests of the FFT.
use burn::tensor::DType;

use super::*;
use crate::testing::{check_gradient, difference, dot, map, values};

#[test]
fn known_pairs() {
    let device = Device::flex();
    let ones = Tensor::<1>::from_data(TensorData::new(vec![1.0f64; 4], [4]), (&device, DType::F64));
    let spectrum = values(dct(ones, 0, Dct::II).unwrap());
    assert!((spectrum[0] - 2.0).abs() < 1e-12 && spectrum[1..].iter().all(|v| v.abs() < 1e-12));
    let single = Tensor::<1>::from_data(TensorData::new(vec![-3.0f64], [1]), (&device, DType::F64));
    assert!((values(dct(single, 0, Dct::II).unwrap())[0] + 3.0).abs() < 1e-12);
}

#[test]
fn third_kind_is_inverse_and_adjoint_of_the_second_on_every_axis() {
    for n in 1..=33 {
        for axis in 0..4 {
            let mut shape = [2, 1, 2, 3];
            shape[axis] = n;
            let (x, y) = (map(shape, 0.1, DType::F64), map(shape, 1.1, DType::F64));
            let (fx, ty) = (dct(x.clone(), axis, Dct::II).unwrap(), dct(y.clone(), axis, Dct::III).unwrap());
            let (a, b) = (dot(fx.clone(), y), dot(x.clone(), ty));
            assert!((a - b).abs() < 1e-10 * (1.0 + a.abs()), "adjoint, length {n}, axis {axis}");
            assert!(difference(dct(fx, axis, Dct::III).unwrap(), x) < 1e-11, "inverse, length {n}, axis {axis}");
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    for kind in [Dct::II, Dct::III] {
        check_gradient([1, 2, 3, 5], |x| dct2(x, kind).unwrap());
        check_gradient([2, 3, 1, 1], |x| dct(x, 1, kind).unwrap());
    }
}

#[test]
fn wrong_axes_are_errors() {
    assert!(matches!(dct(map([2, 3], 0.1, DType::F32), 2, Dct::II), Err(SpectralError::Axis { .. })));
    let empty = Tensor::<2>::zeros([2, 0], &Device::flex());
    assert!(matches!(dct(empty, 1, Dct::II), Err(SpectralError::EmptyMap { .. })));
}
