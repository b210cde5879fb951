//! The weight gradient as a product that sums over pixels.
//!
//! ```text
//! dW[o, c, u, v] = sum_{n, i, j} dY[n, o, i, j] * X[n, c, i*s - p + u*d, j*s - p + v*d]
//! ```
//! A pixel (n, i, j) gives a row of dY (all o) and, for each kernel row u, a run of the padded X: all (v, c). The sum
//! over pixels is the inner loop of the product; nothing is summed across lanes. Sums are kept as rows (u, v, c) of all
//! o and put into the weights' order at the end.
//!
//! | dW | method |
//! |---|---|
//! | up to 64 K floats | eight fixed parts of the batch sum on their own; the parts are added in order |
//! | larger | pixels in blocks, one after the other; tasks share out dW |
use std::cell::RefCell;

use rayon::prelude::*;

use super::geometry::{ConvGeometry, Correlation};
use super::strip::{Source, Strip, Task};
use crate::product::{Destination, Panel, Product, Start, Step, Tile, even};

/// Floats of dW up to which parts of the batch have copies of their own.
const SMALL: usize = 64 * 1024;
/// Parts of the batch. Fixed, so that the order of sums does not depend on the threads.
const PARTS: usize = 8;
/// Pixels of a block whose dY stays in the first or second-level cache while all of dW passes.
const PIXELS: usize = 256;
/// The same for a large dW, which is itself read and written once for each block.
const PIXELS_LARGE: usize = 1024;

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// dW `[O, C/G, kh, kw]` from X `[N, H, W, C]` and dY `[N, H', W', O]`.
pub(crate) fn run(product: &Product, g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let depth = g.group_in() * g.kernel[0] * g.kernel[1];
    let mut dw = vec![0.0; g.channels_out * depth];
    for group in 0..g.groups {
        let job = Job::new(product, g, x, dy, group);
        let sums = if depth * job.width <= SMALL { job.in_parts() } else { job.shared() };
        unpack(g, &sums, job.width, &mut dw[group * g.group_out() * depth..][..g.group_out() * depth]);
    }
    dw
}

struct Job<'a> {
    product: &'a Product,
    g: &'a ConvGeometry,
    c: Correlation,
    source: Source<'a>,
    dy: &'a [f32],
    /// First output channel of the group.
    first: usize,
    panels: Vec<Panel>,
    /// Output channels of the group, rounded up to whole vectors.
    width: usize,
    depth: usize,
}

impl<'a> Job<'a> {
    fn new(product: &'a Product, g: &'a ConvGeometry, x: &'a [f32], dy: &'a [f32], group: usize) -> Self {
        let per_group = (group * g.group_in(), g.group_in());
        Self {
            product,
            g,
            c: Correlation::forward(g),
            source: Source { data: x, images: g.batch, size: g.input, channels: g.channels_in, group: per_group },
            dy,
            first: group * g.group_out(),
            panels: Panel::cut(product, g.group_out(), 0),
            width: g.group_out().next_multiple_of(16),
            depth: g.group_in() * g.kernel[0] * g.kernel[1],
        }
    }

    /// Blocks of whole rows, or of whole images when those are small.
    fn blocks(&self, images: std::ops::Range<usize>, pixels: usize) -> Vec<Task> {
        let [rows, columns] = self.g.output;
        let mut list = Vec::new();
        if rows * columns * 2 <= pixels {
            let count = (pixels / (rows * columns)).max(1);
            for first in images.clone().step_by(count) {
                list.push(Task { first, count: count.min(images.end - first), row: 0, rows });
            }
            return list;
        }
        for first in images {
            list.extend(even(rows, (pixels / columns).max(1)).map(|(row, rows)| Task { first, count: 1, row, rows }));
        }
        list
    }

    /// Small dW: parts of the batch (or of the rows of a few images) in parallel, their sums added in order.
    fn in_parts(&self) -> Vec<f32> {
        let blocks = self.blocks(0..self.g.batch, PIXELS);
        let per_part = blocks.len().div_ceil(PARTS);
        let parts: Vec<Vec<f32>> = blocks
            .par_chunks(per_part)
            .map(|blocks| {
                let mut sums = vec![0.0; self.depth * self.width];
                ROOM.with(|room| {
                    let room = &mut room.borrow_mut();
                    for (i, block) in blocks.iter().enumerate() {
                        let strip = Strip::new(&self.c, self.source, *block, room);
                        let to = Destination::new(&mut sums);
                        self.panels
                            .iter()
                            .for_each(|panel| self.accumulate(*block, &strip, panel, 0..usize::MAX, i == 0, to));
                    }
                });
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

    /// Large dW: block after block, tasks take panels and ranges of taps.
    fn shared(&self) -> Vec<f32> {
        let blocks = self.blocks(0..self.g.batch, PIXELS_LARGE);
        let mut sums = vec![0.0; self.depth * self.width];
        let to = Destination::new(&mut sums);
        let parts = 8usize.div_ceil(self.panels.len());
        let mut room = Vec::new();
        for (i, block) in blocks.iter().enumerate() {
            let strip = Strip::new(&self.c, self.source, *block, &mut room);
            (0..parts * self.panels.len()).into_par_iter().for_each(|task| {
                let (panel, part) = (&self.panels[task / parts], task % parts);
                let tiles = self.tiles(&strip, panel).len();
                let range = part * tiles / parts..(part + 1) * tiles / parts;
                self.accumulate(*block, &strip, panel, range, i == 0, to);
            });
        }
        sums
    }

    /// Tiles of one panel: (offset in the strip, row of the sums, Q).
    fn tiles(&self, strip: &Strip<'_>, panel: &Panel) -> Vec<(usize, usize, usize)> {
        let (channels, taps) = (self.source.group.1, &self.c.taps);
        let together = strip.pixel == channels && self.g.dilation[1] == 1;
        let (length, count) =
            if together { (channels * self.g.kernel[1], self.g.kernel[0]) } else { (channels, taps.len()) };
        let most = self.product.pixels_across(panel.vectors);
        let run = |i: usize| {
            let (down, right, tap) = taps[i * taps.len() / count];
            even(length, most)
                .map(move |(at, q)| (down * strip.pitch + right * strip.pixel + at, tap * channels + at, q))
        };
        (0..count).flat_map(run).collect()
    }

    /// Adds the products of a block of pixels to the tiles `range` of one panel.
    fn accumulate(
        &self,
        block: Task,
        strip: &Strip<'_>,
        panel: &Panel,
        range: std::ops::Range<usize>,
        first: bool,
        to: Destination,
    ) {
        let ([height, width], outputs) = (self.g.output, self.g.channels_out);
        let mut steps = Vec::with_capacity(block.count * block.rows);
        for image in 0..block.count {
            for y in 0..block.rows {
                steps.push(Step {
                    a: image * strip.image + y * self.g.stride[0] * strip.pitch,
                    b: ((block.first + image) * height + block.row + y) * width * outputs,
                });
            }
        }
        let stride = self.g.stride[1] * strip.pixel;
        let tiles = self.tiles(strip, panel);
        for &(from, row, q) in &tiles[range.start..range.end.min(tiles.len())] {
            let a = strip.start + from;
            debug_assert!(steps.iter().all(|s| a + s.a + (width - 1) * stride + q <= strip.data.len()));
            let b = self.first + panel.column;
            debug_assert!(steps.iter().all(|s| b + s.b + (width - 1) * outputs + panel.columns() <= self.dy.len()));
            let tile = Tile {
                a: strip.data[a..].as_ptr(),
                row: 0,
                stride,
                steps: &steps,
                k: width,
                b: self.dy[b..].as_ptr(),
                b_row: outputs,
                c: to.at(row * self.width + panel.column, (q - 1) * self.width + panel.columns()),
                c_row: 0,
                c_col: self.width,
                tail: panel.tail,
                start: if first { Start::Zero } else { Start::Sum },
                bounds: None,
            };
            // SAFETY: the reach in X and dY is asserted above in debug builds; the task owns these tiles of the sums.
            unsafe { self.product.across(q, panel.vectors, &tile) };
        }
    }
}

/// From rows (u, v, c) of all o to the weights' order (o, c, u, v).
fn unpack(g: &ConvGeometry, sums: &[f32], width: usize, dw: &mut [f32]) {
    let (area, channels) = (g.kernel[0] * g.kernel[1], g.group_in());
    // Sixteen output channels at a time: a cache line of every row.
    let block = |(i, dw): (usize, &mut [f32])| {
        for c in 0..channels {
            for t in 0..area {
                let row = &sums[(t * channels + c) * width + 16 * i..];
                let places = dw[c * area + t..].iter_mut().step_by(channels * area);
                places.zip(row).take(16).for_each(|(to, &v)| *to = v);
            }
        }
    };
    let length = 16 * channels * area;
    if dw.len() < 16 * 1024 {
        dw.chunks_mut(length).enumerate().for_each(block);
    } else {
        dw.par_chunks_mut(length).enumerate().for_each(block);
    }
}
