//! Measures of how two networks' features differ, by frequency: figures for people, without gradients.
//!
//! # Radial bands
//! With R = min(H, W) / 2 and |f| the distance of a frequency from zero in bins, a map's spectrum is divided into
//!
//! | [`RadialBand`] | frequencies |
//! |---|---|
//! | `Low` | `\|f\| <= R / 4` |
//! | `Middle` | between |
//! | `High` | `\|f\| >= 3 R / 4` |
//!
//! as the analyses of FreqKD's code do (Thaker et al., arXiv 2606.11572; its training cuts a rectangle instead). For real
//! maps a band's part is `Re F^-1(1_band F(x))`; the three parts add up to the map and are orthogonal.
//!
//! # Figures
//! | function | figure | range |
//! |---|---|---|
//! | [`divergence`] | MSE, MSE over the mean square of the second map, mean over samples of 1 - cosine | 0 = equal |
//! | [`energy_shares`] | the bands' shares of sum \|F(x)\|^2 | 0 to 1, sum 1 |
//! | [`coherence`] | mean over a band's frequencies of `\|sum A conj B\|^2 / (sum \|A\|^2 sum \|B\|^2)`, sums over n, c | 0 to 1 |
//! | [`linear_cka`] | `<K, L> / (\|K\| \|L\|)`, K = X X^T and L = Y Y^T of centred rows (Kornblith et al. 2019) | 0 to 1 |
//! | [`rbf_mmd`] | mean k(x, x') + mean k(y, y') - 2 mean k(x, y), see there (Gretton et al. 2012) | 0 = equal |
//!
//! Everything is summed in f64 in a fixed order.
use burn::prelude::*;
use burn::tensor::DType;

use crate::SpectralError;
use crate::fft::{Norm, Spectrum, rfft2};
use crate::filter::{self, Mask};

mod similarity;
#[cfg(test)]
mod tests;

pub use similarity::{Samples, linear_cka, rbf_mmd};

/// A ring of the spectrum; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RadialBand {
    /// The inner quarter of the radius.
    Low,
    /// What is neither low nor high.
    Middle,
    /// The outer quarter and the corners.
    High,
}

/// All bands, inside out.
pub const RADIAL_BANDS: [RadialBand; 3] = [RadialBand::Low, RadialBand::Middle, RadialBand::High];

impl RadialBand {
    /// `low`, `middle`, `high`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Middle => "middle",
            Self::High => "high",
        }
    }

    /// The band of frequency f of an H x W map.
    fn of([h, w]: [usize; 2], f: [i64; 2]) -> Self {
        // |f| against c min(H, W) / 2 for c = 1/4 and 3/4, squared and times 64: whole numbers, so that edges are exact.
        let (r2, side) = (64 * (f[0] * f[0] + f[1] * f[1]), h.min(w) as i64);
        if r2 <= side * side {
            Self::Low
        } else if r2 >= 9 * side * side {
            Self::High
        } else {
            Self::Middle
        }
    }

    /// The band's mask for maps of a size.
    pub fn mask(self, size: [usize; 2]) -> Mask {
        Mask::from_fn(size, move |f| f64::from(u8::from(Self::of(size, f) == self)))
    }

    /// Whether maps of a size have no frequency in the band.
    pub fn is_empty(self, size: [usize; 2]) -> bool {
        self.mask(size).values(filter::Layout::Corner).iter().all(|value| *value == 0.0)
    }

    /// The band's part of maps `[N, C, H, W]`.
    ///
    /// # Errors
    /// Maps without places.
    pub fn part(self, x: Tensor<4>) -> Result<Tensor<4>, SpectralError> {
        let [_, _, h, w] = x.dims();
        filter::apply(x, &self.mask([h, w]))
    }
}

/// How far two maps of one shape are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Mean squared difference.
    pub mse: f64,
    /// That over the mean square of the second map; NaN if it is zero.
    pub normalized_mse: f64,
    /// Mean over samples of 1 - cosine of the maps as vectors; a sample with a zero map counts 1.
    pub cosine: f64,
}

/// The divergence of `a` from `b`.
///
/// # Shapes
/// `[N, C, H, W]` both.
///
/// # Errors
/// Different shapes, no elements.
pub fn divergence(a: Tensor<4>, b: Tensor<4>) -> Result<Divergence, SpectralError> {
    same_shape(&a, &b)?;
    let samples = a.dims()[0];
    let (a, b) = (numbers(a), numbers(b));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let (mut squares, mut energy, mut cosine) = (0.0, 0.0, 0.0);
    let each = a.len() / samples;
    for (a, b) in a.chunks_exact(each).zip(b.chunks_exact(each)) {
        squares += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        energy += dot(b, b);
        let lengths = (dot(a, a) * dot(b, b)).sqrt();
        cosine += if lengths > 0.0 { 1.0 - dot(a, b) / lengths } else { 1.0 };
    }
    Ok(Divergence { mse: squares / a.len() as f64, normalized_mse: squares / energy, cosine: cosine / samples as f64 })
}

/// The shares of the three bands (see [`RADIAL_BANDS`]) in the energy of a map; NaN for a map of zeros.
///
/// # Shapes
/// `[N, C, H, W]`, any size from 1.
///
/// # Errors
/// Maps without places.
pub fn energy_shares(x: Tensor<4>) -> Result<[f64; 3], SpectralError> {
    let bins = Bins::new(&x);
    let z = spectrum(x)?;
    let mut energy = [0.0; 3];
    for plane in z.chunks_exact(bins.places.len()) {
        for ([re, im], (band, weight)) in plane.iter().zip(&bins.places) {
            energy[*band] += weight * (re * re + im * im);
        }
    }
    let total: f64 = energy.iter().sum();
    Ok(energy.map(|e| e / total))
}

/// The coherence of two maps in the three bands: 1 where each frequency of one is a fixed multiple of the other's over all
/// samples and channels, 0 where they have nothing to do with each other. One sample of one channel is always coherent.
///
/// A band without frequencies, or without energy in either map, gives NaN.
///
/// # Shapes
/// `[N, C, H, W]` both.
///
/// # Errors
/// Different shapes, no elements.
pub fn coherence(a: Tensor<4>, b: Tensor<4>) -> Result<[f64; 3], SpectralError> {
    same_shape(&a, &b)?;
    let bins = Bins::new(&a);
    let (a, b) = (spectrum(a)?, spectrum(b)?);
    let count = bins.places.len();
    // Re and Im of the cross spectrum, and both power spectra.
    let mut sums = vec![[0.0; 4]; count];
    for (a, b) in a.chunks_exact(count).zip(b.chunks_exact(count)) {
        for ((sum, [ar, ai]), [br, bi]) in sums.iter_mut().zip(a).zip(b) {
            let terms = [ar * br + ai * bi, ai * br - ar * bi, ar * ar + ai * ai, br * br + bi * bi];
            sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
        }
    }
    let (mut coherent, mut weights) = ([0.0; 3], [0.0; 3]);
    for ([re, im, aa, bb], (band, weight)) in sums.iter().zip(&bins.places) {
        if aa * bb > 0.0 {
            coherent[*band] += weight * (re * re + im * im) / (aa * bb);
            weights[*band] += weight;
        }
    }
    Ok(std::array::from_fn(|k| coherent[k] / weights[k]))
}

fn same_shape(a: &Tensor<4>, b: &Tensor<4>) -> Result<(), SpectralError> {
    if a.dims().contains(&0) {
        return Err(SpectralError::EmptyMap { shape: a.dims().into() });
    }
    if a.dims() != b.dims() {
        let (expected, found) = (a.dims().into(), b.dims().into());
        return Err(SpectralError::ShapeMismatch { what: "the second map of a comparison", expected, found });
    }
    Ok(())
}

/// The numbers of a tensor in f64.
fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// The half spectra of all planes, real and imaginary part of each frequency.
fn spectrum(x: Tensor<4>) -> Result<Vec<[f64; 2]>, SpectralError> {
    let Spectrum { re, im } = rfft2(x.without_autodiff().cast(DType::F64), Norm::Ortho)?;
    Ok(numbers(re).into_iter().zip(numbers(im)).map(|(re, im)| [re, im]).collect())
}

/// Band and weight (how often it stands in the whole spectrum) of each place of a half spectrum.
struct Bins {
    places: Vec<(usize, f64)>,
}

impl Bins {
    fn new(x: &Tensor<4>) -> Self {
        let [_, _, h, w] = x.dims();
        let place = |i: usize| {
            let (u, v) = (i / (w / 2 + 1), i % (w / 2 + 1));
            let row = if u < h.div_ceil(2) { u as i64 } else { u as i64 - h as i64 };
            let weight = if v == 0 || 2 * v == w { 1.0 } else { 2.0 };
            (RadialBand::of([h, w], [row, v as i64]) as usize, weight)
        };
        Self { places: (0..h * (w / 2 + 1)).map(place).collect() }
    }
}
