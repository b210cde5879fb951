//! The frequency attention module.
//!
//! Section 3.1 of the paper, equation 4. With Z = FFT(x) (orthonormal, as in the released code; the paper's scaling
//! only rescales K's learning rate), a learned complex K and a high-pass mask h of zeros and ones:
//!
//! `FAM(x)_o = g1 Re IFFT(h sum_i Z_i K_io) + g2 (W x + b)_o`.
//!
//! K starts with real and imaginary parts uniform in [0, 1) / (C_in C_out), g1 and g2 at 0.5. K need not be Hermitian,
//! hence the real part.
use burn::module::Param;
use burn::prelude::*;

use super::config::{FilterKind, HighPassKind};
use super::spectrum::{Complex, inverse_real, mix, transform};
use crate::{Conv, Init, Parameters};

/// The module for one size of map.
#[derive(Module, Debug)]
pub(super) struct FrequencyAttention {
    /// Real part of K `[C_in, C_out, H, W]`, or of D `[1, C_in, H, W]` (depthwise).
    filter_re: Param<Tensor<4>>,
    /// Imaginary part.
    filter_im: Param<Tensor<4>>,
    /// M of the depthwise form.
    mix: Option<Conv>,
    local: Conv,
    gamma_global: Param<Tensor<1>>,
    gamma_local: Param<Tensor<1>>,
    /// Bins of the (unshifted) spectrum that pass: 1 or 0, row by row.
    #[module(skip)]
    mask: Vec<f32>,
}

impl FrequencyAttention {
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

    /// # Shapes
    /// `[N, C_in, H, W]` to `[N, C_out, H, W]`, (H, W) as built.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let gamma = |g: &Param<Tensor<1>>| g.val().reshape([1, 1, 1, 1]);
        let global = self.global(x.clone());
        global * gamma(&self.gamma_global) + self.local.forward(x) * gamma(&self.gamma_local)
    }

    /// Re IFFT(h sum_i Z_i K_io).
    fn global(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let mask = TensorData::new(self.mask.clone(), [1, 1, h, w]);
        let mask: Tensor<4> = Tensor::from_data(mask, (&x.device(), x.dtype()));
        let (re, im) = (self.filter_re.val(), self.filter_im.val());
        let z = transform(x);
        match &self.mix {
            None => {
                let y = mix(z, Complex { re, im });
                inverse_real(Complex { re: y.re * mask.clone(), im: y.im * mask })
            }
            Some(conv) => {
                let (re, im) = (re * mask.clone(), im * mask);
                let y_re = z.re.clone() * re.clone() - z.im.clone() * im.clone();
                let y_im = z.re * im + z.im * re;
                conv.forward(inverse_real(Complex { re: y_re, im: y_im }))
            }
        }
    }
}

/// 1 for the bins of the unshifted spectrum that pass, 0 for the lowest ones, `H * W` values.
pub(super) fn high_pass_mask(size: (usize, usize), kind: HighPassKind) -> Vec<f32> {
    let (height, width) = size;
    let mut mask = vec![1.0; height * width];
    // Signed frequency of a bin, from -floor(N/2).
    let frequency = |bin: usize, n: usize| if bin < n.div_ceil(2) { bin as i64 } else { bin as i64 - n as i64 };
    let bins = (0..height * width).map(|k| (frequency(k / width, height), frequency(k % width, width)));
    match kind {
        HighPassKind::None => {}
        HighPassKind::Square => {
            let inside = |f: i64, n: usize| {
                let r = (n / 2 / 10) as i64;
                -r <= f && f < r
            };
            for (k, _) in bins.enumerate().filter(|(_, (u, v))| inside(*u, height) && inside(*v, width)) {
                mask[k] = 0.0;
            }
        }
        HighPassKind::Rank => {
            // Radius in cycles per pixel, squared and in whole numbers; ties in reading order.
            let radius = |(u, v): (i64, i64)| (u * width as i64).pow(2) + (v * height as i64).pow(2);
            let mut order: Vec<(i64, usize)> = bins.enumerate().map(|(k, f)| (radius(f), k)).collect();
            order.sort_unstable();
            let removed = (height * width + 50) / 100;
            order[..removed].iter().for_each(|&(_, k)| mask[k] = 0.0);
        }
    }
    mask
}
