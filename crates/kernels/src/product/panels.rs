//! The right operand of a product, packed: panels of a few vectors of columns, each panel row by row.
use std::ops::Range;

use rayon::prelude::*;

use super::Destination;
use super::lanes::{Lanes, with_lanes};
use super::table::Product;

/// Floats below which packing is not worth a second thread.
const SMALL: usize = 16 * 1024;

/// Columns of a product that one tile covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panel {
    /// First column.
    pub column: usize,
    /// Vectors V of sixteen columns.
    pub vectors: usize,
    /// Columns of the last vector that exist.
    pub tail: usize,
    /// Where the packed panel starts.
    pub offset: usize,
}

impl Panel {
    /// Panels for `columns` columns, of as many vectors as the kernels take; `depth` rows each.
    pub fn cut(product: &Product, columns: usize, depth: usize) -> Vec<Self> {
        let mut list = Vec::new();
        let mut column = 0;
        while column < columns {
            let left = (columns - column).div_ceil(16);
            let most = product.vectors();
            // Four vectors are better two and two than three and one.
            let vectors = if left == 4 { most.min(2) } else { most.min(left) };
            let tail = (columns - column - 16 * (vectors - 1)).min(16);
            list.push(Self { column, vectors, tail, offset: column.div_ceil(16) * 16 * depth });
            column += 16 * vectors;
        }
        list
    }

    /// Floats of one row.
    pub fn width(&self) -> usize {
        16 * self.vectors
    }

    /// Columns that exist.
    pub fn columns(&self) -> usize {
        16 * (self.vectors - 1) + self.tail
    }

    /// Rows of a panel that stay in the first-level cache while the pixels pass: 24 KB.
    pub fn chunk(&self) -> usize {
        384 / self.vectors
    }
}

/// Where the elements of a right operand lie: column n, row (tap t, channel c) at
/// `start + n * column + c * channel + taps[t]`. Rows are packed in the order t, then c.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// The values.
    pub data: &'a [f32],
    /// Offset of the first.
    pub start: usize,
    /// Number of columns, and their distance.
    pub columns: (usize, usize),
    /// Number of channels, and their distance.
    pub channels: (usize, usize),
    /// Offsets of the taps.
    pub taps: &'a [usize],
}

impl<'a> Weights<'a> {
    /// A plain matrix: (number, distance) of the columns and of the rows.
    pub fn matrix(data: &'a [f32], columns: (usize, usize), rows: (usize, usize)) -> Self {
        Self { data, start: 0, columns, channels: rows, taps: &[0] }
    }

    /// Some of its columns and channels.
    pub fn part(self, columns: Range<usize>, channels: Range<usize>) -> Self {
        let start = self.start + columns.start * self.columns.1 + channels.start * self.channels.1;
        Self { start, columns: (columns.len(), self.columns.1), channels: (channels.len(), self.channels.1), ..self }
    }
}

/// The packed right operand.
pub(crate) struct Panels {
    data: Vec<f32>,
    /// Rows.
    pub depth: usize,
    /// The panels, in the order of the columns.
    pub list: Vec<Panel>,
}

impl Panels {
    /// Packs; the panels in parallel when there is enough to do.
    pub fn pack(product: &Product, w: Weights<'_>) -> Self {
        let parallel = w.channels.0 * w.taps.len() * w.columns.0 >= SMALL;
        Self::packed(product, w, parallel)
    }

    /// Packs without parallelism, for tasks that are one of many themselves.
    pub fn pack_alone(product: &Product, w: Weights<'_>) -> Self {
        Self::packed(product, w, false)
    }

    fn packed(product: &Product, w: Weights<'_>, parallel: bool) -> Self {
        let depth = w.channels.0 * w.taps.len();
        let list = Panel::cut(product, w.columns.0, depth);
        let length = w.columns.0.div_ceil(16) * 16 * depth;
        let pack = |data: Destination| {
            let task = |panel: &Panel| pack_panel(&w, panel, data.from(panel.offset));
            if parallel { list.par_iter().for_each(task) } else { list.iter().for_each(task) }
        };
        // SAFETY: the panels cover the buffer, and each is written in whole vectors.
        let data = unsafe { Destination::filled(length, pack) };
        Self { data, depth, list }
    }

    /// Panels that were filled elsewhere.
    pub fn from_parts(data: Vec<f32>, depth: usize, list: Vec<Panel>) -> Self {
        Self { data, depth, list }
    }

    /// The values of all panels; panel p's row k lies at `p.offset + k * p.width()`.
    pub fn data(&self) -> &[f32] {
        &self.data
    }
}

fn pack_panel(w: &Weights<'_>, panel: &Panel, to: Destination) {
    let stride = w.columns.1;
    let first = w.start + panel.column * stride;
    if stride == 1 {
        let columns = panel.columns();
        for_each_row(w, panel, |row, from| {
            let from = &w.data[first + from..][..columns];
            let place = to.at(row, panel.width());
            // SAFETY: this task owns the panel; the source was cut to its length just above.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), place, columns) };
            to.fill(row + columns, panel.width() - columns, 0.0);
        });
        return;
    }
    // Vector by vector: sixteen streams of weights at a time stay in the first-level cache.
    for v in 0..panel.vectors {
        let count = if v + 1 == panel.vectors { panel.tail } else { 16 };
        gather_rows(w, panel, first + 16 * v * stride, count, to.from(16 * v));
    }
}

/// Calls `f` with each row's place in the packed panel and in the weights, in the order of the latter.
#[inline(always)]
fn for_each_row(w: &Weights<'_>, panel: &Panel, mut f: impl FnMut(usize, usize)) {
    let (channels, stride) = w.channels;
    for c in 0..channels {
        for (t, tap) in w.taps.iter().enumerate() {
            f((t * channels + c) * panel.width(), c * stride + tap);
        }
    }
}

with_lanes! {
    /// One vector of columns of every row; those that do not exist repeat the last that does.
    fn gather_rows(w: &Weights<'_>, panel: &Panel, first: usize, count: usize, to: Destination) = gather_body;
}
#[inline(always)]
fn gather_body<L: Lanes>(w: &Weights<'_>, panel: &Panel, first: usize, count: usize, to: Destination) {
    let stride = w.columns.1;
    assert!(15 * stride <= i32::MAX as usize, "weights of more than 2^31 numbers between two rows");
    let places: [i32; 16] = std::array::from_fn(|n| (n.min(count - 1) * stride) as i32);
    for_each_row(w, panel, |row, from| {
        let from = &w.data[first + from..];
        assert!((count - 1) * stride < from.len());
        // SAFETY: the farthest place was just checked; this task owns the panel; `with_lanes!` chose L for this processor.
        unsafe { L::gather(from.as_ptr(), &places).store_some(to.at(row, 16), 16) };
    });
}
