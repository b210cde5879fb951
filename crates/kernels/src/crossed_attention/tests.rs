//! The kernel against the composition, and its independence of the number of threads.
use burn::tensor::TensorData;
use subband_seed::Stream;

use super::*;
use crate::simd::testing::{at_each_level, in_pool};

/// Difference, distance and both gradients, one after the other.
fn run(shape: [usize; 3], heads: usize, spread: f64, dtype: DType, fused: bool) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let mut stream = Stream::new(4).with("crossed").at(shape.iter().product::<usize>() as u64);
    let mut draw = |shape: [usize; 3]| {
        let data: Vec<f64> = (0..shape.iter().product()).map(|_| spread * stream.normal()).collect();
        Tensor::<3>::from_data(TensorData::new(data, shape), (&device, dtype))
    };
    let [l, g, width] = shape;
    let (student, teacher) = (draw(shape).require_grad(), draw(shape).require_grad());
    let weights = draw([l, g, width / 3]);
    let (difference, distance) = if fused {
        crossed_attention(student.clone(), teacher.clone(), heads)
    } else {
        composed(student.clone(), teacher.clone(), heads)
    };
    let loss = (difference.clone() * weights).sum() + distance.clone() * 300.0;
    let gradients = loss.backward();
    let parts = [difference.into_data(), distance.into_data()];
    let slopes = [&student, &teacher].map(|x| x.grad(&gradients).unwrap().into_data());
    parts.into_iter().chain(slopes).flat_map(|data| data.iter::<f64>().collect::<Vec<_>>()).collect()
}

#[test]
fn equals_the_composition_on_every_instruction_set() {
    let cases = [
        ([1, 32, 3], 1),
        ([3, 40, 12], 2),
        ([4, 70, 24], 4),
        ([5, 33, 15], 1),
        ([64, 64, 48], 4),
        ([9, 129, 54], 2),
        ([2, 100, 39], 13),
    ];
    for (shape, heads) in cases {
        for spread in [0.7, 3.0] {
            let expected = run(shape, heads, spread, DType::F64, false);
            let most = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (level, found) in at_each_level(|| run(shape, heads, spread, DType::F32, true)) {
                assert_eq!(found.len(), expected.len());
                for (k, (a, b)) in found.iter().zip(&expected).enumerate() {
                    assert!((a - b).abs() <= 2e-5 * most, "{level:?} {shape:?} {spread} at {k}: {a} for {b}");
                }
            }
        }
    }
}

#[test]
fn large_and_narrow_inputs_are_composed() {
    assert!(is_fused(128, 32) && !is_fused(129, 32) && !is_fused(4, 31) && !is_fused(0, 90));
    let expected = run([3, 2, 12], 2, 1.0, DType::F64, false);
    for (a, b) in run([3, 2, 12], 2, 1.0, DType::F32, true).iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} for {b}");
    }
}

#[test]
fn one_token_attends_to_itself() {
    // A weight of 1 on both sides: no distance, and the difference is that of the values.
    let found = run([1, 40, 6], 1, 1.0, DType::F32, true);
    assert_eq!(found[80], 0.0);
    assert_eq!(found[..80], run([1, 40, 6], 1, 1.0, DType::F32, false)[..80]);
}

#[test]
fn a_nan_reaches_its_group_only_and_threads_do_not_change_a_bit() {
    let bits = |threads| {
        in_pool(threads, || {
            run([6, 70, 24], 2, 1.0, DType::F32, true).into_iter().map(f64::to_bits).collect::<Vec<_>>()
        })
    };
    assert_eq!(bits(1), bits(2));
    assert_eq!(bits(1), bits(3));
    let mut data = vec![0.5f32; 2 * 40 * 6];
    data[40 * 6 + 2 * 6 + 3] = f32::NAN;
    let x = Tensor::<3>::from_data(TensorData::new(data, [2, 40, 6]), &Device::flex());
    let (difference, distance) = crossed_attention(x.clone(), x, 1);
    let difference = difference.into_data().try_to_vec::<f32>().unwrap();
    for (row, values) in difference.chunks(2).enumerate() {
        assert_eq!(values.iter().any(|v| v.is_nan()), row % 40 == 2, "{row}");
    }
    assert!(distance.into_scalar::<f32>().is_nan());
}
