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

/// `C = A^T B`: A is `[K, M]`, B `[K, N]`, C `[M, N]` with `c_row` floats from row to row. Tasks share out C; each sum
/// runs over k in order.
pub(crate) fn multiply_across(product: &Product, a: Matrix<'_>, b: Matrix<'_>, c: Destination, c_row: usize) {
    let panels = Panel::cut(product, b.columns, 0);
    let most = product.pixels_across(panels.iter().map(|p| p.vectors).max().unwrap_or(1));
    let tiles: Vec<(usize, usize)> = even(a.columns, most).collect();
    let groups = TASKS.div_ceil(panels.len()).min(tiles.len()).max(1);
    let task = |index: usize| {
        let (panel, group) = (&panels[index / groups], index % groups);
        let tiles = &tiles[group * tiles.len() / groups..(group + 1) * tiles.len() / groups];
        columns_across(product, a, b, tiles, panel, c, c_row);
    };
    let small = a.rows * a.columns * b.columns < 1 << 16;
    let count = panels.len() * groups;
    if small { (0..count).for_each(task) } else { (0..count).into_par_iter().for_each(task) }
}

/// [`multiply_across`] without parallelism, for tasks that are one of many themselves.
pub(crate) fn multiply_across_alone(product: &Product, a: Matrix<'_>, b: Matrix<'_>, c: Destination, c_row: usize) {
    for panel in Panel::cut(product, b.columns, 0) {
        let tiles: Vec<(usize, usize)> = even(a.columns, product.pixels_across(panel.vectors)).collect();
        columns_across(product, a, b, &tiles, &panel, c, c_row);
    }
}

/// Some rows of C in one panel of columns. B's rows are a power of two apart more often than not, which a cache does not
/// like: each piece is packed once and serves all tiles.
fn columns_across(
    product: &Product,
    a: Matrix<'_>,
    b: Matrix<'_>,
    tiles: &[(usize, usize)],
    panel: &Panel,
    c: Destination,
    c_row: usize,
) {
    let (width, columns) = (panel.width(), panel.columns());
    let mut packed = vec![0.0; panel.chunk().min(a.rows) * width];
    for (chunk, (k, length)) in even(a.rows, panel.chunk()).enumerate() {
        for (i, row) in packed.chunks_exact_mut(width).take(length).enumerate() {
            row[..columns].copy_from_slice(&b.data[(k + i) * b.stride + panel.column..][..columns]);
        }
        let steps = [Step { a: k * a.stride, b: 0 }];
        for &(row, q) in tiles {
            debug_assert!(length == 0 || (k + length - 1) * a.stride + row + q <= a.data.len());
            let tile = Tile {
                a: a.data[row..].as_ptr(),
                row: 0,
                stride: a.stride,
                steps: &steps,
                k: length,
                b: packed.as_ptr(),
                b_row: width,
                c: c.at(row * c_row + panel.column, (q - 1) * c_row + columns),
                c_row: 0,
                c_col: c_row,
                tail: panel.tail,
                start: if chunk == 0 { Start::Zero } else { Start::Sum },
                bounds: None,
            };
            // SAFETY: A's end is asserted above in debug builds, the packed piece holds `length` rows; this task owns
            // these rows and columns.
            unsafe { product.across(q, panel.vectors, &tile) };
        }
    }
}
