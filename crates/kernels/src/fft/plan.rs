//! Plans of one-dimensional transforms of any length.
//!
//! X_k = sum_j x_j w^{jk}, w = e^{-2 pi i / n}.
//!
//! * A length whose prime factors are at most [`MAX_PRIME`] is done in passes of Stockham's self-sorting scheme. With
//!   n' the length still to do, radix r, m = n' / r and s the product of the radices done before, a pass takes
//!   `x[q + s (p + m k)]`, k < r, to `y[q + s (r p + k)]`: a transform of length r over k, times `e^{-2 pi i p k / n'}`.
//! * Any other length is a chirp product (Bluestein): jk = (j^2 + k^2 - (k-j)^2) / 2 makes the sum a cyclic convolution of
//!   a length >= 2n - 1 of the first kind.
//!
//! The inverse transform (without a factor) is the forward one with real and imaginary parts exchanged on both sides.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::lanes::Real;

/// Largest prime factor done by a pass of its own.
pub(crate) const MAX_PRIME: usize = 31;

/// One pass.
#[derive(Debug)]
pub(crate) struct Pass<T> {
    /// r.
    pub(crate) radix: usize,
    /// m: transforms of length r per block.
    pub(crate) count: usize,
    /// s: distance between them.
    pub(crate) stride: usize,
    /// cos, -sin of `2 pi p k / n'` for p < m and 1 <= k < r.
    pub(crate) twiddles: Vec<[T; 2]>,
    /// cos, sin of `2 pi j / r`; for odd radices.
    pub(crate) roots: Vec<[T; 2]>,
}

/// The chirp product of a length with a large prime factor.
#[derive(Debug)]
pub(crate) struct Chirp<T> {
    /// The plan of the convolution's length.
    pub(crate) inner: Arc<Plan<T>>,
    /// `e^{-pi i k^2 / n}`, k < n.
    pub(crate) chirp: Vec<[T; 2]>,
    /// Transform of the conjugate chirp over the convolution's length, divided by that length.
    pub(crate) kernel: Vec<[T; 2]>,
}

/// How to transform one length.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    /// Length.
    pub(crate) len: usize,
    /// Passes in order; empty for length 1 and for a chirp product.
    pub(crate) passes: Vec<Pass<T>>,
    /// The chirp product, if it takes one.
    pub(crate) chirp: Option<Chirp<T>>,
}

impl<T: Real> Plan<T> {
    /// Vectors of working memory per part (real or imaginary) that a transform needs beside its data.
    pub(crate) fn scratch(&self) -> usize {
        match &self.chirp {
            Some(c) => 3 * c.inner.len,
            None => 2 * self.len,
        }
    }

    fn new(len: usize, plans: &Plans<T>) -> Self {
        match radices(len) {
            Some(radices) => Self { len, passes: passes(len, &radices), chirp: None },
            None => Self { len, passes: Vec::new(), chirp: Some(chirp(len, plans)) },
        }
    }
}

/// The plans made so far, shared by all threads.
#[derive(Debug)]
pub(crate) struct Plans<T>(Mutex<HashMap<usize, Arc<Plan<T>>>>);

impl<T> Default for Plans<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Real> Plans<T> {
    /// The plan of a length >= 1.
    pub(crate) fn get(&self, len: usize) -> Arc<Plan<T>> {
        let known = |map: &HashMap<_, Arc<Plan<T>>>| map.get(&len).cloned();
        if let Some(plan) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return plan;
        }
        let plan = Arc::new(Plan::new(len, self));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(len).or_insert(plan).clone()
    }
}

/// Radices whose product is `len`, large ones first; none if a prime factor is too large.
fn radices(len: usize) -> Option<Vec<usize>> {
    let mut rest = len;
    let mut odd = Vec::new();
    for prime in (3..=MAX_PRIME).step_by(2) {
        while rest.is_multiple_of(prime) {
            odd.push(prime);
            rest /= prime;
        }
    }
    if !rest.is_power_of_two() {
        return None;
    }
    // 2^e as eights, with one or two fours or a two for the remainder.
    let e = rest.trailing_zeros() as usize;
    let (eights, fours, twos) = match (e % 3, e) {
        (0, _) => (e / 3, 0, 0),
        (1, 1) => (0, 0, 1),
        (1, _) => (e / 3 - 1, 2, 0),
        _ => (e / 3, 1, 0),
    };
    let mut all = vec![8; eights];
    all.extend(std::iter::repeat_n(4, fours));
    all.extend(std::iter::repeat_n(2, twos));
    all.extend(odd);
    all.sort_unstable_by(|a, b| b.cmp(a));
    Some(all)
}

/// e^{-2 pi i a / b} in f64; `a` is reduced first, so that the angle stays exact.
fn root(a: usize, b: usize) -> [f64; 2] {
    let angle = std::f64::consts::TAU * (a % b) as f64 / b as f64;
    [angle.cos(), -angle.sin()]
}

fn round<T: Real>(z: [f64; 2]) -> [T; 2] {
    z.map(T::from_f64)
}

fn passes<T: Real>(len: usize, radices: &[usize]) -> Vec<Pass<T>> {
    let (mut rest, mut stride) = (len, 1);
    let mut passes = Vec::with_capacity(radices.len());
    for &radix in radices {
        let count = rest / radix;
        let twiddles = (0..count).flat_map(|p| (1..radix).map(move |k| round(root(p * k, rest)))).collect();
        let roots = (0..radix).map(|j| root(j, radix)).map(|[c, s]| round([c, -s])).collect();
        passes.push(Pass { radix, count, stride, twiddles, roots });
        rest = count;
        stride *= radix;
    }
    passes
}

/// The smallest 2^a, 3 * 2^a or 5 * 2^a that is at least `len`.
fn friendly(len: usize) -> usize {
    [1, 3, 5].map(|odd| odd * len.div_ceil(odd).next_power_of_two()).into_iter().min().unwrap_or(len)
}

fn chirp<T: Real>(len: usize, plans: &Plans<T>) -> Chirp<T> {
    let inner = plans.get(friendly(2 * len - 1));
    let m = inner.len;
    let chirp: Vec<[f64; 2]> = (0..len).map(|k| root(k * k % (2 * len), 2 * len)).collect();
    // The kernel's transform directly from its definition, in f64: it is made once per length.
    let roots: Vec<[f64; 2]> = (0..m).map(|k| root(k, m)).collect();
    let kernel = (0..m).map(|k| {
        let mut sum = [0.0; 2];
        for (j, [c, s]) in chirp.iter().enumerate() {
            // The conjugate chirp stands at j and at m - j.
            let mut add = |at: usize| {
                let [rc, rs] = roots[at * k % m];
                sum[0] += c * rc + s * rs;
                sum[1] += c * rs - s * rc;
            };
            add(j);
            if j > 0 {
                add(m - j);
            }
        }
        round(sum.map(|x| x / m as f64))
    });
    Chirp { kernel: kernel.collect(), chirp: chirp.iter().copied().map(round).collect(), inner }
}
