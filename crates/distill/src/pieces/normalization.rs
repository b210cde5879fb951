//! Normalisations of maps `x: [N, C, H, W]` before they are compared.
//!
//! | name | formula | used by |
//! |---|---|---|
//! | `none` | x | |
//! | `mean-l2` | z = x - mean over H, W of each (n, c); then `z / max(\|z\|_2 over c, 1e-12)` at each place | FreqKD |
//! | `l2` | `x / max(\|x\|_2 over c, 1e-12)` at each place | UFD-KD's spatial branch |
//! | `batch` | (x - mean_c) / sqrt(var_c + 1e-5), over N, H, W, biased variance | FourierKD |
//! | `standardize` | (x - mean_c) / (std_c + 1e-6), over N, H, W, unbiased (one value: 0) | PKD |
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// A normalisation; formulas in the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// As it is.
    #[default]
    None,
    /// Spatial mean removed, then unit length over channels.
    MeanL2,
    /// Unit length over channels.
    L2,
    /// Mean 0 and variance 1 of each channel over batch and space.
    Batch,
    /// Mean 0 and unbiased standard deviation 1 of each channel over batch and space.
    Standardize,
}

impl Normalization {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MeanL2 => "mean-l2",
            Self::L2 => "l2",
            Self::Batch => "batch",
            Self::Standardize => "standardize",
        }
    }

    /// Normalises.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same.
    pub fn apply(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => x,
            Self::MeanL2 => {
                let mean = x.clone().mean_dim(3).mean_dim(2);
                unit_length(x - mean, 1)
            }
            Self::L2 => unit_length(x, 1),
            Self::Batch => {
                let (centred, variance, _) = centred(x);
                centred / (variance + 1e-5).sqrt()
            }
            Self::Standardize => {
                let (centred, variance, count) = centred(x);
                let variance = variance * (count as f64 / count.saturating_sub(1).max(1) as f64);
                centred / (root(variance) + 1e-6)
            }
        }
    }
}

/// x / max(|x|_2, 1e-12), the length taken along an axis. The bound is under the root: its gradient at zero is zero
/// instead of infinite.
pub(crate) fn unit_length<const D: usize>(x: Tensor<D>, axis: usize) -> Tensor<D> {
    let squared = x.clone().square().sum_dim(axis);
    x / squared.clamp_min(1e-24).sqrt()
}

/// A square root whose gradient at 0 is 0 instead of infinite.
fn root(x: Tensor<4>) -> Tensor<4> {
    x.clamp_min(1e-24).sqrt()
}

/// x minus its channel means, the biased channel variances `[1, C, 1, 1]`, and the number of values in each.
fn centred(x: Tensor<4>) -> (Tensor<4>, Tensor<4>, usize) {
    let [n, _, h, w] = x.dims();
    let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).mean_dim(0);
    let centred = x.clone() - mean(x);
    let variance = mean(centred.clone().square());
    (centred, variance, n * h * w)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{fixture, gradient_error, values, wave};

    const ALL: [(Normalization, &str); 5] = [
        (Normalization::None, "none"),
        (Normalization::MeanL2, "mean-l2"),
        (Normalization::L2, "l2"),
        (Normalization::Batch, "batch"),
        (Normalization::Standardize, "standardize"),
    ];

    #[test]
    fn values_match_the_oracle() {
        for (normalization, name) in ALL.into_iter().skip(1) {
            let found = values(normalization.apply(wave([2, 3, 4, 5], 0.2, 0.37)));
            let expected = fixture(&format!("normalization.{name}"));
            let error = found.iter().step_by(7).zip(&expected).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
            assert_eq!(expected.len(), found.len().div_ceil(7));
            assert!(error < 1e-9, "{name}: {error}");
        }
    }

    #[test]
    fn gradients_match_at_odd_sizes() {
        for (normalization, name) in ALL {
            for [n, c, h, w] in [[2, 3, 4, 5], [1, 2, 3, 1], [2, 4, 1, 1], [1, 1, 5, 7]] {
                let weights = wave([n, c, h, w], 0.7, 1.21);
                let loss = |x: Tensor<4>| (normalization.apply(x) * weights.clone()).sum();
                let error = gradient_error(wave([n, c, h, w], 0.3, 0.91), loss);
                // One channel has length |x|: x / |x| is a sign, whose gradient is 0 up to rounding.
                assert!(error < 1e-6, "{name} {n}x{c}x{h}x{w}: {error}");
            }
        }
    }

    #[test]
    fn a_constant_map_stays_finite() {
        for (normalization, name) in ALL {
            let x = wave([1, 2, 1, 1], 0.4, 0.37).detach().require_grad();
            let y = normalization.apply(x.clone());
            let gradient = x.grad(&y.clone().sum().backward());
            assert!(values(y).iter().all(|v| v.is_finite()), "{name}");
            assert!(gradient.is_some_and(|g| g.into_data().iter::<f64>().all(f64::is_finite)), "{name}");
        }
    }

    #[test]
    fn names_are_those_of_recipes() {
        for (normalization, name) in ALL {
            let value: toml::Value = toml::Value::try_from(normalization).unwrap();
            assert_eq!((value.as_str(), normalization.name()), (Some(name), name));
        }
    }
}
