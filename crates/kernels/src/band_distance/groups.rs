//! Filter, comparison and gradient of a few planes at a time.
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::normal::{Sides, Spans, fold};
use super::{Bands, Measure};
use crate::fft::group::{Grid, Room};
use crate::fft::lanes::{Lanes, Real, Vectorized, WithLanes};
use crate::fft::scratch::with_scratch;
use crate::logarithm::Number;
use crate::memory::{initialized, room};

/// What one pass yields.
pub(super) struct Results<T> {
    /// L.
    pub(super) value: f64,
    /// dy, if wanted.
    pub(super) gradient: Option<Vec<T>>,
    /// Sums over the channels of y dy, `[N, H W]`; zeros if no gradient is wanted.
    pub(super) dots: Vec<T>,
}

/// One task.
struct Task<'a, T> {
    planes: [&'a [T]; 2],
    /// Means of the channels and inverse norms of the positions, of both maps.
    statistics: [Option<(&'a [T], &'a [T])>; 2],
    /// dy of the planes (empty: not wanted), and the sums of y dy.
    dy: &'a mut [MaybeUninit<T>],
    dots: &'a mut [T],
    /// Sum of the weighted squares.
    sum: &'a mut f64,
}

/// What all tasks share.
struct Shared<'a, T> {
    grid: Grid<T>,
    response: Vec<T>,
    bands: &'a Bands,
    /// 1 / M.
    share: f64,
}

/// Value and gradient.
pub(super) fn run<T: Number>(spans: &Spans, sides: Sides<'_, T>, bands: &Bands, wanted: bool) -> Results<T> {
    let (dims, area) = (spans.dims, spans.area());
    let count: usize = dims.iter().product();
    let mut gradient = room::<T>(if wanted { count } else { 0 });
    let mut dots = vec![T::from_f64(0.0); spans.len() * area];
    let mut sums = vec![0.0; spans.len()];
    let grid = Grid::real([dims[2], dims[3]]);
    let mut response = vec![T::from_f64(0.0); grid.columns * grid.pitch()];
    for (place, r) in grid.order().into_iter().zip(bands.half.iter()) {
        response[place as usize] = T::from_f64(*r);
    }
    let shared = Shared { grid, response, bands, share: 1.0 / count as f64 };
    let tasks = tasks(spans, sides, &mut gradient, &mut dots, &mut sums);
    T::with_lanes(dims[1], All(&shared, tasks));
    // SAFETY: empty, or every task has written its planes, which together are the whole buffer.
    let gradient = wanted.then(|| unsafe { initialized(gradient) });
    Results { value: sums.iter().sum::<f64>() * shared.share, gradient, dots: spans.gather(&dots) }
}

fn tasks<'a, T: Number>(
    spans: &Spans,
    sides: Sides<'a, T>,
    gradient: &'a mut [MaybeUninit<T>],
    dots: &'a mut [T],
    sums: &'a mut [f64],
) -> Vec<Task<'a, T>> {
    let area = spans.area();
    let parts = sides.parts(spans);
    let samples: Vec<usize> = spans.samples().collect();
    let each = if gradient.is_empty() { 0 } else { area };
    let outputs = spans.divide_mut(gradient, each).into_iter().zip(dots.chunks_exact_mut(area)).zip(sums);
    let task = |(k, ((dy, dots), sum))| Task {
        planes: parts.each_ref().map(|side| side.planes[k]),
        statistics: parts.each_ref().map(|side| {
            side.statistics.as_ref().map(|(means, inverse)| (means[k], &inverse[samples[k] * area..][..area]))
        }),
        dy,
        dots,
        sum,
    };
    outputs.enumerate().map(task).collect()
}

struct All<'a, T>(&'a Shared<'a, T>, Vec<Task<'a, T>>);

impl<T: Number> WithLanes<T> for All<'_, T> {
    fn run<V: Lanes<Real = T>>(self) {
        let Self(shared, tasks) = self;
        // Beside the transform's own room four planes per lane.
        let (own, area) = (shared.grid.room(), shared.grid.area());
        tasks.into_par_iter().for_each(|task| {
            with_scratch::<V, _>(own + 4 * area, |memory| V::vectorize(One { shared, task, memory }));
        });
    }
}

struct One<'a, V: Lanes> {
    shared: &'a Shared<'a, V::Real>,
    task: Task<'a, V::Real>,
    memory: &'a mut [V],
}

impl<V: Lanes> Vectorized<V> for One<'_, V>
where
    V::Real: Number,
{
    #[inline(always)]
    fn call(self) {
        let Self { shared, mut task, memory } = self;
        let area = shared.grid.area();
        let (own, planes) = memory.split_at_mut(shared.grid.room());
        let room = shared.grid.divide(own);
        // SAFETY: a vector is `V::LANES` numbers, of any bit pattern; the slice is not used otherwise.
        let planes: &mut [V::Real] =
            unsafe { std::slice::from_raw_parts_mut(planes.as_mut_ptr().cast(), planes.len() * V::LANES) };
        let channels = task.planes[0].len() / area;
        for first in (0..channels).step_by(V::LANES) {
            group(shared, &mut task, room, planes, [first, V::LANES.min(channels - first)]);
        }
    }
}

/// `Re F^-1(R . F(from))` of `count` planes.
#[inline(always)]
fn filter<V: Lanes>(shared: &Shared<'_, V::Real>, room: Room<V>, from: &[V::Real], to: &mut [V::Real]) {
    let grid = &shared.grid;
    let count = from.len() / grid.area();
    assert!(count <= V::LANES && to.len() == from.len());
    // SAFETY: both slices hold `count` planes.
    unsafe {
        room.rows_from_real(grid, from.as_ptr(), count, [1.0, 1.0 / grid.area() as f64]);
        room.filter_columns(grid, &shared.response);
        room.rows_to_real(grid, to.as_mut_ptr(), count, [2.0, 1.0]);
    }
}

/// Works on `count` channels from `first` on.
#[inline(always)]
fn group<V: Lanes>(
    shared: &Shared<'_, V::Real>,
    task: &mut Task<'_, V::Real>,
    room: Room<V>,
    planes: &mut [V::Real],
    [first, count]: [usize; 2],
) where
    V::Real: Number,
{
    let (area, bands) = (shared.grid.area(), shared.bands);
    let zero = V::Real::from_f64(0.0);
    let (span, len) = (first * area, count * area);
    let mut parts = planes.chunks_exact_mut(V::LANES * area).map(|part| &mut part[..len]);
    let mut part = || parts.next().expect("four planes per lane");
    let (ys, yt, ls, lt) = (part(), part(), part(), part());
    for (side, y) in [&mut *ys, &mut *yt].into_iter().enumerate() {
        normalise(&task.planes[side][span..][..len], task.statistics[side], first, area, y);
    }
    if bands.high.weight == 0.0 && bands.low.measure == Measure::Plain {
        // low(y_s) - low(y_t) = low(y_s - y_t).
        for (t, s) in yt.iter_mut().zip(&*ys) {
            *t = *s - *t;
        }
        filter(shared, room, yt, ls);
        lt.fill(zero);
    } else {
        filter(shared, room, ys, ls);
        filter(shared, room, yt, lt);
    }
    // The high band's slope goes to the place of y_t, the low band's minus it to that of low(y_s).
    for ((ys, yt), (ls, lt)) in
        ys.chunks_exact(area).zip(yt.chunks_exact_mut(area)).zip(ls.chunks_exact_mut(area).zip(lt.chunks_exact(area)))
    {
        if bands.high.weight == 0.0 {
            yt.fill(zero);
        } else {
            let weight = bands.high.weight;
            *task.sum += weight * by_measure(bands.high.measure, weight * shared.share, High { ys, yt, ls, lt });
        }
        if bands.low.weight == 0.0 {
            ls.iter_mut().zip(&*yt).for_each(|(l, b)| *l = zero - *b);
        } else {
            let weight = bands.low.weight;
            *task.sum += weight * by_measure(bands.low.measure, weight * shared.share, Low { yt, ls, lt });
        }
    }
    if task.dy.is_empty() {
        return;
    }
    filter(shared, room, ls, lt);
    let dy = task.dy[span..][..len].chunks_exact_mut(area);
    for (dy, ((ys, b), low)) in dy.zip(ys.chunks_exact(area).zip(yt.chunks_exact(area)).zip(lt.chunks_exact(area))) {
        for ((((dy, dot), y), b), low) in dy.iter_mut().zip(&mut *task.dots).zip(ys).zip(b).zip(low) {
            let v = *low + *b;
            dy.write(v);
            *dot = *dot + *y * v;
        }
    }
}

/// y of some planes; `statistics` are the means of the task's channels and the inverse norms.
#[inline(always)]
fn normalise<T: Number>(x: &[T], statistics: Option<(&[T], &[T])>, first: usize, area: usize, y: &mut [T]) {
    let Some((means, inverse)) = statistics else {
        y.copy_from_slice(x);
        return;
    };
    for ((x, y), mean) in x.chunks_exact(area).zip(y.chunks_exact_mut(area)).zip(&means[first..]) {
        for ((y, x), inverse) in y.iter_mut().zip(x).zip(inverse) {
            *y = (*x - *mean) * *inverse;
        }
    }
}

/// A band of one plane: at position `at` the values of both sides, and what is done with the slope.
trait Compared<T> {
    fn len(&self) -> usize;
    fn pair(&self, at: usize) -> [T; 2];
    fn put(&mut self, at: usize, slope: T);
}

struct High<'a, T> {
    ys: &'a [T],
    yt: &'a mut [T],
    ls: &'a [T],
    lt: &'a [T],
}

impl<T: Number> Compared<T> for High<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        let n = self.ys.len();
        assert!(self.yt.len() == n && self.ls.len() == n && self.lt.len() == n);
        n
    }
    #[inline(always)]
    fn pair(&self, at: usize) -> [T; 2] {
        [self.ys[at] - self.ls[at], self.yt[at] - self.lt[at]]
    }
    #[inline(always)]
    fn put(&mut self, at: usize, slope: T) {
        self.yt[at] = slope;
    }
}

struct Low<'a, T> {
    yt: &'a [T],
    ls: &'a mut [T],
    lt: &'a [T],
}

impl<T: Number> Compared<T> for Low<'_, T> {
    #[inline(always)]
    fn len(&self) -> usize {
        let n = self.yt.len();
        assert!(self.ls.len() == n && self.lt.len() == n);
        n
    }
    #[inline(always)]
    fn pair(&self, at: usize) -> [T; 2] {
        [self.ls[at], self.lt[at]]
    }
    #[inline(always)]
    fn put(&mut self, at: usize, slope: T) {
        self.ls[at] = slope - self.yt[at];
    }
}

/// The sum of squared differences of g, and `2 scale (g(s) - g(t)) g'(s)` put at each position.
#[inline(always)]
fn by_measure<T: Number>(measure: Measure, scale: f64, band: impl Compared<T>) -> f64 {
    let one = T::from_f64(1.0);
    match measure {
        Measure::Plain => compare(
            scale,
            band,
            #[inline(always)]
            |s, t| (s - t, one),
        ),
        Measure::Log => compare(
            scale,
            band,
            #[inline(always)]
            |s, t| {
                let a = s.magnitude();
                (a.log_1p() - t.magnitude().log_1p(), s.sign() / (one + a))
            },
        ),
        Measure::SignedLog => compare(
            scale,
            band,
            #[inline(always)]
            |s, t| {
                let [a, b] = [s, t].map(T::magnitude);
                (s.sign() * a.log_1p() - t.sign() * b.log_1p(), one / (one + a))
            },
        ),
    }
}

/// `of(s, t)` gives the difference of g and the slope of g at s.
#[inline(always)]
fn compare<T: Number>(scale: f64, mut band: impl Compared<T>, of: impl Fn(T, T) -> (T, T)) -> f64 {
    let double = T::from_f64(2.0 * scale);
    let mut lanes = [T::from_f64(0.0); 16];
    let len = band.len();
    let whole = len - len % 16;
    for block in (0..whole).step_by(16) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            let [s, t] = band.pair(block + l);
            let (difference, slope) = of(s, t);
            *lane = *lane + difference * difference;
            band.put(block + l, double * difference * slope);
        }
    }
    for at in whole..len {
        let [s, t] = band.pair(at);
        let (difference, slope) = of(s, t);
        lanes[at - whole] = lanes[at - whole] + difference * difference;
        band.put(at, double * difference * slope);
    }
    fold(lanes).wide()
}
