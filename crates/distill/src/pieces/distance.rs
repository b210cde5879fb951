//! Distances between two maps a and b, `[N, C, H, W]` each: one number e per element, then a [`Reduction`].
//!
//! | name | element | of a - b alone |
//! |---|---|---|
//! | `l1` | \|a - b\| | yes |
//! | `mse` | (a - b)^2 | yes |
//! | `smooth-l1` | d^2 / 2 for d = \|a - b\| < 1, else d - 1/2 | yes |
//! | `log-mse` | (ln(1 + \|a\|) - ln(1 + \|b\|))^2: FreqKD's relaxed comparison, blind to the sign | no |
//! | `signed-log-mse` | (g(a) - g(b))^2 with g(z) = sgn(z) ln(1 + \|z\|): FD-CMKD's | no |
//! | `cosine` | 1 - <a, b> / (\|a\| \|b\|), the vectors over channels, lengths at least 1e-8; `[N, 1, H, W]` | no |
//! | `gaussian-spectrum` | G \|F(a - b)\|^2 at each frequency, F orthonormal | yes |
//! | `focal-frequency` | W \|F(a - b)\|^2, W = \|F(a - b)\|^alpha over its maximum on the map, without gradient | yes |
//!
//! G(f) = exp(-\|f\|^2 / (2 s^2)) for `pass = "low"`, 1 - G for `"high"`, with s = `sigma` min(H, W) bins. The elements of
//! `gaussian-spectrum` are given in space: by Parseval's theorem the squares of the map filtered with sqrt(G) have the
//! same sum. Those of `focal-frequency` ([`super::focal`]) are given on the half spectrum, so weighted that their mean
//! is that of the whole one.
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use subband_spectral::filter::{self, Mask, Pass};

use super::focal::Focal;
use crate::DistillError;

/// Which end of the spectrum a Gaussian weight keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GaussianPass {
    /// G: low frequencies.
    Low,
    /// 1 - G: high frequencies.
    High,
}

/// A distance; formulas in the [module](self). In recipes `"mse"` or `{ gaussian-spectrum = { sigma = 0.25, pass = "low" } }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distance {
    /// Absolute difference.
    L1,
    /// Squared difference.
    #[default]
    Mse,
    /// Squared below 1, absolute above.
    SmoothL1,
    /// Squared difference of logarithmic magnitudes.
    LogMse,
    /// Squared difference of signed logarithms.
    SignedLogMse,
    /// One minus the cosine of the channel vectors.
    Cosine,
    /// Spectrum of the difference under a Gaussian weight.
    GaussianSpectrum {
        /// Standard deviation as a share of min(H, W), above 0.
        sigma: f64,
        /// `low` or `high`.
        pass: GaussianPass,
    },
    /// Spectrum of the difference, large components weighted up.
    FocalFrequency {
        /// Exponent of the weight, 0 or more; 1 in the source.
        alpha: f64,
    },
}

impl Distance {
    /// Why this is not a usable distance, if so.
    pub fn problem(self) -> Option<String> {
        match self {
            Self::GaussianSpectrum { sigma, .. } if !(sigma > 0.0 && sigma.is_finite()) => {
                Some(format!("`sigma = {sigma}` must be above 0 (a share of the map's size)"))
            }
            Self::FocalFrequency { alpha } => Focal { alpha, ..Default::default() }.problem(),
            _ => None,
        }
    }

    /// Whether only a - b matters, so that a linear transform need be applied to the difference alone.
    pub fn of_difference(self) -> bool {
        !matches!(self, Self::LogMse | Self::SignedLogMse | Self::Cosine)
    }

    /// The elements.
    ///
    /// # Shapes
    /// Two maps `[N, C, H, W]` to one of the shape that the [module](self) names.
    pub fn elements(self, a: Tensor<4>, b: Tensor<4>) -> Result<Tensor<4>, DistillError> {
        match self {
            Self::LogMse => Ok((a.abs().log1p() - b.abs().log1p()).square()),
            Self::SignedLogMse => Ok((signed_log(a) - signed_log(b)).square()),
            Self::Cosine => {
                let length = |x: &Tensor<4>| x.clone().square().sum_dim(1).clamp_min(1e-16).sqrt();
                let lengths = length(&a) * length(&b);
                Ok(1.0 - (a * b).sum_dim(1) / lengths)
            }
            of_difference => of_difference.elements_of(a - b),
        }
    }

    /// The elements of a difference d = a - b, for distances that are functions of it ([`Distance::of_difference`]);
    /// for the others those of d against 0.
    pub fn elements_of(self, d: Tensor<4>) -> Result<Tensor<4>, DistillError> {
        match self {
            Self::L1 => Ok(d.abs()),
            Self::Mse => Ok(d.square()),
            Self::SmoothL1 => {
                let size = d.abs();
                let square = size.clone().clamp_max(1.0);
                // min(d, 1)^2 / 2 + max(d - 1, 0): both branches without a condition.
                Ok(square.square() * 0.5 + (size - 1.0).clamp_min(0.0))
            }
            Self::GaussianSpectrum { sigma, pass } => {
                let [_, _, h, w] = d.dims();
                let bell = Pass::Gaussian(sigma * h.min(w) as f64);
                let mask = match pass {
                    GaussianPass::Low => Mask::low([h, w], bell)?,
                    GaussianPass::High => Mask::high([h, w], bell)?,
                };
                Ok(filter::apply(d, &mask.root())?.square())
            }
            Self::FocalFrequency { alpha } => Focal { alpha, ..Default::default() }.elements_of(d),
            Self::LogMse | Self::SignedLogMse | Self::Cosine => {
                let zero = d.zeros_like();
                self.elements(d, zero)
            }
        }
    }
}

/// s ln(1 + s z), s the sign of z, 1 for 0: its slope at 0 is 1, which |z| times a sign of 0 would not have.
fn signed_log(z: Tensor<4>) -> Tensor<4> {
    let sign = z.ones_like().mask_fill(z.clone().lower_scalar(0.0), -1.0);
    (z * sign.clone()).log1p() * sign
}

/// One number from the elements of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum over N.
    BatchMean,
}

impl Reduction {
    /// Reduces `[N, ...]` to `[1]`. Each sample is summed for itself first, so that the order of the additions does not
    /// depend on the number of threads.
    pub fn apply(self, elements: Tensor<4>) -> Tensor<1> {
        let (n, count) = (elements.dims()[0].max(1), elements.shape().num_elements());
        let sum = elements.reshape([n, count / n]).sum_dim(1).sum();
        match self {
            Self::Mean => sum / count.max(1) as f64,
            Self::Sum => sum,
            Self::BatchMean => sum / n as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{fixture, gradient_error, scalar, values, wave};

    const ALL: [(Distance, &str); 9] = [
        (Distance::L1, "l1"),
        (Distance::Mse, "mse"),
        (Distance::SmoothL1, "smooth-l1"),
        (Distance::LogMse, "log-mse"),
        (Distance::SignedLogMse, "signed-log-mse"),
        (Distance::Cosine, "cosine"),
        (Distance::GaussianSpectrum { sigma: 0.25, pass: GaussianPass::Low }, "gaussian-low"),
        (Distance::GaussianSpectrum { sigma: 0.1, pass: GaussianPass::High }, "gaussian-high"),
        (Distance::FocalFrequency { alpha: 1.0 }, "focal"),
    ];

    #[test]
    fn values_match_the_oracle() {
        let (a, b) = (wave([2, 3, 4, 5], 0.2, 0.37) * 2.0, wave([2, 3, 4, 5], 1.3, 0.41));
        for (distance, name) in ALL {
            let value = scalar(Reduction::Mean.apply(distance.elements(a.clone(), b.clone()).unwrap()));
            let expected = fixture(&format!("distance.{name}"))[0];
            assert!((value - expected).abs() < 1e-12, "{name}: {value} {expected}");
        }
    }

    #[test]
    fn gradients_match_at_odd_sizes() {
        for (distance, name) in ALL {
            // The focal weight is a constant of the gradient but not of a finite difference: alpha 0 checks the rest.
            let distance = if name == "focal" { Distance::FocalFrequency { alpha: 0.0 } } else { distance };
            for [n, c, h, w] in [[2, 3, 4, 5], [1, 2, 1, 1], [1, 1, 3, 7], [2, 2, 9, 4]] {
                let b = wave([n, c, h, w], 1.3, 0.41);
                let of = |a: Tensor<4>, b: Tensor<4>| Reduction::Sum.apply(distance.elements(a, b).unwrap());
                let a = wave([n, c, h, w], 0.3, 0.91) * 2.0;
                assert!(gradient_error(a.clone(), |a| of(a, b.clone())) < 2e-6, "{name} {n}x{c}x{h}x{w}");
                assert!(gradient_error(b.clone(), |b| of(a.clone(), b)) < 2e-6, "{name} {n}x{c}x{h}x{w}");
            }
        }
    }

    #[test]
    fn the_signed_logarithm_has_slope_one_at_zero() {
        // (g(0) - g(1))^2 has the derivative 2 (0 - ln 2) g'(0).
        let at_zero = |distance: Distance| {
            let a = Tensor::<4>::from_inner(wave([1, 1, 1, 2], 0.0, 0.0).inner()).require_grad();
            let value = Reduction::Sum.apply(distance.elements(a.clone(), a.ones_like()).unwrap());
            values(Tensor::<4>::from_inner(a.grad(&value.backward()).unwrap()))
        };
        let expected = -2.0 * std::f64::consts::LN_2;
        assert!(at_zero(Distance::SignedLogMse).iter().all(|g| (g - expected).abs() < 1e-14));
        // Also where only some elements are 0: finite differences there.
        let ramp = Tensor::<4>::from_inner((wave([1, 2, 2, 3], 0.3, 0.91) * 3.0).int().float().inner());
        let b = wave([1, 2, 2, 3], 1.3, 0.41);
        let of = |a: Tensor<4>| Reduction::Sum.apply(Distance::SignedLogMse.elements(a, b.clone()).unwrap());
        let ramp = ramp.cast(burn::tensor::DType::F64);
        assert!(values(ramp.clone()).contains(&0.0));
        // The curvature of g jumps at 0, so that the central difference is off by a term of the step.
        assert!(gradient_error(ramp, of) < 1e-4);
    }

    #[test]
    fn distances_of_a_difference_are_just_that() {
        let (a, b) = (wave([2, 3, 4, 5], 0.2, 0.37), wave([2, 3, 4, 5], 1.3, 0.41));
        for (distance, name) in ALL {
            let two = scalar(Reduction::Sum.apply(distance.elements(a.clone(), b.clone()).unwrap()));
            let one = scalar(Reduction::Sum.apply(distance.elements_of(a.clone() - b.clone()).unwrap()));
            assert_eq!((two - one).abs() < 1e-12, distance.of_difference(), "{name}: {two} {one}");
            let none = scalar(Reduction::Sum.apply(distance.elements(a.clone(), a.clone()).unwrap()));
            assert!(none.abs() < 1e-12, "{name} of equal maps: {none}");
        }
    }

    #[test]
    fn reductions_differ_by_their_counts() {
        let e = wave([2, 3, 4, 5], 0.2, 0.37).square();
        let [mean, sum, batch] =
            [Reduction::Mean, Reduction::Sum, Reduction::BatchMean].map(|r| scalar(r.apply(e.clone())));
        assert!((sum / 120.0 - mean).abs() < 1e-14 && (sum / 2.0 - batch).abs() < 1e-13);
    }

    #[test]
    fn a_bad_parameter_names_itself() {
        let flat = Distance::GaussianSpectrum { sigma: 0.0, pass: GaussianPass::Low };
        assert!(flat.problem().is_some_and(|p| p.contains("sigma = 0")));
        assert!(Distance::FocalFrequency { alpha: -1.0 }.problem().is_some_and(|p| p.contains("alpha = -1")));
        assert!(ALL.iter().all(|(d, _)| d.problem().is_none()));
    }
}
