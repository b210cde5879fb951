//! The weight gradient, Winograd's correlation backwards.
//!
//! ```text
//! dg = G^T [ sum over tiles of (B^T d B) . (A dY A^T) ] G        d: 6x6 pixels, dY: 4x4 gradients, dg: 3x3 taps
//! ```
//! Over all channels the sums are 36 matrix products `[C, tiles] x [tiles, O]`: a quarter of the direct sum's. The
//! transformed pixels are kept in blocks of sixteen channels and the transformed gradients in the panels of the
//! product, so that the inner loop, which runs over the tiles, reads both in a row. Very many channels are taken in
//! blocks on both sides, as in the forward pass, so that their sums take 38 MB at most.
use std::ops::Range;

use rayon::prelude::*;

use super::super::geometry::{ConvGeometry, Correlation};
use super::super::strip::Source;
use super::tiles::{Order, Place, SPAN, Tiles, WIDE, half, keep, kept, spread_tiles};
use super::transforms::{collect_back, filter_back, zero};
use super::{IN, OUT, POINTS, applies, blocks, read};
use crate::product::{Destination, Lanes, Panel, Product, Start, Step, Tile, even, with_lanes};

/// Channels on both sides from which on the transforms pay.
const CHANNELS: usize = 128;
/// Transformed numbers that are kept at a time: 64 MB.
const ROOM: usize = 16 << 20;
/// Input channels whose transformed pixels stay in the second-level cache while the panels pass.
const GROUP: usize = 128;
/// Tiles of a task of the transforms.
const TASK: usize = 8;

/// Whether dW is taken this way.
pub(crate) fn applies_to_weights(g: &ConvGeometry) -> bool {
    let channels = [g.channels_in, g.channels_out];
    let many = channels.iter().all(|&n| n >= CHANNELS);
    many && g.groups == 1 && applies(&Correlation::forward(g), g.batch, channels)
}

/// dW `[O, C, 3, 3]` from X `[N, H, W, C]` and dY `[N, H', W', O]`; every weight is written.
pub(crate) fn run(product: &Product, g: &ConvGeometry, x: &[f32], dy: &[f32], dw: Destination) {
    run_in(ROOM, product, g, x, dy, dw);
}

/// The same with room for so many transformed numbers.
pub(super) fn run_in(room: usize, product: &Product, g: &ConvGeometry, x: &[f32], dy: &[f32], dw: Destination) {
    let c = Correlation::forward(g);
    let tiles = Tiles::new(&c, g.batch);
    let map = |data, size, channels, block: &Range<usize>| {
        let group = (block.start, block.len());
        Source { data, images: g.batch, size, channels, group }
    };
    for outputs in blocks(g.channels_out) {
        for inputs in blocks(g.channels_in) {
            let panels = Panel::cut(product, outputs.len(), inputs.len());
            let (x, dy) = (map(x, g.input, g.channels_in, &inputs), map(dy, g.output, g.channels_out, &outputs));
            let outputs = outputs.len().next_multiple_of(16);
            Job { product, c: &c, spacing: tiles.spacing, x, dy, panels: &panels, outputs }.run(&tiles.list, room, dw);
        }
    }
}

/// The weight gradient of a block of channels.
struct Job<'a> {
    product: &'a Product,
    c: &'a Correlation,
    spacing: [usize; 2],
    x: Source<'a>,
    dy: Source<'a>,
    /// Panels of output channels; their offsets count `[panel][C][width]`.
    panels: &'a [Panel],
    /// Output channels in whole vectors.
    outputs: usize,
}

impl Job<'_> {
    fn run(&self, tiles: &[Place], room: usize, dw: Destination) {
        let inputs = self.x.group.1.next_multiple_of(WIDE);
        let most = (room / (POINTS * (inputs + self.outputs))).max(TASK);
        let sum = |to: Destination| {
            let (mut pixels, mut gradients) = (Vec::new(), Vec::new());
            for (first, count) in even(tiles.len(), most) {
                pixels.resize(POINTS * count * inputs, 0.0);
                gradients.resize(POINTS * count * self.outputs, 0.0);
                let tiles = &tiles[first..first + count];
                self.transform(tiles, Destination::new(&mut pixels), Destination::new(&mut gradients));
                self.multiply(count, &pixels, &gradients, first == 0, to);
            }
        };
        // SAFETY: the first products write every sum, and there is at least one tile.
        let sums = unsafe { Destination::filled(POINTS * self.x.group.1 * self.outputs, sum) };
        let vectors: Vec<(Panel, usize)> = self.panels.iter().flat_map(|p| (0..p.vectors).map(|v| (*p, v))).collect();
        vectors.par_iter().for_each(|&(panel, v)| unfold_vector(self, &sums, panel, v, dw));
    }

    /// Pixels `[point][block][tile][16]` and gradients `[point][panel][tile][width]`.
    fn transform(&self, tiles: &[Place], pixels: Destination, gradients: Destination) {
        let count = tiles.len();
        let inputs = Order::blocks(count, self.x.group.1);
        let block = |p: &Panel| (0..p.vectors).map(|v| (p.column * count + 16 * v, p.width())).collect::<Vec<_>>();
        let blocks = self.panels.iter().flat_map(block).collect();
        let outputs = Order { point: count * self.outputs, blocks, channels: self.outputs };
        tiles.par_chunks(TASK).enumerate().for_each(|(i, tiles)| {
            let (inputs, outputs) = (inputs.from(i * TASK), outputs.from(i * TASK));
            spread_tiles(self.c, self.spacing, &self.x, tiles, &inputs, pixels);
            expand_tiles(&self.dy, self.spacing, tiles, &outputs, gradients);
        });
    }

    /// Adds the 36 products to the sums `[point][panel][C][width]`.
    fn multiply(&self, tiles: usize, pixels: &[f32], gradients: &[f32], first: bool, to: Destination) {
        let channels = self.x.group.1;
        let groups: Vec<usize> = (0..channels).step_by(GROUP).collect();
        (0..POINTS * groups.len()).into_par_iter().for_each(|task| {
            let (point, start) = (task / groups.len(), groups[task % groups.len()]);
            let a = &pixels[point * tiles * channels.next_multiple_of(WIDE)..];
            let b = &gradients[point * tiles * self.outputs..][..tiles * self.outputs];
            let to = to.from(point * channels * self.outputs);
            for panel in self.panels {
                for (piece, (k, length)) in even(tiles, panel.chunk()).enumerate() {
                    let b = &b[panel.column * tiles + k * panel.width()..];
                    let sum = if first && piece == 0 { Start::Zero } else { Start::Sum };
                    for channel in (start..channels.min(start + GROUP)).step_by(16) {
                        let a = &a[channel / WIDE * WIDE * tiles + k * WIDE + channel % WIDE..];
                        self.block([a, b], length, panel, channel, sum, to);
                    }
                }
            }
        });
    }

    /// Sixteen input channels of one panel, over `k` tiles.
    fn block(&self, [a, b]: [&[f32]; 2], k: usize, panel: &Panel, channel: usize, start: Start, to: Destination) {
        let width = panel.width();
        let left = (self.x.group.1 - channel).min(16);
        debug_assert!((k - 1) * WIDE + left <= a.len() && k * width <= b.len());
        for (q, count) in even(left, self.product.pixels_across(panel.vectors)) {
            let tile = Tile {
                a: a[q..].as_ptr(),
                row: 0,
                stride: WIDE,
                steps: &[Step { a: 0, b: 0 }],
                k,
                b: b.as_ptr(),
                b_row: width,
                c: to.at(panel.offset + (channel + q) * width, count * width),
                c_row: 0,
                c_col: width,
                tail: 16,
                start,
                bounds: None,
            };
            // SAFETY: the ends of A and B are asserted above in debug builds; the task owns these rows of the sums.
            unsafe { self.product.across(count, panel.vectors, &tile) };
        }
    }
}

with_lanes! {
    /// `A dY A^T` of every tile and channel; results outside the map count as zeros.
    fn expand_tiles(dy: &Source<'_>, spacing: [usize; 2], tiles: &[Place], order: &Order, to: Destination)
        = expand_tiles_body;
}
#[inline(always)]
fn expand_tiles_body<L: Lanes>(dy: &Source<'_>, spacing: [usize; 2], tiles: &[Place], order: &Order, to: Destination) {
    let ([height, width], (first, channels)) = (dy.size, dy.group);
    let mut half = half();
    for (tile, &Place { image, y, x }) in tiles.iter().enumerate() {
        for start in (0..channels).step_by(SPAN) {
            let span = start..channels.min(start + SPAN);
            for j in 0..OUT {
                for channel in span.clone().step_by(16) {
                    let mut d = [zero::<L>(); OUT];
                    for i in 0..OUT {
                        let (y, x) = (y + i * spacing[0], x + j * spacing[1]);
                        if y < height && x < width {
                            let at = ((image * height + y) * width + x) * dy.channels + first + channel;
                            d[i] = read(&dy.data[at..][..(span.end - channel).min(16)]);
                        }
                    }
                    for (i, value) in collect_back(d).into_iter().enumerate() {
                        keep(value, &mut half[i * IN + j], channel - start);
                    }
                }
            }
            for i in 0..IN {
                for channel in span.clone().step_by(16) {
                    let mut d = [zero::<L>(); OUT];
                    for j in 0..OUT {
                        d[j] = kept(&half[i * IN + j], channel - start);
                    }
                    for (j, value) in collect_back(d).into_iter().enumerate() {
                        let (at, count) = order.place(i * IN + j, tile, channel / 16);
                        // SAFETY: `with_lanes!` chose L for this processor; the tile's places belong to this task.
                        unsafe { value.store_some(to.at(at, count), count) };
                    }
                }
            }
        }
    }
}

with_lanes! {
    /// `G^T m G` of vector `v` of a panel, sixteen output channels with every input channel, to the weights' order.
    fn unfold_vector(job: &Job<'_>, sums: &[f32], panel: Panel, v: usize, dw: Destination) = unfold_body;
}
#[inline(always)]
fn unfold_body<L: Lanes>(job: &Job<'_>, sums: &[f32], panel: Panel, v: usize, dw: Destination) {
    let ((input, inputs), (output, outputs)) = (job.x.group, job.dy.group);
    // From one point's sums to the next one's.
    let point = inputs * job.outputs;
    let first = panel.column + 16 * v;
    let count = (outputs - first).min(16);
    for channel in 0..inputs {
        let from = &sums[panel.offset + channel * panel.width() + 16 * v..];
        let mut columns = [[zero::<L>(); 3]; IN];
        for j in 0..IN {
            let mut m = [zero::<L>(); IN];
            for i in 0..IN {
                m[i] = read(&from[(i * IN + j) * point..][..16]);
            }
            columns[j] = filter_back(m);
        }
        let [a, b, c, d, e, f] = columns;
        let mut taps = [[0.0f32; 16]; 9];
        for i in 0..3 {
            let line = filter_back([a[i], b[i], c[i], d[i], e[i], f[i]]);
            for j in 0..3 {
                // SAFETY: `with_lanes!` chose L for this processor; the array has sixteen floats.
                unsafe { line[j].store_some(taps[3 * i + j].as_mut_ptr(), 16) };
            }
        }
        for lane in 0..count {
            let to = dw.at(((output + first + lane) * job.x.channels + input + channel) * 9, 9);
            for (t, tap) in taps.iter().enumerate() {
                // SAFETY: nine floats of a pair of channels, which only this task writes.
                unsafe { to.add(t).write(tap[lane]) };
            }
        }
    }
}
