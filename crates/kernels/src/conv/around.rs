//! Correlations whose taps lie far apart, without a padded copy.
//!
//! A copy of the rows that a few results read would mostly be rows between the taps, and where the padding is as wide as
//! the taps lie apart, much of what it multiplies is zeros: of a 45x60 map only 28 % of the products of a 3x3 kernel of
//! dilation 36 are not. So the source is read where it lies, tap by tap, for the results whose tap is inside of it: a
//! range of rows and one of columns for each tap. What is left out is products with zeros.
//!
//! Columns are cut into segments in which the same taps are inside. The first tap that is inside starts a result's sum
//! and the last one ends it; a segment without any is bias and bounds alone.
use std::ops::Range;

use rayon::prelude::*;

use super::correlate::{Job, pixel_of};
use super::geometry::Correlation;
use crate::product::{Panel, Start, Step, Tile, even};

/// Rows or columns between taps from which on this way is taken.
const APART: usize = 4;
/// Pixels of a task, about: so often is a packed weight used while it is in cache.
const PIXELS: usize = 256;

/// Whether neighbouring taps lie far apart along an axis.
pub(crate) fn applies(c: &Correlation) -> bool {
    let apart = |mut places: Vec<usize>| {
        places.sort_unstable();
        places.dedup();
        places.windows(2).any(|pair| pair[1] - pair[0] >= APART)
    };
    apart(c.taps.iter().map(|t| t.0).collect()) || apart(c.taps.iter().map(|t| t.1).collect())
}

/// The correlation of one group. Every result is written.
pub(super) fn run(job: &Job<'_>) {
    let (c, source) = (job.c, &job.source);
    let inside = |axis: usize, offset: usize| c.inside(axis, (offset, offset), source.size[axis]);
    let down: Vec<Range<usize>> = c.taps.iter().map(|t| inside(0, t.0)).collect();
    let right: Vec<Range<usize>> = c.taps.iter().map(|t| inside(1, t.1)).collect();
    let mut cuts: Vec<usize> = right.iter().flat_map(|r| [r.start, r.end]).chain([0, c.size[1]]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let segments = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    let around = Around { job, down, right, segments };
    let rows: Vec<(usize, usize)> = even(c.size[0], PIXELS.div_ceil(c.size[1])).collect();
    (0..source.images * rows.len()).into_par_iter().for_each(|task| {
        let (row, count) = rows[task % rows.len()];
        job.packed.list.iter().for_each(|panel| around.panel(task / rows.len(), row..row + count, panel));
    });
}

/// A group's product by taps.
struct Around<'a> {
    job: &'a Job<'a>,
    /// Rows and columns of the results for which each tap is inside.
    down: Vec<Range<usize>>,
    right: Vec<Range<usize>>,
    /// Columns with the same taps.
    segments: Vec<Range<usize>>,
}

impl Around<'_> {
    /// Some rows of an image in one panel of channels: one piece of the weights after the other.
    fn panel(&self, image: usize, rows: Range<usize>, panel: &Panel) {
        let Job { c, source, epilogue, first, .. } = self.job;
        let (channels, channel) = (source.group.1, first + panel.column);
        let places: Vec<(usize, &Range<usize>)> =
            rows.flat_map(|row| self.segments.iter().map(move |segment| (row, segment))).collect();
        let reads = |tap: usize, &(row, segment): &(usize, &Range<usize>)| {
            self.down[tap].contains(&row) && self.right[tap].contains(&segment.start)
        };
        let taps = c.taps.len();
        let ends = |place| ((0..taps).find(|t| reads(*t, place)), (0..taps).rfind(|t| reads(*t, place)));
        let ends: Vec<_> = places.iter().map(ends).collect();
        for (place, _) in places.iter().zip(&ends).filter(|(_, ends)| ends.0.is_none()) {
            let (start, bounds) = epilogue.piece(true, true, channel);
            self.pixels(image, *place, panel, (0, 0, 0), start, bounds);
        }
        for tap in 0..taps {
            for (k, length) in even(channels, panel.chunk()) {
                for (place, ends) in places.iter().zip(&ends).filter(|(place, _)| reads(tap, place)) {
                    let first = ends.0 == Some(tap) && k == 0;
                    let last = ends.1 == Some(tap) && k + length == channels;
                    let (start, bounds) = epilogue.piece(first, last, channel);
                    self.pixels(image, *place, panel, (tap, k, length), start, bounds);
                }
            }
        }
    }

    /// One piece of a tap's channels for the results of a segment of a row.
    fn pixels(
        &self,
        image: usize,
        (row, segment): (usize, &Range<usize>),
        panel: &Panel,
        (tap, k, length): (usize, usize, usize),
        start: Start,
        bounds: Option<(f32, f32)>,
    ) {
        let Job { product, c, source, packed, target, first, .. } = self.job;
        let [height, width] = source.size;
        let (down, right, _) = c.taps[tap];
        let stride = c.step[1] * source.channels;
        let c_col = c.target[1].1 * target.channels;
        for (x, q) in even(segment.len(), product.pixels(1, panel.vectors)) {
            let x = segment.start + x;
            let place = |i: usize, at: usize, offset: usize| (at * c.step[i] + offset) as isize + c.origin[i];
            let pixel =
                (image * height) as isize * width as isize + place(0, row, down) * width as isize + place(1, x, right);
            // Without a tap nothing is read.
            let from = if length > 0 { pixel as usize * source.channels + source.group.0 + k } else { 0 };
            debug_assert!(length == 0 || from + (q - 1) * stride + length <= source.data.len());
            let to = pixel_of(c, *target, image, row, x) + first + panel.column;
            let tile = Tile {
                a: source.data[from..].as_ptr(),
                row: 0,
                stride,
                steps: &[Step { a: 0, b: panel.offset + (tap * source.group.1 + k) * panel.width() }],
                k: length,
                b: packed.data().as_ptr(),
                b_row: panel.width(),
                c: target.data.at(to, (q - 1) * c_col + panel.columns()),
                c_row: 0,
                c_col,
                tail: panel.tail,
                start,
                bounds,
            };
            // SAFETY: the reach in the source is asserted above in debug builds, the packed panel holds every tap's
            // channels, and this task owns these pixels.
            unsafe { product.along(1, q, panel.vectors, &tile) };
        }
    }
}
