//! Multilevel discrete wavelet transform of maps, and its inverse.
//!
//! # Bands
//!
//! One level turns `[N, C, H, W]` into four bands, named by the filter along the **width** first and along the
//! **height** second. For Haar and a 2x2 block with `a b` above `c d`:
//!
//! | band | along width | along height | Haar | shows |
//! |---|---|---|---|---|
//! | LL | low | low | (a + b + c + d) / 2 | the map at half size |
//! | LH | low | high | (a + b - c - d) / 2 | differences between rows (horizontal edges) |
//! | HL | high | low | (a - b + c - d) / 2 | differences between columns (vertical edges) |
//! | HH | high | high | (a - b - c + d) / 2 | differences along diagonals |
//!
//! LH, HL, HH are the `cH`, `cV`, `cD` of PyWavelets and the slots 0, 1, 2 of `pytorch_wavelets`. The next level splits
//! LL. [`Decomposition::details`] holds the finest level first.
//!
//! # Example
//!
//! ```
//! use burn::prelude::*;
//! use subband_spectral::{Boundary, dwt::Dwt2Config};
//!
//! let dwt = Dwt2Config::new("db2", 3).with_boundary(Boundary::Symmetric).init()?;
//! let x = Tensor::<4>::ones([1, 2, 7, 13], &Device::flex());
//! let bands = dwt.forward(x.clone())?;
//! assert_eq!(bands.details[0].hl().dims(), [1, 2, 5, 8]);
//! let y = dwt.inverse(bands)?;
//! assert!((x - y).abs().max().into_scalar::<f32>() < 1e-5);
//! # Ok::<(), subband_spectral::SpectralError>(())
//! ```
use std::sync::Arc;

use burn::prelude::*;
use subband_kernels::dwt as kernels;

use crate::{Boundary, SpectralError, Wavelet};

mod band_means;
mod matrices;
mod portable;
#[cfg(test)]
mod tests;
mod weighted;

pub use band_means::{BandMeans, LevelMeans};
pub use weighted::BandWeights;

/// More levels than any map has use for: each halves it, and at one pixel they only repeat it.
pub const MOST_LEVELS: usize = 16;

/// What a transform is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Dwt2Config {
    /// Name of the wavelet, see [`Wavelet::by_name`].
    pub wavelet: String,
    /// Number of levels, 1 to [`MOST_LEVELS`]. A map may be smaller than `2^levels`: a level applies to any size from 1.
    pub levels: usize,
    /// How the map continues beyond its edges.
    pub boundary: Boundary,
}

impl Dwt2Config {
    /// A transform with zeros beyond the edges.
    pub fn new(wavelet: &str, levels: usize) -> Self {
        Self { wavelet: wavelet.into(), levels, boundary: Boundary::Zero }
    }

    /// Sets the boundary rule.
    pub fn with_boundary(self, boundary: Boundary) -> Self {
        Self { boundary, ..self }
    }

    /// The transform.
    ///
    /// # Errors
    /// [`SpectralError::UnknownWavelet`], [`SpectralError::Levels`].
    pub fn init(&self) -> Result<Dwt2, SpectralError> {
        if !(1..=MOST_LEVELS).contains(&self.levels) {
            return Err(SpectralError::Levels { levels: self.levels, most: MOST_LEVELS });
        }
        let wavelet = Wavelet::by_name(&self.wavelet)?;
        Ok(Dwt2 { wavelet, levels: self.levels, boundary: self.boundary, portable: false })
    }
}

/// The detail bands of one level.
#[derive(Debug, Clone)]
pub struct Detail {
    /// LH, HL, HH stacked: `[N, C, 3, h, w]`.
    pub bands: Tensor<5>,
    /// Height and width of the map that was split, which may be odd; the inverse restores it.
    pub size: [usize; 2],
}

impl Detail {
    /// Differences between rows, `[N, C, h, w]`.
    pub fn lh(&self) -> Tensor<4> {
        self.orientation(0)
    }

    /// Differences between columns, `[N, C, h, w]`.
    pub fn hl(&self) -> Tensor<4> {
        self.orientation(1)
    }

    /// Differences along diagonals, `[N, C, h, w]`.
    pub fn hh(&self) -> Tensor<4> {
        self.orientation(2)
    }

    /// LH + HL + HH, `[N, C, h, w]`. For Haar this is `2a - LL`, with `a` the top left pixel of each block.
    pub fn orientation_sum(&self) -> Tensor<4> {
        self.bands.clone().sum_dim(2).squeeze_dim(2)
    }

    fn orientation(&self, slot: usize) -> Tensor<4> {
        self.bands.clone().narrow(2, slot, 1).squeeze_dim(2)
    }
}

/// All bands of a map.
#[derive(Debug, Clone)]
pub struct Decomposition {
    /// The low-pass band of the last level, `[N, C, h, w]`.
    pub ll: Tensor<4>,
    /// The detail bands of every level, finest first.
    pub details: Vec<Detail>,
}

/// A multilevel transform; made by [`Dwt2Config::init`].
#[derive(Debug, Clone, PartialEq)]
pub struct Dwt2 {
    wavelet: Wavelet,
    levels: usize,
    boundary: Boundary,
    portable: bool,
}

impl Dwt2 {
    /// The same transform, composed from tensor operations even where fast kernels exist. The results agree up to
    /// rounding; meant for tests and for backends of one's own.
    pub fn portable(self) -> Self {
        Self { portable: true, ..self }
    }

    /// The wavelet.
    pub fn wavelet(&self) -> &Wavelet {
        &self.wavelet
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// The boundary rule.
    pub fn boundary(&self) -> Boundary {
        self.boundary
    }

    /// Height and width of the bands of every level for a map of `size`, finest first.
    pub fn band_sizes(&self, size: [usize; 2]) -> Vec<[usize; 2]> {
        let next = |s: &[usize; 2]| Some(s.map(|n| matrices::band_len(&self.wavelet, self.boundary, n)));
        std::iter::successors(Some(size), next).skip(1).take(self.levels).collect()
    }

    /// Splits a map into its bands.
    ///
    /// # Shapes
    /// - `x`: `[N, C, H, W]`, any H and W from 1
    /// - result: see [`Decomposition`]; band sizes are those of [`Dwt2::band_sizes`]
    ///
    /// # Errors
    /// [`SpectralError::EmptyMap`].
    pub fn forward(&self, x: Tensor<4>) -> Result<Decomposition, SpectralError> {
        not_empty(&x)?;
        let mut low = x;
        let mut details = Vec::with_capacity(self.levels);
        for _ in 0..self.levels {
            let [_, _, h, w] = low.dims();
            let frame = matrices::analysis(&self.wavelet, self.boundary, [h, w]);
            let (next, bands) = self.split(low, frame);
            low = next;
            details.push(Detail { bands, size: [h, w] });
        }
        Ok(Decomposition { ll: low, details })
    }

    /// Puts the map together again, at its own size.
    ///
    /// # Errors
    /// [`SpectralError::ShapeMismatch`] when a band does not have the size that this transform gives it.
    pub fn inverse(&self, bands: Decomposition) -> Result<Tensor<4>, SpectralError> {
        let mut low = bands.ll;
        for detail in bands.details.into_iter().rev() {
            let [n, c, _, _] = low.dims();
            let [h, w] = detail.size.map(|n| matrices::band_len(&self.wavelet, self.boundary, n));
            expect_shape("low band", &[n, c, h, w], &low.dims())?;
            expect_shape("detail bands", &[n, c, 3, h, w], &detail.bands.dims())?;
            let frame = matrices::synthesis(&self.wavelet, self.boundary, detail.size);
            low = self.merge(low, detail.bands, frame);
        }
        Ok(low)
    }

    fn split(&self, x: Tensor<4>, frame: kernels::Frame) -> (Tensor<4>, Tensor<5>) {
        if !self.portable && kernels::has_kernels(&x) {
            kernels::split(x, &Arc::new(frame))
        } else {
            portable::split(x, &frame)
        }
    }

    fn merge(&self, low: Tensor<4>, detail: Tensor<5>, frame: kernels::Frame) -> Tensor<4> {
        if !self.portable && kernels::has_kernels(&low) {
            kernels::merge(low, detail, &Arc::new(frame))
        } else {
            portable::merge(low, detail, &frame)
        }
    }
}

fn not_empty(x: &Tensor<4>) -> Result<(), SpectralError> {
    if x.dims().contains(&0) { Err(SpectralError::EmptyMap { shape: x.dims().to_vec() }) } else { Ok(()) }
}

fn expect_shape(what: &'static str, expected: &[usize], found: &[usize]) -> Result<(), SpectralError> {
    if expected == found {
        return Ok(());
    }
    Err(SpectralError::ShapeMismatch { what, expected: expected.to_vec(), found: found.to_vec() })
}
