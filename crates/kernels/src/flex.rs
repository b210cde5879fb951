//! In and out of Flex tensors: plain slices on the way in, fresh buffers on the way out.
use burn::backend::flex::{FlexTensor, Layout};
use burn::prelude::*;
use burn::tensor::{Bytes, Element};
use rayon::prelude::*;

use crate::memory::{initialized, room};

/// The tensor with its values side by side in row-major order; copies only when they are not.
pub(crate) fn contiguous(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() && x.layout().start_offset() == 0 { x } else { x.to_contiguous() }
}

/// A four-dimensional tensor around `values`.
pub(crate) fn tensor4<E: Element>(values: Vec<E>, shape: [usize; 4]) -> FlexTensor {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::new(shape)), E::dtype())
}

/// The values of an f32 tensor that [`contiguous`] returned.
pub(crate) fn values(x: &FlexTensor) -> &[f32] {
    &x.storage::<f32>()[..x.layout().num_elements()]
}

/// A tensor of any rank around `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), burn::tensor::DType::F32)
}

/// The tensor with its values side by side and nobody else holding them, so that they may be overwritten: itself when
/// that is so already (a gradient on its way back usually is), otherwise a copy.
pub(crate) fn owned(x: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    if x.is_unique() {
        return x;
    }
    let shape = x.layout().shape().to_vec();
    tensor(copied(values(&x)), shape)
}

/// A copy made by all threads.
pub(crate) fn copied(from: &[f32]) -> Vec<f32> {
    const PIECE: usize = 1 << 16;
    let mut to = room(from.len());
    to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| {
        to.write_copy_of_slice(from);
    });
    // SAFETY: the pieces are the whole buffer, and each was written.
    unsafe { initialized(to) }
}

/// The values of an f32 tensor that [`owned`] returned.
pub(crate) fn values_mut(x: &mut FlexTensor) -> &mut [f32] {
    let count = x.layout().num_elements();
    &mut x.storage_mut::<f32>()[..count]
}
