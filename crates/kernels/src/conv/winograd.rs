//! 3x3 correlations of step 1 with a quarter of the products: Winograd's minimal filtering F(4x4, 3x3).
//!
//! ```text
//! Y = A^T [ (G g G^T) . (B^T d B) ] A            d: 6x6 pixels, g: 3x3 taps, Y: 4x4 results, . by element
//! ```
//! (Lavin and Gray 2016, section 4.2.) The 36 products by element over all channels are 36 matrix products
//! `[tiles, C] x [C, O]`: 36 C O multiply-adds for 16 results instead of 144 C O.
//!
//! The transforms cancel digits. With the usual points 0, +-1, +-2 the largest error was 3.6e-5 of the results' root
//! mean square (64 channels); with 0, +-1/sqrt(2), +-sqrt(2), which lie evenly around 1, `errors_are_as_stated`
//! measures it anew and bounds it by 1e-5. Winograd is taken where both sides have many
//! channels and there are enough tiles to make the transformed weights, four times as many, pay. As the number of tiles
//! counts, the same image may differ in the last digits between batches of different size; and a NaN or an infinity
//! spoils the tiles that read it as a whole, not only the results under the kernel.
#![allow(clippy::needless_range_loop, reason = "small matrices, written with the indices of the equations")]
use std::cell::RefCell;

use rayon::prelude::*;

use super::correlate::{Target, pixel_of};
use super::geometry::Correlation;
use super::strip::Source;
use crate::product::{
    Destination, Epilogue, Lanes, Matrix, Panel, Panels, Product, Weights, rows_of_panel, with_lanes,
};

mod transforms;
use transforms::{collect, filter, spread, zero};

/// Results of a tile along each axis.
const OUT: usize = 4;
/// Pixels that a tile reads along each axis.
const IN: usize = 6;
/// Products by element.
const POINTS: usize = IN * IN;
/// Channels on both sides from which on the transforms pay.
const CHANNELS: usize = 32;
/// Tiles from which on transforming the weights pays.
const TILES: usize = 64;
/// Floats of transformed pixels and results that a task holds: with few channels they stay in the second-level cache.
const ROOM: usize = 160 * 1024;
/// Tiles of a task at least: so often is a transformed weight used for each time it is loaded.
const TASK: usize = 28;

thread_local! {
    // Borrowed by a task that contains no parallel code: the thread cannot take up another task meanwhile.
    static ROOMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether the correlation has the form, and enough channels and tiles.
pub(crate) fn applies(c: &Correlation, images: usize, channels: [usize; 2]) -> bool {
    let square = c.taps.len() == 9 && c.taps.iter().enumerate().all(|(i, t)| (t.0, t.1) == (i / 3, i % 3));
    let plain = c.step == [1, 1] && c.target == [(0, 1); 2];
    let tiles = images * c.size[0].div_ceil(OUT) * c.size[1].div_ceil(OUT);
    // The last tiles of a map that is no multiple of four are partly thrown away.
    let filled = 6 * images * c.size[0] * c.size[1] >= 5 * tiles * OUT * OUT;
    square && plain && filled && tiles >= TILES && channels.iter().all(|&n| n >= CHANNELS)
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
    let filters = Filters::new(product, &weights);
    let [rows, columns] = c.size.map(|n| n.div_ceil(OUT));
    let per_tile = POINTS * (source.group.1 + weights.columns.0);
    let lines = (ROOM / per_tile).max(TASK).div_ceil(columns).max(1);
    let job = Job { product, c, source, filters: &filters, epilogue, target, columns };
    let all = source.images * rows;
    (0..all.div_ceil(lines)).into_par_iter().for_each(|task| {
        let lines = task * lines..((task + 1) * lines).min(all);
        ROOMS.with(|rooms| job.task(lines, rows, &mut rooms.borrow_mut()));
    });
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

struct Job<'a> {
    product: &'a Product,
    c: &'a Correlation,
    source: Source<'a>,
    filters: &'a Filters,
    epilogue: Epilogue<'a>,
    target: Target,
    /// Tiles of a line.
    columns: usize,
}

/// Some lines of tiles: their number, the transformed pixels `[point][tile][C]` and products `[point][tile][O]`.
struct Tiles<'a> {
    lines: std::ops::Range<usize>,
    /// Lines of an image.
    rows: usize,
    count: usize,
    pixels: &'a mut [f32],
    products: &'a mut [f32],
}

impl Job<'_> {
    fn task(&self, lines: std::ops::Range<usize>, rows: usize, rooms: &mut Vec<f32>) {
        let (channels, outputs) = (self.source.group.1, self.channels_out());
        let count = lines.len() * self.columns;
        let floats = POINTS * count * (channels + outputs);
        if rooms.len() < floats {
            rooms.resize(floats, 0.0);
        }
        let (pixels, rest) = rooms.split_at_mut(POINTS * count * channels);
        let mut tiles = Tiles { lines, rows, count, pixels, products: &mut rest[..POINTS * count * outputs] };
        spread_tiles(self, &mut tiles);
        let to = Destination::new(tiles.products);
        for point in 0..POINTS {
            let a = Matrix::dense(&tiles.pixels[point * count * channels..], count, channels);
            let to = to.from(point * count * outputs);
            for panel in &self.filters.panels.list {
                let b = (&self.filters.panels, &self.filters.panel(point, panel));
                rows_of_panel(self.product, a, 0..count, b, Epilogue::default(), to, outputs);
            }
        }
        collect_tiles(self, &tiles);
    }

    fn channels_out(&self) -> usize {
        self.filters.panels.list.last().map_or(0, |p| p.column + p.columns())
    }

    /// Image, first row and first column of the results of a tile.
    fn place(&self, tiles: &Tiles<'_>, tile: usize) -> (usize, usize, usize) {
        let line = tiles.lines.start + tile / self.columns;
        (line / tiles.rows, line % tiles.rows * OUT, tile % self.columns * OUT)
    }
}

with_lanes! {
    /// `B^T d B` of every tile and channel.
    fn spread_tiles(job: &Job<'_>, tiles: &mut Tiles<'_>) = spread_tiles_body;
}
#[inline(always)]
fn spread_tiles_body<L: Lanes>(job: &Job<'_>, tiles: &mut Tiles<'_>) {
    let ([height, width], (first, channels)) = (job.source.size, job.source.group);
    for tile in 0..tiles.count {
        let (image, y, x) = job.place(tiles, tile);
        let (y, x) = (y as isize + job.c.origin[0], x as isize + job.c.origin[1]);
        // Where each of the tile's pixels starts in the source; none in the padding.
        let mut pixels = [usize::MAX; POINTS];
        for i in 0..IN {
            for j in 0..IN {
                let (y, x) = (y + i as isize, x + j as isize);
                if y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width {
                    let pixel = (image * height + y as usize) * width + x as usize;
                    pixels[i * IN + j] = pixel * job.source.channels + first;
                }
            }
        }
        for channel in (0..channels).step_by(16) {
            let count = (channels - channel).min(16);
            spread_one::<L>(job.source.data, &pixels, channel, count, tiles, tile, channels);
        }
    }
}

/// One tile in one vector of channels.
#[inline(always)]
fn spread_one<L: Lanes>(
    source: &[f32],
    pixels: &[usize; POINTS],
    channel: usize,
    count: usize,
    tiles: &mut Tiles<'_>,
    tile: usize,
    channels: usize,
) {
    let mut columns = [[zero::<L>(); IN]; IN];
    for j in 0..IN {
        let mut d = [zero::<L>(); IN];
        for i in 0..IN {
            let at = pixels[i * IN + j];
            if at != usize::MAX {
                d[i] = read(&source[at + channel..][..count]);
            }
        }
        columns[j] = spread(d);
    }
    for i in 0..IN {
        let [a, b, c, d, e, f] = columns;
        let line = spread([a[i], b[i], c[i], d[i], e[i], f[i]]);
        for j in 0..IN {
            let place = ((i * IN + j) * tiles.count + tile) * channels + channel;
            write(line[j], &mut tiles.pixels[place..][..count]);
        }
    }
}

/// Up to sixteen floats.
#[inline(always)]
fn read<L: Lanes>(from: &[f32]) -> L {
    // SAFETY: `with_lanes!` chose L for this processor; the slice has this length.
    unsafe { if from.len() == 16 { L::load(from.as_ptr()) } else { L::load_some(from.as_ptr(), from.len()) } }
}

#[inline(always)]
fn write<L: Lanes>(value: L, to: &mut [f32]) {
    // SAFETY: `with_lanes!` chose L for this processor; the slice has this length.
    unsafe { value.store_some(to.as_mut_ptr(), to.len()) }
}

with_lanes! {
    /// `A^T m A` of every tile and channel, with the epilogue, to the results.
    fn collect_tiles(job: &Job<'_>, tiles: &Tiles<'_>) = collect_tiles_body;
}
#[inline(always)]
fn collect_tiles_body<L: Lanes>(job: &Job<'_>, tiles: &Tiles<'_>) {
    let outputs = job.channels_out();
    for tile in 0..tiles.count {
        let (image, y, x) = job.place(tiles, tile);
        let [rows, columns] = [job.c.size[0] - y, job.c.size[1] - x].map(|n| n.min(OUT));
        for channel in (0..outputs).step_by(16) {
            let count = (outputs - channel).min(16);
            let mut half = [[zero::<L>(); OUT]; IN];
            for j in 0..IN {
                let mut m = [zero::<L>(); IN];
                for i in 0..IN {
                    let at = ((i * IN + j) * tiles.count + tile) * outputs + channel;
                    m[i] = read(&tiles.products[at..][..count]);
                }
                half[j] = collect(m);
            }
            let [a, b, c, d, e, f] = half;
            for i in 0..rows {
                let line = collect([a[i], b[i], c[i], d[i], e[i], f[i]]);
                for j in 0..columns {
                    let at = pixel_of(job.c, job.target, image, y + i, x + j) + channel;
                    finish(line[j], &job.epilogue, channel, job.target.data.at(at, count), count);
                }
            }
        }
    }
}

/// Adds the bias, clamps and writes one vector of results.
#[inline(always)]
fn finish<L: Lanes>(value: L, epilogue: &Epilogue<'_>, channel: usize, to: *mut f32, count: usize) {
    let mut value = value;
    // SAFETY: `with_lanes!` chose L for this processor; the place has room for `count` floats and belongs to this task.
    unsafe {
        if let Some(bias) = epilogue.bias {
            value = value.plus(read(&bias[channel..][..count]));
        }
        if let Some((low, high)) = epilogue.bounds {
            value = value.clamp(low, high);
        }
        value.store_some(to, count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::geometry::ConvGeometry;
    use super::super::tests::oracle::{Operands, reference};
    use super::super::{forward, input_gradient};
    use super::*;
    use subband_seed::Stream;

    /// Largest error over the root mean square of the results, of the forward pass and the input gradient.
    fn errors(x: [usize; 4], outputs: usize, padding: usize) -> [f64; 2] {
        let g = ConvGeometry::new(x, [outputs, x[1], 3, 3], [1; 2], [padding; 2], [1; 2], 1).unwrap();
        assert!(applies(&Correlation::forward(&g), g.batch, [x[1], outputs]), "{g:?}");
        let data = Operands::draw(&g, &mut Stream::new(5).with("winograd").at(x.iter().sum::<usize>() as u64));
        let product = Product::detect();
        let y = forward(product, &g, &data.x, &data.w, Epilogue::default());
        let dx = input_gradient(product, &g, &data.dy, &data.w);
        let [want_y, want_dx, _] = reference(&g, &data);
        let error = |got: &[f32], want: &[f64]| {
            let scale = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
            got.iter().zip(want).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max) / scale
        };
        [error(&y, &want_y), error(&dx, &want_dx)]
    }

    #[test]
    fn errors_are_as_stated() {
        for (x, outputs, padding) in [
            ([8, 64, 16, 16], 64, 1),
            ([5, 33, 15, 19], 50, 1),
            ([16, 32, 13, 10], 48, 0),
            ([2, 128, 31, 29], 36, 2),
            ([64, 64, 8, 8], 32, 1),
        ] {
            let found = errors(x, outputs, padding);
            assert!(found.iter().all(|&e| e > 0.0 && e < 1e-5), "{x:?}: {found:?}");
        }
    }
}
