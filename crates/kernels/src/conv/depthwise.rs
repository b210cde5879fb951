//! Depthwise convolution (one input and one output channel per group): too thin for a matrix product, bound by memory.
//!
//! Sixteen channels of a pixel are one vector. Four neighbouring pixels share each weight that is loaded; the source is
//! read in place, pixels near the border take their taps one by one.
use std::ops::Range;

use rayon::prelude::*;

use super::correlate::Target;
use super::geometry::{ConvGeometry, Correlation};
use crate::product::{Destination, Lanes, with_lanes};

/// Parts of the batch whose weight gradients are summed on their own; fixed, so that the order does not depend on the
/// threads.
const PARTS: usize = 8;
/// Pixels that share a loaded weight.
const PIXELS: usize = 4;
/// Taps of a kernel row that share a loaded dY.
const TAPS: usize = 4;

/// A channels-last map `[N, height, width, C]`.
#[derive(Clone, Copy)]
struct Map<'a> {
    data: &'a [f32],
    size: [usize; 2],
    channels: usize,
}

/// Weights `[C, 1, kh, kw]` as `[kh kw][C]`.
fn by_tap(weights: &[f32], channels: usize) -> Vec<f32> {
    let area = weights.len() / channels;
    (0..weights.len()).map(|i| weights[i % channels * area + i / channels]).collect()
}

/// Forward pass or input gradient: correlations of `source` `[N, .., .., C]` with one kernel per channel. Every pixel
/// of the targets is written.
pub(crate) fn run(
    correlations: &[Correlation],
    images: usize,
    (source, size): (&[f32], [usize; 2]),
    weights: &[f32],
    target: Target,
) {
    let channels = target.channels;
    let weights = by_tap(weights, channels);
    let map = Map { data: source, size, channels };
    for c in correlations {
        let most_right = c.taps.iter().map(|t| t.1).max().unwrap_or(0);
        let between = c.inside(1, (0, most_right), size[1]);
        (0..images * c.size[0]).into_par_iter().for_each(|index| {
            let (image, y) = (index / c.size[0], index % c.size[0]);
            // Taps of this row: source row, columns to the right, kernel index.
            let rows: Vec<(usize, usize, usize)> = c
                .taps
                .iter()
                .filter_map(|&(down, right, tap)| {
                    let row = c.origin[0] + (y * c.step[0] + down) as isize;
                    (row >= 0 && (row as usize) < size[0]).then(|| (image * size[0] + row as usize, right, tap))
                })
                .collect();
            let [(y0, sy), (x0, sx)] = c.target;
            let start = ((image * target.size[0] + y0 + y * sy) * target.size[1] + x0) * channels;
            row_of_results(map, c, &rows, &between, &weights, target.data, start, sx * channels);
        });
    }
}

with_lanes! {
    /// One row of results for all channels; result x starts at `start + x * pitch`.
    fn row_of_results(
        map: Map<'_>, c: &Correlation, taps: &[(usize, usize, usize)], between: &Range<usize>, weights: &[f32],
        to: Destination, start: usize, pitch: usize,
    ) = row_body;
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn row_body<L: Lanes>(
    map: Map<'_>,
    c: &Correlation,
    taps: &[(usize, usize, usize)],
    between: &Range<usize>,
    weights: &[f32],
    to: Destination,
    start: usize,
    pitch: usize,
) {
    for channel in (0..map.channels).step_by(16) {
        let count = (map.channels - channel).min(16);
        let mut x = 0;
        while x < c.size[1] {
            let whole = x >= between.start && x + PIXELS <= between.end;
            let mut sums = [zero::<L>(); PIXELS];
            for &(row, right, tap) in taps {
                let weight = read::<L>(weights, tap * map.channels + channel, count);
                let column = c.origin[1] + (x * c.step[1] + right) as isize;
                if whole {
                    let at = (row * map.size[1] + column as usize) * map.channels + channel;
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let value = read::<L>(map.data, at + i * c.step[1] * map.channels, count);
                        *sum = add_product(*sum, weight, value);
                    }
                } else if column >= 0 && (column as usize) < map.size[1] {
                    let at = (row * map.size[1] + column as usize) * map.channels + channel;
                    sums[0] = add_product(sums[0], weight, read::<L>(map.data, at, count));
                }
            }
            let pixels = if whole { PIXELS } else { 1 };
            for (i, sum) in sums.iter().take(pixels).enumerate() {
                let place = to.at(start + (x + i) * pitch + channel, count);
                // SAFETY: inside the buffer (asserted in debug builds); this row of results belongs to this task.
                unsafe { sum.store_some(place, count) };
            }
            x += pixels;
        }
    }
}

#[inline(always)]
fn zero<L: Lanes>() -> L {
    // SAFETY: `with_lanes!` chose L for this processor.
    unsafe { L::zero() }
}

#[inline(always)]
fn add_product<L: Lanes>(sum: L, a: L, b: L) -> L {
    // SAFETY: `with_lanes!` chose L for this processor.
    unsafe { sum.add_product(a, b) }
}

/// Floats `at..at + count`.
#[inline(always)]
fn read<L: Lanes>(data: &[f32], at: usize, count: usize) -> L {
    debug_assert!(at + count <= data.len());
    // SAFETY: `with_lanes!` chose L for this processor; callers stay inside the map (asserted in debug builds).
    unsafe {
        let from = data.as_ptr().add(at);
        if count == 16 { L::load(from) } else { L::load_some(from, count) }
    }
}

/// dW `[C, 1, kh, kw]`.
pub(crate) fn weight_gradient(g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (c, channels, area) = (Correlation::forward(g), g.channels_in, g.kernel[0] * g.kernel[1]);
    let map = Map { data: x, size: g.input, channels };
    let rows = g.batch * g.output[0];
    let per_part = rows.div_ceil(PARTS);
    let parts: Vec<Vec<f32>> = (0..rows.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![0.0; area * channels];
            let rows = part * per_part..((part + 1) * per_part).min(rows);
            rows_of_sums(map, g, &c, dy, rows, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; area * channels];
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(a, b)| *a += b);
    }
    (0..total.len()).map(|i| total[i % area * channels + i / area]).collect()
}

with_lanes! {
    /// Adds rows `rows` (image, y) of the gradient's sum to `sums[tap][channel]`.
    fn rows_of_sums(
        map: Map<'_>, g: &ConvGeometry, c: &Correlation, dy: &[f32], rows: Range<usize>, sums: &mut [f32],
    ) = rows_of_sums_body;
}

#[inline(always)]
fn rows_of_sums_body<L: Lanes>(
    map: Map<'_>,
    g: &ConvGeometry,
    c: &Correlation,
    dy: &[f32],
    rows: Range<usize>,
    sums: &mut [f32],
) {
    let [height, width] = g.output;
    for channel in (0..map.channels).step_by(16) {
        let count = (map.channels - channel).min(16);
        for index in rows.clone() {
            let (image, y) = (index / height, index % height);
            for taps in c.taps.chunk_by(|a, b| a.0 == b.0).flat_map(|row| row.chunks(TAPS)) {
                let row = c.origin[0] + (y * c.step[0] + taps[0].0) as isize;
                if row < 0 || row as usize >= map.size[0] {
                    continue;
                }
                let line = (image * map.size[0] + row as usize) * map.size[1];
                let dys = index * width * map.channels + channel;
                let mut acc = [zero::<L>(); TAPS];
                // The range of x where all taps of this group are inside.
                let inside = c.inside(1, (taps[0].1, taps[taps.len() - 1].1), map.size[1]);
                for x in 0..width {
                    let d = read::<L>(dy, dys + x * map.channels, count);
                    let whole = inside.contains(&x);
                    for (sum, tap) in acc.iter_mut().zip(taps) {
                        let column = c.origin[1] + (x * c.step[1] + tap.1) as isize;
                        if whole || (column >= 0 && (column as usize) < map.size[1]) {
                            let at = (line + column as usize) * map.channels + channel;
                            *sum = add_product(*sum, d, read::<L>(map.data, at, count));
                        }
                    }
                }
                for (sum, tap) in acc.iter().zip(taps) {
                    let place = &mut sums[tap.2 * map.channels + channel..][..count];
                    // SAFETY: `with_lanes!` chose L for this processor; the slice holds `count` floats.
                    unsafe {
                        let before = L::load_some(place.as_ptr(), count);
                        before.plus(*sum).store_some(place.as_mut_ptr(), count);
                    }
                }
            }
        }
    }
}
