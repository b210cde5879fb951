//! Masks by hand, splits by their algebra.
use burn::tensor::DType;

use super::*;
use crate::fft::{Norm, Spectrum, fft2_real, fftshift, ifft2};
use crate::testing::{check_gradient, difference, dot, map, values};

const SIZES: [[usize; 2]; 7] = [[1, 1], [1, 6], [5, 1], [7, 9], [8, 8], [9, 12], [20, 33]];

fn passes(size: [usize; 2]) -> Vec<Pass> {
    vec![
        Pass::HalfOpen(size.map(|n| n / 4)),
        Pass::freqkd(size, 0.25),
        Pass::Rectangle([1, 2]),
        Pass::Radial(2.5),
        Pass::Gaussian(1.7),
        Pass::Butterworth(2.0, 2),
    ]
}

#[test]
fn masks_by_hand() {
    // Length 5: frequencies -2 -1 0 1 2. Length 4: -2 -1 0 1.
    let centred = |pass, size| Mask::low(size, pass).unwrap().values(Layout::Centred);
    assert_eq!(centred(Pass::HalfOpen([0, 1]), [1, 5]), [0.0; 5]);
    assert_eq!(centred(Pass::HalfOpen([1, 1]), [1, 5]), [0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(centred(Pass::HalfOpen([1, 2]), [1, 4]), [1.0; 4]);
    assert_eq!(centred(Pass::Rectangle([0, 1]), [1, 5]), [0.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(centred(Pass::Radial(1.0), [1, 4]), [0.0, 1.0, 1.0, 1.0]);
    let corner = Mask::low([1, 5], Pass::HalfOpen([1, 1])).unwrap().values(Layout::Corner);
    assert_eq!(corner, [1.0, 0.0, 0.0, 0.0, 1.0]);
    let bell = centred(Pass::Gaussian(1.0), [1, 3]);
    assert!((bell[0] - (-0.5f64).exp()).abs() < 1e-15 && bell[1] == 1.0);
    let butter = centred(Pass::Butterworth(1.0, 2), [1, 3]);
    assert_eq!(butter, [0.5, 1.0, 0.5]);
}

#[test]
fn published_high_passes() {
    let removed = |mask: Mask| mask.values(Layout::Centred).iter().filter(|v| **v == 0.0).count();
    // The table of zeroed bins in the reference code, by size.
    for (n, bins) in [(1, 0), (7, 0), (16, 0), (19, 0), (28, 4), (32, 4), (56, 16)] {
        assert_eq!(removed(Mask::fam_reference([n, n])), bins, "{n}");
    }
    assert_eq!(removed(Mask::fam_reference([200, 336])), 640);
    // One per cent, rounded, nearest to zero first.
    assert_eq!(removed(Mask::fam_paper([32, 32], 0.01)), 10);
    assert_eq!(removed(Mask::fam_paper([7, 7], 0.01)), 0);
    let mask = Mask::fam_paper([32, 32], 5.0 / 1024.0).values(Layout::Centred);
    for [y, x] in [[16, 16], [15, 16], [17, 16], [16, 15], [16, 17]] {
        assert_eq!(mask[y * 32 + x], 0.0);
    }
}

#[test]
fn layouts_are_shifts_of_each_other() {
    for size in SIZES {
        let mask = Mask::from_fn(size, |f| (f[0] * 100 + f[1]) as f64);
        let corner = mask.tensor(Layout::Corner, &Device::flex(), DType::F64);
        let centred = mask.tensor(Layout::Centred, &Device::flex(), DType::F64);
        assert_eq!(values(fftshift(corner, &[0, 1]).unwrap()), values(centred), "{size:?}");
        for layout in [Layout::Corner, Layout::Centred] {
            assert_eq!(Mask::from_values(size, &mask.values(layout), layout).unwrap(), mask);
        }
    }
}

#[test]
fn filtering_is_the_masked_spectrum_and_paths_agree() {
    for size in SIZES {
        for pass in passes(size) {
            let mask = Mask::low(size, pass).unwrap();
            let x = map([2, 2, size[0], size[1]], 0.1, DType::F64);
            let m = mask.tensor(Layout::Corner, &x.device(), DType::F64).reshape([1, 1, size[0], size[1]]);
            let z: Spectrum = fft2_real(x.clone(), Norm::Ortho).unwrap().scale(m);
            let want = ifft2(z, Norm::Ortho).unwrap().re;
            assert!(difference(apply(x.clone(), &mask).unwrap(), want.clone()) < 1e-11, "{size:?} {pass:?}");
            assert!(difference(apply_portable(x, &mask), want) < 1e-11, "{size:?} {pass:?}");
        }
    }
}

#[test]
fn parts_add_up_to_the_map() {
    for size in SIZES {
        let x = map([1, 2, size[0], size[1]], 0.1, DType::F64);
        for pass in passes(size) {
            let (low, high) = split(x.clone(), &Mask::low(size, pass).unwrap()).unwrap();
            assert!(difference(low.clone() + high.clone(), x.clone()) < 1e-14);
            assert!(difference(apply(x.clone(), &Mask::high(size, pass).unwrap()).unwrap(), high.clone()) < 1e-11);
            let symmetric = matches!(pass, Pass::Rectangle(_) | Pass::Radial(_));
            if symmetric {
                // Ideal masks that hold f and -f together split a map into orthogonal parts.
                assert!(dot(low, high).abs() < 1e-10, "{size:?} {pass:?}");
            }
        }
        let masks = [
            Mask::low(size, Pass::Radial(1.0)).unwrap(),
            Mask::band(size, Pass::Radial(1.0), Pass::Radial(3.0)).unwrap(),
        ];
        let parts = bands(x.clone(), &masks).unwrap();
        assert_eq!(parts.len(), 3);
        assert!(difference(parts.into_iter().reduce(|a, b| a + b).unwrap(), x) < 1e-13);
    }
}

#[test]
fn half_open_parts_are_not_orthogonal() {
    let x = map([1, 1, 9, 12], 0.1, DType::F64);
    let (low, high) = split(x, &Mask::low([9, 12], Pass::HalfOpen([2, 3])).unwrap()).unwrap();
    assert!(dot(low, high).abs() > 1e-3);
}

#[test]
fn gradients_by_finite_differences() {
    for size in [[1, 1], [3, 5], [6, 4]] {
        for pass in passes(size) {
            let mask = Mask::low(size, pass).unwrap();
            check_gradient([1, 2, size[0], size[1]], |x| apply(x, &mask).unwrap());
        }
    }
}

#[test]
fn bad_parameters_are_errors() {
    for pass in [Pass::Radial(-1.0), Pass::Gaussian(0.0), Pass::Gaussian(f64::NAN), Pass::Butterworth(0.0, 1)] {
        assert!(matches!(Mask::low([4, 4], pass), Err(SpectralError::Parameter { .. })), "{pass:?}");
    }
    let mask = Mask::fam_reference([4, 4]);
    assert!(matches!(apply(map([1, 1, 4, 5], 0.1, DType::F32), &mask), Err(SpectralError::ShapeMismatch { .. })));
    assert!(matches!(Mask::from_values([2, 2], &[1.0; 3], Layout::Corner), Err(SpectralError::ShapeMismatch { .. })));
}
