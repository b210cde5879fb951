//! The transforms of a whole batch: groups of planes in parallel.
use rayon::prelude::*;

use super::group::{Grid, Room};
use super::lanes::{Lanes, Real, Vectorized, WithLanes};
use super::scratch::{Shared, with_scratch, written};

/// The work on one group of planes, to be compiled for `V`; `group` must be `#[inline(always)]`.
pub(crate) trait Groups<V>: Sync {
    /// Works on `count` planes from `first` on.
    ///
    /// # Safety
    /// The planes exist, and no other thread works on them.
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>);
}

/// Runs `work` for every group of `planes`.
///
/// Groups are fixed by the number of planes and touch nothing in common, so threads do not matter.
pub(crate) fn each_group<V: Lanes>(grid: &Grid<V::Real>, planes: usize, work: &impl Groups<V>) {
    struct Body<'a, V, G>(&'a G, usize, usize, Room<V>);
    impl<V: Lanes, G: Groups<V>> Vectorized<V> for Body<'_, V, G> {
        #[inline(always)]
        fn call(self) {
            // SAFETY: each group is run once, with planes below their number.
            unsafe { self.0.group(self.1, self.2, self.3) };
        }
    }
    (0..planes.div_ceil(V::LANES)).into_par_iter().for_each(|g| {
        let first = g * V::LANES;
        with_scratch(grid.room(), |memory| {
            V::vectorize(Body(work, first, V::LANES.min(planes - first), grid.divide(memory)));
        });
    });
}

/// `weight_k * scale *` half spectrum of real planes.
pub(super) struct RealToHalf<'a, T> {
    pub(super) grid: &'a Grid<T>,
    pub(super) order: Vec<u32>,
    pub(super) planes: &'a [T],
    pub(super) half: [Shared<T>; 2],
    pub(super) factors: [f64; 2],
}

impl<V: Lanes> Groups<V> for RealToHalf<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let (area, f) = (self.grid.area(), self.grid.frequencies());
        // SAFETY: both slices hold all planes.
        unsafe {
            room.rows_from_real(self.grid, self.planes.as_ptr().add(first * area), count, self.factors);
            room.columns(self.grid, false);
            room.store_spectrum(&self.order, self.half.map(|part| part.at(first * f)), count);
        }
    }
}

/// The half spectra of real planes: real parts, imaginary parts.
///
/// `factors` are the weight of the columns that stand for two, and a scale.
pub(crate) fn real_to_half<T: Real>(size: [usize; 2], planes: &[T], factors: [f64; 2]) -> [Vec<T>; 2] {
    struct Op<'a, T>([usize; 2], &'a [T], [Shared<T>; 2], [f64; 2]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(size, planes, half, factors) = self;
            let grid = &Grid::real(size);
            let work = RealToHalf { grid, order: grid.order(), planes, half, factors };
            each_group::<V>(grid, planes.len() / grid.area(), &work);
        }
    }
    let count = planes.len() / (size[0] * size[1]);
    let len = count * size[0] * (size[1] / 2 + 1);
    // SAFETY: the groups cover all planes, and each writes its spectra whole.
    unsafe { written(len, |half| T::with_lanes(count, Op(size, planes, half, factors))) }
}

/// Real planes from half spectra.
pub(super) struct HalfToReal<'a, T> {
    pub(super) grid: &'a Grid<T>,
    pub(super) order: Vec<u32>,
    pub(super) half: [&'a [T]; 2],
    pub(super) planes: Shared<T>,
    pub(super) factors: [f64; 2],
}

impl<V: Lanes> Groups<V> for HalfToReal<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let (area, f) = (self.grid.area(), self.grid.frequencies());
        // SAFETY: both slices hold all planes.
        unsafe {
            room.load_spectrum(&self.order, self.half.map(|part| part.as_ptr().add(first * f)), count);
            room.columns(self.grid, true);
            room.rows_to_real(self.grid, self.planes.at(first * area), count, self.factors);
        }
    }
}

/// Real planes from half spectra: the adjoint of [`real_to_half`] with the same factors.
pub(crate) fn half_to_real<T: Real>(size: [usize; 2], half: [&[T]; 2], factors: [f64; 2]) -> Vec<T> {
    struct Op<'a, T>([usize; 2], [&'a [T]; 2], Shared<T>, usize, [f64; 2]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(size, half, planes, count, factors) = self;
            let grid = &Grid::real(size);
            let work = HalfToReal { grid, order: grid.order(), half, planes, factors };
            each_group::<V>(grid, count, &work);
        }
    }
    let count = half[0].len() / (size[0] * (size[1] / 2 + 1));
    assert_eq!(half[0].len(), half[1].len());
    let len = count * size[0] * size[1];
    // SAFETY: the groups cover all planes, and each writes its planes whole.
    let [planes] = unsafe { written(len, |[planes]| T::with_lanes(count, Op(size, half, planes, count, factors))) };
    planes
}

/// Complex planes.
pub(super) struct Complex<'a, T> {
    pub(super) grid: &'a Grid<T>,
    pub(super) order: Vec<u32>,
    pub(super) from: [&'a [T]; 2],
    pub(super) to: [Shared<T>; 2],
    pub(super) inverse: bool,
    pub(super) scale: f64,
}

impl<V: Lanes> Groups<V> for Complex<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let at = first * self.grid.area();
        // SAFETY: all slices hold all planes.
        unsafe {
            let from = self.from.map(|part| part.as_ptr().add(at));
            room.complex(self.grid, from, count, self.inverse, self.scale);
            room.store_spectrum(&self.order, self.to.map(|part| part.at(at)), count);
        }
    }
}

/// Complex planes (real parts, imaginary parts), forward or inverse, times `scale`.
pub(crate) fn complex<T: Real>(size: [usize; 2], from: [&[T]; 2], inverse: bool, scale: f64) -> [Vec<T>; 2] {
    struct Op<'a, T>([usize; 2], [&'a [T]; 2], [Shared<T>; 2], bool, f64);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(size, from, to, inverse, scale) = self;
            let grid = &Grid::complex(size);
            let work = Complex { grid, order: grid.order(), from, to, inverse, scale };
            each_group::<V>(grid, from[0].len() / grid.area(), &work);
        }
    }
    let len = from[0].len();
    assert_eq!(len, from[1].len());
    // SAFETY: as in `real_to_half`.
    unsafe { written(len, |to| T::with_lanes(len / (size[0] * size[1]), Op(size, from, to, inverse, scale))) }
}

/// Zeros straight from the allocator.
pub(crate) fn zeros<T: Real>(len: usize) -> Vec<T> {
    vec![T::from_f64(0.0); len]
}
