//! |z| = sqrt(re^2 + im^2) as one operation: gradient dy * (re, im) / |z|, and 0 where |z| is 0.
use rayon::prelude::*;

use super::lanes::{Lanes, Real, Vectorized, WithLanes};

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

/// |z| for all numbers.
pub(super) fn forward<T: Real>(re: &[T], im: &[T]) -> Vec<T> {
    struct Op<'a, T>(&'a mut [T], &'a [T], &'a [T]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let parts = self.1.par_chunks(CHUNK).zip(self.2.par_chunks(CHUNK));
            self.0.par_chunks_mut(CHUNK).zip(parts).for_each(|(y, (re, im))| V::vectorize(Forward(y, re, im)));
        }
    }
    let mut y = super::run::zeros(re.len());
    T::with_lanes(usize::MAX, Op(&mut y, re, im));
    y
}

/// The gradients of re and im.
pub(super) fn backward<T: Real>(parts: [&[T]; 2], amplitude: &[T], dy: &[T]) -> [Vec<T>; 2] {
    struct Op<'a, T>([&'a mut [T]; 2], [&'a [T]; 2], &'a [T], &'a [T]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self([dre, dim], [re, im], amplitude, dy) = self;
            let to = dre.par_chunks_mut(CHUNK).zip(dim.par_chunks_mut(CHUNK));
            let parts = re.par_chunks(CHUNK).zip(im.par_chunks(CHUNK));
            let rest = amplitude.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
            to.zip(parts).zip(rest).for_each(|(((dre, dim), (re, im)), (amplitude, dy))| {
                V::vectorize(Backward { to: [dre, dim], parts: [re, im], amplitude, dy });
            });
        }
    }
    let mut out = [super::run::zeros(dy.len()), super::run::zeros(dy.len())];
    let [dre, dim] = &mut out;
    T::with_lanes(usize::MAX, Op([dre, dim], parts, amplitude, dy));
    out
}
