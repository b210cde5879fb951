//! Weighted absolute values of every band of a multilevel Haar transform, plane by plane, fused with their gradient.
//!
//! For the bands `B_b` of `x - y` in one channel of one sample, and weights `w_b` that all channels of the sample share,
//! the operation returns `s_b = sum w_b |B_b|`. Its gradient is
//!
//! ```text
//! dx = sum_b g_b S_b (w_b sign(B_b))
//! ```
//!
//! with the synthesis `S_b` of the band alone. As in [`super::haar_l1`] planes stay in the cache through all levels and
//! only signs are kept.
use super::haar;
use super::haar_l1::{LANES, Pyramid, Scratch};
use super::scalar::{Bands, Scalar};

/// What the forward pass of a group yields: the sum of each band of each plane, `[group, bands]`, and the signs (empty:
/// not wanted) in the order of [`super::haar_l1`].
pub(super) struct Sums<'a, T> {
    pub sums: &'a mut [T],
    pub signs: &'a mut [i8],
}

/// `w |B|` summed per band and plane of one group of planes of `x - y`; the planes belong to one sample.
#[inline(always)]
pub(super) fn forward_group<T: Scalar>(
    p: &Pyramid,
    x: &[T],
    y: &[T],
    weights: &[T],
    scratch: &mut Scratch<T>,
    results: Sums<'_, T>,
) {
    let Scratch { map, rows, detail, lows } = scratch;
    for ((d, x), y) in map.iter_mut().zip(x).zip(y) {
        *d = *x - *y;
    }
    let (levels, bands) = (p.levels(), p.bands());
    let Sums { sums, signs } = results;
    let (ll_signs, mut signs) = cut(signs, p.area(levels - 1));
    let (ll_weights, mut weights) = weights.split_at(p.band_len(0));
    let mut source = &map[..];
    let mut lows = lows.iter_mut();
    for l in 0..levels {
        let low = lows.next().expect("one low band per level");
        let area = p.area(l);
        haar::split_planes(p.source(l), source, rows, low, &mut detail[..3 * area]);
        for k in 0..3 {
            let (here, finer) = cut(signs, area);
            let (w, rest) = weights.split_at(area / p.group());
            measure(&detail[k * area..][..area], w, &mut sums[1 + 3 * l + k..], bands, here);
            (signs, weights) = (finer, rest);
        }
        source = low;
    }
    measure(source, ll_weights, sums, bands, ll_signs);
}

/// Splits signs that may be absent.
#[inline(always)]
fn cut(signs: &mut [i8], at: usize) -> (&mut [i8], &mut [i8]) {
    if signs.is_empty() { (signs, &mut []) } else { signs.split_at_mut(at) }
}

/// Puts `sum w |B|` of each plane of a band into every `step`-th sum, and keeps the signs if there is room for them.
#[inline(always)]
fn measure<T: Scalar>(band: &[T], weights: &[T], sums: &mut [T], step: usize, signs: &mut [i8]) {
    for (plane, sum) in band.chunks_exact(weights.len()).zip(sums.iter_mut().step_by(step)) {
        let mut lanes = [T::default(); LANES];
        let ((blocks, rest), (w_blocks, w_rest)) = (plane.as_chunks::<LANES>(), weights.as_chunks::<LANES>());
        for (block, w) in blocks.iter().zip(w_blocks) {
            for ((sum, v), w) in lanes.iter_mut().zip(block).zip(w) {
                *sum += *w * v.magnitude();
            }
        }
        for ((sum, v), w) in lanes.iter_mut().zip(rest).zip(w_rest) {
            *sum += *w * v.magnitude();
        }
        let quarter = |k: usize| (lanes[k] + lanes[k + 4]) + (lanes[k + 8] + lanes[k + 12]);
        *sum = T::of((0..4).map(|k| quarter(k).wide()).sum());
    }
    for (sign, v) in signs.iter_mut().zip(band) {
        *sign = i8::from(*v > T::default()) - i8::from(*v < T::default());
    }
}

/// The gradient of one group of planes from the signs, the weights and `g`, the gradients of the sums `[group, bands]`.
#[inline(always)]
pub(super) fn backward_group<T: Scalar>(
    p: &Pyramid,
    signs: &[i8],
    weights: &[T],
    g: &[T],
    scratch: &mut Scratch<T>,
    dx: &mut [T],
) {
    let Scratch { rows, detail, lows, .. } = scratch;
    let levels = p.levels();
    let (ll, mut signs) = signs.split_at(p.area(levels - 1));
    let (ll_weights, mut weights) = weights.split_at(p.band_len(0));
    scale_signs(ll, ll_weights, g, p.bands(), &mut lows[levels - 1]);
    for l in (0..levels).rev() {
        let (area, each) = (p.area(l), p.area(l) / p.group());
        let (finer_signs, here) = signs.split_at(signs.len() - 3 * area);
        let (finer_weights, w) = weights.split_at(weights.len() - 3 * each);
        for k in 0..3 {
            let out = &mut detail[k * area..][..area];
            scale_signs(&here[k * area..][..area], &w[k * each..][..each], &g[1 + 3 * l + k..], p.bands(), out);
        }
        let (finer, low) = lows.split_at_mut(l);
        let out = if l == 0 { &mut dx[..] } else { &mut finer[l - 1][..] };
        haar::merge_planes(p.source(l), Bands { low: Some(&low[0]), detail: Some(&detail[..3 * area]) }, rows, out);
        (signs, weights) = (finer_signs, finer_weights);
    }
}

/// `g w sign` of each plane of a band, with every `step`-th number of `g`.
#[inline(always)]
fn scale_signs<T: Scalar>(signs: &[i8], weights: &[T], g: &[T], step: usize, out: &mut [T]) {
    let planes = signs.chunks_exact(weights.len()).zip(out.chunks_exact_mut(weights.len()));
    for ((signs, out), g) in planes.zip(g.iter().step_by(step)) {
        for ((o, s), w) in out.iter_mut().zip(signs).zip(weights) {
            *o = T::from_sign(*s) * (*w * *g);
        }
    }
}
