//! `[evaluate]`: how segmenters are tested.
use serde::{Deserialize, Serialize};
use subband_data::DatasetKind;
use subband_metrics::Protocol;

use super::Recipe;
use super::read::Reader;
use crate::TrainError;

/// `[evaluate]`: predictions on the test images, for data sets that label pixels. Validation between epochs always takes
/// whole images once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateRecipe {
    /// `whole` images, or `slide` for windows whose logits are averaged where they overlap. Default whole.
    pub mode: EvaluateMode,
    /// Height and width of a window, for `slide`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<[usize; 2]>,
    /// Pixels from one window to the next, down and across, at most the window. Default two thirds of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<[usize; 2]>,
    /// Sizes of the image at which it is looked at; probabilities are averaged. Default [1.0].
    pub scales: Vec<f64>,
    /// Also look at the mirrored image. Default false.
    pub flip: bool,
    /// What counts, see [`Protocol`]. Default: that of the data set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// What of an image the network sees at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluateMode {
    /// All of it.
    #[default]
    Whole,
    /// One window after the other.
    Slide,
}

impl Default for EvaluateRecipe {
    fn default() -> Self {
        let mode = EvaluateMode::Whole;
        Self { mode, window: None, stride: None, scales: vec![1.0], flip: false, protocol: None }
    }
}

impl EvaluateRecipe {
    /// The same, with the protocol under which figures on this data set are usually given where none is chosen.
    pub fn with_protocol_of(self, dataset: DatasetKind) -> Self {
        let usual = match dataset {
            DatasetKind::Cityscapes => Some(Protocol::Cityscapes),
            DatasetKind::Mfnet | DatasetKind::Msrs => Some(Protocol::MfnetRtfnet),
            _ => None,
        };
        Self { protocol: self.protocol.or(usual), ..self }
    }

    /// Whether an image is looked at as a whole and once.
    pub(crate) fn is_quick(&self) -> bool {
        self.mode == EvaluateMode::Whole && self.scales == [1.0] && !self.flip
    }

    /// The stride, or two thirds of the window (at least a pixel).
    pub(crate) fn stride(&self) -> [usize; 2] {
        let default = self.window.unwrap_or([1, 1]).map(|side| (2 * side / 3).max(1));
        self.stride.unwrap_or(default)
    }

    /// What is wrong with the values: the key and the message.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let slide = self.mode == EvaluateMode::Slide;
        let bad = |key, message: &str| Some((key, message.to_string()));
        match (slide, self.window) {
            (true, None) => return bad("window", "is missing: mode \"slide\" needs window = [height, width]"),
            (false, Some(_)) => return bad("window", "has no meaning in mode \"whole\"; write mode = \"slide\""),
            (true, Some(window)) if window.contains(&0) => return bad("window", "must be at least 1 by 1"),
            _ => {}
        }
        if let Some(stride) = self.stride {
            if !slide {
                return bad("stride", "has no meaning in mode \"whole\"; write mode = \"slide\"");
            }
            let window = self.window.unwrap_or(stride);
            if stride.contains(&0) || stride[0] > window[0] || stride[1] > window[1] {
                return bad("stride", "must be from 1 to the window, or pixels between windows would be left out");
            }
        }
        if self.scales.is_empty() || self.scales.iter().any(|scale| !(0.05..=10.0).contains(scale)) {
            return bad("scales", "must be factors from 0.05 to 10, for example [0.75, 1.0, 1.25]");
        }
        None
    }
}

/// Checks the ranges.
pub(super) fn check(recipe: &Recipe, reader: &Reader<'_>) -> Result<(), TrainError> {
    match recipe.evaluate.as_ref().and_then(EvaluateRecipe::problem) {
        Some((key, message)) => Err(reader.bad(&format!("evaluate.{key}"), message)),
        None => Ok(()),
    }
}
