//! Spectra in blocks of frequencies.
//!
//! The half spectra of P planes are held as `[F / L][P][2][L]`: for each block of L = `V::LANES` frequencies, each
//! plane's L real parts, then its L imaginary parts. A matrix product per frequency then reads and writes adjacent
//! memory and computes L frequencies at once. The last block is filled with zeros.
use crate::fft::group::{Grid, Room};
use crate::fft::lanes::{Lanes, Real, WithLanes};
use crate::fft::run::{Groups, each_group, zeros};
use crate::fft::scratch::{Shared, written};

/// Half spectra of `planes` planes in blocks.
pub(super) struct Blocks<T> {
    pub(super) planes: usize,
    pub(super) values: Vec<T>,
}

impl<T: Real> Blocks<T> {
    /// Zeros for `planes` planes of `frequencies` frequencies in blocks of `lanes`.
    pub(super) fn zeros(planes: usize, frequencies: usize, lanes: usize) -> Self {
        Self { planes, values: zeros(Self::len(planes, frequencies, lanes)) }
    }

    /// Spectra of real planes; `factors` as in [`crate::fft::run::real_to_half`].
    pub(super) fn from_real<V: Lanes<Real = T>>(grid: &Grid<T>, planes: &[T], factors: [f64; 2]) -> Self {
        let count = planes.len() / grid.area();
        // SAFETY: the groups cover all planes; each writes all blocks of its planes, the last filled with zeros.
        let [values] = unsafe {
            written(Self::len(count, grid.frequencies(), V::LANES), |[blocks]| {
                let work = FromReal { grid, order: grid.order(), planes, blocks, count, factors };
                each_group::<V>(grid, count, &work);
            })
        };
        Self { planes: count, values }
    }

    /// Numbers of the blocks of `planes` planes.
    pub(super) fn len(planes: usize, frequencies: usize, lanes: usize) -> usize {
        planes * frequencies.div_ceil(lanes) * lanes * 2
    }

    /// Real planes from spectra; `factors` as in [`crate::fft::run::half_to_real`].
    pub(super) fn to_real<V: Lanes<Real = T>>(&self, grid: &Grid<T>, factors: [f64; 2]) -> Vec<T> {
        // SAFETY: the groups cover all planes, and each writes its planes whole.
        let [planes] = unsafe {
            written(self.planes * grid.area(), |[planes]| {
                let work = ToReal { grid, order: grid.order(), blocks: self, planes, factors };
                each_group::<V>(grid, self.planes, &work);
            })
        };
        planes
    }
}

struct FromReal<'a, T> {
    grid: &'a Grid<T>,
    order: Vec<u32>,
    planes: &'a [T],
    blocks: Shared<T>,
    count: usize,
    factors: [f64; 2],
}

impl<V: Lanes> Groups<V> for FromReal<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let area = self.grid.area();
        // SAFETY: the slices hold all planes; each group writes the places of its own planes.
        unsafe {
            room.rows_from_real(self.grid, self.planes.as_ptr().add(first * area), count, self.factors);
            room.columns(self.grid, false);
            room.store_blocks(&self.order, count, |b| self.blocks.at((b * self.count + first) * 2 * V::LANES));
        }
    }
}

struct ToReal<'a, T> {
    grid: &'a Grid<T>,
    order: Vec<u32>,
    blocks: &'a Blocks<T>,
    planes: Shared<T>,
    factors: [f64; 2],
}

impl<V: Lanes> Groups<V> for ToReal<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let values = self.blocks.values.as_ptr();
        // SAFETY: as in `FromReal`.
        unsafe {
            room.load_blocks(&self.order, count, |b| values.add((b * self.blocks.planes + first) * 2 * V::LANES));
            room.columns(self.grid, true);
            room.rows_to_real(self.grid, self.planes.at(first * self.grid.area()), count, self.factors);
        }
    }
}

/// Real part of the inverse transform of (spectrum times a real response), for real planes.
struct RealFilter<'a, T> {
    grid: &'a Grid<T>,
    planes: &'a [T],
    to: Shared<T>,
    response: Vec<T>,
}

impl<V: Lanes> Groups<V> for RealFilter<'_, V::Real> {
    #[inline(always)]
    unsafe fn group(&self, first: usize, count: usize, room: Room<V>) {
        let area = self.grid.area();
        // SAFETY: both slices hold all planes.
        unsafe {
            let scale = 1.0 / area as f64;
            room.rows_from_real(self.grid, self.planes.as_ptr().add(first * area), count, [1.0, scale]);
            room.filter_columns(self.grid, &self.response);
            room.rows_to_real(self.grid, self.to.at(first * area), count, [2.0, 1.0]);
        }
    }
}

/// Filters real planes by a response over the half spectrum, row by row.
pub(super) fn real_filter<T: Real>(size: [usize; 2], planes: &[T], response: &[f64]) -> Vec<T> {
    struct Op<'a, T>([usize; 2], &'a [T], Shared<T>, &'a [f64]);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(size, planes, to, half) = self;
            let grid = &Grid::real(size);
            let mut response = zeros(grid.columns * grid.pitch());
            for (&place, &r) in grid.order().iter().zip(half) {
                response[place as usize] = T::from_f64(r);
            }
            let work = RealFilter { grid, planes, to, response };
            each_group::<V>(grid, planes.len() / grid.area(), &work);
        }
    }
    let count = planes.len() / (size[0] * size[1]);
    // SAFETY: the groups cover all planes, and each writes its planes whole.
    let [to] = unsafe { written(planes.len(), |[to]| T::with_lanes(count, Op(size, planes, to, response))) };
    to
}
