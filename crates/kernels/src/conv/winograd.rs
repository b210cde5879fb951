//! 3x3 correlations of step 1 with a quarter of the products: Winograd's minimal filtering F(4x4, 3x3).
//!
//! ```text
//! Y = A^T [ (G g G^T) . (B^T d B) ] A            d: 6x6 pixels, g: 3x3 taps, Y: 4x4 results, . by element
//! ```
//! (Lavin and Gray 2016, section 4.2.) The 36 products by element over all channels are 36 matrix products
//! `[tiles, C] x [C, O]`: 36 C O multiply-adds for 16 results instead of 144 C O. The weight gradient is the same
//! backwards (`winograd/weights.rs`).
//!
//! Taps that lie s pixels apart (dilation s) join only results that lie a multiple of s apart: the map falls into s x s
//! maps of every s-th row and column, each of them without dilation. A tile then is 4x4 results s pixels apart.
//!
//! The transforms cancel digits. With the usual points 0, +-1, +-2 the largest error was 3.6e-5 of the results' root
//! mean square (64 channels); with 0, +-1/sqrt(2), +-sqrt(2), which lie evenly around 1, `errors_are_as_stated`
//! measures it anew and bounds it by 1e-5, with 128 channels or more on both sides by 2e-5 (1.2e-5 was seen). Winograd
//! is taken where both sides have many channels and there are enough tiles to make the transformed weights, four times
//! as many, pay. As the number of tiles counts, the same image may differ in the last digits between batches of
//! different size; and a NaN or an infinity spoils the tiles that read it as a whole, not only the results under the
//! kernel.
//!
//! Layers of very many channels are taken in blocks of [`SIDE`] channels on both sides, so that what is kept beside the
//! operands has a bound: the results of a block are added to those of the blocks before.
#![allow(clippy::needless_range_loop, reason = "small matrices, written with the indices of the equations")]
use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::correlate::{Target, pixel_of};
use super::geometry::Correlation;
use super::strip::Source;
use crate::product::{
    Destination, Epilogue, Lanes, Matrix, Panel, Panels, Product, Start, Weights, even, rows_of_panel, with_lanes,
};

#[cfg(test)]
mod tests;
mod tiles;
mod transforms;
pub(super) mod weights;
use tiles::{Order, Place, SPAN, Tiles, half, keep, kept, spread_tiles};
use transforms::{collect, filter, zero};

/// Results of a tile along each axis.
const OUT: usize = 4;
/// Pixels that a tile reads along each axis.
const IN: usize = 6;
/// Products by element.
const POINTS: usize = IN * IN;
/// Channels on both sides from which on the transforms pay.
const CHANNELS: usize = 32;
/// Channels from which on even half-filled tiles pay.
const MANY_CHANNELS: usize = 128;
/// Tiles from which on transforming the weights pays.
const TILES: usize = 64;
/// Channels of a block on either side: the transformed weights then take 38 MB at most, and what the tasks hold 19 MB
/// per thread. The tiles' transforms are repeated for each block, a small share of its work.
const SIDE: usize = 512;
/// Floats of transformed pixels and results that a task holds: with few channels they stay in the second-level cache.
const ROOM: usize = 160 * 1024;
/// Tiles of a task at least: so often is a transformed weight used for each time it is loaded.
const TASK: usize = 28;

/// Floats of transformed weights from which on they do not stay in the second-level cache between tasks.
const LARGE: usize = 256 * 1024;
/// Tiles of a task then at most.
const MANY: usize = 128;

thread_local! {
    // Borrowed by a task that contains no parallel code: the thread cannot take up another task meanwhile.
    static ROOMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether the correlation has the form, and enough channels and tiles.
pub(crate) fn applies(c: &Correlation, images: usize, channels: [usize; 2]) -> bool {
    let Some(spacing) = tiles::spacing(c) else { return false };
    let tiles = images * tiles::count(c.size[0], spacing[0]) * tiles::count(c.size[1], spacing[1]);
    // The last tiles of a map that is no multiple of four are partly thrown away.
    let results = images * c.size[0] * c.size[1];
    let many = channels.iter().all(|&n| n >= MANY_CHANNELS);
    let filled = if many { 2 * results >= tiles * OUT * OUT } else { 6 * results >= 5 * tiles * OUT * OUT };
    filled && tiles >= TILES && channels.iter().all(|&n| n >= CHANNELS)
}

/// `0..channels` in blocks of whole vectors.
pub(super) fn blocks(channels: usize) -> impl Iterator<Item = Range<usize>> {
    even(channels.div_ceil(16), SIDE / 16).map(move |(first, n)| 16 * first..channels.min(16 * (first + n)))
}

/// Tiles of a correlation that has the form.
#[cfg(test)]
pub(super) fn tiles_of(c: &Correlation, images: usize) -> usize {
    Tiles::new(c, images).list.len()
}

/// Runs the correlation of all channels; `weights` has nine taps. Every result is written.
pub(crate) fn run(
    product: &Product,
    c: &Correlation,
    source: Source<'_>,
    weights: Weights<'_>,
    epilogue: Epilogue<'_>,
    target: Target,
) {
    let tiles = Tiles::new(c, source.images);
    let (first, depth) = source.group;
    for columns in blocks(weights.columns.0) {
        for channels in blocks(depth) {
            let filters = Filters::new(product, &weights.part(columns.clone(), channels.clone()));
            let source = Source { group: (first + channels.start, channels.len()), ..source };
            let ends = (channels.start == 0, channels.end == depth);
            let (columns, spacing) = (columns.clone(), tiles.spacing);
            Job { product, c, source, filters: &filters, epilogue, target, columns, ends, spacing }.run(&tiles.list);
        }
    }
}

/// `G g G^T` of every pair of channels, as 36 packed right operands one after the other.
struct Filters {
    panels: Panels,
    /// Floats of one of the 36.
    size: usize,
}

impl Filters {
    fn new(product: &Product, w: &Weights<'_>) -> Self {
        let (depth, list) = (w.channels.0, Panel::cut(product, w.columns.0, w.channels.0));
        let size = w.columns.0.div_ceil(16) * 16 * depth;
        let vectors: Vec<(Panel, usize)> = list.iter().flat_map(|p| (0..p.vectors).map(|v| (*p, v))).collect();
        let fill = |data: Destination| {
            vectors.par_iter().for_each(|&(panel, v)| filter_vector(w, panel, v, size, data));
        };
        // SAFETY: every vector of every panel is written at all 36 points.
        let data = unsafe { Destination::filled(POINTS * size, fill) };
        Self { panels: Panels::from_parts(data, depth, list), size }
    }

    fn panel(&self, point: usize, panel: &Panel) -> Panel {
        Panel { offset: panel.offset + point * self.size, ..*panel }
    }
}

with_lanes! {
    /// Vector `v` of a panel: sixteen result channels with every source channel, at all points.
    fn filter_vector(w: &Weights<'_>, panel: Panel, v: usize, size: usize, to: Destination) = filter_vector_body;
}
#[inline(always)]
fn filter_vector_body<L: Lanes>(w: &Weights<'_>, panel: Panel, v: usize, size: usize, to: Destination) {
    let count = if v + 1 == panel.vectors { panel.tail } else { 16 };
    let first = w.start + (panel.column + 16 * v) * w.columns.1;
    assert!(15 * w.columns.1 <= i32::MAX as usize, "weights of more than 2^31 numbers between two channels");
    let places: [i32; 16] = std::array::from_fn(|n| (n.min(count - 1) * w.columns.1) as i32);
    for channel in 0..w.channels.0 {
        let from = first + channel * w.channels.1;
        let mut taps = [zero::<L>(); 9];
        for (value, tap) in taps.iter_mut().zip(w.taps) {
            let from = &w.data[from + tap..];
            assert!((count - 1) * w.columns.1 < from.len());
            // SAFETY: the last place was just checked; `with_lanes!` chose L for this processor.
            *value = unsafe { L::gather(from.as_ptr(), &places) };
        }
        let [a, b, c, d, e, f, g, h, i] = taps;
        let columns = [filter([a, d, g]), filter([b, e, h]), filter([c, f, i])];
        for y in 0..IN {
            let line = filter([columns[0][y], columns[1][y], columns[2][y]]);
            for x in 0..IN {
                let place = (y * IN + x) * size + panel.offset + channel * panel.width() + 16 * v;
                // SAFETY: this task owns the vector; `with_lanes!` chose L for this processor.
                unsafe { line[x].store_some(to.at(place, 16), 16) };
            }
        }
    }
}

/// The correlation of a block.
struct Job<'a> {
    product: &'a Product,
    c: &'a Correlation,
    source: Source<'a>,
    filters: &'a Filters,
    epilogue: Epilogue<'a>,
    target: Target,
    /// Result channels.
    columns: Range<usize>,
    /// Whether the source channels are the first and the last ones.
    ends: (bool, bool),
    /// Rows and columns between the results of a tile.
    spacing: [usize; 2],
}

impl Job<'_> {
    fn run(&self, tiles: &[Place]) {
        let per_tile = POINTS * (self.source.group.1 + self.columns.len());
        let wide = POINTS * self.source.group.1 * self.columns.len() > LARGE;
        // Results do not depend on how many tiles are taken together.
        let shared = tiles.len().div_ceil(2 * rayon::current_num_threads());
        let most = (ROOM / per_tile).max(if wide { shared.clamp(TASK, MANY) } else { TASK });
        let tasks: Vec<_> = even(tiles.len(), most).collect();
        tasks.into_par_iter().for_each(|(first, count)| {
            ROOMS.with(|rooms| self.task(&tiles[first..first + count], &mut rooms.borrow_mut()));
        });
    }

    /// Transformed pixels are `[point][tile][C]`, products `[point][tile][O]`.
    fn task(&self, tiles: &[Place], rooms: &mut Vec<f32>) {
        let (channels, outputs, count) = (self.source.group.1, self.columns.len(), tiles.len());
        let floats = POINTS * count * (channels + outputs);
        if rooms.len() < floats {
            rooms.resize(floats, 0.0);
        }
        let (pixels, rest) = rooms.split_at_mut(POINTS * count * channels);
        let products = &mut rest[..POINTS * count * outputs];
        let order = Order::rows(count, channels);
        spread_tiles(self.c, self.spacing, &self.source, tiles, &order, Destination::new(pixels));
        let to = Destination::new(products);
        for point in 0..POINTS {
            let a = Matrix::dense(&pixels[point * count * channels..], count, channels);
            let to = to.from(point * count * outputs);
            for panel in &self.filters.panels.list {
                let b = (&self.filters.panels, &self.filters.panel(point, panel));
                rows_of_panel(self.product, a, 0..count, b, Epilogue::default(), to, outputs);
            }
        }
        collect_tiles(self, tiles, products);
    }
}

/// Up to sixteen floats.
#[inline(always)]
fn read<L: Lanes>(from: &[f32]) -> L {
    // SAFETY: `with_lanes!` chose L for this processor; the slice has this length.
    unsafe { if from.len() == 16 { L::load(from.as_ptr()) } else { L::load_some(from.as_ptr(), from.len()) } }
}

with_lanes! {
    /// `A^T m A` of every tile and channel, with the epilogue, to the results.
    fn collect_tiles(job: &Job<'_>, tiles: &[Place], products: &[f32]) = collect_tiles_body;
}
#[inline(always)]
fn collect_tiles_body<L: Lanes>(job: &Job<'_>, tiles: &[Place], products: &[f32]) {
    let (outputs, [down, right]) = (job.columns.len(), job.spacing);
    let mut half = half();
    for (tile, &Place { image, y, x }) in tiles.iter().enumerate() {
        let rows = (job.c.size[0] - y).div_ceil(down).min(OUT);
        let columns = (job.c.size[1] - x).div_ceil(right).min(OUT);
        for start in (0..outputs).step_by(SPAN) {
            let span = start..outputs.min(start + SPAN);
            for j in 0..IN {
                for channel in span.clone().step_by(16) {
                    let mut m = [zero::<L>(); IN];
                    for i in 0..IN {
                        let at = ((i * IN + j) * tiles.len() + tile) * outputs + channel;
                        m[i] = read(&products[at..][..(span.end - channel).min(16)]);
                    }
                    for (i, value) in collect(m).into_iter().enumerate() {
                        keep(value, &mut half[i * IN + j], channel - start);
                    }
                }
            }
            for i in 0..rows {
                for channel in span.clone().step_by(16) {
                    let count = (span.end - channel).min(16);
                    let mut m = [zero::<L>(); IN];
                    for j in 0..IN {
                        m[j] = kept(&half[i * IN + j], channel - start);
                    }
                    for (j, value) in collect(m).into_iter().enumerate().take(columns) {
                        let channel = job.columns.start + channel;
                        let at = pixel_of(job.c, job.target, image, y + i * down, x + j * right) + channel;
                        let (start, bounds) = job.epilogue.piece(job.ends.0, job.ends.1, channel);
                        finish(value, start, bounds, job.target.data.at(at, count), count);
                    }
                }
            }
        }
    }
}

/// Adds what the sum starts from, clamps and writes one vector of results.
#[inline(always)]
fn finish<L: Lanes>(value: L, start: Start, bounds: Option<(f32, f32)>, to: *mut f32, count: usize) {
    // SAFETY: `with_lanes!` chose L for this processor; the place has room for `count` floats and belongs to this task,
    // the blocks before wrote it where the sum starts from it, and the bias has a value for each of these channels.
    unsafe {
        let value = match start {
            Start::Zero => value,
            Start::Sum => value.plus(L::load_some(to, count)),
            Start::Bias(bias) => value.plus(L::load_some(bias, count)),
        };
        let value = bounds.map_or(value, |(low, high)| value.clamp(low, high));
        value.store_some(to, count);
    }
}
