//! Spatial mean and channel norm of a map, and the way back through both.
use rayon::prelude::*;

use crate::fft::lanes::{Lanes, Real, Vectorized, WithLanes};
use crate::logarithm::Number;

/// Channels of one task.
const CHANNELS: usize = 64;

/// The map divided into tasks: some channels of one sample each, whatever the number of threads.
pub(super) struct Spans {
    pub(super) dims: [usize; 4],
    /// Sample and number of channels of each task, in the order of memory.
    list: Vec<(usize, usize)>,
}

impl Spans {
    pub(super) fn new(dims: [usize; 4]) -> Self {
        let [n, c, ..] = dims;
        let of = |sample| (0..c).step_by(CHANNELS).map(move |first| (sample, CHANNELS.min(c - first)));
        Self { dims, list: (0..n).flat_map(of).collect() }
    }

    /// H W.
    pub(super) fn area(&self) -> usize {
        self.dims[2] * self.dims[3]
    }

    /// Number of tasks.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The sample of each task.
    pub(super) fn samples(&self) -> impl IndexedParallelIterator<Item = usize> + '_ {
        self.list.par_iter().map(|(sample, _)| *sample)
    }

    /// The part of each task of a list with `each` numbers per channel.
    pub(super) fn divide<'a, A>(&self, mut all: &'a [A], each: usize) -> Vec<&'a [A]> {
        let part = |(_, channels): &(usize, usize)| {
            let (part, rest) = all.split_at(channels * each);
            all = rest;
            part
        };
        self.list.iter().map(part).collect()
    }

    /// As [`Spans::divide`], to write.
    pub(super) fn divide_mut<'a, A>(&self, mut all: &'a mut [A], each: usize) -> Vec<&'a mut [A]> {
        let part = |(_, channels): &(usize, usize)| {
            let (part, rest) = std::mem::take(&mut all).split_at_mut(channels * each);
            all = rest;
            part
        };
        self.list.iter().map(part).collect()
    }

    /// Sums the tasks' rows of `H W` numbers per sample, in their order.
    pub(super) fn gather<T: Real>(&self, rows: &[T]) -> Vec<T> {
        let area = self.area();
        let mut sums = vec![T::from_f64(0.0); self.dims[0] * area];
        for ((sample, _), row) in self.list.iter().zip(rows.chunks_exact(area)) {
            for (sum, v) in sums[sample * area..][..area].iter_mut().zip(row) {
                *sum = *sum + *v;
            }
        }
        sums
    }
}

/// Runs a body compiled for the instruction set of `V`.
struct Compiled<F>(F);

impl<V, F: FnOnce()> Vectorized<V> for Compiled<F> {
    #[inline(always)]
    fn call(self) {
        (self.0)();
    }
}

/// Runs `each` for the tasks `items`, compiled for the processor; `each` and what it calls are `#[inline(always)]`.
fn each_task<T: Real, I: IndexedParallelIterator>(items: I, each: impl Fn(I::Item) + Sync + Send) {
    struct Op<I, F>(I, F);
    impl<T: Real, I: IndexedParallelIterator, F: Fn(I::Item) + Sync + Send> WithLanes<T> for Op<I, F> {
        fn run<V: Lanes<Real = T>>(self) {
            let Self(items, each) = self;
            items.for_each(
                #[inline(always)]
                |item| {
                    V::vectorize(Compiled(
                        #[inline(always)]
                        || each(item),
                    ));
                },
            );
        }
    }
    // Not a question of planes: always the widest lanes.
    T::with_lanes(usize::MAX, Op(items, each));
}

/// The sum in sixteen lanes, folded in one order.
#[inline(always)]
fn sum<T: Number>(values: &[T]) -> T {
    let mut lanes = [T::from_f64(0.0); 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (lane, v) in lanes.iter_mut().zip(block) {
            *lane = *lane + *v;
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane = *lane + *v;
    }
    fold(lanes)
}

/// The sum of sixteen lanes, halving.
#[inline(always)]
pub(super) fn fold<T: Real>(mut lanes: [T; 16]) -> T {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = lanes[i] + lanes[i + width];
        }
    }
    lanes[0]
}

/// Norms below this count as 0, as in PyTorch's `normalize`.
const LEAST: f64 = 1e-12;

/// What normalises a map.
pub(super) struct Statistics<T> {
    /// Spatial mean of each channel, `[N, C]`.
    pub(super) means: Vec<T>,
    /// 1 / |u| at each position, `[N, H W]`; 0 where |u| is.
    pub(super) inverse: Vec<T>,
}

impl<T: Number> Statistics<T> {
    pub(super) fn new(spans: &Spans, x: &[T]) -> Self {
        let ([n, c, ..], area) = (spans.dims, spans.area());
        let mut means = vec![T::from_f64(0.0); n * c];
        let mut squares = vec![T::from_f64(0.0); spans.len() * area];
        let parts = spans.divide(x, area).into_par_iter().zip(spans.divide_mut(&mut means, 1));
        each_task::<T, _>(
            parts.zip(squares.par_chunks_exact_mut(area)),
            #[inline(always)]
            |((planes, means), squares)| measure(planes, means, squares),
        );
        let inverse =
            |sum: T| if sum.wide() < LEAST * LEAST { T::from_f64(0.0) } else { T::from_f64(1.0) / sum.sqrt() };
        let inverse = spans.gather(&squares).into_iter().map(inverse).collect();
        Self { means, inverse }
    }
}

/// Means of the planes, and the sums of (x - mean)^2 over them at each position.
#[inline(always)]
fn measure<T: Number>(planes: &[T], means: &mut [T], squares: &mut [T]) {
    let share = T::from_f64(1.0 / squares.len() as f64);
    for (plane, mean) in planes.chunks_exact(squares.len()).zip(means) {
        *mean = sum(plane) * share;
        for (square, v) in squares.iter_mut().zip(plane) {
            let u = *v - *mean;
            *square = *square + u * u;
        }
    }
}

/// One map in the tasks' parts.
pub(super) struct Side<'a, T> {
    pub(super) planes: Vec<&'a [T]>,
    /// Means of the task's channels, and the inverse norms of its sample.
    pub(super) statistics: Option<(Vec<&'a [T]>, &'a [T])>,
}

/// Student and teacher.
pub(super) struct Sides<'a, T>(pub(super) [&'a (&'a [T], Option<Statistics<T>>); 2]);

impl<'a, T: Number> Sides<'a, T> {
    pub(super) fn new(sides: &'a [(&'a [T], Option<Statistics<T>>); 2]) -> Self {
        Self(sides.each_ref())
    }

    pub(super) fn parts(&self, spans: &Spans) -> [Side<'a, T>; 2] {
        self.0.map(|(x, statistics)| Side {
            planes: spans.divide(x, spans.area()),
            statistics: statistics.as_ref().map(|s| (spans.divide(&s.means, 1), &s.inverse[..])),
        })
    }
}

/// dx in the place of dy, times `factor`; `parts` are means, inverse norms and sums of y dy.
pub(super) fn backward<T: Number>(spans: &Spans, x: &[T], parts: [&[T]; 3], factor: T, dy: &mut [T]) {
    let (area, [means, inverse, dots]) = (spans.area(), parts);
    let planes = spans.divide(x, area).into_par_iter().zip(spans.divide(means, 1));
    each_task::<T, _>(
        planes.zip(spans.divide_mut(dy, area)).zip(spans.samples()),
        #[inline(always)]
        |(((planes, means), dy), sample)| {
            let [inverse, dots] = [inverse, dots].map(|rows| &rows[sample * area..][..area]);
            for ((plane, mean), dy) in planes.chunks_exact(area).zip(means).zip(dy.chunks_exact_mut(area)) {
                plane_back(plane, *mean, [inverse, dots], factor, dy);
            }
        },
    );
}

#[inline(always)]
fn plane_back<T: Number>(plane: &[T], mean: T, [inverse, dots]: [&[T]; 2], factor: T, dy: &mut [T]) {
    for (((v, x), inverse), dot) in dy.iter_mut().zip(plane).zip(inverse).zip(dots) {
        let y = (*x - mean) * *inverse;
        *v = (*v - y * *dot) * *inverse * factor;
    }
    let mean = sum(dy) / T::from_f64(dy.len() as f64);
    for v in dy {
        *v = *v - mean;
    }
}

/// Multiplies all numbers by `factor`.
pub(super) fn scale<T: Number>(spans: &Spans, factor: T, dy: &mut [T]) {
    each_task::<T, _>(
        spans.divide_mut(dy, spans.area()).into_par_iter(),
        #[inline(always)]
        |dy| dy.iter_mut().for_each(|v| *v = *v * factor),
    );
}
