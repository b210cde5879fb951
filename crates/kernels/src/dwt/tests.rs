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
