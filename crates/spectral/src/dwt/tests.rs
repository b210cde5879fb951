//! The transform against MATLAB, PyWavelets and its own algebra.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use super::*;

const MATLAB: &str = include_str!("../../fixtures/wavelet_matlab.tsv");
const TWO_DIMENSIONAL: &str = include_str!("../../fixtures/wavelet_2d.tsv");

fn tensor(values: Vec<f64>, shape: [usize; 4], dtype: DType, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape).convert_dtype(dtype), (device, dtype))
}

/// sin(w k + s) by row-major index k.
fn wave(shape: [usize; 4], s: f64, w: f64) -> Vec<f64> {
    (0..shape.iter().product()).map(|k: usize| (w * k as f64 + s).sin()).collect()
}

fn map(shape: [usize; 4], dtype: DType) -> Tensor<4> {
    tensor(wave(shape, 0.1, 0.37), shape, dtype, &Device::flex())
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// All bands, LL first, then LH, HL, HH of each level, finest first.
fn all_bands(d: &Decomposition) -> Vec<Vec<f64>> {
    let mut bands = vec![values(d.ll.clone())];
    for detail in &d.details {
        bands.extend([detail.lh(), detail.hl(), detail.hh()].map(values));
    }
    bands
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * (1.0 + b.abs())
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

fn both(config: &Dwt2Config) -> [Dwt2; 2] {
    let dwt = config.init().unwrap();
    [dwt.clone(), dwt.portable()]
}

#[test]
fn agrees_with_matlab_for_every_wavelet_and_boundary() {
    let mut input = Vec::new();
    let mut compared = 0;
    for line in MATLAB.lines() {
        let mut fields = line.split('\t');
        let (name, rule) = (fields.next().unwrap(), fields.next().unwrap());
        let n: usize = fields.next().unwrap().parse().unwrap();
        let numbers: Vec<f64> = fields.map(|f| f.parse().unwrap()).collect();
        if rule == "x" {
            input = numbers;
            continue;
        }
        let boundary = Boundary::by_name(rule).unwrap();
        let frame = matrices::analysis(&Wavelet::by_name(name).unwrap(), boundary, [n, n]);
        let axis = &frame.split_matrices()[1];
        for (matrix, expected) in [&axis.low, &axis.high].into_iter().zip(numbers.chunks(4)) {
            let c: Vec<f64> =
                (0..matrix.rows()).map(|i| matrix.row(i).iter().map(|(k, w)| w * input[*k]).sum()).collect();
            let found = [c.iter().sum(), c.iter().map(|v| v * v).sum(), c[0], *c.get(1).unwrap_or(&0.0)];
            for (a, b) in found.iter().zip(expected) {
                assert!(close(*a, *b, 1e-9), "{name} {rule} {n}: {found:?}, {expected:?}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, (20 + 19 + 5 + 30) * 2 * 6 * 2);
}

#[test]
fn agrees_with_pywavelets_in_two_dimensions() {
    let mut compared = 0;
    for line in TWO_DIMENSIONAL.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let size: [usize; 2] = [fields[2].parse().unwrap(), fields[3].parse().unwrap()];
        let expected: Vec<f64> = fields[4..].iter().map(|f| f.parse().unwrap()).collect();
        let config = Dwt2Config::new(fields[0], 3).with_boundary(Boundary::by_name(fields[1]).unwrap());
        for (dwt, dtype, tolerance) in both(&config).iter().flat_map(|d| [(d, DType::F64, 1e-8), (d, DType::F32, 2e-4)])
        {
            let bands = all_bands(&dwt.forward(map([1, 1, size[0], size[1]], dtype)).unwrap());
            for (band, sums) in bands.iter().zip(expected.chunks(3)) {
                let weighted = band.iter().enumerate().map(|(k, c)| c * (0.7 * k as f64).cos()).sum();
                let found = [band.iter().sum(), weighted, band.iter().map(|c| c * c).sum()];
                for (a, b) in found.iter().zip(sums) {
                    assert!(
                        close(*a, *b, tolerance * (band.len() as f64).sqrt()),
                        "{line}: {found:?} {dwt:?} {dtype:?}"
                    );
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 6000, "{compared}");
}

#[test]
fn golden_values_of_haar() {
    for dwt in both(&Dwt2Config::new("haar", 3)) {
        for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 5e-5)] {
            let x = map([1, 1, 5, 7], dtype);
            let d = dwt.forward(x.clone()).unwrap();
            let check = |found: f64, expected: f64| assert!((found - expected).abs() < tolerance, "{found} {expected}");
            check(values(d.ll.clone())[0], 0.013811431);
            let expected: [(Option<[f64; 2]>, &[f64]); 3] = [
                (
                    Some([1.061344705, 14.093892093]),
                    &[0.017409234, 1.288271363, 1.885286559, 0.856384921, -1.680595263, -0.655688272],
                ),
                (Some([-1.555819583, 1.243461521]), &[0.089731906, -0.368423329, -0.916245442]),
                (None, &[1.111655544, -0.092490552, 0.642156218]),
            ];
            for (detail, (sums, first)) in d.details.iter().zip(expected) {
                let v = values(detail.bands.clone());
                first.iter().zip(&v).for_each(|(e, f)| check(*f, *e));
                if let Some([sum, squares]) = sums {
                    check(v.iter().sum(), sum);
                    check(v.iter().map(|c| c * c).sum(), squares);
                }
            }
            assert_eq!(dwt.inverse(d).unwrap().dims(), x.dims());
        }
    }
}

#[test]
fn reconstructs_every_size_for_every_wavelet_and_boundary() {
    for (k, name) in Wavelet::names().iter().enumerate() {
        for boundary in Boundary::ALL {
            for h in 1..34 {
                let shape = [1, 1, h, 1 + (h * 7 + k) % 33];
                let dwt = Dwt2Config::new(name, 1 + (h + k) % 3).with_boundary(boundary).init().unwrap();
                let x = map(shape, DType::F64);
                let y = dwt.inverse(dwt.forward(x.clone()).unwrap()).unwrap();
                // Reconstruction is as exact as the filters are: those of large order are known to about 1e-9.
                let error = difference(&values(x), &values(y));
                assert!(error < 2e-8, "{name} {boundary:?} {shape:?}: {error:e}");
            }
        }
    }
}

/// <A x, w> and <x, A^T w>, the second through the gradient.
fn adjoint_gap(dwt: &Dwt2, shape: [usize; 4]) -> f64 {
    let device = Device::flex().autodiff();
    let x = tensor(wave(shape, 0.1, 0.37), shape, DType::F64, &device).require_grad();
    let d = dwt.forward(x.clone()).unwrap();
    let weigh = |t: Tensor<1>, s: f64| {
        let w = wave([1, 1, 1, t.dims()[0]], s, 0.83);
        (t.clone() * Tensor::from_data(TensorData::new(w, t.dims()), (&device, DType::F64))).sum()
    };
    let flat = |t: Tensor<5>| t.flatten::<1>(0, 4);
    let mut forward = weigh(d.ll.flatten(0, 3), 0.5);
    for (j, detail) in d.details.into_iter().enumerate() {
        forward = forward + weigh(flat(detail.bands), j as f64);
    }
    let gradients = forward.backward();
    let g = values(x.grad(&gradients).unwrap());
    let backward: f64 = g.iter().zip(values(x.inner())).map(|(g, x)| g * x).sum();
    (values(forward.inner())[0] - backward).abs()
}

#[test]
fn the_gradient_is_the_adjoint() {
    for boundary in Boundary::ALL {
        for name in ["haar", "db3", "bior2.4", "rbio4.4"] {
            for size in [[1, 1], [1, 6], [5, 7], [8, 8], [13, 2]] {
                for dwt in both(&Dwt2Config::new(name, 2).with_boundary(boundary)) {
                    let gap = adjoint_gap(&dwt, [2, 2, size[0], size[1]]);
                    assert!(gap < 1e-10, "{name} {boundary:?} {size:?} {gap:e}");
                }
            }
        }
    }
}

#[test]
fn orthogonal_wavelets_preserve_energy() {
    let energy = |v: &[f64]| v.iter().map(|c| c * c).sum::<f64>();
    let cases = [
        ("haar", Boundary::Zero, [7, 11]),
        ("db4", Boundary::Periodization, [16, 8]),
        ("sym8", Boundary::Periodization, [8, 24]),
    ];
    for (name, boundary, size) in cases {
        for dwt in both(&Dwt2Config::new(name, 3).with_boundary(boundary)) {
            let x = map([2, 3, size[0], size[1]], DType::F64);
            let bands = all_bands(&dwt.forward(x.clone()).unwrap());
            let total: f64 = bands.iter().map(|b| energy(b)).sum();
            assert!(close(total, energy(&values(x)), 1e-10), "{name} {boundary:?}");
        }
    }
}

/// A scalar that is not linear in the map: cubes of all bands, and the cube of the inverse of scaled bands.
fn curved(dwt: &Dwt2, x: Tensor<4>) -> Tensor<1> {
    let mut d = dwt.forward(x).unwrap();
    let mut sum = d.ll.clone().powi_scalar(3).sum();
    for (j, detail) in d.details.iter_mut().enumerate() {
        sum = sum + detail.hl().powi_scalar(3).sum() + detail.orientation_sum().powi_scalar(2).sum();
        detail.bands = detail.bands.clone() * (0.5 + j as f64);
    }
    sum + dwt.inverse(d).unwrap().powi_scalar(3).sum()
}

fn check_gradient(what: &str, shape: [usize; 4], f: impl Fn(Tensor<4>) -> Tensor<1>) {
    let plain = Device::flex();
    let x = tensor(wave(shape, 0.1, 0.37), shape, DType::F64, &plain.clone().autodiff()).require_grad();
    let g = values(x.grad(&f(x.clone()).backward()).unwrap());
    let base = wave(shape, 0.1, 0.37);
    for k in (0..base.len()).step_by(1 + base.len() / 11) {
        let at = |d: f64| {
            let mut v = base.clone();
            v[k] += d;
            values(f(tensor(v, shape, DType::F64, &plain)))[0]
        };
        let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!(close(g[k], slope, 1e-6), "{what} {shape:?} at {k}: {} {slope}", g[k]);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for boundary in Boundary::ALL {
        for (name, shape) in [("haar", [1, 2, 5, 7]), ("db2", [2, 1, 6, 3]), ("bior2.2", [1, 1, 1, 9])] {
            for dwt in both(&Dwt2Config::new(name, 2).with_boundary(boundary)) {
                check_gradient(&format!("{name} {boundary:?}"), shape, |x| curved(&dwt, x));
            }
        }
    }
}

#[test]
fn fast_and_portable_paths_agree() {
    for (name, boundary) in [("haar", Boundary::Zero), ("haar", Boundary::Reflect), ("db5", Boundary::Symmetric)] {
        for shape in [[1, 1, 1, 1], [2, 3, 9, 12], [1, 5, 17, 33], [3, 1, 64, 40]] {
            let [fast, slow] = both(&Dwt2Config::new(name, 3).with_boundary(boundary));
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let x = map(shape, dtype);
                let (a, b) = (fast.forward(x.clone()).unwrap(), slow.forward(x).unwrap());
                for (a, b) in all_bands(&a).iter().zip(&all_bands(&b)) {
                    assert!(difference(a, b) < tolerance, "{name} {boundary:?} {shape:?}");
                }
            }
        }
    }
}

#[test]
fn fused_band_means_agree_with_the_bands() {
    for levels in 1..5 {
        let [fast, slow] = both(&Dwt2Config::new("haar", levels));
        for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 2, 28, 28], [2, 1, 33, 17], [1, 3, 16, 64], [1, 1, 3, 130]] {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let x = map(shape, dtype);
                let y = tensor(wave(shape, 1.3, 0.41), shape, dtype, &Device::flex());
                let means = |d: &Dwt2| values(d.band_l1(x.clone(), y.clone()).unwrap().values);
                assert!(difference(&means(&fast), &means(&slow)) < tolerance, "{shape:?} {levels}");
                let bands = all_bands(&slow.forward(x.clone()).unwrap());
                let own = values(fast.band_means(x.clone()).unwrap().values);
                for (mean, band) in own.iter().zip(&bands) {
                    let expected = band.iter().map(|c| c.abs()).sum::<f64>() / band.len() as f64;
                    assert!((mean - expected).abs() < tolerance, "{shape:?} {levels}");
                }
            }
        }
    }
}

#[test]
fn fused_orientation_sums_agree_with_the_bands() {
    for levels in 1..5 {
        let [fast, slow] = both(&Dwt2Config::new("haar", levels));
        for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 2, 28, 28], [2, 1, 33, 17], [1, 3, 16, 64], [1, 1, 3, 130]] {
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let x = map(shape, dtype);
                let y = tensor(wave(shape, 1.3, 0.41), shape, dtype, &Device::flex());
                let means = |d: &Dwt2| values(d.orientation_sum_l1(x.clone(), y.clone()).unwrap().values);
                let (found, expected) = (means(&fast), means(&slow));
                assert_eq!(found.len(), 1 + levels);
                assert!(difference(&found, &expected) < tolerance, "{shape:?} {levels}: {found:?} {expected:?}");
                let bands = slow.forward(x.clone() - y.clone()).unwrap();
                let finest = values(bands.details[0].lh() + bands.details[0].hl() + bands.details[0].hh());
                let mean = finest.iter().map(|v| v.abs()).sum::<f64>() / finest.len() as f64;
                assert!((found[1] - mean).abs() < tolerance, "{shape:?} {levels}");
            }
        }
    }
}

#[test]
fn gradients_of_orientation_sums() {
    for shape in [[1, 1, 1, 1], [2, 2, 5, 7], [1, 1, 20, 35]] {
        for dwt in both(&Dwt2Config::new("haar", 3)).into_iter().chain(both(&Dwt2Config::new("db2", 2))) {
            let weighted = |x: Tensor<4>, y: Tensor<4>| dwt.orientation_sum_l1(x, y).unwrap().weighted(0.7, 0.3);
            let other = wave(shape, 1.3, 0.41);
            let like = |x: &Tensor<4>| tensor(other.clone(), shape, DType::F64, &x.device());
            check_gradient("x", shape, |x| weighted(x.clone(), like(&x)));
            check_gradient("y", shape, |x| weighted(like(&x), x));
        }
    }
}

#[test]
fn gradients_of_band_means() {
    for shape in [[1, 1, 1, 1], [2, 2, 5, 7], [1, 1, 20, 35]] {
        for dwt in both(&Dwt2Config::new("haar", 3)) {
            let y = tensor(wave(shape, 1.3, 0.41), shape, DType::F64, &Device::flex());
            let weighted = |x: Tensor<4>, y: Tensor<4>| {
                let m = dwt.band_l1(x, y).unwrap();
                m.weighted(0.7, 0.3) + (m.detail(1) * m.ll()).sum() + m.orientations(0).powi_scalar(2).sum()
            };
            let like = |x: &Tensor<4>| Tensor::from_data(y.to_data(), (&x.device(), DType::F64));
            check_gradient("x", shape, |x| weighted(x.clone(), like(&x)));
            check_gradient("y", shape, |x| weighted(like(&x), x));
            check_gradient("both", shape, |x| weighted(x.clone(), x.powi_scalar(2)));
            check_gradient("alone", shape, |x| dwt.band_means(x).unwrap().weighted(1.0, 2.0));
            check_gradient("plain y", shape, |x| weighted(x, y.clone()));
        }
    }
}

#[test]
fn views_are_read_in_place() {
    let dwt = Dwt2Config::new("haar", 2).init().unwrap();
    let x = map([4, 3, 10, 12], DType::F32);
    let view = x.clone().narrow(0, 1, 2).swap_dims(2, 3);
    let copy = tensor(values(view.clone()), view.dims(), DType::F32, &Device::flex());
    let means = |x: Tensor<4>| values(dwt.band_means(x).unwrap().values);
    assert_eq!(means(view.clone()), means(copy.clone()));
    assert_eq!(all_bands(&dwt.forward(view).unwrap()), all_bands(&dwt.forward(copy).unwrap()));
}

#[test]
fn errors_name_the_remedy() {
    for levels in [0, 17, usize::MAX] {
        let error = Dwt2Config::new("haar", levels).init().unwrap_err();
        assert!(error.to_string().contains(&format!("`levels` is {levels}")), "{error}");
    }
    assert!(matches!(Dwt2Config::new("db21", 1).init().unwrap_err(), SpectralError::UnknownWavelet { .. }));
    let dwt = Dwt2Config::new("haar", 1).init().unwrap();
    let empty = Tensor::<4>::zeros([1, 0, 4, 4], &Device::flex());
    assert!(matches!(dwt.forward(empty).unwrap_err(), SpectralError::EmptyMap { .. }));
    let error = dwt.band_l1(map([1, 1, 4, 4], DType::F32), map([1, 1, 4, 5], DType::F32)).unwrap_err();
    assert!(error.to_string().contains("[1, 1, 4, 5]"), "{error}");
    let mut d = dwt.forward(map([1, 1, 4, 4], DType::F32)).unwrap();
    d.details[0].size = [9, 9];
    assert!(matches!(dwt.inverse(d).unwrap_err(), SpectralError::ShapeMismatch { .. }));
}

/// Weights of the coefficients of maps `[n, _, h, w]`; with `shared` one for the three orientations.
fn weights(dwt: &Dwt2, like: &Tensor<4>, shared: bool) -> BandWeights {
    let [n, _, h, w] = like.dims();
    let sizes = dwt.band_sizes([h, w]);
    let (count, device) = (if shared { 1 } else { 3 }, like.device());
    let positive = |shape: [usize; 4], s: f64| tensor(wave(shape, s, 0.37), shape, like.dtype(), &device).abs();
    let [h, w] = sizes[sizes.len() - 1];
    let level = |(k, [h, w]): (usize, &[usize; 2])| positive([n, count, *h, *w], k as f64).unsqueeze_dim(1);
    BandWeights { ll: positive([n, 1, h, w], 0.6), details: sizes.iter().enumerate().map(level).collect() }
}

#[test]
fn weighted_distances_agree_with_the_bands() {
    for (wavelet, levels) in [("haar", 1), ("haar", 3), ("db2", 2), ("bior2.2", 1)] {
        for shape in [[2, 3, 9, 12], [1, 2, 1, 1], [1, 1, 7, 8]] {
            for dwt in both(&Dwt2Config::new(wavelet, levels)) {
                for shared in [true, false] {
                    let (x, y) = (map(shape, DType::F64), map(shape, DType::F64) * 0.3 + 0.1);
                    let weights = weights(&dwt, &x, shared);
                    let found = dwt.weighted_l1(x.clone(), y.clone(), &weights).unwrap();
                    assert_eq!(found.dims(), [shape[0], shape[1], 1 + 3 * levels]);
                    let expected = dwt.clone().portable().forward(x - y).unwrap().weighted_l1(&weights);
                    assert!(difference(&values(found), &values(expected)) < 1e-12, "{wavelet} {shape:?} {shared}");
                    let distance = |x: Tensor<4>| {
                        let y = x.zeros_like() + 0.1;
                        let weights = weights_on(&weights, &x.device());
                        dwt.weighted_l1(x, y, &weights).unwrap().square().sum()
                    };
                    check_gradient(wavelet, shape, distance);
                }
            }
        }
    }
    let dwt = Dwt2Config::new("haar", 2).init().unwrap();
    let x = map([2, 1, 8, 8], DType::F64);
    let wrong = weights(&dwt, &map([2, 1, 8, 12], DType::F64), true);
    assert!(matches!(dwt.weighted_l1(x.clone(), x, &wrong), Err(SpectralError::ShapeMismatch { .. })));
}

/// The weights on the device of a map.
fn weights_on(weights: &BandWeights, device: &Device) -> BandWeights {
    let details = weights.details.iter().map(|d| d.clone().to_device(device)).collect();
    BandWeights { ll: weights.ll.clone().to_device(device), details }
}

#[test]
fn band_means_of_millions_do_not_depend_on_the_threads() {
    // LL alone has 4.5 million coefficients, which Burn sums in parallel when asked for one sum.
    let x = map([64, 64, 64, 64], DType::F32);
    let dwt = Dwt2Config::new("db2", 1).init().unwrap();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| values(dwt.band_means(x.clone()).unwrap().values))
    };
    let one = with(1);
    assert!(one == with(2) && one == with(3));
}
