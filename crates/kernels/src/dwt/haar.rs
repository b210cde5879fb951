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
//! even where rows are short. For the same reason the functions take several planes of one size, one after the other.
use super::scalar::{Bands, Scalar};

/// Planes of one size: `[count, height, width]`.
pub(super) type Planes = [usize; 3];

/// Numbers of scratch for these planes: sums and differences of their rows.
pub(super) fn scratch_len([count, height, width]: Planes) -> usize {
    2 * count * height.div_ceil(2) * width
}

/// Splits planes into `low [count, h, w]` and `detail [3, count, h, w]` (LH, HL, HH).
#[inline(always)]
pub(super) fn split_planes<T: Scalar>(
    [count, height, width]: Planes,
    x: &[T],
    scratch: &mut [T],
    low: &mut [T],
    detail: &mut [T],
) {
    let (rows, w) = (count * height.div_ceil(2), width.div_ceil(2));
    let (sums, rest) = scratch.split_at_mut(rows * width);
    let (sums, differences) = (&mut sums[..], &mut rest[..rows * width]);
    let out = sums.chunks_exact_mut(width).zip(differences.chunks_exact_mut(width));
    if height.is_multiple_of(2) {
        // The rows of all planes are pairs.
        for (source, (s, d)) in x.chunks_exact(2 * width).zip(out) {
            split_rows(source, s, d);
        }
    } else {
        let last = height / 2;
        for (k, (s, d)) in out.enumerate() {
            let (plane, i) = (k / (last + 1), k % (last + 1));
            let source = &x[(plane * height + 2 * i) * width..];
            if i < last {
                split_rows(&source[..2 * width], s, d);
            } else {
                for ((s, d), a) in s.iter_mut().zip(d).zip(source) {
                    *s = *a * T::HALF;
                    *d = *s;
                }
            }
        }
    }
    let (lh, rest) = detail.split_at_mut(rows * w);
    let (hl, hh) = rest.split_at_mut(rows * w);
    split_columns(sums, width, low, hl);
    split_columns(differences, width, lh, &mut hh[..rows * w]);
}

/// Halved sum and difference of the two rows of `source`.
#[inline(always)]
fn split_rows<T: Scalar>(source: &[T], sums: &mut [T], differences: &mut [T]) {
    let (top, bottom) = source.split_at(sums.len());
    for ((s, d), (a, c)) in sums.iter_mut().zip(differences).zip(top.iter().zip(bottom)) {
        *s = (*a + *c) * T::HALF;
        *d = (*a - *c) * T::HALF;
    }
}

/// Sums and differences of neighbouring columns of rows of length `width`.
#[inline(always)]
fn split_columns<T: Scalar>(x: &[T], width: usize, sums: &mut [T], differences: &mut [T]) {
    if width.is_multiple_of(2) {
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

/// Splits planes into `low` and `summed = LH + HL + HH = 2a - LL`, `[count, h, w]` each.
#[inline(always)]
pub(super) fn split_summed<T: Scalar>(
    [_, height, width]: Planes,
    x: &[T],
    scratch: &mut [T],
    low: &mut [T],
    summed: &mut [T],
) {
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let sums = &mut scratch[..width];
    for (k, (low, summed)) in low.chunks_exact_mut(w).zip(summed.chunks_exact_mut(w)).enumerate() {
        let (plane, i) = (k / h, k % h);
        let (top, rest) = x[(plane * height + 2 * i) * width..].split_at(width);
        if 2 * i + 1 < height {
            for (s, (a, c)) in sums.iter_mut().zip(top.iter().zip(rest)) {
                *s = (*a + *c) * T::HALF;
            }
        } else {
            for (s, a) in sums.iter_mut().zip(top) {
                *s = *a * T::HALF;
            }
        }
        let ((pairs, last), (tops, corner)) = (sums.as_chunks::<2>(), top.as_chunks::<2>());
        for ((l, s), ([p, q], [a, _])) in low.iter_mut().zip(summed.iter_mut()).zip(pairs.iter().zip(tops)) {
            *l = *p + *q;
            *s = *a + *a - *l;
        }
        if let ([p], [a]) = (last, corner) {
            low[w - 1] = *p;
            summed[w - 1] = *a + *a - *p;
        }
    }
}

/// The transpose of [`split_summed`]: three of a block's numbers are `(low - detail) / 2`, `a` is `2 detail` more.
#[inline(always)]
pub(super) fn merge_summed<T: Scalar>([_, height, width]: Planes, bands: Bands<'_, T>, y: &mut [T]) {
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let (low, detail) = (bands.low.unwrap_or_default(), bands.detail.unwrap_or_default());
    for (plane, y) in y.chunks_exact_mut(height * width).enumerate() {
        for (i, rows) in y.chunks_mut(2 * width).enumerate() {
            let at = (plane * h + i) * w;
            let (low, detail) = (&low[at..][..w], &detail[at..][..w]);
            let (top, bottom) = rows.split_at_mut(width);
            let (pairs, last) = top.as_chunks_mut::<2>();
            for ([a, b], (l, s)) in pairs.iter_mut().zip(low.iter().zip(detail)) {
                *b = (*l - *s) * T::HALF;
                *a = *b + *s + *s;
            }
            let (below, corner) = bottom.as_chunks_mut::<2>();
            for ([c, d], (l, s)) in below.iter_mut().zip(low.iter().zip(detail)) {
                *c = (*l - *s) * T::HALF;
                *d = *c;
            }
            let half = (low[w - 1] - detail[w - 1]) * T::HALF;
            last.iter_mut().for_each(|a| *a = half + detail[w - 1] + detail[w - 1]);
            corner.iter_mut().for_each(|c| *c = half);
        }
    }
}

/// Merges bands into the planes `y`, dropping what falls beyond them.
#[inline(always)]
pub(super) fn merge_planes<T: Scalar>(planes: Planes, bands: Bands<'_, T>, scratch: &mut [T], y: &mut [T]) {
    let [count, height, width] = planes;
    let (rows, w) = (count * height.div_ceil(2), width.div_ceil(2));
    let (sums, rest) = scratch.split_at_mut(rows * width);
    let differences = &mut rest[..rows * width];
    let Some(detail) = bands.detail else {
        merge_columns(bands.low.unwrap_or_default(), None, width, sums);
        return merge_rows(planes, sums, None, y);
    };
    let (lh, rest) = detail.split_at(rows * w);
    let (hl, hh) = rest.split_at(rows * w);
    match bands.low {
        Some(low) => merge_columns(low, Some(hl), width, sums),
        None => merge_lone_differences(hl, width, sums),
    }
    merge_columns(lh, Some(hh), width, differences);
    merge_rows(planes, sums, Some(differences), y);
}

/// Rows `2i` and `2i + 1` of a plane of `y` are sum and difference of its rows `i`.
#[inline(always)]
fn merge_rows<T: Scalar>([_, height, width]: Planes, sums: &[T], differences: Option<&[T]>, y: &mut [T]) {
    let h = height.div_ceil(2);
    for (plane, y) in y.chunks_exact_mut(height * width).enumerate() {
        for (i, pair) in y.chunks_mut(2 * width).enumerate() {
            let k = plane * h + i;
            let s = &sums[k * width..][..width];
            let d = differences.map(|d| &d[k * width..][..width]);
            let (top, bottom) = pair.split_at_mut(width);
            let Some(d) = d else {
                top.copy_from_slice(s);
                if !bottom.is_empty() {
                    bottom.copy_from_slice(s);
                }
                continue;
            };
            if bottom.is_empty() {
                for (a, (s, d)) in top.iter_mut().zip(s.iter().zip(d)) {
                    *a = *s + *d;
                }
            } else {
                for ((a, c), (s, d)) in top.iter_mut().zip(bottom).zip(s.iter().zip(d)) {
                    *a = *s + *d;
                    *c = *s - *d;
                }
            }
        }
    }
}

/// Halved sum and difference of two bands as neighbouring columns; without the second, both are half the first.
#[inline(always)]
fn merge_columns<T: Scalar>(low: &[T], high: Option<&[T]>, width: usize, out: &mut [T]) {
    let high = high.unwrap_or(&[]);
    let w = width.div_ceil(2);
    let lines = if width.is_multiple_of(2) { 1 } else { out.len() / width };
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
