//! Class-activation maps: which places of a feature map speak for a class.
//!
//! With the activations `A[c][y][x]` at a tap and the score `s` of a target, both methods give each channel a weight,
//!
//! ```text
//! Grad-CAM        w_c = mean_yx ds / dA[c][y][x]                      Selvaraju et al. 2017, eq. 1
//! Ablation-CAM    w_c = (s - s_c) / s                                  Desai, Ramaswamy 2020, eq. 5
//! map             M = max(sum_c w_c A_c, 0)                            eq. 2 there, eq. 6 here
//! ```
//!
//! where `s_c` is the score with channel `c` ablated: 0 everywhere if the smallest activation is 0, else so far below
//! it (by 1e7) that what follows cannot take it for an activation. `M` is then shifted and scaled to 0 at its smallest
//! and 1 at its largest value and resized bilinearly to the images; the maps of several taps are averaged and scaled
//! again. Ablation needs no gradient and one pass through the rest of the network per channel; a negative score turns
//! its signs round, as the formula has it.
//!
//! On tokens, the map is that of the tokens on the grid, and ablation takes a channel out of all tokens. A tap from which
//! only the class token is read on (the last block) has no gradient on its grid: its Grad-CAM is zero everywhere, so
//! take an earlier one.
mod heat;
mod target;
mod weights;

use std::fmt;
use std::str::FromStr;

use burn::prelude::*;

pub use heat::HeatMap;
pub use target::CamTarget;

use crate::nearest;
use crate::{ModelError, Network, TapShape};
use heat::{average, normalise, resize};
use weights::Weighted;

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Cam {
    /// Grad-CAM.
    #[serde(rename = "grad-cam")]
    Grad,
    /// Ablation-CAM.
    #[serde(rename = "ablation-cam")]
    Ablation,
}

impl Cam {
    /// Both methods.
    pub const ALL: [Self; 2] = [Self::Grad, Self::Ablation];

    /// The name: `grad-cam` or `ablation-cam`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grad => "grad-cam",
            Self::Ablation => "ablation-cam",
        }
    }

    /// One map for each of the images `[N, C, H, W]`, of their size: what speaks for the image's target at these taps.
    ///
    /// The network runs in evaluation mode, on any device, with or without autodiff.
    ///
    /// # Errors
    /// No tap, an unknown one, or one whose value is a vector or does not lead to the logits alone (Ablation-CAM); as
    /// many targets as images are needed, of the kind that the network is for; a score of 0 (Ablation-CAM divides by
    /// it) or one that is not finite; the errors of [`Network::forward`].
    pub fn maps(
        self,
        network: &Network,
        images: Tensor<4>,
        taps: &[String],
        targets: &[CamTarget],
    ) -> Result<Vec<HeatMap>, ModelError> {
        let [n, _, height, width] = images.dims();
        check(network, taps, (height, width))?;
        if targets.len() != n {
            return Err(error("a batch", format!("{} targets for {n} images", targets.len())));
        }
        let layers = match self {
            Self::Grad => weights::gradient(network, images, taps, targets)?,
            Self::Ablation => weights::ablation(network, images, taps, targets)?,
        };
        let map = |image: usize| {
            let mut maps = Vec::new();
            for (tap, layer) in taps.iter().zip(&layers) {
                let [_, _, h, w] = layer.shape;
                let mut map = weighted_sum(layer, image);
                if map.iter().any(|v| !v.is_finite()) {
                    return Err(error(&format!("image {image}"), format!("values at the tap `{tap}` are not finite")));
                }
                normalise(&mut map);
                maps.push(resize(&map, (h, w), (height, width)));
            }
            Ok(HeatMap { height, width, values: average(&maps).into_iter().map(|v| v as f32).collect() })
        };
        (0..n).map(map).collect()
    }
}

/// `max(sum_c w_c A_c, 0)` of one image.
fn weighted_sum(layer: &Weighted, image: usize) -> Vec<f64> {
    let [_, channels, height, width] = layer.shape;
    let size = height * width;
    let mut sum = vec![0.0; size];
    for channel in (0..channels).map(|c| image * channels + c) {
        let activation = &layer.activations[channel * size..][..size];
        sum.iter_mut().zip(activation).for_each(|(s, a)| *s += layer.weights[channel] * a);
    }
    // Not `max`, which takes NaN for 0.
    sum.into_iter().map(|v| if v < 0.0 { 0.0 } else { v }).collect()
}

fn check(network: &Network, taps: &[String], (height, width): (usize, usize)) -> Result<(), ModelError> {
    if taps.is_empty() {
        return Err(error(&format!("`{}`", network.name()), "no tap is named".into()));
    }
    let shapes = network.taps(height, width)?;
    for tap in taps {
        network.tap_node(tap)?;
        if shapes.iter().any(|t| t.name == *tap && matches!(t.shape, TapShape::Vector { .. })) {
            return Err(error(
                &format!("the tap `{tap}`"),
                "it is a vector and has no places; take an earlier tap".into(),
            ));
        }
    }
    Ok(())
}

fn error(what: &str, reason: String) -> ModelError {
    ModelError::Cam { what: what.to_string(), reason }
}

impl fmt::Display for Cam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cam {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let names = Self::ALL.map(Self::name);
        Self::ALL.into_iter().find(|cam| cam.name() == name).ok_or_else(|| ModelError::UnknownCam {
            name: name.to_string(),
            nearest: nearest(name, names),
            known: names.join(", "),
        })
    }
}
