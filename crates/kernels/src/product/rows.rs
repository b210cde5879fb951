//! Products of plain matrices.
use rayon::prelude::*;

use super::panels::{Panel, Panels};
use super::table::Product;
use super::tile::{Start, Step, Tile};
use super::{Destination, Epilogue, even};

/// Rows of one task.
const ROWS: usize = 192;
/// Tasks that a product is cut into at least, where it is large enough.
const TASKS: usize = 8;

/// A matrix in row-major order with some distance between its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// The values from the first row's start on.
    pub data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance of two rows.
    pub stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows lie side by side.
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Self {
        debug_assert!(data.len() >= rows * columns);
        Self { data, rows, columns, stride: columns }
    }

    /// Some of its rows.
    fn part(self, first: usize, rows: usize) -> Self {
        Self { data: &self.data[first * self.stride..], rows, ..self }
    }
}

/// `C = A B` with packed B; C has `c_row` floats from row to row and is written everywhere.
pub(crate) fn multiply(
    product: &Product,
    a: Matrix<'_>,
    b: &Panels,
    epilogue: Epilogue<'_>,
    c: Destination,
    c_row: usize,
) {
    check(a, b, epilogue);
    let blocks = a.rows.div_ceil(ROWS);
    // Few rows: several tasks take different columns of the same rows.
    let groups = TASKS.div_ceil(blocks).min(b.list.len()).max(1);
    let small = a.rows * b.depth * c_row < 1 << 16;
    let task = |index: usize| {
        let (block, group) = (index / groups, index % groups);
        let (first, last) = (block * ROWS, (block * ROWS + ROWS).min(a.rows));
        let (from, to) = (group * b.list.len() / groups, (group + 1) * b.list.len() / groups);
        for panel in &b.list[from..to] {
            rows_of_panel(product, a, first..last, (b, panel), epilogue, c, c_row);
        }
    };
    if small { (0..blocks * groups).for_each(task) } else { (0..blocks * groups).into_par_iter().for_each(task) }
}

/// The tiles rely on these extents.
fn check(a: Matrix<'_>, b: &Panels, epilogue: Epilogue<'_>) {
    let columns = b.list.last().map_or(0, |p| p.column + p.columns());
    assert!(a.columns == b.depth && a.rows > 0 && (a.rows - 1) * a.stride + a.columns <= a.data.len());
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == columns), "the bias needs one value per column");
}

/// [`multiply`] without parallelism, for tasks that are one of many themselves.
pub(crate) fn multiply_alone(
    product: &Product,
    a: Matrix<'_>,
    b: &Panels,
    epilogue: Epilogue<'_>,
    c: Destination,
    c_row: usize,
) {
    check(a, b, epilogue);
    b.list.iter().for_each(|panel| rows_of_panel(product, a, 0..a.rows, (b, panel), epilogue, c, c_row));
}

/// Some rows of one panel.
pub(crate) fn rows_of_panel(
    product: &Product,
    a: Matrix<'_>,
    rows: std::ops::Range<usize>,
    (b, panel): (&Panels, &Panel),
    epilogue: Epilogue<'_>,
    c: Destination,
    c_row: usize,
) {
    let chunks = b.depth.div_ceil(panel.chunk()).max(1);
    let (count, most) = (rows.len(), product.pixels(1, panel.vectors));
    for (chunk, (k, length)) in even(b.depth, panel.chunk()).enumerate() {
        let (start, bounds) = epilogue.of(chunk, chunks, panel.column);
        let steps = [Step { a: k, b: panel.offset + k * panel.width() }];
        for (row, q) in even(count, most) {
            let row = rows.start + row;
            debug_assert!((row + q - 1) * a.stride + k + length <= a.data.len());
            debug_assert!(steps[0].b + length * panel.width() <= b.data().len());
            let tile = Tile {
                a: a.data[row * a.stride..].as_ptr(),
                row: 0,
                stride: a.stride,
                steps: &steps,
                k: length,
                b: b.data().as_ptr(),
                b_row: panel.width(),
                c: c.at(row * c_row + panel.column, (q - 1) * c_row + panel.columns()),
                c_row: 0,
                c_col: c_row,
                tail: panel.tail,
                start,
                bounds,
            };
            // SAFETY: the operands' ends are asserted above in debug builds; this task owns these rows and columns.
            unsafe { product.along(1, q, panel.vectors, &tile) };
        }
    }
}

/// Rows of A and B that are packed at a time.
const PIECE: usize = 128;
/// Columns of A that are packed side by side.
const BLOCK: usize = 16;

/// Parts of the depth of a product with a small C, and how many floats that is.
const PARTS: usize = 8;
const SMALL: usize = 64 * 1024;

/// Whether [`multiply_across`] sums in parts.
pub(crate) fn in_parts(rows: usize, a: usize, b: usize) -> bool {
    rows >= 2 * PARTS * PIECE && a * b <= SMALL
}

/// `C = A^T B`: A is `[K, M]`, B `[K, N]`, C `[M, N]` with `c_row` floats from row to row. Tasks share out C, each sum
/// running over k in order; a small C of many rows is summed in a fixed number of parts.
pub(crate) fn multiply_across(product: &Product, a: Matrix<'_>, b: Matrix<'_>, c: Destination, c_row: usize) {
    if in_parts(a.rows, a.columns, b.columns) {
        return parts_across(product, a, b, c, c_row);
    }
    let panels = Panel::cut(product, b.columns, 0);
    let blocks = a.columns.div_ceil(BLOCK);
    // Neighbouring panels together read B's rows in longer runs.
    let wanted = 2 * rayon::current_num_threads();
    let columns = wanted.min(panels.len()).max(1);
    let groups = wanted.div_ceil(columns).min(blocks).max(1);
    let task = |index: usize| {
        let part = |n: usize, i: usize, of: usize| i * n / of..(i + 1) * n / of;
        let panels = &panels[part(panels.len(), index / groups, columns)];
        let blocks = part(blocks, index % groups, groups);
        columns_across(product, a, b, blocks.start * BLOCK..a.columns.min(blocks.end * BLOCK), panels, c, c_row);
    };
    let small = a.rows * a.columns * b.columns < 1 << 16;
    let count = columns * groups;
    if small { (0..count).for_each(task) } else { (0..count).into_par_iter().for_each(task) }
}

/// A small C in parts of k, so that A and B are read from memory once; the parts are added in order.
fn parts_across(product: &Product, a: Matrix<'_>, b: Matrix<'_>, c: Destination, c_row: usize) {
    let part = |(first, rows): (usize, usize)| {
        let (a, b) = (a.part(first, rows), b.part(first, rows));
        let mut sums = vec![0.0; a.columns * b.columns];
        multiply_across_alone(product, a, b, Destination::new(&mut sums), b.columns);
        sums
    };
    let ranges: Vec<_> = even(a.rows, a.rows.div_ceil(PARTS)).collect();
    let mut parts: Vec<Vec<f32>> = ranges.into_par_iter().map(part).collect();
    let (total, rest) = parts.split_at_mut(1);
    for part in rest {
        total[0].iter_mut().zip(part).for_each(|(sum, v)| *sum += *v);
    }
    for (i, row) in total[0].chunks_exact(b.columns).enumerate() {
        // SAFETY: rows of C do not overlap, and no task is at work any more.
        unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), c.at(i * c_row, row.len()), row.len()) };
    }
}

/// [`multiply_across`] without parallelism, for tasks that are one of many themselves.
pub(crate) fn multiply_across_alone(product: &Product, a: Matrix<'_>, b: Matrix<'_>, c: Destination, c_row: usize) {
    columns_across(product, a, b, 0..a.columns, &Panel::cut(product, b.columns, 0), c, c_row);
}

/// Some rows of C, those of whole blocks, in some panels of columns. Rows of A and B are a power of two apart more often
/// than not, which a cache does not like: pieces of both are packed, A as `[block][k][16]`, B as `[k][width]`.
fn columns_across(
    product: &Product,
    a: Matrix<'_>,
    b: Matrix<'_>,
    rows: std::ops::Range<usize>,
    panels: &[Panel],
    c: Destination,
    c_row: usize,
) {
    let piece = PIECE.min(a.rows);
    let mut left = vec![0.0; (piece + 1) * rows.len().next_multiple_of(BLOCK)];
    let mut right = vec![0.0; piece * panels.iter().map(Panel::width).max().unwrap_or(0)];
    for (k, length) in even(a.rows, PIECE) {
        pack_blocks(a, k..k + length, rows.clone(), &mut left);
        for panel in panels {
            let columns = panel.columns();
            for (i, row) in right.chunks_exact_mut(panel.width()).take(length).enumerate() {
                copy_row(&b.data[(k + i) * b.stride + panel.column..][..columns], row);
            }
            let start = if k == 0 { Start::Zero } else { Start::Sum };
            for block in rows.clone().step_by(BLOCK) {
                let a = &left[(block - rows.start) * (length + 1)..];
                for (q, count) in even((rows.end - block).min(BLOCK), product.pixels_across(panel.vectors)) {
                    debug_assert!(length == 0 || (length - 1) * BLOCK + q + count <= a.len());
                    let tile = Tile {
                        a: a[q..].as_ptr(),
                        row: 0,
                        stride: BLOCK,
                        steps: &[Step { a: 0, b: 0 }],
                        k: length,
                        b: right.as_ptr(),
                        b_row: panel.width(),
                        c: c.at((block + q) * c_row + panel.column, (count - 1) * c_row + columns),
                        c_row: 0,
                        c_col: c_row,
                        tail: panel.tail,
                        start,
                        bounds: None,
                    };
                    // SAFETY: the packed pieces hold `length` rows; this task owns these rows and columns.
                    unsafe { product.across(count, panel.vectors, &tile) };
                }
            }
        }
    }
}

/// A row of up to three vectors.
fn copy_row(from: &[f32], to: &mut [f32]) {
    // Lengths known at compile time: moves instead of a call.
    match from.len() {
        16 => to[..16].copy_from_slice(&from[..16]),
        32 => to[..32].copy_from_slice(&from[..32]),
        48 => to[..48].copy_from_slice(&from[..48]),
        columns => to[..columns].copy_from_slice(from),
    }
}

/// Rows `k` of some columns of A as `[block][k][16]`; a row of room keeps the blocks from lying a power of two apart.
fn pack_blocks(a: Matrix<'_>, k: std::ops::Range<usize>, columns: std::ops::Range<usize>, to: &mut [f32]) {
    for (i, row) in k.clone().enumerate() {
        let row = &a.data[row * a.stride..][columns.clone()];
        let (whole, rest) = row.as_chunks::<BLOCK>();
        for (block, from) in whole.iter().enumerate() {
            to[(block * (k.len() + 1) + i) * BLOCK..][..BLOCK].copy_from_slice(from);
        }
        if !rest.is_empty() {
            to[(whole.len() * (k.len() + 1) + i) * BLOCK..][..rest.len()].copy_from_slice(rest);
        }
    }
}
