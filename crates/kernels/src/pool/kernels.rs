//! Pooling row by row of the result, over the channels side by side.
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::Window;
use crate::memory::{in_equal_pieces, initialized, room};
use crate::simd::multiversion;

/// Sizes of a pooling.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// N, H, W, C of the map.
    pub map: [usize; 4],
    /// Height and width of the result.
    pub out: [usize; 2],
    /// The window.
    pub window: Window,
}

impl Sizes {
    /// For a map; None when no window fits, a window can lie in the padding alone, or a position does not fit a byte.
    pub fn new(map: [usize; 4], window: Window) -> Option<Self> {
        let Window { kernel, stride, padding } = window;
        let fits = kernel > 0 && kernel <= 16 && stride > 0 && 2 * padding <= kernel && !map.contains(&0);
        let out = |n: usize| Some((n + 2 * padding).checked_sub(kernel)? / stride + 1);
        Some(Self { map, out: [out(map[1])?, out(map[2])?], window }).filter(|_| fits)
    }

    /// Offsets in the window of result `o` that lie on the axis of length `n`.
    fn inside(&self, o: usize, n: usize) -> Range<usize> {
        let Window { kernel, stride, padding } = self.window;
        let start = (o * stride).min(n + padding);
        padding.saturating_sub(start)..kernel.min(n + padding - start)
    }

    /// Position on the axis of offset `k` in the window of result `o`.
    fn position(&self, o: usize, k: usize) -> usize {
        o * self.window.stride + k - self.window.padding
    }

    /// Results whose window covers position `i` of an axis with `out` results.
    fn covering(&self, i: usize, out: usize) -> Range<usize> {
        let Window { kernel, stride, padding } = self.window;
        (i + padding + 1).saturating_sub(kernel).div_ceil(stride)..out.min((i + padding) / stride + 1)
    }

    fn out_row(&self) -> usize {
        self.out[1] * self.map[3]
    }

    fn rows(&self) -> usize {
        self.map[0] * self.out[0]
    }
}

multiversion! {
    /// Takes v where it is greater than the best, or NaN, as PyTorch does.
    fn take_greater(v: &[f32], place: u32, best: &mut [f32], at: &mut [u32]) = take_greater_body;
}
#[inline(always)]
fn take_greater_body(v: &[f32], place: u32, best: &mut [f32], at: &mut [u32]) {
    for ((v, best), at) in v.iter().zip(best).zip(at) {
        let take = (*v > *best) | v.is_nan();
        *best = if take { *v } else { *best };
        *at = if take { place } else { *at };
    }
}

multiversion! {
    fn add_where(dy: &[f32], at: &[u8], place: u8, dx: &mut [f32]) = add_where_body;
}
#[inline(always)]
fn add_where_body(dy: &[f32], at: &[u8], place: u8, dx: &mut [f32]) {
    for ((dy, at), dx) in dy.iter().zip(at).zip(dx) {
        *dx += if *at == place { *dy } else { 0.0 };
    }
}

multiversion! {
    fn add_scaled(from: &[f32], factor: f32, to: &mut [f32]) = add_scaled_body;
}
#[inline(always)]
fn add_scaled_body(from: &[f32], factor: f32, to: &mut [f32]) {
    for (from, to) in from.iter().zip(to) {
        *to += factor * from;
    }
}

/// Maxima, and where in its window each was found (the first of equals).
pub(super) fn max(x: &[f32], s: Sizes) -> (Vec<f32>, Vec<u8>) {
    let [_, h, w, c] = s.map;
    let len = s.out_row();
    let (mut y, mut at) = (room(s.rows() * len), room(s.rows() * len));
    y.par_chunks_exact_mut(len).zip(at.par_chunks_exact_mut(len)).enumerate().for_each_init(
        || (vec![0.0f32; c], vec![0u32; c]),
        |(best, place), (row, (y, at))| {
            let (image, oh) = (row / s.out[0], row % s.out[0]);
            let image = &x[image * h * w * c..][..h * w * c];
            for (ow, (y, at)) in y.chunks_exact_mut(c).zip(at.chunks_exact_mut(c)).enumerate() {
                best.fill(f32::NEG_INFINITY);
                let (ks, ls) = (s.inside(oh, h), s.inside(ow, w));
                // Where everything is minus infinity it is the first of them.
                place.fill((ks.start * s.window.kernel + ls.start) as u32);
                for k in ks {
                    for l in ls.clone() {
                        let v = &image[(s.position(oh, k) * w + s.position(ow, l)) * c..][..c];
                        take_greater(v, (k * s.window.kernel + l) as u32, best, place);
                    }
                }
                y.write_copy_of_slice(best);
                at.iter_mut().zip(&*place).for_each(|(at, place)| {
                    at.write(*place as u8);
                });
            }
        },
    );
    // SAFETY: the rows are the whole buffers, their pixels the whole rows, and each has been written.
    unsafe { (initialized(y), initialized(at)) }
}

/// The gradient of [`max`]: each row of dx gathers from the results whose windows cover it.
pub(super) fn max_gradient(dy: &[f32], at: &[u8], s: Sizes) -> Vec<f32> {
    let kernel = s.window.kernel;
    gathered(s, |o, i, c, dx| {
        let place = (i[0] + s.window.padding - o[0] * s.window.stride) * kernel
            + (i[1] + s.window.padding - o[1] * s.window.stride);
        add_where(&dy[c..][..s.map[3]], &at[c..][..s.map[3]], place as u8, dx);
    })
}

/// Means over the whole window, the padding being zeros.
pub(super) fn mean(x: &[f32], s: Sizes) -> Vec<f32> {
    let [_, h, w, c] = s.map;
    let factor = 1.0 / (s.window.kernel * s.window.kernel) as f32;
    in_equal_pieces(
        s.rows(),
        s.out_row(),
        || (),
        |(), row, y: &mut [f32]| {
            let (image, oh) = (row / s.out[0], row % s.out[0]);
            let image = &x[image * h * w * c..][..h * w * c];
            for (ow, y) in y.chunks_exact_mut(c).enumerate() {
                for k in s.inside(oh, h) {
                    for l in s.inside(ow, w) {
                        add_scaled(&image[(s.position(oh, k) * w + s.position(ow, l)) * c..][..c], factor, y);
                    }
                }
            }
        },
    )
}

/// The gradient of [`mean`].
pub(super) fn mean_gradient(dy: &[f32], s: Sizes) -> Vec<f32> {
    let factor = 1.0 / (s.window.kernel * s.window.kernel) as f32;
    gathered(s, |_, _, c, dx| add_scaled(&dy[c..][..s.map[3]], factor, dx))
}

/// A map whose pixels add up what `add([oh, ow], [ih, iw], start of the result's channels, pixel)` gives for every
/// result that covers them, in order.
fn gathered(s: Sizes, add: impl Fn([usize; 2], [usize; 2], usize, &mut [f32]) + Sync + Send) -> Vec<f32> {
    let [n, h, w, c] = s.map;
    in_equal_pieces(
        n * h,
        w * c,
        || (),
        |(), row, dx: &mut [f32]| {
            let (image, ih) = (row / h, row % h);
            for oh in s.covering(ih, s.out[0]) {
                let start = (image * s.out[0] + oh) * s.out_row();
                for (iw, dx) in dx.chunks_exact_mut(c).enumerate() {
                    for ow in s.covering(iw, s.out[1]) {
                        add([oh, ow], [ih, iw], start + ow * c, dx);
                    }
                }
            }
        },
    )
}

/// Pixels that are summed in f32 before f64 takes over.
const RUN: usize = 64;

/// Mean over the pixels of each image: `[N, P, C]` to `[N, C]`.
pub(super) fn global_mean(x: &[f32], images: usize, channels: usize) -> Vec<f32> {
    let area = x.len() / images;
    let scale = channels as f64 / area as f64;
    in_equal_pieces(
        images,
        channels,
        || (vec![0.0f32; channels], vec![0.0f64; channels]),
        |(part, sum), n, y: &mut [f32]| {
            sum.fill(0.0);
            for run in x[n * area..][..area].chunks(RUN * channels) {
                part.fill(0.0);
                run.chunks_exact(channels).for_each(|pixel| add_scaled(pixel, 1.0, part));
                sum.iter_mut().zip(&*part).for_each(|(s, p)| *s += f64::from(*p));
            }
            y.iter_mut().zip(&*sum).for_each(|(y, s)| *y = (s * scale) as f32);
        },
    )
}

/// The gradient of [`global_mean`] for `pixels` pixels.
pub(super) fn global_mean_gradient(dy: &[f32], images: usize, pixels: usize) -> Vec<f32> {
    let channels = dy.len() / images;
    let mut dx: Vec<MaybeUninit<f32>> = room(dy.len() * pixels);
    dx.par_chunks_exact_mut(pixels * channels).zip(dy.par_chunks_exact(channels)).for_each(|(dx, dy)| {
        let (first, rest) = dx.split_at_mut(channels);
        first.iter_mut().zip(dy).for_each(|(first, dy)| {
            first.write(dy / pixels as f32);
        });
        rest.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(first));
    });
    // SAFETY: every pixel of every image has been written.
    unsafe { initialized(dx) }
}
