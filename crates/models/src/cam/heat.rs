//! Maps of one value per place: scaling, resizing, averaging.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use subband_kernels::resize;

/// How much each place of an image speaks for its target.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Row by row, 0 (least) to 1 (most); all 0 where nothing speaks for the target.
    pub values: Vec<f32>,
}

/// Shifts and scales to 0 at the smallest value and (all but exactly) 1 at the largest; a constant map becomes 0.
pub(super) fn normalise(map: &mut [f64]) {
    let smallest = map.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = largest - smallest + 1e-7;
    map.iter_mut().for_each(|v| *v = (*v - smallest) / scale);
}

/// A map of `size` (rows, columns) as a tensor `[1, rows, columns, 1]` in f64 that the fast kernels take.
fn tensor(map: &[f64], (rows, columns): (usize, usize)) -> Tensor<4> {
    Tensor::from_data(TensorData::new(map.to_vec(), [1, rows, columns, 1]), (&Device::flex(), DType::F64))
}

/// A map of `size` (rows, columns) resized bilinearly.
pub(super) fn resize(map: &[f64], size: (usize, usize), target: (usize, usize)) -> Vec<f64> {
    resize::resize(tensor(map, size), [target.0, target.1]).into_data().iter::<f64>().collect()
}

/// How often each place of a map of `target` enters the sum, weighted by `map`, over what it is resized to.
pub(super) fn resize_transposed(map: &[f64], size: (usize, usize), target: (usize, usize)) -> Vec<f64> {
    resize::resize_transposed(tensor(map, size), [target.0, target.1]).into_data().iter::<f64>().collect()
}

/// The normalised mean of at least one map.
pub(super) fn average(maps: &[Vec<f64>]) -> Vec<f64> {
    let mean = |place: usize| maps.iter().map(|m| m[place]).sum::<f64>() / maps.len() as f64;
    let mut out: Vec<f64> = (0..maps[0].len()).map(mean).collect();
    normalise(&mut out);
    out
}
