//! The frequency attention filter: y_o = Re F^-1 ( M . sum_i F(x_i) K_io ), unitary transforms, x real.
//!
//! The real part of an inverse transform is the inverse transform of the Hermitian part, and F(x) is Hermitian, so
//! only `G(u) = (M(u) K(u) + conj(M(-u) K(-u))) / 2` acts, and half spectra hold everything:
//!
//! * forward: X = half(x), Y_bo = sum_i X_bi G_io, y = half^-1(Y);
//! * backward, with the adjoint transforms: dY = (half^-1)* (dy), dX_bi = sum_o dY_bo conj G_io, dx = half* (dX),
//!   dG_io = sum_b conj X_bi dY_bo, and `dK(u) = M(u) (dG(u) + conj dG(-u)) / 2`, where dG is 0 outside the half.
//!
//! Nothing is kept between forward and backward but the arguments.
use rayon::prelude::*;

use crate::fft::group::Grid;
use crate::fft::lanes::{Lanes, Real, WithLanes};
use crate::fft::run::zeros;
use crate::fft::scratch::Shared;

use super::blocks::Blocks;
use super::product::{Conj, Places, Product};

/// Sizes of a filter: batch, input and output channels, map; depthwise filters have one input channel per output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) channels: [usize; 2],
    pub(super) map: [usize; 2],
    pub(super) depthwise: bool,
}

impl Sizes {
    fn filters(&self) -> usize {
        if self.depthwise { self.channels[0] } else { self.channels[0] * self.channels[1] }
    }
    /// Planes that the vector type is chosen by; backward and forward choose the same.
    fn planes(&self) -> usize {
        self.batch * self.channels[0].max(self.channels[1])
    }
    /// Factors of the unitary transform of real planes and of its inverse.
    fn factors(&self) -> ([f64; 2], [f64; 2]) {
        let scale = 1.0 / ((self.map[0] * self.map[1]) as f64).sqrt();
        ([1.0, scale], [2.0, scale])
    }
}

/// The filter: K `[Cin * Cout][H * W]` or, depthwise, `[C][H * W]`, and M `[H * W]` with frequency 0 first.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a, T> {
    pub(super) re: &'a [T],
    pub(super) im: &'a [T],
    pub(super) mask: &'a [f64],
}

/// Index of -u.
fn opposite(at: usize, [h, w]: [usize; 2]) -> usize {
    (h - at / w) % h * w + (w - at % w) % w
}

/// G in blocks.
fn hermitian<V: Lanes>(sizes: &Sizes, grid: &Grid<V::Real>, filter: Filter<'_, V::Real>) -> Blocks<V::Real> {
    let (count, lanes, area) = (sizes.filters(), V::LANES, grid.area());
    let m = grid.columns;
    // Places and weights of u and -u in K, for each frequency of the half.
    let table: Vec<(u32, u32, V::Real, V::Real)> = (0..grid.frequencies())
        .map(|f| {
            let at = f / m * sizes.map[1] + f % m;
            let back = opposite(at, sizes.map);
            let half = |at: usize| V::Real::from_f64(0.5 * filter.mask[at]);
            (at as u32, back as u32, half(at), half(back))
        })
        .collect();
    let mut blocks = Blocks::zeros(count, grid.frequencies(), lanes);
    let to = Shared::new(&mut blocks.values);
    (0..count).into_par_iter().for_each(|p| {
        let (re, im) = (&filter.re[p * area..][..area], &filter.im[p * area..][..area]);
        for (b, table) in table.chunks(lanes).enumerate() {
            // SAFETY: block b holds 2 * lanes numbers of each plane, and only this task writes those of plane p.
            let to = unsafe { std::slice::from_raw_parts_mut(to.at((b * count + p) * 2 * lanes), 2 * lanes) };
            let (to_re, to_im) = to.split_at_mut(lanes);
            for (&(at, back, here, there), (to_re, to_im)) in table.iter().zip(to_re.iter_mut().zip(to_im)) {
                let (at, back) = (at as usize, back as usize);
                *to_re = here * re[at] + there * re[back];
                *to_im = here * im[at] - there * im[back];
            }
        }
    });
    blocks
}

/// dK (real, imaginary) from dG in blocks.
fn spread<T: Real>(sizes: &Sizes, grid: &Grid<T>, lanes: usize, mask: &[f64], blocks: &Blocks<T>) -> [Vec<T>; 2] {
    let (area, m, width) = (grid.area(), grid.columns, sizes.map[1]);
    // Where a bin of K finds dG at u and at -u, with the weights; weight 0 where it is outside the half.
    let half = |at: usize, weight: f64| {
        let (u, v) = (at / width, at % width);
        if v < m { ((u * m + v) as u32, weight) } else { (0, 0.0) }
    };
    let table: Vec<[(u32, T); 2]> = (0..area)
        .map(|at| {
            let weight = 0.5 * mask[at];
            [half(at, weight), half(opposite(at, sizes.map), weight)].map(|(f, w)| (f, T::from_f64(w)))
        })
        .collect();
    let mut out = [zeros(blocks.planes * area), zeros(blocks.planes * area)];
    let [re, im] = &mut out;
    re.par_chunks_mut(area).zip(im.par_chunks_mut(area)).enumerate().for_each(|(p, (re, im))| {
        let frequencies = grid.frequencies().div_ceil(lanes) * lanes;
        let mut plane = [zeros::<T>(frequencies), zeros::<T>(frequencies)];
        for b in 0..frequencies / lanes {
            let from = &blocks.values[(b * blocks.planes + p) * 2 * lanes..][..2 * lanes];
            plane[0][b * lanes..][..lanes].copy_from_slice(&from[..lanes]);
            plane[1][b * lanes..][..lanes].copy_from_slice(&from[lanes..]);
        }
        for ((re, im), &[(a, wa), (b, wb)]) in re.iter_mut().zip(im.iter_mut()).zip(&table) {
            *re = wa * plane[0][a as usize] + wb * plane[0][b as usize];
            *im = wa * plane[1][a as usize] - wb * plane[1][b as usize];
        }
    });
    out
}

/// y `[B, Cout, H, W]`.
pub(super) fn forward<T: Real>(sizes: Sizes, x: &[T], filter: Filter<'_, T>) -> Vec<T> {
    struct Op<'a, T>(Sizes, &'a [T], Filter<'a, T>, &'a mut Vec<T>);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(sizes, x, filter, y) = self;
            let grid = &Grid::real(sizes.map);
            let (there, back) = sizes.factors();
            let x = Blocks::from_real::<V>(grid, x, there);
            let g = hermitian::<V>(&sizes, grid, filter);
            *y = apply::<V>(&sizes, grid, &x, &g).to_real::<V>(grid, back);
        }
    }
    let mut y = Vec::new();
    T::with_lanes(sizes.planes(), Op(sizes, x, filter, &mut y));
    y
}

/// A product over the channels: which of its matrices' planes stand where, for dense and depthwise filters.
struct Roles {
    matrices: usize,
    cin: usize,
    cout: usize,
    /// Planes of the batch's spectra and of the filter's, as functions of (batch, in), (batch, out), (in, out).
    x: Places,
    y: Places,
    g: Places,
}

impl Sizes {
    /// Matrix t of a depthwise filter is channel t, with one input and one output.
    fn roles(&self) -> Roles {
        let [cin, cout] = self.channels;
        if self.depthwise {
            Roles { matrices: cin, cin: 1, cout: 1, x: [cin, 0, 1], y: [cin, 0, 1], g: [0, 0, 1] }
        } else {
            Roles { matrices: 1, cin, cout, x: [cin, 1, 0], y: [cout, 1, 0], g: [cout, 1, 0] }
        }
    }
}

fn transposed([row, column, matrix]: Places) -> Places {
    [column, row, matrix]
}

/// Y = X G.
fn apply<V: Lanes>(sizes: &Sizes, grid: &Grid<V::Real>, x: &Blocks<V::Real>, g: &Blocks<V::Real>) -> Blocks<V::Real> {
    let r = sizes.roles();
    let mut y = Blocks::zeros(sizes.batch * sizes.channels[1], grid.frequencies(), V::LANES);
    let size = [sizes.batch, r.cin, r.cout];
    Product { matrices: r.matrices, size, a: (x, r.x), b: (g, r.g), c: (&mut y, r.y), conj: Conj::Neither }.run::<V>();
    y
}

/// Gradients of x, Re K and Im K, those that are wanted.
pub(super) struct Gradients<T> {
    pub(super) x: Option<Vec<T>>,
    pub(super) filter: Option<[Vec<T>; 2]>,
}

/// The gradients for the gradient `dy` `[B, Cout, H, W]`.
pub(super) fn backward<T: Real>(
    sizes: Sizes,
    x: &[T],
    filter: Filter<'_, T>,
    dy: &[T],
    wanted: [bool; 2],
) -> Gradients<T> {
    struct Op<'a, T>(Sizes, &'a [T], Filter<'a, T>, &'a [T], [bool; 2], &'a mut Gradients<T>);
    impl<T: Real> WithLanes<T> for Op<'_, T> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(sizes, x, filter, dy, [want_x, want_filter], out) = self;
            let grid = &Grid::real(sizes.map);
            let (there, back) = sizes.factors();
            let dy = Blocks::from_real::<V>(grid, dy, back);
            if want_x {
                let g = hermitian::<V>(&sizes, grid, filter);
                out.x = Some(input_gradient::<V>(&sizes, grid, &dy, &g).to_real::<V>(grid, there));
            }
            if want_filter {
                let x = Blocks::from_real::<V>(grid, x, there);
                let dg = filter_gradient::<V>(&sizes, grid, &x, &dy);
                out.filter = Some(spread(&sizes, grid, V::LANES, filter.mask, &dg));
            }
        }
    }
    let mut out = Gradients { x: None, filter: None };
    T::with_lanes(sizes.planes(), Op(sizes, x, filter, dy, wanted, &mut out));
    out
}

/// dX = dY G^H.
fn input_gradient<V: Lanes>(
    sizes: &Sizes,
    grid: &Grid<V::Real>,
    dy: &Blocks<V::Real>,
    g: &Blocks<V::Real>,
) -> Blocks<V::Real> {
    let r = sizes.roles();
    let mut dx = Blocks::zeros(sizes.batch * sizes.channels[0], grid.frequencies(), V::LANES);
    let size = [sizes.batch, r.cout, r.cin];
    let (a, b, c) = ((dy, r.y), (g, transposed(r.g)), (&mut dx, r.x));
    Product { matrices: r.matrices, size, a, b, c, conj: Conj::Right }.run::<V>();
    dx
}

/// dG = X^H dY.
fn filter_gradient<V: Lanes>(
    sizes: &Sizes,
    grid: &Grid<V::Real>,
    x: &Blocks<V::Real>,
    dy: &Blocks<V::Real>,
) -> Blocks<V::Real> {
    let r = sizes.roles();
    let mut dg = Blocks::zeros(sizes.filters(), grid.frequencies(), V::LANES);
    let size = [r.cin, sizes.batch, r.cout];
    let (a, b, c) = ((x, transposed(r.x)), (dy, r.y), (&mut dg, r.g));
    Product { matrices: r.matrices, size, a, b, c, conj: Conj::Left }.run::<V>();
    dg
}
