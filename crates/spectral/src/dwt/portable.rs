//! One level as two matrix products per direction: runs on every backend and differentiates by itself.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_kernels::dwt::{AxisSplit, Frame};

/// `[low; high]` of an axis as a tensor `[1, 1, 2 band, map]` like `x`.
fn stacked<const D: usize>(axis: &AxisSplit, x: &Tensor<D>) -> Tensor<4> {
    let (rows, columns) = (axis.low.rows(), axis.low.columns());
    let mut values = axis.low.dense();
    values.extend(axis.high.dense());
    let data = TensorData::new(values, [1, 1, 2 * rows, columns]).convert_dtype(x.dtype());
    Tensor::from_data(data, (&x.device(), x.dtype()))
}

/// See [`subband_kernels::dwt::split`].
pub(super) fn split(x: Tensor<4>, frame: &Frame) -> (Tensor<4>, Tensor<5>) {
    let [height, width] = frame.split_matrices();
    let [h, w] = frame.band_size();
    let (rows, columns) = (stacked(height, &x), stacked(width, &x));
    let all = rows.matmul(x).matmul(columns.swap_dims(2, 3));
    let band = |i: usize, j: usize| all.clone().narrow(2, i * h, h).narrow(3, j * w, w);
    (band(0, 0), Tensor::stack(vec![band(1, 0), band(0, 1), band(1, 1)], 2))
}

/// See [`subband_kernels::dwt::merge`].
pub(super) fn merge(low: Tensor<4>, detail: Tensor<5>, frame: &Frame) -> Tensor<4> {
    let [height, width] = frame.split_matrices();
    let band = |slot: usize| detail.clone().narrow(2, slot, 1).squeeze_dim::<4>(2);
    let (rows, columns) = (stacked(height, &low), stacked(width, &low));
    let top = Tensor::cat(vec![low, band(1)], 3);
    let bottom = Tensor::cat(vec![band(0), band(2)], 3);
    rows.swap_dims(2, 3).matmul(Tensor::cat(vec![top, bottom], 2)).matmul(columns)
}
