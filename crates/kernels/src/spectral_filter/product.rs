//! Matrix products per frequency: C = A B for every frequency, complex, on [`Blocks`](super::blocks::Blocks).
//!
//! Every element of C is one sum over k in order, made by one thread.
use rayon::prelude::*;

use crate::fft::lanes::{Lanes, Vectorized};
use crate::fft::scratch::Shared;

use super::blocks::Blocks;

/// Which plane holds element (row, column) of matrix t: the numbers times row, column and t, added.
pub(super) type Places = [usize; 3];

/// Which factor is conjugated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conj {
    Neither,
    Left,
    Right,
}

/// C [m x n] = A [m x k] B [k x n] at every frequency, for `matrices` of them.
pub(super) struct Product<'a, T> {
    pub(super) matrices: usize,
    pub(super) size: [usize; 3],
    pub(super) a: (&'a Blocks<T>, Places),
    pub(super) b: (&'a Blocks<T>, Places),
    pub(super) c: (&'a mut Blocks<T>, Places),
    pub(super) conj: Conj,
}

/// Rows of C done together by one task.
const ROWS: usize = 32;
/// Rows and columns of C held in registers.
const TILE: [usize; 2] = [4, 2];

impl<T: crate::fft::lanes::Real> Product<'_, T> {
    /// Computes C.
    pub(super) fn run<V: Lanes<Real = T>>(self) {
        let Self { matrices, size: [m, k, n], a: (a, pa), b: (b, pb), c: (c, pc), conj } = self;
        let blocks = c.values.len() / (c.planes * 2 * V::LANES).max(1);
        let strips = m.div_ceil(ROWS);
        let (planes, out) = (c.planes, Shared::new(&mut c.values));
        let work = m * k * n;
        (0..blocks * matrices * strips).into_par_iter().with_min_len(1 + 1024 / work.max(1)).for_each(|task| {
            let (block, matrix, first) = (task / strips / matrices, task / strips % matrices, task % strips * ROWS);
            let at = |planes: usize, p: Places| (block * planes + matrix * p[2]) * 2 * V::LANES;
            let strip = Strip::<V> {
                // With an empty batch the places lie outside, and are not read.
                a: (a.values.as_ptr().wrapping_add(at(a.planes, pa)), pa),
                b: (b.values.as_ptr().wrapping_add(at(b.planes, pb)), pb),
                // SAFETY: this task's rows of this block lie within C, and only it writes them.
                c: (unsafe { out.at(at(planes, pc)) }, pc),
                rows: [first, m.min(first + ROWS)],
                size: [k, n],
            };
            match conj {
                Conj::Neither => V::vectorize(Run::<V, 0>(strip)),
                Conj::Left => V::vectorize(Run::<V, 1>(strip)),
                Conj::Right => V::vectorize(Run::<V, 2>(strip)),
            }
        });
    }
}

/// Some rows of C in one block.
struct Strip<V: Lanes> {
    a: (*const V::Real, Places),
    b: (*const V::Real, Places),
    c: (*mut V::Real, Places),
    rows: [usize; 2],
    size: [usize; 2],
}

/// With CONJ = 1 the left, 2 the right factor conjugated.
struct Run<V: Lanes, const CONJ: u8>(Strip<V>);

impl<V: Lanes, const CONJ: u8> Vectorized<V> for Run<V, CONJ> {
    #[inline(always)]
    fn call(self) {
        let s = self.0;
        for column in (0..s.size[1]).step_by(TILE[1]) {
            for row in (s.rows[0]..s.rows[1]).step_by(TILE[0]) {
                let (rows, columns) = (s.rows[1] - row, s.size[1] - column);
                // SAFETY: the tile lies within C.
                unsafe {
                    if rows >= TILE[0] && columns >= TILE[1] {
                        s.tile::<4, 2, CONJ>(row, column);
                    } else {
                        for i in 0..rows.min(TILE[0]) {
                            for j in 0..columns.min(TILE[1]) {
                                s.tile::<1, 1, CONJ>(row + i, column + j);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl<V: Lanes> Strip<V> {
    /// An R x S tile of C.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "row and column numbers address the tile and memory alike")]
    unsafe fn tile<const R: usize, const S: usize, const CONJ: u8>(&self, row: usize, column: usize) {
        let place = |p: Places, i: usize, j: usize| (i * p[0] + j * p[1]) * 2 * V::LANES;
        let mut sum = [[[V::zero(); 2]; S]; R];
        // SAFETY: the caller's tile lies within C; k and the tile's rows and columns within A and B.
        unsafe {
            for k in 0..self.size[0] {
                let mut right = [[V::zero(); 2]; S];
                for (j, z) in right.iter_mut().enumerate() {
                    let at = self.b.0.add(place(self.b.1, k, column + j));
                    *z = [V::load(at), V::load(at.add(V::LANES))];
                }
                for i in 0..R {
                    let at = self.a.0.add(place(self.a.1, row + i, k));
                    let [x, y] = [V::load(at), V::load(at.add(V::LANES))];
                    for j in 0..S {
                        let ([re, im], [c, d]) = (sum[i][j], right[j]);
                        sum[i][j] = match CONJ {
                            0 => [y.neg_mul_add(d, x.mul_add(c, re)), y.mul_add(c, x.mul_add(d, im))],
                            1 => [y.mul_add(d, x.mul_add(c, re)), y.neg_mul_add(c, x.mul_add(d, im))],
                            _ => [y.mul_add(d, x.mul_add(c, re)), x.neg_mul_add(d, y.mul_add(c, im))],
                        };
                    }
                }
            }
            for i in 0..R {
                for j in 0..S {
                    let at = self.c.0.add(place(self.c.1, row + i, column + j));
                    sum[i][j][0].store(at);
                    sum[i][j][1].store(at.add(V::LANES));
                }
            }
        }
    }
}
