//! Two-dimensional Fourier transforms of maps `[N, C, H, W]`, over the last two axes.
//!
//! With theta = 2 pi (u h / H + v w / W), the forward transform is `X(u, v) = a sum_{h,w} x(h, w) e^{-i theta}` and the
//! inverse `x(h, w) = b sum_{u,v} X(u, v) e^{+i theta}`; [`Norm`] sets a and b, with a b = 1 / (H W). Index u stands for
//! the frequency u for u < H/2 and u - H above: zero is at the corner until [`fftshift`] moves it to H div 2.
//!
//! Heights and widths are any from 1. On Flex with f32 or f64 numbers the transforms run in kernels of their own
//! ([`subband_kernels::fft`]); elsewhere they are products with Fourier matrices ([`portable`]), which suit maps up to
//! some hundreds. Both are differentiable. All functions fail on maps without pixels.
use burn::prelude::*;
use subband_kernels::fft::{self as kernels, Factors};

use crate::SpectralError;

pub mod portable;
#[cfg(test)]
mod tests;

/// Where the factor 1 / (H W) goes; the names are those of NumPy, SciPy and PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Norm {
    /// All of it in the inverse transform.
    #[default]
    Backward,
    /// The square root of it in both, which makes both transforms unitary.
    Ortho,
    /// All of it in the forward transform.
    Forward,
}

impl Norm {
    /// a: the factor of the forward transform of `count` = H W values.
    pub fn forward(self, count: usize) -> f64 {
        match self {
            Self::Backward => 1.0,
            Self::Ortho => 1.0 / (count as f64).sqrt(),
            Self::Forward => 1.0 / count as f64,
        }
    }
    /// b: the factor of the inverse transform.
    pub fn inverse(self, count: usize) -> f64 {
        match self {
            Self::Backward => Self::Forward.forward(count),
            Self::Ortho => self.forward(count),
            Self::Forward => 1.0,
        }
    }
}

/// A complex tensor: real and imaginary parts of equal shape `[N, C, H, M]`.
///
/// M is the map's width W, or W/2 + 1 for the half spectrum of [`rfft2`].
#[derive(Debug, Clone)]
pub struct Spectrum {
    /// Real parts.
    pub re: Tensor<4>,
    /// Imaginary parts.
    pub im: Tensor<4>,
}

impl Spectrum {
    /// A spectrum of two parts; an error if their shapes differ or hold no frequency.
    pub fn new(re: Tensor<4>, im: Tensor<4>) -> Result<Self, SpectralError> {
        Self { re, im }.checked()
    }

    /// `[N, C, H, M]`.
    pub fn dims(&self) -> [usize; 4] {
        self.re.dims()
    }

    /// re^2 + im^2.
    pub fn power(&self) -> Tensor<4> {
        self.re.clone().square() + self.im.clone().square()
    }

    /// |z| = sqrt(re^2 + im^2).
    ///
    /// The gradient is z / |z|, and 0 where |z| is 0. Numbers so small that their squares vanish count as 0.
    pub fn amplitude(&self) -> Tensor<4> {
        if kernels::has_kernels(&self.re) && self.re.dtype() == self.im.dtype() {
            return kernels::amplitude(self.re.clone(), self.im.clone());
        }
        portable::amplitude(self)
    }

    /// The angle of z in (-pi, pi], 0 where z is 0.
    ///
    /// The gradient is (-im, re) / |z|^2, and 0 where |z| is 0; it grows without bound near 0, so weigh phases by
    /// amplitudes.
    pub fn phase(&self) -> Tensor<4> {
        let zero = self.power().equal_elem(0);
        let re = self.re.clone().mask_fill(zero.clone(), 1);
        self.im.clone().mask_fill(zero, 0).atan2(re)
    }

    /// The complex conjugate.
    pub fn conj(self) -> Self {
        Self { re: self.re, im: -self.im }
    }

    /// Product with a real tensor of a shape that broadcasts, such as a response `[1, 1, H, M]`.
    pub fn scale(self, factor: Tensor<4>) -> Self {
        Self { re: self.re * factor.clone(), im: self.im * factor }
    }

    fn checked(self) -> Result<Self, SpectralError> {
        if self.re.dims() != self.im.dims() {
            return Err(SpectralError::ShapeMismatch {
                what: "imaginary part of a spectrum",
                expected: self.re.dims().into(),
                found: self.im.dims().into(),
            });
        }
        not_empty(&self.re)?;
        Ok(self)
    }
}

/// Product with a complex tensor of a shape that broadcasts.
impl std::ops::Mul for Spectrum {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let re = self.re.clone() * other.re.clone() - self.im.clone() * other.im.clone();
        Self { re, im: self.re * other.im + self.im * other.re }
    }
}

/// An error for maps of height or width 0.
fn not_empty(x: &Tensor<4>) -> Result<(), SpectralError> {
    let dims = x.dims();
    if dims[2] * dims[3] == 0 { Err(SpectralError::EmptyMap { shape: dims.into() }) } else { Ok(()) }
}

/// Forward transform of complex maps.
pub fn fft2(x: Spectrum, norm: Norm) -> Result<Spectrum, SpectralError> {
    complex(x, false, Norm::forward, norm)
}

/// Inverse transform of complex maps.
pub fn ifft2(x: Spectrum, norm: Norm) -> Result<Spectrum, SpectralError> {
    complex(x, true, Norm::inverse, norm)
}

fn complex(x: Spectrum, inverse: bool, factor: fn(Norm, usize) -> f64, norm: Norm) -> Result<Spectrum, SpectralError> {
    let x = x.checked()?;
    let [_, _, h, w] = x.dims();
    let scale = factor(norm, h * w);
    if kernels::has_kernels(&x.re) {
        let (re, im) = kernels::complex(x.re, x.im, inverse, scale);
        return Ok(Spectrum { re, im });
    }
    Ok(portable::complex(x, inverse, scale))
}

/// Forward transform of real maps, with all columns: `X(-u, -v) = conj X(u, v)`.
///
/// [`rfft2`] holds the same information in half the numbers.
pub fn fft2_real(x: Tensor<4>, norm: Norm) -> Result<Spectrum, SpectralError> {
    let im = x.zeros_like();
    fft2(Spectrum { re: x, im }, norm)
}

/// Forward transform of real maps `[N, C, H, W]`: the columns 0..=W/2 of the spectrum, `[N, C, H, W/2 + 1]`.
pub fn rfft2(x: Tensor<4>, norm: Norm) -> Result<Spectrum, SpectralError> {
    not_empty(&x)?;
    let [_, _, h, w] = x.dims();
    let factors = Factors { interior: 1.0, scale: norm.forward(h * w) };
    if kernels::has_kernels(&x) {
        let (re, im) = kernels::real_to_half(x, factors);
        return Ok(Spectrum { re, im });
    }
    Ok(portable::real_to_half(x, factors))
}

/// Inverse of [`rfft2`]: real maps `[N, C, height, width]` from half spectra `[N, C, height, width/2 + 1]`.
///
/// Half spectra of no real map are taken as numpy.fft.irfft2 does: of the columns 0 and W/2 only the part that belongs
/// to a real map counts. Fails if the spectrum has not the shape for `[height, width]`.
pub fn irfft2(y: Spectrum, [height, width]: [usize; 2], norm: Norm) -> Result<Tensor<4>, SpectralError> {
    let y = y.checked()?;
    let [n, c, h, m] = y.dims();
    if h != height || m != width / 2 + 1 || width == 0 {
        return Err(SpectralError::ShapeMismatch {
            what: "half spectrum of a map",
            expected: vec![n, c, height, width / 2 + 1],
            found: y.dims().into(),
        });
    }
    let factors = Factors { interior: 2.0, scale: norm.inverse(height * width) };
    if kernels::has_kernels(&y.re) {
        return Ok(kernels::half_to_real(y.re, y.im, width, factors));
    }
    Ok(portable::half_to_real(y, width, factors))
}

/// Moves frequency 0 from index 0 to index n div 2 along each of `axes`; fails on an axis that is not there.
pub fn fftshift<const D: usize>(x: Tensor<D>, axes: &[usize]) -> Result<Tensor<D>, SpectralError> {
    rotate(x, axes, |n| n.div_ceil(2))
}

/// Inverse of [`fftshift`] (they differ for odd lengths).
pub fn ifftshift<const D: usize>(x: Tensor<D>, axes: &[usize]) -> Result<Tensor<D>, SpectralError> {
    rotate(x, axes, |n| n / 2)
}

/// Brings the index `first(n)` to the front along each axis.
fn rotate<const D: usize>(
    mut x: Tensor<D>,
    axes: &[usize],
    first: fn(usize) -> usize,
) -> Result<Tensor<D>, SpectralError> {
    for &axis in axes {
        if axis >= D {
            return Err(SpectralError::Axis { axis, rank: D });
        }
        let n = x.dims()[axis];
        let k = first(n);
        if k > 0 && k < n {
            x = Tensor::cat(vec![x.clone().narrow(axis, k, n - k), x.narrow(axis, 0, k)], axis);
        }
    }
    Ok(x)
}
