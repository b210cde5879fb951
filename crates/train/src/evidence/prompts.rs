//! The records of learned frequency prompts: `prompts/result.json` and `prompts/masks.json`.
use serde::{Deserialize, Serialize};

use super::Scores;

/// `prompts/result.json` and an entry of `results.json`: what the prompts were learned on and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptResult {
    /// File of the prompts in the run folder.
    pub file: String,
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds of learning over all sessions, evaluation excluded.
    pub seconds: f64,
    /// Numbers that were learned.
    pub params: usize,
    /// Prompts of one set (T).
    pub tokens: usize,
    /// The teacher on the test images, without prompts.
    pub teacher: Scores,
    /// The teacher with its bands masked by prompts that have not learned yet.
    pub start: Scores,
    /// The same with the learned prompts.
    pub end: Scores,
    /// Largest difference of a logit between the teacher and the teacher with prompts of 0 over the first batch of test
    /// images, as a share of the teacher's largest logit: rounding when T = 2, since the masks then sum to 1.
    pub zero_difference: f64,
    /// For fresh prompts, which are drawn around 0: root mean square of the differences over all test images, as a share
    /// of that of the teacher's logits.
    pub start_difference: f64,
    /// The taps in the order of the network.
    pub taps: Vec<PromptTap>,
}

/// The prompts of one tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptTap {
    /// Tap of the teacher.
    pub tap: String,
    /// Its channels.
    pub channels: usize,
    /// The sets of prompts, one for each band or level.
    pub sets: Vec<String>,
    /// Dissimilarity of the masks of the fresh prompts: mean over the test images, sum over the sets. 1 per set
    /// means equal masks.
    pub dissimilarity_start: f64,
    /// The same with the learned prompts.
    pub dissimilarity_end: f64,
}

/// `prompts/masks.json`: the learned masks over a few test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskPictures {
    /// The transform of the bands: masks of `dwt` and `none` lie over the places of the image, others over frequencies.
    pub transform: String,
    /// The images.
    pub images: Vec<PictureImage>,
    /// The masks by tap.
    pub taps: Vec<TapMasks>,
}

/// An image as the teacher sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureImage {
    /// Index among the test images.
    pub index: usize,
    /// Name of its class, or of its file where each pixel has a class.
    pub label: String,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Mean of the channels, stretched to 0..255, row by row.
    pub grey: Vec<u8>,
}

/// The masks of one tap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapMasks {
    /// Tap of the teacher.
    pub tap: String,
    /// One entry for each set of prompts.
    pub sets: Vec<SetMasks>,
}

/// The masks of one set of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredMasks")]
pub struct SetMasks {
    /// Name of the set: `ll3`, `level1`, `lh1`, ...
    pub set: String,
    /// Height and width of the masks by image.
    pub sizes: Vec<[usize; 2]>,
    /// Mask values in (0, 1) by image and prompt, each row by row.
    pub values: Vec<Vec<Vec<f32>>>,
}

/// Masks as files have them; the first versions wrote one size for all images.
#[derive(Deserialize)]
struct StoredMasks {
    set: String,
    #[serde(default)]
    sizes: Vec<[usize; 2]>,
    #[serde(default)]
    height: usize,
    #[serde(default)]
    width: usize,
    values: Vec<Vec<Vec<f32>>>,
}

impl From<StoredMasks> for SetMasks {
    fn from(stored: StoredMasks) -> Self {
        let StoredMasks { set, sizes, height, width, values } = stored;
        let sizes = if sizes.is_empty() { vec![[height, width]; values.len()] } else { sizes };
        Self { set, sizes, values }
    }
}
