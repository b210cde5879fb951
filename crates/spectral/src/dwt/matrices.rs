//! The matrices of one level for a wavelet, a boundary rule and a size.
use subband_kernels::dwt::{AxisMatrix, AxisSplit, Frame};

use crate::{Boundary, Wavelet};

/// Coefficients per band of a signal of length `n`.
pub(super) fn band_len(wavelet: &Wavelet, boundary: Boundary, n: usize) -> usize {
    match boundary {
        Boundary::Periodization => n.div_ceil(2),
        _ => (n + wavelet.len() - 1) / 2,
    }
}

/// Whether block arithmetic does the level: Haar never looks beyond the edge of an even size.
pub(super) fn is_haar(wavelet: &Wavelet, boundary: Boundary, size: [usize; 2]) -> bool {
    wavelet.is_haar() && (boundary == Boundary::Zero || size.iter().all(|n| n.is_multiple_of(2)))
}

/// The frame whose split is one level of analysis of maps of this size.
pub(super) fn analysis(wavelet: &Wavelet, boundary: Boundary, size: [usize; 2]) -> Frame {
    if is_haar(wavelet, boundary, size) {
        return Frame::haar(size[0], size[1]);
    }
    let high = wavelet.dec_hi();
    let axis = |n: usize| AxisSplit {
        low: analysis_axis(wavelet.dec_lo(), boundary, n),
        high: analysis_axis(&high, boundary, n),
    };
    Frame::from_split(axis(size[0]), axis(size[1]))
}

/// The frame whose merge is one level of synthesis of maps of this size.
pub(super) fn synthesis(wavelet: &Wavelet, boundary: Boundary, size: [usize; 2]) -> Frame {
    if is_haar(wavelet, boundary, size) {
        return Frame::haar(size[0], size[1]);
    }
    let high = wavelet.rec_hi();
    let axis = |n: usize| AxisSplit {
        low: synthesis_axis(wavelet.rec_lo(), boundary, n),
        high: synthesis_axis(&high, boundary, n),
    };
    Frame::from_merge(axis(size[0]), axis(size[1]))
}

/// `c_i = sum_k f_k x[2i + s - k]` with `s = 1`, or `s = L / 2` under periodization.
fn analysis_axis(filter: &[f64], boundary: Boundary, n: usize) -> AxisMatrix {
    let (shift, outputs) = match boundary {
        Boundary::Periodization => (filter.len() / 2, n.div_ceil(2)),
        _ => (1, (n + filter.len() - 1) / 2),
    };
    let row = |i: usize| {
        let tap = |(k, f): (usize, &f64)| {
            let at = (2 * i + shift) as isize - k as isize;
            boundary.source(at, n).map(|at| (at, *f))
        };
        filter.iter().enumerate().filter_map(tap).collect()
    };
    AxisMatrix::new(n, (0..outputs).map(row).collect())
}

/// `x_t = sum_i r[t - 2i + s] c_i` with `s = L - 2`, or `s = L / 2 - 1` and indices modulo the even length under
/// periodization.
fn synthesis_axis(filter: &[f64], boundary: Boundary, n: usize) -> AxisMatrix {
    let length = filter.len();
    let periodic = boundary == Boundary::Periodization;
    let (shift, inputs) = if periodic { (length / 2 - 1, n.div_ceil(2)) } else { (length - 2, (n + length - 1) / 2) };
    let period = 2 * inputs;
    let row = |t: usize| -> Vec<(usize, f64)> {
        let mut taps = Vec::new();
        for i in 0..inputs {
            // Every k = t + shift - 2i, plus multiples of the period, that lies in the filter.
            let first = t as isize + shift as isize - 2 * i as isize;
            let ks: Vec<isize> = if periodic {
                let start = first.rem_euclid(period as isize);
                (start..length as isize).step_by(period).collect()
            } else {
                vec![first]
            };
            let tap = |k: isize| usize::try_from(k).ok().and_then(|k| filter.get(k));
            taps.extend(ks.into_iter().filter_map(tap).map(|f| (i, *f)));
        }
        taps
    };
    AxisMatrix::new(inputs, (0..n).map(row).collect())
}
