//! Haar as block arithmetic: a 2x2 block `a b` above `c d` holds
//!
//! ```text
//! LL = (a + b + c + d) / 2    LH = (a + b - c - d) / 2    HL = (a - b + c - d) / 2    HH = (a - b - c + d) / 2
//! ```
//!
//! and the same four sums, with the bands in the place of the block, give the block back. Beyond the last row and
//! column stand zeros.
//!
//! Sums and differences of rows come first, then those of columns over all rows at once, so that the loops are long
//! even where rows are short.
use super::scalar::{Bands, Scalar};

/// Numbers of scratch for a map of this size: sums and differences of its rows.
pub(super) fn scratch_len(size: [usize; 2]) -> usize {
    2 * size[0].div_ceil(2) * size[1]
}

/// Splits a map into `low [h, w]` and `detail [3, h, w]` (LH, HL, HH).
#[inline(always)]
pub(super) fn split_plane<T: Scalar>(
    size: [usize; 2],
    x: &[T],
    scratch: &mut [T],
    low: &mut [T],
    detail: &mut [T],
) {
    let [height, width] = size;
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let (sums, rest) = scratch.split_at_mut(h * width);
    let differences = &mut rest[..h * width];
    for i in 0..h {
        let (s, d) = (&mut sums[i * width..][..width], &mut differences[i * width..][..width]);
        let top = &x[2 * i * width..][..width];
        if 2 * i + 1 < height {
            let bottom = &x[(2 * i + 1) * width..][..width];
            for ((s, d), (a, c)) in s.iter_mut().zip(d).zip(top.iter().zip(bottom)) {
                *s = (*a + *c) * T::HALF;
                *d = (*a - *c) * T::HALF;
            }
        } else {
            for ((s, d), a) in s.iter_mut().zip(d).zip(top) {
                *s = *a * T::HALF;
                *d = *s;
            }
        }
    }
    let (lh, rest) = detail.split_at_mut(h * w);
    let (hl, hh) = rest.split_at_mut(h * w);
    split_columns(sums, width, low, hl);
    split_columns(differences, width, lh, &mut hh[..h * w]);
}

/// Sums and differences of neighbouring columns of rows of length `width`.
#[inline(always)]
fn split_columns<T: Scalar>(x: &[T], width: usize, sums: &mut [T], differences: &mut [T]) {
    if width % 2 == 0 {
        return split_pairs(x, sums, differences);
    }
    let w = width.div_ceil(2);
    for ((x, s), d) in x.chunks_exact(width).zip(sums.chunks_exact_mut(w)).zip(differences.chunks_exact_mut(w)) {
        split_pairs(&x[..width - 1], &mut s[..w - 1], &mut d[..w - 1]);
        s[w - 1] = x[width - 1];
        d[w - 1] = x[width - 1];
    }
}

#[inline(always)]
fn split_pairs<T: Scalar>(x: &[T], sums: &mut [T], differences: &mut [T]) {
    let (pairs, _) = x.as_chunks::<2>();
    for (([a, b], s), d) in pairs.iter().zip(sums).zip(differences) {
        *s = *a + *b;
        *d = *a - *b;
    }
}

/// Merges bands into the map `y` of `size`, dropping what falls beyond it.
#[inline(always)]
pub(super) fn merge_plane<T: Scalar>(size: [usize; 2], bands: Bands<'_, T>, scratch: &mut [T], y: &mut [T]) {
    let [height, width] = size;
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let (sums, rest) = scratch.split_at_mut(h * width);
    let differences = &mut rest[..h * width];
    let Some(detail) = bands.detail else {
        merge_columns(bands.low.unwrap_or_default(), None, width, sums);
        return merge_rows(size, sums, None, y);
    };
    let (lh, rest) = detail.split_at(h * w);
    let (hl, hh) = rest.split_at(h * w);
    match bands.low {
        Some(low) => merge_columns(low, Some(hl), width, sums),
        None => merge_lone_differences(hl, width, sums),
    }
    merge_columns(lh, Some(hh), width, differences);
    merge_rows(size, sums, Some(differences), y);
}

/// Rows `2i` and `2i + 1` of `y` are sum and difference of the rows `i`.
#[inline(always)]
fn merge_rows<T: Scalar>([height, width]: [usize; 2], sums: &[T], differences: Option<&[T]>, y: &mut [T]) {
    for i in 0..height.div_ceil(2) {
        let s = &sums[i * width..][..width];
        let (top, rest) = y[2 * i * width..].split_at_mut(width);
        let Some(differences) = differences else {
            top.copy_from_slice(s);
            if 2 * i + 1 < height {
                rest[..width].copy_from_slice(s);
            }
            continue;
        };
        let d = &differences[i * width..][..width];
        for (a, (s, d)) in top.iter_mut().zip(s.iter().zip(d)) {
            *a = *s + *d;
        }
        if 2 * i + 1 < height {
            for (c, (s, d)) in rest[..width].iter_mut().zip(s.iter().zip(d)) {
                *c = *s - *d;
            }
        }
    }
}

/// Halved sum and difference of two bands as neighbouring columns; without the second, both are half the first.
#[inline(always)]
fn merge_columns<T: Scalar>(low: &[T], high: Option<&[T]>, width: usize, out: &mut [T]) {
    let high = high.unwrap_or(&[]);
    let w = width.div_ceil(2);
    let lines = if width % 2 == 0 { 1 } else { out.len() / width };
    let (per_out, per_band) = (out.len() / lines, low.len() / lines);
    for i in 0..lines {
        let out = &mut out[i * per_out..][..per_out];
        let low = &low[i * per_band..][..per_band];
        let (pairs, last) = out.as_chunks_mut::<2>();
        if high.is_empty() {
            for ([a, b], l) in pairs.iter_mut().zip(low) {
                *a = *l * T::HALF;
                *b = *a;
            }
            if let [last] = last {
                *last = low[w - 1] * T::HALF;
            }
        } else {
            let high = &high[i * per_band..][..per_band];
            for ([a, b], (l, h)) in pairs.iter_mut().zip(low.iter().zip(high)) {
                *a = (*l + *h) * T::HALF;
                *b = (*l - *h) * T::HALF;
            }
            if let [last] = last {
                *last = (low[w - 1] + high[w - 1]) * T::HALF;
            }
        }
    }
}

/// As [`merge_columns`] with a low band of zeros.
#[inline(always)]
fn merge_lone_differences<T: Scalar>(high: &[T], width: usize, out: &mut [T]) {
    merge_columns(high, None, width, out);
    for line in out.chunks_exact_mut(width) {
        line.iter_mut().skip(1).step_by(2).for_each(|v| *v = -*v);
    }
}
