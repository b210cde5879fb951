//! The transforms against SciPy, their own algebra, and the portable path.
use burn::tensor::DType;

use super::*;
use crate::dct::{Dct, dct2};
use crate::testing::{check_gradient, difference, dot, map, values, wave};

const SCIPY: &str = include_str!("../../fixtures/fourier.tsv");

const SIZES: [[usize; 2]; 8] = [[1, 1], [1, 2], [2, 1], [5, 7], [8, 8], [9, 12], [13, 4], [33, 31]];

fn complex_map(size: [usize; 2], dtype: DType) -> Spectrum {
    let shape = [1, 1, size[0], size[1]];
    Spectrum { re: map(shape, 0.1, dtype), im: map(shape, 0.9, dtype) }
}

/// The fixture's three sums.
fn digest(re: Vec<f64>, im: Vec<f64>) -> [f64; 3] {
    let weight = wave(re.len(), 0.2, 0.7);
    let sum = |v: &[f64]| v.iter().zip(&weight).map(|(a, b)| a * b).sum();
    [sum(&re), sum(&im), re.iter().chain(&im).map(|v| v * v).sum()]
}

fn norm(name: &str) -> Norm {
    match name {
        "backward" => Norm::Backward,
        "ortho" => Norm::Ortho,
        _ => Norm::Forward,
    }
}

fn transform(name: &str, kind: &str, size: [usize; 2], dtype: DType) -> [f64; 3] {
    let z = complex_map(size, dtype);
    let both = |z: Spectrum| digest(values(z.re), values(z.im));
    let real = |x: Tensor<4>| {
        let re = values(x);
        let im = vec![0.0; re.len()];
        digest(re, im)
    };
    match name {
        "fft2" => both(fft2(z, norm(kind)).unwrap()),
        "ifft2" => both(ifft2(z, norm(kind)).unwrap()),
        "rfft2" => both(rfft2(z.re, norm(kind)).unwrap()),
        "irfft2" => {
            let columns = size[1] / 2 + 1;
            let half = Spectrum { re: z.re.narrow(3, 0, columns), im: z.im.narrow(3, 0, columns) };
            real(irfft2(half, size, norm(kind)).unwrap())
        }
        "dct2" => real(dct2(z.re, if kind == "II" { Dct::II } else { Dct::III }).unwrap()),
        "shift" => both(Spectrum { re: fftshift(z.re, &[2, 3]).unwrap(), im: fftshift(z.im, &[2, 3]).unwrap() }),
        "ishift" => both(Spectrum { re: ifftshift(z.re, &[2, 3]).unwrap(), im: ifftshift(z.im, &[2, 3]).unwrap() }),
        other => panic!("the fixture names an unknown transform {other}"),
    }
}

#[test]
fn agrees_with_scipy_at_sizes_1_to_33() {
    let mut compared = 0;
    for line in SCIPY.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let size = [2, 3].map(|i| fields[i].parse::<usize>().unwrap());
        let want = [4, 5, 6].map(|i| fields[i].parse::<f64>().unwrap());
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 5e-5)] {
            let got = transform(fields[0], fields[1], size, dtype);
            // Rounding grows with the size of the spectrum, which its squares tell.
            let scale = 1.0 + want[2].abs().max(want[2].sqrt() * (size[0] * size[1]) as f64);
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < tolerance * scale, "{line} {dtype:?}: {got} for {want}");
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 33 * 14);
}

#[test]
fn every_transform_has_its_inverse() {
    for size in SIZES {
        for norm in [Norm::Backward, Norm::Ortho, Norm::Forward] {
            let z = complex_map(size, DType::F64);
            let back = ifft2(fft2(z.clone(), norm).unwrap(), norm).unwrap();
            assert!(difference(back.re, z.re.clone()) < 1e-12 && difference(back.im, z.im) < 1e-12, "{size:?}");
            let back = irfft2(rfft2(z.re.clone(), norm).unwrap(), size, norm).unwrap();
            assert!(difference(back, z.re) < 1e-12, "{size:?}");
        }
        let x = map([2, 3, size[0], size[1]], 0.1, DType::F64);
        let back = ifftshift(fftshift(x.clone(), &[1, 2, 3]).unwrap(), &[1, 2, 3]).unwrap();
        assert_eq!(values(back), values(x));
    }
}

#[test]
fn unitary_scaling_keeps_energy_and_inner_products() {
    for size in SIZES {
        let (x, y) = (complex_map(size, DType::F64), complex_map([size[0], size[1]], DType::F64).conj());
        let (fx, fy) = (fft2(x.clone(), Norm::Ortho).unwrap(), fft2(y.clone(), Norm::Ortho).unwrap());
        // Parseval, for the real part of the inner product.
        let before = dot(x.re.clone(), y.re) + dot(x.im.clone(), y.im);
        let after = dot(fx.re.clone(), fy.re) + dot(fx.im.clone(), fy.im);
        assert!((before - after).abs() < 1e-10 * (1.0 + before.abs()), "{size:?}");
        let full = fft2_real(x.re.clone(), Norm::Ortho).unwrap();
        let half = rfft2(x.re, Norm::Ortho).unwrap();
        assert!(difference(full.re.narrow(3, 0, size[1] / 2 + 1), half.re) < 1e-12);
    }
}

#[test]
fn the_portable_path_is_the_same_function() {
    for size in SIZES {
        let z = complex_map(size, DType::F64);
        for inverse in [false, true] {
            let (re, im) = kernels::complex(z.re.clone(), z.im.clone(), inverse, 0.5);
            let slow = portable::complex(z.clone(), inverse, 0.5);
            assert!(difference(re, slow.re) < 1e-10 && difference(im, slow.im) < 1e-10, "{size:?}");
        }
        let factors = Factors { interior: 2.0, scale: 0.3 };
        let (re, im) = kernels::real_to_half(z.re.clone(), factors);
        let slow = portable::real_to_half(z.re, factors);
        assert!(difference(re.clone(), slow.re) < 1e-10 && difference(im.clone(), slow.im) < 1e-10, "{size:?}");
        let fast = kernels::half_to_real(re.clone(), im.clone(), size[1], factors);
        assert!(difference(fast, portable::half_to_real(Spectrum { re, im }, size[1], factors)) < 1e-9, "{size:?}");
    }
}

#[test]
fn gradients_by_finite_differences() {
    for shape in [[1, 1, 1, 1], [1, 2, 3, 5], [2, 1, 4, 6], [1, 1, 7, 2]] {
        let size = [shape[2], shape[3]];
        check_gradient(shape, |x| {
            let z = rfft2(x, Norm::Ortho).unwrap();
            Tensor::cat(vec![z.re, z.im], 3)
        });
        check_gradient(shape, |x| {
            let z = fft2(Spectrum { re: x.clone(), im: x * 0.5 }, Norm::Backward).unwrap();
            Tensor::cat(vec![z.re, z.im], 3)
        });
        check_gradient(shape, |x| fft2_real(x, Norm::Ortho).unwrap().amplitude());
        check_gradient(shape, |x| {
            let z = Spectrum { re: x.clone().narrow(3, 0, size[1] / 2 + 1), im: x.narrow(3, 0, size[1] / 2 + 1) * 0.7 };
            irfft2(z, size, Norm::Forward).unwrap()
        });
    }
}

#[test]
fn amplitude_and_phase_are_safe_at_zero() {
    let device = Device::flex().autodiff();
    let zero = Tensor::<4>::zeros([1, 1, 2, 2], &device).require_grad();
    let z = Spectrum { re: zero.clone(), im: zero.clone() };
    let grads = (z.amplitude().sum() + z.phase().sum()).backward();
    assert!(values(zero.grad(&grads).unwrap()).iter().all(|g| *g == 0.0));
    let z = Spectrum { re: Tensor::full([1, 1, 1, 1], -1.0, &device), im: Tensor::full([1, 1, 1, 1], 1.0, &device) };
    assert!((values(z.phase())[0] - 0.75 * std::f64::consts::PI).abs() < 1e-6);
}

#[test]
fn wrong_shapes_are_errors_that_name_them() {
    let x = map([1, 1, 4, 5], 0.1, DType::F32);
    let half = rfft2(x.clone(), Norm::Ortho).unwrap();
    assert!(matches!(irfft2(half, [4, 7], Norm::Ortho), Err(SpectralError::ShapeMismatch { .. })));
    assert!(matches!(Spectrum::new(x.clone(), x.clone().narrow(3, 0, 2)), Err(SpectralError::ShapeMismatch { .. })));
    assert!(matches!(fftshift(x, &[4]), Err(SpectralError::Axis { axis: 4, rank: 4 })));
    let empty = Tensor::<4>::zeros([1, 1, 0, 3], &Device::flex());
    assert!(matches!(rfft2(empty, Norm::Ortho), Err(SpectralError::EmptyMap { .. })));
}
