//! Similarity of two sets of vectors.
use burn::prelude::*;

use super::numbers;
use crate::SpectralError;

/// Vectors of one length, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    values: Vec<f64>,
    width: usize,
}

impl Samples {
    /// The rows of a matrix `[M, width]`.
    pub fn new(rows: Tensor<2>) -> Self {
        let width = rows.dims()[1].max(1);
        Self { values: numbers(rows), width }
    }

    /// The channel vectors of maps at `each` places of every sample (all, if there are fewer), evenly spread row by row.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to N min(each, H W) vectors of length C.
    pub fn of_maps(x: Tensor<4>, each: usize) -> Self {
        let [n, c, h, w] = x.dims();
        let area = h * w;
        let count = each.clamp(1, area.max(1));
        let values = numbers(x);
        let place = |k: usize| (2 * k + 1) * area / (2 * count);
        let vector = |(sample, k): (usize, usize)| (0..c).map(move |channel| (sample * c + channel) * area + place(k));
        let rows = (0..n).flat_map(|sample| (0..count).map(move |k| (sample, k)));
        Self { values: rows.flat_map(vector).map(|i| values[i]).collect(), width: c.max(1) }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers per vector.
    pub fn width(&self) -> usize {
        self.width
    }

    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// Inner products of the rows after their mean is taken off, row by row.
    fn centred_gram(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.width];
        for row in self.rows() {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += v / self.len() as f64);
        }
        let centred: Vec<f64> = self.rows().flat_map(|row| row.iter().zip(&mean).map(|(v, m)| v - m)).collect();
        let rows = || centred.chunks_exact(self.width);
        rows().flat_map(|a| rows().map(move |b| dot(a, b))).collect()
    }
}

/// In eight lanes, which the compiler turns into vectors; the order is fixed.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (blocks, rest) = a.as_chunks::<8>();
    let (others, other) = b.as_chunks::<8>();
    for (a, b) in blocks.iter().zip(others) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().zip(other).map(|(a, b)| a * b).sum::<f64>()
}

/// Linear centred kernel alignment of two descriptions of the same samples; their widths may differ.
///
/// With centred rows X and Y, K = X X^T and L = Y Y^T: `<K, L> / (|K| |L|)`, which is
/// `|Y^T X|^2 / (|X^T X| |Y^T Y|)` in Frobenius norms. It does not change under rotations and a common factor of either.
/// NaN if all vectors of one side are equal.
///
/// # Errors
/// Different numbers of vectors, or none.
pub fn linear_cka(x: &Samples, y: &Samples) -> Result<f64, SpectralError> {
    if x.len() != y.len() || x.is_empty() {
        return Err(mismatch("samples of the second side", [x.len(), x.width], [y.len(), y.width]));
    }
    let (k, l) = (x.centred_gram(), y.centred_gram());
    Ok(dot(&k, &l) / (dot(&k, &k) * dot(&l, &l)).sqrt())
}

/// Squared maximum mean discrepancy of two sets of vectors under a Gaussian kernel.
///
/// `mean k(x, x') + mean k(y, y') - 2 mean k(x, y)` over all pairs (equal ones included, so it is never negative), with
/// k(a, b) = exp(-|a - b|^2 / (2 s^2)) and s the median distance of two different vectors of both sets together. If that
/// is zero, so is the result.
///
/// # Errors
/// Vectors of different lengths, or an empty set.
pub fn rbf_mmd(x: &Samples, y: &Samples) -> Result<f64, SpectralError> {
    if x.width != y.width || x.is_empty() || y.is_empty() {
        return Err(mismatch("vectors of the second side", [x.len(), x.width], [y.len(), y.width]));
    }
    let all: Vec<&[f64]> = x.rows().chain(y.rows()).collect();
    let norms: Vec<f64> = all.iter().map(|row| dot(row, row)).collect();
    let squared = |i: usize, j: usize| (norms[i] + norms[j] - 2.0 * dot(all[i], all[j])).max(0.0);
    let pairs: Vec<(usize, usize)> = (0..all.len()).flat_map(|i| (0..i).map(move |j| (i, j))).collect();
    let distances: Vec<f64> = pairs.iter().map(|(i, j)| squared(*i, *j)).collect();
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    // The median of the distances, squared: between the two middle ones of an even number.
    let middle = |k: usize| sorted.get(k).copied().unwrap_or(0.0).sqrt();
    let median = (middle(sorted.len() / 2) + middle(sorted.len().saturating_sub(1) / 2)) / 2.0;
    if median == 0.0 {
        return Ok(0.0);
    }
    let (n, m) = (x.len(), y.len());
    // Each pair stands for two, and each vector makes a pair with itself.
    let (mut own, mut other, mut cross) = (n as f64, m as f64, 0.0);
    for ((i, j), d) in pairs.iter().zip(&distances) {
        let k = (-d / (2.0 * median * median)).exp();
        match (*i < n, *j < n) {
            (true, true) => own += 2.0 * k,
            (false, false) => other += 2.0 * k,
            _ => cross += k,
        }
    }
    let (n, m) = (n as f64, m as f64);
    Ok((own / (n * n) + other / (m * m) - 2.0 * cross / (n * m)).max(0.0))
}

fn mismatch(what: &'static str, expected: [usize; 2], found: [usize; 2]) -> SpectralError {
    SpectralError::ShapeMismatch { what, expected: expected.into(), found: found.into() }
}
