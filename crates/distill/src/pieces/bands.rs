//! Bands: a transform and a split turn a map x `[N, C, H, W]` into named parts, each low or high.
//!
//! | transform | split | bands |
//! |---|---|---|
//! | `none` | `none` | `all` (low) |
//! | `dwt` | `level` | `llJ` (low); `level1` (finest) .. `levelJ` with LH, HL, HH one after another, `[N, 3C, h, w]` |
//! | `dwt` | `orientation` | `llJ`; `lh1`, `hl1`, `hh1`, .. |
//! | `dwt` | `orientation-sum` | `llJ`; `level1` .. with LH + HL + HH, as the codes of FreeKD and MonoAFKD add them |
//! | `fft`, `dct` | `none` | `all`: the coefficients |
//! | `fft`, `dct` | `rectangle`, `radial`, `gaussian`, `dc` | `low`, `high` |
//! | `channel-fft`, `channel-dct` | as `fft`, `dct` | the same over the channels at each place |
//!
//! # Low parts
//! With the cut-off c as a share of the highest frequency, N the length of an axis and f a frequency in bins (DCT: index
//! k, highest N):
//!
//! | split | FFT keeps | DCT keeps |
//! |---|---|---|
//! | `rectangle` | -r <= f < r, r = max(1, floor(c N / 2)) on each axis (FreqKD) | k < max(1, floor(c N)) on each axis |
//! | `radial` | \|f\| <= c S / 2 | \|k\| <= c S |
//! | `gaussian` | exp(-\|f\|^2 / (2 s^2)), s = c S / 2 | the same with s = c S |
//! | `dc` | f = 0: the mean | k = 0: the mean |
//!
//! high = x - low. S is the length of the shortest axis that is longer than 1: min(H, W), on a map of one row its width.
//! Over channels there is one axis, C long, and S = C.
//!
//! # Domain
//! `space` gives low and high as maps (the inverse transform of the kept coefficients), which add up to x;
//! `coefficients` gives the coefficients themselves, for the FFT the real and imaginary parts of the orthonormal half
//! spectrum (columns 0..=W/2) one after another along the channels, `[N, 2C, H, W/2 + 1]`. Wavelet bands are
//! coefficients in any case. Every transform here is linear.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use serde::{Deserialize, Serialize};
use subband_spectral::dct::{Dct, dct, dct2};
use subband_spectral::dwt::{Detail, Dwt2, Dwt2Config};
use subband_spectral::fft::{Norm, rfft2};
use subband_spectral::filter::{self, Mask, Pass};
use subband_spectral::{Boundary, SpectralError};

/// The transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// The map itself.
    #[default]
    None,
    /// Multilevel wavelet transform.
    Dwt,
    /// Fourier transform over space.
    Fft,
    /// Cosine transform over space.
    Dct,
    /// Fourier transform over the channels at each place.
    ChannelFft,
    /// Cosine transform over the channels at each place.
    ChannelDct,
}

/// The split; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// One band.
    #[default]
    None,
    /// LL and one band per level.
    Level,
    /// LL and three bands per level.
    Orientation,
    /// LL and the sum of the three bands of each level.
    OrientationSum,
    /// Low frequencies of both axes.
    Rectangle,
    /// Low radii.
    Radial,
    /// Low radii, smoothly.
    Gaussian,
    /// Frequency 0 and the rest.
    Dc,
}

/// What a band's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// Maps.
    #[default]
    Space,
    /// Coefficients of the transform.
    Coefficients,
}

/// A transform and a split.
#[derive(Debug, Clone, PartialEq)]
pub struct BandsConfig {
    /// The transform.
    pub transform: Transform,
    /// The split; must be one that the transform has.
    pub split: Split,
    /// Space or coefficients.
    pub domain: Domain,
    /// Cut-off of rectangle, radial and Gaussian splits as a share of the highest frequency, in (0, 1].
    pub cutoff: f64,
    /// Wavelet of the DWT.
    pub wavelet: String,
    /// Levels of the DWT, at least 1.
    pub levels: usize,
    /// Boundary rule of the DWT.
    pub boundary: String,
}

/// A part of a map.
#[derive(Debug, Clone)]
pub struct Band {
    /// `ll3`, `level1`, `hh2`, `low`, `high`, `all`.
    pub name: String,
    /// Whether it is the low part.
    pub low: bool,
    /// Its numbers, `[N, C', H', W']`.
    pub values: Tensor<4>,
}

/// A transform and a split, checked; made by [`BandsConfig::init`].
#[derive(Debug, Clone)]
pub struct Bands {
    config: BandsConfig,
    dwt: Option<Dwt2>,
}

impl BandsConfig {
    /// Checks the combination and its numbers; the error says what fits.
    pub fn init(&self) -> Result<Bands, String> {
        let wavelet = matches!(self.split, Split::Level | Split::Orientation | Split::OrientationSum);
        let fits = match self.transform {
            Transform::None => self.split == Split::None,
            Transform::Dwt => wavelet,
            _ => !wavelet,
        };
        if !fits {
            let offer = match self.transform {
                Transform::None => "`none`; choose a `transform` to split by frequency",
                Transform::Dwt => "`level`, `orientation` or `orientation-sum`",
                _ => "`none`, `rectangle`, `radial`, `gaussian` or `dc`",
            };
            return Err(format!(
                "`split = {}` does not go with `transform = {}`: take {offer}",
                name(self.split),
                name(self.transform)
            ));
        }
        if !(self.cutoff > 0.0 && self.cutoff <= 1.0) {
            return Err(format!("`cutoff = {}` must be above 0 and at most 1", self.cutoff));
        }
        let dwt = match self.transform {
            Transform::Dwt => Some(self.dwt().map_err(|error| error.to_string())?),
            _ => None,
        };
        Ok(Bands { config: self.clone(), dwt })
    }

    fn dwt(&self) -> Result<Dwt2, SpectralError> {
        let boundary = Boundary::by_name(&self.boundary)?;
        Dwt2Config::new(&self.wavelet, self.levels).with_boundary(boundary).init()
    }
}

/// Numbers of the largest tensor that the transform makes of one channel: the three detail bands of a level, on small
/// maps under long wavelets more than the map.
pub(crate) fn largest_details(dwt: &Dwt2, (h, w): (usize, usize)) -> usize {
    dwt.band_sizes([h, w]).iter().map(|[h, w]| 3 * h * w).max().unwrap_or(0)
}

/// Whether a fused kernel compares the bands of maps of this size without forming them (on Flex).
pub(crate) fn is_fused(dwt: &Dwt2, size: [usize; 2]) -> bool {
    let mut sizes = std::iter::once(size).chain(dwt.band_sizes(size)).take(dwt.levels());
    let even = |s: [usize; 2]| s.iter().all(|n| n.is_multiple_of(2));
    dwt.wavelet().is_haar() && (dwt.boundary() == Boundary::Zero || sizes.all(even))
}

/// A choice as recipes write it.
fn name(choice: impl Serialize) -> String {
    toml::Value::try_from(choice).map_or_else(|_| String::new(), |value| value.to_string())
}

impl Bands {
    /// Elements of the largest tensor that [`Bands::of`] makes of a batch of C channels.
    pub(crate) fn largest_temporary(&self, batch: usize, channels: usize, (h, w): (usize, usize)) -> usize {
        let whole = self.config.domain == Domain::Coefficients || self.config.split == Split::None;
        // Real and imaginary parts of a half spectrum in one tensor; in space the filter never holds a spectrum.
        let one = match (self.config.transform, &self.dwt) {
            (Transform::Dwt, Some(dwt)) => channels * largest_details(dwt, (h, w)),
            (Transform::Fft, _) if whole => 2 * channels * h * (w / 2 + 1),
            (Transform::ChannelFft, _) if whole => 2 * (channels / 2 + 1) * h * w,
            _ => 0,
        };
        batch * one.max(channels * h * w)
    }

    /// The bands of a map, the low one first.
    ///
    /// # Shapes
    /// `[N, C, H, W]`, any size from 1, to the shapes that the [module](self) names.
    pub fn of(&self, x: Tensor<4>) -> Result<Vec<Band>, SpectralError> {
        let channels_first = [0, 3, 1, 2];
        match (self.config.transform, &self.dwt) {
            (Transform::Dwt, Some(dwt)) => self.wavelet(dwt, x),
            (Transform::Fft, _) => self.fourier(x),
            (Transform::Dct, _) => self.cosine(x, false),
            (Transform::ChannelDct, _) => self.cosine(x, true),
            (Transform::ChannelFft, _) => {
                // A row of C numbers for each place: a map of height 1.
                let [n, c, h, w] = x.dims();
                let rows = x.permute([0, 2, 3, 1]).reshape([n, h * w, 1, c]);
                let back = |band: Band| {
                    let [n, _, _, k] = band.values.dims();
                    let parts = band.values.dims()[1] / (h * w);
                    let values = band.values.reshape([n, parts, h * w, k]).swap_dims(1, 2);
                    Band { values: values.reshape([n, h, w, parts * k]).permute(channels_first), ..band }
                };
                Ok(self.fourier(rows)?.into_iter().map(back).collect())
            }
            _ => Ok(vec![Band { name: "all".into(), low: true, values: x }]),
        }
    }

    /// Name, whether low, channels and size (height, width) of the bands of a map, without making them.
    pub fn shapes(&self, channels: usize, size: (usize, usize)) -> Vec<(String, bool, usize, (usize, usize))> {
        let BandsConfig { transform, split, domain, .. } = self.config;
        if let (Transform::Dwt, Some(dwt)) = (transform, &self.dwt) {
            let sizes: Vec<(usize, usize)> = dwt.band_sizes([size.0, size.1]).iter().map(|[h, w]| (*h, *w)).collect();
            let details = sizes.iter().enumerate().flat_map(|(k, size)| {
                let (names, channels): (&[&str], _) = match split {
                    Split::Orientation => (&["lh", "hl", "hh"], channels),
                    Split::OrientationSum => (&["level"], channels),
                    _ => (&["level"], 3 * channels),
                };
                names.iter().map(move |name| (format!("{name}{}", k + 1), false, channels, *size))
            });
            let coarsest = sizes.last().copied().unwrap_or(size);
            return std::iter::once((format!("ll{}", sizes.len()), true, channels, coarsest)).chain(details).collect();
        }
        let coefficients = domain == Domain::Coefficients || split == Split::None;
        let (channels, size) = match transform {
            Transform::Fft if coefficients => (2 * channels, (size.0, size.1 / 2 + 1)),
            Transform::ChannelFft if coefficients => (2 * (channels / 2 + 1), size),
            _ => (channels, size),
        };
        let names: &[(&str, bool)] =
            if split == Split::None { &[("all", true)] } else { &[("low", true), ("high", false)] };
        names.iter().map(|(name, low)| (name.to_string(), *low, channels, size)).collect()
    }

    fn wavelet(&self, dwt: &Dwt2, x: Tensor<4>) -> Result<Vec<Band>, SpectralError> {
        let parts = dwt.forward(x)?;
        let high = |name: String, values| Band { name, low: false, values };
        let mut bands = vec![Band { name: format!("ll{}", dwt.levels()), low: true, values: parts.ll }];
        for (k, detail) in parts.details.into_iter().enumerate().map(|(k, detail)| (k + 1, detail)) {
            match self.config.split {
                Split::Orientation => {
                    bands.push(high(format!("lh{k}"), detail.lh()));
                    bands.push(high(format!("hl{k}"), detail.hl()));
                    bands.push(high(format!("hh{k}"), detail.hh()));
                }
                Split::OrientationSum => bands.push(high(format!("level{k}"), detail.orientation_sum())),
                _ => bands.push(high(format!("level{k}"), stacked(detail))),
            }
        }
        Ok(bands)
    }

    fn fourier(&self, x: Tensor<4>) -> Result<Vec<Band>, SpectralError> {
        let [_, _, h, w] = x.dims();
        let mask = self.fourier_mask([h, w])?;
        match (self.config.domain, mask) {
            (Domain::Space, None) | (Domain::Coefficients, None) => Ok(one(spectrum(x)?)),
            (Domain::Space, Some(mask)) => Ok(two(filter::split(x, &mask)?)),
            (Domain::Coefficients, Some(mask)) => {
                let z = spectrum(x)?;
                let low = mask.hermitian().tensor(filter::Layout::Corner, &z.device(), z.dtype());
                let low = z.clone() * low.narrow(1, 0, w / 2 + 1).unsqueeze::<4>();
                Ok(two((low.clone(), z - low)))
            }
        }
    }

    fn fourier_mask(&self, size: [usize; 2]) -> Result<Option<Mask>, SpectralError> {
        let shortest = shortest(size);
        let cutoff = self.config.cutoff;
        let pass = match self.config.split {
            Split::Rectangle => Pass::freqkd(size, cutoff),
            Split::Radial => Pass::Radial(cutoff * shortest / 2.0),
            Split::Gaussian => Pass::Gaussian(cutoff * shortest / 2.0),
            Split::Dc => Pass::Radial(0.0),
            _ => return Ok(None),
        };
        Mask::low(size, pass).map(Some)
    }

    fn cosine(&self, x: Tensor<4>, channels: bool) -> Result<Vec<Band>, SpectralError> {
        let transform = |x, kind| if channels { dct(x, 1, kind) } else { dct2(x, kind) };
        let [_, c, h, w] = x.dims();
        if self.config.split == Split::Dc && self.config.domain == Domain::Space {
            // The constant part is the mean: no transform is needed.
            let mean = if channels { x.clone().mean_dim(1) } else { x.clone().mean_dim(3).mean_dim(2) };
            return Ok(two((mean.clone().expand(x.dims()), x - mean)));
        }
        let z = transform(x.clone(), Dct::II)?;
        let shape = if channels { [c, 1, 1] } else { [1, h, w] };
        let Some(mask) = self.cosine_mask(shape, &z.device(), z.dtype()) else { return Ok(one(z)) };
        let low = z.clone() * mask;
        match self.config.domain {
            Domain::Coefficients => Ok(two((low.clone(), z - low))),
            Domain::Space => {
                let low = transform(low, Dct::III)?;
                Ok(two((low.clone(), x - low)))
            }
        }
    }

    /// Factors `[1, c, h, w]` over the indices of a cosine transform.
    fn cosine_mask(&self, [c, h, w]: [usize; 3], device: &Device, dtype: DType) -> Option<Tensor<4>> {
        let cutoff = self.config.cutoff;
        let shortest = shortest([c, h, w]);
        let value = |index: [usize; 3]| {
            let r2 = index.iter().map(|k| (k * k) as f64).sum::<f64>();
            let inside = |yes: bool| f64::from(u8::from(yes));
            match self.config.split {
                Split::Rectangle => {
                    let low = |(k, n): (usize, usize)| k < ((cutoff * n as f64) as usize).max(1);
                    inside(index.into_iter().zip([c, h, w]).all(low))
                }
                Split::Radial => inside(r2 <= (cutoff * shortest).powi(2)),
                Split::Gaussian => (-r2 / (2.0 * (cutoff * shortest).powi(2))).exp(),
                _ => inside(r2 == 0.0),
            }
        };
        if self.config.split == Split::None {
            return None;
        }
        let values: Vec<f64> = (0..c * h * w).map(|i| value([i / (h * w), i / w % h, i % w])).collect();
        Some(Tensor::from_data(TensorData::new(values, [1, c, h, w]), (device, dtype)))
    }
}

/// The shortest axis that is longer than 1 (1 if there is none): a row counts by its width.
pub(crate) fn shortest<const D: usize>(axes: [usize; D]) -> f64 {
    axes.into_iter().filter(|n| *n > 1).min().unwrap_or(1) as f64
}

/// LH, HL, HH one after another along the channels: `[N, C, 3, h, w]` to `[N, 3C, h, w]`.
fn stacked(detail: Detail) -> Tensor<4> {
    let [n, c, _, h, w] = detail.bands.dims();
    detail.bands.reshape([n, 3 * c, h, w])
}

/// Real and imaginary parts of the half spectrum along the channels.
fn spectrum(x: Tensor<4>) -> Result<Tensor<4>, SpectralError> {
    let z = rfft2(x, Norm::Ortho)?;
    Ok(Tensor::cat(vec![z.re, z.im], 1))
}

fn one(values: Tensor<4>) -> Vec<Band> {
    vec![Band { name: "all".into(), low: true, values }]
}

fn two((low, high): (Tensor<4>, Tensor<4>)) -> Vec<Band> {
    vec![Band { name: "low".into(), low: true, values: low }, Band { name: "high".into(), low: false, values: high }]
}

#[cfg(test)]
mod tests;
