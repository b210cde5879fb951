//! Changing the size of maps: nearest neighbour, average bins and two-point interpolation.
use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// Nearest-neighbour resize with PyTorch's rule: output row i reads input row floor(i H_in / H_out).
///
/// # Shapes
/// `[N, C, H, W]` to `[N, C, size.0, size.1]`; any sizes from 1.
pub fn resize_nearest(x: Tensor<4>, size: (usize, usize)) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let (height, width) = size;
    if (h, w) == size {
        return x;
    }
    if exact(h, height) && exact(w, width) {
        let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([height, width]);
        return interpolate(x, options);
    }
    if height % h == 0 && width % w == 0 {
        // Whole factors repeat each pixel: an expansion, whose gradient is a sum and needs no scatter.
        let (fy, fx) = (height / h, width / w);
        return x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, fy, w, fx]).reshape([n, c, height, width]);
    }
    let device = x.device();
    let axis = |input: usize, output: usize| {
        let index: Vec<i64> = (0..output).map(|i| (i * input / output) as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(index, [output]), &device)
    };
    x.select(2, axis(h, height)).select(3, axis(w, width))
}

/// Whether a backend that computes the row as i times a rounded H_in / H_out must get it right.
fn exact(input: usize, output: usize) -> bool {
    let (small, large) = (input.min(output), input.max(output));
    input == 1 || large % small == 0 && (large / small).is_power_of_two()
}

/// Numbers of the largest tensor that [`resize_nearest`] makes of one channel; 0 where the size stays.
pub(crate) fn nearest_temporary((h, w): (usize, usize), (height, width): (usize, usize)) -> usize {
    let whole = height % h == 0 && width % w == 0;
    match (h, w) == (height, width) {
        true => 0,
        false if whole || exact(h, height) && exact(w, width) => height * width,
        false => height * width.max(w),
    }
}

/// The same for [`adaptive_average_pool`] and [`resize_bilinear`], which change the width first.
pub(crate) fn separable_temporary((h, w): (usize, usize), (height, width): (usize, usize)) -> usize {
    match (h == height, w == width) {
        (true, true) => 0,
        (_, true) => height * width,
        _ => width * h.max(height),
    }
}

/// Adaptive average pooling with PyTorch's bins: output i averages the input rows floor(i H / l) .. ceil((i + 1) H / l).
///
/// # Shapes
/// `[N, C, H, W]` to `[N, C, size.0, size.1]`; any sizes from 1.
pub fn adaptive_average_pool(x: Tensor<4>, size: (usize, usize)) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let (height, width) = size;
    if (h, w) == size {
        return x;
    }
    if h % height == 0 && w % width == 0 {
        let bins = x.reshape([n, c, height, h / height, width, w / width]);
        // The mean of one number would be a copy.
        let mean = |x: Tensor<6>, axis: usize| if x.dims()[axis] == 1 { x } else { x.mean_dim(axis) };
        return mean(mean(bins, 5), 3).reshape([n, c, height, width]);
    }
    // Uneven bins: one averaging matrix per axis.
    let (rows, columns) = (bin_matrix(&x, h, height), bin_matrix(&x, w, width));
    between(x, rows, columns)
}

/// Y = P_h X P_w^T with `rows` P_h `[height, H]` and `columns` P_w `[width, W]`; a square one is the identity (the size
/// stays) and is left out.
fn between(x: Tensor<4>, rows: Tensor<2>, columns: Tensor<2>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let (height, width) = (rows.dims()[0], columns.dims()[0]);
    let x = x.reshape([n * c * h, w]);
    let narrowed = if width == w { x } else { x.matmul(columns.transpose()) }.reshape([n * c, h, width]);
    let y = if height == h { narrowed } else { rows.unsqueeze::<3>().matmul(narrowed) };
    y.reshape([n, c, height, width])
}

/// Bilinear resize with pixel centres at halves, PyTorch's `interpolate` without `align_corners`: output row i reads at
/// max(0, (i + 1/2) H / H_out - 1/2), between its two neighbours. There is no smoothing before a reduction.
///
/// # Shapes
/// `[N, C, H, W]` to `[N, C, size.0, size.1]`; any sizes from 1.
pub fn resize_bilinear(x: Tensor<4>, size: (usize, usize)) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    if (h, w) == size {
        return x;
    }
    let (rows, columns) = (tent_matrix(&x, h, size.0), tent_matrix(&x, w, size.1));
    between(x, rows, columns)
}

/// The interpolation matrix `[output, input]` on the device and with the type of `like`.
fn tent_matrix(like: &Tensor<4>, input: usize, output: usize) -> Tensor<2> {
    let mut values = vec![0.0_f64; output * input];
    for i in 0..output {
        let place = ((i as f64 + 0.5) * input as f64 / output as f64 - 0.5).max(0.0);
        let first = (place as usize).min(input - 1);
        let share = place - first as f64;
        let second = (first + 1).min(input - 1);
        values[i * input + first] += 1.0 - share;
        values[i * input + second] += share;
    }
    Tensor::from_data(TensorData::new(values, [output, input]), (&like.device(), like.dtype()))
}

/// The averaging matrix `[output, input]` on the device and with the type of `like`.
fn bin_matrix(like: &Tensor<4>, input: usize, output: usize) -> Tensor<2> {
    let mut values = vec![0.0_f64; output * input];
    for i in 0..output {
        let (start, end) = (i * input / output, ((i + 1) * input).div_ceil(output));
        values[i * input + start..i * input + end].fill(1.0 / (end - start) as f64);
    }
    Tensor::from_data(TensorData::new(values, [output, input]), (&like.device(), like.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{fixture, gradient_error, values, wave};

    #[test]
    fn nearest_reads_the_row_torch_reads() {
        let x = wave([1, 1, 3, 1], 0.1, 0.37);
        let v = values(x.clone());
        // floor(i * 3 / 5) = 0 0 1 1 2; floor(i * 3 / 2) = 0 1.
        assert_eq!(values(resize_nearest(x.clone(), (5, 1))), [v[0], v[0], v[1], v[1], v[2]]);
        assert_eq!(values(resize_nearest(x.clone(), (2, 1))), [v[0], v[1]]);
        assert_eq!(values(resize_nearest(x, (6, 2)))[..4], [v[0], v[0], v[0], v[0]]);
        for (input, output) in [(1, 49), (7, 49), (49, 98), (98, 49), (5, 64), (64, 5), (33, 32)] {
            let x = wave([1, 1, 1, input], 0.1, 0.37);
            let v = values(x.clone());
            let expected: Vec<f64> = (0..output).map(|i| v[i * input / output]).collect();
            assert_eq!(values(resize_nearest(x, (1, output))), expected, "{input} to {output}");
        }
    }

    #[test]
    fn uneven_bins_overlap_as_in_torch() {
        let x = wave([1, 1, 5, 1], 0.2, 0.37);
        let v = values(x.clone());
        let pooled = values(adaptive_average_pool(x.clone(), (2, 1)));
        let expected = [(v[0] + v[1] + v[2]) / 3.0, (v[2] + v[3] + v[4]) / 3.0];
        assert!(pooled.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{pooled:?} {expected:?}");
        // Fewer rows than bins repeats rows.
        assert_eq!(values(adaptive_average_pool(wave([1, 1, 1, 1], 0.3, 0.37), (4, 4))).len(), 16);
    }

    #[test]
    fn bilinear_matches_torch() {
        for size in [(5, 7), (2, 2), (3, 4), (1, 1), (9, 3)] {
            let found = values(resize_bilinear(wave([1, 2, 3, 4], 0.2, 0.37), size));
            let expected = fixture(&format!("bilinear.{}x{}", size.0, size.1));
            assert_eq!(found.len(), expected.len());
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{size:?}");
        }
    }

    #[test]
    fn gradients_are_right_for_whole_and_broken_factors() {
        for size in [(6, 8), (9, 8), (5, 3), (2, 2), (1, 1), (3, 4)] {
            let weights = wave([2, 2, size.0, size.1], 0.7, 0.21);
            let nearest = |x: Tensor<4>| (resize_nearest(x, size) * weights.clone()).sum();
            let pooled = |x: Tensor<4>| (adaptive_average_pool(x, size) * weights.clone()).sum();
            assert!(gradient_error(wave([2, 2, 3, 4], 0.4, 0.37), nearest) < 1e-8, "nearest {size:?}");
            assert!(gradient_error(wave([2, 2, 3, 4], 0.4, 0.37), pooled) < 1e-8, "pool {size:?}");
            let bilinear = |x: Tensor<4>| (resize_bilinear(x, size) * weights.clone()).sum();
            assert!(gradient_error(wave([2, 2, 3, 4], 0.4, 0.37), bilinear) < 1e-8, "bilinear {size:?}");
        }
    }
}
