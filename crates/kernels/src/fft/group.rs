//! Two-dimensional transforms of a group of planes, one plane per lane.
//!
//! Real planes use the half spectrum, columns k = 0..W/2. Two rows a and b are transformed at once as z = a + i b:
//! `A_k = (Z_k + conj Z_{-k}) / 2`, `B_k = (Z_k - conj Z_{-k}) / (2 i)`; the way back builds Z = A + i B.
//! The spectrum is held column by column, so that the second transform runs over adjacent vectors.
use std::sync::Arc;

use super::lanes::{Lanes, Real};
use super::plan::Plan;
use super::transform::{Parts, transform};

/// Numbers (not vectors) that a chunk of rows should at least have, to fill whole tiles.
const CHUNK: usize = 64;

/// Sizes and plans of one kind of plane.
#[derive(Clone)]
pub(crate) struct Grid<T> {
    /// H, W.
    pub(crate) size: [usize; 2],
    /// Columns of the spectrum: W/2 + 1 for real planes, W for complex ones.
    pub(crate) columns: usize,
    row: Arc<Plan<T>>,
    column: Arc<Plan<T>>,
    /// Rows loaded at a time; even.
    chunk: usize,
}

/// Working memory of a group.
#[derive(Clone, Copy)]
pub(crate) struct Room<V> {
    spectrum: Parts<V>,
    chunk: Parts<V>,
    scratch: Parts<V>,
}

impl<T: Real> Grid<T> {
    /// For real planes.
    pub(crate) fn real(size: [usize; 2]) -> Self {
        Self::new(size, size[1] / 2 + 1)
    }
    /// For complex planes.
    pub(crate) fn complex(size: [usize; 2]) -> Self {
        Self::new(size, size[1])
    }
    fn new(size: [usize; 2], columns: usize) -> Self {
        let plans = T::plans();
        let (row, column) = (plans.get(size[1]), plans.get(size[0]));
        Self { size, columns, row, column, chunk: 2 * CHUNK.div_ceil(2 * size[1]) }
    }
    /// Numbers of a plane.
    pub(crate) fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }
    /// Numbers of a spectrum, real or imaginary.
    pub(crate) fn frequencies(&self) -> usize {
        self.size[0] * self.columns
    }
    /// Distance of the columns in the spectrum; odd, against conflicts in the cache.
    pub(crate) fn pitch(&self) -> usize {
        self.size[0] | 1
    }
    /// Where frequency (u, k), counted row by row, stands in a group's spectrum.
    pub(crate) fn order(&self) -> Vec<u32> {
        let (m, pitch) = (self.columns, self.pitch());
        (0..self.frequencies()).map(|f| ((f % m) * pitch + f / m) as u32).collect()
    }
    /// Vectors of one group's working memory.
    pub(crate) fn room(&self) -> usize {
        2 * (self.spectrum_room() + self.chunk_room() + self.scratch_room())
    }
    fn spectrum_room(&self) -> usize {
        self.columns * self.pitch()
    }
    fn chunk_room(&self) -> usize {
        self.chunk * self.size[1]
    }
    fn scratch_room(&self) -> usize {
        self.row.scratch().max(self.column.scratch())
    }
    /// Divides `memory`, of at least [`Grid::room`] vectors.
    pub(crate) fn divide<V: Lanes<Real = T>>(&self, memory: &mut [V]) -> Room<V> {
        assert!(memory.len() >= self.room());
        let mut at = memory.as_mut_ptr();
        let mut take = |len: usize| {
            // SAFETY: the parts together are `room` long.
            let parts = unsafe { Parts { re: at, im: at.add(len) } };
            at = unsafe { at.add(2 * len) };
            parts
        };
        Room {
            spectrum: take(self.spectrum_room()),
            chunk: take(self.chunk_room()),
            scratch: take(self.scratch_room()),
        }
    }

    /// Weight of column k in a half spectrum: `interior` for those that stand for two.
    #[inline(always)]
    fn weight(&self, k: usize, interior: f64) -> f64 {
        if k == 0 || 2 * k == self.size[1] { 1.0 } else { interior }
    }
}

/// The methods work inside a function compiled for `V`, on `count` planes; `room` is the grid's.
///
/// # Safety
/// All: pointers are valid for the planes they stand for, `count <= V::LANES`.
impl<V: Lanes> Room<V> {
    /// Rows of real planes to half rows, times `scale` and the column's weight.
    #[inline(always)]
    pub(crate) unsafe fn rows_from_real(
        self,
        grid: &Grid<V::Real>,
        planes: *const V::Real,
        count: usize,
        [interior, scale]: [f64; 2],
    ) {
        let ([h, w], pitch) = (grid.size, grid.pitch());
        for first in (0..h).step_by(grid.chunk) {
            let rows = grid.chunk.min(h - first);
            let chunk = self.chunk.re;
            // SAFETY: the chunk has room for an even number of rows.
            unsafe {
                load(planes.add(first * w), h * w, count, rows * w, |f| chunk.add(f));
                if rows % 2 == 1 {
                    (0..w).for_each(|i| *chunk.add(rows * w + i) = V::zero());
                }
                for j in (0..rows).step_by(2) {
                    let z = Parts { re: chunk.add(j * w), im: chunk.add((j + 1) * w) };
                    transform(&grid.row, z, self.scratch);
                    for k in 0..grid.columns {
                        let n = if k == 0 { 0 } else { w - k };
                        let factor = V::splat(V::Real::from_f64(0.5 * scale * grid.weight(k, interior)));
                        let (zr, zi, nr, ni) = (*z.re.add(k), *z.im.add(k), *z.re.add(n), *z.im.add(n));
                        let to = self.spectrum.at(k * pitch + first + j);
                        *to.re = zr.add(nr).mul(factor);
                        *to.im = zi.sub(ni).mul(factor);
                        if j + 1 < rows {
                            *to.re.add(1) = zi.add(ni).mul(factor);
                            *to.im.add(1) = nr.sub(zr).mul(factor);
                        }
                    }
                }
            }
        }
    }

    /// Half rows to rows of real planes: `scale * Re sum_k weight_k C_k e^{2 pi i k w / W}`.
    #[inline(always)]
    pub(crate) unsafe fn rows_to_real(
        self,
        grid: &Grid<V::Real>,
        planes: *mut V::Real,
        count: usize,
        [interior, scale]: [f64; 2],
    ) {
        let ([h, w], pitch) = (grid.size, grid.pitch());
        let edge = V::splat(V::Real::from_f64(scale));
        let inner = V::splat(V::Real::from_f64(0.5 * scale * interior));
        for first in (0..h).step_by(grid.chunk) {
            let rows = grid.chunk.min(h - first);
            let chunk = self.chunk.re;
            // SAFETY: the chunk has room for an even number of rows.
            unsafe {
                for j in (0..rows).step_by(2) {
                    let z = Parts { re: chunk.add(j * w), im: chunk.add((j + 1) * w) };
                    for k in 0..grid.columns {
                        let at = self.spectrum.at(k * pitch + first + j);
                        let (ar, ai) = (*at.re, *at.im);
                        let paired = j + 1 < rows;
                        let (br, bi) = if paired { (*at.re.add(1), *at.im.add(1)) } else { (V::zero(), V::zero()) };
                        if k == 0 || 2 * k == w {
                            *z.re.add(k) = ar.mul(edge);
                            *z.im.add(k) = br.mul(edge);
                        } else {
                            *z.re.add(k) = ar.sub(bi).mul(inner);
                            *z.im.add(k) = ai.add(br).mul(inner);
                            *z.re.add(w - k) = ar.add(bi).mul(inner);
                            *z.im.add(w - k) = br.sub(ai).mul(inner);
                        }
                    }
                    transform(&grid.row, z.swapped(), self.scratch);
                }
                store(planes.add(first * w), h * w, count, rows * w, |f| *chunk.add(f));
            }
        }
    }

    /// Transforms all columns, forward or inverse.
    #[inline(always)]
    pub(crate) unsafe fn columns(self, grid: &Grid<V::Real>, inverse: bool) {
        for k in 0..grid.columns {
            // SAFETY: the spectrum holds the grid's columns.
            unsafe { self.column(grid, k, inverse) };
        }
    }

    #[inline(always)]
    unsafe fn column(self, grid: &Grid<V::Real>, k: usize, inverse: bool) {
        // SAFETY: the spectrum holds the grid's columns.
        let column = unsafe { self.spectrum.at(k * grid.pitch()) };
        // SAFETY: as above.
        unsafe { transform(&grid.column, if inverse { column.swapped() } else { column }, self.scratch) };
    }

    /// Columns forward, times `response` (as long as the spectrum, in [`Grid::order`]'s places), columns back.
    #[inline(always)]
    pub(crate) unsafe fn filter_columns(self, grid: &Grid<V::Real>, response: &[V::Real]) {
        let pitch = grid.pitch();
        for k in 0..grid.columns {
            // SAFETY: the spectrum holds the grid's columns.
            unsafe {
                self.column(grid, k, false);
                let column = self.spectrum.at(k * pitch);
                for u in 0..grid.size[0] {
                    let factor = V::splat(response[k * pitch + u]);
                    *column.re.add(u) = (*column.re.add(u)).mul(factor);
                    *column.im.add(u) = (*column.im.add(u)).mul(factor);
                }
                self.column(grid, k, true);
            }
        }
    }

    /// Complex planes to a whole spectrum: rows, then columns, times `scale`.
    #[inline(always)]
    pub(crate) unsafe fn complex(
        self,
        grid: &Grid<V::Real>,
        planes: [*const V::Real; 2],
        count: usize,
        inverse: bool,
        scale: f64,
    ) {
        let ([h, w], pitch) = (grid.size, grid.pitch());
        let factor = V::splat(V::Real::from_f64(scale));
        for first in (0..h).step_by(grid.chunk) {
            let rows = grid.chunk.min(h - first);
            // SAFETY: both parts of the chunk have room for its rows.
            unsafe {
                let chunk = self.chunk;
                load(planes[0].add(first * w), h * w, count, rows * w, |f| chunk.re.add(f));
                load(planes[1].add(first * w), h * w, count, rows * w, |f| chunk.im.add(f));
                for j in 0..rows {
                    let z = chunk.at(j * w);
                    transform(&grid.row, if inverse { z.swapped() } else { z }, self.scratch);
                    for k in 0..w {
                        let to = self.spectrum.at(k * pitch + first + j);
                        *to.re = (*z.re.add(k)).mul(factor);
                        *to.im = (*z.im.add(k)).mul(factor);
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.columns(grid, inverse) };
    }

    /// Reads the spectrum from planes of frequencies.
    #[inline(always)]
    pub(crate) unsafe fn load_spectrum(self, order: &[u32], planes: [*const V::Real; 2], count: usize) {
        let len = order.len();
        // SAFETY: `order` holds places of the spectrum.
        unsafe {
            load(planes[0], len, count, len, |f| self.spectrum.re.add(order[f] as usize));
            load(planes[1], len, count, len, |f| self.spectrum.im.add(order[f] as usize));
        }
    }

    /// Writes the spectrum to planes of frequencies.
    #[inline(always)]
    pub(crate) unsafe fn store_spectrum(self, order: &[u32], planes: [*mut V::Real; 2], count: usize) {
        let len = order.len();
        // SAFETY: `order` holds places of the spectrum.
        unsafe {
            store(planes[0], len, count, len, |f| *self.spectrum.re.add(order[f] as usize));
            store(planes[1], len, count, len, |f| *self.spectrum.im.add(order[f] as usize));
        }
    }

    /// Writes the spectrum in blocks of `V::LANES` frequencies of one plane: see [`crate::spectral_filter`].
    ///
    /// `block(b, part)` is where block b of the group's first plane goes; the next plane's is `2 * V::LANES` further.
    #[inline(always)]
    pub(crate) unsafe fn store_blocks(self, order: &[u32], count: usize, block: impl Fn(usize) -> *mut V::Real) {
        for (b, places) in order.chunks(V::LANES).enumerate() {
            for (part, from) in [self.spectrum.re, self.spectrum.im].into_iter().enumerate() {
                let mut tile = [V::zero(); 16];
                // SAFETY: places of the spectrum; the block has room for `count` planes of both parts.
                unsafe {
                    for (t, &f) in tile.iter_mut().zip(places) {
                        *t = *from.add(f as usize);
                    }
                    V::transpose(tile.as_mut_ptr());
                    let to = block(b).add(part * V::LANES);
                    for (l, t) in tile.iter().enumerate().take(count) {
                        t.store(to.add(2 * l * V::LANES));
                    }
                }
            }
        }
    }

    /// Reads the spectrum from such blocks.
    #[inline(always)]
    pub(crate) unsafe fn load_blocks(self, order: &[u32], count: usize, block: impl Fn(usize) -> *const V::Real) {
        for (b, places) in order.chunks(V::LANES).enumerate() {
            for (part, to) in [self.spectrum.re, self.spectrum.im].into_iter().enumerate() {
                let mut tile = [V::zero(); 16];
                // SAFETY: as in `store_blocks`.
                unsafe {
                    let from = block(b).add(part * V::LANES);
                    for (l, t) in tile.iter_mut().enumerate().take(count) {
                        *t = V::load(from.add(2 * l * V::LANES));
                    }
                    V::transpose(tile.as_mut_ptr());
                    for (t, &f) in tile.iter().zip(places) {
                        *to.add(f as usize) = *t;
                    }
                }
            }
        }
    }
}

/// Turns `len` numbers of `count` planes into vectors, the f-th going to `place(f)`; lanes without a plane are zero.
#[inline(always)]
unsafe fn load<V: Lanes>(
    planes: *const V::Real,
    stride: usize,
    count: usize,
    len: usize,
    place: impl Fn(usize) -> *mut V,
) {
    let n = V::LANES;
    // SAFETY: the caller's pointers hold `len` numbers per plane.
    unsafe {
        if count == n && len >= n {
            for f in (0..len).step_by(n) {
                // The last tile overlaps the one before.
                let f = f.min(len - n);
                let mut tile = [V::zero(); 16];
                for (l, t) in tile.iter_mut().enumerate().take(n) {
                    *t = V::load(planes.add(l * stride + f));
                }
                V::transpose(tile.as_mut_ptr());
                for (j, t) in tile.iter().enumerate().take(n) {
                    *place(f + j) = *t;
                }
            }
        } else {
            for f in 0..len {
                let mut lanes = [V::Real::from_f64(0.0); 16];
                for (l, x) in lanes.iter_mut().enumerate().take(count) {
                    *x = *planes.add(l * stride + f);
                }
                *place(f) = V::load(lanes.as_ptr());
            }
        }
    }
}

/// The way back of [`load`].
#[inline(always)]
unsafe fn store<V: Lanes>(planes: *mut V::Real, stride: usize, count: usize, len: usize, value: impl Fn(usize) -> V) {
    let n = V::LANES;
    // SAFETY: as in `load`.
    unsafe {
        if count == n && len >= n {
            for f in (0..len).step_by(n) {
                let f = f.min(len - n);
                let mut tile = [V::zero(); 16];
                for (j, t) in tile.iter_mut().enumerate().take(n) {
                    *t = value(f + j);
                }
                V::transpose(tile.as_mut_ptr());
                for (l, t) in tile.iter().enumerate().take(n) {
                    t.store(planes.add(l * stride + f));
                }
            }
        } else {
            for f in 0..len {
                let mut lanes = [V::Real::from_f64(0.0); 16];
                value(f).store(lanes.as_mut_ptr());
                for (l, x) in lanes.iter().enumerate().take(count) {
                    *planes.add(l * stride + f) = *x;
                }
            }
        }
    }
}
