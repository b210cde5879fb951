//! The two layouts of feature maps and the way between them.
//!
//! The operations of networks ([`crate::conv`], [`crate::batch_norm`], [`crate::pool`]) take maps *channels last*,
//! `[N, H, W, C]`: a pixel's channels lie side by side, which is what a matrix product, a normalisation per channel and
//! a depthwise kernel all want. Features that leave a network, and the frequency transforms, are *channels first*,
//! `[N, C, H, W]`.
//!
//! Between them every image is a matrix `[C, H W]` to be transposed, in squares that fit the first-level cache. With one
//! channel or one pixel both layouts are the same memory, and a view that already lies as wanted is only looked at anew.
use std::mem::MaybeUninit;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use crate::flex::{contiguous, tensor, values};
use crate::memory::{initialized, room};
use crate::simd::multiversion;

/// Transposes of images as custom operations.
#[backend_extension(Flex, Autodiff)]
pub trait LayoutOps: Backend {
    /// `[N, A, B, C]` to `[N, B, C, A]` if `last`, otherwise to `[N, C, A, B]`.
    fn subband_transpose(x: FloatTensor<Self>, last: bool) -> FloatTensor<Self>;
}

/// Side of the square that is transposed in registers and the first-level cache.
const SIDE: usize = 16;
/// Numbers of the result that one task writes, about.
const STRIP: usize = 1 << 14;

multiversion! {
    /// Rows `first..` of the transpose of `from`, a matrix with rows of `columns` numbers; `rows` numbers a row.
    fn transpose(from: &[f32], columns: usize, rows: usize, first: usize, to: &mut [MaybeUninit<f32>]) = transpose_body;
}
#[inline(always)]
fn transpose_body(from: &[f32], columns: usize, rows: usize, first: usize, to: &mut [MaybeUninit<f32>]) {
    let strip = to.len() / rows;
    // Along the rows of `from` first: sixteen streams that the processor foresees.
    for i in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - i);
        for j in (0..strip).step_by(SIDE) {
            let width = SIDE.min(strip - j);
            if width == SIDE && height == SIDE {
                let mut square = [[0.0f32; SIDE]; SIDE];
                for (k, line) in square.iter_mut().enumerate() {
                    line.copy_from_slice(&from[(i + k) * columns + first + j..][..SIDE]);
                }
                for l in 0..SIDE {
                    let to: &mut [MaybeUninit<f32>] = &mut to[(j + l) * rows + i..][..SIDE];
                    for k in 0..SIDE {
                        to[k].write(square[k][l]);
                    }
                }
                continue;
            }
            for l in 0..width {
                for k in 0..height {
                    to[(j + l) * rows + i + k].write(from[(i + k) * columns + first + j + l]);
                }
            }
        }
    }
}

/// `images` matrices of `[rows, columns]`, each transposed.
fn transposed(from: &[f32], images: usize, rows: usize, columns: usize) -> Vec<f32> {
    let mut to = room(from.len());
    let strip = (STRIP / rows).next_multiple_of(SIDE).clamp(SIDE, columns.next_multiple_of(SIDE));
    let strips = columns.div_ceil(strip);
    let area = rows * columns;
    let mut tasks: Vec<&mut [MaybeUninit<f32>]> = Vec::with_capacity(images * strips);
    to.chunks_exact_mut(area).for_each(|image| tasks.extend(image.chunks_mut(strip * rows)));
    tasks.into_par_iter().enumerate().for_each(|(k, to)| {
        let (image, first) = (k / strips, k % strips * strip);
        transpose(&from[image * area..][..area], columns, rows, first, to);
    });
    // SAFETY: the strips of all images are the whole buffer, and each has been written.
    unsafe { initialized(to) }
}

impl LayoutOps for Flex {
    fn subband_transpose(x: FlexTensor, last: bool) -> FlexTensor {
        let view = x.permute(if last { &[0, 2, 3, 1] } else { &[0, 3, 1, 2] });
        if view.is_contiguous() && view.layout().start_offset() == 0 {
            return view;
        }
        let shape = view.layout().shape().to_vec();
        let x = contiguous(x);
        let [n, a, b, c]: [usize; 4] = x.layout().shape().dims();
        let (rows, columns) = if last { (a, b * c) } else { (a * b, c) };
        tensor(transposed(values(&x), n, rows, columns), shape)
    }
}

#[derive(Debug)]
struct Transpose;

impl Backward<Flex, 1> for Transpose {
    type State = bool;

    fn backward(self, ops: Ops<bool, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let last = ops.state;
        unary::<Flex, _>(ops.parents, ops.node, grads, |g| Flex::subband_transpose(g, !last));
    }
}

impl<C: CheckpointStrategy> LayoutOps for Autodiff<Flex, C> {
    fn subband_transpose(x: FloatTensor<Self>, last: bool) -> FloatTensor<Self> {
        let node = x.node();
        let y = Flex::subband_transpose(x.into_primitive(), last);
        match Transpose.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(last, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

fn run(x: Tensor<4>, last: bool) -> Tensor<4> {
    if !(crate::is_flex(&x) && x.dtype() == DType::F32) || x.shape().num_elements() == 0 {
        return x.permute(if last { [0, 2, 3, 1] } else { [0, 3, 1, 2] });
    }
    Tensor::from_dispatch(<Dispatch as LayoutOps>::subband_transpose(x.into_dispatch(), last))
}

/// `[N, C, H, W]` to `[N, H, W, C]`; differentiable.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    run(x, true)
}

/// `[N, H, W, C]` to `[N, C, H, W]`; differentiable.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    run(x, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::testing::{at_each_level, in_pool};

    fn counted(shape: [usize; 4], device: &Device) -> Tensor<4> {
        let count = shape.iter().product::<usize>() as i64;
        Tensor::<1, Int>::arange(0..count, device).float().reshape(shape)
    }

    #[test]
    fn both_ways_equal_permuted_views() {
        let device = Device::flex();
        for c in [1, 2, 3, 5, 8, 15, 16, 17, 24, 40, 64, 100] {
            for [n, h, w] in [[1, 1, 1], [2, 1, 7], [1, 33, 1], [2, 5, 7], [3, 16, 16], [1, 20, 31]] {
                let x = counted([n, c, h, w], &device);
                let last = channels_last(x.clone());
                assert_eq!(last.clone().into_data(), x.clone().permute([0, 2, 3, 1]).into_data(), "{n} {c} {h} {w}");
                assert_eq!(channels_first(last).into_data(), x.clone().into_data());
                let first = channels_first(x.clone());
                assert_eq!(first.into_data(), x.clone().permute([0, 3, 1, 2]).into_data());
                assert_eq!(channels_last(x.clone().permute([0, 3, 1, 2])).into_data(), x.into_data());
            }
        }
    }

    #[test]
    fn the_gradient_goes_the_other_way() {
        let device = Device::flex().autodiff();
        let x = counted([2, 3, 4, 5], &device).require_grad();
        let weight = counted([2, 4, 5, 3], &device);
        let grads = (channels_last(x.clone()) * weight.clone()).sum().backward();
        assert_eq!(x.grad(&grads).unwrap().into_data(), weight.permute([0, 3, 1, 2]).into_data());
    }

    #[test]
    fn threads_and_levels_do_not_matter() {
        let f = || channels_last(counted([3, 40, 33, 31], &Device::flex())).into_data();
        let one = in_pool(1, f);
        assert_eq!(one, in_pool(2, f));
        for (level, result) in at_each_level(f) {
            assert_eq!(result, one, "{level:?}");
        }
    }
}
