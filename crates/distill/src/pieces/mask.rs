//! Masks: factors on the elements of a distance.
//!
//! - `none`: 1.
//! - `focal`: M = (|a - b| / max over the map)^alpha, without gradient: what differs most counts most, band by band and
//!   channel by channel. (The frequency form of the same thought is the distance `focal-frequency`.)
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// A mask; formulas in the [module](self). In recipes `"none"` or `{ focal = { alpha = 1.0 } }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mask {
    /// All elements count alike.
    #[default]
    None,
    /// Elements count by how much they differ.
    Focal {
        /// Exponent, 0 or more.
        alpha: f64,
    },
}

impl Mask {
    /// Why this is not a usable mask, if so.
    pub fn problem(self) -> Option<String> {
        match self {
            Self::Focal { alpha } if !(alpha >= 0.0 && alpha.is_finite()) => {
                Some(format!("`alpha = {alpha}` must be 0 or more"))
            }
            _ => None,
        }
    }

    /// The factors for elements of the difference `d`, if there are any.
    ///
    /// # Shapes
    /// `[N, C, H, W]` to the same, in [0, 1], without a gradient.
    pub fn of_difference(self, d: &Tensor<4>) -> Option<Tensor<4>> {
        let Self::Focal { alpha } = self else { return None };
        let [n, c, h, w] = d.dims();
        let size = d.clone().detach().abs();
        let largest = size.clone().reshape([n, c, h * w]).max_dim(2).reshape([n, c, 1, 1]);
        // Equal maps: 0 / tiny = 0.
        Some((size / largest.clamp_min(f64::from(f32::MIN_POSITIVE))).powf_scalar(alpha))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{values, wave};

    #[test]
    fn the_largest_difference_of_each_map_counts_fully() {
        let d = wave([2, 3, 4, 5], 0.2, 0.37);
        let mask = values(Mask::Focal { alpha: 2.0 }.of_difference(&d).unwrap());
        for (map, d) in mask.chunks(20).zip(values(d).chunks(20)) {
            let largest = d.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            assert!(map.iter().zip(d).all(|(m, d)| (m - (d / largest).powi(2)).abs() < 1e-12));
        }
    }

    #[test]
    fn equal_maps_have_a_finite_mask_and_none_is_none() {
        let mask = Mask::Focal { alpha: 1.0 }.of_difference(&wave([1, 2, 1, 1], 0.2, 0.37).mul_scalar(0.0)).unwrap();
        assert_eq!(values(mask), [0.0, 0.0]);
        assert!(Mask::None.of_difference(&wave([1, 2, 1, 1], 0.2, 0.37)).is_none());
        assert!(Mask::Focal { alpha: f64::NAN }.problem().is_some_and(|p| p.contains("alpha")));
    }
}
