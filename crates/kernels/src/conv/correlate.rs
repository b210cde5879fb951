//! A correlation as a matrix product: forward pass and input gradient.
//!
//! With channels innermost the values under one kernel row are one run of floats (as long as no dilation parts them),
//! and the runs of neighbouring pixels lie a constant distance apart. So a tile of Q pixels reads the source itself (or
//! its padded copy); only the weights are packed. The depth (taps times channels) is cut into chunks whose weights stay
//! in the first-level cache while all pixels of the task pass over them.
use std::cell::RefCell;

use rayon::prelude::*;

use super::around;
use super::geometry::{ConvGeometry, Correlation};
use super::strip::{Cut, Source, Strip, Task};
use super::winograd;
use crate::product::{Destination, Epilogue, Panel, Panels, Product, Step, Tile, Weights, even};

/// Which index of the weights `[O, C/G, kh, kw]` plays the result's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    InputGradient,
}

thread_local! {
    // Borrowed by a task that contains no parallel code: the thread cannot take up another task meanwhile.
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Where a correlation writes: channels-last maps of `size` with `channels` in all.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub data: Destination,
    pub size: [usize; 2],
    pub channels: usize,
}

#[allow(clippy::too_many_arguments, reason = "one call describes the whole product")]
/// Runs the correlation for all groups. Writes every pixel that its target names.
pub(crate) fn run(
    product: &Product,
    g: &ConvGeometry,
    direction: Direction,
    c: &Correlation,
    source: &[f32],
    weights: &[f32],
    epilogue: Epilogue<'_>,
    target: Target,
) {
    let (from, to, size) = match direction {
        Direction::Forward => (g.group_in(), g.group_out(), g.input),
        Direction::InputGradient => (g.group_out(), g.group_in(), g.output),
    };
    for group in 0..g.groups {
        let channels = from * g.groups;
        let source = Source { data: source, images: g.batch, size, channels, group: (group * from, from) };
        if c.taps.is_empty() {
            fill_zero(c, g.batch, (group * to, to), target);
            continue;
        }
        if g.groups == 1 && winograd::applies(c, g.batch, [from, to]) {
            winograd::run(product, c, source, columns(g, direction, weights, group, &taps(c)), epilogue, target);
            continue;
        }
        let packed = Panels::pack(product, columns(g, direction, weights, group, &taps(c)));
        let job = Job { product, c, source, packed: &packed, epilogue, target, first: group * to };
        if around::applies(c) { around::run(&job) } else { job.run() }
    }
}

fn taps(c: &Correlation) -> Vec<usize> {
    c.taps.iter().map(|t| t.2).collect()
}

/// The group's weights as the right operand of the product.
fn columns<'a>(
    g: &ConvGeometry,
    direction: Direction,
    weights: &'a [f32],
    group: usize,
    taps: &'a [usize],
) -> Weights<'a> {
    let area = g.kernel[0] * g.kernel[1];
    let per_output = g.group_in() * area;
    let start = group * g.group_out() * per_output;
    let (output, input) = ((g.group_out(), per_output), (g.group_in(), area));
    let (columns, channels) = if direction == Direction::Forward { (output, input) } else { (input, output) };
    Weights { data: weights, start, columns, channels, taps }
}

/// A phase of the input gradient which no tap reaches.
fn fill_zero(c: &Correlation, images: usize, (first, count): (usize, usize), target: Target) {
    (0..images * c.size[0]).into_par_iter().for_each(|row| {
        for x in 0..c.size[1] {
            target.data.fill(pixel_of(c, target, row / c.size[0], row % c.size[0], x) + first, count, 0.0);
        }
    });
}

/// Where the channels of result (y, x) of an image start.
pub(crate) fn pixel_of(c: &Correlation, target: Target, image: usize, y: usize, x: usize) -> usize {
    let [(y0, sy), (x0, sx)] = c.target;
    ((image * target.size[0] + y0 + y * sy) * target.size[1] + x0 + x * sx) * target.channels
}

/// The runs of one chunk of the depth: `k` floats each.
struct Chunk {
    steps: Vec<(usize, usize)>,
    k: usize,
}

/// Cuts the depth into chunks of at most `most` rows: a long run in pieces, short ones together. A step is (offset in
/// the strip, row of the packed weights).
fn chunks(c: &Correlation, strip: &Strip<'_>, channels: usize, most: usize) -> Vec<Chunk> {
    let side_by_side = strip.pixel == channels;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut length = channels;
    for (i, &(down, right, _)) in c.taps.iter().enumerate() {
        let follows = i > 0 && c.taps[i - 1].0 == down && c.taps[i - 1].1 + 1 == right;
        if side_by_side && follows {
            continue;
        }
        runs.push((down * strip.pitch + right * strip.pixel, i * channels));
    }
    if let Some(taps) = c.taps.len().checked_div(runs.len()) {
        length *= taps;
    }
    if length > most {
        let pieces = |run: &(usize, usize)| {
            let (a, b) = *run;
            even(length, most).map(move |(k, n)| Chunk { steps: vec![(a + k, b + k)], k: n }).collect::<Vec<_>>()
        };
        runs.iter().flat_map(pieces).collect()
    } else {
        runs.chunks(most / length).map(|runs| Chunk { steps: runs.to_vec(), k: length }).collect()
    }
}

/// One group's product; every task reads the same fields.
pub(super) struct Job<'a> {
    pub product: &'a Product,
    pub c: &'a Correlation,
    pub source: Source<'a>,
    pub packed: &'a Panels,
    pub epilogue: Epilogue<'a>,
    pub target: Target,
    /// First result channel of the group.
    pub first: usize,
}

impl Job<'_> {
    fn run(&self) {
        let cut = Cut::new(self.c, &self.source);
        let panels = &self.packed.list;
        // Few strips: several tasks take different channels of the same strip.
        let groups = (8 / cut.tasks()).clamp(1, panels.len());
        let tasks = cut.tasks() * groups;
        let task = |index: usize| {
            let group = index % groups;
            let range = group * panels.len() / groups..(group + 1) * panels.len() / groups;
            ROOM.with(|room| self.task(cut.task(index / groups), &panels[range], &mut room.borrow_mut()));
        };
        if tasks == 1 { task(0) } else { (0..tasks).into_par_iter().for_each(task) }
    }

    fn task(&self, task: Task, panels: &[Panel], room: &mut Vec<f32>) {
        let strip = Strip::new(self.c, self.source, task, room);
        for panel in panels {
            let chunks = chunks(self.c, &strip, self.source.group.1, panel.chunk());
            for (i, chunk) in chunks.iter().enumerate() {
                let (start, bounds) = self.epilogue.of(i, chunks.len(), self.first + panel.column);
                let steps: Vec<Step> =
                    chunk.steps.iter().map(|&(a, row)| Step { a, b: panel.offset + row * panel.width() }).collect();
                let tile = Tile {
                    a: std::ptr::null(),
                    row: self.c.step[0] * strip.pitch,
                    stride: self.c.step[1] * strip.pixel,
                    steps: &steps,
                    k: chunk.k,
                    b: self.packed.data().as_ptr(),
                    b_row: panel.width(),
                    c: std::ptr::null_mut(),
                    c_row: self.c.target[0].1 * self.target.size[1] * self.target.channels,
                    c_col: self.c.target[1].1 * self.target.channels,
                    tail: panel.tail,
                    start,
                    bounds,
                };
                self.pixels(task, &strip, panel, tile);
            }
        }
    }

    /// All pixels of the task for one chunk of one panel: `tile` has everything but the places.
    fn pixels(&self, task: Task, strip: &Strip<'_>, panel: &Panel, tile: Tile<'_>) {
        let columns = self.c.size[1];
        let pair = self.product.pixels(2, panel.vectors);
        let (height, most) = if columns <= pair { (2, pair) } else { (1, self.product.pixels(1, panel.vectors)) };
        for image in 0..task.count {
            let mut y = 0;
            while y < task.rows {
                let rows = height.min(task.rows - y);
                for (x, q) in even(columns, most) {
                    let from = strip.start + image * strip.image + y * tile.row + x * tile.stride;
                    let to = pixel_of(self.c, self.target, task.first + image, task.row + y, x);
                    let reach = (rows - 1) * tile.row + (q - 1) * tile.stride + tile.k;
                    debug_assert!(tile.steps.iter().all(|s| from + s.a + reach <= strip.data.len()));
                    let span = (rows - 1) * tile.c_row + (q - 1) * tile.c_col + panel.columns();
                    let tile = Tile {
                        a: strip.data[from..].as_ptr(),
                        c: self.target.data.at(to + self.first + panel.column, span),
                        ..tile
                    };
                    // SAFETY: the source's reach is asserted above in debug builds, the packed panel holds `depth` rows,
                    // and this task owns these pixels in these channels.
                    unsafe { self.product.along(rows, q, panel.vectors, &tile) };
                }
                y += rows;
            }
        }
    }
}
