//! Interpolation and adaptive means against PyTorch's, their adjoints, and themselves.
use super::*;
use crate::pool::adaptive_avg_pool;
use crate::resize::{resize, resize_transposed};
use crate::simd::testing::{at_each_level, in_pool};
use subband_seed::Stream;

/// PyTorch's values; `fixtures/segmentation.py` says what a line holds.
pub(crate) const TORCH: &str = include_str!("../../fixtures/segmentation.tsv");

/// The lines of one name: the sizes and the numbers behind them.
pub(crate) fn torch(name: &str) -> Vec<(Vec<usize>, Vec<f64>)> {
    let lines = TORCH.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|line| line[0] == name);
    let read = |line: Vec<&str>| {
        let sizes = line[1..6].iter().map(|v| v.parse().unwrap()).collect();
        (sizes, line[6..].iter().map(|v| v.parse().unwrap()).collect())
    };
    let all: Vec<_> = lines.map(read).collect();
    assert_eq!(all.len(), 33, "{name}");
    all
}

/// sin(frequency k + start) at flat index k, times `scale`.
pub(crate) fn wave(shape: [usize; 4], [scale, frequency, start]: [f64; 3], dtype: DType, device: &Device) -> Tensor<4> {
    let values: Vec<f64> = (0..shape.iter().product()).map(|k| scale * (frequency * k as f64 + start).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

pub(crate) fn flat(x: Tensor<4>) -> Vec<f64> {
    x.cast(DType::F64).into_data().try_to_vec().unwrap()
}

/// Sum of v(k) sin(0.7 k + 0.2) and sum of squares.
pub(crate) fn sums(x: Tensor<4>) -> [f64; 2] {
    let v = flat(x);
    let weighted = v.iter().enumerate().map(|(k, v)| v * (0.7 * k as f64 + 0.2).sin()).sum();
    [weighted, v.iter().map(|v| v * v).sum()]
}

type Map<'a> = &'a dyn Fn(Tensor<4>) -> Tensor<4>;

/// y, and dx for dy(k) = sin(0.53 k + 0.4).
fn results(shape: [usize; 4], dtype: DType, f: Map) -> [Tensor<4>; 2] {
    let device = Device::flex().autodiff();
    let x = wave(shape, [1.0, 0.37, 0.1], dtype, &device).require_grad();
    let y = f(x.clone());
    let dy = wave(y.dims(), [1.0, 0.53, 0.4], dtype, &device);
    let grads = (y.clone() * dy).sum().backward();
    [y.inner(), x.grad(&grads).unwrap()]
}

fn against_torch(name: &str, fast: impl Fn(Tensor<4>, [usize; 2]) -> Tensor<4>) {
    for (sizes, want) in torch(name) {
        let [c, h, w, p, q] = sizes[..] else { panic!("five sizes") };
        for (dtype, near) in [(DType::F64, 1e-11), (DType::F32, 3e-5)] {
            let [y, dx] = results([2, h, w, c], dtype, &|x| fast(x, [p, q]));
            assert_eq!((y.dims(), dx.dims()), ([2, p, q, c], [2, h, w, c]));
            let scale = want[1].max(want[3]).max(1.0);
            for (a, b) in sums(y).into_iter().chain(sums(dx)).zip(&want) {
                assert!((a - b).abs() < near * scale, "{name} {sizes:?} {dtype:?}: {a} for {b}");
            }
        }
    }
}

#[test]
fn interpolation_is_pytorchs() {
    against_torch("resize", resize);
}

#[test]
fn adaptive_means_are_pytorchs() {
    against_torch("pool", adaptive_avg_pool);
}

/// Sizes of map and result from 1 to 33, with channels of all kinds.
fn cases() -> impl Iterator<Item = ([usize; 4], [usize; 2])> {
    const CHANNELS: [usize; 12] = [1, 2, 3, 5, 8, 11, 12, 15, 16, 17, 19, 40];
    let mut stream = Stream::new(3).with("resample");
    let fixed = [([1, 1, 1, 1], [1, 1]), ([2, 1, 1, 12], [33, 29]), ([1, 33, 31, 19], [1, 1]), ([1, 1, 8, 3], [5, 1])];
    let mut size = move || 1 + stream.below(33);
    let drawn = (0..120).map(move |i| ([1 + i % 3, size(), size(), CHANNELS[i % 12]], [size(), size()]));
    fixed.into_iter().chain(drawn)
}

fn both(shape: [usize; 4], size: [usize; 2]) -> [(Axis, Axis); 2] {
    let [_, h, w, _] = shape;
    [(Axis::linear(h, size[0]), Axis::linear(w, size[1])), (Axis::means(h, size[0]), Axis::means(w, size[1]))]
}

#[test]
fn the_kernels_equal_matrix_products() {
    for (shape, size) in cases() {
        for (rows, columns) in both(shape, size) {
            let (fast, slow) = (|x| resample(x, rows.clone(), columns.clone()), |x| portable(x, &rows, &columns));
            for (a, b) in results(shape, DType::F64, &fast).into_iter().zip(results(shape, DType::F64, &slow)) {
                for (a, b) in flat(a).iter().zip(flat(b)) {
                    assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{shape:?} to {size:?}: {a} for {b}");
                }
            }
        }
    }
}

/// `<A x, y> = <x, A' y>`, in both number types.
#[test]
fn the_gradient_is_the_adjoint() {
    for (shape, size) in cases() {
        for (rows, columns) in both(shape, size) {
            for (dtype, near) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let [y, dx] = results(shape, dtype, &|x| resample(x, rows.clone(), columns.clone()));
                let device = y.device();
                let dy = flat(wave(y.dims(), [1.0, 0.53, 0.4], dtype, &device));
                let x = flat(wave(shape, [1.0, 0.37, 0.1], dtype, &device));
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let (one, other) = (dot(&flat(y), &dy), dot(&x, &flat(dx)));
                let scale = 1.0 + dot(&dy, &dy);
                assert!((one - other).abs() < near * scale, "{shape:?} to {size:?} {dtype:?}: {one} and {other}");
            }
        }
    }
}

#[test]
fn the_transposed_resize_is_the_gradient() {
    for (shape, size) in [([2, 3, 4, 5], [7, 9]), ([1, 33, 1, 3], [5, 4]), ([1, 6, 7, 1], [6, 7])] {
        let [y, dx] = results(shape, DType::F64, &|x| resize(x, size));
        let dy = wave(y.dims(), [1.0, 0.53, 0.4], DType::F64, &y.device());
        assert_eq!(resize_transposed(dy, [shape[1], shape[2]]).into_data(), dx.into_data(), "{shape:?} {size:?}");
    }
}

/// f32 results keep to the f64 ones, element by element.
#[test]
fn single_precision_is_near_double() {
    for (shape, size) in cases() {
        for (rows, columns) in both(shape, size) {
            let f = |x| resample(x, rows.clone(), columns.clone());
            for (a, b) in results(shape, DType::F32, &f).into_iter().zip(results(shape, DType::F64, &f)) {
                for (a, b) in flat(a).iter().zip(flat(b)) {
                    // dx sums up to 33 x 33 terms of size 1.
                    assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{shape:?} to {size:?}: {a} for {b}");
                }
            }
        }
    }
}

#[test]
fn views_are_read_in_their_order_and_the_own_size_is_the_map() {
    let device = Device::flex();
    let x = wave([2, 6, 5, 3], [1.0, 0.37, 0.1], DType::F32, &device);
    let view = x.clone().permute([0, 2, 3, 1]).narrow(1, 1, 3);
    let copy = Tensor::<4>::from_data(view.clone().into_data(), &device);
    assert_eq!(resize(view.clone(), [7, 2]).into_data(), resize(copy.clone(), [7, 2]).into_data());
    assert_eq!(adaptive_avg_pool(view, [2, 2]).into_data(), adaptive_avg_pool(copy, [2, 2]).into_data());
    assert_eq!(resize(x.clone(), [6, 5]).into_data(), x.clone().into_data());
    assert_eq!(adaptive_avg_pool(x.clone(), [6, 5]).into_data(), x.into_data());
}

#[test]
fn a_nan_reaches_its_neighbours_only() {
    let device = Device::flex();
    let mut values = vec![1.0f32; 25 * 3];
    values[12 * 3 + 1] = f32::NAN;
    let x = Tensor::<4>::from_data(TensorData::new(values, [1, 5, 5, 3]), &device);
    for (k, v) in flat(resize(x, [10, 10])).into_iter().enumerate() {
        let (y, x, c) = (k / 30, k / 3 % 10, k % 3);
        let inside = (3..7).contains(&y) && (3..7).contains(&x) && c == 1;
        assert_eq!(v.is_nan(), inside, "{y} {x} {c}");
        assert!(inside || (v - 1.0).abs() < 1e-6);
    }
}

#[test]
fn threads_and_levels_do_not_matter() {
    for (shape, size) in [([2, 9, 11, 12], [40, 33]), ([3, 33, 40, 19], [7, 9]), ([1, 1, 1, 100], [20, 20])] {
        for dtype in [DType::F32, DType::F64] {
            let f = || {
                let two = |f: Map| results(shape, dtype, f).map(|t| t.into_data());
                [two(&|x| resize(x, size)), two(&|x| adaptive_avg_pool(x, size))]
            };
            let one = in_pool(1, f);
            assert!(one == in_pool(2, f) && one == in_pool(3, f), "{shape:?} {dtype:?}");
            for (level, result) in at_each_level(f) {
                assert!(result == one, "{shape:?} {dtype:?} {level:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "cannot be resized to [0, 4]")]
fn a_size_of_nothing_is_refused() {
    resize(Tensor::zeros([1, 2, 2, 1], &Device::flex()), [0, 4]);
}
