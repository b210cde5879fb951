//! In and out of Flex tensors: plain slices on the way in, fresh buffers on the way out.
use burn::backend::flex::{FlexTensor, Layout};
use burn::prelude::*;
use burn::tensor::{Bytes, Element};

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
