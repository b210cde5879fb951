//! |z| = sqrt(re^2 + im^2) as one operation: gradient dy * (re, im) / |z|, and 0 where |z| is 0.
use rayon::prelude::*;

use super::lanes::{Lanes, Real, Vectorized, WithLanes};
use super::scratch::{Shared, written};

/// Numbers that one task works on.
const CHUNK: usize = 1 << 14;

struct Forward<'a, T>(&'a mut [T], &'a [T], &'a [T]);

impl<V: Lanes> Vectorized<V> for Forward<'_, V::Real> {
    #[inline(always)]
    fn call(self) {
        for ((y, &re), &im) in self.0.iter_mut().zip(self.1).zip(self.2) {
            *y = (re * re + im * im).sqrt();
        }
    }
}

struct Backward<'a, T> {
    to: [&'a mut [T]; 2],
    parts: [&'a [T]; 2],
    amplitude: &'a [T],
    dy: &'a [T],
}

impl<V: Lanes> Vectorized<V> for Backward<'_, V::Real> {
    #[inline(always)]
    fn call(self) {
        let zero = V::Real::from_f64(0.0);
        let [to_re, to_im] = self.to;
        let to = to_re.iter_mut().zip(to_im.iter_mut());
        let from = self.parts[0].iter().zip(self.parts[1]).zip(self.amplitude.iter().zip(self.dy));
        for ((dre, dim), ((&re, &im), (&a, &g))) in to.zip(from) {
            let factor = if a > zero { g / a } else { zero };
            *dre = factor * re;
            *dim = factor * im;
        }
    }
}

/// The numbers of chunk `at` of a buffer of `len`.
///
/// # Safety
/// The buffer holds `len` numbers, and no other thread works on this chunk.
unsafe fn chunk<'a, T: Real>(buffer: Shared<T>, at: usize, len: usize) -> &'a mut [T] {
    let start = at * CHUNK;
    // SAFETY: the chunk lies within the buffer; any bits are a number.
    unsafe { std::slice::from_raw_parts_mut(buffer.at(start), CHUNK.min(len - start)) }
}

/// |z| for all numbers.
pub(super) fn forward<T: Real>(re: &[T], im: &[T]) -> Vec<T> {
    struct Op<'a, T>(Shared<T>, &'a [T], &'a [T]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let (y, len) = (self.0, self.1.len());
            let parts = self.1.par_chunks(CHUNK).zip(self.2.par_chunks(CHUNK));
            parts.enumerate().for_each(|(i, (re, im))| {
                // SAFETY: one task per chunk of a buffer as long as the parts.
                V::vectorize(Forward(unsafe { chunk(y, i, len) }, re, im));
            });
        }
    }
    // SAFETY: the chunks cover the buffer.
    let [y] = unsafe { written(re.len(), |[y]| T::with_lanes(usize::MAX, Op(y, re, im))) };
    y
}

/// The gradients of re and im.
pub(super) fn backward<T: Real>(parts: [&[T]; 2], amplitude: &[T], dy: &[T]) -> [Vec<T>; 2] {
    struct Op<'a, T>([Shared<T>; 2], [&'a [T]; 2], &'a [T], &'a [T]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(to, [re, im], amplitude, dy) = self;
            let dy_len = dy.len();
            let parts = re.par_chunks(CHUNK).zip(im.par_chunks(CHUNK));
            let rest = amplitude.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
            parts.zip(rest).enumerate().for_each(|(i, ((re, im), (amplitude, dy)))| {
                // SAFETY: as in `forward`.
                let to = to.map(|to| unsafe { chunk(to, i, dy_len) });
                V::vectorize(Backward { to, parts: [re, im], amplitude, dy });
            });
        }
    }
    // SAFETY: the chunks cover the buffers.
    unsafe { written(dy.len(), |to| T::with_lanes(usize::MAX, Op(to, parts, amplitude, dy))) }
}
