//! The small modules that adapters are made of.
mod batch_norm;
mod conv;
mod resize;

pub use batch_norm::BatchNorm;
pub use conv::Conv;
pub use resize::{adaptive_average_pool, resize_bilinear, resize_nearest};
pub(crate) use resize::{nearest_temporary, separable_temporary};

use burn::prelude::*;

/// Mean squared error over all elements, `[1]`. Each sample is summed for itself first: Burn sums millions of elements
/// at once in an order that depends on the threads.
pub(crate) fn mean_squared_error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<1> {
    let squares = (a - b).square();
    let (samples, count) = (squares.dims()[0], squares.shape().num_elements());
    squares.reshape([samples, count / samples.max(1)]).sum_dim(1).sum() / count as f64
}
