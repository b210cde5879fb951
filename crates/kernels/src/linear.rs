//! The fully connected layer.
//!
//! ```text
//! y = x w^T + b          dx = dy w          dw = dy^T x          db = sum of the rows of dy
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
use crate::product::{Destination, Epilogue, Matrix, Panels, Product, Weights, multiply, multiply_across};
use crate::simd::multiversion;

layer_ops! {
    /// The layer and its gradients as custom operations.
    LinearOps { subband_linear, subband_linear_dx, subband_linear_dw, subband_linear_db }
}

fn dims(x: &FlexTensor) -> [usize; 2] {
    x.layout().shape().dims()
}

/// Rows whose sums are taken on their own; fixed, so that the order does not depend on the threads.
const ROWS: usize = 128;

multiversion! {
    /// Adds every row to `sums`.
    fn add_rows(rows: &[f32], sums: &mut [f32]) = add_rows_body;
}
#[inline(always)]
fn add_rows_body(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
    }
}

impl LinearOps for Flex {
    fn subband_linear(x: FlexTensor, w: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let ([m, inputs], [outputs, _], product) = (dims(&x), dims(&w), Product::detect());
        let (x, w, bias) = (contiguous(x), contiguous(w), contiguous(bias));
        let columns = Panels::pack(product, Weights::matrix(values(&w), (outputs, inputs), (inputs, 1)));
        let epilogue = Epilogue { bias: Some(values(&bias)), bounds: None };
        let x = Matrix::dense(values(&x), m, inputs);
        // SAFETY: the product writes every row.
        let y = unsafe { Destination::filled(m * outputs, |y| multiply(product, x, &columns, epilogue, y, outputs)) };
        tensor(y, vec![m, outputs])
    }

    fn subband_linear_dx(dy: FlexTensor, w: FlexTensor) -> FlexTensor {
        let ([m, outputs], [_, inputs], product) = (dims(&dy), dims(&w), Product::detect());
        let (dy, w) = (contiguous(dy), contiguous(w));
        let columns = Panels::pack(product, Weights::matrix(values(&w), (inputs, 1), (outputs, inputs)));
        let dy = Matrix::dense(values(&dy), m, outputs);
        let epilogue = Epilogue::default();
        // SAFETY: the product writes every row.
        let dx = unsafe { Destination::filled(m * inputs, |dx| multiply(product, dy, &columns, epilogue, dx, inputs)) };
        tensor(dx, vec![m, inputs])
    }

    fn subband_linear_dw(dy: FlexTensor, x: FlexTensor) -> FlexTensor {
        let ([m, outputs], [_, inputs], product) = (dims(&dy), dims(&x), Product::detect());
        let (dy, x) = (contiguous(dy), contiguous(x));
        let (dy, x) = (Matrix::dense(values(&dy), m, outputs), Matrix::dense(values(&x), m, inputs));
        // SAFETY: the product writes every row.
        let dw = unsafe { Destination::filled(outputs * inputs, |dw| multiply_across(product, dy, x, dw, inputs)) };
        tensor(dw, vec![outputs, inputs])
    }

    fn subband_linear_db(dy: FlexTensor) -> FlexTensor {
        let [_, outputs] = dims(&dy);
        let dy = contiguous(dy);
        let parts: Vec<Vec<f32>> = values(&dy)
            .par_chunks(ROWS * outputs)
            .map(|rows| {
                let mut sums = vec![0.0; outputs];
                add_rows(rows, &mut sums);
                sums
            })
            .collect();
        let mut total = vec![0.0; outputs];
        parts.iter().for_each(|part| add_rows(part, &mut total));
        tensor(total, vec![outputs])
    }
}

/// `x w^T + bias`; differentiable in all three, on every backend.
///
/// # Shapes
/// `x`: `[M, I]`, `w`: `[O, I]`, `bias`: `[O]`, result: `[M, O]`
///
/// # Panics
/// When the shapes do not fit together, as Burn's own layer does.
pub fn linear(x: Tensor<2>, w: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let fits = x.dims()[1] == w.dims()[1] && x.dims().iter().chain(&w.dims()).all(|&n| n > 0);
    let fast = crate::is_flex(&x) && x.dtype() == DType::F32 && w.dtype() == DType::F32;
    let alike = bias.as_ref().is_none_or(|b| b.dtype() == DType::F32);
    if !(fast && fits && alike) {
        return burn::tensor::module::linear(x, w.transpose(), bias);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([w.dims()[0]], (&x.device(), DType::F32)));
    let (x, w, bias) = (x.into_dispatch(), w.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LinearOps>::subband_linear(x, w, bias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use subband_seed::Stream;

    fn run(shape: [usize; 3], bias: bool, fast: bool) -> Vec<f32> {
        let [m, inputs, outputs] = shape;
        let device = Device::flex().autodiff();
        let mut stream = Stream::new(8).with("linear").at((m * 1000 + inputs * 100 + outputs) as u64);
        let mut draw = |shape: Vec<usize>| {
            let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
            TensorData::new(data, shape)
        };
        let x = Tensor::<2>::from_data(draw(vec![m, inputs]), &device).require_grad();
        let w = Tensor::<2>::from_data(draw(vec![outputs, inputs]), &device).require_grad();
        let b = Tensor::<1>::from_data(draw(vec![outputs]), &device).require_grad();
        let weight = Tensor::<2>::from_data(draw(vec![m, outputs]), &device);
        let given = bias.then(|| b.clone());
        let y = if fast {
            linear(x.clone(), w.clone(), given)
        } else {
            burn::tensor::module::linear(x.clone(), w.clone().transpose(), given)
        };
        let grads = (y.clone() * weight).sum().backward();
        let mut all = y.into_data().try_to_vec::<f32>().unwrap();
        all.extend(x.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap());
        all.extend(w.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap());
        if bias {
            all.extend(b.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap());
        }
        all
    }

    #[test]
    fn equals_burns_layer() {
        for shape in [[1, 1, 1], [2, 3, 5], [33, 17, 31], [300, 192, 64], [5, 640, 100], [197, 64, 197]] {
            for bias in [false, true] {
                let tolerance = 1e-5 * (shape.iter().max().unwrap() * 4) as f32;
                for (a, b) in run(shape, bias, true).iter().zip(&run(shape, bias, false)) {
                    assert!((a - b).abs() <= tolerance.sqrt() * 1e-2, "{shape:?}: {a} for {b}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run([700, 96, 130], true, true).iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(with(1), with(2));
    }
}
