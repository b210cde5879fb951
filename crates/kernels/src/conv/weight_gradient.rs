//! The weight gradient as a product that sums over pixels.
//!
//! ```text
//! dW[o, c, u, v] = sum_{n, i, j} dY[n, o, i, j] * X[n, c, i*s - p + u*d, j*s - p + v*d]
//! ```
//! A pixel (n, i, j) gives a row of dY (all o) and, for each tap (u, v), a pixel of the padded X (all c). The sum over
//! pixels is the inner loop of the product; nothing is summed across lanes. Sums are kept as rows (u, v, c) of all o and
//! put into the weights' order at the end.
//!
//! X is copied in blocks of eight channels, dY in panels of a few vectors, so that the inner loop reads both in a row:
//! side by side their pixels lie a power of two apart, which a cache does not like. With few channels (the first layer)
//! a whole run (v, c) of the padded X is one block.
//!
//! | dW | method |
//! |---|---|
//! | 1x1, stride 1 | product of plain matrices, straight into dW |
//! | 3x3, stride 1, any dilation, 128 channels or more on both sides, 64 tiles of 4x4 at least half filled | Winograd (`winograd/weights.rs`) |
//! | up to 64 K floats | eight fixed parts of the batch sum on their own; the parts are added in order |
//! | larger | pixels in blocks, one after the other; tasks share out dW |
//!
//! The last two multiply the padding, too: of a kernel dilated as widely as the map is large most products are with
//! zeros.
use rayon::prelude::*;

use super::blocks::{Block, Blocks, Rows};
use super::geometry::{ConvGeometry, Correlation};
use super::strip::{Source, Task};
use super::winograd::weights;
use crate::product::{Destination, Lanes, Panel, Product, Start, Tile, even, with_lanes};

/// Floats of dW up to which parts of the batch have copies of their own.
const SMALL: usize = 64 * 1024;
/// Parts of the batch. Fixed, so that the order of sums does not depend on the threads.
const PARTS: usize = 8;
/// Pixels of a block of a small dW.
const PIXELS: usize = 512;
/// The same for a large dW, which is itself read and written once for each block.
const PIXELS_LARGE: usize = 2048;

/// dW `[O, C/G, kh, kw]` from X `[N, H, W, C]` and dY `[N, H', W', O]`.
pub(crate) fn run(product: &Product, g: &ConvGeometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let depth = g.group_in() * g.kernel[0] * g.kernel[1];
    let per_group = g.group_out() * depth;
    if weights::applies_to_weights(g) {
        // SAFETY: Winograd's way writes all of dW.
        return unsafe { Destination::filled(g.channels_out * depth, |dw| weights::run(product, g, x, dy, dw)) };
    }
    // SAFETY: every group writes its part of dW.
    unsafe {
        Destination::filled(g.channels_out * depth, |dw| {
            for group in 0..g.groups {
                let job = Job::new(product, g, x, dy, group);
                let sums = if depth * job.width <= SMALL { job.in_parts() } else { job.shared() };
                unpack(g, &sums, job.width, dw, group * per_group);
            }
        })
    }
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

    /// Tasks of whole rows, or of whole images when those are small.
    fn tasks(&self, pixels: usize) -> Vec<Task> {
        let [rows, columns] = self.g.output;
        if rows * columns * 2 <= pixels {
            let count = pixels / (rows * columns);
            let task = |(first, count)| Task { first, count, row: 0, rows };
            return even(self.g.batch, count).map(task).collect();
        }
        let strips =
            |first| even(rows, (pixels / columns).max(1)).map(move |(row, rows)| Task { first, count: 1, row, rows });
        (0..self.g.batch).flat_map(strips).collect()
    }

    /// Small dW: parts of the batch (or of the rows of a few images) in parallel, their sums added in order.
    fn in_parts(&self) -> Vec<f32> {
        let pixels = PIXELS.min((self.g.pixels_out() / PARTS).max(1));
        let tasks = self.tasks(pixels);
        let parts: Vec<Vec<f32>> = tasks
            .par_chunks(tasks.len().div_ceil(PARTS))
            .map(|tasks| {
                let mut sums = vec![0.0; self.depth * self.width];
                let mut rooms = Default::default();
                for (i, task) in tasks.iter().enumerate() {
                    let blocks = Blocks::new(&self.c, self.source, *task, &mut rooms, false);
                    for panel in &self.panels {
                        let rows = Rows::new(self.g, self.dy, self.first, *task, panel);
                        let all = 0..blocks.list(self.product, panel).len();
                        self.accumulate(*task, &blocks, &rows, panel, all, i == 0, Destination::new(&mut sums));
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

    /// Large dW: pixels block after block, tasks take panels and ranges of channels.
    fn shared(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.depth * self.width];
        let to = Destination::new(&mut sums);
        let parts = 8usize.div_ceil(self.panels.len());
        let mut rooms = Default::default();
        for (i, task) in self.tasks(PIXELS_LARGE).into_iter().enumerate() {
            let blocks = Blocks::new(&self.c, self.source, task, &mut rooms, true);
            (0..parts * self.panels.len()).into_par_iter().for_each(|index| {
                let (panel, part) = (&self.panels[index / parts], index % parts);
                let rows = Rows::new(self.g, self.dy, self.first, task, panel);
                let count = blocks.list(self.product, panel).len();
                let range = part * count / parts..(part + 1) * count / parts;
                self.accumulate(task, &blocks, &rows, panel, range, i == 0, to);
            });
        }
        sums
    }

    /// Adds the products of a task's pixels to the blocks `range` of one panel. Pixels pass in pieces whose dY stays in
    /// the first-level cache.
    #[allow(clippy::too_many_arguments)]
    fn accumulate(
        &self,
        task: Task,
        blocks: &Blocks<'_>,
        rows: &Rows,
        panel: &Panel,
        range: std::ops::Range<usize>,
        first: bool,
        to: Destination,
    ) {
        let width = self.g.output[1];
        let all = blocks.steps(&self.c, task, width * panel.width());
        let stride = self.g.stride[1] * blocks.pixel;
        let list = blocks.list(self.product, panel);
        for (piece, steps) in all.chunks((panel.chunk() / width).max(1)).enumerate() {
            for &Block { from, row, q } in &list[range.clone()] {
                debug_assert!(steps.iter().all(|s| from + s.a + (width - 1) * stride + q <= blocks.data.len()));
                debug_assert!(steps.iter().all(|s| s.b + width * panel.width() <= rows.data.len()));
                let tile = Tile {
                    a: blocks.data[from..].as_ptr(),
                    row: 0,
                    stride,
                    steps,
                    k: width,
                    b: rows.data.as_ptr(),
                    b_row: panel.width(),
                    c: to.at(row * self.width + panel.column, (q - 1) * self.width + panel.columns()),
                    c_row: 0,
                    c_col: self.width,
                    tail: panel.tail,
                    start: if first && piece == 0 { Start::Zero } else { Start::Sum },
                    bounds: None,
                };
                // SAFETY: the reach in X and dY is asserted above in debug builds; the task owns these rows of the sums.
                unsafe { self.product.across(q, panel.vectors, &tile) };
            }
        }
    }
}

/// From rows (u, v, c) of all o to the weights' order (o, c, u, v), from `start` on.
fn unpack(g: &ConvGeometry, sums: &[f32], width: usize, dw: Destination, start: usize) {
    let blocks = g.group_out().div_ceil(16);
    let small = sums.len() < 16 * 1024;
    let task = |i: usize| unpack_vector(g, sums, width, 16 * i, dw, start);
    if small { (0..blocks).for_each(task) } else { (0..blocks).into_par_iter().for_each(task) }
}

with_lanes! {
    /// Output channels `o` to `o + 16`: sixteen (c, u, v) of each are gathered at a time, from rows that stay in cache.
    fn unpack_vector(g: &ConvGeometry, sums: &[f32], width: usize, o: usize, dw: Destination, start: usize) = unpack_body;
}
#[inline(always)]
fn unpack_body<L: Lanes>(g: &ConvGeometry, sums: &[f32], width: usize, o: usize, dw: Destination, start: usize) {
    let (area, channels) = (g.kernel[0] * g.kernel[1], g.group_in());
    let depth = area * channels;
    assert!(sums.len() <= i32::MAX as usize, "a group of more than 2^31 weights");
    for j in (0..depth).step_by(16) {
        let count = (depth - j).min(16);
        let places: [i32; 16] = std::array::from_fn(|i| {
            let (c, t) = ((j + i.min(count - 1)) / area, (j + i.min(count - 1)) % area);
            ((t * channels + c) * width) as i32
        });
        assert!(places.iter().all(|&place| place as usize + o + 16 <= sums.len()));
        for lane in 0..(g.group_out() - o).min(16) {
            let to = dw.at(start + (o + lane) * depth + j, count);
            // SAFETY: the places were just checked; this task owns these output channels; `with_lanes!` chose L for this
            // processor.
            unsafe { L::gather(sums[o + lane..].as_ptr(), &places).store_some(to, count) };
        }
    }
}
