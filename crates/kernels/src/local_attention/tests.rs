//! The oracles are the golden values of FAM-KD's own module and the definition in plain loops.
use super::*;
use burn::tensor::TensorData;

/// sin(w k + s) at flat index k.
fn wave(len: usize, s: f64, w: f64) -> Vec<f64> {
    (0..len).map(|k| (w * k as f64 + s).sin()).collect()
}

fn tensor<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

fn flat<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.cast(DType::F64).into_data().try_to_vec().unwrap()
}

/// The definition: inputs q, k, v, rel_h, rel_w of a map [N, C, H, W].
fn definition([q, k, v, rel_h, rel_w]: &[Vec<f64>; 5], [n, c, h, w]: [usize; 4]) -> Vec<f64> {
    let half = c / 2;
    let outside = |x: &[f64], plane: usize, y: isize, x_: isize| {
        let inside = y >= 0 && x_ >= 0 && (y as usize) < h && (x_ as usize) < w;
        if inside { x[(plane * h + y as usize) * w + x_ as usize] } else { 0.0 }
    };
    let mut out = Vec::new();
    for plane in 0..n * c {
        let channel = plane % c;
        for p in 0..h * w {
            let (mut total, mut sum) = (0.0, 0.0);
            for dy in 0..3 {
                for dx in 0..3 {
                    let (y, x) = ((p / w + dy) as isize - 1, (p % w + dx) as isize - 1);
                    let rel = if channel < half { rel_h[3 * channel + dy] } else { rel_w[3 * (channel - half) + dx] };
                    let weight = (q[plane * h * w + p] * (outside(k, plane, y, x) + rel)).exp();
                    total += weight;
                    sum += weight * outside(v, plane, y, x);
                }
            }
            out.push(sum / total);
        }
    }
    out
}

fn inputs([n, c, h, w]: [usize; 4], scale: f64) -> [Vec<f64>; 5] {
    let map = |s, f| wave(n * c * h * w, s, f).iter().map(|x| x * scale).collect();
    [map(0.3, 1.7), map(1.1, 0.9), map(2.0, 2.3), wave(3 * c / 2, 0.4, 0.8), wave(3 * c / 2, 0.6, 1.9)]
}

fn tensors(
    inputs: &[Vec<f64>; 5],
    shape: [usize; 4],
    dtype: DType,
    device: &Device,
) -> (Vec<Tensor<4>>, Vec<Tensor<2>>) {
    let maps = inputs[..3].iter().map(|x| tensor(x, shape, dtype, device).require_grad()).collect();
    let offsets = inputs[3..].iter().map(|x| tensor(x, [shape[1] / 2, 3], dtype, device).require_grad()).collect();
    (maps, offsets)
}

type Attention = fn(Tensor<4>, Tensor<4>, Tensor<4>, Tensor<2>, Tensor<2>) -> Tensor<4>;

fn run(attention: Attention, (m, r): &(Vec<Tensor<4>>, Vec<Tensor<2>>)) -> Tensor<4> {
    attention(m[0].clone(), m[1].clone(), m[2].clone(), r[0].clone(), r[1].clone())
}

const SHAPES: [[usize; 4]; 6] = [[1, 2, 1, 1], [2, 4, 1, 7], [1, 2, 6, 1], [3, 6, 5, 4], [2, 2, 16, 16], [1, 4, 3, 33]];

#[test]
fn golden_values() {
    // 1 x 1 convolutions: weight [4, 4] times channels.
    let device = Device::flex();
    let project = |map: f64, weight: f64| {
        let x = tensor(&wave(36, map, 0.37), [1, 4, 9], DType::F64, &device);
        tensor(&wave(16, weight, 0.37), [1, 4, 4], DType::F64, &device).matmul(x).reshape([1, 4, 3, 3])
    };
    let offsets = |s| tensor(&wave(6, s, 0.37), [2, 3], DType::F64, &device);
    for attention in [local_attention as Attention, local_attention_portable] {
        let (x, y) = (0.15, 0.95);
        let out = attention(project(y, 0.1), project(x, 0.2), project(x, 0.3), offsets(0.4), offsets(0.6));
        let out = flat(out);
        assert!((out.iter().sum::<f64>() - 0.685813876).abs() < 1e-9);
        assert!((out.iter().map(|x| x * x).sum::<f64>() - 1.226805506).abs() < 1e-9);
        let first = [
            -0.186612919,
            -0.254413901,
            -0.169373092,
            -0.177634372,
            -0.202779727,
            -0.090072585,
            -0.048928349,
            -0.016302359,
            0.021458374,
        ];
        for (a, b) in out.iter().zip(first) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }
}

#[test]
fn both_paths_follow_the_definition() {
    let device = Device::flex().autodiff();
    for shape in SHAPES {
        for scale in [1.0, 8.0] {
            let inputs = inputs(shape, scale);
            let expected = definition(&inputs, shape);
            for (attention, dtype, tolerance) in [
                (local_attention as Attention, DType::F64, 1e-13),
                (local_attention_portable, DType::F64, 1e-13),
                (local_attention, DType::F32, 2e-5),
            ] {
                let found = flat(run(attention, &tensors(&inputs, shape, dtype, &device)));
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() < tolerance * scale, "{shape:?}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn large_logits_stay_finite() {
    let device = Device::flex().autodiff();
    let inputs = inputs([1, 2, 4, 4], 300.0);
    for dtype in [DType::F32, DType::F64] {
        let found = flat(run(local_attention, &tensors(&inputs, [1, 2, 4, 4], dtype, &device)));
        let expected = flat(run(local_attention_portable, &tensors(&inputs, [1, 2, 4, 4], DType::F64, &device)));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 300.0 * 2e-3, "{a} {b}");
        }
    }
}

#[test]
fn gradients_follow_differences() {
    let device = Device::flex().autodiff();
    for shape in SHAPES {
        let inputs = inputs(shape, 1.0);
        let loss = |y: &[f64]| y.iter().enumerate().map(|(i, y)| y * y + y * (i as f64).cos()).sum::<f64>();
        let given = tensors(&inputs, shape, DType::F64, &device);
        for attention in [local_attention as Attention, local_attention_portable] {
            let y = run(attention, &given);
            let len = shape.iter().product();
            let weights: Vec<f64> = (0..len).map(|i| (i as f64).cos()).collect();
            let grads = (y.clone() * y.clone() + y * tensor(&weights, shape, DType::F64, &device)).sum().backward();
            let found: Vec<Vec<f64>> = given
                .0
                .iter()
                .map(|x| flat(x.grad(&grads).unwrap()))
                .chain(given.1.iter().map(|x| flat(x.grad(&grads).unwrap())))
                .collect();
            for (i, found) in found.iter().enumerate() {
                for k in (0..found.len()).step_by(1 + found.len() / 40) {
                    let at = |step: f64| {
                        let mut moved = inputs.clone();
                        moved[i][k] += step;
                        loss(&definition(&moved, shape))
                    };
                    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!(
                        (slope - found[k]).abs() < 1e-7 * slope.abs().max(1.0),
                        "{shape:?} {i} {k}: {slope} {}",
                        found[k]
                    );
                }
            }
        }
    }
}

#[test]
fn single_precision_gradients_follow_double() {
    let device = Device::flex().autodiff();
    let shape = [2, 4, 9, 11];
    let inputs = inputs(shape, 2.0);
    let gradients = |dtype| {
        let given = tensors(&inputs, shape, dtype, &device);
        let grads = run(local_attention, &given).powi_scalar(2).sum().backward();
        let maps = given.0.iter().flat_map(|x| flat(x.grad(&grads).unwrap())).collect::<Vec<_>>();
        maps.into_iter().chain(given.1.iter().flat_map(|x| flat(x.grad(&grads).unwrap()))).collect::<Vec<_>>()
    };
    for (a, b) in gradients(DType::F32).iter().zip(gradients(DType::F64)) {
        assert!((a - b).abs() < 5e-5 * b.abs().max(1.0), "{a} {b}");
    }
}
