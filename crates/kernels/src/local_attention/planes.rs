//! The kernels of local attention: one plane at a time, blocks of adjacent positions at once.
//!
//! A plane is copied with a border of one zero, in rows of P = W + 2; the neighbour (dy, dx) of the position at i = y P +
//! x is then at i + dy P + dx. Blocks run over i without regard to rows: the two positions behind each row have q = 0
//! and dy = 0, so that they add nothing, and their results are not copied out.
use rayon::prelude::*;

use crate::fft::lanes::{Lanes, Real, Vectorized, WithLanes};
use crate::fft::run::zeros;
use crate::fft::scratch::with_scratch;

/// Positions of a block.
const BLOCK: usize = 16;

type Block<T> = [T; BLOCK];

/// Inputs: q, k, v `[N, C, H, W]`, offsets along height and width `[C/2, 3]`.
pub(super) struct Arguments<'a, T> {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) q: &'a [T],
    pub(super) k: &'a [T],
    pub(super) v: &'a [T],
    pub(super) rel: [&'a [T]; 2],
}

/// Gradients of the inputs.
pub(super) struct Derivatives<T> {
    pub(super) q: Vec<T>,
    pub(super) k: Vec<T>,
    pub(super) v: Vec<T>,
    pub(super) rel: [Vec<T>; 2],
}

/// One plane with its offsets per neighbour.
struct Plane<'a, T> {
    size: [usize; 2],
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    rel: [T; 9],
}

/// Where the results of a plane go.
struct Results<'a, T> {
    q: &'a mut [T],
    k: &'a mut [T],
    v: &'a mut [T],
    /// Sum over positions for each neighbour.
    rel: &'a mut [T],
}

impl<'a, T: Real> Arguments<'a, T> {
    fn plane(&self, p: usize) -> Plane<'a, T> {
        let (area, half, c) = (self.size[0] * self.size[1], self.channels / 2, p % self.channels);
        let at = |x: &'a [T]| &x[p * area..][..area];
        let rel = std::array::from_fn(|n| match c.checked_sub(half) {
            None => self.rel[0][3 * c + n / 3],
            Some(c) => self.rel[1][3 * c + n % 3],
        });
        Plane { size: self.size, q: at(self.q), k: at(self.k), v: at(self.v), rel }
    }

    /// y.
    pub(super) fn forward(&self) -> Vec<T> {
        struct Op<'a, 'b, T>(&'a Arguments<'b, T>, &'a mut [T]);
        impl<T: Real> WithLanes<T> for Op<'_, '_, T> {
            fn run<V: Lanes<Real = T>>(self) {
                let Self(arguments, y) = self;
                let area = arguments.size[0] * arguments.size[1];
                y.par_chunks_mut(area.max(1)).enumerate().for_each(|(p, y)| {
                    let plane = arguments.plane(p);
                    with_scratch(3 * plane.room(), |room| V::vectorize(Forward { plane, y, room }));
                });
            }
        }
        let mut y = zeros(self.q.len());
        T::with_lanes(usize::MAX, Op(self, &mut y));
        y
    }

    /// The gradients for dy.
    pub(super) fn backward(&self, dy: &[T]) -> Derivatives<T> {
        struct Op<'a, 'b, T>(&'a Arguments<'b, T>, &'a [T], [&'a mut [T]; 4]);
        impl<T: Real> WithLanes<T> for Op<'_, '_, T> {
            fn run<V: Lanes<Real = T>>(self) {
                let Self(arguments, dy, [q, k, v, rel]) = self;
                let area = (arguments.size[0] * arguments.size[1]).max(1);
                let to = q.par_chunks_mut(area).zip(k.par_chunks_mut(area)).zip(v.par_chunks_mut(area));
                to.zip(rel.par_chunks_mut(9)).zip(dy.par_chunks(area)).enumerate().for_each(
                    |(p, ((((q, k), v), rel), dy))| {
                        let plane = arguments.plane(p);
                        let to = Results { q, k, v, rel };
                        with_scratch(7 * plane.room(), |room| V::vectorize(Backward { plane, dy, to, room }));
                    },
                );
            }
        }
        let area = (self.size[0] * self.size[1]).max(1);
        let len = self.q.len();
        let [mut q, mut k, mut v, mut rel] = [len, len, len, len / area * 9].map(zeros::<T>);
        T::with_lanes(usize::MAX, Op(self, dy, [&mut q, &mut k, &mut v, &mut rel]));
        Derivatives { q, k, v, rel: self.offsets(&rel) }
    }

    /// Gradients of the offsets from the sums of the planes, in the order of the batch.
    fn offsets(&self, sums: &[T]) -> [Vec<T>; 2] {
        let half = self.channels / 2;
        let mut out = [zeros::<T>(3 * half), zeros::<T>(3 * half)];
        for (p, sums) in sums.chunks(9).enumerate() {
            let c = p % self.channels;
            for (n, &x) in sums.iter().enumerate() {
                let to = match c.checked_sub(half) {
                    None => &mut out[0][3 * c + n / 3],
                    Some(c) => &mut out[1][3 * c + n % 3],
                };
                *to = *to + x;
            }
        }
        out
    }
}

impl<T: Real> Plane<'_, T> {
    fn pitch(&self) -> usize {
        self.size[1] + 2
    }
    /// Numbers of a bordered plane, with slack for the last block.
    fn room(&self) -> usize {
        (self.size[0] + 2) * self.pitch() + 2 + BLOCK
    }
    /// Copies `from` into zeros, its corner at (`border`, `border`).
    #[inline(always)]
    fn copy_in(&self, to: &mut [T], from: &[T], border: usize) {
        to.fill(T::from_f64(0.0));
        for (y, row) in from.chunks(self.size[1]).enumerate() {
            to[(y + border) * self.pitch() + border..][..row.len()].copy_from_slice(row);
        }
    }
    #[inline(always)]
    fn copy_out(&self, to: &mut [T], from: &[T], border: usize) {
        for (y, row) in to.chunks_mut(self.size[1]).enumerate() {
            row.copy_from_slice(&from[(y + border) * self.pitch() + border..][..row.len()]);
        }
    }
    /// Starts of the blocks.
    fn blocks(&self) -> impl Iterator<Item = usize> + use<T> {
        (0..self.size[0] * self.pitch()).step_by(BLOCK)
    }
    /// Distance of neighbour n.
    #[inline(always)]
    fn offset(&self, n: usize) -> usize {
        n / 3 * self.pitch() + n % 3
    }
}

#[inline(always)]
fn read<T: Real>(from: &[T], at: usize) -> Block<T> {
    let block: &[T] = &from[at..at + BLOCK];
    std::array::from_fn(|l| block[l])
}

#[inline(always)]
fn map<T: Real>(f: impl Fn(usize) -> T) -> Block<T> {
    std::array::from_fn(f)
}

#[inline(always)]
fn accumulate<T: Real>(to: &mut [T], at: usize, x: Block<T>) {
    for (to, x) in to[at..at + BLOCK].iter_mut().zip(x) {
        *to = *to + x;
    }
}

/// The nine weights and y of a block.
#[inline(always)]
fn attend<T: Real>(plane: &Plane<'_, T>, q: &Block<T>, k: &[T], v: &[T], at: usize) -> ([Block<T>; 9], Block<T>) {
    let mut a = [*q; 9];
    let mut max = *q;
    for n in 0..9 {
        let k = read(k, at + plane.offset(n));
        a[n] = map(|l| q[l] * (k[l] + plane.rel[n]));
        max = if n == 0 { a[0] } else { map(|l| if a[n][l] > max[l] { a[n][l] } else { max[l] }) };
    }
    let mut sum = map(|_| T::from_f64(0.0));
    let mut y = sum;
    for n in 0..9 {
        let v = read(v, at + plane.offset(n));
        a[n] = map(|l| (a[n][l] - max[l]).exp());
        sum = map(|l| sum[l] + a[n][l]);
        y = map(|l| y[l] + a[n][l] * v[l]);
    }
    let inverse = map(|l| T::from_f64(1.0) / sum[l]);
    for a in &mut a {
        *a = map(|l| a[l] * inverse[l]);
    }
    (a, map(|l| y[l] * inverse[l]))
}

struct Forward<'a, T> {
    plane: Plane<'a, T>,
    y: &'a mut [T],
    room: &'a mut [T],
}

impl<V: Lanes> Vectorized<V> for Forward<'_, V::Real> {
    #[inline(always)]
    fn call(self) {
        let Self { plane, y, room } = self;
        let (q, rest) = room.split_at_mut(plane.room());
        let (k, v) = rest.split_at_mut(plane.room());
        plane.copy_in(q, plane.q, 0);
        plane.copy_in(k, plane.k, 1);
        plane.copy_in(v, plane.v, 1);
        for at in plane.blocks() {
            // The queries of a block are not needed after it: the result takes their place.
            let (_, out) = attend(&plane, &read(q, at), k, v, at);
            q[at..at + BLOCK].copy_from_slice(&out);
        }
        plane.copy_out(y, q, 0);
    }
}

struct Backward<'a, T> {
    plane: Plane<'a, T>,
    dy: &'a [T],
    to: Results<'a, T>,
    room: &'a mut [T],
}

impl<V: Lanes> Vectorized<V> for Backward<'_, V::Real> {
    #[inline(always)]
    fn call(self) {
        let Self { plane, dy, to, room } = self;
        let mut parts = room.chunks_exact_mut(plane.room());
        let mut next = || parts.next().unwrap_or_default();
        let (q, k, v, g, dq, dk, dv) = (next(), next(), next(), next(), next(), next(), next());
        plane.copy_in(q, plane.q, 0);
        plane.copy_in(g, dy, 0);
        plane.copy_in(k, plane.k, 1);
        plane.copy_in(v, plane.v, 1);
        dk.fill(V::Real::from_f64(0.0));
        dv.fill(V::Real::from_f64(0.0));
        let zero = map(|_| V::Real::from_f64(0.0));
        let mut rel = [zero; 9];
        for at in plane.blocks() {
            let (q, g) = (read(q, at), read(g, at));
            let (a, y) = attend(&plane, &q, k, v, at);
            let mut sum = zero;
            for n in 0..9 {
                let i = at + plane.offset(n);
                let (k, v) = (read(k, i), read(v, i));
                let weight = map(|l| a[n][l] * g[l]);
                let d = map(|l| weight[l] * (v[l] - y[l]));
                sum = map(|l| sum[l] + d[l] * (k[l] + plane.rel[n]));
                let dk_n = map(|l| d[l] * q[l]);
                rel[n] = map(|l| rel[n][l] + dk_n[l]);
                accumulate(dk, i, dk_n);
                accumulate(dv, i, weight);
            }
            dq[at..at + BLOCK].copy_from_slice(&sum);
        }
        plane.copy_out(to.q, dq, 0);
        plane.copy_out(to.k, dk, 1);
        plane.copy_out(to.v, dv, 1);
        for (to, rel) in to.rel.iter_mut().zip(rel) {
            *to = rel.into_iter().fold(V::Real::from_f64(0.0), |a, x| a + x);
        }
    }
}
