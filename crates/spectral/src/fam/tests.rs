//! The frequency attention module: golden values of the original code, both paths, gradients.
use burn::tensor::DType;

use super::*;
use crate::testing::{check_gradient, difference, map, tensor, values, wave};

/// gamma (filter + conv1x1) with the fills of the published golden values.
fn module(n: usize, dtype: DType, portable: bool) -> Vec<f64> {
    let device = Device::flex();
    let x = map([1, 2, n, n], 0.25, dtype);
    let re = tensor(&wave(6 * n * n, 0.3, 0.11), [2, 3, n, n], dtype, &device);
    let im = tensor(&wave(6 * n * n, 0.9, 0.13), [2, 3, n, n], dtype, &device);
    let mask = Mask::fam_reference([n, n]);
    let global =
        if portable { filter_portable(x.clone(), re, im, &mask) } else { filter(x.clone(), re, im, &mask).unwrap() };
    let weight = map([3, 2, 1, 1], 0.5, dtype).reshape([1, 3, 2]);
    let bias = map([3], 0.8, dtype).reshape([1, 3, 1]);
    let local = weight.matmul(x.reshape([1, 2, n * n])) + bias;
    values(global * 0.5 + local.reshape([1, 3, n, n]) * 0.5)
}

#[test]
fn golden_values_of_the_original_module() {
    // Size, sum, sum of squares, first three.
    let golden = [
        (4, 21.950187139, 41.310403373, [0.553160262, 1.020028416, 1.340082668]),
        (20, 528.089561259, 300.933661922, [0.161838418, 0.090838188, 0.047287012]),
        (21, 581.761214431, 630.168523219, [0.137722023, 0.667443046, 0.964125067]),
    ];
    for (n, sum, squares, first) in golden {
        for portable in [false, true] {
            for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 5e-5)] {
                let y = module(n, dtype, portable);
                let close = |a: f64, b: f64| (a - b).abs() < tolerance * (1.0 + b.abs());
                assert!(close(y.iter().sum(), sum), "sum, {n} {dtype:?} portable {portable}");
                assert!(close(y.iter().map(|v| v * v).sum(), squares), "squares, {n} {dtype:?} portable {portable}");
                for (a, b) in y.iter().zip(first) {
                    assert!(close(*a, b), "{a} for {b}, {n} {dtype:?} portable {portable}");
                }
            }
        }
    }
}

/// Argument shapes: batch, in, out, height, width.
const SHAPES: [[usize; 5]; 6] =
    [[1, 1, 1, 1, 1], [2, 1, 3, 1, 4], [1, 3, 2, 5, 1], [2, 3, 2, 4, 6], [1, 2, 2, 5, 7], [3, 17, 5, 22, 3]];

fn operands([b, cin, cout, h, w]: [usize; 5]) -> [Tensor<4>; 3] {
    let k = [cin, cout, h, w];
    [map([b, cin, h, w], 0.25, DType::F64), map(k, 0.3, DType::F64), map(k, 0.9, DType::F64)]
}

#[test]
fn fused_and_portable_paths_agree() {
    for shape in SHAPES {
        let [x, re, im] = operands(shape);
        for mask in [Mask::fam_reference([shape[3], shape[4]]), Mask::fam_paper([shape[3], shape[4]], 0.2)] {
            let fast = filter(x.clone(), re.clone(), im.clone(), &mask).unwrap();
            assert!(difference(fast, filter_portable(x.clone(), re.clone(), im.clone(), &mask)) < 1e-10, "{shape:?}");
            let one = |k: &Tensor<4>| k.clone().narrow(1, 0, 1).reshape([shape[1], shape[3], shape[4]]);
            let fast = filter_depthwise(x.clone(), one(&re), one(&im), &mask).unwrap();
            assert!(difference(fast, depthwise_portable(x.clone(), one(&re), one(&im), &mask)) < 1e-10, "{shape:?}");
        }
    }
}

#[test]
fn gradients_of_map_and_filter_by_finite_differences() {
    for shape @ [b, cin, cout, h, w] in &SHAPES[..5] {
        let (b, cin, cout, h, w) = (*b, *cin, *cout, *h, *w);
        let mask = Mask::fam_paper([h, w], 0.15);
        let [x, re, im] = operands(*shape);
        // A constant operand lives on the device of the one that moves.
        let on = |t: &Tensor<4>, like: &Tensor<4>| t.clone().to_device(&like.device());
        check_gradient([b, cin, h, w], |x| {
            let (re, im) = (on(&re, &x), on(&im, &x));
            filter(x, re, im, &mask).unwrap()
        });
        check_gradient([cin, cout, h, w], |re| {
            let (x, im) = (on(&x, &re), on(&im, &re));
            filter(x, re, im, &mask).unwrap()
        });
        check_gradient([cin, cout, h, w], |im| {
            let (x, re) = (on(&x, &im), on(&re, &im));
            filter(x, re, im, &mask).unwrap()
        });
        let one = |k: &Tensor<4>| k.clone().narrow(1, 0, 1).reshape([cin, h, w]);
        check_gradient([cin, h, w], |re| {
            let (x, im) = (on(&x, &re.clone().unsqueeze()), one(&im).to_device(&re.device()));
            filter_depthwise(x, re, im, &mask).unwrap()
        });
    }
}

#[test]
fn masked_frequencies_get_no_gradient() {
    let device = Device::flex().autodiff();
    let k = |s| tensor(&wave(2 * 24 * 24, s, 0.37), [1, 2, 24, 24], DType::F64, &device).require_grad();
    let (re, im) = (k(0.3), k(0.9));
    let x = tensor(&wave(24 * 24, 0.25, 0.37), [1, 1, 24, 24], DType::F64, &device);
    let mask = Mask::fam_reference([24, 24]);
    let grads = filter(x, re.clone(), im, &mask).unwrap().square().sum().backward();
    let gradient = values(re.grad(&grads).unwrap());
    for (i, m) in mask.values(Layout::Corner).iter().enumerate() {
        assert_eq!(gradient[i] == 0.0, *m == 0.0, "frequency {i}");
    }
}

#[test]
fn filters_of_another_shape_are_errors() {
    let [x, re, im] = operands([1, 2, 3, 4, 5]);
    let mask = Mask::fam_reference([4, 5]);
    let narrow = im.clone().narrow(0, 0, 1);
    assert!(matches!(filter(x.clone(), re.clone(), narrow, &mask), Err(SpectralError::ShapeMismatch { .. })));
    assert!(filter(x, re, im, &Mask::fam_reference([5, 5])).is_err());
}
