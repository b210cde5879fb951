//! Wavelet frequency distillation.
//!
//! With the bands of a J-level DWT (`reference`: Haar, three levels, zeros beyond the edges), D = S - T and the
//! transform's linearity:
//!
//! ```text
//! summed     L = high sum_j mean |LH_j + HL_j + HH_j of D| + low mean |LL_J of D|
//! separate   L = high sum_j mean |(LH_j, HL_j, HH_j) of D|  + low mean |LL_J of D|
//! ```
//! with low = 0.7, high = 0.3. `summed` is what the released code computes: it takes the list of levels for the triple of
//! orientations. For Haar that sum is `2a - LL` with `a` the top left pixel of each 2x2 block, so it compares a
//! subsampled map rather than edges. `separate` keeps the bands apart, and its mean is over all coefficients of a level:
//! *reconstruction*, since the paper's text is not available.
//!
//! Haar runs as one pass that never forms the bands.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_spectral::SpectralError;
use subband_spectral::dwt::Dwt2;

/// How the orientations of a level are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orientations {
    /// Their sum.
    Summed,
    /// Each by itself.
    Separate,
}

/// The comparison of one scale; it has no parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Wfd {
    /// The transform.
    pub dwt: Dwt2,
    /// How details are compared.
    pub orientations: Orientations,
    /// Weight of LL.
    pub low: f64,
    /// Weight of each level's details.
    pub high: f64,
}

impl Wfd {
    /// L.
    ///
    /// # Shapes
    /// Two maps `[N, C, H, W]` to `[1]`.
    ///
    /// # Errors
    /// Maps of different shapes, or empty ones.
    pub fn forward(&self, student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, SpectralError> {
        Ok(match self.orientations {
            Orientations::Summed => self.dwt.orientation_sum_l1(student, teacher)?.weighted(self.low, self.high),
            Orientations::Separate => self.dwt.band_l1(student, teacher)?.weighted(self.low, self.high),
        })
    }
}
