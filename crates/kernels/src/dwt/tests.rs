//! The kernels against dense matrix products written out here, and their independence of the number of threads.
use burn::tensor::TensorData;

use super::*;

fn wave(n: usize, s: f64) -> Vec<f64> {
    (0..n).map(|k| (0.37 * k as f64 + s).sin()).collect()
}

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape).convert_dtype(dtype), (&Device::flex(), dtype))
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// `rows x columns^T` for dense row-major matrices; `x` is `[rows.columns(), columns.columns()]`.
fn sandwich(rows: &AxisMatrix, x: &[f64], columns: &AxisMatrix) -> Vec<f64> {
    let (r, c) = (rows.dense(), columns.dense());
    let (height, width) = (rows.columns(), columns.columns());
    let entry = |i: usize, j: usize| -> f64 {
        let term = |p: usize, q: usize| r[i * height + p] * x[p * width + q] * c[j * width + q];
        (0..height).flat_map(|p| (0..width).map(move |q| (p, q))).map(|(p, q)| term(p, q)).sum()
    };
    (0..rows.rows()).flat_map(|i| (0..columns.rows()).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
}

/// A frame with taps at odd places: several per row, some repeated, some rows empty.
fn ragged(height: usize, width: usize) -> Frame {
    let matrix = |n: usize, rows: usize, s: f64| {
        let row = |i: usize| (0..i % 4).map(|k| ((i * 3 + k * k) % n, s + 0.1 * (i + k) as f64)).collect();
        AxisMatrix::new(n, (0..rows).map(row).collect())
    };
    let axis = |n: usize| AxisSplit { low: matrix(n, n / 2 + 2, 0.3), high: matrix(n, n / 2 + 2, -0.7) };
    Frame::from_split(axis(height), axis(width))
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
    assert!(worst <= tolerance, "{worst:e}");
}

#[test]
fn split_and_merge_are_the_products_they_stand_for() {
    for (height, width) in [(1, 1), (5, 8), (9, 3), (2, 17), (28, 28), (7, 14)] {
        for frame in [Frame::haar(height, width), ragged(height, width)].map(Arc::new) {
            let [h, w] = frame.band_size();
            let (x, band) = (wave(2 * 3 * height * width, 0.2), h * w);
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let (low, detail) = split(tensor(x.clone(), [2, 3, height, width], dtype), &frame);
                let (low, detail) = (values(low), values(detail));
                let [rows, columns] = frame.split_matrices();
                let pairs = [(&rows.high, &columns.low), (&rows.low, &columns.high), (&rows.high, &columns.high)];
                for (k, plane) in x.chunks(height * width).enumerate() {
                    assert_close(&low[k * band..][..band], &sandwich(&rows.low, plane, &columns.low), tolerance);
                    for (slot, (r, c)) in pairs.iter().enumerate() {
                        let found = &detail[(3 * k + slot) * band..][..band];
                        assert_close(found, &sandwich(r, plane, c), tolerance);
                    }
                }
                let bands = (wave(6 * band, 0.4), wave(18 * band, 0.9));
                let (l, d) =
                    (tensor(bands.0.clone(), [2, 3, h, w], dtype), tensor(bands.1.clone(), [2, 3, 3, h, w], dtype));
                let y = values(merge(l, d, &frame));
                let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let (there, back) = (inner(&low, &bands.0) + inner(&detail, &bands.1), inner(&x, &y));
                assert!((there - back).abs() < tolerance * x.len() as f64, "{height}x{width}: {there} {back}");
            }
        }
    }
}

/// Band means and their gradient for a fixed input.
fn means_and_gradient(shape: [usize; 4]) -> (Vec<f64>, Vec<f64>) {
    let n = shape.iter().product();
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::from_inner(tensor(wave(n, 0.1), shape, DType::F32)).to_device(&device).require_grad();
    let y = Tensor::from_inner(tensor(wave(n, 1.1), shape, DType::F32)).to_device(&device);
    let means = haar_l1(x.clone(), Some(y), 3);
    let gradients = means.clone().sum().backward();
    (values(means.inner()), values(x.grad(&gradients).unwrap()))
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for shape in [[4, 8, 28, 28], [3, 5, 33, 47], [2, 2, 64, 80]] {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| means_and_gradient(shape))
        };
        let one = with(1);
        assert!(one.1.iter().any(|g| *g != 0.0));
        assert!([2, 3, 8].into_iter().all(|threads| with(threads) == one), "{shape:?}");
    }
}

#[test]
#[should_panic(expected = "a tap lies outside")]
fn a_tap_outside_the_matrix_is_refused() {
    AxisMatrix::new(3, vec![vec![(3, 1.0)]]);
}

/// Weighted sums and the gradient of their waves-weighted total, for a fixed input of this type.
fn weighted_and_gradient(shape: [usize; 4], levels: usize, dtype: DType) -> (Vec<f64>, Vec<f64>) {
    let [n, c, h, w] = shape;
    let (count, pyramid) = (shape.iter().product(), Pyramid::new(c, [h, w], levels));
    let coefficients: usize = (0..pyramid.bands()).map(|b| pyramid.band_len(b)).sum();
    let device = Device::flex().autodiff();
    let tracked = |values, shape| Tensor::from_inner(tensor(values, shape, dtype)).to_device(&device);
    let (x, y) = (tracked(wave(count, 0.1), shape).require_grad(), tracked(wave(count, 1.1), shape));
    let weights = Tensor::from_inner(tensor(wave(n * coefficients, 0.7), [n, coefficients], dtype)).to_device(&device);
    let sums = haar_weighted_l1(x.clone(), y, weights, levels);
    let direction = Tensor::from_inner(tensor(wave(sums.dims().iter().product(), 0.4), sums.dims(), dtype));
    let gradients = (sums.clone() * direction.to_device(&device)).sum().backward();
    (values(sums.inner()), values(x.grad(&gradients).unwrap()))
}

/// The same from splits and merges of the bands.
fn weighted_by_bands(shape: [usize; 4], levels: usize) -> (Vec<f64>, Vec<f64>) {
    let [n, c, h, w] = shape;
    let (count, bands) = (shape.iter().product(), 1 + 3 * levels);
    let sizes: Vec<[usize; 2]> =
        std::iter::successors(Some([h, w]), |s| Some(s.map(|n| n.div_ceil(2)))).take(levels + 1).collect();
    let area = |l: usize| sizes[l][0] * sizes[l][1];
    let each = area(levels) + (1..=levels).map(|l| 3 * area(l)).sum::<usize>();
    let (weights, direction) = (wave(n * each, 0.7), wave(n * c * bands, 0.4));
    let d: Vec<f64> = wave(count, 0.1).iter().zip(wave(count, 1.1)).map(|(a, b)| a - b).collect();
    let mut low = tensor(d, shape, DType::F64);
    let mut sums = vec![0.0; n * c * bands];
    // Each band's weighted signs times its factor, and its weighted sums.
    let mut band = |values: &[f64], b: usize, first: usize, step: usize, slot: usize, area: usize| {
        let mut out = vec![0.0; n * c * area];
        for k in 0..n * c {
            for i in 0..area {
                let (v, w) = (values[(k * step + slot) * area + i], weights[k / c * each + first + i]);
                sums[k * bands + b] += w * v.abs();
                out[k * area + i] = direction[k * bands + b] * w * v.signum();
            }
        }
        out
    };
    let (mut signs, mut first) = (Vec::new(), area(levels));
    for l in 0..levels {
        let (next, detail) = split(low, &Arc::new(Frame::haar(sizes[l][0], sizes[l][1])));
        let (found, area) = (values(detail), area(l + 1));
        let slots: Vec<Vec<f64>> =
            (0..3).map(|slot| band(&found, 1 + 3 * l + slot, first + slot * area, 3, slot, area)).collect();
        let stacked = (0..n * c).flat_map(|k| slots.iter().flat_map(move |s| s[k * area..][..area].to_vec()));
        signs.push(tensor(stacked.collect(), [n, c, 3, sizes[l + 1][0], sizes[l + 1][1]], DType::F64));
        first += 3 * area;
        low = next;
    }
    let [h, w] = sizes[levels];
    let mut gradient = tensor(band(&values(low), 0, 0, 1, 0, area(levels)), [n, c, h, w], DType::F64);
    for l in (0..levels).rev() {
        let frame = Arc::new(Frame::haar(sizes[l][0], sizes[l][1]));
        gradient = merge(gradient, signs.pop().unwrap(), &frame);
    }
    (sums, values(gradient))
}

#[test]
fn weighted_sums_are_those_of_the_bands() {
    for (shape, levels) in [
        ([1, 1, 1, 1], 1),
        ([2, 3, 9, 12], 3),
        ([1, 2, 1, 7], 2),
        ([3, 8, 5, 6], 2),
        ([2, 5, 33, 47], 3),
        ([2, 12, 4, 6], 3),
    ] {
        let expected = weighted_by_bands(shape, levels);
        let found = weighted_and_gradient(shape, levels, DType::F64);
        assert_close(&found.0, &expected.0, 1e-11);
        assert_close(&found.1, &expected.1, 1e-12);
        let found = weighted_and_gradient(shape, levels, DType::F32);
        assert_close(&found.0, &expected.0, 1e-3);
    }
}

#[test]
fn weighted_sums_depend_on_neither_threads_nor_instructions() {
    use crate::simd::testing::{at_each_level, in_pool};
    for shape in [[4, 8, 28, 28], [3, 5, 33, 47], [2, 64, 4, 6]] {
        let run = || weighted_and_gradient(shape, 3, DType::F32);
        let one = in_pool(1, run);
        assert!(one.1.iter().any(|g| *g != 0.0));
        assert!([2, 3, 8].into_iter().all(|threads| in_pool(threads, run) == one), "{shape:?}");
        for (level, found) in at_each_level(run) {
            assert!(found == one, "{level:?} {shape:?}");
        }
    }
}
