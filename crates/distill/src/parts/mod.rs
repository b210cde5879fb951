//! The small modules that adapters are made of.
mod batch_norm;
mod conv;
mod resize;

pub use batch_norm::BatchNorm;
pub use conv::Conv;
pub use resize::{adaptive_average_pool, resize_nearest};

use burn::prelude::*;

/// Mean squared error over all elements, `[1]`.
pub(crate) fn mean_squared_error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<1> {
    (a - b).square().mean()
}
