//! Haar as block arithmetic: a 2x2 block `a b / c d` holds
//!
//! ```text
//! LL = (a + b + c + d) / 2    LH = (a + b - c - d) / 2    HL = (a - b + c - d) / 2    HH = (a - b - c + d) / 2
//! ```
//!
//! and the same four sums, with the bands in the place of the block, give the block back. Beyond the last row and
//! column stand zeros.
use super::scalar::{Bands, Scalar};

/// The four sums of a block (or of four bands), halved.
#[inline(always)]
pub(super) fn mix<T: Scalar>(a: T, b: T, c: T, d: T) -> [T; 4] {
    let (p, q, r, s) = (a + b, c + d, a - b, c - d);
    [(p + q) * T::HALF, (p - q) * T::HALF, (r + s) * T::HALF, (r - s) * T::HALF]
}

/// Splits a map of `size` into `low [h, w]` and `detail [3, h, w]`; either may be empty.
#[inline(always)]
pub(super) fn split_plane<T: Scalar>(size: [usize; 2], x: &[T], low: &mut [T], detail: &mut [T]) {
    let [height, width] = size;
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let zeros = if height % 2 == 1 { vec![T::default(); width] } else { Vec::new() };
    let mut unused = vec![T::default(); if low.is_empty() { w } else { 3 * w }];
    for i in 0..h {
        let top = &x[2 * i * width..][..width];
        let bottom = if 2 * i + 1 < height { &x[(2 * i + 1) * width..][..width] } else { &zeros[..] };
        if detail.is_empty() {
            let (lh, rest) = unused.split_at_mut(w);
            let (hl, hh) = rest.split_at_mut(w);
            split_row(top, bottom, [&mut low[i * w..][..w], lh, hl, hh]);
        } else {
            let (lh, rest) = detail.split_at_mut(h * w);
            let (hl, hh) = rest.split_at_mut(h * w);
            let ll = if low.is_empty() { &mut unused[..] } else { &mut low[i * w..][..w] };
            split_row(top, bottom, [ll, &mut lh[i * w..][..w], &mut hl[i * w..][..w], &mut hh[i * w..][..w]]);
        }
    }
}

#[inline(always)]
fn split_row<T: Scalar>(top: &[T], bottom: &[T], bands: [&mut [T]; 4]) {
    let [ll, lh, hl, hh] = bands;
    let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
    let out = ll.iter_mut().zip(lh.iter_mut()).zip(hl.iter_mut().zip(hh.iter_mut()));
    for ((t, b), ((ll, lh), (hl, hh))) in pairs.zip(out) {
        [*ll, *lh, *hl, *hh] = mix(t[0], t[1], b[0], b[1]);
    }
    if top.len() % 2 == 1 {
        let (k, zero) = (top.len() / 2, T::default());
        [ll[k], lh[k], hl[k], hh[k]] = mix(top[2 * k], zero, bottom[2 * k], zero);
    }
}

/// Merges bands into the map `y` of `size`, dropping what falls beyond it.
#[inline(always)]
pub(super) fn merge_plane<T: Scalar>(size: [usize; 2], bands: Bands<'_, T>, y: &mut [T]) {
    let [height, width] = size;
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let zeros = vec![T::default(); w];
    let mut dropped = vec![T::default(); if height % 2 == 1 { width } else { 0 }];
    for i in 0..h {
        let band = |k: usize| match k {
            0 => bands.low.map_or(&zeros[..], |l| &l[i * w..][..w]),
            _ => bands.detail.map_or(&zeros[..], |d| &d[((k - 1) * h + i) * w..][..w]),
        };
        let (top, rest) = y[2 * i * width..].split_at_mut(width);
        let bottom = if rest.is_empty() { &mut dropped[..] } else { &mut rest[..width] };
        merge_row([band(0), band(1), band(2), band(3)], top, bottom);
    }
}

#[inline(always)]
fn merge_row<T: Scalar>(bands: [&[T]; 4], top: &mut [T], bottom: &mut [T]) {
    let [ll, lh, hl, hh] = bands;
    let pairs = top.chunks_exact_mut(2).zip(bottom.chunks_exact_mut(2));
    for ((t, b), ((ll, lh), (hl, hh))) in pairs.zip(ll.iter().zip(lh).zip(hl.iter().zip(hh))) {
        // (LL, HL, LH, HH) in the place of (a, b, c, d) yields (a, c, b, d).
        [t[0], b[0], t[1], b[1]] = mix(*ll, *hl, *lh, *hh);
    }
    if top.len() % 2 == 1 {
        let k = top.len() / 2;
        [top[2 * k], bottom[2 * k], _, _] = mix(ll[k], hl[k], lh[k], hh[k]);
    }
}
