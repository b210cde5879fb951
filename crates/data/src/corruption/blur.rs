//! Blurs: out of focus, through glass, by motion, by zooming, Gaussian.

use super::Severity;
use super::filter::{self, Edge, Shape, bilinear, zoom_axis};
use super::raster::{Raster, byte, byte_f32};

/// Standard deviations at which Gaussians end.
const TRUNCATE: f64 = 4.0;

fn shape(x: &Raster) -> Shape {
    Shape(x.width, x.height, x.channels)
}

/// Gaussian of `sigma` pixels.
pub(super) fn gaussian(x: &Raster, severity: Severity) -> Vec<u8> {
    let sigma = severity.of([1.0, 2.0, 3.0, 4.0, 6.0]);
    let mut values = x.unit();
    filter::gaussian(&mut values, shape(x), [sigma; 2], TRUNCATE, Edge::Nearest);
    values.into_iter().map(byte).collect()
}

/// One-sided Gaussian along `degrees`, on values of 0 to 255.
pub(super) fn motion(x: &Raster, severity: Severity, degrees: f64) -> Vec<u8> {
    let (radius, sigma) = severity.of([(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)]);
    let values: Vec<f64> = x.data.iter().map(|&v| f64::from(v)).collect();
    filter::motion(&values, shape(x), radius, sigma, degrees).into_iter().map(|v| v as u8).collect()
}

/// Gaussian width, reach `d` of the offsets, passes.
pub(super) fn glass_parameters(severity: Severity) -> (f64, usize, usize) {
    severity.of([(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)])
}

/// The number of offsets that glass blur needs.
pub(super) fn glass_count(severity: Severity, width: usize, height: usize) -> usize {
    let (_, reach, passes) = glass_parameters(severity);
    passes * width.saturating_sub(2 * reach) * height.saturating_sub(2 * reach)
}

/// Blur, truncate to 8 bits, let pixels take the colour of a random neighbour, blur again.
///
/// The package means to swap two pixels, but for arrays of three dimensions its statement copies one over the other;
/// the benchmark's images are made by the copy. `None` when the offsets do not fit.
pub(super) fn glass(x: &Raster, severity: Severity, offsets: &[[i8; 2]]) -> Option<Vec<u8>> {
    let (sigma, reach, passes) = glass_parameters(severity);
    let allowed = -(reach as i8)..reach as i8;
    let fits = offsets.iter().all(|o| o.iter().all(|d| allowed.contains(d)));
    if offsets.len() != glass_count(severity, x.width, x.height) || !fits {
        return None;
    }
    let blur = |mut values: Vec<f64>| {
        filter::gaussian(&mut values, shape(x), [sigma; 2], TRUNCATE, Edge::Nearest);
        values
    };
    let mut pixels: Vec<u8> = blur(x.unit()).into_iter().map(byte).collect();
    let rows = || (reach + 1..=x.height - reach).rev();
    let columns = || (reach + 1..=x.width - reach).rev();
    let places = (0..passes).flat_map(|_| rows().flat_map(|h| columns().map(move |w| (w, h))));
    for ((w, h), &[dx, dy]) in places.zip(offsets) {
        let (from_w, from_h) = (w.wrapping_add_signed(dx.into()), h.wrapping_add_signed(dy.into()));
        let (to, from) = ((h * x.width + w) * x.channels, (from_h * x.width + from_w) * x.channels);
        pixels.copy_within(from..from + x.channels, to);
    }
    Some(blur(pixels.into_iter().map(|v| f64::from(v) / 255.0).collect()).into_iter().map(byte).collect())
}

/// Mean of the image and of its enlargements by `1 + i * step`, `i = 0, 1, ...`, in single precision; the image itself
/// thus counts twice.
pub(super) fn zoom(x: &Raster, severity: Severity) -> Vec<u8> {
    let (count, step) = severity.of([(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)]);
    // The step as it survives the addition to 1, which is how a range of numbers is made there.
    let step = (1.0 + step) - 1.0;
    let image = x.unit_f32();
    let mut sum = vec![0.0_f32; image.len()];
    for factor in (0..count).map(|i| 1.0 + f64::from(i) * step) {
        let (rows, columns) = (zoom_axis(x.height, factor), zoom_axis(x.width, factor));
        for (out, row) in sum.chunks_exact_mut(x.width * x.channels).zip(&rows) {
            for (pixel, column) in out.chunks_exact_mut(x.channels).zip(&columns) {
                let (Some(row), Some(column)) = (row, column) else { continue };
                for (c, value) in pixel.iter_mut().enumerate() {
                    let place = (x.width, x.channels, c);
                    *value += bilinear(|i| f64::from(image[i]), *row, *column, place) as f32;
                }
            }
        }
    }
    let total = (count + 1) as f32;
    image.iter().zip(sum).map(|(x, s)| byte_f32((x + s) / total)).collect()
}

/// A run of equal weights in a row of the disk: the row, its first and last-plus-one column (from the centre).
struct Run {
    row: isize,
    first: isize,
    end: isize,
    weight: f64,
}

/// Correlation with a disk whose rim is softened by a small Gaussian; beyond the border the image is mirrored about its
/// outermost pixels.
///
/// Each row of the disk is a few runs of equal weight, and the sum over a run is a difference of two running sums of
/// whole numbers: a pixel costs about eight operations per row of the disk, exactly.
pub(super) fn defocus(x: &Raster, severity: Severity) -> Vec<u8> {
    let (radius, softening) = severity.of([(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]);
    let reach = radius.max(8);
    let runs = disk_runs(radius, softening);
    let (stride, channels) = (x.width + 2 * reach as usize + 1, x.channels);
    let sums = running_sums(x, reach, stride);
    let mut out = vec![0; x.data.len()];
    let mut line = vec![0.0_f64; x.width];
    for c in 0..channels {
        let plane = &sums[c * x.height * stride..][..x.height * stride];
        for y in 0..x.height {
            line.fill(0.0);
            for run in &runs {
                let from = mirror(y as isize + run.row, x.height) * stride;
                let low = &plane[from + (run.first + reach) as usize..][..x.width];
                let high = &plane[from + (run.end + reach) as usize..][..x.width];
                let ends = low.iter().zip(high);
                line.iter_mut().zip(ends).for_each(|(o, (l, h))| *o += run.weight * f64::from(h - l));
            }
            let row = out[y * x.width * channels..].iter_mut().skip(c).step_by(channels);
            row.zip(&line).for_each(|(o, v)| *o = byte(v / 255.0));
        }
    }
    out
}

/// For each channel and row the sums of the first 0, 1, 2, ... samples of the row mirrored `reach` pixels beyond it.
fn running_sums(x: &Raster, reach: isize, stride: usize) -> Vec<i32> {
    let mut sums = Vec::with_capacity(x.channels * x.height * stride);
    for c in 0..x.channels {
        for row in x.data.chunks_exact(x.width * x.channels) {
            let mut sum = 0;
            sums.push(sum);
            for i in 0..stride as isize - 1 {
                sum += i32::from(row[mirror(i - reach, x.width) * x.channels + c]);
                sums.push(sum);
            }
        }
    }
    sums
}

/// The index in `0..n` for one outside: `dcb|abcd|cba`.
pub(super) fn mirror(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    (last - (i.rem_euclid(2 * last) - last).abs()) as usize
}

/// The softened disk of radius `radius` on a grid of side `2 max(radius, 8) + 1`, in single precision as in OpenCV.
///
/// On that grid a disk of radius 8 or 10 touches the border, where the mirrored Gaussian adds a little: the weights
/// then sum to 1.013 and 1.011, and the image becomes brighter.
fn disk_runs(radius: isize, softening: f64) -> Vec<Run> {
    let reach = radius.max(8);
    let side = (2 * reach + 1) as usize;
    let grid = |i: usize| i as isize - reach;
    let inside = |i: usize| grid(i / side).pow(2) + grid(i % side).pow(2) <= radius * radius;
    let area = (0..side * side).filter(|&i| inside(i)).count();
    let disk: Vec<f32> = (0..side * side).map(|i| if inside(i) { 1.0 / area as f32 } else { 0.0 }).collect();
    let half = if radius > 8 { 2 } else { 1 };
    let full: Vec<f64> = (-half..=half).map(|i| (-0.5 * f64::from(i * i) / (softening * softening)).exp()).collect();
    let total: f64 = full.iter().sum();
    let kernel: Vec<f32> = full[half as usize..].iter().map(|v| (v / total) as f32).collect();
    let pass = |x: &[f32], along: usize, across: usize| -> Vec<f32> {
        let at = |i: usize, shift: isize| {
            let (line, place) = (i / across % side, i / along % side);
            x[line * across + mirror(place as isize + shift, side) * along]
        };
        let value = |i: usize| {
            let pair = |sum: f32, (j, k): (usize, &f32)| k.mul_add(at(i, -(j as isize)) + at(i, j as isize), sum);
            kernel.iter().enumerate().skip(1).fold(kernel[0] * at(i, 0), pair)
        };
        (0..x.len()).map(value).collect()
    };
    let soft = pass(&pass(&disk, 1, side), side, 1);
    let mut runs: Vec<Run> = Vec::new();
    for (i, &weight) in soft.iter().enumerate().filter(|(_, w)| **w > 0.0) {
        let (row, column, weight) = (grid(i / side), grid(i % side), f64::from(weight));
        match runs.last_mut() {
            Some(run) if run.row == row && run.end == column && run.weight == weight => run.end += 1,
            _ => runs.push(Run { row, first: column, end: column + 1, weight }),
        }
    }
    runs
}
