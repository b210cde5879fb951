//! The weighted spectrum of the focal frequency loss (Jiang et al., ICCV 2021, arXiv 2012.12821).
//!
//! With `D = F(d)` the orthonormal Fourier transform of a difference d, `W |D|^2` at each frequency, where W is
//! `|D|^alpha` divided by its largest value on the map, without a gradient. The transform of a real map is symmetric: the
//! columns 0..=W/2 are formed, weighted so that their mean is that of all.
use burn::prelude::*;
use burn::tensor::TensorData;
use subband_spectral::fft::{Norm, rfft2};

use crate::DistillError;

/// The weight's exponent and the options of the source's code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Focal {
    /// Exponent of the weight, 0 or more.
    pub alpha: f64,
    /// Whether D is averaged over the batch first.
    pub ave_spectrum: bool,
    /// Whether W is ln(1 + |D|^alpha) before it is scaled.
    pub log_matrix: bool,
    /// Whether the largest value is that of the whole batch instead of each map's.
    pub batch_matrix: bool,
    /// Patches along each axis, each with a spectrum of its own; must divide height and width.
    pub patch_factor: usize,
}

impl Default for Focal {
    fn default() -> Self {
        Self { alpha: 1.0, ave_spectrum: false, log_matrix: false, batch_matrix: false, patch_factor: 1 }
    }
}

impl Focal {
    /// Why this is not usable, if so.
    pub fn problem(self) -> Option<String> {
        if !(self.alpha >= 0.0 && self.alpha.is_finite()) {
            return Some(format!("`alpha = {}` must be 0 or more (usual: 1)", self.alpha));
        }
        (self.patch_factor == 0).then(|| "`patch_factor = 0` must be at least 1 (1: the whole map)".to_string())
    }

    /// W |D|^2, so weighted that the mean of the elements is that over the whole spectrum.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to `[M, C p^2, H/p, W/p/2 + 1]` with p patches along each axis and M = N, or 1 for the average
    /// spectrum.
    pub fn elements_of(self, d: Tensor<4>) -> Result<Tensor<4>, DistillError> {
        let d = if self.ave_spectrum { d.mean_dim(0) } else { d };
        let d = self.patches(d);
        let counts = multiplicity(&d);
        let power = rfft2(d, Norm::Ortho)?.power();
        let weight = self.weight(power.clone().detach());
        Ok(power * (weight * counts))
    }

    /// The p x p patches of each channel as channels.
    fn patches(self, d: Tensor<4>) -> Tensor<4> {
        let ([n, c, h, w], p) = (d.dims(), self.patch_factor);
        if p == 1 {
            return d;
        }
        let cut = d.reshape([n, c, p, h / p, p, w / p]).permute([0, 1, 2, 4, 3, 5]);
        cut.reshape([n, c * p * p, h / p, w / p])
    }

    /// W in [0, 1] from |D|^2. W grows with |D|, so its largest value is that of the largest |D|: the ratio is taken
    /// before the power, which then neither overflows nor vanishes, however large alpha is.
    fn weight(self, power: Tensor<4>) -> Tensor<4> {
        let [n, c, h, half] = power.dims();
        let largest = if self.batch_matrix {
            power.clone().max().reshape([1, 1, 1, 1])
        } else {
            power.clone().reshape([n, c, h * half]).max_dim(2).reshape([n, c, 1, 1])
        };
        if self.log_matrix {
            return (self.log_of_log(power) - self.log_of_log(largest)).exp();
        }
        let share = power / largest.clamp_min(f64::from(f32::MIN_POSITIVE));
        if self.alpha == 2.0 { share } else { share.powf_scalar(self.alpha / 2.0) }
    }

    /// ln ln(1 + |D|^alpha) from |D|^2, with t = alpha ln |D|:
    ///
    /// ```text
    /// ln(1 + e^t) = max(t, 0) + ln(1 + e^-|t|)       ln ln(1 + e^t) = t + O(e^t), for t < -20 t itself
    /// ```
    fn log_of_log(self, power: Tensor<4>) -> Tensor<4> {
        let t = power.clamp_min(f64::from(f32::MIN_POSITIVE)).log() * (self.alpha / 2.0);
        let near = t.clone().clamp_min(-20.0);
        let soft = near.clone().clamp_min(0.0) + near.abs().neg().exp().log1p();
        soft.log() + (t + 20.0).clamp_max(0.0)
    }
}

/// How often each column of the half spectrum of `d` stands in the whole one, scaled to mean 1: `[1, 1, 1, W/2 + 1]`.
fn multiplicity(d: &Tensor<4>) -> Tensor<4> {
    let width = d.dims()[3];
    let half = width / 2 + 1;
    let times = |v: usize| if v == 0 || 2 * v == width { 1.0 } else { 2.0 };
    let counts: Vec<f64> = (0..half).map(|v| times(v) * half as f64 / width as f64).collect();
    Tensor::from_data(TensorData::new(counts, [1, 1, 1, half]), (&d.device(), d.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{gradient_error, scalar, single, values, wave};
    use crate::pieces::distance::Reduction;

    fn options() -> Vec<Focal> {
        let plain = Focal::default();
        vec![
            plain,
            Focal { alpha: 2.0, log_matrix: true, ..plain },
            Focal { batch_matrix: true, ..plain },
            Focal { ave_spectrum: true, ..plain },
        ]
    }

    #[test]
    fn the_weight_is_a_constant_of_the_gradient() {
        for focal in options() {
            for shape in [[2, 3, 4, 5], [1, 2, 1, 1], [2, 1, 7, 3], [1, 2, 6, 4]] {
                let d = wave(shape, 0.3, 0.91);
                // The same sum with the weights of this very point held fixed has the gradient that autodiff must give.
                let spectrum = |d: Tensor<4>| {
                    let d = if focal.ave_spectrum { d.mean_dim(0) } else { d };
                    let counts = multiplicity(&d);
                    (rfft2(d, Norm::Ortho).unwrap().power(), counts)
                };
                let fixed = focal.weight(spectrum(d.clone()).0.detach());
                let frozen = |x: Tensor<4>| {
                    let (power, counts) = spectrum(x);
                    Reduction::Sum.apply(power * fixed.clone() * counts)
                };
                let leaf = d.clone().detach().require_grad();
                let value = Reduction::Sum.apply(focal.elements_of(leaf.clone()).unwrap());
                assert!((scalar(value.clone()) - scalar(frozen(d.clone()))).abs() < 1e-12);
                let gradient = values(Tensor::<4>::from_inner(leaf.grad(&value.backward()).unwrap()));
                let leaf = d.clone().detach().require_grad();
                let expected = values(Tensor::<4>::from_inner(leaf.grad(&frozen(leaf.clone()).backward()).unwrap()));
                assert!(gradient.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{focal:?} {shape:?}");
                assert!(gradient_error(d, frozen) < 1e-6, "{focal:?} {shape:?}");
            }
        }
    }

    #[test]
    fn large_and_small_differences_keep_their_weights_at_any_exponent() {
        for size in [500.0, 1e-3] {
            for log_matrix in [false, true] {
                for alpha in [1.0, 16.0, 20.0] {
                    let focal = Focal { alpha, log_matrix, ..Default::default() };
                    let d = wave([2, 3, 4, 5], 0.3, 0.91) * size;
                    let power = rfft2(d, Norm::Ortho).unwrap().power();
                    let weight = values(focal.weight(single(power.clone())));
                    for (map, power) in weight.chunks(12).zip(values(power).chunks(12)) {
                        let largest = power.iter().fold(0.0_f64, |m, p| m.max(*p));
                        // |D|^alpha stays within the range of f64 here.
                        let raw = |p: f64| p.powf(alpha / 2.0);
                        let raw = |p: f64| if log_matrix { raw(p).ln_1p() } else { raw(p) };
                        assert_eq!(map.iter().fold(0.0_f64, |m, w| m.max(*w)), 1.0, "{focal:?} {size}");
                        for (w, p) in map.iter().zip(power) {
                            let expected = raw(*p) / raw(largest);
                            assert!((w - expected).abs() < 1e-4, "{focal:?} {size}: {w} for {expected}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn equal_maps_cost_nothing_and_stay_finite() {
        for focal in options() {
            let x = wave([2, 2, 3, 4], 0.0, 0.0).detach().require_grad();
            let value = Reduction::Mean.apply(focal.elements_of(x.clone()).unwrap());
            assert_eq!(scalar(value.clone()), 0.0);
            assert!(values(Tensor::<4>::from_inner(x.grad(&value.backward()).unwrap())).iter().all(|g| *g == 0.0));
        }
    }

    #[test]
    fn a_bad_parameter_names_itself() {
        assert!(Focal { alpha: f64::NAN, ..Default::default() }.problem().is_some_and(|p| p.contains("alpha")));
        assert!(Focal { patch_factor: 0, ..Default::default() }.problem().is_some_and(|p| p.contains("patch")));
        assert!(Focal::default().problem().is_none());
    }
}
