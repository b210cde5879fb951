use super::*;
use crate::simd::testing::{at_each_level, in_pool};
use burn::tensor::TensorData;
use subband_seed::Stream;

const WINDOWS: [[usize; 3]; 6] = [[3, 2, 1], [2, 2, 0], [3, 1, 1], [1, 1, 0], [2, 3, 0], [5, 2, 2]];

type Pool<'a> = &'a dyn Fn(Tensor<4>) -> Tensor<4>;

fn normal(shape: [usize; 4], seed: u64) -> TensorData {
    let mut stream = Stream::new(2).with("pool").at(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    TensorData::new(values, shape)
}

/// y and dx for a weighted sum of y.
fn results(shape: [usize; 4], f: Pool) -> [Vec<f32>; 2] {
    let device = Device::flex().autodiff();
    let x = Tensor::<4>::from_data(normal(shape, 1), &device).require_grad();
    let y = f(x.clone());
    let grads = (y.clone() * Tensor::from_data(normal(y.dims(), 2), &device)).sum().backward();
    [y.inner(), x.grad(&grads).unwrap()].map(|t| t.into_data().try_to_vec::<f32>().unwrap())
}

fn assert_equal(case: &str, shape: [usize; 4], fast: Pool, slow: Pool) {
    for (a, b) in results(shape, fast).iter().zip(&results(shape, slow)) {
        assert_eq!(a.len(), b.len(), "{case} {shape:?}");
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-5, "{case} {shape:?}: {a} for {b}");
        }
    }
}

#[test]
fn pooling_equals_burns_operations() {
    for [kernel, stride, padding] in WINDOWS {
        let w = Window { kernel, stride, padding };
        for shape in [[1, 5, 5, 1], [2, 7, 8, 3], [1, 1, 9, 17], [2, 6, 1, 16], [1, 9, 10, 40], [3, 12, 11, 5]] {
            if shape[1] + 2 * padding < kernel || shape[2] + 2 * padding < kernel {
                continue;
            }
            assert!(Sizes::new(shape, w).is_some(), "the kernels take {w:?}");
            assert_equal(&format!("max {w:?}"), shape, &|x| max_pool(x, w), &|x| max_pool_portable(x, w));
            assert_equal(&format!("mean {w:?}"), shape, &|x| avg_pool(x, w), &|x| avg_pool_portable(x, w));
        }
    }
}

#[test]
fn the_mean_over_the_map_equals_the_composition() {
    for shape in [[1, 1, 1, 1], [2, 8, 8, 64], [3, 7, 5, 3], [1, 40, 41, 2]] {
        let widen = |t: Tensor<2>| t.reshape([shape[0] as i32, 1, 1, -1]);
        let fast = |x: Tensor<4>| widen(global_avg_pool(x));
        assert_equal("global", shape, &fast, &|x| widen(global_avg_pool_portable(x)));
    }
}

#[test]
fn ties_go_to_the_first_and_a_nan_stays() {
    let device = Device::flex().autodiff();
    let w = Window { kernel: 2, stride: 2, padding: 0 };
    let x = Tensor::<4>::ones([1, 2, 4, 1], &device).require_grad();
    let grads = max_pool(x.clone(), w).sum().backward();
    let dx = x.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(dx, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let low = Tensor::<4>::full([1, 2, 2, 1], f32::NEG_INFINITY, &device).require_grad();
    let y = max_pool(low.clone(), w);
    let grads = y.clone().sum().backward();
    assert_eq!(y.into_scalar::<f32>(), f32::NEG_INFINITY);
    assert_eq!(low.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    for place in 0..4 {
        let mut values = [1.0f32, 2.0, 3.0, 4.0];
        values[place] = f32::NAN;
        let x = Tensor::<1>::from_floats(values, &device).reshape([1, 2, 2, 1]);
        for y in [max_pool(x.clone(), w), avg_pool(x.clone(), w), global_avg_pool(x).reshape([1, 1, 1, 1])] {
            assert!(y.into_scalar::<f32>().is_nan(), "place {place}");
        }
    }
}

#[test]
fn threads_and_levels_do_not_matter() {
    let w = Window { kernel: 3, stride: 2, padding: 1 };
    let f = || {
        let shape = [2, 21, 23, 19];
        [results(shape, &|x| max_pool(x, w)), results(shape, &|x| avg_pool(x, w))]
    };
    let one = in_pool(1, f);
    assert_eq!(one, in_pool(2, f));
    for (level, result) in at_each_level(f) {
        assert_eq!(result, one, "{level:?}");
    }
}
