//! The learned global filter of FAM-KD: its frequency attention module.
//!
//! Pham et al. (WACV 2024), section 3.1, equation 4. With Z = FFT(x) (orthonormal, as in the released code; the paper's scaling
//! only rescales K's learning rate), a learned complex K and a high-pass mask h of zeros and ones:
//!
//! `FAM(x)_o = g1 Re IFFT(h sum_i Z_i K_io) + g2 (W x + b)_o`.
//!
//! K starts with real and imaginary parts uniform in [0, 1) / (C_in C_out), g1 and g2 at 0.5. K need not be Hermitian,
//! hence the real part.
use burn::module::Param;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_spectral::{Mask, SpectralError, fam};

use crate::{Conv, Init, Parameters};

/// The learned filter in the frequency domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterKind {
    /// K of C_in x C_out x H x W complex numbers, as in paper and code.
    Dense,
    /// K_io(u,v) = M_io D_i(u,v): C_in x H x W complex and C_in x C_out real numbers. An extension that saves memory.
    Depthwise,
}

/// The ideal high-pass after the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HighPassKind {
    /// The centred square [c - r, c + r) per axis, c = floor(N/2), r = floor(0.1 c): nothing below N = 20.
    Square,
    /// The 1 % of the bins (rounded) with the lowest radius.
    Rank,
    /// No bin is removed.
    None,
}

/// The module for one size of map.
#[derive(Module, Debug)]
pub struct FrequencyAttention {
    /// Real part of K `[C_in, C_out, H, W]`, or of D `[1, C_in, H, W]` (depthwise).
    filter_re: Param<Tensor<4>>,
    /// Imaginary part.
    filter_im: Param<Tensor<4>>,
    /// M of the depthwise form.
    mix: Option<Conv>,
    local: Conv,
    gamma_global: Param<Tensor<1>>,
    gamma_local: Param<Tensor<1>>,
    #[module(skip)]
    mask: Mask,
}

impl FrequencyAttention {
    /// From `channels` C_in to C_out on maps of one `size` (height, width).
    pub fn new(
        parameters: &Parameters,
        channels: [usize; 2],
        size: (usize, usize),
        filter: FilterKind,
        high_pass: HighPassKind,
    ) -> Self {
        let [input, output] = channels;
        let scale = 1.0 / (input * output) as f64;
        // The factors of the depthwise form have the product's mean in M.
        let (shape, top, mix) = match filter {
            FilterKind::Dense => ([input, output, size.0, size.1], scale, None),
            FilterKind::Depthwise => {
                let init = Init::Uniform(0.0, 2.0 * scale);
                ([1, input, size.0, size.1], 1.0, Some(Conv::new(&parameters.part("mix"), channels, 1, init)))
            }
        };
        let local = parameters.part("local");
        Self {
            filter_re: parameters.tensor("filter_re", shape, Init::Uniform(0.0, top)),
            filter_im: parameters.tensor("filter_im", shape, Init::Uniform(0.0, top)),
            mix,
            local: Conv::new(&local, channels, 1, Init::torch_default(input)).with_bias(&local),
            gamma_global: parameters.tensor("gamma_global", [1], Init::Constant(0.5)),
            gamma_local: parameters.tensor("gamma_local", [1], Init::Constant(0.5)),
            mask: high_pass_mask(size, high_pass),
        }
    }

    /// Elements of the largest tensor for a batch: the filter folded to the half spectrum, real and imaginary parts, or
    /// the half spectra of the maps (both without the filling to whole vectors).
    pub(crate) fn largest_temporary(
        batch: usize,
        [input, output]: [usize; 2],
        (h, w): (usize, usize),
        filter: FilterKind,
    ) -> usize {
        let spectrum = 2 * h * (w / 2 + 1);
        let folded = match filter {
            FilterKind::Dense => input * output * spectrum,
            FilterKind::Depthwise => input * spectrum,
        };
        folded.max(batch * input.max(output) * spectrum)
    }

    /// FAM(x).
    ///
    /// # Shapes
    /// `[N, C_in, H, W]` to `[N, C_out, H, W]`, (H, W) as built.
    pub fn forward(&self, x: Tensor<4>) -> Result<Tensor<4>, SpectralError> {
        let gamma = |g: &Param<Tensor<1>>| g.val().reshape([1, 1, 1, 1]);
        let global = self.global(x.clone())?;
        Ok(global * gamma(&self.gamma_global) + self.local.forward(x) * gamma(&self.gamma_local))
    }

    /// Re IFFT(h sum_i Z_i K_io).
    fn global(&self, x: Tensor<4>) -> Result<Tensor<4>, SpectralError> {
        let (re, im) = (self.filter_re.val(), self.filter_im.val());
        match &self.mix {
            None => fam::filter(x, re, im, &self.mask),
            Some(mix) => {
                let [_, channels, h, w] = re.dims();
                let shape = [channels, h, w];
                let filtered = fam::filter_depthwise(x, re.reshape(shape), im.reshape(shape), &self.mask)?;
                Ok(mix.forward(filtered))
            }
        }
    }
}

/// The bins that pass.
pub(crate) fn high_pass_mask(size: (usize, usize), kind: HighPassKind) -> Mask {
    let size = [size.0, size.1];
    match kind {
        HighPassKind::None => Mask::from_fn(size, |_| 1.0),
        HighPassKind::Square => Mask::fam_reference(size),
        HighPassKind::Rank => Mask::fam_paper(size, 0.01),
    }
}
