//! Any filter pair and boundary: products with the sparse matrices of a [`super::Frame`], plane by plane.
//!
//! Both axes run as sums of weighted rows, which vectorise whatever the taps; the width axis is transposed for it.
use super::scalar::{Bands, Matrices, Matrix, Scalar};

/// Numbers of scratch that either direction needs: two maps of the larger intermediate size.
pub(super) fn scratch_len(map: [usize; 2], band: [usize; 2]) -> usize {
    3 * map[0].max(band[0]) * map[1].max(band[1])
}

/// `out = m src` (or `out += m src`) for row-major `src [m.columns, width]`, `out [m.rows, width]`.
#[inline(always)]
fn product<T: Scalar>(m: &Matrix<T>, src: &[T], width: usize, out: &mut [T], add: bool) {
    for i in 0..m.rows {
        let row = &mut out[i * width..][..width];
        if !add {
            row.fill(T::default());
        }
        for &(c, weight) in m.row(i) {
            for (o, s) in row.iter_mut().zip(&src[c * width..][..width]) {
                *o += weight * *s;
            }
        }
    }
}

/// `out [columns, rows] = src [rows, columns]` transposed.
#[inline(always)]
fn transpose<T: Scalar>(src: &[T], rows: usize, columns: usize, out: &mut [T]) {
    for (j, line) in out[..rows * columns].chunks_exact_mut(rows).enumerate() {
        for (o, s) in line.iter_mut().zip(src[j..].iter().step_by(columns)) {
            *o = *s;
        }
    }
}

/// Splits a map into `low [h, w]` and `detail [3, h, w]` (LH, HL, HH); an empty slice leaves its bands out.
#[inline(always)]
pub(super) fn split_plane<T: Scalar>(m: &Matrices<T>, x: &[T], scratch: &mut [T], low: &mut [T], detail: &mut [T]) {
    let (band_h, band_w) = (m.height[0].rows, m.width[0].rows);
    let map_w = m.width[0].columns;
    let third = scratch.len() / 3;
    let (tall, rest) = scratch.split_at_mut(third);
    let (turned, done) = rest.split_at_mut(third);
    for (b, height) in m.height.iter().enumerate() {
        product(height, x, map_w, tall, false);
        transpose(tall, band_h, map_w, turned);
        for (c, width) in m.width.iter().enumerate() {
            let out = match band_slot(b, c) {
                None => low.get_mut(..band_h * band_w),
                Some(slot) => detail.get_mut(slot * band_h * band_w..(slot + 1) * band_h * band_w),
            };
            if let Some(out) = out {
                product(width, turned, band_h, done, false);
                transpose(done, band_w, band_h, out);
            }
        }
    }
}

/// Where band (height filter, width filter) stands in the detail; `None` is LL.
#[inline(always)]
fn band_slot(height: usize, width: usize) -> Option<usize> {
    match (height, width) {
        (0, 0) => None,
        (1, 0) => Some(0),
        (0, _) => Some(1),
        _ => Some(2),
    }
}

/// Merges bands into the map `y`; `m` maps band lengths to map lengths.
#[inline(always)]
pub(super) fn merge_plane<T: Scalar>(m: &Matrices<T>, bands: Bands<'_, T>, scratch: &mut [T], y: &mut [T]) {
    let (band_h, band_w) = (m.height[0].columns, m.width[0].columns);
    let map_w = m.width[0].rows;
    let third = scratch.len() / 3;
    let (tall, rest) = scratch.split_at_mut(third);
    let (turned, sum) = rest.split_at_mut(third);
    y.fill(T::default());
    for (b, height) in m.height.iter().enumerate() {
        sum[..map_w * band_h].fill(T::default());
        let mut any = false;
        for (c, width) in m.width.iter().enumerate() {
            let band = match band_slot(b, c) {
                None => bands.low,
                Some(slot) => bands.detail.map(|d| &d[slot * band_h * band_w..][..band_h * band_w]),
            };
            if let Some(band) = band {
                transpose(band, band_h, band_w, turned);
                product(width, turned, band_h, sum, true);
                any = true;
            }
        }
        if any {
            transpose(sum, map_w, band_h, tall);
            product(height, tall, map_w, y, true);
        }
    }
}
