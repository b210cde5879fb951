//! The bands that FreeKD compares, whatever the transform.
//!
//! Every transform yields the bands of a wavelet transform: LL of the coarsest level, and LH, HL, HH of each level.
//!
//! * `dwt`: the discrete wavelet transform of [`subband_spectral::dwt`].
//! * `dct`, `dft` (*reconstruction*: the paper's Table 9 names the transforms and no split): an orthonormal table of
//!   frequencies, cut dyadically. Along each axis the lower `ceil(n / 2)` frequencies are the low half; the upper ones,
//!   with a zero behind them if n is odd, the high half. Low x low is split again, as often as there are levels.
//!   `dct` has the table of [`subband_spectral::dct`]; `dft` that of the real Fourier basis of each axis,
//!
//!   `X_0 = sum_t x_t / sqrt n`, `X_{2f-1} = sqrt(2/n) sum_t x_t cos(2 pi f t / n)`,
//!   `X_{2f} = sqrt(2/n) sum_t x_t sin(2 pi f t / n)`, and for even n `X_{n-1} = sum_t x_t (-1)^t / sqrt n`.
//!
//!   The four products of cosine and sine at a pair of frequencies span what the complex transform has at `(u, v)` and
//!   `(u, -v)`, so this is the Fourier transform of a real map, in real numbers and without redundancy.
use burn::prelude::*;
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use subband_spectral::dct::{Dct, dct2};
use subband_spectral::dwt::{Decomposition, Detail, Dwt2, Dwt2Config, MOST_LEVELS};
use subband_spectral::{Boundary, SpectralError};

use super::bad;
use crate::DistillError;
use crate::pieces::bands::{is_fused, largest_details};

/// The transform into bands (the paper's Table 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrequencyKind {
    /// Wavelets; what paper and code use.
    Dwt,
    /// Sines and cosines of each axis.
    Dft,
    /// Cosines of each axis.
    Dct,
    /// The map itself as the one band, `map`: the receptive tokens of MasKD. For prompts only.
    None,
}

/// Which coefficients share a prompt and a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grouping {
    /// LL, and the three orientations of a level together: the mask comes from their sum (the released code).
    Level,
    /// Each of the `1 + 3 levels` bands by itself (the paper).
    Band,
}

/// The keys that decide which bands there are; equal in both stages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BandKeys {
    pub transform: FrequencyKind,
    pub wavelet: String,
    pub boundary: String,
    pub levels: usize,
    pub grouping: Grouping,
}

impl BandKeys {
    /// The transform, or what is wrong with the keys.
    pub fn init(&self) -> Result<Bands, DistillError> {
        if !(1..=MOST_LEVELS).contains(&self.levels) {
            return Err(bad(format!("`levels = {}` must be 1 to {MOST_LEVELS} (usual: 3)", self.levels)));
        }
        let named = |e: SpectralError| bad(e.to_string());
        let boundary = Boundary::by_name(&self.boundary).map_err(named)?;
        let dwt = Dwt2Config::new(&self.wavelet, self.levels).with_boundary(boundary).init().map_err(named)?;
        Ok(Bands { transform: self.transform, dwt, grouping: self.grouping })
    }

    /// What a message calls them.
    pub fn describe(&self) -> String {
        let word = |value: toml::Value| value.to_string();
        let kind = toml::Value::try_from(self.transform).map_or_else(|_| String::new(), word);
        let grouping = toml::Value::try_from(self.grouping).map_or_else(|_| String::new(), word);
        format!(
            "transform = {kind}, wavelet = \"{}\", boundary = \"{}\", levels = {}, grouping = {grouping}",
            self.wavelet, self.boundary, self.levels
        )
    }
}

/// A transform into bands, and which of them share a mask.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bands {
    transform: FrequencyKind,
    dwt: Dwt2,
    grouping: Grouping,
}

impl Bands {
    pub fn levels(&self) -> usize {
        if self.transform == FrequencyKind::None { 0 } else { self.dwt.levels() }
    }

    pub fn grouping(&self) -> Grouping {
        self.grouping
    }

    /// The wavelet transform, if it is one.
    pub fn wavelets(&self) -> Option<&Dwt2> {
        (self.transform == FrequencyKind::Dwt).then_some(&self.dwt)
    }

    /// Whether a fused kernel compares bands of maps of this size without forming them (on Flex).
    pub fn is_fused(&self, size: [usize; 2]) -> bool {
        self.wavelets().is_some_and(|dwt| is_fused(dwt, size))
    }

    /// Numbers of the largest tensor that the split of one channel makes: the three bands of a level, or the table of
    /// frequencies with even sides.
    pub fn largest_temporary(&self, (h, w): (usize, usize)) -> usize {
        match (self.wavelets(), self.sizes([h, w]).first()) {
            (Some(dwt), _) => largest_details(dwt, (h, w)),
            (None, Some([h, w])) => 4 * h * w,
            (None, None) => h * w,
        }
    }

    /// Names of the sets: LL first, then the finest level.
    pub fn set_names(&self) -> Vec<String> {
        let levels = 1..=self.levels();
        let details: Vec<String> = match self.grouping {
            Grouping::Level => levels.map(|l| format!("level{l}")).collect(),
            Grouping::Band => levels.flat_map(|l| ["lh", "hl", "hh"].map(|b| format!("{b}{l}"))).collect(),
        };
        let low =
            if self.transform == FrequencyKind::None { "map".to_string() } else { format!("ll{}", self.levels()) };
        std::iter::once(low).chain(details).collect()
    }

    /// Height and width of the bands of every level for a map of `size`, finest first.
    pub fn sizes(&self, size: [usize; 2]) -> Vec<[usize; 2]> {
        match self.wavelets() {
            Some(dwt) => dwt.band_sizes(size),
            None => {
                let next = |s: &[usize; 2]| Some(s.map(|n| n.div_ceil(2)));
                std::iter::successors(Some(size), next).skip(1).take(self.levels()).collect()
            }
        }
    }

    /// Splits maps `[N, C, H, W]`; fails on empty ones.
    pub fn forward(&self, x: Tensor<4>) -> Result<Decomposition, SpectralError> {
        match self.transform {
            FrequencyKind::Dwt => self.dwt.forward(x),
            FrequencyKind::Dct => Ok(cut(dct2(x, Dct::II)?, self.levels())),
            FrequencyKind::Dft => Ok(cut(fourier(x, false)?, self.levels())),
            FrequencyKind::None => Ok(cut(x, 0)),
        }
    }

    /// Puts maps together again. Without `crop`, wavelets return an even height and width, as `pytorch_wavelets` does;
    /// a table of frequencies has no such surplus.
    pub fn inverse(&self, mut bands: Decomposition, crop: bool) -> Result<Tensor<4>, SpectralError> {
        match self.transform {
            FrequencyKind::Dwt => {
                if let (false, Some(finest)) = (crop, bands.details.first_mut()) {
                    finest.size = finest.size.map(|n| n.next_multiple_of(2));
                }
                self.dwt.inverse(bands)
            }
            FrequencyKind::Dct => dct2(join(bands), Dct::III),
            FrequencyKind::Dft => fourier(join(bands), true),
            FrequencyKind::None => Ok(bands.ll),
        }
    }

    /// What the mask of each set is made from: LL, then the sum of the orientations of a level or each of them.
    ///
    /// # Shapes
    /// One `[N, C, h, w]` per set.
    pub fn set_maps(&self, bands: &Decomposition) -> Vec<Tensor<4>> {
        let details = bands.details.iter().flat_map(|d| match self.grouping {
            Grouping::Level => vec![d.orientation_sum()],
            Grouping::Band => vec![d.lh(), d.hl(), d.hh()],
        });
        std::iter::once(bands.ll.clone()).chain(details).collect()
    }

    /// One map per set as factors of the bands: `[N, 1, h, w]` for LL, `[N, 1, 1 or 3, h, w]` per level.
    pub fn spread(&self, mut maps: Vec<Tensor<4>>) -> (Tensor<4>, Vec<Tensor<5>>) {
        let details = maps.split_off(1);
        let step = if self.grouping == Grouping::Level { 1 } else { 3 };
        let details = details.chunks(step).map(|level| Tensor::stack(level.to_vec(), 2)).collect();
        (maps.remove(0), details)
    }
}

/// Dyadic bands of a table of frequencies `[N, C, H, W]`.
fn cut(table: Tensor<4>, levels: usize) -> Decomposition {
    let mut low = table;
    let mut details = Vec::with_capacity(levels);
    for _ in 0..levels {
        let [_, _, height, width] = low.dims();
        let (h, w) = (height.div_ceil(2), width.div_ceil(2));
        let table = fit(low, [2 * h, 2 * w]);
        let part = |i: usize, j: usize| table.clone().narrow(2, i * h, h).narrow(3, j * w, w);
        let bands = Tensor::stack(vec![part(1, 0), part(0, 1), part(1, 1)], 2);
        low = part(0, 0);
        details.push(Detail { bands, size: [height, width] });
    }
    Decomposition { ll: low, details }
}

/// The table that [`cut`] made the bands of.
fn join(bands: Decomposition) -> Tensor<4> {
    let mut low = bands.ll;
    for detail in bands.details.into_iter().rev() {
        let top = Tensor::cat(vec![low, detail.hl()], 3);
        let bottom = Tensor::cat(vec![detail.lh(), detail.hh()], 3);
        low = fit(Tensor::cat(vec![top, bottom], 2), detail.size);
    }
    low
}

/// Brings a table to this size: zeros behind it, or without its end.
fn fit(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    (0..2).fold(x, |x, axis| {
        let (mut dims, wanted) = (x.dims(), size[axis]);
        let have = dims[axis + 2];
        if have >= wanted {
            return if have == wanted { x } else { x.narrow(axis + 2, 0, wanted) };
        }
        dims[axis + 2] = wanted - have;
        let zeros = Tensor::zeros(dims, (&x.device(), x.dtype()));
        Tensor::cat(vec![x, zeros], axis + 2)
    })
}

/// The real Fourier transform of both axes, or its inverse.
fn fourier(x: Tensor<4>, inverse: bool) -> Result<Tensor<4>, SpectralError> {
    let [n, c, height, width] = x.dims();
    if x.dims().contains(&0) {
        return Err(SpectralError::EmptyMap { shape: x.dims().into() });
    }
    let rows = x.clone().reshape([n * c * height, width]).matmul(basis(&x, width, inverse));
    let turned = rows.reshape([n, c, height, width]).swap_dims(2, 3).reshape([n * c * width, height]);
    let columns = turned.clone().matmul(basis(&turned, height, inverse));
    Ok(columns.reshape([n, c, width, height]).swap_dims(2, 3))
}

/// The orthonormal real Fourier basis, to be multiplied from the right: column k is basis function k (or row, for the
/// inverse).
fn basis<const D: usize>(like: &Tensor<D>, n: usize, inverse: bool) -> Tensor<2> {
    let value = |t: usize, k: usize| {
        let f = k.div_ceil(2);
        // The angle's period is n: reduced exactly before rounding.
        let angle = std::f64::consts::TAU * ((f * t) % n) as f64 / n as f64;
        let scale = if k == 0 || 2 * f == n { 1.0 } else { 2.0 } / n as f64;
        let wave = match k {
            0 => 1.0,
            _ if k % 2 == 1 => angle.cos(),
            _ => angle.sin(),
        };
        scale.sqrt() * wave
    };
    let place = |i: usize| if inverse { value(i % n, i / n) } else { value(i / n, i % n) };
    let values: Vec<f64> = (0..n * n).map(place).collect();
    Tensor::from_data(TensorData::new(values, [n, n]), (&like.device(), like.dtype()))
}
