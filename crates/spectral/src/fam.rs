//! The global branch of FAM-KD's frequency attention module (arXiv 2403.05894).
//!
//! `y_o = Re F^-1(M . sum_i F(x_i) K_io)`: F is the unitary two-dimensional transform of each channel, K a complex
//! filter per pair of channels and frequency, and M a high-pass mask ([`Mask::fam_reference`] as in the published code,
//! [`Mask::fam_paper`] as in the text). The shift that the published code makes around the mask, over channels as well,
//! undoes itself and is left out.
//!
//! The module's output is `gamma_1 y + gamma_2 conv1x1(x)`; the convolution belongs to the network that uses it.
use burn::prelude::*;

use crate::fft::portable;
use crate::filter::{Layout, Mask};
use crate::{SpectralError, Spectrum};

#[cfg(test)]
mod tests;

/// The filter: x `[B, Cin, H, W]`, Re K and Im K `[Cin, Cout, H, W]` to y `[B, Cout, H, W]`.
///
/// All of K gets a gradient: a frequency and its opposite act on the same part of a real map, so both are moved; where
/// the mask is 0, the gradient is 0. On Flex one operation that keeps only its arguments for the backward pass.
pub fn filter(x: Tensor<4>, k_re: Tensor<4>, k_im: Tensor<4>, mask: &Mask) -> Result<Tensor<4>, SpectralError> {
    check(&x, k_re.dims(), k_im.dims(), mask)?;
    if has_kernels(&x, &k_re, &k_im) {
        return Ok(subband_kernels::spectral_filter::fam(x, k_re, k_im, mask.response()));
    }
    Ok(filter_portable(x, k_re, k_im, mask))
}

/// One filter per channel: x `[B, C, H, W]`, Re K and Im K `[C, H, W]` to y `[B, C, H, W]`.
///
/// C times less memory than [`filter`], for maps and widths where that one does not fit; channels do not mix.
pub fn filter_depthwise(
    x: Tensor<4>,
    k_re: Tensor<3>,
    k_im: Tensor<3>,
    mask: &Mask,
) -> Result<Tensor<4>, SpectralError> {
    check(&x, k_re.dims(), k_im.dims(), mask)?;
    if has_kernels(&x, &k_re, &k_im) {
        return Ok(subband_kernels::spectral_filter::fam(x, k_re, k_im, mask.response()));
    }
    Ok(depthwise_portable(x, k_re, k_im, mask))
}

fn has_kernels<const D: usize>(x: &Tensor<4>, re: &Tensor<D>, im: &Tensor<D>) -> bool {
    subband_kernels::fft::has_kernels(x) && x.dtype() == re.dtype() && x.dtype() == im.dtype()
}

fn check<const D: usize>(x: &Tensor<4>, re: [usize; D], im: [usize; D], mask: &Mask) -> Result<(), SpectralError> {
    mask.fits(x)?;
    let [_, channels, h, w] = x.dims();
    let mut expected = re;
    expected[0] = channels;
    expected[D - 2..].copy_from_slice(&[h, w]);
    for found in [re, im] {
        if found != expected {
            return Err(SpectralError::ShapeMismatch {
                what: "frequency attention filter",
                expected: expected.into(),
                found: found.into(),
            });
        }
    }
    Ok(())
}

/// F(x) and M times the factor of both transforms, `[1, 1, H, W]`.
fn prepare(x: Tensor<4>, mask: &Mask) -> (Spectrum, Tensor<4>) {
    let [_, _, h, w] = x.dims();
    let m = mask.tensor(Layout::Corner, &x.device(), x.dtype()).reshape([1, 1, h, w]);
    let im = x.zeros_like();
    (portable::complex(Spectrum { re: x, im }, false, 1.0), m.div_scalar((h * w) as f64))
}

/// [`filter`] from tensor operations: a matrix product per frequency.
fn filter_portable(x: Tensor<4>, k_re: Tensor<4>, k_im: Tensor<4>, mask: &Mask) -> Tensor<4> {
    let [b, cin, h, w] = x.dims();
    let cout = k_re.dims()[1];
    let (z, m) = prepare(x, mask);
    let by_frequency = |t: Tensor<4>, rows: usize, columns: usize| t.reshape([rows, columns, h * w]).permute([2, 0, 1]);
    let [zr, zi] = [z.re, z.im].map(|t| by_frequency(t, b, cin));
    let [kr, ki] = [k_re, k_im].map(|t| by_frequency(t * m.clone(), cin, cout));
    let back = |t: Tensor<3>| t.permute([1, 2, 0]).reshape([b, cout, h, w]);
    let re = back(zr.clone().matmul(kr.clone()) - zi.clone().matmul(ki.clone()));
    let im = back(zr.matmul(ki) + zi.matmul(kr));
    portable::complex(Spectrum { re, im }, true, 1.0).re
}

/// [`filter_depthwise`] from tensor operations.
fn depthwise_portable(x: Tensor<4>, k_re: Tensor<3>, k_im: Tensor<3>, mask: &Mask) -> Tensor<4> {
    let (z, m) = prepare(x, mask);
    let [re, im] = [k_re, k_im].map(|t| t.unsqueeze::<4>() * m.clone());
    portable::complex(z * Spectrum { re, im }, true, 1.0).re
}
