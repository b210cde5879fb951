//! The weight gradient as a product with channels innermost.
//!
//! ```text
//! dW[o, c, u, v] = sum_{n, i, j} dY[n, o, i, j] * X[n, c, i*s - p + u*d, j*s - p + v*d]
//! ```
//! Both operands are laid out pixel by pixel with the channels innermost. Then one position (n, i, j) gives a row of
//! dY (all o) and, for each kernel row u, a contiguous run of X: all (v, c) when the taps of the row lie side by side.
//! The sum over positions is the inner loop of the micro-kernel; nothing is summed across lanes.
use rayon::prelude::*;

use super::geometry::ConvGeometry;
use super::micro::{Micro, TILE};

/// Below this size each part of the batch sums into its own copy of dW; above, tasks share one copy by output channel.
const SMALL: usize = 64 * 1024;
/// Parts of the batch for a small dW. Fixed, so that the order of sums does not depend on the threads.
const PARTS: usize = 8;
/// Positions that are laid out at a time for a large dW.
const POSITIONS: usize = 1024;

/// Shape of the work for one group.
struct Layout {
    /// Floats per X pixel: the group's channels.
    channels: usize,
    /// Floats per dY pixel: the group's output channels, rounded up to the tile.
    outputs: usize,
    /// Padded height and width of X.
    padded: [usize; 2],
    /// Runs per position: (offset in floats, length).
    runs: Vec<(usize, usize)>,
}

impl Layout {
    fn new(micro: &Micro, g: &ConvGeometry) -> Self {
        let channels = g.group_in();
        let padded = [
            (g.output[0] - 1) * g.stride[0] + (g.kernel[0] - 1) * g.dilation[0] + 1,
            (g.output[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1,
        ];
        let mut runs = Vec::new();
        for u in 0..g.kernel[0] {
            let row = u * g.dilation[0] * padded[1];
            if g.dilation[1] == 1 {
                runs.push((row * channels, g.kernel[1] * channels));
            } else {
                runs.extend((0..g.kernel[1]).map(|v| ((row + v * g.dilation[1]) * channels, channels)));
            }
        }
        Self { channels, outputs: g.group_out().next_multiple_of(micro.mr), padded, runs }
    }

    /// Floats of one output channel's gradient in run order.
    fn width(&self) -> usize {
        self.runs.iter().map(|r| r.1).sum()
    }
}

/// dW `[O, C/G, kh, kw]` from X `[N, C, H, W]` and dY `[N, O, H', W']`.
pub(crate) fn run(micro: &Micro, g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let layout = Layout::new(micro, g);
    let width = layout.width();
    let mut dw = vec![0.0; g.channels_out * width];
    for group in 0..g.groups {
        let sums = if layout.outputs * width <= SMALL {
            in_parts(micro, g, &layout, group, x, dy)
        } else {
            shared(micro, g, &layout, group, x, dy)
        };
        unpermute(g, &sums, group, &mut dw);
    }
    dw
}

/// Small dW: parts of the batch in parallel, their sums added in order.
fn in_parts(micro: &Micro, g: &ConvGeometry, layout: &Layout, group: usize, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let per_part = g.batch.div_ceil(PARTS);
    let parts: Vec<Vec<f32>> = (0..g.batch.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![0.0; layout.outputs * layout.width()];
            let mut operands = Operands::default();
            for image in part * per_part..((part + 1) * per_part).min(g.batch) {
                operands.lay_out(micro, g, layout, group, x, dy, image..image + 1, false);
                for (block, rows) in sums.chunks_exact_mut(micro.mr * layout.width()).enumerate() {
                    operands.accumulate(micro, layout, block, rows);
                }
            }
            sums
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        total.iter_mut().zip(&part).for_each(|(a, b)| *a += b);
    }
    total
}

/// Large dW: a block of images is laid out, then tasks take output channels.
fn shared(micro: &Micro, g: &ConvGeometry, layout: &Layout, group: usize, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; layout.outputs * layout.width()];
    let mut operands = Operands::default();
    let step = (POSITIONS / (g.output[0] * g.output[1])).clamp(1, g.batch);
    for first in (0..g.batch).step_by(step) {
        operands.lay_out(micro, g, layout, group, x, dy, first..(first + step).min(g.batch), true);
        sums.par_chunks_exact_mut(micro.mr * layout.width())
            .enumerate()
            .for_each(|(block, rows)| operands.accumulate(micro, layout, block, rows));
    }
    sums
}

/// Channel-innermost copies of some images, and where each position's row starts.
#[derive(Default)]
struct Operands {
    x: Vec<f32>,
    dy: Vec<f32>,
    rows: Vec<u32>,
}

impl Operands {
    #[allow(clippy::too_many_arguments)]
    fn lay_out(
        &mut self,
        micro: &Micro,
        g: &ConvGeometry,
        layout: &Layout,
        group: usize,
        x: &[f32],
        dy: &[f32],
        images: std::ops::Range<usize>,
        parallel: bool,
    ) {
        let (image_x, image_dy) =
            (layout.padded[0] * layout.padded[1] * layout.channels, g.output[0] * g.output[1] * layout.outputs);
        self.x.resize(images.len() * image_x + micro.nr, 0.0);
        self.dy.resize(images.len() * image_dy, 0.0);
        let fill = |(i, (to_x, to_dy)): (usize, (&mut [f32], &mut [f32]))| {
            let image = images.start + i;
            let (in_area, out_area) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
            let from_x = &x[(image * g.channels_in + group * g.group_in()) * in_area..][..g.group_in() * in_area];
            let from_dy =
                &dy[(image * g.channels_out + group * g.group_out()) * out_area..][..g.group_out() * out_area];
            channels_last(from_x, g.group_in(), g.input, g.padding, to_x, layout.channels, layout.padded);
            channels_last(from_dy, g.group_out(), g.output, [0, 0], to_dy, layout.outputs, g.output);
        };
        let parts = (self.x.par_chunks_exact_mut(image_x), self.dy.par_chunks_exact_mut(image_dy));
        if parallel {
            parts.0.zip(parts.1).enumerate().for_each(fill);
        } else {
            self.x.chunks_exact_mut(image_x).zip(self.dy.chunks_exact_mut(image_dy)).enumerate().for_each(fill);
        }
        self.rows.clear();
        for i in 0..images.len() {
            for y in 0..g.output[0] {
                let row = (i * layout.padded[0] + y * g.stride[0]) * layout.padded[1];
                self.rows.extend((0..g.output[1]).map(|x| ((row + x * g.stride[1]) * layout.channels) as u32));
            }
        }
    }

    /// Adds the products of these images to the gradient rows of one block of output channels.
    fn accumulate(&self, micro: &Micro, layout: &Layout, block: usize, rows: &mut [f32]) {
        let mut tile = [0.0; TILE];
        let width = layout.width();
        let mut column = 0;
        for &(offset, length) in &layout.runs {
            for j in (0..length).step_by(micro.nr) {
                let count = micro.nr.min(length - j);
                let a = &self.dy[block * micro.mr..];
                micro.run(a, layout.outputs, &self.x, offset + j, &self.rows, &mut tile);
                for i in 0..micro.mr {
                    let to = &mut rows[i * width + column + j..][..count];
                    to.iter_mut().zip(&tile[i * micro.nr..]).for_each(|(a, b)| *a += b);
                }
            }
            column += length;
        }
    }
}

/// `to[y][x][c] = from[c][y - pad][x - pad]`, zero outside; `to` has `stride` floats per pixel, those above `channels`
/// are zero.
fn channels_last(
    from: &[f32],
    channels: usize,
    size: [usize; 2],
    pad: [usize; 2],
    to: &mut [f32],
    stride: usize,
    padded: [usize; 2],
) {
    let [height, width] = size;
    for (y, row) in to.chunks_exact_mut(padded[1] * stride).enumerate() {
        if y < pad[0] || y - pad[0] >= height {
            row.fill(0.0);
            continue;
        }
        let left = pad[1].min(padded[1]);
        let inside = width.min(padded[1] - left);
        row[..left * stride].fill(0.0);
        row[(left + inside) * stride..].fill(0.0);
        let inner = &mut row[left * stride..][..inside * stride];
        // Blocks of eight channels: eight source rows are read along, and one cache line is written at a time.
        for first in (0..channels).step_by(8) {
            let count = 8.min(channels - first);
            if count == 8 {
                let lines: [&[f32]; 8] =
                    std::array::from_fn(|c| &from[((first + c) * height + y - pad[0]) * width..][..inside]);
                for (x, pixel) in inner.chunks_exact_mut(stride).enumerate() {
                    let pixel = &mut pixel[first..first + 8];
                    for (p, line) in pixel.iter_mut().zip(&lines) {
                        *p = line[x];
                    }
                }
            } else {
                for c in first..first + count {
                    let line = &from[(c * height + y - pad[0]) * width..][..inside];
                    inner.chunks_exact_mut(stride).zip(line).for_each(|(pixel, &v)| pixel[c] = v);
                }
            }
        }
        if channels < stride {
            inner.chunks_exact_mut(stride).for_each(|pixel| pixel[channels..].fill(0.0));
        }
    }
}

/// From run order (u, v, c) to the weights' order (c, u, v).
fn unpermute(g: &ConvGeometry, sums: &[f32], group: usize, dw: &mut [f32]) {
    let ([kh, kw], channels) = (g.kernel, g.group_in());
    let width = kh * kw * channels;
    for o in 0..g.group_out() {
        let from = &sums[o * width..][..width];
        let to = &mut dw[(group * g.group_out() + o) * width..][..width];
        for t in 0..kh * kw {
            for c in 0..channels {
                to[c * kh * kw + t] = from[t * channels + c];
            }
        }
    }
}
