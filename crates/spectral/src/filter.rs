//! Filters over the spectrum of a map: masks, and splits of a map into bands.
//!
//! # Frequencies and layouts
//! A map of height H has the frequencies f = -(H div 2) .. (H - 1) div 2, and likewise over its width. A [`Mask`] is a
//! table of real numbers over the H x W frequencies, in one of two [`Layout`]s:
//!
//! | layout | index of frequency f | zero frequency |
//! |---|---|---|
//! | `Corner` | f, or f + H if negative | first: the order of [`crate::fft::fft2`] |
//! | `Centred` | f + H div 2 | at (H div 2, W div 2): the order after [`crate::fft::fftshift`] |
//!
//! # Low passes
//! With r the distance sqrt(f_h^2 + f_w^2) in bins:
//!
//! | [`Pass`] | value |
//! |---|---|
//! | `HalfOpen` (r_h, r_w) | 1 where -r_h <= f_h < r_h and -r_w <= f_w < r_w: the centred indices c-r .. c+r, end excluded |
//! | `Rectangle` (r_h, r_w) | 1 where \|f_h\| <= r_h and \|f_w\| <= r_w |
//! | `Radial` (d) | 1 where r <= d |
//! | `Gaussian` (sigma) | exp(-r^2 / (2 sigma^2)) |
//! | `Butterworth` (d, n) | 1 / (1 + (r / d)^(2 n)) |
//!
//! The high pass is 1 minus the low pass; a band pass is the difference of two low passes.
//!
//! # Real parts
//! `y = Re F^-1(mask . F(x))`. The half-open rectangle holds the frequency -r and not r, so the filtered spectrum is not
//! that of a real map and the real part is taken, which halves such components: the mask acts as
//! `(mask(f) + mask(-f)) / 2` ([`Mask::hermitian`]). Low and high parts then still add up to the map, but are not
//! orthogonal.
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use subband_kernels::spectral_filter::Response;

use crate::SpectralError;
use crate::fft::portable;

#[cfg(test)]
mod tests;

/// Where a table over frequencies starts; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Zero frequency first.
    Corner,
    /// Zero frequency at (H div 2, W div 2).
    Centred,
}

/// A low pass; formulas in the [module](self).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pass {
    /// Rectangle without its positive edge, radii per axis in bins; what the reference codes of FAM-KD and FreqKD cut.
    HalfOpen([usize; 2]),
    /// Rectangle with both edges, radii per axis in bins.
    Rectangle([usize; 2]),
    /// Disc of a radius in bins.
    Radial(f64),
    /// Gaussian bell of a standard deviation in bins.
    Gaussian(f64),
    /// Butterworth filter: radius in bins at which it is 1/2, and order.
    Butterworth(f64, u32),
}

impl Pass {
    /// FreqKD's rectangle: half-open, with radius max(1, floor(N * cutoff / 2)) on each axis of length N.
    pub fn freqkd(size: [usize; 2], cutoff: f64) -> Self {
        Self::HalfOpen(size.map(|n| ((n as f64 * cutoff / 2.0) as usize).max(1)))
    }

    fn check(self) -> Result<Self, SpectralError> {
        let (what, value) = match self {
            Self::Radial(d) if d.is_nan() || d < 0.0 => ("the radius of a radial filter", d),
            Self::Gaussian(s) if s.is_nan() || s <= 0.0 => ("sigma of a Gaussian filter", s),
            Self::Butterworth(d, _) if d.is_nan() || d <= 0.0 => ("the radius of a Butterworth filter", d),
            _ => return Ok(self),
        };
        Err(SpectralError::Parameter { what, value, range: "a positive number of bins" })
    }

    fn value(self, f: [i64; 2]) -> f64 {
        let r2 = (f[0] * f[0] + f[1] * f[1]) as f64;
        let inside = |yes: bool| if yes { 1.0 } else { 0.0 };
        match self {
            Self::HalfOpen(r) => inside((0..2).all(|a| -(r[a] as i64) <= f[a] && f[a] < r[a] as i64)),
            Self::Rectangle(r) => inside((0..2).all(|a| f[a].unsigned_abs() <= r[a] as u64)),
            Self::Radial(d) => inside(r2 <= d * d),
            Self::Gaussian(sigma) => (-r2 / (2.0 * sigma * sigma)).exp(),
            Self::Butterworth(d, order) => 1.0 / (1.0 + (r2 / (d * d)).powi(order as i32)),
        }
    }
}

/// Real factors over the frequencies of an H x W map.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    size: [usize; 2],
    /// In the corner layout.
    values: Response,
}

/// Frequency of index i in the corner layout.
fn frequency(i: usize, n: usize) -> i64 {
    if i < n.div_ceil(2) { i as i64 } else { i as i64 - n as i64 }
}

/// Index of frequency -f for the frequency of flat index `at`, both in the corner layout.
fn opposite(at: usize, [h, w]: [usize; 2]) -> usize {
    (h - at / w) % h * w + (w - at % w) % w
}

impl Mask {
    /// The value `f([f_h, f_w])` at every frequency.
    pub fn from_fn(size: [usize; 2], f: impl Fn([i64; 2]) -> f64) -> Self {
        let [h, w] = size;
        let values = (0..h * w).map(|i| f([frequency(i / w.max(1), h), frequency(i % w.max(1), w)])).collect();
        Self { size, values }
    }

    /// A table of H * W values, row by row; an error if there are more or fewer.
    pub fn from_values(size: [usize; 2], values: &[f64], layout: Layout) -> Result<Self, SpectralError> {
        if values.len() != size[0] * size[1] {
            return Err(SpectralError::ShapeMismatch {
                what: "values of a mask",
                expected: vec![size[0] * size[1]],
                found: vec![values.len()],
            });
        }
        Ok(Self::from_fn(size, |f| values[place(size, f, layout)]))
    }

    /// Low pass.
    pub fn low(size: [usize; 2], pass: Pass) -> Result<Self, SpectralError> {
        let pass = pass.check()?;
        Ok(Self::from_fn(size, |f| pass.value(f)))
    }

    /// High pass: 1 minus the low pass.
    pub fn high(size: [usize; 2], pass: Pass) -> Result<Self, SpectralError> {
        Ok(Self::low(size, pass)?.complement())
    }

    /// Band pass: the `outer` low pass minus the `inner` one.
    pub fn band(size: [usize; 2], inner: Pass, outer: Pass) -> Result<Self, SpectralError> {
        let (inner, outer) = (inner.check()?, outer.check()?);
        Ok(Self::from_fn(size, |f| outer.value(f) - inner.value(f)))
    }

    /// FAM-KD's high pass as its code does it: zero on the half-open square of radius r = floor(0.1 floor(N/2)) per axis.
    ///
    /// On maps below 20 nothing is removed (r = 0).
    pub fn fam_reference(size: [usize; 2]) -> Self {
        let low = Pass::HalfOpen(size.map(|n| n / 2 / 10));
        Self::from_fn(size, |f| 1.0 - low.value(f))
    }

    /// FAM-KD's high pass as its paper words it: zero on the `share` (there 0.01) of frequencies nearest to zero.
    ///
    /// The number removed is `share * H * W`, rounded; frequencies are ranked by their distance in cycles per pixel,
    /// those at equal distance by their index, rows first, in the centred layout.
    pub fn fam_paper(size: [usize; 2], share: f64) -> Self {
        let [h, w] = size;
        let mut ranked: Vec<usize> = (0..h * w).collect();
        let at = |i: usize| [i / w, i % w].map(|x| x as i64);
        let centre = size.map(|n| (n / 2) as i64);
        // Distances over a common denominator, so that ties are exact.
        let distance = |i: usize| {
            let (u, v) = ((at(i)[0] - centre[0]) * w as i64, (at(i)[1] - centre[1]) * h as i64);
            u * u + v * v
        };
        ranked.sort_by_key(|&i| (distance(i), i));
        let removed = ((share.clamp(0.0, 1.0) * (h * w) as f64).round() as usize).min(h * w);
        let mut centred = vec![1.0; h * w];
        for &i in &ranked[..removed] {
            centred[i] = 0.0;
        }
        Self::from_fn(size, |f| centred[place(size, f, Layout::Centred)])
    }

    /// 1 minus the mask.
    pub fn complement(&self) -> Self {
        Self { size: self.size, values: self.values.iter().map(|x| 1.0 - x).collect() }
    }

    /// The square root of every value (of negative ones 0): what filters a map so that its energy is that of the spectrum
    /// under this mask.
    pub fn root(&self) -> Self {
        Self { size: self.size, values: self.values.iter().map(|x| x.max(0.0).sqrt()).collect() }
    }

    /// What acts on a real map when the real part is taken: `(mask(f) + mask(-f)) / 2`.
    pub fn hermitian(&self) -> Self {
        let back = |i: usize| self.values[opposite(i, self.size)];
        Self { size: self.size, values: self.values.iter().enumerate().map(|(i, x)| (x + back(i)) / 2.0).collect() }
    }

    /// H, W.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The H * W values, row by row.
    pub fn values(&self, layout: Layout) -> Vec<f64> {
        let [h, w] = self.size;
        match layout {
            Layout::Corner => self.values.to_vec(),
            Layout::Centred => {
                let shifted = |i: usize, n: usize| (i + n.div_ceil(2)) % n;
                (0..h * w).map(|i| self.values[shifted(i / w, h) * w + shifted(i % w, w)]).collect()
            }
        }
    }

    /// The mask as a tensor `[H, W]`.
    pub fn tensor(&self, layout: Layout, device: &Device, dtype: DType) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values(layout), self.size), (device, dtype))
    }

    /// The values in the corner layout, shared.
    pub(crate) fn response(&self) -> Response {
        self.values.clone()
    }

    /// The Hermitian part over the columns 0..=W/2.
    pub(crate) fn half(&self) -> Response {
        let [_, w] = self.size;
        let whole = self.hermitian();
        whole.values.iter().enumerate().filter(|(i, _)| i % w <= w / 2).map(|(_, x)| *x).collect()
    }

    /// An error unless the mask is for maps like `x`.
    pub(crate) fn fits(&self, x: &Tensor<4>) -> Result<(), SpectralError> {
        let dims = x.dims();
        if dims[2] * dims[3] == 0 {
            return Err(SpectralError::EmptyMap { shape: dims.into() });
        }
        if dims[2..] != self.size {
            return Err(SpectralError::ShapeMismatch {
                what: "mask of a spectrum",
                expected: dims[2..].to_vec(),
                found: self.size.into(),
            });
        }
        Ok(())
    }
}

/// Flat index of a frequency.
fn place([h, w]: [usize; 2], f: [i64; 2], layout: Layout) -> usize {
    let index = |f: i64, n: usize| match layout {
        Layout::Corner => f.rem_euclid(n as i64) as usize,
        Layout::Centred => (f + (n / 2) as i64) as usize,
    };
    index(f[0], h) * w + index(f[1], w)
}

/// `Re F^-1(mask . F(x))` for real maps `[N, C, H, W]`.
///
/// On Flex one operation that keeps nothing for the backward pass; the filter is its own adjoint.
pub fn apply(x: Tensor<4>, mask: &Mask) -> Result<Tensor<4>, SpectralError> {
    mask.fits(&x)?;
    if subband_kernels::fft::has_kernels(&x) {
        return Ok(subband_kernels::spectral_filter::real_filter(x, mask.half()));
    }
    Ok(apply_portable(x, mask))
}

/// [`apply`] from tensor operations.
fn apply_portable(x: Tensor<4>, mask: &Mask) -> Tensor<4> {
    use subband_kernels::fft::Factors;
    let [_, _, h, w] = x.dims();
    let response = TensorData::new(mask.half().to_vec(), [1, 1, h, w / 2 + 1]);
    let response = Tensor::<4>::from_data(response, (&x.device(), x.dtype()));
    let y = portable::real_to_half(x, Factors { interior: 1.0, scale: 1.0 }).scale(response);
    portable::half_to_real(y, w, Factors { interior: 2.0, scale: 1.0 / (h * w) as f64 })
}

/// `(low, high)`: the map filtered by `mask`, and the rest; they add up to the map.
pub fn split(x: Tensor<4>, mask: &Mask) -> Result<(Tensor<4>, Tensor<4>), SpectralError> {
    let low = apply(x.clone(), mask)?;
    let high = x - low.clone();
    Ok((low, high))
}

/// The map filtered by each mask, and what is left: one part more than masks, which add up to the map.
pub fn bands(x: Tensor<4>, masks: &[Mask]) -> Result<Vec<Tensor<4>>, SpectralError> {
    let mut rest = x.clone();
    let mut parts = Vec::with_capacity(masks.len() + 1);
    for mask in masks {
        let part = apply(x.clone(), mask)?;
        rest = rest - part.clone();
        parts.push(part);
    }
    parts.push(rest);
    Ok(parts)
}
