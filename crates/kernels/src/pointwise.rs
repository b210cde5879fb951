//! The 1x1 convolution of maps that lie channels first, without turning them.
//!
//! With the P places of a sample in a row, a sample is a matrix and the convolution a product:
//!
//! ```text
//! Y_n = W X_n + b 1^T        dX_n = W^T dY_n        dW = sum_n dY_n X_n^T        db = sum over n and places of dY
//! ```
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Backend, Dispatch, Flex, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use crate::flex::{contiguous, tensor, values};
use crate::layer::layer_ops;
use crate::product::{Destination, Epilogue, Matrix, Panels, Product, Weights, even, multiply_across, multiply_alone};

/// Groups of samples whose weight gradients are summed on their own; fixed, so that the order of the additions does not
/// depend on the threads.
const GROUPS: usize = 8;

layer_ops! {
    /// The convolution and its gradients as custom operations.
    PointwiseOps { subband_pointwise, subband_pointwise_dx, subband_pointwise_dw, subband_pointwise_db }
}

fn dims<const D: usize>(x: &FlexTensor) -> [usize; D] {
    x.layout().shape().dims()
}

/// `Y_n = A^T X_n` for every sample, with A `[K, M]` and samples of K rows and P columns.
fn each_sample(a: &[f32], [k, m]: [usize; 2], x: &[f32], places: usize) -> Vec<f32> {
    let product = Product::detect();
    let (samples, a) = (x.len() / (k * places), Matrix::dense(a, k, m));
    let all = |y: Destination| {
        let sample = |n: usize| {
            let x = Matrix::dense(&x[n * k * places..][..k * places], k, places);
            multiply_across(product, a, x, y.from(n * m * places), places);
        };
        (0..samples).into_par_iter().for_each(sample);
    };
    // SAFETY: the product of each sample writes all of its M rows.
    unsafe { Destination::filled(samples * m * places, all) }
}

impl PointwiseOps for Flex {
    fn subband_pointwise(x: FlexTensor, w: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let ([samples, inputs, places], [outputs, _]) = (dims(&x), dims(&w));
        let (x, w, bias) = (contiguous(x), contiguous(w), contiguous(bias));
        let w = values(&w);
        let turned: Vec<f32> = (0..inputs * outputs).map(|i| w[i % outputs * inputs + i / outputs]).collect();
        let mut y = each_sample(&turned, [inputs, outputs], values(&x), places);
        let bias = values(&bias);
        if bias.iter().any(|b| *b != 0.0) {
            let row = |(row, y): (usize, &mut [f32])| y.iter_mut().for_each(|y| *y += bias[row % outputs]);
            y.par_chunks_mut(places).enumerate().with_min_len(16).for_each(row);
        }
        tensor(y, vec![samples, outputs, places])
    }

    fn subband_pointwise_dx(dy: FlexTensor, w: FlexTensor) -> FlexTensor {
        let ([samples, outputs, places], [_, inputs]) = (dims(&dy), dims(&w));
        let (dy, w) = (contiguous(dy), contiguous(w));
        let dx = each_sample(values(&w), [outputs, inputs], values(&dy), places);
        tensor(dx, vec![samples, inputs, places])
    }

    fn subband_pointwise_dw(dy: FlexTensor, x: FlexTensor) -> FlexTensor {
        let ([samples, outputs, places], [_, inputs, _], product) = (dims(&dy), dims(&x), Product::detect());
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (dy, x) = (values(&dy), values(&x));
        let group = |(first, count): (usize, usize)| {
            let mut sum = vec![0.0; outputs * inputs];
            for n in first..first + count {
                let turned =
                    Weights::matrix(&x[n * inputs * places..][..inputs * places], (inputs, places), (places, 1));
                let columns = Panels::pack(product, turned);
                let dy = Matrix::dense(&dy[n * outputs * places..][..outputs * places], outputs, places);
                // SAFETY: the product writes every row.
                let part = unsafe {
                    let write = |to| multiply_alone(product, dy, &columns, Epilogue::default(), to, inputs);
                    Destination::filled(outputs * inputs, write)
                };
                sum.iter_mut().zip(&part).for_each(|(s, p)| *s += p);
            }
            sum
        };
        let groups: Vec<(usize, usize)> = even(samples, samples.div_ceil(GROUPS).max(1)).collect();
        let sums: Vec<Vec<f32>> = groups.into_par_iter().map(group).collect();
        let mut sums = sums.into_iter();
        let mut dw = sums.next().unwrap_or_else(|| vec![0.0; outputs * inputs]);
        sums.for_each(|sum| dw.iter_mut().zip(&sum).for_each(|(d, s)| *d += s));
        tensor(dw, vec![outputs, inputs])
    }

    fn subband_pointwise_db(dy: FlexTensor) -> FlexTensor {
        let [samples, outputs, places] = dims(&dy);
        let dy = contiguous(dy);
        let dy = values(&dy);
        let channel = |o: usize| {
            let rows = (0..samples).map(|n| &dy[(n * outputs + o) * places..][..places]);
            rows.map(|row| f64::from(row.iter().sum::<f32>())).sum::<f64>() as f32
        };
        tensor((0..outputs).into_par_iter().with_min_len(16).map(channel).collect(), vec![outputs])
    }
}

/// The 1x1 convolution; differentiable in all three, on every backend.
///
/// # Shapes
/// `x`: `[N, I, H, W]`, `w`: `[O, I]`, `bias`: `[O]`, result: `[N, O, H, W]`
///
/// # Panics
/// When the shapes do not fit together, as Burn's own convolution does.
pub fn pointwise(x: Tensor<4>, w: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let ([n, inputs, height, width], [outputs, _]) = (x.dims(), w.dims());
    let fits = inputs == w.dims()[1] && x.dims().iter().chain(&w.dims()).all(|&n| n > 0);
    let fast = crate::is_flex(&x) && x.dtype() == DType::F32 && w.dtype() == DType::F32;
    let alike = bias.as_ref().is_none_or(|b| b.dtype() == DType::F32 && b.dims() == [outputs]);
    let x = x.reshape([n, inputs, height * width]);
    let shape = [n, outputs, height, width];
    if !(fast && fits && alike) {
        let y = w.unsqueeze::<3>().matmul(x);
        return match bias {
            Some(bias) => y + bias.reshape([1, outputs, 1]),
            None => y,
        }
        .reshape(shape);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([outputs], (&x.device(), DType::F32)));
    let (x, w, bias) = (x.into_dispatch(), w.into_dispatch(), bias.into_dispatch());
    Tensor::<3>::from_dispatch(<Dispatch as PointwiseOps>::subband_pointwise(x, w, bias)).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::{at_each_level, in_pool};
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    /// y and the gradients of x, w and b, in f32 by the kernels or in f64 by the composition.
    fn run(shape: [usize; 4], outputs: usize, bias: bool, dtype: DType) -> Vec<f64> {
        let device = Device::flex().autodiff();
        let mut stream =
            Stream::new(9).with("pointwise").at(shape.iter().fold(outputs as u64, |h, d| h * 31 + *d as u64));
        let mut draw = |shape: &[usize]| {
            let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
            TensorData::new(data, shape.to_vec()).convert_dtype(dtype)
        };
        let options = (&device, dtype);
        let x = Tensor::<4>::from_data(draw(&shape), options).require_grad();
        let w = Tensor::<2>::from_data(draw(&[outputs, shape[1]]), options).require_grad();
        let b = Tensor::<1>::from_data(draw(&[outputs]), options).require_grad();
        let y = pointwise(x.clone(), w.clone(), bias.then(|| b.clone()));
        let weight = Tensor::<4>::from_data(draw(&y.dims()), options);
        let grads = (y.clone() * weight).sum().backward();
        let mut all: Vec<f64> = y.into_data().iter::<f64>().collect();
        all.extend(x.grad(&grads).unwrap().into_data().iter::<f64>());
        all.extend(w.grad(&grads).unwrap().into_data().iter::<f64>());
        all.extend(b.grad(&grads).into_iter().flat_map(|g| g.into_data().iter::<f64>().collect::<Vec<_>>()));
        all
    }

    const SHAPES: [([usize; 4], usize); 7] = [
        ([1, 1, 1, 1], 1),
        ([2, 3, 5, 7], 4),
        ([3, 16, 8, 8], 33),
        ([1, 256, 13, 21], 256),
        ([9, 17, 1, 33], 5),
        ([20, 5, 3, 3], 64),
        ([2, 64, 25, 42], 31),
    ];

    #[test]
    fn equals_the_composition_in_f64_on_every_instruction_set() {
        for (shape, outputs) in SHAPES {
            for bias in [false, true] {
                let exact = run(shape, outputs, bias, DType::F64);
                // Sums of up to `terms` products of unit normal numbers.
                let terms = (shape[0] * shape[2] * shape[3]).max(shape[1]).max(outputs) as f64;
                for (level, found) in at_each_level(|| run(shape, outputs, bias, DType::F32)) {
                    assert_eq!(found.len(), exact.len());
                    let error = found.iter().zip(&exact).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
                    assert!(error < 8e-6 * terms.sqrt(), "{shape:?} {outputs} {level:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (shape, outputs) in SHAPES {
            let with = |threads| in_pool(threads, || run(shape, outputs, true, DType::F32));
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(with(1)), bits(with(2)), "{shape:?}");
            assert_eq!(bits(with(1)), bits(with(3)), "{shape:?}");
        }
    }
}
