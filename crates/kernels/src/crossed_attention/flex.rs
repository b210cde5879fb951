//! Crossed attention on Flex: blocks of groups in parallel.
use super::block::{Compared, Gradient, Inputs, Scratch, Sizes, WIDTH, compare, differentiate};
use super::{CrossedAttentionGradients, CrossedAttentionOps, Flex, FlexTensor};
use crate::flex::{contiguous, tensor, values};
use crate::memory::{in_equal_pieces, in_pieces};
use burn::backend::flex::Layout;
use burn::prelude::*;
use burn::tensor::{Bytes, DType};

fn sizes(x: &FlexTensor, heads: usize) -> Sizes {
    let [tokens, groups, width] = x.layout().shape().dims();
    Sizes { tokens, groups, columns: width / 3, heads }
}

/// Difference and distance, and the signs if `keep`.
fn run(student: FlexTensor, teacher: FlexTensor, heads: usize, keep: bool) -> (FlexTensor, FlexTensor) {
    let (student, teacher) = (contiguous(student), contiguous(teacher));
    let sizes = sizes(&student, heads);
    let Sizes { tokens, groups, columns, .. } = sizes;
    let lanes = tokens * columns * WIDTH;
    let lengths = [lanes + 1, if keep { tokens * tokens * WIDTH } else { 0 }];
    let (student, teacher) = (values(&student), values(&teacher));
    let scratch = || Scratch::new(sizes, false);
    let (blocks, signs) = in_pieces(sizes.blocks(), lengths, scratch, |scratch, block, difference, signs| {
        compare(Inputs { sizes, student, teacher, block }, scratch, Compared { difference, signs });
    });
    let sum: f64 = blocks.chunks_exact(lanes + 1).map(|b| f64::from(b[lanes])).sum();
    let mut y = rows(sizes, columns, &blocks, lanes + 1);
    y.push((sum / (heads * tokens * tokens * groups) as f64) as f32);
    let kept = signs.len();
    let signs = FlexTensor::new(Bytes::from_elems(signs), Layout::contiguous(Shape::new([kept])), DType::I8);
    let count = y.len();
    (tensor(y, vec![count]), signs)
}

/// `[L, G, width]` from blocks that hold `[L, width]` lanes each and are `stride` numbers apart.
fn rows(sizes: Sizes, width: usize, blocks: &[f32], stride: usize) -> Vec<f32> {
    let row = sizes.groups * width;
    let token = |(): &mut (), token: usize, out: &mut [f32]| {
        for (block, out) in out.chunks_mut(WIDTH * width).enumerate() {
            let (from, _) = blocks[block * stride + token * width * WIDTH..][..width * WIDTH].as_chunks::<WIDTH>();
            for (lane, out) in out.chunks_exact_mut(width).enumerate() {
                for (out, from) in out.iter_mut().zip(from) {
                    *out = from[lane];
                }
            }
        }
    };
    in_equal_pieces(sizes.tokens, row, || (), token)
}

impl CrossedAttentionOps for Flex {
    fn subband_crossed_attention(student: FlexTensor, teacher: FlexTensor, heads: usize) -> FlexTensor {
        run(student, teacher, heads, false).0
    }
}

impl CrossedAttentionGradients for Flex {
    fn subband_crossed_attention_signs(
        student: FlexTensor,
        teacher: FlexTensor,
        heads: usize,
    ) -> (FlexTensor, FlexTensor) {
        run(student, teacher, heads, true)
    }

    fn subband_crossed_attention_gradient(
        inputs: [FlexTensor; 2],
        signs: FlexTensor,
        dy: FlexTensor,
        heads: usize,
    ) -> [FlexTensor; 2] {
        let ([student, teacher], dy) = (inputs.map(contiguous), contiguous(dy));
        let sizes = sizes(&student, heads);
        let Sizes { tokens, groups, columns, .. } = sizes;
        let (difference, distance) = values(&dy).split_at(tokens * groups * columns);
        let distance = (f64::from(distance[0]) / (heads * tokens * tokens * groups) as f64) as f32;
        let (signs, each) = (signs.storage::<i8>(), tokens * tokens * WIDTH);
        let lanes = 3 * tokens * columns * WIDTH;
        let (student, teacher) = (values(&student), values(&teacher));
        let scratch = || Scratch::new(sizes, true);
        let (to_student, to_teacher) = in_pieces(sizes.blocks(), [lanes; 2], scratch, |scratch, block, s, t| {
            let gradient = Gradient { difference, distance, signs: &signs[block * each..][..each] };
            differentiate(Inputs { sizes, student, teacher, block }, gradient, scratch, s, t);
        });
        [to_student, to_teacher]
            .map(|blocks| tensor(rows(sizes, 3 * columns, &blocks, lanes), vec![tokens, groups, 3 * columns]))
    }
}
