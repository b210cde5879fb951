//! The kernels of local attention: one plane at a time, blocks of adjacent positions at once.
//!
//! A plane is copied with a border of one zero, in rows of P = W + 2; the neighbour (dy, dx) of the position at i = y P +
//! x is then at i + dy P + dx. Blocks run over i without regard to rows: the two positions behind each row have q = 0
//! and dy = 0, so that they add nothing, and their results are not copied out.
use rayon::prelude::*;

use crate::fft::lanes::{Lanes, Real, Vectorized, WithLanes};
use crate::fft::run::zeros;
use crate::fft::scratch::with_scratch;

/// Positions of the longest block.
const BLOCK: usize = 16;

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
    fn blocks<V: Lanes>(&self) -> impl Iterator<Item = usize> + use<V, T> {
        (0..self.size[0] * self.pitch()).step_by(V::LANES)
    }
    /// Distance of neighbour n.
    #[inline(always)]
    fn offset(&self, n: usize) -> usize {
        n / 3 * self.pitch() + n % 3
    }
}

/// The vector at `at` of a bordered plane.
#[inline(always)]
fn read<V: Lanes>(from: &[V::Real], at: usize) -> V {
    let block = &from[at..at + V::LANES];
    // SAFETY: the slice has LANES numbers.
    unsafe { V::load(block.as_ptr()) }
}

#[inline(always)]
fn write<V: Lanes>(to: &mut [V::Real], at: usize, x: V) {
    let block = &mut to[at..at + V::LANES];
    // SAFETY: as in `read`.
    unsafe { x.store(block.as_mut_ptr()) }
}

/// The nine weights and y of a block.
#[inline(always)]
fn attend<V: Lanes>(plane: &Plane<'_, V::Real>, q: V, k: &[V::Real], v: &[V::Real], at: usize) -> ([V; 9], V) {
    let logit = |n: usize| q.mul(read::<V>(k, at + plane.offset(n)).add(V::splat(plane.rel[n])));
    let mut a: [V; 9] = std::array::from_fn(logit);
    let mut max = a[0];
    for a in &a[1..] {
        max = max.max(*a);
    }
    let (mut sum, mut y) = (V::zero(), V::zero());
    for (n, a) in a.iter_mut().enumerate() {
        *a = a.sub(max).exp();
        sum = sum.add(*a);
        y = a.mul_add(read(v, at + plane.offset(n)), y);
    }
    let inverse = V::splat(V::Real::from_f64(1.0)).div(sum);
    (a.map(|a| a.mul(inverse)), y.mul(inverse))
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
        for at in plane.blocks::<V>() {
            // The queries of a block are not needed after it: the result takes their place.
            let (_, out) = attend::<V>(&plane, read(q, at), k, v, at);
            write(q, at, out);
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
        let mut rel = [V::zero(); 9];
        for at in plane.blocks::<V>() {
            let (q, g) = (read::<V>(q, at), read::<V>(g, at));
            let (a, y) = attend(&plane, q, k, v, at);
            let mut sum = V::zero();
            for n in 0..9 {
                let i = at + plane.offset(n);
                let weight = a[n].mul(g);
                let d = weight.mul(read::<V>(v, i).sub(y));
                sum = d.mul_add(read::<V>(k, i).add(V::splat(plane.rel[n])), sum);
                rel[n] = d.mul_add(q, rel[n]);
                write(dk, i, d.mul_add(q, read(dk, i)));
                write(dv, i, read::<V>(dv, i).add(weight));
            }
            write(dq, at, sum);
        }
        plane.copy_out(to.q, dq, 0);
        plane.copy_out(to.k, dk, 1);
        plane.copy_out(to.v, dv, 1);
        for (to, rel) in to.rel.iter_mut().zip(rel) {
            let mut lanes = [V::Real::from_f64(0.0); 16];
            write(&mut lanes, 0, rel);
            *to = lanes.into_iter().fold(V::Real::from_f64(0.0), |a, x| a + x);
        }
    }
}
