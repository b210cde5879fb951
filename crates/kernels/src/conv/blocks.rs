//! The operands of the weight gradient, copied so that the inner loop reads them in a row.
use rayon::prelude::*;

use super::geometry::{ConvGeometry, Correlation};
use super::strip::{Source, Strip, Task};
use crate::product::{Panel, Product, Step, even};

/// Channels of a block of X.
const CHANNELS: usize = 8;
/// Channels from which on X is copied in blocks.
const MANY: usize = 32;

/// The padded X of a task: `[block][image][row][column][channel of the block]`, or the plain strip.
pub(crate) struct Blocks<'a> {
    pub data: &'a [f32],
    /// Floats from one pixel to the next.
    pub pixel: usize,
    start: usize,
    pitch: usize,
    image: usize,
    /// Floats of a block; zero when there is only the plain strip.
    block: usize,
    channels: usize,
    runs: Vec<(usize, usize, usize)>,
}

/// A tile's place: in X, in the rows (u, v, c) of the sums, and its rows Q.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub from: usize,
    pub row: usize,
    pub q: usize,
}

impl<'a> Blocks<'a> {
    /// Copies what the task reads; `parallel` over the blocks.
    pub fn new(c: &Correlation, source: Source<'a>, task: Task, rooms: &'a mut Vec<f32>, parallel: bool) -> Self {
        let channels = source.group.1;
        if channels < MANY || !channels.is_multiple_of(CHANNELS) {
            let strip = Strip::new(c, source, task, rooms);
            let runs = runs(c, &strip, channels);
            let Strip { data, start, image, pitch, pixel } = strip;
            return Self { data, pixel, start, pitch, image, block: 0, channels, runs };
        }
        let [height, width] = c.reach([task.rows, c.size[1]]);
        let (pitch, image) = (width * CHANNELS, height * width * CHANNELS);
        let block = task.count * image;
        let floats = channels / CHANNELS * block;
        if rooms.len() < floats {
            rooms.resize(floats, 0.0);
        }
        let fill = |(i, part): (usize, &mut [f32])| {
            let source = Source { group: (source.group.0 + i * CHANNELS, CHANNELS), ..source };
            Strip::copy(c, &source, task, [height, width], part);
        };
        if parallel {
            rooms[..floats].par_chunks_exact_mut(block).enumerate().for_each(fill);
        } else {
            rooms[..floats].chunks_exact_mut(block).enumerate().for_each(fill);
        }
        let runs = c.taps.iter().map(|&(down, right, tap)| (down * pitch + right * CHANNELS, tap, 1)).collect();
        Self { data: &rooms[..floats], pixel: CHANNELS, start: 0, pitch, image, block, channels, runs }
    }

    /// The tiles of one panel.
    pub fn list(&self, product: &Product, panel: &Panel) -> Vec<Block> {
        let most = product.pixels_across(panel.vectors);
        let mut list = Vec::new();
        let (blocks, per_block) =
            if self.block == 0 { (1, self.channels) } else { (self.channels / CHANNELS, CHANNELS) };
        for block in 0..blocks {
            for &(from, tap, taps) in &self.runs {
                for (at, q) in even(taps * per_block, most) {
                    let from = self.start + block * self.block + from + at;
                    list.push(Block { from, row: tap * self.channels + block * per_block + at, q });
                }
            }
        }
        list
    }

    /// One step for each row of results; a row of dY has `floats` floats.
    pub fn steps(&self, c: &Correlation, task: Task, floats: usize) -> Vec<Step> {
        let row =
            |i: usize| Step { a: i / task.rows * self.image + i % task.rows * c.step[0] * self.pitch, b: i * floats };
        (0..task.count * task.rows).map(row).collect()
    }
}

/// Runs of taps that lie side by side in a plain strip: (offset, first tap, taps).
fn runs(c: &Correlation, strip: &Strip<'_>, channels: usize) -> Vec<(usize, usize, usize)> {
    let mut list: Vec<(usize, usize, usize)> = Vec::new();
    for (i, &(down, right, tap)) in c.taps.iter().enumerate() {
        let follows = i > 0 && c.taps[i - 1].0 == down && c.taps[i - 1].1 + 1 == right && strip.pixel == channels;
        match list.last_mut() {
            Some(last) if follows => last.2 += 1,
            _ => list.push((down * strip.pitch + right * strip.pixel, tap, 1)),
        }
    }
    list
}

/// One panel of a task's dY, pixel after pixel.
pub(crate) struct Rows {
    pub data: Vec<f32>,
}

impl Rows {
    /// Copies the panel's channels of every pixel; `first` is the group's first channel.
    pub fn new(g: &ConvGeometry, dy: &[f32], first: usize, task: Task, panel: &Panel) -> Self {
        let [height, width] = g.output;
        let (wide, vectors, columns) = (panel.width(), panel.vectors, panel.columns());
        let mut data = vec![0.0; task.count * task.rows * width * wide];
        for (i, image) in data.chunks_exact_mut(task.rows * width * wide).enumerate() {
            let start = ((task.first + i) * height + task.row) * width;
            let pixels = dy[start * g.channels_out..].chunks_exact(g.channels_out);
            for (to, pixel) in image.chunks_exact_mut(wide).zip(pixels) {
                let from = &pixel[first + panel.column..][..columns];
                // Lengths known at compile time: moves instead of a call.
                match (vectors, panel.tail) {
                    (1, 16) => to[..16].copy_from_slice(&from[..16]),
                    (2, 16) => to[..32].copy_from_slice(&from[..32]),
                    (3, 16) => to[..48].copy_from_slice(&from[..48]),
                    _ => to[..columns].copy_from_slice(from),
                }
            }
        }
        Self { data }
    }
}
